"""Whose turn it is: all that connections give the loop to do goes through one queue and is done in slices.

A slice has a few milliseconds, for all connections together; then the loop does what else is due (RPC, timers, signals,
other sockets) before the next one. The order is that of fair queueing by start times: a clock of turns stands where the
work that was begun last started, work starts there or where the connection's work before it ended, whichever is later,
and what is expected to end first is done first. So busy ones share equally, however many messages
that takes; a peer that asks for little is served before those that keep the loop busy, however many they are; a hundred
strangers who come at once do not each have first what an honest peer has had of late; and nobody saves time up.

While ``gives_way`` tells that a thread beside the loop has work that nobody should wait for longer than necessary (a
block at the tip), there is a rest between slices, three times as long as they were: Python's threads share one
interpreter, and a queue that is never empty would take half of it. A rest in which no other thread does anything is of
no use (that one waits for a disk or for worker processes) and ends.
"""

from __future__ import annotations

import time
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SLICE = 0.005  # seconds for all connections together before the loop goes on
REST = 3.0  # seconds between slices for each second of work while a thread is to have most of the interpreter ...
MAX_REST = 0.05  # ... and at most
QUANTUM = 0.001  # seconds of one connection's work before another one is looked at, where few wait ...
ROUND = 0.02  # ... where many do: these seconds divided by their number, ...
LEAST_QUANTUM = 0.0002  # ... but not less
ALONE = 0.1  # share of its work that a connection is charged with when no other one waits meanwhile
PER_BYTE = 1e-7  # seconds that a byte which waits counts for in the order; what it took counts when it is done
MOST_EXPECTED = 0.004  # seconds that the next turn is taken to last, however much waits or the last one took
REST_STEP = 0.005  # seconds of a rest between two looks whether it is of use
REST_USED = 0.2  # share of a step that other threads must have had of the processors for the rest to go on
ASKED = 0.1  # share of its work that counts for the order when we asked for what it sends


class Turn:
    """A connection's place in the queue.

    ``work`` does one piece and tells whether there may be more; ``finish`` ends a turn of several pieces. ``start`` and
    ``end`` are those of its work by the clock of turns. ``took`` (seconds of the last turn) and ``held`` (bytes that
    wait) tell what the next one may cost: who brings little goes before who brings much. ``excused`` is set by who
    finds that this share of a piece is not to be charged.
    """

    __slots__ = ("charged", "end", "excused", "finish", "held", "peer_id", "start", "took", "waiting", "work")

    def __init__(self, peer_id: int, work: Callable[[], bool], finish: Callable[[], None]) -> None:
        self.peer_id = peer_id
        self.work = work
        self.finish = finish
        self.start = self.end = -inf
        self.took = QUANTUM
        self.charged = 0.0  # seconds of processor time since ``Turns.take_charges``
        self.held = 0
        self.waiting = False
        self.excused = 0.0


