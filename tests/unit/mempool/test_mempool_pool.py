"""The pool's limits, its minimum feerate and what it accounts."""

from __future__ import annotations

import gc
import random
import sys
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import pytest

from btcnode.mempool.audit import PoolAudit
from btcnode.mempool.density_index import DensityIndex
from btcnode.mempool.entry import Chunk, Cluster, LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.eviction import DensityEviction, LruKFeeEviction
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import EVICTION_SHARE, ROLLING_FEE_HALFLIFE, Mempool
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx

NO_LOCKS = LockPoints(-1, -1, -1)
START = 1_000_000


def raw_tx(rng: random.Random, inputs: int = 2, outputs: int = 2, prevouts: list[bytes] | None = None) -> bytes:
    spent = prevouts or [rng.randbytes(32) + bytes(4) for _ in range(inputs)]
    txouts = [rng.randrange(10**8).to_bytes(8, "little") + b"\x16\x00\x14" + rng.randbytes(20) for _ in range(outputs)]
    stacks = [[rng.randbytes(72), rng.randbytes(33)] for _ in spent]
    return Tx(2, spent, [b""] * len(spent), [0xFFFFFFFD] * len(spent), txouts, stacks).raw


def entry_of(raw: bytes, fee: int, time: int = START) -> MempoolEntry:
    tx = Tx.parse(raw)
    return MempoolEntry(
        tx, fee=fee, weight=tx.weight, sigop_cost=2, time=time, height=1, sequence=1, spends_coinbase=False,
        lock_points=NO_LOCKS,
    )  # fmt: skip


def add(pool: Mempool, entry: MempoolEntry, now: int = START) -> MempoolEntry:
    pool.stage([], [entry]).apply(RemovalReason.REPLACED, now)
    return entry


def filled(count: int, options: MempoolOptions | None = None) -> Mempool:
    rng = random.Random(count)
    pool = Mempool(options)
    for n in range(count):
        add(pool, entry_of(raw_tx(rng), 100 * (n + 1)))
    return pool


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 2), (10, 2), (2, 40)])
def test_memory_is_accounted_as_it_is_taken(inputs: int, outputs: int) -> None:
    rng = random.Random(inputs * 100 + outputs)
    raws = [raw_tx(rng, inputs, outputs) for _ in range(3000)]
    gc.collect()
    tracemalloc.start()
    try:
        pool = Mempool()
        for raw in raws:
            add(pool, entry_of(raw, rng.randrange(100, 100_000)))
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    taken += sum(map(len, raws))  # the bytes were there before, and belong to the pool from now on
    assert 0.9 < pool.memory_usage / taken < 1.25


def test_a_large_transaction_is_kept_once() -> None:
    rng = random.Random(7)
    data = [b"\x6a" + rng.randbytes(20_000) for _ in range(200)]
    raws = []
    for script in data:
        tx = Tx.parse(raw_tx(rng))
        txouts = [*tx.txouts, bytes(8) + b"\xfd" + len(script).to_bytes(2, "little") + script]
        raws.append(Tx(2, tx.prevouts, tx.script_sigs, tx.sequences, txouts, tx.witnesses).raw)
    stripped = [Tx.parse(raw).stripped() for raw in raws]
    gc.collect()
    tracemalloc.start()
    try:
        pool = Mempool()
        entries = [add(pool, entry_of(raw, rng.randrange(100, 100_000))) for raw in raws]
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0.9 < pool.memory_usage / taken < 1.1
    assert pool.memory_usage < 1.2 * sum(map(len, raws))
    assert [entry.tx.raw for entry in entries] == raws and [entry.tx.stripped() for entry in entries] == stripped
    assert [Tx.parse(raw).wtxid for raw in raws] == [entry.tx.wtxid for entry in entries]


def test_a_full_small_pool_loses_no_more_than_it_must() -> None:
    pool = filled(200)
    worst = next(pool.worst_first())
    assert pool.trim(pool.memory_usage - 1, START) == list(worst.entries)


