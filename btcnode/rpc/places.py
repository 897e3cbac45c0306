"""Places of requests that take a while: so many in work (``-rpcthreads``), so many behind them (``-rpcworkqueue``).

Those that only wait for an event (a new block) have places of their own, as many again: they need nothing, and shall
keep nobody else out. Strangers, who have shown no password, get half of the places at most, and users go first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf


class Place:
    """One request's place; ``leave`` it in the end, whatever happened."""

    __slots__ = ("_begun", "_left", "_places", "only_waits", "running", "trusted")

    def __init__(self, places: Places, *, trusted: bool, only_waits: bool, running: bool) -> None:
        self._places = places
        self._begun: asyncio.Future[None] | None = None
        self._left = False
        self.trusted = trusted
        self.only_waits = only_waits
        self.running = running

    def wait(self) -> None:
        """From now on this one only waits for an event."""
        if not self.only_waits and not self._left:
            self._places.wait(self)

    async def begun(self) -> None:
        """Wait for the turn."""
        if not self.running:
            self._begun = asyncio.get_running_loop().create_future()
            await self._begun

    def begin(self) -> None:
        """It is this one's turn."""
        self.running = True
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)

    def leave(self) -> None:
        """The place is free; nothing happens the second time."""
        if not self._left:
            self._left = True
            self._places.leave(self)


class Places:
    """Who works and who waits."""

    def __init__(self, threads: int, queue: int) -> None:
        self.threads = threads
        self.queue = queue
        self._running = [0, 0]  # strangers, users
        self._queues: tuple[deque[Place], deque[Place]] = (deque(), deque())
        self._waiters = 0
        self._told_mono = -inf

    def tells_rejection(self, now_mono: float) -> bool:
        """Whether it is time to tell the log that somebody found no place: once in a second."""
        if now_mono - self._told_mono < 1.0:
            return False
        self._told_mono = now_mono
        return True

    @property
    def limit(self) -> int:
        """As many requests as are taken at a time."""
        return self.threads + self.queue

    def take(self, *, trusted: bool, only_waits: bool) -> Place | None:
        """A place for a request, None when there is none."""
        if only_waits:
            if self._waiters >= self.limit:
                return None
            self._waiters += 1
            return Place(self, trusted=trusted, only_waits=True, running=True)
        queue = self._queues[trusted]
        if self.is_free(trusted=trusted):
            self._running[trusted] += 1
            return Place(self, trusted=trusted, only_waits=False, running=True)
        most = self.queue if trusted else max(1, self.queue // 2)
        if len(queue) >= most:
            return None
        place = Place(self, trusted=trusted, only_waits=False, running=False)
        queue.append(place)
        return place

    def is_free(self, *, trusted: bool) -> bool:
        """Whether a request would be in work at once."""
        return not self._queues[trusted] and self._may_run(trusted=trusted)

    def _may_run(self, *, trusted: bool) -> bool:
        if sum(self._running) >= self.threads:
            return False
        return trusted or self._running[False] < max(1, self.threads // 2)

    def leave(self, place: Place) -> None:
        """A request is answered, or given up: the next ones begin."""
        if place.only_waits:
            self._waiters -= 1
            return
        if not place.running:
            self._queues[place.trusted].remove(place)
            return
        self._end(place)

    def wait(self, place: Place) -> None:
        """A request in work turns out to need nothing but an event: the next ones begin."""
        place.only_waits = True
        self._waiters += 1
        self._end(place)

    def _end(self, place: Place) -> None:
        self._running[place.trusted] -= 1
        for trusted in (True, False):
            queue = self._queues[trusted]
            while queue and self._may_run(trusted=trusted):
                self._running[trusted] += 1
                queue.popleft().begin()
