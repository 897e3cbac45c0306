"""Whose turn it is: all that connections give the loop to do goes through one queue and is done in slices.

A slice has a few milliseconds, for all connections together; then the loop does what else is due (RPC, timers, signals,
other sockets) before the next one. Who has had the least of the loop's time comes first: each connection has a clock of
its own that runs on by what its work was measured to take (start-time fair queueing, Goyal, Vin and Cheng 1996). Who
comes back after a rest begins where the clocks of the others stand, less ``CREDIT``: a peer that asks for little is
served before those that keep the loop busy, however many they are, and nobody saves time up.

A piece of work (one message, one write) is never cut: it shall be short, or be done beside the loop.
"""

from __future__ import annotations

import time
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SLICE = 0.005  # seconds for all connections together before the loop goes on
QUANTUM = 0.001  # seconds of one connection's work before another one is looked at
ALONE = 0.1  # share of its work that a connection is charged with when no other one waits meanwhile
CREDIT = 0.02  # seconds by which a connection that has rested goes before others


class Turn:
    """A connection's place in the queue.

    ``work`` does one piece and tells whether there may be more; ``finish`` ends a turn of several pieces. ``clock`` is
    where the connection's own time stands. ``excused`` is set by whoever finds that a piece shall not be charged.
    """

    __slots__ = ("charged", "clock", "excused", "finish", "peer_id", "waiting", "work")

    def __init__(self, peer_id: int, work: Callable[[], bool], finish: Callable[[], None]) -> None:
        self.peer_id = peer_id
        self.work = work
        self.finish = finish
        self.clock = 0.0
        self.charged = 0.0  # seconds of processor time since ``Turns.take_charges``
        self.waiting = False
        self.excused = False


class Turns:
    """The queue. ``call_soon`` has the loop call something after what is due already.

    ``clock`` gives seconds, ``cpu`` seconds of processor time of the loop's thread. A slice ends by the one, work is
    charged by the other: what a thread beside the loop takes meanwhile is no peer's fault.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._call_soon = call_soon
        self._clock = clock
        self._cpu = cpu
        self._queue: list[tuple[float, int, Turn]] = []  # heap: own time, order of coming
        self._come = 0
        self._now = 0.0  # where the clock of the connection that was looked at last stood
        self._scheduled = False
        self._at_work: Turn | None = None
        self._again = False  # who is at work asked for another turn
        self._charged: dict[int, Turn] = {}
        self.passes = 0
        self.pieces = 0
        self.seconds = 0.0  # of processor time, all connections together

    def __len__(self) -> int:
        """Connections that wait for their turn."""
        return len(self._queue)

    def add(self, turn: Turn) -> None:
        """A connection has something to do; also in its own turn, which another one follows then."""
        if turn.waiting:
            return
        if turn is self._at_work:
            self._again = True
            return
        turn.clock = max(turn.clock, self._now - CREDIT)
        self._push(turn)
        if not self._scheduled:
            self._scheduled = True
            self._call_soon(self._slice)

    def _push(self, turn: Turn) -> None:
        turn.waiting = True
        self._come += 1
        heappush(self._queue, (turn.clock, self._come, turn))

    def _slice(self) -> None:
        """Work for ``SLICE`` seconds, at least one piece."""
        self._scheduled = False
        self.passes += 1
        queue, end = self._queue, self._clock() + SLICE
        try:
            while queue:
                turn = heappop(queue)[2]
                turn.waiting = False
                self._now = max(self._now, turn.clock)
                self._at_work = turn
                if self._take_turn(turn, end):
                    self._push(turn)
                if self._clock() >= end:
                    break
        finally:  # an error of one connection's work is the loop's to report; the others go on
            self._at_work = None
            if queue and not self._scheduled:
                self._scheduled = True
                self._call_soon(self._slice)

    def _take_turn(self, turn: Turn, end: float) -> bool:
        """Let one connection work for a ``QUANTUM``; tells whether it has more to do."""
        begun = self._cpu()
        limit = begun + QUANTUM
        more = True
        while more:
            turn.excused = False
            more = turn.work()
            now = self._cpu()
            self._account(turn, now - begun)
            begun = now
            if now >= limit or self._clock() >= end:
                break
        self._again, turn.excused = False, True  # what others ask for is limited where it is served
        turn.finish()
        self._account(turn, self._cpu() - begun)
        return more or self._again

    def _account(self, turn: Turn, took: float) -> None:
        turn.clock += took
        self.seconds += took
        self.pieces += 1
        if not turn.excused:
            turn.charged += took if self._queue else took * ALONE
            self._charged[turn.peer_id] = turn

    def take_charges(self) -> Iterable[tuple[int, float]]:
        """Seconds of processor time by peer since the last call, without what was excused and without writing."""
        charged, self._charged = self._charged, {}
        for turn in charged.values():
            yield turn.peer_id, turn.charged
            turn.charged = 0.0
