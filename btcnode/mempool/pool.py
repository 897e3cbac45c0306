"""The mempool: one owner of all unconfirmed transactions that this node holds for valid and worth relaying.

Admission (``acceptance``) decides what comes in and stages it; blocks, reorganisations, time and memory take things
out. Changes go through here, so that every index, total and listener sees each of them once.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from operator import attrgetter
from struct import Struct

from btcnode.collector import leave_out
from btcnode.consensus.transactions import format_money
from btcnode.mempool.density_index import DensityIndex
from btcnode.mempool.entry import LARGE_TX, Chunk, Cluster, MempoolEntry, RemovalReason
from btcnode.mempool.eviction import DensityEviction, EvictionPolicy, ExpiryQueue
from btcnode.mempool.feerate import FeeSize, rate_of
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.trimming import Link, surplus
from btcnode.primitives.amounts import COIN
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.tuples import NamedTuple

EVICTION_SHARE = 20  # a full pool is brought down by this part of its budget: 5 %
MOST_AT_ONCE = 400  # transactions that leave a large pool in one go: 5 ms; the others go with the next that come
BULK_EVICTION_BYTES = 50_000_000  # smaller budgets are used to the last byte, as by Core: 5 % may be one transaction
_MAX_HALVINGS = 100.0  # no feerate has anything left after so many
ROLLING_FEE_HALFLIFE = 12 * 3600  # seconds
BULK = 100  # clusters; of more that go at once the places in the order of mining are given up later,
TIDY_AT_ONCE = 400  # so many in one go: 3 ms
MOST_UNTIDY = 20_000  # as many as the largest block has, if nobody calls ``tidy``: 1 MB
MIN_FEE_DELTA, MAX_FEE_DELTA = -(2**63), 2**63 - 1  # as Core saturates
SPARE_TIMES = 10_000  # times of arrival kept beyond twice the number of transactions: 10,000 x 150 B

log = logging.getLogger("btcnode.mempool")
_vout = Struct("<I").pack
_BY_TXID = attrgetter("txid")
_BY_ARRIVAL = attrgetter("time", "sequence")

AddedListener = Callable[[MempoolEntry], None]
RemovedListener = Callable[[MempoolEntry, RemovalReason], None]


class PoolMoment(NamedTuple):
    """All chunks, best first, and what else may change: deltas and what is not broadcast yet, by txid.

    Chunks, their clusters and what stands in an entry but its ``delta``, ``cluster`` and ``chunk`` never change.
    """

    chunks: list[Chunk]
    deltas: Mapping[bytes, int]
    unbroadcast: Collection[bytes]
    sequence: int

    def entries(self) -> Iterator[MempoolEntry]:
        """All entries in the order of mining; on any thread."""
        return (entry for chunk in self.chunks for entry in chunk.entries)


class Staged:
    """A proposed change: ``removals`` go (with nothing left behind that depends on them), ``additions`` come.

    What is here and spends an addition is not joined with it: only transactions of blocks that were left meet such
    children, and ``Mempool.join`` sees to these.
    It is valid as long as the pool does not change. Dropping it changes nothing.
    """

    __slots__ = ("_added", "_pool", "_removed", "new", "old", "oversized", "version")

    def __init__(self, pool: Mempool, removals: Collection[MempoolEntry], additions: Sequence[MempoolEntry]) -> None:
        self._pool = pool
        self._removed = removals
        self._added = additions
        self.version = pool.version
        self.oversized = False
        self.old: list[Cluster] = []
        self.new: list[Cluster] | None = None
        if not removals and len(additions) == 1 and not pool.has_parents(additions[0]):
            entry = additions[0]
            self.oversized = entry.size > pool.max_cluster_size
            self.new = [Cluster.of_one(entry)]
            return
        touched: dict[int, Cluster] = {}
        for entry in removals:
            touched[id(entry.cluster)] = entry.cluster
        for entry in additions:
            for parent in pool.parents(entry):
                touched[id(parent.cluster)] = parent.cluster
        self.old = list(touched.values())
        gone = set(removals)
        entries = [entry for cluster in self.old for entry in cluster.entries if entry not in gone]
        groups = _components([*entries, *additions])
        self.oversized = any(
            len(group) > pool.max_cluster_count or sum(entry.size for entry in group) > pool.max_cluster_size
            for group, _ in groups
        )
        if not self.oversized:
            self.new = [_cluster(group, parents) for group, parents in groups]

    def diagrams(self) -> tuple[list[FeeSize], list[FeeSize]]:
        """Fee and size of the chunks of the touched clusters, before and after, each sorted best first.

        Raises ValueError for an oversized change.
        """
        if self.new is None:
            raise ValueError("a cluster would be too large")
        return _diagram(self.old), _diagram(self.new)

    def apply(self, reason: RemovalReason, now: int) -> None:
        """Carry the change out at ``now``; what goes does so for ``reason``.

        Raises ValueError for an oversized change, RuntimeError when the pool is not what it was.
        """
        if self.new is None:
            raise ValueError("a cluster would be too large")
        if self.version != self._pool.version:
            raise RuntimeError("the mempool has changed since this was staged")
        self._pool.carry_out(self.old, self.new, self._removed, self._added, reason, now)


def _diagram(clusters: Iterable[Cluster]) -> list[FeeSize]:
    chunks = [chunk for cluster in clusters for chunk in cluster.chunks]
    return [chunk.feerate for chunk in sorted(chunks, key=attrgetter("key"))]


def _cluster(group: list[MempoolEntry], parents: list[int]) -> Cluster:
    return Cluster.of_one(group[0]) if len(group) == 1 else Cluster.of_many(group, parents)


def _components(entries: Sequence[MempoolEntry]) -> list[tuple[list[MempoolEntry], list[int]]]:
    """Groups of entries that depend on each other, each with the bits of the direct parents within the group."""
    place: dict[bytes, int] = {entry.txid: n for n, entry in enumerate(entries)}
    above: list[set[int]] = []
    near: list[set[int]] = [set() for _ in entries]
    for n, entry in enumerate(entries):
        found = {place[txid] for prevout in entry.tx.prevouts if (txid := prevout[:32]) in place}
        above.append(found)
        near[n] |= found
        for parent in found:
            near[parent].add(n)
    groups = []
    seen: set[int] = set()
    for n in range(len(entries)):
        if n in seen:
            continue
        group = [n]
        seen.add(n)
        for i in group:
            new = near[i] - seen
            seen |= new
            group += sorted(new)
        number = {i: k for k, i in enumerate(group)}
        parents = [sum(1 << number[parent] for parent in above[i]) for i in group]
        groups.append(([entries[i] for i in group], parents))
    return groups


def _joined_clusters(links: Sequence[Link]) -> list[tuple[list[Cluster], list[Link]]]:
    """Groups of clusters that links between their entries make one of, each with these links."""
    by_cluster: dict[Cluster, list[Link]] = {}
    for link in links:
        for entry in link:
            by_cluster.setdefault(entry.cluster, []).append(link)
    groups: list[tuple[list[Cluster], list[Link]]] = []
    seen: set[Cluster] = set()
    for first in by_cluster:
        if first in seen:
            continue
        group = [first]
        joints: dict[Link, None] = {}
        seen.add(first)
        for cluster in group:  # grows while it is walked
            for link in by_cluster[cluster]:
                joints[link] = None
                new = [entry.cluster for entry in link if entry.cluster not in seen]
                seen.update(new)
                group += new
        groups.append((group, list(joints)))
    return groups


class Mempool:
    """All unconfirmed transactions; belongs to the loop thread.

    The garbage collector does not look at what is here: entries, clusters and chunks know each other, and whatever
    leaves lets go of the others.

    ``sequence`` grows with every transaction that comes or goes (Core's mempool sequence): the change that listeners
    hear of is number ``sequence - 1``.
    ``version`` grows with every change at all. Totals: ``total_vsize`` in vbytes, ``total_fee`` without deltas,
    ``memory_usage`` in bytes.
    """

    def __init__(self, options: MempoolOptions | None = None, *, eviction: EvictionPolicy | None = None) -> None:
        self.options = options if options is not None else MempoolOptions()
        self.max_cluster_count = self.options.cluster_count
        self.max_cluster_size = self.options.cluster_vbytes * 4
        self.max_bytes = self.options.max_bytes  # less while memory is short
        self.sequence = 1
        self.version = 1
        self.total_vsize = 0
        self.total_fee = 0
        self.memory_usage = 0
        self._trimming_to: float = inf  # bytes that a large pool is on its way down to
        self.evicted = 0  # for lack of room, since the start
        self._eviction: EvictionPolicy = eviction if eviction is not None else DensityEviction()
        self._entries: dict[bytes, MempoolEntry] = {}  # by txid
        self._by_wtxid: dict[bytes, MempoolEntry] = {}
        self._spenders: dict[bytes, MempoolEntry] = {}  # by outpoint
        self._deltas: dict[bytes, int] = {}
        self._unbroadcast: dict[bytes, None] = {}  # txids, a part of the entries
        self._expiry = ExpiryQueue()
        self._index = DensityIndex()
        self._rolling_feerate = 0.0
        self._rolling_since = 0
        self._block_since_bump = True
        self._on_added: list[AddedListener] = []
        self._on_removed: list[RemovedListener] = []

    def listen(self, added: AddedListener, removed: RemovedListener) -> None:
        """Call ``added`` after each transaction that came in, ``removed`` after each that went."""
        self._on_added.append(added)
        self._on_removed.append(removed)

    # -- reading -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, txid: bytes) -> bool:
        return txid in self._entries

    def __iter__(self) -> Iterator[MempoolEntry]:
        """All entries, in the order in which they came."""
        return iter(self._entries.values())

    def get(self, txid: bytes) -> MempoolEntry | None:
        """The transaction with this txid."""
        return self._entries.get(txid)

    def get_by_wtxid(self, wtxid: bytes) -> MempoolEntry | None:
        """The transaction with this wtxid."""
        return self._by_wtxid.get(wtxid)

    @property
    def by_wtxid(self) -> Mapping[bytes, MempoolEntry]:
        """All transactions by wtxid; a live view."""
        return self._by_wtxid

    def spender_of(self, outpoint: bytes) -> MempoolEntry | None:
        """The transaction that spends this 36-byte outpoint."""
        return self._spenders.get(outpoint)

    def txout(self, outpoint: bytes) -> bytes | None:
        """The serialised output of a transaction that is here."""
        entry = self._entries.get(outpoint[:32])
        vout = int.from_bytes(outpoint[32:], "little")
        return None if entry is None or vout >= len(entry.tx.txouts) else entry.tx.txouts[vout]

    def parents(self, entry: MempoolEntry) -> list[MempoolEntry]:
        """Those whose outputs ``entry`` spends, each once, by ascending txid; ``entry`` need not be here."""
        get = self._entries.get
        found = {txid: parent for prevout in entry.tx.prevouts if (parent := get(txid := prevout[:32])) is not None}
        return [found[txid] for txid in sorted(found)] if len(found) > 1 else list(found.values())

    def children(self, entry: MempoolEntry) -> list[MempoolEntry]:
        """Those that spend outputs of ``entry``, each once, by ascending txid; ``entry`` need not be here."""
        get, txid = self._spenders.get, entry.txid
        found = {id(child): child for n in range(len(entry.tx.txouts)) if (child := get(txid + _vout(n))) is not None}
        return sorted(found.values(), key=_BY_TXID)

    def is_unrelated(self, tx: Tx) -> bool:
        """Whether the transaction is not here, spends nothing that is, and what it spends nobody here spends."""
        prevouts, entries = tx.prevouts, self._entries
        return (
            tx.txid not in entries
            and self._spenders.keys().isdisjoint(prevouts)
            and entries.keys().isdisjoint([prevout[:32] for prevout in prevouts])
        )

    def has_parents(self, entry: MempoolEntry) -> bool:
        """Whether a parent of ``entry`` is here."""
        return any(prevout[:32] in self._entries for prevout in entry.tx.prevouts)

    def ancestors(self, entry: MempoolEntry) -> list[MempoolEntry]:
        """All that ``entry`` depends on, itself excluded, nearest first."""
        return self._reach(entry, self.parents)

    def descendants(self, entry: MempoolEntry) -> list[MempoolEntry]:
        """All that depends on ``entry``, itself excluded, nearest first."""
        return self._reach(entry, self.children)

    def _reach(self, entry: MempoolEntry, step: Callable[[MempoolEntry], list[MempoolEntry]]) -> list[MempoolEntry]:
        if entry.txid in self._entries and len(entry.cluster.entries) == 1:
            return []
        found = step(entry)
        seen = set(found)
        for other in found:  # grows while it is walked
            for new in step(other):
                if new not in seen:
                    seen.add(new)
                    found.append(new)
        return found

    def cluster_of(self, entry: MempoolEntry) -> Cluster:
        """The cluster of an entry that is here."""
        return entry.cluster

    def chunks(self) -> Iterator[Chunk]:
        """All chunks, best first: the order of mining. The pool may not change meanwhile."""
        return iter(self._index)

    def best_chunks(self, count: int) -> list[Chunk]:
        """At most so many chunks, the best first."""
        return list(islice(self._index, count))

    @property
    def chunk_count(self) -> int:
        """How many chunks there are."""
        return len(self._index)

    def chunks_between(self, start: int, stop: int) -> list[Chunk]:
        """Chunks by their places, the best first; between two calls the pool may change."""
        return self._index.between(start, stop)

    def in_order(self) -> list[MempoolEntry]:
        """All entries in the order of mining: parents before children."""
        return [entry for chunk in self._index.all_chunks() for entry in chunk.entries]

    def moment(self) -> PoolMoment:
        """The pool as it is now, for who looks through all of it on another thread, or later."""
        return PoolMoment(self._index.all_chunks(), dict(self._deltas), frozenset(self._unbroadcast), self.sequence)

    def best(self, count: int) -> list[MempoolEntry]:
        """At most ``count`` entries from the top of that order."""
        return list(islice((entry for chunk in self._index for entry in chunk.entries), count))

    def worst_first(self) -> Iterator[Chunk]:
        """All chunks, the worst first. The pool may not change meanwhile."""
        return self._index.worst_first()

    # -- initial broadcast ---------------------------------------------------------------------------------------

    @property
    def unbroadcast(self) -> Collection[bytes]:
        """Txids of the user's own transactions that no peer has asked for yet; a live view."""
        return self._unbroadcast.keys()

    def add_unbroadcast(self, txid: bytes) -> None:
        """A transaction that is here came from the user: announce it until somebody asks for it."""
        if txid in self._entries:
            self._unbroadcast[txid] = None

    def remove_unbroadcast(self, txid: bytes, *, unchecked: bool = False) -> None:
        """A peer has asked for the transaction, or (``unchecked``) it has gone before any did."""
        if txid in self._unbroadcast:
            del self._unbroadcast[txid]
            how = " before confirmation that txn was sent out" if unchecked else ""
            log.debug("Removed %s from set of unbroadcast txns%s", to_display(txid), how)

    # -- operator's deltas ---------------------------------------------------------------------------------------

    def delta(self, txid: bytes) -> int:
        """What was added to the fee of this transaction, whether it is here or not."""
        return self._deltas.get(txid, 0)

    @property
    def deltas(self) -> Mapping[bytes, int]:
        """All deltas, by txid."""
        return self._deltas

    def prioritise(self, txid: bytes, delta: int) -> None:
        """Add ``delta`` satoshi (may be negative) to what this transaction's fee is taken for."""
        total = max(MIN_FEE_DELTA, min(MAX_FEE_DELTA, self._deltas.get(txid, 0) + delta))
        if total:
            self._deltas[txid] = total
        else:
            self._deltas.pop(txid, None)
        entry = self._entries.get(txid)
        name, where = to_display(txid), "" if entry is not None else "not "
        change = f"fee += {format_money(delta)}, new delta={format_money(total)}" if total else "delta cleared"
        log.info("PrioritiseTransaction: %s (%sin mempool) %s", name, where, change)
        if entry is not None:
            old = entry.cluster
            self._index.discard(old)
            entry.delta = total
            new = _cluster(*_components(old.entries)[0])
            self._index.add(new)
            self._eviction.on_regrouped([old], [new])
            old.leave()
            self.version += 1

    # -- changing ------------------------------------------------------------------------------------------------

    def stage(self, removals: Collection[MempoolEntry], additions: Sequence[MempoolEntry]) -> Staged:
        """Propose a change. ``removals`` must include everything that depends on them."""
        return Staged(self, removals, additions)

    def add_alone(self, entry: MempoolEntry, now: int) -> None:
        """Take in a transaction that has no relatives here (``is_unrelated``), as ``Staged.apply`` does without others.

        Children that a block has left here do not count. Raises ValueError when it is larger than a cluster may be.
        """
        if entry.size > self.max_cluster_size:
            raise ValueError("a cluster would be too large")
        self.carry_out((), (Cluster.of_one(entry),), (), (entry,), RemovalReason.REPLACED, now)

    def carry_out(
        self,
        old: Collection[Cluster],
        new: Collection[Cluster],
        removed: Iterable[MempoolEntry],
        added: Iterable[MempoolEntry],
        reason: RemovalReason,
        now: int,
    ) -> None:
        """Replace clusters; ``reason`` is that of the removed ones. For ``Staged.apply`` and the pool itself."""
        if len(old) > BULK:
            self._index.discard_all(old)
            self._index.tidy(self._index.untidy - MOST_UNTIDY)
        else:
            for cluster in old:
                self._index.discard(cluster)
        self._forget(removed)
        for entry in added:
            self._enter(entry, now)
        for cluster in new:
            self._index.add(cluster)
        self._eviction.on_regrouped(old, new)
        self.version += 1
        for entry in removed:
            self.sequence += 1
            for gone in self._on_removed:
                gone(entry, reason)
            entry.leave()
        for cluster in old:
            cluster.leave()
        for entry in added:
            self.sequence += 1
            for came in self._on_added:
                came(entry)

    def _enter(self, entry: MempoolEntry, now: int) -> None:
        if entry.weight >= LARGE_TX and len(entry.tx.raw) >= LARGE_TX:
            entry.tx.keep_columns_only()
        self._entries[entry.txid] = entry
        self._by_wtxid[entry.wtxid] = entry
        self._spenders.update(dict.fromkeys(entry.tx.prevouts, entry))
        tx = entry.tx
        leave_out(entry, tx, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, entry.lock_points)
        if tx.witnesses:
            leave_out(tx.witnesses, *tx.witnesses)
        leave_out(self._entries, self._by_wtxid, self._spenders)  # a dict is looked at again after each new key
        self.total_vsize += entry.vsize
        self.total_fee += entry.fee
        self.memory_usage += entry.memory
        self._expiry.add(entry.time, entry.txid)
        self._eviction.on_added(entry, now)

    def _forget(self, removed: Iterable[MempoolEntry]) -> None:
        entries, by_wtxid, spenders, on_removed = (
            self._entries,
            self._by_wtxid,
            self._spenders,
            self._eviction.on_removed,
        )
        vsize = fee = memory = 0
        for entry in removed:  # thousands for a block: nothing is looked up here that need not be
            del entries[entry.txid]
            del by_wtxid[entry.wtxid]
            for prevout in entry.tx.prevouts:
                del spenders[prevout]
            vsize += entry.vsize
            fee += entry.fee
            memory += entry.memory
            on_removed(entry)
            if self._unbroadcast:
                self.remove_unbroadcast(entry.txid, unchecked=True)
        self.total_vsize -= vsize
        self.total_fee -= fee
        self.memory_usage -= memory

    @property
    def is_untidy(self) -> bool:
        """Whether a block has left places in the order of mining."""
        return self._index.untidy > 0

    def tidy(self) -> None:
        """Give up some of these."""
        self._index.tidy(TIDY_AT_ONCE)

    def remove(self, entries: Iterable[MempoolEntry], reason: RemovalReason) -> list[MempoolEntry]:
        """Take entries out, with everything that depends on them; returns all that went, in the order of leaving.

        It is Core's: where the chain is the reason the cluster that has stood unchanged for longest goes first, and of
        one cluster who came first; otherwise they go by ascending txid.
        """
        gone: dict[MempoolEntry, None] = {}
        for entry in entries:
            if entry not in gone:
                gone[entry] = None
                gone.update(dict.fromkeys(self.descendants(entry)))
        if reason is RemovalReason.REORG or reason is RemovalReason.CONFLICT:
            clusters = {id(entry.cluster): entry.cluster for entry in gone}
            newest = {name: max(map(_BY_ARRIVAL, cluster.entries)) for name, cluster in clusters.items()}
            order = sorted(gone, key=lambda entry: (newest[id(entry.cluster)], _BY_ARRIVAL(entry)))
        else:
            order = sorted(gone, key=_BY_TXID)
        return self._take_out(order, reason)

    def _take_out(self, gone: list[MempoolEntry], reason: RemovalReason) -> list[MempoolEntry]:
        """Take out exactly these; what is left of their clusters is linearised anew."""
        if not gone:
            return gone
        old = list(dict.fromkeys([entry.cluster for entry in gone]))
        if len(gone) == sum([len(cluster.entries) for cluster in old]):
            new: list[Cluster] = []
        else:
            out = set(gone)
            new = []
            for cluster in old:
                left = [entry for entry in cluster.entries if entry not in out]
                new += [_cluster(group, parents) for group, parents in _components(left)]
        self.carry_out(old, new, gone, (), reason, 0)
        return gone

    def join(self, returned: Iterable[MempoolEntry]) -> list[MempoolEntry]:
        """Join transactions of blocks that were left with those here that spend from them.

        Where clusters become too large by it, some go; returns these.
        """
        links = [(entry, child) for entry in returned for child in self.children(entry)]
        groups = _joined_clusters([link for link in links if link[0].cluster is not link[1].cluster])
        if not groups:
            return []
        ages = {entry: n for n, entry in enumerate(self)}
        gone: list[MempoolEntry] = []
        for clusters, joints in groups:
            gone += surplus(clusters, joints, ages.__getitem__, self.max_cluster_count, self.max_cluster_size)
        out = set(gone)
        new: list[Cluster] = []
        for clusters, _ in groups:
            left = [entry for cluster in clusters for entry in cluster.entries if entry not in out]
            new += [_cluster(group, parents) for group, parents in _components(left)]
        old = [cluster for clusters, _ in groups for cluster in clusters]
        self.carry_out(old, new, gone, (), RemovalReason.SIZELIMIT, 0)
        return gone

    def remove_for_block(self, block: ParsedBlock, now: int) -> list[MempoolEntry]:
        """A block was connected at ``now``: its transactions leave, and what it contradicts goes with descendants.

        Returns the confirmed entries.
        """
        confirmed: list[MempoolEntry] = []
        conflicts: dict[MempoolEntry, int] = {}  # by place of the input in the block
        if self._entries or self._deltas:
            get, spender_of = self._entries.get, self._spenders.get
            strangers = []  # only they can spend what another one here spends
            for n, txid in enumerate(block.txids):
                entry = get(txid)
                if entry is not None:
                    confirmed.append(entry)
                elif n:
                    strangers.append(n)
            prevouts = block.prevouts() if strangers else []
            for n in strangers:
                for place in range(block.first_in[n], block.first_in[n + 1]):
                    spender = spender_of(prevouts[place])
                    if spender is not None:
                        conflicts.setdefault(spender, place)
            for entry in confirmed if conflicts else ():
                conflicts.pop(entry, None)
            self._leave_for_block(block, confirmed, conflicts)
            if self._deltas:
                for txid in block.txids:
                    self._deltas.pop(txid, None)
        self._rolling_since = now
        self._block_since_bump = True
        self.version += 1
        return confirmed

    def _leave_for_block(
        self, block: ParsedBlock, confirmed: Sequence[MempoolEntry], conflicts: Mapping[MempoolEntry, int]
    ) -> None:
        """Take out both in the order of the block, so that the changes have the numbers that Core gives them."""
        start = 0
        places = {txid: n for n, txid in enumerate(block.txids)} if conflicts else {}
        for conflict, place in conflicts.items():
            by = bisect_right(block.first_in, place) - 1  # the transaction with this input
            end = start
            while end < len(confirmed) and places[confirmed[end].txid] <= by:
                end += 1
            self._take_out(list(confirmed[start:end]), RemovalReason.BLOCK)
            start = end
            if conflict.txid in self._entries:
                self.remove([conflict], RemovalReason.CONFLICT)
                self._deltas.pop(conflict.txid, None)
        self._take_out(list(confirmed[start:]), RemovalReason.BLOCK)

    # -- limits --------------------------------------------------------------------------------------------------

    def wants_limits(self, cutoff: int) -> bool:
        """Whether ``trim`` or ``expire`` with this cutoff would have anything to do."""
        return (
            self.memory_usage > self._trimming_to
            or self.memory_usage > self.max_bytes
            or self._expiry.oldest < cutoff
            or len(self._expiry) > 2 * len(self._entries) + SPARE_TIMES
        )

    def trim(self, max_bytes: int, now: int = 0) -> list[MempoolEntry]:
        """Bring a pool that has grown over ``max_bytes`` a twentieth below it (a small one just below it).

        Returns what went. From a large one no more than ``MOST_AT_ONCE`` go beyond what has to, and ``wants_limits`` is
        true until all have gone. The minimum feerate rises, so that what went does not come back at once; the way of
        eviction says how far.
        """
        bulk = max_bytes >= BULK_EVICTION_BYTES
        if self.memory_usage <= max_bytes and not (bulk and self.memory_usage > self._trimming_to):
            self._trimming_to = inf
            return []
        self._trimming_to = target = max_bytes - (max_bytes // EVICTION_SHARE if bulk else 0)
        if self.memory_usage <= target:  # there is more room than there was
            self._trimming_to = inf
            return []
        gone: dict[MempoolEntry, None] = {}
        freed = 0
        highest = 0.0
        incremental = self.options.incremental_feerate
        budget, floor = max(1, self.max_bytes), self._eviction.floor
        for victims, fee, size in self._eviction.victims(self._index):
            new = sorted([entry for entry in victims if entry not in gone], key=_BY_TXID)  # Core's order of leaving
            if not new:
                continue
            gone.update(dict.fromkeys(new))
            taken = sum(entry.memory for entry in new)
            freed += taken
            rate = rate_of(fee, (size + 3) // 4) + incremental
            wanted = floor(self._index, self._rolling_feerate, rate, taken / budget, incremental)
            highest = max(highest, wanted)
            self._raise_minimum(wanted)
            left = self.memory_usage - freed
            if left <= target or (bulk and left <= max_bytes and len(gone) >= MOST_AT_ONCE):
                break
        if self.memory_usage - freed <= target:
            self._trimming_to = inf
        removed = self._take_out(list(gone), RemovalReason.SIZELIMIT)
        self.evicted += len(removed)
        log.debug("Removed %d txn, rolling minimum fee bumped to %.8f BTC/kvB", len(removed), highest / COIN)
        return removed

    def expire(self, cutoff: int) -> list[MempoolEntry]:
        """Take out what came before ``cutoff`` (Unix seconds), with everything that depends on it.

        Some hundreds at a time; ``wants_limits`` as long as there are others.
        """
        if len(self._expiry) > 2 * len(self._entries) + SPARE_TIMES:
            self._expiry.rebuild(self)
        txids = self._expiry.before(cutoff, MOST_AT_ONCE)
        old = [entry for txid in txids if (entry := self._entries.get(txid)) is not None and entry.time < cutoff]
        expired = self.remove(old, RemovalReason.EXPIRY) if old else []
        if expired:
            log.debug("Expired %d transactions from the memory pool", len(expired))
        return expired

    def audit(self, has_coins: Callable[[Sequence[bytes]], Sequence[bool]], start: int, count: int) -> int:
        """Examine ``count`` entries from place ``start``; take out those whose inputs exist nowhere.

        Nothing should ever be found: this is the second step of making room, which does not trust the first. Returns
        the place to go on from, 0 at the end.
        """
        entries = list(islice(self._entries.values(), start, start + count))
        for entry in entries:
            if entry.txid not in self._entries:
                continue
            outside = [prevout for prevout in entry.tx.prevouts if prevout[:32] not in self._entries]
            inside = [prevout for prevout in entry.tx.prevouts if prevout[:32] in self._entries]
            lost = any(self.txout(prevout) is None for prevout in inside)
            stolen = any(self._spenders.get(prevout) is not entry for prevout in entry.tx.prevouts)
            if lost or stolen or not all(has_coins(outside)):
                self.remove([entry], RemovalReason.CONFLICT)
        return start + count if len(entries) == count else 0

    def minimum_feerate(self, now: int) -> int:
        """Satoshi per kvB below which nothing is taken at ``now``: as Core has it."""
        if not self._block_since_bump or not self._rolling_feerate:
            return round(self._rolling_feerate)
        if now > self._rolling_since + 10:
            halflife = float(ROLLING_FEE_HALFLIFE)
            if self.memory_usage < self.max_bytes // 4:
                halflife /= 4
            elif self.memory_usage < self.max_bytes // 2:
                halflife /= 2
            halvings = min((now - self._rolling_since) / halflife, _MAX_HALVINGS)  # a clock may be set forward by years
            self._rolling_feerate /= 2.0**halvings
            self._rolling_since = now
            if self._rolling_feerate < self.options.incremental_feerate / 2:
                self._rolling_feerate = 0.0
                return 0
        return max(round(self._rolling_feerate), self.options.incremental_feerate)

    def _raise_minimum(self, rate: float) -> None:
        if rate > self._rolling_feerate:
            self._rolling_feerate = float(rate)
            self._block_since_bump = False

    def touch(self, entry: MempoolEntry, now: int, source: int | None = None) -> None:
        """Somebody has asked for the transaction, a peer of the group ``source`` or the user: some evictions care."""
        self._eviction.on_touched(entry, now, source)
