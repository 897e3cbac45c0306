"""What was seen recently, exactly: adding thousands at once takes microseconds, unlike a Bloom filter."""

from __future__ import annotations

from collections.abc import Iterable

from btcnode.collector import leave_out


class RollingSet:
    """Remembers at least the last ``per_generation`` byte strings added, at most twice as many and one batch.

    Two generations; the older is forgotten when the younger is full. About 120 bytes for each.
    """

    __slots__ = ("_old", "_per_generation", "_young")

    def __init__(self, per_generation: int) -> None:
        self._per_generation = per_generation
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()
        leave_out(self._young, self._old)  # they hold nothing but bytes

    def __contains__(self, item: bytes) -> bool:
        return item in self._young or item in self._old

    def add(self, items: Iterable[bytes]) -> None:
        """Remember a batch."""
        if len(self._young) >= self._per_generation:
            self._old, self._young = self._young, set()
            leave_out(self._young)
        self._young.update(items)

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old = set(), set()
        leave_out(self._young, self._old)
