"""Whose block is parsed, checked and stored next: in order of arrival, and in siege by what the sources have earned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from btcnode.chain.standing import Standing


class StoreQueue:
    """Lets ``places()`` blocks in at a time; ``by_standing()`` tells whether those that wait are chosen among."""

    def __init__(self, places: Callable[[], int], by_standing: Callable[[], bool]) -> None:
        self._places = places
        self._by_standing = by_standing
        self._inside = 0
        self._waiting: list[tuple[Callable[[], Standing], asyncio.Future[None]]] = []  # by arrival

    def __len__(self) -> int:
        """Blocks that wait."""
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, standing: Callable[[], Standing]) -> AsyncIterator[None]:
        """Wait for a place, and hold it; ``standing()`` is what the block's source has earned by then."""
        if self._inside < self._places():
            self._inside += 1
        else:
            await self._wait(standing)
        try:
            yield
        finally:
            self._inside -= 1
            self._let_in()

    async def _wait(self, standing: Callable[[], Standing]) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((standing, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # let in and cancelled in the same moment
                self._inside -= 1
                self._let_in()
            raise

    def _let_in(self) -> None:
        while self._waiting and self._inside < self._places():
            number = 0
            if self._by_standing():
                number = max(range(len(self._waiting)), key=lambda n: (self._waiting[n][0](), -n))
            _, turn = self._waiting.pop(number)
            if not turn.done():
                self._inside += 1
                turn.set_result(None)
