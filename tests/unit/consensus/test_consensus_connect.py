from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from btcnode.consensus.connect import (
    BIP30_OVERWRITTEN,
    BlockDelta,
    ConnectContext,
    coinbases_differ,
    connect_block,
    connect_context,
    disconnect_block,
    is_unspendable_at,
    must_check_bip30,
    script_violation,
)
from btcnode.errors import CorruptionError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height, coin_is_coinbase, make_coin, make_txout
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.tx import NULL_OUTPOINT, SEQUENCE_FINAL, Tx
from btcnode.script.flags import VERIFY_P2SH, VERIFY_WITNESS
from btcnode.script.verify import verify_jobs
from btcnode.testing.blocks import assemble, coinbase_tx
from tests.lib.ancestry import ListAncestry
from tests.lib.bad_blocks import SUBSIDY, coinbase, rebuilt
from tests.lib.coins import DictCoins
from tests.lib.mini_chain import REGTEST, MiniChain, spend

MAINNET = params_for("mainnet")
A, B = b"\x01" * 36, b"\x02" * 36


@pytest.fixture(scope="module")
def chain() -> MiniChain:
    return MiniChain(blocks=110)


def context(**changes: object) -> ConnectContext:
    base = ConnectContext(VERIFY_P2SH | VERIFY_WITNESS, SUBSIDY, False, True, 10**9, lambda height: 10**9)
    return replace(base, **changes)  # type: ignore[arg-type]


def block_of(*txs: Tx) -> bytes:
    return assemble(bytes(80), [coinbase_tx(200, SUBSIDY), *txs])


def test_delta(chain: MiniChain) -> None:
    first = spend(
        chain.coinbases[1],
        chain.coinbases[2],
        value=0,
        txouts=[make_txout(SUBSIDY, b"\x51"), make_txout(1, b"\x6a\x51"), make_txout(SUBSIDY - 11, b"\x51")],
    )
    second = spend(first.txid + bytes(4), chain.coinbases[3], value=2 * SUBSIDY - 5)
    block, delta = chain.check(chain.template(first, second, fees=0).build())
    height = chain.tip + 1
    coins = chain.coins.coins
    assert delta.fees == 15
    assert delta.spent == {op: coins[op] for op in chain.coinbases[1:4]}
    made = make_coin(height, False, SUBSIDY, b"\x51")
    assert delta.undo == [
        [coins[chain.coinbases[1]], coins[chain.coinbases[2]]],
        [made, coins[chain.coinbases[3]]],
    ]
    assert delta.created == {
        block.txids[0] + bytes(4): make_coin(height, True, SUBSIDY, b"\x51"),
        first.txid + b"\x02\0\0\0": make_coin(height, False, SUBSIDY - 11, b"\x51"),
        second.txid + bytes(4): make_coin(height, False, 2 * SUBSIDY - 5, b"\x51"),
    }
    assert [job.raw_tx for job in delta.jobs] == [first.raw, second.raw]
    assert [job.spent for job in delta.jobs] == [[coin[4:] for coin in inputs] for inputs in delta.undo]


def test_coins_are_fetched_once_and_only_from_outside(chain: MiniChain) -> None:
    first = spend(chain.coinbases[1], value=SUBSIDY)
    second = spend(first.txid + bytes(4), chain.coinbases[2], value=0)
    block = parse_block(chain.template(first, second).build())
    coins = DictCoins(chain.coins.coins)
    connect_block(block, chain.tip + 1, coins, context())
    assert coins.lookups == 2


def test_without_jobs(chain: MiniChain) -> None:
    block = parse_block(chain.template(spend(chain.coinbases[1], value=0)).build())
    with_jobs = connect_block(block, chain.tip + 1, chain.coins, context())
    without = connect_block(block, chain.tip + 1, chain.coins, context(with_jobs=False))
    assert len(with_jobs.jobs) == 1
    assert replace(with_jobs, jobs=[]) == without


def test_genesis_makes_no_coins() -> None:
    assert connect_block(parse_block(MAINNET.genesis_block), 0, DictCoins(), context()) == BlockDelta()


