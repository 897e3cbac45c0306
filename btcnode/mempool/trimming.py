"""Clusters that a reorganisation joins: what has to go so that none exceeds the limits (Core's ``TxGraph::Trim``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from btcnode.mempool.entry import Cluster, MempoolEntry
from btcnode.mempool.feerate import FeeSize

Link = tuple[MempoolEntry, MempoolEntry]  # parent and child
T = TypeVar("T")


class Heap(Generic[T]):
    """A binary heap that moves its items exactly as libstdc++ does: which of equals is taken first is seen outside."""

    def __init__(self, items: list[T], is_less: Callable[[T, T], bool]) -> None:
        """Makes a heap of ``items`` in place; the greatest comes first."""
        self._items = items
        self._is_less = is_less
        for at in range(len(items) // 2 - 1, -1, -1):
            self._sink(at, items[at], len(items))

    def __len__(self) -> int:
        return len(self._items)

    def push(self, item: T) -> None:
        """Add one."""
        self._items.append(item)
        self._rise(len(self._items) - 1, 0, item)

    def pop(self) -> T:
        """Take the greatest; raises IndexError when there is none."""
        items = self._items
        last = items.pop()
        if not items:
            return last
        first = items[0]
        self._sink(0, last, len(items))
        return first

    def _sink(self, hole: int, item: T, count: int) -> None:
        """Down to a leaf along the greater children, then up to where the item belongs."""
        items, top, child = self._items, hole, hole
        while child < (count - 1) // 2:
            child = 2 * (child + 1)
            if self._is_less(items[child], items[child - 1]):
                child -= 1
            items[hole] = items[child]
            hole = child
        if not count & 1 and child == (count - 2) // 2:
            child = 2 * (child + 1)
            items[hole] = items[child - 1]
            hole = child - 1
        self._rise(hole, top, item)

    def _rise(self, hole: int, top: int, item: T) -> None:
        items = self._items
        while hole > top and self._is_less(items[parent := (hole - 1) // 2], item):
            items[hole] = items[parent]
            hole = parent
        items[hole] = item


class _Partition:
    """Transactions that would be one cluster; merged ones lead to the one that they are part of now."""

    __slots__ = ("count", "into", "size")

    def __init__(self, size: int) -> None:
        self.into: _Partition | None = None
        self.count = 1
        self.size = size

    def whole(self) -> _Partition:
        """What it is part of now."""
        found = self
        while found.into is not None:
            if found.into.into is not None:
                found.into = found.into.into
            found = found.into
        return found


def surplus(
    clusters: Sequence[Cluster],
    links: Iterable[Link],
    age: Callable[[MempoolEntry], int],
    max_count: int,
    max_size: int,
) -> list[MempoolEntry]:
    """What has to go when ``links`` join ``clusters`` to more than ``max_count`` entries or ``max_size`` weight units.

    Everything that depends on one of them is among them, by ascending ``age``. Entries are taken by falling feerate of
    their chunk, each after those before it in its cluster's order and after its new parents, unless the cluster that
    grows by it would be too large; the others go. Takes O(n log n) for n entries and links.
    """
    entries = sorted((entry for cluster in clusters for entry in cluster.entries), key=age)
    if len(entries) <= max_count and sum(entry.size for entry in entries) <= max_size:
        return []
    parents: dict[MempoolEntry, list[MempoolEntry]] = {entry: [] for entry in entries}
    children: dict[MempoolEntry, list[MempoolEntry]] = {entry: [] for entry in entries}
    chains = (pair for cluster in clusters for pair in zip(cluster.entries, cluster.entries[1:], strict=False))
    for parent, child in sorted([*chains, *links], key=lambda link: age(link[1])):
        parents[child].append(parent)
        children[parent].append(child)
    waits_for = {entry: len(found) for entry, found in parents.items()}
    ready = Heap([entry for entry in entries if not waits_for[entry] and entry.size <= max_size], _is_worse)
    taken: dict[MempoolEntry, _Partition] = {}
    while ready:
        entry = ready.pop()
        joined = {id(whole): whole for parent in parents[entry] for whole in [taken[parent].whole()]}
        mine = _Partition(entry.size)
        count = 1 + sum(other.count for other in joined.values())
        size = entry.size + sum(other.size for other in joined.values())
        if count > max_count or size > max_size:
            continue
        for other in joined.values():
            small, large = sorted((mine, other), key=lambda part: part.count)
            small.into = large
            large.count += small.count
            large.size += small.size
            mine = large
        taken[entry] = mine
        for child in children[entry]:
            waits_for[child] -= 1
            if not waits_for[child]:
                ready.push(child)
    return [entry for entry in entries if entry not in taken]


def _is_worse(left: MempoolEntry, right: MempoolEntry) -> bool:
    """Whether the chunk of ``left`` has the lower feerate, or the same and is larger."""
    one: FeeSize = left.chunk.feerate
    other: FeeSize = right.chunk.feerate
    mine, its = one[0] * other[1], other[0] * one[1]
    return mine < its or (mine == its and one[1] > other[1])