def test_a_full_pool_loses_its_worst_twentieth_and_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.mempool.pool.BULK_EVICTION_BYTES", 0)
    pool = filled(200)
    limit = pool.memory_usage - 1
    assert pool.minimum_feerate(START) == 0
    gone = pool.trim(limit, START)
    assert sorted(entry.fee for entry in gone) == [100 * (n + 1) for n in range(len(gone))]
    assert len(gone) == pytest.approx(200 / EVICTION_SHARE, abs=1)
    worst = gone[-1]
    expected = worst.fee * 1000 // worst.vsize + pool.options.incremental_feerate
    assert pool.minimum_feerate(START) == expected
    assert pool.trim(limit, START) == [] and pool.evicted == len(gone)
    rates = [chunk.fee / chunk.size for chunk in pool.chunks()]
    assert min(rates) * 4000 + pool.options.incremental_feerate > expected


def test_a_clock_that_is_set_forward_by_years_ends_the_minimum() -> None:
    pool = filled(200)
    pool.trim(pool.memory_usage - 1, START)
    pool.remove_for_block(NoBlock(), START)  # type: ignore[arg-type]
    assert pool.minimum_feerate(START)
    pool.max_bytes = 100 * pool.memory_usage
    assert pool.minimum_feerate(START + 60 * 365 * 86_400) == 0  # 2 ** 175,000 is no float


def test_a_large_pool_is_brought_down_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.mempool.pool.BULK_EVICTION_BYTES", 0)
    monkeypatch.setattr("btcnode.mempool.pool.MOST_AT_ONCE", 3)
    pool = filled(200)
    worst = [entry for chunk in pool.worst_first() for entry in chunk.entries][:11]
    limit = pool.max_bytes = pool.memory_usage - 1
    gone: list[MempoolEntry] = []
    while pool.wants_limits(0):
        some = pool.trim(limit, START)
        assert 0 < len(some) <= 3
        gone += some
    assert set(gone) <= set(worst)
    assert pool.memory_usage <= limit - limit // EVICTION_SHARE
    assert not pool.trim(limit, START)


def test_old_transactions_go_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.mempool.pool.MOST_AT_ONCE", 50)
    pool, sizes = filled(120), []
    while pool.wants_limits(START + 1_000):
        sizes.append(len(pool.expire(START + 1_000)))
    assert sizes == [50, 50, 20] and not len(pool)


def test_a_moment_stays_as_it_was() -> None:
    pool = filled(20)
    first = pool.in_order()[0]
    pool.prioritise(first.txid, 7)
    moment, order = pool.moment(), pool.in_order()
    pool.prioritise(order[-1].txid, 10**6)
    pool.remove(order[5:10], RemovalReason.CONFLICT)
    assert list(moment.entries()) == order != pool.in_order()
    assert dict(moment.deltas) == {first.txid: 7}
    assert moment.sequence < pool.sequence


class NoBlock:
    txids = (b"\x00" * 32,)

    def prevouts(self) -> list[bytes]:
        return [bytes(36)]


class BlockOf:
    """Confirms entries; no input is a stranger's."""

    def __init__(self, entries: Sequence[MempoolEntry]) -> None:
        self.txids = [b"\xcb" * 32, *(entry.txid for entry in entries)]

    def prevouts(self) -> list[bytes]:
        raise AssertionError("what is here spends what nobody else here spends")


class TwoSpenders:
    """Confirms an entry, and a stranger that spends the same coin: a replay of what was seen may have such blocks."""

    first_in = (0, 1, 2, 3)

    def __init__(self, entry: MempoolEntry) -> None:
        self.txids = [b"\xcb" * 32, entry.txid, b"\x5a" * 32]
        self._prevout = entry.tx.prevouts[0]

    def prevouts(self) -> list[bytes]:
        return [bytes(36), self._prevout, self._prevout]


def test_what_a_block_confirms_is_no_conflict_of_it() -> None:
    pool = filled(3)
    order = pool.in_order()
    assert pool.remove_for_block(TwoSpenders(order[1]), START) == [order[1]]  # type: ignore[arg-type]
    assert pool.in_order() == [order[0], order[2]]


