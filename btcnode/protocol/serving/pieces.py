"""How much of long work is done at a time (``primitives/steps.py``), where its parts differ in cost.

Work is counted, not timed, as nothing here has a clock: one unit is about a microsecond, and ten in the worst case.
"""

from __future__ import annotations

PIECE = 128  # units


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
