"""When worker processes that have ended are started again: with growing pauses, for ever."""

from __future__ import annotations

from random import Random

FIRST_PAUSE = 0.25  # seconds after the second failure in a row; after the first one there is none
LONGEST_PAUSE = 10.0  # a start costs 80 ms: less than a hundredth of a core is lost to hopeless ones
CALM = 20.0  # seconds that a process has to live for the failures before it to be forgotten


class Restarts:
    """Failures in a row, and the time of the next start; ``now`` is monotonic seconds.

    Processes that end together have one cause and count once: an end counts if the process was born after the last one
    that counted. A pause is a random half to whole of its length, so that many nodes do not fork in step.
    """

    def __init__(self, rng: Random) -> None:
        self.failures = 0  # in a row
        self.due = 0.0  # no start before
        self._rng = rng
        self._counted_at = float("-inf")

    def failed(self, born: float, now: float) -> bool:
        """A process that was born then has ended now, or was not born at all; returns whether that counts."""
        if now - born >= CALM:
            self.failures = 0
        elif born < self._counted_at:
            return False
        self.failures += 1
        self._counted_at = now
        if self.failures > 1:
            # 2 ** 6 quarters of a second are longer than the longest pause
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures - 2, 6))
            self.due = now + pause * self._rng.uniform(0.5, 1.0)
        return True

    def is_calm(self, born: float, now: float) -> bool:
        """Whether a process that lives since ``born`` shows that failures are over; said once for each row of them."""
        if not self.failures or born <= self._counted_at or now - born < CALM:
            return False
        self.failures = 0
        return True

    def wait(self, now: float) -> float:
        """Seconds until a start is allowed; 0 for now."""
        return max(0.0, self.due - now)
