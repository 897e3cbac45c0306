"""Whose transaction is verified next, among strangers: fair between peers, and by feerate as far as that is known.

Start-time fair queueing with a bounded bonus. Each peer's transactions stand one behind the other on a line whose unit
is the work of an input; a peer that had nothing waiting begins where the queue is now. A transaction's place is moved
forward by ``DOUBLING`` for each doubling of its feerate above ``BASE_FEERATE``, at most ``DOUBLINGS`` times, and the
lowest place comes next. So the order is by feerate where peers compete, no peer gets more than its share by sending
more, and nobody starves: the line goes on with the work that is done, and what begins ``DOUBLING * DOUBLINGS`` further
back cannot overtake, whatever it pays.

A feerate that is claimed costs nothing when the scripts are invalid: who has sent such gets no bonus for a while.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import log2
from typing import Generic, TypeVar

BASE_FEERATE = 100.0  # sat/kvB
DOUBLING = 256.0  # inputs, 15 ms of one worker's work
DOUBLINGS = 16.0  # up to 65 BTC/MvB; together 4,096 inputs
INPUT_BYTES = 200.0  # of a transaction that count as the work of one more input
DISTRUST = 4096.0  # inputs of its own that a peer goes without a bonus after an invalid script
SHARES = 128.0  # the line moves on by this part of all work at least: the last bound on how long anybody waits
SOURCES = 1000  # peers remembered

T = TypeVar("T")


class TxOrder(Generic[T]):
    """A queue of items from many sources; bounded by who fills it."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, float, T]] = []  # place, number, work, item
        self._numbers = count()
        self._now = 0.0  # where on the line who has nothing waiting begins
        self._ends: dict[int, float] = {}  # by source: where its next item begins
        self._distrusted: dict[int, float] = {}  # by source: up to where it has no bonus

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, item: T, source: int, inputs: int, size: int, feerate: float) -> None:
        """Queue an item of so many inputs and bytes; ``feerate`` in sat/kvB, 0 for an unknown one."""
        start = max(self._now, self._ends.get(source, 0.0))
        work = inputs + size / INPUT_BYTES
        self._ends[source] = start + work
        if len(self._ends) > SOURCES:
            self._forget()
        place = start
        if feerate > BASE_FEERATE and start >= self._distrusted.get(source, start):
            place -= DOUBLING * min(log2(feerate / BASE_FEERATE), DOUBLINGS)
        heappush(self._heap, (place, next(self._numbers), work, item))

    def take(self) -> T:
        """The next item; raises IndexError when there is none."""
        place, _, work, item = heappop(self._heap)
        self._now = max(self._now + work / SHARES, place)
        if not self._heap:
            self._ends.clear()  # nobody waits: nobody has had more than his share
        return item

    def distrust(self, source: int) -> None:
        """An item of this source was not worth its work."""
        self._distrusted[source] = max(self._now, self._ends.get(source, 0.0)) + DISTRUST
        if len(self._distrusted) > SOURCES:
            self._forget()

    def _forget(self) -> None:
        """Sources that would begin anew anyway; those that have sent invalid scripts when there are too many."""
        self._ends = {source: end for source, end in self._ends.items() if end > self._now}
        trusted = len(self._distrusted) - SOURCES
        kept = list(self._distrusted.items())[max(0, trusted) :]
        self._distrusted = {source: end for source, end in kept if end > self._now}
