"""What one of several jobs takes of a thread's processor time, measured so that the others do not pay for it.

To ask for processor time is a system call, to look at the clock is none: the whole is measured by the one and divided
by the other.
"""

from __future__ import annotations

import time


class JobClock:
    """Runs from its making on; ``next`` begins a job."""

    __slots__ = ("_at", "_begun", "_cpu")

    def __init__(self) -> None:
        self._cpu = time.thread_time()
        self._begun = self._at = time.perf_counter()

    def next(self) -> None:
        """A job begins."""
        self._at = time.perf_counter()

    def is_beyond(self, seconds: float) -> bool:
        """Whether the job that began last may have taken more processor time than that."""
        return time.perf_counter() - self._at > seconds

    def all(self) -> float:
        """Processor seconds so far."""
        return time.thread_time() - self._cpu

    def last(self) -> float:
        """Processor seconds of the job that began last."""
        now = time.perf_counter()
        whole = now - self._begun
        return self.all() * (now - self._at) / whole if whole > 0 else 0.0
