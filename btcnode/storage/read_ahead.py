"""Reading ahead in a mapped file that is gone through in order.

LMDB's mapping is told that reads are random, which is right for lookups: a page from the disk is then one page. Whoever
goes through a whole file would wait for each of its pages; here the system is told what comes next.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

WINDOW = 1 << 20  # bytes that are asked for at a time


class ReadAhead:
    """For one pass through a file of ``size`` bytes; does nothing where the system cannot be told."""

    def __init__(self, path: Path, size: int) -> None:
        """``path`` may be gone already: what is mapped stays."""
        self._size = size
        self._asked = -1  # up to here
        self._fd = -1
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):  # removed, or too many files are open: the pass is slower, and the same
                self._fd = os.open(path, os.O_RDONLY)

    def at(self, position: int) -> None:
        """Somebody reads at about this byte, and goes on from there."""
        if self._fd < 0 or position + WINDOW <= self._asked:
            return
        begin = max(self._asked, position)
        self._asked = position + 2 * WINDOW
        if begin < self._size:
            os.posix_fadvise(self._fd, begin, self._asked - begin, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
