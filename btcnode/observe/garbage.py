"""Python's garbage collector: how long it stops the node for, and when it had better not."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from btcnode.counting import Histogram

BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)  # seconds
LONGEST_REST = 60.0  # seconds
GENERATIONS = ("0", "1", "2")


class GarbageRest:
    """Keeps the collector from running while values of very many objects are made, which it would look through again
    and again: 40 ms for each 400,000 of them, a second for what a request of 30 MB can hold.

    ``begin`` and ``end`` may overlap. What others leave is collected after ``longest`` seconds all the same.
    """

    def __init__(self, longest: float = LONGEST_REST) -> None:
        self._longest = longest
        self._held = 0
        self._since = 0.0

    def begin(self) -> None:
        """Somebody makes such a value."""
        if not self._held:
            self._since = perf_counter()
            gc.disable()
        self._held += 1

    def end(self) -> None:
        """It is gone."""
        self._held -= 1
        if not self._held:
            gc.enable()
        elif perf_counter() - self._since > self._longest:
            gc.collect(1)
            self._since = perf_counter()


class GarbagePauses:
    """Pauses by generation, from ``watch`` until ``close``; a microsecond for each."""

    def __init__(self) -> None:
        self.pauses = {generation: Histogram(BOUNDS) for generation in GENERATIONS}
        self._begun = 0.0

    def watch(self) -> None:
        """Begin to measure."""
        gc.callbacks.append(self._note)

    def close(self) -> None:
        """Measure no more."""
        if self._note in gc.callbacks:
            gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._begun = perf_counter()
        elif self._begun:
            self.pauses[str(info["generation"])].add(perf_counter() - self._begun)