def test_places_in_the_order_outlast_a_block_and_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.mempool.pool.BULK", 50)
    monkeypatch.setattr("btcnode.mempool.pool.TIDY_AT_ONCE", 30)
    pool = filled(200)
    order = pool.in_order()
    pool.remove_for_block(BlockOf(order[100:150]), START)  # type: ignore[arg-type]
    assert not pool.is_untidy
    pool.remove_for_block(BlockOf(order[:80]), START)  # type: ignore[arg-type]
    left = order[80:100] + order[150:]
    assert pool.is_untidy and pool.in_order() == left and pool.best(5) == left[:5]
    assert [chunk.entries[0] for chunk in pool.worst_first()] == left[::-1]
    sizes = []
    while pool.is_untidy:
        sizes.append(len(pool._index._items))
        pool.tidy()
    assert sizes == [150, 120, 90] and len(pool._index._items) == 70 == len(pool._index)
    assert pool.in_order() == left


def test_what_comes_back_before_its_place_was_given_up_has_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is left again: the same transaction has the same place in the order."""
    monkeypatch.setattr("btcnode.mempool.pool.BULK", 0)
    pool = filled(20)
    order = pool.in_order()
    pool.remove_for_block(BlockOf(order[:10]), START)  # type: ignore[arg-type]
    back = [add(pool, entry_of(entry.tx.raw, entry.fee)) for entry in order[:3]]
    assert pool.in_order() == [*back, *order[10:]]
    pool.tidy()
    assert not pool.is_untidy and pool.in_order() == [*back, *order[10:]]


def test_places_of_many_blocks_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may have called for them to be given up."""
    monkeypatch.setattr("btcnode.mempool.pool.BULK", 10)
    monkeypatch.setattr("btcnode.mempool.pool.MOST_UNTIDY", 25)
    pool = filled(200)
    order = pool.in_order()
    for start in range(0, 160, 20):
        pool.remove_for_block(BlockOf(order[start : start + 20]), START)  # type: ignore[arg-type]
        assert pool._index.untidy <= 25
    assert pool.in_order() == order[160:]


