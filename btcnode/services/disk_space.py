"""How much room there is where a node writes."""

from __future__ import annotations

import os
from pathlib import Path

from btcnode.tuples import NamedTuple


class Space(NamedTuple):
    """Bytes of a disk."""

    size: int
    free: int


def space_of(folder: Path) -> Space:
    """The disk that the folder lies on; raises OSError."""
    told = os.statvfs(folder)
    return Space(told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize)


def free_bytes(folder: Path) -> int:
    """What can still be written there; raises OSError."""
    return space_of(folder).free


def scarcest(*folders: Path) -> Space:
    """The disk with the least room of those that the folders lie on; raises OSError."""
    return min((space_of(folder) for folder in folders), key=lambda space: space.free)
