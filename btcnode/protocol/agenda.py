"""Whom a tick has to look at: peers to which something has happened, and peers for which a moment has come.

Each part of the protocol that has something to do for a peer by the clock says, whenever it has looked at the peer,
when it wants to do so next. Between these moments the peer costs nothing, unless something happens to it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from enum import IntEnum
from math import inf

NEXT_TICK = -inf  # as a moment: whatever the clock says then
NEVER = inf  # unless something happens to the peer


class Part(IntEnum):
    """What is looked at for a peer, as bits, in the order in which it is."""

    SCORE = 1
    ADDRESSES = 2
    HEADERS = 4
    BLOCKS = 8
    SPENT = 16
    SERVING = 32
    ANNOUNCING = 64
    REQUESTS = 128
    FEES = 256


_BITS = 9
ALL_PARTS = (1 << _BITS) - 1


class _Timers:
    """At most one moment for each key, on one clock; those that were moved stay in the heap until their time."""

    __slots__ = ("_heap", "_moments")

    def __init__(self) -> None:
        self._moments: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def set(self, key: int, moment: float) -> None:
        if self._moments.get(key) != moment:
            self._moments[key] = moment
            heapq.heappush(self._heap, (moment, key))

    def cancel(self, key: int) -> None:
        self._moments.pop(key, None)

    def advance(self, now: float) -> Iterable[int]:
        """The keys whose time has come; their moments are gone."""
        heap, moments = self._heap, self._moments
        while heap and heap[0][0] <= now:
            moment, key = heapq.heappop(heap)
            if moments.get(key) == moment:
                del moments[key]
                yield key


class Agenda:
    """Parts to be looked at by peer: ``Part`` bits."""

    def __init__(self) -> None:
        self._due: dict[int, int] = {}
        self._due_for_all = 0
        self._steady = _Timers()  # of scores
        self._mockable = _Timers()

    def wake(self, peer_id: int, parts: int = ALL_PARTS) -> None:
        """Something has happened to a peer: look at it in the next tick."""
        self._due[peer_id] = self._due.get(peer_id, 0) | parts

    def wake_all(self, parts: int = ALL_PARTS) -> None:
        """The same for all peers."""
        self._due_for_all |= parts

    def set(self, peer_id: int, part: int, moment: float) -> None:
        """Look at a part of a peer when its clock (``Context.steady`` for scores, else ``mockable``) is at ``moment``.

        An earlier word about the same part counts no more.
        """
        timers, key = self._steady if part == Part.SCORE else self._mockable, peer_id << _BITS | part
        if NEXT_TICK < moment < NEVER:
            timers.set(key, moment)
            return
        timers.cancel(key)
        if moment == NEXT_TICK:
            self.wake(peer_id, part)

    def take(self, steady: float, mockable: float, peers: Iterable[int]) -> list[tuple[int, int]]:
        """A tick: the peers to be looked at, by number, and what of each. ``peers`` are all that there are."""
        due, self._due = self._due, {}
        if self._due_for_all:
            for peer_id in peers:
                due[peer_id] = due.get(peer_id, 0) | self._due_for_all
            self._due_for_all = 0
        for timers, now in ((self._steady, steady), (self._mockable, mockable)):
            for key in timers.advance(now):
                due[key >> _BITS] = due.get(key >> _BITS, 0) | key & ALL_PARTS
        return sorted(due.items())

    def forget(self, peer_id: int) -> None:
        """The connection is gone."""
        self._due.pop(peer_id, None)
        self._steady.cancel(peer_id << _BITS | Part.SCORE)
        for part in Part:
            self._mockable.cancel(peer_id << _BITS | part)
