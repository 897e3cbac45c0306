"""How far the clocks of outbound peers are from ours: only a warning depends on it."""

from __future__ import annotations

from collections import deque

MAX_OFFSETS = 50  # the newest ones count
MIN_OFFSETS = 5  # fewer say nothing
WARN_SECONDS = 600


class TimeOffsets:
    """Differences in seconds, positive where the peer's clock is ahead. Inbound peers are no sample: they may lie in
    any number."""

    def __init__(self) -> None:
        self._offsets: deque[int] = deque(maxlen=MAX_OFFSETS)

    def add(self, seconds: int) -> None:
        """One more peer has told its time."""
        self._offsets.append(seconds)

    def median(self) -> int:
        """The (upper) median, 0 while there are too few."""
        if len(self._offsets) < MIN_OFFSETS:
            return 0
        return sorted(self._offsets)[len(self._offsets) // 2]