def test_fee_sum_out_of_range() -> None:
    coins = DictCoins({A: make_coin(1, False, MAX_MONEY, b"\x51"), B: make_coin(1, False, 1, b"\x51")})
    block = parse_block(block_of(spend(A, value=0), spend(B, value=0)))
    with pytest.raises(RuleViolation) as caught:
        connect_block(block, 200, coins, context())
    assert caught.value.code == "bad-txns-accumulated-fee-outofrange"
    assert caught.value.debug == "accumulated fee in the block out of range"


@pytest.mark.parametrize("value", [-1, MAX_MONEY + 1, 2**63 - 1])
def test_input_value_out_of_range(value: int) -> None:
    coins = DictCoins({A: make_coin(1, False, 1, b"\x51"), B: make_coin(1, False, value, b"\x51")})
    tx = spend(A, B, value=0)
    with pytest.raises(RuleViolation) as caught:
        connect_block(parse_block(block_of(tx)), 200, coins, context())
    assert caught.value.code == "bad-txns-inputvalues-outofrange"
    assert caught.value.debug == f" in transaction {to_display(tx.txid)}"


def test_debug_texts() -> None:
    tx = spend(A, value=5)
    block = parse_block(block_of(tx))
    shown = to_display(tx.txid)
    cases = [
        ({}, "CheckTxInputs: inputs missing/spent in transaction " + shown),
        ({A: make_coin(150, True, 5, b"")}, f"tried to spend coinbase at depth 50 in transaction {shown}"),
        ({A: make_coin(1, False, 4, b"")}, f"value in (0.00000004) < value out (0.00000005) in transaction {shown}"),
    ]
    for coins, debug in cases:
        with pytest.raises(RuleViolation) as caught:
            connect_block(block, 200, DictCoins(coins), context())
        assert caught.value.debug == debug
    with pytest.raises(RuleViolation) as caught:
        connect_block(block, 200, DictCoins({A: make_coin(1, False, 5, b"")}), context(subsidy=SUBSIDY - 1))
    assert caught.value.debug == f"coinbase pays too much (actual={SUBSIDY} vs limit={SUBSIDY - 1})"
    locked = spend(A, value=5, sequences=[199])
    with pytest.raises(RuleViolation) as caught:
        connect_block(parse_block(block_of(locked)), 200, DictCoins({A: make_coin(2, False, 5, b"")}), context())
    assert caught.value.debug == f"contains a non-BIP68-final transaction {to_display(locked.txid)}"


def test_bip68_edge() -> None:
    coins = DictCoins({A: make_coin(100, False, 5, b"")})
    block = parse_block(block_of(spend(A, value=5, sequences=[100])))
    connect_block(block, 200, coins, context())
    with pytest.raises(RuleViolation, match="bad-txns-nonfinal"):
        connect_block(block, 199, coins, context())
    connect_block(block, 199, coins, context(csv_active=False))


@pytest.mark.parametrize("outputs", [1, 252, 253, 300])
def test_sequence_of_the_last_input_is_found_before_any_count_of_outputs(outputs: int) -> None:
    coins = DictCoins({A: make_coin(100, False, 500, b""), B: make_coin(100, False, 0, b"")})
    for sequences, good in (([SEQUENCE_FINAL, 101], False), ([101, 1 << 31], False), ([1 << 31, 100], True)):
        tx = spend(A, B, value=0, sequences=sequences, txouts=[make_txout(1, b"\x51")] * outputs)
        block = parse_block(block_of(tx))
        if good:
            assert len(connect_block(block, 200, coins, context()).created) == outputs + 1
        else:
            with pytest.raises(RuleViolation, match="bad-txns-nonfinal"):
                connect_block(block, 200, coins, context())


def test_many_outputs_have_the_right_numbers() -> None:
    count = 1030
    tx = spend(A, value=0, txouts=[make_txout(vout, b"\x51") for vout in range(count)])
    block = parse_block(block_of(tx))
    delta = connect_block(block, 200, DictCoins({A: make_coin(1, False, 10**9, b"")}), context())
    for vout in range(count):
        assert delta.created[tx.txid + vout.to_bytes(4, "little")] == make_coin(200, False, vout, b"\x51")


