"""How much room there is where a node writes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple


class Space(NamedTuple):
    """Bytes of a disk."""

    size: int
    free: int


def scarcest(*folders: Path) -> Space:
    """The disk with the least room of those that the folders lie on; raises OSError."""
    usages = [shutil.disk_usage(folder) for folder in folders]
    return min((Space(usage.total, usage.free) for usage in usages), key=lambda space: space.free)
