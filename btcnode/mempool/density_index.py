"""The order of all chunks by fee density.

All chunks of all clusters stand in it, best first, with logarithmic insertion, removal and access to both ends. Mining
takes from its head, eviction from its tail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from btcnode.collector import leave_out
from btcnode.mempool.entry import Chunk, Cluster

LISTS_EVERY = 500  # clusters; a list is split at 2,000 items


class DensityIndex:
    """All chunks, best first.

    A block takes thousands out at once, and a place among hundreds of thousands costs some microseconds to find. So
    ``discard_all`` only notes what is gone, which nobody sees any more, and ``tidy`` gives the places up in pieces.
    """

    def __init__(self) -> None:
        self._items: SortedList[tuple[int, int, bytes, Chunk]] = SortedList()
        self._added = 0
        self._gone: dict[bytes, Chunk] = {}  # by the last part of the key; still among the items

    def __len__(self) -> int:
        return len(self._items) - len(self._gone)

    def __iter__(self) -> Iterator[Chunk]:
        return self._living(self._items)

    def _living(self, items: Iterable[tuple[int, int, bytes, Chunk]]) -> Iterator[Chunk]:
        gone = self._gone
        return (item[3] for item in items if item[2] not in gone) if gone else (item[3] for item in items)

    def add(self, cluster: Cluster) -> None:
        """Take in a cluster's chunks, and tell its entries where they belong."""
        for chunk in cluster.chunks:
            if self._gone and (before := self._gone.pop(chunk.key[2], None)) is not None:
                self._items.remove((*before.key, before))  # it may have the same key
            item = (*chunk.key, chunk)
            self._items.add(item)
            for entry in chunk.entries:
                entry.chunk = chunk
                entry.cluster = cluster
            leave_out(item, chunk, chunk.entries)
        leave_out(cluster, cluster.entries, cluster.chunks)
        self._added += 1
        if not self._added % LISTS_EVERY:
            leave_out(*getattr(self._items, "_lists", ()))  # a thousand items each; where it has such lists

    def discard(self, cluster: Cluster) -> None:
        """Take a cluster's chunks out; raises ValueError when they are not here."""
        for chunk in cluster.chunks:
            self._items.remove((*chunk.key, chunk))

    def discard_all(self, clusters: Iterable[Cluster]) -> None:
        """Take out the chunks of many clusters, which are here; ``untidy`` until ``tidy`` has been called for them."""
        self._gone.update([(chunk.key[2], chunk) for cluster in clusters for chunk in cluster.chunks])

    @property
    def untidy(self) -> int:
        """Places that are left of what is gone."""
        return len(self._gone)

    def tidy(self, most: int) -> None:
        """Give up the places of at most so many chunks that are gone (none for less than one)."""
        for _ in range(min(most, len(self._gone))):
            _, chunk = self._gone.popitem()
            self._items.remove((*chunk.key, chunk))

    def between(self, start: int, stop: int) -> list[Chunk]:
        """The chunks at these places, the best first; the index may change between two calls."""
        self.tidy(len(self._gone))  # places count
        return [item[3] for item in self._items.islice(start, stop)]

    def all_chunks(self) -> list[Chunk]:
        """All chunks, the best first: a list of its own, a few milliseconds for a hundred thousand."""
        return list(self._living(list(self._items)))

    def worst_first(self) -> Iterator[Chunk]:
        """All chunks, the worst first; the index may not change meanwhile."""
        return self._living(reversed(self._items))
