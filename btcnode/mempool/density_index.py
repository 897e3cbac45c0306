"""The order of all chunks by fee density.

All chunks of all clusters stand in it, best first, with logarithmic insertion, removal and access to both ends. Mining
takes from its head, eviction from its tail.
"""

from __future__ import annotations

from collections.abc import Iterator

from sortedcontainers import SortedList

from btcnode.mempool.entry import Chunk, Cluster


class DensityIndex:
    """All chunks, best first."""

    def __init__(self) -> None:
        self._items: SortedList[tuple[int, int, bytes, Chunk]] = SortedList()

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Chunk]:
        return (item[3] for item in self._items)

    def add(self, cluster: Cluster) -> None:
        """Take in a cluster's chunks, and tell its entries where they belong."""
        for chunk in cluster.chunks:
            self._items.add((*chunk.key, chunk))
            for entry in chunk.entries:
                entry.chunk = chunk
                entry.cluster = cluster

    def discard(self, cluster: Cluster) -> None:
        """Take a cluster's chunks out; raises ValueError when they are not here."""
        for chunk in cluster.chunks:
            self._items.remove((*chunk.key, chunk))

    def between(self, start: int, stop: int) -> list[Chunk]:
        """The chunks at these places, the best first; the index may change between two calls."""
        return [item[3] for item in self._items.islice(start, stop)]

    def all_chunks(self) -> list[Chunk]:
        """All chunks, the best first: a list of its own, a few milliseconds for a hundred thousand."""
        return [item[3] for item in list(self._items)]

    def worst_first(self) -> Iterator[Chunk]:
        """All chunks, the worst first; the index may not change meanwhile."""
        return (item[3] for item in reversed(self._items))
