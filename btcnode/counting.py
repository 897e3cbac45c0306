"""Counting how values are spread, for whoever does what is measured."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence


class Histogram:
    """How many values were at most each of ``bounds`` (rising), and their sum; 0.2 us a value."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(
        self, bounds: Sequence[float], values: Iterable[float] = (), *, counts: Sequence[int] = (), total: float = 0.0
    ) -> None:
        """``counts`` (one more than ``bounds``, not cumulative) and ``total`` are what was counted before."""
        self.bounds = bounds
        self.counts = list(counts) or [0] * (len(bounds) + 1)
        self.sum = total
        for value in values:
            self.add(value)

    def add(self, value: float) -> None:
        """Count one value."""
        bounds = self.bounds
        self.counts[0 if value <= bounds[0] else bisect_left(bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)
