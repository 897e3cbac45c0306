"""Clusters of dependent transactions, their chunks, and the order of all chunks by fee density.

A cluster is linearised and cut into chunks; the index holds all chunks of all clusters, best first, in a structure with
logarithmic insertion, removal and access to both ends. Mining takes from its head, eviction from its tail.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sortedcontainers import SortedList

from btcnode.mempool.entry import MempoolEntry
from btcnode.mempool.feerate import FeeSize
from btcnode.mempool.linearize import chunk_up, linearize

_RATE_BITS = 48
"""Feerates are compared as integers ``(fee << 48) // size``: two different ones of transactions and chunks up to 2**23
weight units differ by more than 2**-46, so that their integers differ, too; equal ones have the same."""

Key = tuple[int, int, bytes]


class Chunk:
    """Transactions that are mined together: ``entries`` in order, fee (modified) and size in weight units.

    ``key`` sorts chunks best first: by feerate, then by the size of the cluster's chunks of the same feerate up to this
    one, then by the largest txid (Core's order).
    """

    __slots__ = ("cluster", "entries", "fee", "key", "size")

    def __init__(self, cluster: Cluster, entries: tuple[MempoolEntry, ...], fee: int, size: int, prefix: int) -> None:
        self.cluster = cluster
        self.entries = entries
        self.fee = fee
        self.size = size
        largest = entries[0].txid if len(entries) == 1 else max([entry.txid for entry in entries])
        self.key: Key = (-((fee << _RATE_BITS) // size), prefix, largest)

    @property
    def feerate(self) -> FeeSize:
        """Fee and size."""
        return self.fee, self.size


class Cluster:
    """Transactions connected by dependencies: ``entries`` in linearised order, and their chunks, best first."""

    __slots__ = ("chunks", "entries")

    def __init__(self, entries: Sequence[MempoolEntry], chunks: Iterable[tuple[int, int, int]]) -> None:
        self.entries = entries
        self.chunks: list[Chunk] = []
        start = prefix = 0
        before: FeeSize | None = None
        for fee, size, count in chunks:
            same = before is not None and fee * before[1] == before[0] * size
            prefix = prefix + size if same else size
            before = (fee, size)
            self.chunks.append(Chunk(self, tuple(entries[start : start + count]), fee, size, prefix))
            start += count

    @classmethod
    def of_one(cls, entry: MempoolEntry) -> Cluster:
        """The cluster of a transaction without relatives."""
        fee = entry.fee + entry.delta
        return cls((entry,), ((fee, entry.size, 1),))

    @classmethod
    def of_many(cls, entries: Sequence[MempoolEntry], parents: Sequence[int]) -> Cluster:
        """Linearise; ``parents[i]`` has the bits of the direct parents of ``entries[i]``."""
        fees = [entry.fee + entry.delta for entry in entries]
        sizes = [entry.size for entry in entries]
        order = linearize(fees, sizes, parents, [entry.txid for entry in entries])
        return cls(tuple([entries[i] for i in order]), chunk_up(order, fees, sizes))

    @property
    def size(self) -> int:
        """Weight units."""
        return sum(entry.size for entry in self.entries)


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

    def worst_first(self) -> Iterator[Chunk]:
        """All chunks, the worst first; the index may not change meanwhile."""
        return (item[3] for item in reversed(self._items))
