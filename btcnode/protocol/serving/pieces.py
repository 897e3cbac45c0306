"""Long work in pieces: generators that stop after a piece, so that others get their turn between two of them.

Work is counted, not timed, as nothing here has a clock: one unit is about a microsecond, and ten in the worst case.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

PIECE = 128  # units

T = TypeVar("T")
Steps = Generator[None, None, T]  # stops after each piece; its value is what comes out


class Meter:
    """Counts work. ``if meter.spent(cost): yield`` after each part of it."""

    __slots__ = ("_left", "total")

    def __init__(self) -> None:
        self._left = PIECE
        self.total = 0

    def spent(self, cost: int) -> bool:
        """Add to what was done; whether that completes a piece."""
        self.total += cost
        self._left -= cost
        if self._left > 0:
            return False
        self._left = PIECE
        return True


def finish(steps: Steps[T]) -> T:
    """All pieces one after the other; what comes out."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
