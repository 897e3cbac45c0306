"""One thread beside the loop for what peers ask for and what takes long: filtered blocks, thin blocks, block filters.

One piece of work at a time, that of the least served peer first: who asks again and again waits behind who asks for the
first time. A thread that never rests would have the interpreter nearly as often as the loop; this one rests for
``REST`` after each ``STINT``, when the loop has it at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from heapq import heappop, heappush
from typing import TypeVar

from btcnode.primitives.steps import Steps, at_once

STINT = 0.002  # seconds
REST = 0.001  # seconds
REMEMBERED = 256  # peers whose clocks are kept at least

T = TypeVar("T")


class SideWork:
    """Turns among peers, and the thread. ``clock`` is where a peer's own time stands: what its work has taken."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="serve")
        self._clock = clock
        self._served: dict[int, float] = {}
        self._now = 0.0  # where the clock of the peer that was served last stood
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []  # heap
        self._come = 0
        self._taken = False

    def close(self) -> None:
        """End the thread when it is done with what it does."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def turn(self, peer_id: int) -> AsyncIterator[None]:
        """``async with work.turn(peer):`` nobody else's work is under way inside."""
        own = max(self._served.get(peer_id, 0.0), self._now)
        if self._taken:
            self._come += 1
            ready = asyncio.get_running_loop().create_future()
            heappush(self._waiting, (own, self._come, ready))
            try:
                await ready
            except asyncio.CancelledError:
                if ready.done() and not ready.cancelled():
                    self._pass_on()
                raise
        self._taken = True
        self._now = max(self._now, own)
        begun = self._clock()
        try:
            yield
        finally:
            self._served[peer_id] = own + self._clock() - begun
            if len(self._served) > REMEMBERED:
                self._served = {peer: at for peer, at in self._served.items() if at > self._now}
            self._pass_on()

    def _pass_on(self) -> None:
        self._taken = False
        while self._waiting:
            ready = heappop(self._waiting)[2]
            if not ready.done():
                self._taken = True
                ready.set_result(None)
                return

    async def run(self, begin: Callable[[], Steps[T]]) -> T:
        """Have the thread do what ``begin`` begins; inside of a turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, gently, begin)


def gently(begin: Callable[[], Steps[T]], *, rest: Callable[[float], None] = time.sleep) -> T:
    """All pieces, with a rest now and then; what comes out."""
    steps, begun = begin(), time.perf_counter()

    def between() -> None:
        nonlocal begun
        if time.perf_counter() - begun > STINT:
            rest(REST)
            begun = time.perf_counter()

    return at_once(steps, between)
