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
_SPARE = 8  # entries that count no more and are no matter
_SCORE = int(Part.SCORE)  # comparing members of an enumeration takes a call


class Agenda:
    """Parts to be looked at by peer: ``Part`` bits."""

    def __init__(self) -> None:
        self._due: dict[int, int] = {}
        self._due_for_all = 0
        # the moment of each part of a peer (``peer << _BITS | part``); a heap also has those that were moved since
        self._moments: dict[int, float] = {}
        self._steady: list[tuple[float, int]] = []  # heap: of scores
        self._mockable: list[tuple[float, int]] = []  # heap: of all others

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
        key = peer_id << _BITS | part
        if moment == NEVER:
            self._moments.pop(key, None)
        elif moment == NEXT_TICK:
            self._moments.pop(key, None)
            self.wake(peer_id, part)
        elif self._moments.get(key) != moment:
            self._moments[key] = moment
            heap = self._steady if part == _SCORE else self._mockable
            heapq.heappush(heap, (moment, key))
            self._tidy(heap)

    def take(self, steady: float, mockable: float, peers: Iterable[int]) -> list[tuple[int, int]]:
        """A tick: the peers to be looked at, by number, and what of each. ``peers`` are all that there are."""
        due, self._due = self._due, {}
        if self._due_for_all:
            for peer_id in peers:
                due[peer_id] = due.get(peer_id, 0) | self._due_for_all
            self._due_for_all = 0
        moments = self._moments
        for heap, now in ((self._steady, steady), (self._mockable, mockable)):
            while heap and heap[0][0] <= now:
                moment, key = heapq.heappop(heap)
                if moments.get(key) == moment:
                    del moments[key]
                    due[key >> _BITS] = due.get(key >> _BITS, 0) | key & ALL_PARTS
        return sorted(due.items())

    def forget(self, peer_id: int) -> None:
        """The connection is gone."""
        self._due.pop(peer_id, None)
        for part in Part:
            self._moments.pop(peer_id << _BITS | part, None)
        self._tidy(self._steady)
        self._tidy(self._mockable)

    def _tidy(self, heap: list[tuple[float, int]]) -> None:
        """Leave out what counts no more when it is the most: moments that were moved, or of who is gone."""
        if len(heap) > 2 * len(self._moments) + _SPARE:
            heap[:] = {entry for entry in heap if self._moments.get(entry[1]) == entry[0]}
            heapq.heapify(heap)
