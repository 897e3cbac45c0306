"""Who goes when the mempool is full, and what is too old to stay.

The default is pure fee density: the worst chunk goes first, so that what is kept is what miners would take, and nobody
can push a better paying transaction out by anything but a still better one. ``lruk-fee`` weighs in how recently a
transaction was of interest to anybody. It suits private and research networks; in public it would let whoever asks for
his own transactions often keep them alive for free, which is why it is not the default.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Protocol

from btcnode.mempool.density_index import DensityIndex
from btcnode.mempool.entry import MempoolEntry

Descendants = Callable[[MempoolEntry], list[MempoolEntry]]
Victims = tuple[Sequence[MempoolEntry], int, int]
"""Entries that go together, their modified fee in satoshi and their size in weight units."""


class EvictionPolicy(Protocol):
    """An order in which transactions leave a full pool."""

    def on_added(self, entry: MempoolEntry, now: int) -> None:
        """A transaction has come in."""

    def on_removed(self, entry: MempoolEntry) -> None:
        """A transaction has gone."""

    def on_touched(self, entry: MempoolEntry, now: int) -> None:
        """Somebody has asked for a transaction."""

    def victims(self, index: DensityIndex, descendants: Descendants, now: int) -> Iterator[Victims]:
        """What goes, first things first; every group leaves no dependent behind that has not gone before it."""


class DensityEviction:
    """The chunk with the lowest feerate first."""

    def on_added(self, entry: MempoolEntry, now: int) -> None:
        """Of no interest here."""

    def on_removed(self, entry: MempoolEntry) -> None:
        """Of no interest here."""

    def on_touched(self, entry: MempoolEntry, now: int) -> None:
        """Of no interest here."""

    def victims(self, index: DensityIndex, descendants: Descendants, now: int) -> Iterator[Victims]:
        """Chunks from the worst; later chunks of a cluster are never better than earlier ones, so children go first."""
        for chunk in index.worst_first():
            yield chunk.entries, chunk.fee, chunk.size


class LruKFeeEviction:
    """Score ``alpha * (age of the K-th last touch) + beta / (fee density)``; the highest score goes first.

    The age is in hours, the density in sat/vB of the transaction's modified fee (at least ``MIN_DENSITY``); a
    transaction that was touched less than K times has the age of its first touch, which is its arrival.
    """

    MIN_DENSITY = 0.001

    def __init__(self, k: int = 3, alpha: float = 0.6, beta: float = 0.4) -> None:
        self._k = k
        self._alpha = alpha
        self._beta = beta
        self._touches: dict[MempoolEntry, deque[int]] = {}

    def on_added(self, entry: MempoolEntry, now: int) -> None:
        """Its first touch."""
        self._touches[entry] = deque((now,), maxlen=self._k)

    def on_removed(self, entry: MempoolEntry) -> None:
        """Forget its touches."""
        del self._touches[entry]

    def on_touched(self, entry: MempoolEntry, now: int) -> None:
        """Remember the last K."""
        touches = self._touches.get(entry)
        if touches is not None:
            touches.append(now)

    def score(self, entry: MempoolEntry, now: int) -> float:
        """The higher, the sooner it goes."""
        age = max(0, now - self._touches[entry][0]) / 3600
        density = max(entry.modified_fee / entry.vsize, self.MIN_DENSITY)
        return self._alpha * age + self._beta / density

    def victims(self, index: DensityIndex, descendants: Descendants, now: int) -> Iterator[Victims]:
        """Transactions from the highest score, each with its descendants."""
        scored = sorted(self._touches, key=lambda entry: (-self.score(entry, now), entry.txid))
        for entry in scored:
            group = [entry, *descendants(entry)]
            yield group, sum(one.modified_fee for one in group), sum(one.size for one in group)


class ExpiryQueue:
    """Times of arrival, the oldest first; entries that have gone otherwise are skipped when their time comes."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []

    def add(self, time: int, txid: bytes) -> None:
        """A transaction came in at ``time``."""
        heappush(self._heap, (time, txid))

    def before(self, cutoff: int) -> list[bytes]:
        """Take out the txids that came before ``cutoff``."""
        heap = self._heap
        found = []
        while heap and heap[0][0] < cutoff:
            found.append(heappop(heap)[1])
        return found

    def rebuild(self, entries: Iterable[MempoolEntry]) -> None:
        """Keep only these."""
        self._heap = [(entry.time, entry.txid) for entry in entries]
        heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)
