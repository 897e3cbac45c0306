"""What has to go when a reorganisation joins clusters that are too large together."""

from __future__ import annotations

import random

import pytest

from btcnode.mempool.entry import MempoolEntry
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.mempool.trimming import Heap

from .test_mempool_pool import add, entry_of, raw_tx

LIMIT = 64


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, [0]),
        (2, [1, 0]),
        (3, [2, 1, 0]),
        (7, [2, 6, 4, 1, 100, 101, 102, 5, 3, 0]),
        (8, [2, 7, 6, 100, 101, 102, 4, 1, 5, 0, 3]),
        (12, [2, 7, 6, 11, 100, 101, 102, 9, 4, 1, 0, 10, 5, 8, 3]),
    ],
)
def test_equals_leave_the_heap_as_in_libstdcxx(count: int, expected: list[int]) -> None:
    """What ``make_heap``, ``pop_heap`` and ``push_heap`` of GCC 12 do with these."""
    heap = Heap([(n * 7 % 5 // 2, n) for n in range(count)], lambda left, right: left[0] < right[0])
    taken, more = [], iter(range(100, 103))
    while heap:
        taken.append(heap.pop()[1])
        if len(heap) % 4 == 3 and (new := next(more, None)) is not None:
            heap.push((1, new))
    assert taken == expected


def _child(rng: random.Random, parent: MempoolEntry, n: int, fee: int) -> MempoolEntry:
    return entry_of(raw_tx(rng, prevouts=[parent.txid + n.to_bytes(4, "little")]), fee)


def test_the_best_stay_up_to_the_limit() -> None:
    rng = random.Random(1)
    parent = entry_of(raw_tx(rng, outputs=90), 1000)
    pool = Mempool()
    children = [add(pool, _child(rng, parent, n, 1000 + 7 * n)) for n in range(90)]
    add(pool, parent)
    gone = pool.join([parent])
    assert gone == children[: 90 - LIMIT + 1]
    assert set(pool.cluster_of(parent).entries) == {parent, *children[90 - LIMIT + 1 :]}
    assert {entry for chunk in pool.chunks() for entry in chunk.entries} == set(pool)


def test_what_depends_on_what_goes_goes_too() -> None:
    """Chains under one parent: the better chain is taken first, the rest of the other one goes from its end."""
    rng = random.Random(2)
    parent = entry_of(raw_tx(rng), 1000)
    pool = Mempool()
    chains = []
    for n, fee in enumerate((500, 5000)):
        chain = [add(pool, _child(rng, parent, n, fee))]
        while len(chain) < 40:
            chain.append(add(pool, _child(rng, chain[-1], 0, fee)))
        chains.append(chain)
    add(pool, parent)
    assert pool.join([parent]) == chains[0][LIMIT - 41 :]
    assert len(pool.cluster_of(parent).entries) == LIMIT
    assert pool.descendants(parent) and set(pool.descendants(parent)) == set(pool) - {parent}


def test_weight_counts_as_well() -> None:
    rng = random.Random(3)
    pool = Mempool(MempoolOptions(cluster_vbytes=1000))
    parent = entry_of(raw_tx(rng, outputs=9), 1000)
    children = [add(pool, _child(rng, parent, n, 1000 + n)) for n in range(9)]
    add(pool, parent)
    gone = pool.join([parent])
    assert gone == children[: len(gone)]
    assert 4000 - children[0].size < pool.cluster_of(parent).size <= 4000


def test_nothing_goes_within_the_limits() -> None:
    rng = random.Random(4)
    pool = Mempool()
    parent = entry_of(raw_tx(rng, outputs=5), 1000)
    children = [add(pool, _child(rng, parent, n, 1000 + n)) for n in range(5)]
    add(pool, parent)
    assert pool.join([parent]) == []
    assert set(pool.cluster_of(parent).entries) == {parent, *children}
    version = pool.version
    assert pool.join([parent]) == [] and pool.version == version