def test_coin_of_an_older_transaction_with_the_id_of_a_later_one() -> None:
    """It is spendable until the later one comes: the coins, not the block, tell what exists."""
    later = spend(B, value=7)
    old = later.txid + bytes(4)
    early = spend(old, value=7)
    coins = DictCoins({old: make_coin(50, False, 7, b"\x51"), B: make_coin(60, False, 7, b"\x51")})
    block = parse_block(block_of(early, later))
    delta = connect_block(block, 200, coins, context())
    assert delta.undo == [[make_coin(50, False, 7, b"\x51")], [make_coin(60, False, 7, b"\x51")]]
    assert delta.spent == {old: coins.coins[old], B: coins.coins[B]}
    assert delta.created[old] == make_coin(200, False, 7, b"\x51")
    coins.apply(delta)
    assert coin_height(coins.coins[old]) == 200
    # and not twice
    with pytest.raises(RuleViolation, match="bad-txns-inputs-missingorspent"):
        connect_block(parse_block(block_of(early, spend(old, value=6), later)), 200, coins, context())


@pytest.mark.parametrize(
    ("script", "unspendable"),
    [
        (b"", False), (b"\x6a", True), (b"\x51\x6a", False), (b"\x6a" * 300, True), (b"\x51" * 0xFD, False),
        (b"\x51" * 10_000, False), (b"\x51" * 10_001, True), (b"\x51" * 70_000, True), (b"\x6a" * 70_000, True),
    ],
)  # fmt: skip
def test_unspendable(script: bytes, unspendable: bool) -> None:
    txout = make_txout(1, script)
    # an OP_RETURN behind the txout does not belong to it
    assert is_unspendable_at(b"xx" + txout + b"\x6a" * 4, 2, 2 + len(txout)) is unspendable


# -- BIP30 ---------------------------------------------------------------------------------------------------------


def repeating_chain() -> tuple[MiniChain, bytes]:
    """A chain without BIP34, and a block on it that repeats the coinbase of height 1."""
    chain = MiniChain(params_for("regtest", activation_overrides={"bip34": 1000}))
    first = chain.accept(chain.template().build())
    for _ in range(3):
        chain.accept(chain.template().build())
    return chain, rebuilt(chain, [first.tx(0)])


def test_bip30_and_its_exceptions() -> None:
    chain, raw = repeating_chain()
    with pytest.raises(RuleViolation) as caught:
        chain.check(raw)
    assert (caught.value.code, caught.value.debug) == ("bad-txns-BIP30", "tried to overwrite transaction")
    block_hash = parse_block(raw).hash
    chain.params = replace(chain.params, bip30_exceptions=((5, block_hash),))
    block, delta = chain.check(raw)
    assert delta.created == {block.txids[0] + bytes(4): make_coin(5, True, SUBSIDY, b"\x51")}
    assert delta.spent == {}
    chain.accept(raw)
    # the first coin is lost: taking both blocks back leaves nothing of it, and the lower one finds it missing
    for height in range(5, 0, -1):
        block, delta = chain.history[height - 1]
        undone = disconnect_block(block, height, delta.undo, chain.coins)
        assert undone.clean is (height != 1)
        chain.coins.revert(undone)
    assert not chain.coins.coins


def test_duplicate_coinbases_91722_91880_and_91812_91842(monkeypatch: pytest.MonkeyPatch) -> None:
    """attacks.md: the overwritten coinbases do not make their blocks' disconnection unclean."""
    assert {height for height, _ in BIP30_OVERWRITTEN} == {91_722, 91_812}
    assert {height for height, _ in MAINNET.bip30_exceptions} == {91_880, 91_842}
    chain, raw = repeating_chain()
    chain.params = replace(chain.params, bip30_exceptions=((5, parse_block(raw).hash),))
    chain.accept(raw)
    monkeypatch.setattr("btcnode.consensus.connect.BIP30_OVERWRITTEN", frozenset(((1, chain.tree.hash(1)),)))
    chain.disconnect_all()
    assert not chain.coins.coins


