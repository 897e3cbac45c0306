from __future__ import annotations

from dataclasses import replace

import pytest

from btcnode.consensus.connect import ConnectContext, connect_block, connect_context
from btcnode.consensus.known_txs import KnownBlock, assemble, connect_known, passes_alone, passes_in_context
from btcnode.primitives import assembled_block
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from tests.lib.bad_blocks import SUBSIDY
from tests.lib.judged import Judged, judge_all
from tests.lib.mini_chain import REGTEST, MiniChain, spend


@pytest.fixture(scope="module")
def chain() -> MiniChain:
    return MiniChain(blocks=110)


def known_of(chain: MiniChain, raw: bytes) -> tuple[Judged | None, ...]:
    return judge_all(parse_block(raw), chain.tip + 1, chain.coins.get_many)


def put_together(chain: MiniChain, raw: bytes) -> KnownBlock:
    it = assemble(raw, known_of(chain, raw))
    assert it is not None
    return it


def context(chain: MiniChain, block: ParsedBlock) -> ConnectContext:
    return connect_context(chain.tree, chain.tip, block.hash, REGTEST, with_jobs=False)


def family(chain: MiniChain) -> tuple[Tx, Tx, Tx]:
    """A parent with many outputs, its child, and a stranger."""
    outputs = [make_txout(SUBSIDY // 1000, b"\x51"), make_txout(0, b"\x6a\x51"), make_txout(5, b"")]
    many = [*outputs, make_txout(1, b"\x51" * 253), *[make_txout(1, b"\x51")] * 300, make_txout(1, b"\x51" * 10_001)]
    parent = spend(chain.coinbases[1], value=0, txouts=many)
    child = spend(parent.txid + bytes(4), chain.coinbases[2], value=SUBSIDY)
    return parent, child, spend(chain.coinbases[3], value=SUBSIDY - 5)


def test_same_outcome_as_from_bytes(chain: MiniChain) -> None:
    raw = chain.template(*family(chain)).build()
    it, block = put_together(chain, raw), parse_block(raw)
    assert all(one is not None for one in it.known[1:])
    assert passes_alone(it, REGTEST)
    assert passes_in_context(it, chain.tree, chain.tip, REGTEST)
    ctx = context(chain, block)
    delta, exact = (
        connect_known(it, chain.tip + 1, chain.coins, ctx),
        connect_block(block, chain.tip + 1, chain.coins, ctx),
    )
    assert delta == exact
    assert list(exact.created) == list(delta.created)
    assert exact.undo[1][0][4:] == it.block.txs[1].txouts[0]


def test_columns_are_those_of_the_bytes(chain: MiniChain) -> None:
    raw = chain.template(*family(chain)).build()
    block = parse_block(raw)
    for name in ParsedBlock.__slots__:
        fresh = put_together(chain, raw).block  # whichever is asked for first
        if name not in ("legacy_sigops", "witness_root"):
            assert getattr(fresh, name) == getattr(block, name), name
    fresh = put_together(chain, raw).block
    before = fresh.prevouts()
    before.clear()  # a list of the caller's own
    fresh.let_go()
    assert fresh.prevouts() == block.prevouts()
    never_asked = put_together(chain, raw).block
    never_asked.let_go()
    assert never_asked.prevouts() == block.prevouts()
    with pytest.raises(AttributeError):
        _ = fresh.nothing


def test_a_transaction_without_its_witness_needs_no_look_at_the_others(
    chain: MiniChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, child, _ = family(chain)
    bare = child.raw
    witnessed = Tx.parse(bare[:4] + b"\0\1" + bare[4:-4] + b"\1\1\x51" * len(child.prevouts) + bare[-4:])
    whole = parse_block(bytes(80) + b"\x02" + parent.raw + witnessed.raw)
    it = assemble(whole.raw, (None, None))
    assert it is not None
    block = it.block
    monkeypatch.setattr(assembled_block, "parse_block", None)
    assert block.tx_stripped(1) == bare != block.tx_raw(1)
    assert [block.tx_stripped(i) for i in range(block.n_tx)] == [whole.tx_stripped(i) for i in range(whole.n_tx)]


def test_other_transactions_are_not_taken_for_the_blocks_own(chain: MiniChain) -> None:
    parent, child, other = family(chain)
    raw = chain.template(parent, child, other).build()
    known = known_of(chain, raw)
    coinbase, first, second, third = known
    assert assemble(raw, (coinbase, second, first, third)) is None
    assert assemble(raw, known[:3]) is None
    assert assemble(raw, (*known, None)) is None
    assert assemble(raw, (third, *known[1:])) is None
    assert assemble(raw, ()) is None
    assert assemble(raw[:-1], known) is None
    assert assemble(raw + b"\0", known) is None
    assert assemble(raw, (coinbase, first, None, third)) is not None


def test_what_was_spent_since_is_no_yes(chain: MiniChain) -> None:
    raw = chain.template(*family(chain)).build()
    it = put_together(chain, raw)
    coins = chain.coins.coins.copy()
    gone = coins.pop(chain.coinbases[2])
    source = MiniChain().coins
    source.coins = coins
    ctx = context(chain, it.block)
    assert connect_known(it, chain.tip + 1, source, ctx) is None
    coins[chain.coinbases[2]] = gone
    assert connect_known(it, chain.tip + 1, source, ctx) is not None


def test_a_coinbase_that_is_not_mature_at_this_height_is_no_yes(chain: MiniChain) -> None:
    """Admitted at a higher tip, which a reorganisation has left."""
    young = chain.tip + 1 - 99
    raw = chain.template(spend(chain.coinbases[young], value=SUBSIDY)).build()
    known = judge_all(parse_block(raw), chain.tip + 2, chain.coins.get_many)
    it = assemble(raw, known)
    assert it is not None and known[1] is not None and known[1].spends_coinbase
    ctx = context(chain, it.block)
    assert connect_known(it, chain.tip + 1, chain.coins, ctx) is None
    assert connect_known(it, chain.tip + 2, chain.coins, ctx) is not None


def test_other_rules_than_the_usual_are_no_yes(chain: MiniChain) -> None:
    raw = chain.template(*family(chain)).build()
    it = put_together(chain, raw)
    ctx, height = context(chain, it.block), chain.tip + 1

    def connects(**changes: object) -> bool:
        changed = replace(ctx, **changes)  # type: ignore[arg-type]
        return connect_known(it, height, chain.coins, changed) is not None

    assert connects()
    assert not connects(flags=0)
    assert not connects(with_jobs=True)
    assert not connects(check_bip30=True, bip30_implied=False)
    assert not connects(subsidy=0)
    assert connect_known(it, 0, chain.coins, ctx) is None


def test_a_child_before_its_parent_is_no_yes(chain: MiniChain) -> None:
    parent, child, other = family(chain)
    raw = chain.template(parent, child, other).build()
    good = put_together(chain, raw)
    wrong = chain.template(child, parent, other).build()
    coinbase, first, second, third = good.known
    it = assemble(wrong, (coinbase, second, first, third))
    assert it is not None
    assert connect_known(it, chain.tip + 1, chain.coins, context(chain, it.block)) is None
