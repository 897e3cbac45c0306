"""Which condemned blocks are looked at again, and when: a second look costs us far more than a bad block costs a miner.

A block that broke a rule counts as invalid at once, but for this run only: the disk hears of it when a second look
(``second_look.py``) has found no damage of ours. Looks are made in slices, while the chain is at rest, for a quarter of
the time; after one that found nothing the next waits twice as long, and each connected block halves that. What found no
place is judged anew when its branch would be the best one and there is room: so damage is met during a flood, too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from btcnode.chain.second_look import SecondLook
from btcnode.chain.steps import SecondLookStep
from btcnode.primitives.steps import Steps

MAX_WAITING = 4  # looks with the coins that they are about: 24,000 x 350 B for the largest block, 34 MB for all
SLICE = 0.02  # seconds; a block or a sum that was begun is finished
REST = 3.0  # times what a slice took
FIRST_PAUSE = 1.0  # seconds after a look that found nothing
MAX_PAUSE = 3600.0


class PendingLooks:
    """Belongs to the loop thread; what a slice does belongs to the chain thread meanwhile."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: deque[tuple[int, SecondLook]] = deque()
        self._current: tuple[int, Steps[None]] | None = None
        self._due = 0.0
        self._pause = FIRST_PAUSE

    def add(self, index: int, look: SecondLook) -> None:
        """Block ``index`` was condemned; beyond ``MAX_WAITING`` nothing is remembered."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append((index, look))

    @property
    def idle(self) -> bool:
        """Whether no look is under way or waits."""
        return self._current is None and not self._waiting

    @property
    def wait(self) -> float:
        """Seconds until the next slice is due."""
        return max(0.0, self._due - self._clock())

    def next(self) -> SecondLookStep | None:
        """The next slice, whether it is due or not; None when there is none."""
        if self._current is None and self._waiting:
            index, look = self._waiting.popleft()
            self._current = index, look.steps()
        return None if self._current is None else SecondLookStep(*self._current)

    def did(self, seconds: float, *, over: bool) -> None:
        """A slice was made; ``over``: it was the last, and no damage was found."""
        self._due = self._clock() + REST * seconds
        if over:
            self._current = None
            self._due += self._pause
            self._pause = min(2 * self._pause, MAX_PAUSE)

    def note_connected(self) -> None:
        """A block is connected."""
        self._pause = max(FIRST_PAUSE, self._pause / 2)

    def drop(self) -> None:
        """The look under way has met damage, or cannot go on."""
        self._current = None


def run_slice(steps: Steps[None]) -> tuple[float, bool]:
    """One slice (chain thread): the seconds that it took, and whether it was the last. Raises CorruptionError."""
    begun = time.perf_counter()
    while (took := time.perf_counter() - begun) < SLICE:
        try:
            next(steps)
        except StopIteration:
            return time.perf_counter() - begun, True
    return took, False
