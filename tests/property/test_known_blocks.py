"""Blocks of transactions that were judged before: each quick yes is a yes of the exact rules, with the same outcome.

Random blocks, many of them at fault: coins spent twice or that are not there, parents behind their children, the same
transaction again, immature coins, relative locks, fees that are too high.
"""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from btcnode.compiled import current
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import connect_block, connect_context
from btcnode.consensus.known_txs import MOST_LATER, assemble, connect_known, passes_alone, passes_in_context
from btcnode.errors import RuleViolation
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_is_coinbase, coin_value, make_txout
from btcnode.primitives.later_coins import LaterCoins
from btcnode.primitives.tx import SEQUENCE_FINAL, Tx
from tests.lib.judged import Judged, judge_all
from tests.lib.kernels import compiled_kernels, with_kernels
from tests.lib.mini_chain import REGTEST, MiniChain, spend

CASES = 600
SCRIPTS = (b"\x51", b"\x51", b"\x51", b"", b"\x6a\x01\x07", b"\x51" * 253)


@pytest.fixture(scope="module")
def chain() -> MiniChain:
    return MiniChain(blocks=125)


class Family:
    """Transactions that a mempool may have, made in an order in which they can be confirmed."""

    def __init__(self, chain: MiniChain, rng: Random) -> None:
        self.chain = chain
        self.rng = rng
        self.free = [chain.coinbases[height] for height in rng.sample(range(1, 26), 12)]
        self.values = {outpoint: coin_value(chain.coins.coins[outpoint]) for outpoint in self.free}
        self.txs: list[Tx] = []

    def add(self) -> None:
        rng = self.rng
        prevouts = [
            self.free.pop(rng.randrange(len(self.free))) for _ in range(min(len(self.free), rng.choice((1, 1, 2, 3))))
        ]
        whole = sum(self.values[prevout] for prevout in prevouts)
        outs = [make_txout(whole // 4, rng.choice(SCRIPTS)) for _ in range(rng.choice((1, 2, 3)))]
        sequence = rng.choice((SEQUENCE_FINAL, SEQUENCE_FINAL, SEQUENCE_FINAL - 2, rng.choice((0, 5, 300, 1 << 22))))
        tx = spend(*prevouts, value=0, txouts=outs, sequences=[sequence] * len(prevouts), version=rng.choice((1, 2)))
        self.txs.append(tx)
        for n, txout in enumerate(tx.txouts):
            if txout[8:] == b"\x01\x51":
                outpoint = tx.txid + n.to_bytes(4, "little")
                self.values[outpoint] = whole // 4
                self.free.append(outpoint)

    def spoil(self) -> Tx:
        """A transaction that cannot be confirmed behind the others, or in their place."""
        rng = self.rng
        old = rng.choice(self.txs)
        foreign = rng.choice((rng.randbytes(36), self.chain.coinbases[-1], rng.choice(old.prevouts)))
        return spend(foreign, *rng.sample(old.prevouts, rng.randrange(len(old.prevouts) + 1)), value=1)


def make_case(chain: MiniChain, rng: Random) -> tuple[bytes, tuple[Judged | None, ...]]:
    """A block, and what is known of its transactions."""
    family = Family(chain, rng)
    for _ in range(rng.randrange(1, 9)):
        if family.free:
            family.add()
    good = judge_all(parse_block(chain.template(*family.txs).build()), chain.tip + 1, chain.coins.get_many)
    known = dict(zip([tx.wtxid for tx in family.txs], good[1:], strict=True))
    order = family.txs.copy()
    fault = rng.choice(("none", "none", "order", "again", "spoilt", "fees", "left out"))
    if fault == "order":
        rng.shuffle(order)
    elif fault == "again":
        order.insert(rng.randrange(len(order) + 1), rng.choice(order))
    elif fault == "left out":
        order.pop(rng.randrange(len(order)))
    elif fault == "spoilt":
        bad = family.spoil()
        order.insert(rng.randrange(len(order) + 1), bad)
        if rng.random() < 0.7:  # a mempool of another time may have it: fee and cost are those of coins that were
            coins = [coin for prevout in bad.prevouts if (coin := chain.coins.coins.get(prevout)) is not None]
            known[bad.wtxid] = Judged(bad, sum(map(coin_value, coins)) - 1, 0, any(map(coin_is_coinbase, coins)))
    template = chain.template(*order)
    raw = chain.template(*order, fees=template.fees + (fault == "fees")).build()
    forgotten = rng.choice((0.0, 0.0, 0.3))
    told = [None if rng.random() < forgotten else known.get(tx.wtxid) for tx in order]
    return raw, (None, *told)


def refusal(chain: MiniChain, raw: bytes) -> str:
    """The reason for which the exact rules refuse it, scripts left out; empty when they do not."""
    block = parse_block(raw)
    try:
        check_block(block, REGTEST)
        contextual_check_block(block, chain.tree, chain.tip, REGTEST)
        connect_block(block, chain.tip + 1, chain.coins, connect_context(chain.tree, chain.tip, block.hash, REGTEST))
    except RuleViolation as violation:
        return violation.code
    return ""


def quickly(chain: MiniChain, raw: bytes, known: tuple[Judged | None, ...]) -> bool:
    """Whether what is known is enough for a yes; AssertionError where that has another outcome than the exact rules."""
    it = assemble(raw, known)
    if it is None or not passes_alone(it, REGTEST) or not passes_in_context(it, chain.tree, chain.tip, REGTEST):
        return False
    context = connect_context(chain.tree, chain.tip, it.block.hash, REGTEST, with_jobs=False)
    delta = connect_known(it, chain.tip + 1, chain.coins, context)
    if delta is None:
        return False
    exact = connect_block(parse_block(raw), chain.tip + 1, chain.coins, context)
    assert delta == exact
    assert list(delta.created) == list(exact.created) and len(delta.created) == len(exact.created)
    assert isinstance(delta.created, LaterCoins) == (current() is not None and len(exact.created) <= MOST_LATER)
    return True


def test_coins_of_large_blocks_are_listed_at_once(chain: MiniChain, monkeypatch: pytest.MonkeyPatch) -> None:
    if compiled_kernels() is None:
        pytest.skip("numba is not installed")
    monkeypatch.setattr("btcnode.consensus.known_txs.MOST_LATER", 4)
    monkeypatch.setattr(f"{__name__}.MOST_LATER", 4)
    rng = Random(5)
    with with_kernels(compiled_kernels()):
        assert sum(quickly(chain, *make_case(chain, rng)) for _ in range(60)) > 10


@pytest.mark.parametrize(("seed", "compiled"), [(0, True), (1, True), (2, False), (3, False), (4, True)])
def test_a_quick_yes_is_a_yes(chain: MiniChain, seed: int, compiled: bool) -> None:
    if compiled and compiled_kernels() is None:
        pytest.skip("numba is not installed")
    rng, seen = Random(seed), Counter[str]()
    for _ in range(CASES):
        raw, known = make_case(chain, rng)
        why = refusal(chain, raw)
        with with_kernels(compiled_kernels() if compiled else None):
            quick = quickly(chain, raw, known)
        assert not (quick and why), (why, raw.hex())
        seen[why or ("known" if quick else "unknown")] += 1
    assert seen["known"] > CASES // 4, seen
    assert seen["unknown"] < CASES // 10, seen
    faults = {"bad-txns-inputs-missingorspent", "bad-txns-nonfinal", "bad-cb-amount"}
    assert faults <= seen.keys(), seen
