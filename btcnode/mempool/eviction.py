"""Who goes when the mempool is full, and what is too old to stay.

The default is pure fee density: the worst chunk goes first, so that what is kept is what miners would take, and nobody
can push a better paying transaction out by anything but a still better one. ``lruk-fee`` weighs in how recently a
transaction was of interest to anybody. It suits private and research networks; docs/mempool.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import Protocol

from sortedcontainers import SortedList

from btcnode.mempool.density_index import DensityIndex
from btcnode.mempool.entry import Chunk, Cluster, MempoolEntry
from btcnode.mempool.feerate import rate_of

Victims = tuple[Sequence[MempoolEntry], int, int]
"""Entries that go together, their modified fee in satoshi and their size in weight units."""


class EvictionPolicy(Protocol):
    """An order in which transactions leave a full pool."""

    def on_added(self, entry: MempoolEntry, now: int) -> None:
        """A transaction has come in."""

    def on_removed(self, entry: MempoolEntry) -> None:
        """A transaction has gone."""

    def on_regrouped(self, old: Iterable[Cluster], new: Iterable[Cluster]) -> None:
        """Clusters have gone and others have come; entries that came are known already, those that went no more."""

    def on_touched(self, entry: MempoolEntry, now: int, source: int | None) -> None:
        """Somebody has asked for a transaction: a peer of the group ``source``, None for the user."""

    def victims(self, index: DensityIndex) -> Iterator[Victims]:
        """What goes, first things first; every group leaves no dependent behind that has not gone before it."""

    def floor(self, index: DensityIndex, now: float, rate: int, share: float, increment: int) -> float:
        """The new minimum feerate when something goes.

        ``now`` is the minimum so far, ``rate`` that of what goes with the increment added (sat/kvB), ``share`` the part
        of the pool's budget that it takes.
        """


class DensityEviction:
    """The chunk with the lowest feerate first."""

    def on_added(self, entry: MempoolEntry, now: int) -> None:
        """Of no interest here."""

    def on_removed(self, entry: MempoolEntry) -> None:
        """Of no interest here."""

    def on_regrouped(self, old: Iterable[Cluster], new: Iterable[Cluster]) -> None:
        """Of no interest here: the index of densities has them."""

    def on_touched(self, entry: MempoolEntry, now: int, source: int | None) -> None:
        """Of no interest here."""

    def victims(self, index: DensityIndex) -> Iterator[Victims]:
        """Chunks from the worst; later chunks of a cluster are never better than earlier ones, so children go first."""
        for chunk in index.worst_first():
            yield chunk.entries, chunk.fee, chunk.size

    def floor(self, index: DensityIndex, now: float, rate: int, share: float, increment: int) -> float:
        """As Core: what pays less than what went and the increment would only come and go."""
        return rate


class _Interest:
    """The last touches of a transaction, the oldest first: when, and by whom."""

    __slots__ = ("by_peers", "touches")

    def __init__(self) -> None:
        self.touches: list[tuple[int, int | None]] = []
        self.by_peers = 0


class LruKFeeEviction:
    """Score ``alpha * (age of the K-th last touch) + beta / (fee density)``; the highest score goes first.

    What is scored and goes is a chunk: its density is its own (sat/vB, at least ``MIN_DENSITY``), its touch the newest
    K-th one of its transactions and of the chunks behind it in its cluster, so that a child keeps its parents. The age
    is in hours; a transaction that was touched less than K times has the age of its first touch, which is its arrival.
    Within a cluster scores never fall from chunk to chunk, so what goes first is always the end of a cluster.

    All ages grow alike. So the order of two chunks changes only with a touch or with a cluster, and is kept sorted:
    a change costs the logarithm of the pool.

    A touch is free for who makes it. So the arrival counts, the user's requests, and of peers the request of a group
    of addresses that is none of the last K touches, at most one in ``PEER_SPACING`` seconds and ``PEER_TOUCHES`` for
    a transaction. What has gone is remembered: it comes back with the touches that it had, not as something new.
    """

    MIN_DENSITY = 0.001
    PEER_SPACING = 60  # seconds
    PEER_TOUCHES = 12
    REMEMBERED = 20_000  # transactions that have gone, about 400 B each

    def __init__(self, k: int = 3, alpha: float = 0.6, beta: float = 0.4) -> None:
        self._k = k
        self._alpha = alpha
        self._beta = beta
        self._interest: dict[MempoolEntry, _Interest] = {}
        self._gone: dict[bytes, _Interest] = {}  # by txid, the oldest first
        self._keys: dict[Chunk, float] = {}
        self._order: SortedList[tuple[float, tuple[int, int, bytes], Chunk]] = SortedList()

    def on_added(self, entry: MempoolEntry, now: int) -> None:
        """Its first touch, unless it was here before."""
        interest = self._gone.pop(entry.txid, None)
        if interest is None:
            interest = _Interest()
            interest.touches.append((now, None))
        self._interest[entry] = interest

    def on_removed(self, entry: MempoolEntry) -> None:
        """Remember its touches for a while."""
        self._gone[entry.txid] = self._interest.pop(entry)
        if len(self._gone) > self.REMEMBERED:
            del self._gone[next(iter(self._gone))]

    def on_regrouped(self, old: Iterable[Cluster], new: Iterable[Cluster]) -> None:
        """Keep the order."""
        for cluster in old:
            self._discard(cluster)
        for cluster in new:
            self._add(cluster)

    def _discard(self, cluster: Cluster) -> None:
        for chunk in cluster.chunks:
            self._order.remove((self._keys.pop(chunk), chunk.key, chunk))

    def _add(self, cluster: Cluster) -> None:
        touched = 0
        for chunk in reversed(cluster.chunks):
            touched = max(touched, *[self._interest[entry].touches[0][0] for entry in chunk.entries])
            density = max(4 * chunk.fee / chunk.size, self.MIN_DENSITY)
            self._keys[chunk] = key = self._beta / density - self._alpha * touched / 3600
            self._order.add((key, chunk.key, chunk))

    def on_touched(self, entry: MempoolEntry, now: int, source: int | None) -> None:
        """Remember the last K that count."""
        interest = self._interest.get(entry)
        if interest is None:
            return
        touches = interest.touches
        if source is not None:
            if interest.by_peers >= self.PEER_TOUCHES or now < touches[-1][0] + self.PEER_SPACING:
                return
            if any(source == other for _, other in touches):
                return
            interest.by_peers += 1
        self._discard(entry.cluster)
        touches.append((max(now, touches[-1][0]), source))
        del touches[: -self._k]
        self._add(entry.cluster)

    def score(self, entry: MempoolEntry, now: int) -> float:
        """That of its chunk: the higher, the sooner it goes."""
        return self._alpha * now / 3600 + self._keys[entry.chunk]

    def victims(self, index: DensityIndex) -> Iterator[Victims]:
        """Chunks from the highest score."""
        for _, _, chunk in reversed(self._order):
            yield chunk.entries, chunk.fee, chunk.size

    def floor(self, index: DensityIndex, now: float, rate: int, share: float, increment: int) -> float:
        """What goes may pay well: that must not become the price of coming in, and coming in must not be for nothing.

        Where all pay the same the minimum is what they pay: the newest take the place of the oldest. When something
        goes that pays better than the cheapest here, the minimum grows, by a factor of e while the pool is exchanged
        once; it is never above Core's rule.
        """
        worst = next(index.worst_first())
        cheapest = float(rate_of(worst.fee, (worst.size + 3) // 4))
        if rate - increment <= cheapest:
            return cheapest
        return min(float(rate), max(now, cheapest) * (1.0 + share))


class ExpiryQueue:
    """Times of arrival, the oldest first; entries that have gone otherwise are skipped when their time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []

    @property
    def oldest(self) -> float:
        """The first time here, infinity when there is none."""
        return self._heap[0][0] if self._heap else inf

    def add(self, time: int, txid: bytes) -> None:
        """A transaction came in at ``time``."""
        heappush(self._heap, (time, txid))

    def before(self, cutoff: int, most: int) -> list[bytes]:
        """Take out the txids that came before ``cutoff``, ``most`` at a time."""
        heap = self._heap
        found: list[bytes] = []
        while heap and heap[0][0] < cutoff and len(found) < most:
            found.append(heappop(heap)[1])
        return found

    def rebuild(self, entries: Iterable[MempoolEntry]) -> None:
        """Keep only these."""
        self._heap = [(entry.time, entry.txid) for entry in entries]
        heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)
