"""A transaction in the mempool, with what admission has found out about it, its cluster and its chunk.

A cluster is linearised and cut into chunks; transactions, clusters and chunks know each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from btcnode.mempool.feerate import FeeSize
from btcnode.mempool.linearize import chunk_up, linearize
from btcnode.primitives.hashes import Txid, Wtxid
from btcnode.primitives.tx import Tx
from btcnode.tuples import NamedTuple

WITNESS_SCALE_FACTOR = 4

# What an entry takes, measured on CPython 3.11 (64 bit) with everything that refers to it: the entry, its Tx, chunk and
# cluster, the places in the tables of the pool; and for each input, output and witness element the objects of its own.
ENTRY_COST = 1450
INPUT_COST = 260
OUTPUT_COST = 75
WITNESS_ITEM_COST = 48
LARGE_TX = 10_000  # bytes; of larger transactions only the parts are kept, which saves more than it costs
LARGE_SAVING = 250  # of the above: headers of the objects that are not kept, room in lists

MAX_AMOUNT = 2**63 - 1  # satoshi: where Core's sums stop

_RATE_BITS = 48
"""Feerates are compared as integers ``(fee << 48) // size``: two different ones of transactions and chunks up to 2**23
weight units differ by more than 2**-46, so that their integers differ, too; equal ones have the same."""

Key = tuple[int, int, bytes]


class RemovalReason(StrEnum):
    """Why a transaction leaves the mempool; the values are Core's names."""

    EXPIRY = "expiry"
    SIZELIMIT = "sizelimit"
    REORG = "reorg"
    BLOCK = "block"
    CONFLICT = "conflict"
    REPLACED = "replaced"


class LockPoints(NamedTuple):
    """BIP68: the height and median time that must be passed, and the newest block that this was computed from.

    ``max_input_index`` is the header index of the highest block with an input that has a relative lock, -1 when there
    is none: as long as it is in the active chain the other two hold.
    """

    height: int
    time: int
    max_input_index: int


def memory_of(tx: Tx) -> int:
    """Bytes that a transaction takes in the pool."""
    items = sum(map(len, tx.witnesses)) if tx.witnesses else 0
    size = len(tx.raw)
    return (
        ENTRY_COST
        + (2 * size if size < LARGE_TX else size - LARGE_SAVING)  # once as a whole, once in parts
        + INPUT_COST * len(tx.prevouts)
        + OUTPUT_COST * len(tx.txouts)
        + WITNESS_ITEM_COST * items
    )


class MempoolEntry:
    """One transaction. Fees in satoshi, sizes in weight units unless named vsize, times in Unix seconds.

    ``size`` is the weight as policy counts it (sigops may make it larger), ``vsize`` a quarter of it, rounded up.
    ``height`` is that of the chain when it came in. ``cluster`` and ``chunk`` are set by the index of chunks.
    """

    __slots__ = (
        "chunk",
        "cluster",
        "delta",
        "fee",
        "height",
        "lock_points",
        "memory",
        "sequence",
        "sigop_cost",
        "size",
        "spends_coinbase",
        "time",
        "tx",
        "txid",
        "vsize",
        "weight",
        "wtxid",
    )

    chunk: Chunk
    cluster: Cluster

    def __init__(
        self,
        tx: Tx,
        *,
        fee: int,
        weight: int,
        sigop_cost: int,
        time: int,
        height: int,
        sequence: int,
        spends_coinbase: bool,
        lock_points: LockPoints,
        delta: int = 0,
        bytes_per_sigop: int = 20,
    ) -> None:
        self.tx = tx
        self.txid: Txid = tx.txid
        self.wtxid: Wtxid = tx.wtxid
        self.fee = fee
        self.delta = delta
        self.weight = weight
        self.sigop_cost = sigop_cost
        self.size = max(weight, sigop_cost * bytes_per_sigop)
        self.vsize = (self.size + WITNESS_SCALE_FACTOR - 1) // WITNESS_SCALE_FACTOR
        self.time = time
        self.height = height
        self.sequence = sequence
        self.spends_coinbase = spends_coinbase
        self.lock_points = lock_points
        self.memory = memory_of(tx)

    def leave(self) -> None:
        """It is not in the pool any more: let go of cluster and chunk, which know it, so that no circle is left."""
        self.cluster, self.chunk = _NO_CLUSTER, _NO_CHUNK

    @property
    def modified_fee(self) -> int:
        """The fee with what the operator has added to it (prioritisetransaction), at most ``MAX_AMOUNT``."""
        total = self.fee + self.delta
        return total if total < MAX_AMOUNT else MAX_AMOUNT

    def __repr__(self) -> str:
        return f"MempoolEntry({self.txid[::-1].hex()}, fee={self.fee}, vsize={self.vsize})"


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
        cluster = cls.__new__(cls)
        cluster.entries = alone = (entry,)
        cluster.chunks = [Chunk(cluster, alone, entry.fee + entry.delta, entry.size, entry.size)]
        return cluster

    @classmethod
    def of_many(cls, entries: Sequence[MempoolEntry], parents: Sequence[int]) -> Cluster:
        """Linearise; ``parents[i]`` has the bits of the direct parents of ``entries[i]``."""
        fees = [entry.fee + entry.delta for entry in entries]
        sizes = [entry.size for entry in entries]
        order = linearize(fees, sizes, parents, [entry.txid for entry in entries])
        return cls(tuple([entries[i] for i in order]), chunk_up(order, fees, sizes))

    def leave(self) -> None:
        """Others are in its place: let go of the chunks, which know it. Of a moment they still are what they were."""
        self.chunks = []

    @property
    def size(self) -> int:
        """Weight units."""
        return sum(entry.size for entry in self.entries)


def _nowhere() -> tuple[Cluster, Chunk]:
    cluster, chunk = Cluster((), ()), Chunk.__new__(Chunk)
    chunk.cluster, chunk.entries, chunk.fee, chunk.size, chunk.key = cluster, (), 0, 1, (0, 0, b"")
    return cluster, chunk


_NO_CLUSTER, _NO_CHUNK = _nowhere()