class Turns:
    """The queue. ``call_soon`` has the loop call something after what is due already.

    ``clock`` gives seconds, ``cpu`` seconds of processor time of the loop's thread. Slices and turns end by the one,
    turns are charged by the other: what a thread beside the loop takes meanwhile is no peer's fault. To ask for
    processor time is a system call, so a turn asks at its ends, and its pieces have their shares by the clock.
    """

    def __init__(
        self,
        call_soon: Callable[[Callable[[], None]], object],
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
        *,
        charges: bool = True,
        call_later: Callable[[float, Callable[[], None]], object] | None = None,
        gives_way: Callable[[], bool] = lambda: False,
        others: Callable[[], float] = lambda: time.process_time() - time.thread_time(),
    ) -> None:
        """``charges``: somebody takes them, with ``take_charges``. ``call_later`` has something called after seconds,
        as is wanted while ``gives_way``. ``others``: seconds of processor time of the process's other threads so far.
        """
        self._call_soon = call_soon
        self._call_later = call_later
        self._gives_way = gives_way
        self._since_rest = 0.0  # seconds of work
        self._others = others
        self._clock = clock
        self._cpu = cpu
        self._queue: list[tuple[float, int, Turn]] = []  # heap: expected end, order of coming
        self._started = 0.0  # the clock of turns
        self._come = 0
        self._scheduled = False
        self._at_work: Turn | None = None
        self._again = False  # who is at work asked for another turn
        self._charges = charges
        self._charged: dict[int, Turn] = {}

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    def add(self, turn: Turn) -> None:
        """A connection has something to do; also in its own turn, which another one follows then."""
        if turn.waiting:
            return
        if turn is self._at_work:
            self._again = True
            return
        self._push(turn)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        """The next slice: at once, or after a rest where a slice's time has been worked since the last one."""
        self._scheduled = True
        if self._since_rest >= SLICE:
            worked, self._since_rest = self._since_rest, 0.0
            if self._call_later is not None and self._gives_way():
                self._rest(self._clock() + min(worked * REST, MAX_REST))
                return
        self._call_soon(self._slice)

    def _rest(self, until: float) -> None:
        """Go on when the rest is over, or of no use to anybody."""
        call_later, step, others = self._call_later, min(until - self._clock(), REST_STEP), self._others()

        def go_on_or_rest() -> None:
            left = until - self._clock()
            if left > 0 and self._gives_way() and self._others() - others >= step * REST_USED:
                self._rest(until)
            else:
                self._slice()

        assert call_later is not None
        call_later(step, go_on_or_rest)

    def _push(self, turn: Turn) -> None:
        turn.waiting = True
        self._come += 1
        turn.start = max(turn.end, self._started)
        expected = min(max(turn.held * PER_BYTE, turn.took), MOST_EXPECTED)
        heappush(self._queue, (turn.start + expected, self._come, turn))

    def _slice(self) -> None:
        """Work for ``SLICE`` seconds, at least one piece."""
        self._scheduled = False
        queue, begun = self._queue, self._clock()
        end = begun + SLICE
        try:
            while queue:
                turn = heappop(queue)[2]
                turn.waiting = False
                self._started = max(self._started, turn.start)
                self._at_work = turn
                if self._take_turn(turn, end):
                    self._push(turn)
                if self._clock() >= end:
                    break
        finally:  # an error of one connection's work is the loop's to report; the others go on
            self._at_work = None
            self._since_rest += self._clock() - begun
            if queue and not self._scheduled:
                self._schedule()

    def _take_turn(self, turn: Turn, end: float) -> bool:
        """Let one connection work for a ``QUANTUM``, less where many wait; tells whether it has more to do.

        Who has had a little more than those who wait for their first turn comes after all of these: with a hundred of
        them that is a tenth of a second, and where processors are busy a second, if each has a millisecond.
        """
        clock = self._clock
        first, begun = self._cpu(), clock()
        quantum = min(QUANTUM, max(LEAST_QUANTUM, ROUND / (len(self._queue) or 1)))
        excused, at = 0.0, begun
        more = True
        while more:
            turn.excused = 0.0
            more = turn.work()
            now = clock()
            if turn.excused:
                excused += (now - at) * turn.excused
            at = now
            if now >= begun + quantum or now >= end:
                break
        read = self._cpu() - first
        asked = read * excused / (at - begun) if excused else 0.0
        self._again = False
        turn.finish()
        took = self._cpu() - first
        self._charge(turn, read - asked)  # not for writing: what others ask for is limited where it is served
        turn.took = max(0.0, took - asked * (1 - ASKED))
        turn.end = turn.start + turn.took
        return more or self._again

    def _charge(self, turn: Turn, seconds: float) -> None:
        if self._charges and seconds > 0:
            turn.charged += seconds if self._queue else seconds * ALONE
            self._charged[turn.peer_id] = turn

    def take_charges(self) -> Iterable[tuple[int, float]]:
        """Seconds of processor time by peer since the last call, without what was excused and without writing."""
        charged, self._charged = self._charged, {}
        for turn in charged.values():
            yield turn.peer_id, turn.charged
            turn.charged = 0.0
