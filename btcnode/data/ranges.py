"""Ranges of heights, and how a range is cut into partitions."""

from __future__ import annotations

from btcnode.errors import ConfigError

PARTITION = 1000  # blocks of the largest partitions


def checked_range(first: int, last: int | None, tip: int) -> tuple[int, int]:
    """First and last height of what was asked for, by default the tip; raises ConfigError."""
    if not 0 <= first <= tip:
        raise ConfigError(f"There is no block at height {first}: the chain in these files ends at {tip}")
    if last is None:
        return first, tip
    if last > tip:
        raise ConfigError(f"There is no block at height {last}: the chain in these files ends at {tip}")
    if last < first:
        raise ConfigError(f"The last height, {last}, is below the first, {first}")
    return first, last


def check_partition(blocks: int) -> int:
    """The size of the largest partitions; raises ConfigError unless it is a power of ten."""
    if blocks < 1 or str(blocks).strip("0") != "1":
        raise ConfigError(f"A partition has 1, 10, 100, ... blocks, not {blocks}")
    return blocks


def partitions(first: int, last: int, largest: int = PARTITION) -> list[tuple[int, int]]:
    """First and last height of each partition: as large as possible, beginning at a multiple of their size.

    Sizes are powers of ten up to ``largest``, so that any two of them lie apart, or one in the other: near the tip
    partitions are small, and ten of them become one when all of its blocks are there.
    """
    found = []
    while first <= last:
        size = largest
        while first % size or first + size - 1 > last:
            size //= 10
        found.append((first, first + size - 1))
        first += size
    return found
