"""What the miner's options do to blocks and templates."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.chain.header_tree import HeaderTree
from btcnode.errors import ConfigError
from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.pool import Mempool
from btcnode.mining.selection import BlockLimits
from btcnode.mining.templates import TemplateMaker
from btcnode.networks.parameters import params_for
from btcnode.node.mempool_setup import make_template_maker
from btcnode.primitives.addresses import secret_encode
from btcnode.primitives.hashes import to_display
from btcnode.testing.small_pool import coin, output, spend
from tests.lib.settings import settings_of

REGTEST = params_for("regtest")


def pool_of(*feerates: float) -> Mempool:
    """One transaction of each feerate in sat/vB."""
    pool = Mempool()
    for n, feerate in enumerate(feerates):
        tx = spend([coin(n)], 1_000_000, 0)
        entry = MempoolEntry(
            tx, fee=round(feerate * len(tx.raw)), weight=4 * len(tx.raw), sigop_cost=0, time=0, height=0, sequence=1,
            spends_coinbase=False, lock_points=LockPoints(-1, -1, -1),
        )  # fmt: skip
        pool.stage([], [entry]).apply(RemovalReason.REPLACED, 0)
    return pool


def test_limits_bound_the_block() -> None:
    pool = pool_of(1, 3, 2)
    weight = next(iter(pool)).weight
    maker = TemplateMaker(REGTEST, BlockLimits(max_weight=2000 + 2 * weight + 1, reserved_weight=2000))
    chosen = maker.choose(pool, 1, 0)
    assert [entry.fee // entry.vsize for entry in chosen.entries] == [3, 2]
    assert maker.last_choice == (2000 + 2 * weight, 2)
    maker = TemplateMaker(REGTEST, BlockLimits(min_feerate=2000))
    assert len(maker.choose(pool, 1, 0).entries) == 2
    odd = pool_of(5)
    entry = next(iter(odd))
    entry.chunk.size -= 3  # a fraction of a vbyte does not lift the feerate
    maker = TemplateMaker(REGTEST, BlockLimits(min_feerate=5001))
    assert maker.choose(odd, 1, 0).entries == []
    maker = TemplateMaker(REGTEST, BlockLimits(min_feerate=2000))
    assert maker.choose(None, 1, 0).entries == []
    assert maker.last_choice == (8000, 0)


def test_a_new_template_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """In Core's words; a bitcoind logs a weight of 800 for a block without transactions on regtest's genesis."""
    caplog.set_level("INFO")
    pool, tree = pool_of(3, 2), HeaderTree(REGTEST)
    TemplateMaker(REGTEST).template(Mempool(), tree, 0, 1000)
    TemplateMaker(REGTEST).template(pool, tree, 0, 1000)
    fees, weight = sum(entry.fee for entry in pool), sum(entry.weight for entry in pool)
    assert [record.getMessage() for record in caplog.records] == [
        "CreateNewBlock(): block weight: 800 txs: 0 fees: 0 sigops 400",
        f"CreateNewBlock(): block weight: {800 + weight} txs: 2 fees: {fees} sigops 400",
    ]


def test_a_template_is_kept_until_something_better_exists() -> None:
    pool, tree = pool_of(1), HeaderTree(REGTEST)
    maker = TemplateMaker(REGTEST)
    first = maker.template(pool, tree, 0, 1000)
    assert maker.template(pool, tree, 0, 2000) is first
    pool.prioritise(next(iter(pool)).txid, 5000)
    assert maker.template(pool, tree, 0, 1004) is first  # not every few seconds
    second = maker.template(pool, tree, 0, 1006)
    assert second is not first
    assert (second.value, maker.made) == (first.value, 2)  # a delta is no fee


def test_depends_follows_the_inputs() -> None:
    """Of two parents and a child, which spends from them crosswise and twice from one of them."""
    pool = Mempool()
    parents = [spend([coin(n)], 1_000_000, 3000 - n, outputs=2) for n in range(2)]
    prevouts = [output(parents[1]), output(parents[0]), output(parents[1], 1)]
    for tx in (*parents, spend(prevouts, 1_400_000, 100)):
        entry = MempoolEntry(
            tx, fee=3000, weight=4 * len(tx.raw), sigop_cost=0, time=0, height=0, sequence=1,
            spends_coinbase=False, lock_points=LockPoints(-1, -1, -1),
        )  # fmt: skip
        pool.stage([], [entry]).apply(RemovalReason.REPLACED, 0)
    template = TemplateMaker(REGTEST).template(pool, HeaderTree(REGTEST), 0, 1000)
    place = {tx["txid"]: n for n, tx in enumerate(template.transactions, 1)}
    first, second = (place[to_display(parent.txid)] for parent in parents)
    assert [tx["depends"] for tx in template.transactions] == [[], [], [second, first, second]]


def test_a_draft_is_of_its_moment_and_says_when_it_has_seen_too_little() -> None:
    pool, tree = pool_of(1, 4, 2, 3), HeaderTree(REGTEST)
    maker = TemplateMaker(REGTEST)
    expected = TemplateMaker(REGTEST).template(pool, tree, 0, 1000)
    draft, short = maker.draft(pool, tree, 0, 1000), maker.draft(pool, tree, 0, 1000, most=3)
    assert draft is not None and short is not None
    assert short.make() is None  # the fourth would fit, too
    for entry in list(pool):
        pool.remove([entry], RemovalReason.BLOCK)
    made = draft.make()
    assert made is not None and (made.value, made.commitment) == (expected.value, expected.commitment)
    assert made.transactions == expected.transactions and len(made.transactions) == 4
    maker.keep(made)
    assert maker.draft(pool, tree, 0, 1001) is None and maker.template(pool, tree, 0, 1001) is made
    weight = expected.chosen.entries[0].weight
    full = TemplateMaker(REGTEST, BlockLimits(max_weight=2000 + weight + 1, reserved_weight=2000))
    enough = full.draft(pool_of(*range(1, 1500)), tree, 0, 1000, most=1200)
    assert enough is not None
    one = enough.make()
    assert one is not None and len(one.transactions) == 1


def maker_of(**options: Any) -> TemplateMaker:
    settings = settings_of(**options)
    return make_template_maker(settings.mining, settings.params)


def test_options() -> None:
    maker = maker_of(network="regtest")
    assert (maker.limits, maker.version) == (BlockLimits(), None)
    key = secret_encode(b"\x01" * 32, True, REGTEST)
    maker = maker_of(
        network="regtest",
        blockmaxweight=4000,
        blockreservedweight=6000,
        blockmintxfee="0.00005",
        blockversion=1337,
        signetkey=(key,),
    )
    assert maker.limits == BlockLimits(max_weight=6000, reserved_weight=6000, min_feerate=5000)
    assert maker.keys is not None
    assert (maker.version, len(maker.keys.secrets)) == (1337, 1)
    without = maker_of(blockversion=1337)
    assert (without.version, without.keys) == (None, None)


def test_feerates_of_what_is_chosen_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "btcnode")
    pool = pool_of(1)
    entry = next(iter(pool))
    pool.prioritise(entry.txid, 5000)
    caplog.clear()
    maker = maker_of(network="regtest", printpriority=True)
    maker.template(pool, HeaderTree(REGTEST), 0, 1000)
    rate = (entry.fee + 5000) * 1000 // entry.vsize
    assert caplog.messages[0] == f"fee rate 0.{rate:08d} BTC/kvB txid {to_display(entry.txid)}"
    assert len([text for text in caplog.messages if text.startswith("fee rate")]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"blockmaxweight": 4_000_001},
            "Specified -blockmaxweight (4000001) exceeds consensus maximum block weight (4000000)",
        ),
        (
            {"blockreservedweight": 4_000_001},
            "Specified -blockreservedweight (4000001) exceeds consensus maximum block weight (4000000)",
        ),
        (
            {"blockreservedweight": 1999},
            "Specified -blockreservedweight (1999) is lower than minimum safety value of (2000)",
        ),
        ({"blockmintxfee": "x"}, "Invalid amount for -blockmintxfee=<amount>: 'x'"),
        ({"signetkey": ("x",)}, "-signetkey takes a private key of a test network in wallet import format"),
    ],
)
def test_refused_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings_of(**options)
    assert str(refused.value) == message
