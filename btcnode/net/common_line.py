"""Whether the line that all peers share is what keeps them back, or some of them are slow by themselves.

A peer that reads slowly, or a dozen of them at one place, say nothing of our line: others take what there is. So groups
of addresses speak, one voice each, and the line is to blame only when several of them are kept back at the same time
and few are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_GROUPS = 3  # kept back at the same time, before the line is blamed
FLOWING = 128 * 1024  # bytes in a measurement, not kept back: as much as the kernel holds would go through any line


class Voice(NamedTuple):
    """What one connection tells: its group of addresses, whether it was kept back, the bytes that it took."""

    group: bytes
    kept_back: bool
    sent: int


def taken_together(voices: Iterable[Voice]) -> int | None:
    """The bytes that all took, if the common line was what kept them back; None if not."""
    size = 0
    kept_back: dict[bytes, bool] = {}  # by group: all of it that had much to take
    for group, kept, sent in voices:
        size += sent
        if kept or sent > FLOWING:
            kept_back[group] = kept and kept_back.get(group, True)
    slow = sum(kept_back.values())
    return size if slow >= MIN_GROUPS and 2 * slow > len(kept_back) else None
