"""How long Python's garbage collector stops the node for."""

from __future__ import annotations

import gc
from time import perf_counter
from typing import Any

from btcnode.counting import Histogram

BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)  # seconds
GENERATIONS = ("0", "1", "2")


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