def test_overwriting_an_unspent_output_of_a_plain_transaction_is_refused() -> None:
    tx = spend(A, value=7)
    block = parse_block(block_of(tx))
    coins = DictCoins({A: make_coin(1, False, 7, b""), tx.txid + bytes(4): make_coin(1, False, 7, b"\x51")})
    with pytest.raises(RuleViolation, match="bad-txns-BIP30"):
        connect_block(block, 200, coins, context(check_bip30=True))
    assert connect_block(block, 200, coins, context(check_bip30=False)).fees == 0


class CountingCoins(DictCoins):
    """Coins that say how often they were searched for overwritten ones."""

    searches = 0

    def any_unspent(self, outpoints: Sequence[bytes]) -> bool:
        self.searches += 1
        return super().any_unspent(outpoints)


def test_where_coinbases_differ_bip30_is_looked_at_when_another_rule_is_broken() -> None:
    implied = context(check_bip30=True, bip30_implied=True)
    tx = spend(A, value=7)
    block = parse_block(block_of(tx))
    mine = make_coin(1, False, 7, b"")
    good = CountingCoins({A: mine})
    assert connect_block(block, 200, good, implied).fees == 0
    assert good.searches == 0
    # once more: the input is missing, and the output is there still, which is told as where the search comes first
    again = CountingCoins({tx.txid + bytes(4): make_coin(1, False, 7, b"\x51")})
    for ctx in (implied, context(check_bip30=True)):
        with pytest.raises(RuleViolation, match="bad-txns-BIP30"):
            connect_block(block, 200, again, ctx)
    with pytest.raises(RuleViolation, match="bad-txns-inputs-missingorspent"):
        connect_block(block, 200, CountingCoins({}), implied)


@pytest.mark.parametrize(
    ("name", "overrides", "differ"),
    [
        ("main", {}, False), ("test", {}, False), ("testnet4", {}, True), ("signet", {}, True), ("regtest", {}, True),
        ("regtest", {"bip34": 2}, False), ("regtest", {"bip34": 0}, True),
    ],
)  # fmt: skip
def test_where_coinbases_differ(name: str, overrides: dict[str, int], differ: bool) -> None:
    assert coinbases_differ(params_for(name, activation_overrides=overrides)) is differ


class Bip34Tree(ListAncestry):
    """A chain of which only heights matter; ``known`` says whether it has mainnet's block at BIP34's height."""

    def __init__(self, tip: int, known: bool) -> None:
        super().__init__()
        self._tip = tip
        self._known = known

    def height(self, index: int) -> int:
        return self._tip

    def ancestor(self, index: int, height: int) -> int:
        return height if height <= self._tip else -1

    def hash(self, index: int) -> BlockHash:
        assert index == MAINNET.bip34_height
        return BlockHash(MAINNET.bip34_hash if self._known and MAINNET.bip34_hash else bytes(32))


@pytest.mark.parametrize(
    ("height", "known", "check"),
    [
        (91_841, True, True), (91_842, True, False), (91_880, True, False), (227_931, True, True),
        (227_932, True, False),
        (227_932, False, True), (1_983_701, True, False), (1_983_702, True, True), (1_983_702, False, True),
    ],
)  # fmt: skip
def test_where_bip30_is_checked(height: int, known: bool, check: bool) -> None:
    hashes = dict(MAINNET.bip30_exceptions)
    tree = Bip34Tree(height - 1, known)
    assert must_check_bip30(tree, 0, hashes.get(height, bytes(32)), MAINNET) is check
    if height in hashes:
        assert must_check_bip30(tree, 0, bytes(32), MAINNET)


def test_networks_without_a_bip34_hash_always_check() -> None:
    assert REGTEST.bip34_hash is None
    assert must_check_bip30(MiniChain(blocks=3).tree, 3, bytes(32), REGTEST)


# -- context, disconnecting ----------------------------------------------------------------------------------------