@pytest.mark.parametrize(("share", "speed"), [(0.9, 1), (0.4, 2), (0.2, 4)])
def test_the_minimum_halves_with_time_once_a_block_has_come(share: float, speed: int) -> None:
    pool = filled(200)
    pool.trim(pool.memory_usage - 1, START)
    risen = pool.minimum_feerate(START)
    pool.max_bytes = int(pool.memory_usage / share)
    assert pool.minimum_feerate(START + 10 * ROLLING_FEE_HALFLIFE) == risen  # without a block it stays
    pool.remove_for_block(NoBlock(), START)  # type: ignore[arg-type]
    assert pool.minimum_feerate(START + 10) == risen
    assert pool.minimum_feerate(START + ROLLING_FEE_HALFLIFE // speed) == round(risen / 2)
    assert pool.minimum_feerate(START + 5 * ROLLING_FEE_HALFLIFE) <= risen / 8
    assert pool.minimum_feerate(START + 50 * ROLLING_FEE_HALFLIFE) == 0


def test_what_is_too_old_goes_with_its_children() -> None:
    rng = random.Random(1)
    pool = Mempool()
    old = add(pool, entry_of(raw_tx(rng), 1000, START))
    child = add(pool, entry_of(raw_tx(rng, prevouts=[old.txid + bytes(4)]), 1000, START + 1000))
    young = add(pool, entry_of(raw_tx(rng), 1000, START + 10))
    assert pool.expire(START) == []
    assert pool.expire(START + 1) == [old, child]
    assert list(pool) == [young]
    assert pool.expire(START + 11) == [young]
    for n in range(20):
        entry = add(pool, entry_of(raw_tx(rng), 10, START + n))
        pool.remove([entry], RemovalReason.CONFLICT)
    assert pool.expire(START + 100) == []


def test_the_audit_finds_what_should_not_be_there() -> None:
    rng = random.Random(2)
    pool = Mempool()
    good = add(pool, entry_of(raw_tx(rng), 1000))
    lost = add(pool, entry_of(raw_tx(rng), 1000))
    heir = add(pool, entry_of(raw_tx(rng, prevouts=[lost.txid + bytes(4)]), 1000))
    coins = set(good.tx.prevouts)
    assert pool.audit(lambda wanted: [outpoint in coins for outpoint in wanted], 0, 10) == 0
    assert list(pool) == [good] and heir.txid not in pool


def test_the_audit_follows_an_eviction_piece_by_piece() -> None:
    pool = filled(20)
    audit = PoolAudit(pool)
    asked: list[bytes] = []

    def has_coins(outpoints: Sequence[bytes]) -> list[bool]:
        asked.extend(outpoints)
        return [True] * len(outpoints)

    assert not audit.examine(has_coins, 8)
    pool.trim(pool.memory_usage - 1)
    left = len(pool)
    assert left < 20
    steps = 0
    while audit.examine(has_coins, 8):
        steps += 1
    assert (steps, len(asked)) == (left // 8 + 1, 2 * left)
    assert not audit.examine(has_coins, 8)
    pool.trim(pool.memory_usage - 1)
    assert audit.examine(lambda outpoints: [False] * len(outpoints), 100)
    assert len(pool) == 0


def test_lruk_weighs_interest_against_fee() -> None:
    rng = random.Random(3)
    eviction = LruKFeeEviction()
    pool = Mempool(eviction=eviction)
    dear = add(pool, entry_of(raw_tx(rng), 50_000))
    cheap = add(pool, entry_of(raw_tx(rng), 300))
    fresh = add(pool, entry_of(raw_tx(rng), 300), START + 40 * 3600)
    now = START + 40 * 3600
    assert eviction.score(cheap, now) > eviction.score(dear, now) > eviction.score(fresh, now)
    for seconds in range(3):
        pool.touch(cheap, now + seconds)
    assert eviction.score(cheap, now) < eviction.score(dear, now)
    order = [victims[0].txid for victims, _, _ in eviction.victims(DensityIndex())]
    assert order[0] == dear.txid
    assert pool.trim(pool.memory_usage - 1, now) == [dear]


def lruk_pool(max_bytes: int = 10**9) -> tuple[Mempool, LruKFeeEviction, random.Random]:
    eviction = LruKFeeEviction()
    return Mempool(MempoolOptions(max_bytes=max_bytes), eviction=eviction), eviction, random.Random(9)


def test_lruk_takes_a_peers_interest_once_and_not_too_often() -> None:
    pool, eviction, rng = lruk_pool()
    entry = add(pool, entry_of(raw_tx(rng), 1000))
    spacing, now = eviction.PEER_SPACING, START

    def age() -> int:
        return now - eviction._interest[entry].touches[0][0]

    for source in range(5):
        pool.touch(entry, now + 1, source)  # with the wave of its first relay: no news
    now += 10 * spacing
    for _ in range(20):
        pool.touch(entry, now, 7)
        now += spacing
    assert len(eviction._interest[entry].touches) == 2  # the same peer again and again
    pool.touch(entry, now, 8)
    pool.touch(entry, now + 1, 9)  # too soon
    assert age() == now - START
    pool.touch(entry, now + spacing, 9)
    assert age() < now - START
    for source in range(100, 200):
        now += spacing
        pool.touch(entry, now, source)
    assert age() > 80 * spacing  # a crowd of peers can do no more than so often
    for _ in range(3):
        pool.touch(entry, now)
    assert age() == 0  # the user can


def test_lruk_remembers_what_has_gone() -> None:
    pool, eviction, rng = lruk_pool()
    raw = raw_tx(rng)
    old = add(pool, entry_of(raw, 1000))
    pool.remove([old], RemovalReason.SIZELIMIT)
    add(pool, entry_of(raw_tx(rng), 1000), START + 3600)
    back = add(pool, entry_of(raw, 1000, START + 7200), START + 7200)
    assert pool.trim(pool.memory_usage - 1, START + 7200) == [back]
    for _ in range(eviction.REMEMBERED + 10):
        eviction._gone[rng.randbytes(32)] = eviction._gone[raw_id(raw)]
    pool.remove([add(pool, entry_of(raw_tx(rng), 1000))], RemovalReason.SIZELIMIT)
    before = len(eviction._gone)
    pool.remove([add(pool, entry_of(raw_tx(rng), 1000))], RemovalReason.SIZELIMIT)
    assert len(eviction._gone) == before


def raw_id(raw: bytes) -> bytes:
    return Tx.parse(raw).txid


def test_lruk_keeps_the_parents_of_what_is_fresh() -> None:
    pool, _, rng = lruk_pool()
    parent = add(pool, entry_of(raw_tx(rng), 5000))
    child = add(pool, entry_of(raw_tx(rng, prevouts=[parent.txid + bytes(4)]), 300))  # a chunk of its own
    other = add(pool, entry_of(raw_tx(rng), 50_000), START + 60)
    assert parent.chunk is not child.chunk
    for _ in range(3):
        pool.touch(child, START + 3600)
    assert pool.trim(pool.memory_usage - 1, START + 3600) == [other]
    assert pool.trim(pool.memory_usage - 1, START + 3600) == [child]  # never a parent before it


def test_lruk_does_not_make_a_good_feerate_the_minimum() -> None:
    pool, _, rng = lruk_pool(max_bytes=100_000)
    dear = [add(pool, entry_of(raw_tx(rng), 500 * 200)) for _ in range(20)]
    now = START + 24 * 3600
    cheapest = 5
    while pool.memory_usage <= 100_000:
        add(pool, entry_of(raw_tx(rng), cheapest * 250), now)
    gone = pool.trim(100_000, now)
    assert gone and set(gone) <= set(dear)
    assert 0 < pool.minimum_feerate(now) < 10_000


def test_lruk_makes_a_flood_dearer_with_every_turn_of_the_pool() -> None:
    budget = 200_000
    pool, _, rng = lruk_pool(max_bytes=budget)
    for _ in range(60):
        add(pool, entry_of(raw_tx(rng), 500 * 200))
    now, taken = START + 24 * 3600, 0
    minimums = [0]
    for raw in [raw_tx(rng) for _ in range(600)]:
        size = entry_of(raw, 1).vsize
        fee = (max(pool.minimum_feerate(now), 1000) + 200) * size // 1000
        taken += add(pool, entry_of(raw, fee), now).memory
        pool.trim(budget, now)
        if taken > len(minimums) * budget:
            minimums.append(pool.minimum_feerate(now))
    assert len(minimums) > 5 and minimums[1] > 1000
    assert all(later >= before + 100 for before, later in pairwise(minimums))  # the increment at least


def test_lruk_looks_at_a_few_chunks_for_each_admission(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, eviction, rng = lruk_pool(max_bytes=1_000_000)
    seen = [0]
    add_cluster = LruKFeeEviction._add

    def counted(policy: LruKFeeEviction, cluster: Cluster) -> None:
        seen[0] += len(cluster.chunks)
        add_cluster(policy, cluster)

    monkeypatch.setattr(LruKFeeEviction, "_add", counted)
    for n in range(1000):
        entry = add(pool, entry_of(raw_tx(rng), 300 + n), START + n)
        pool.touch(entry, START + n + 1)
        pool.trim(1_000_000, START + n)
    assert pool.evicted > 500
    assert seen[0] <= 2000
    assert len(eviction._order) == len(eviction._keys) == len(pool)


def test_a_stale_proposal_is_refused() -> None:
    rng = random.Random(4)
    pool = Mempool()
    staged = pool.stage([], [entry_of(raw_tx(rng), 1)])
    add(pool, entry_of(raw_tx(rng), 1))
    with pytest.raises(RuntimeError, match="changed"):
        staged.apply(RemovalReason.REPLACED, START)


def test_clusters_are_limited() -> None:
    rng = random.Random(5)
    pool = Mempool(MempoolOptions(cluster_count=3))
    last = add(pool, entry_of(raw_tx(rng), 1000))
    for _ in range(2):
        last = add(pool, entry_of(raw_tx(rng, prevouts=[last.txid + bytes(4)]), 1000))
    staged = pool.stage([], [entry_of(raw_tx(rng, prevouts=[last.txid + bytes(4)]), 1000)])
    assert staged.oversized
    with pytest.raises(ValueError, match="too large"):
        staged.diagrams()
    small = Mempool(MempoolOptions(cluster_vbytes=100))
    assert small.stage([], [entry_of(raw_tx(rng), 1000)]).oversized


def test_a_child_that_pays_lifts_its_parent() -> None:
    rng = random.Random(6)
    pool = Mempool()
    parent = add(pool, entry_of(raw_tx(rng), 0))
    other = add(pool, entry_of(raw_tx(rng), 5000))
    assert pool.in_order() == [other, parent]
    child = add(pool, entry_of(raw_tx(rng, prevouts=[parent.txid + bytes(4)]), 20_000))
    assert pool.in_order() == [parent, child, other]
    assert parent.chunk is child.chunk and parent.chunk.fee == 20_000
    pool.prioritise(child.txid, -19_000)
    assert pool.in_order()[0] is other
    pool.prioritise(child.txid, 19_000)
    assert pool.in_order() == [parent, child, other] and not pool.deltas


def test_best_is_the_top_of_the_order() -> None:
    rng = random.Random(8)
    pool = Mempool()
    entries = [add(pool, entry_of(raw_tx(rng), fee)) for fee in (1000, 9000, 4000)]
    assert pool.best(2) == [entries[1], entries[2]]
    assert pool.best(10) == pool.in_order() and pool.best(0) == []


# -- the user's transactions that nobody has asked for yet ------------------------------------------------------------


def unbroadcast_pair(pool: Mempool) -> tuple[MempoolEntry, MempoolEntry]:
    """A parent and its child from the user."""
    rng = random.Random(3)
    parent = add(pool, entry_of(raw_tx(rng, outputs=1), 1000))
    child = add(pool, entry_of(raw_tx(rng, prevouts=[parent.txid + bytes(4)]), 1000))
    pool.add_unbroadcast(parent.txid)
    pool.add_unbroadcast(child.txid)
    return parent, child


def test_only_what_is_here_waits_to_be_broadcast() -> None:
    pool = Mempool()
    parent, child = unbroadcast_pair(pool)
    pool.add_unbroadcast(bytes(32))
    assert set(pool.unbroadcast) == {parent.txid, child.txid}


def test_a_request_ends_the_wait(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "btcnode.mempool")
    pool = Mempool()
    parent, child = unbroadcast_pair(pool)
    pool.remove_unbroadcast(parent.txid)
    pool.remove_unbroadcast(parent.txid)
    assert list(pool.unbroadcast) == [child.txid]
    assert caplog.messages == [f"Removed {to_display(parent.txid)} from set of unbroadcast txns"]


@pytest.mark.parametrize("way", ["replaced", "evicted", "expired", "removed"])
def test_what_leaves_the_pool_waits_no_longer(way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "btcnode.mempool")
    pool = Mempool()
    parent, child = unbroadcast_pair(pool)
    if way == "replaced":
        other = entry_of(raw_tx(random.Random(4), prevouts=parent.tx.prevouts), 9000)
        pool.stage([parent, child], [other]).apply(RemovalReason.REPLACED, START)
    elif way == "evicted":
        pool.trim(0, START)
    elif way == "expired":
        pool.expire(START + 1)
    else:
        pool.remove([parent], RemovalReason.REORG)
    assert parent.txid not in pool and not pool.unbroadcast
    reason = "from set of unbroadcast txns before confirmation that txn was sent out"
    for entry in (parent, child):
        assert f"Removed {to_display(entry.txid)} {reason}" in caplog.messages


def test_what_leaves_together_leaves_by_txid() -> None:
    pool = Mempool()
    gone: list[bytes] = []
    pool.listen(lambda entry: None, lambda entry, reason: gone.append(entry.txid))
    rng = random.Random(9)
    root = add(pool, entry_of(raw_tx(rng, outputs=30), 0))
    children = [
        add(pool, entry_of(raw_tx(rng, prevouts=[root.txid + n.to_bytes(4, "little")]), 5000)) for n in range(30)
    ]
    pool.expire(START + 1)
    assert gone == sorted(entry.txid for entry in (root, *children))


def test_deltas_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "btcnode.mempool")
    pool = Mempool()
    entry = add(pool, entry_of(raw_tx(random.Random(1)), 1000))
    pool.prioritise(entry.txid, 5000)
    pool.prioritise(entry.txid, -5000)
    pool.prioritise(bytes(32), -1)
    here, absent = to_display(entry.txid), "0" * 64
    assert caplog.messages == [
        f"PrioritiseTransaction: {here} (in mempool) fee += 0.00005, new delta=0.00005",
        f"PrioritiseTransaction: {here} (in mempool) delta cleared",
        f"PrioritiseTransaction: {absent} (not in mempool) fee += -0.00000001, new delta=-0.00000001",
    ]


@pytest.mark.parametrize("reason", [RemovalReason.REORG, RemovalReason.CONFLICT, RemovalReason.EXPIRY])
def test_the_order_of_leaving(reason: RemovalReason) -> None:
    rng = random.Random(5)
    raws = sorted([raw_tx(rng) for _ in range(6)], key=lambda raw: Tx.parse(raw).txid, reverse=True)
    pool = Mempool()
    left: list[bytes] = []
    pool.listen(lambda entry: None, lambda entry, reason: left.append(entry.txid))
    came = [add(pool, entry_of(raw, 1000, START + n)) for n, raw in enumerate(raws)]
    child = add(pool, entry_of(raw_tx(rng, prevouts=[came[0].txid + bytes(4)]), 1000, START + 9))
    other = [add(pool, entry_of(raw_tx(rng, prevouts=[child.txid + bytes([n, 0, 0, 0])]), 1000, START + 10 + n))
             for n in range(2)]  # fmt: skip
    pool.remove([came[5], came[0], came[2]], reason)
    order = [came[2], came[5], came[0], child, *other]  # the cluster of the first has grown last
    assert left == [entry.txid for entry in order] if reason is not RemovalReason.EXPIRY else sorted(left) == left
    assert set(left) == {entry.txid for entry in order}


def kin(rng: random.Random, pool: Mempool) -> list[MempoolEntry]:
    """A parent, its two children, and somebody without relatives."""
    parent = add(pool, entry_of(raw_tx(rng, outputs=2), 1000))
    children = [
        add(pool, entry_of(raw_tx(rng, prevouts=[parent.txid + n.to_bytes(4, "little")]), 2000 + n)) for n in (0, 1)
    ]
    return [parent, *children, add(pool, entry_of(raw_tx(rng), 500))]


@pytest.mark.parametrize("bulk", [-1, 1_000])
@pytest.mark.parametrize("eviction", [DensityEviction, LruKFeeEviction])
def test_what_leaves_is_free_at_once(
    bulk: int, eviction: type[DensityEviction] | type[LruKFeeEviction], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No circle is left that the garbage collector would have to find, which does not look here."""
    monkeypatch.setattr("btcnode.mempool.pool.BULK", bulk)
    rng = random.Random(5)
    pool = Mempool(eviction=eviction())
    entries = kin(rng, pool)
    parts: list[object] = [*(entry.chunk for entry in entries), *(entry.cluster for entry in entries)]
    pool.prioritise(entries[1].txid, 50_000)  # another cluster in the place of the first
    parts += [*(entry.chunk for entry in entries), *(entry.cluster for entry in entries)]
    pool.remove([entries[1]], RemovalReason.REPLACED)
    pool.remove([entries[0]], RemovalReason.EXPIRY)
    pool.trim(0, START)
    while pool.is_untidy:
        pool.tidy()
    assert not len(pool)
    parts += entries
    parts = list({id(part): part for part in parts}.values())
    entries.clear()
    for kind in (Chunk, Cluster, MempoolEntry):  # each may refer to those behind it, and nobody to what is left
        for n in range(len(parts)):
            if type(parts[n]) is kind:
                one, parts[n] = parts[n], None
                count = sys.getrefcount(one)
                assert count == 2, one  # the name's and the call's
                del one


def test_the_collector_does_not_look_at_the_pool() -> None:
    rng = random.Random(8)
    raws = [raw_tx(rng) for _ in range(2_000)]
    gc.collect()
    before = len(gc.get_objects())
    pool = Mempool()
    for raw in raws:
        add(pool, entry_of(raw, rng.randrange(100, 100_000)))
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    referred = [pool._entries, pool._by_wtxid, pool._spenders]
    assert not any(map(gc.is_tracked, referred))
    pool.remove(list(pool)[:500], RemovalReason.BLOCK)
    assert not any(map(gc.is_tracked, referred))