def test_context_of_a_block(chain: MiniChain) -> None:
    ctx = connect_context(chain.tree, chain.tip, bytes(32), REGTEST, with_jobs=False)
    assert (ctx.subsidy, ctx.csv_active, ctx.check_bip30, ctx.with_jobs) == (SUBSIDY, True, True, False)
    assert ctx.prev_mtp == chain.tree.median_time_past(chain.tip)
    assert ctx.mtp_at(50) == chain.tree.median_time_past(50)


def spending_chain() -> MiniChain:
    chain = MiniChain(blocks=103)
    first = spend(chain.coinbases[1], value=SUBSIDY - 100)
    second = spend(first.txid + bytes(4), chain.coinbases[2], value=SUBSIDY)
    chain.accept(chain.template(first, second).build())
    return chain


def test_disconnect_gives_the_coins_back() -> None:
    chain = spending_chain()
    chain.disconnect_all()
    assert not chain.coins.coins


def test_disconnect_of_one_block() -> None:
    chain = spending_chain()
    block, delta = chain.history[-1]
    undone = disconnect_block(block, 104, delta.undo, chain.coins)
    assert undone.clean
    assert set(undone.restored) == set(chain.coinbases[1:3])
    assert all(coin_is_coinbase(coin) for coin in undone.restored.values())
    assert sorted(undone.removed) == sorted(delta.created)


def test_unclean_disconnects() -> None:
    chain = spending_chain()
    block, delta = chain.history[-1]
    output, spent = block.txids[2] + bytes(4), chain.coinbases[2]
    for change in (
        {output: None},  # an output is gone
        {output: make_coin(104, False, 1, b"\x51")},  # or another
        {output: make_coin(103, False, SUBSIDY, b"\x51")},
        {spent: make_coin(2, True, SUBSIDY, b"\x51")},  # what was spent is there
    ):
        coins = DictCoins(chain.coins.coins)
        for outpoint, coin in change.items():
            coins.coins.pop(outpoint, None)
            if coin is not None:
                coins.coins[outpoint] = coin
        undone = disconnect_block(block, 104, delta.undo, coins)
        assert not undone.clean
        coins.revert(undone)
        assert output not in coins.coins
        assert coins.coins[spent] == make_coin(2, True, SUBSIDY, b"\x51")


def test_undo_data_of_another_block() -> None:
    chain = spending_chain()
    block, delta = chain.history[-1]
    for undo in ([], delta.undo[:1], [*delta.undo, []], [delta.undo[1], delta.undo[0]]):
        with pytest.raises(CorruptionError):
            disconnect_block(block, 104, undo, chain.coins)
    with pytest.raises(CorruptionError, match="without height"):
        heightless = [delta.undo[0], [make_coin(0, False, 5, b"")] * 2]
        disconnect_block(block, 104, heightless, chain.coins)


def test_script_failure_in_cores_words(chain: MiniChain) -> None:
    false = spend(chain.coinbases[1], value=SUBSIDY, script_pubkey=b"\x00")
    tx = spend(chain.coinbases[2], false.txid + bytes(4), value=0)
    raw = chain.template(false, tx).build()
    block = parse_block(raw)
    delta = connect_block(block, chain.tip + 1, chain.coins, context())
    failed = verify_jobs(delta.jobs)
    assert failed is not None
    violation = script_violation(delta.jobs[failed[0]], failed[1])
    assert violation.code.startswith("block-script-verify-flag-failed (Script evaluated without error")
    shown = to_display(tx.txid)
    assert violation.debug == f"input 1 of {shown} (wtxid {shown}), spending {to_display(false.txid)}:0"


def test_null_prevout_of_the_coinbase_is_no_lookup(chain: MiniChain) -> None:
    block = parse_block(rebuilt(chain, [coinbase(chain)]))
    assert block.prevouts() == [NULL_OUTPOINT]
    coins = DictCoins()
    delta = connect_block(block, chain.tip + 1, coins, context())
    assert coins.lookups == 0
    assert (delta.undo, delta.jobs, delta.fees, delta.sigop_cost) == ([], [], 0, 0)
