"""How much memory processes take."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

from btcnode.tuples import NamedTuple


class Resident(NamedTuple):
    """Resident bytes: of the process's own, page tables included, and of mapped files.

    The system may take the latter back at any time, but not their page tables.
    """

    own: int
    mapped: int

    @property
    def total(self) -> int:
        """What ``ps`` shows as RSS."""
        return self.own + self.mapped


def resident(pid: int | None = None) -> Resident:
    """Resident memory of a process, by default this one; zeros for one that is gone.

    Where there is no /proc it is this process's peak, and nothing is known of others.
    """
    folder = Path(f"/proc/{pid or 'self'}")
    try:
        fields = (folder / "statm").read_bytes().split()
        tables = _page_tables((folder / "status").read_bytes())
    except OSError:
        if sys.platform == "linux" or pid not in (None, os.getpid()):
            return Resident(0, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Resident(peak if sys.platform == "darwin" else peak * 1024, 0)
    page = resource.getpagesize()
    size, shared = int(fields[1]), int(fields[2])
    return Resident((size - shared) * page + tables, shared * page)


def _page_tables(status: bytes) -> int:
    """Bytes of a process's page tables; 0 where nothing is told of them, or it has ended."""
    _, found, rest = status.partition(b"VmPTE:")
    return int(rest.split(None, 1)[0]) << 10 if found else 0


def resident_of(pids: Iterable[int]) -> Resident:
    """Sum over several processes."""
    own = mapped = 0
    for pid in pids:
        one = resident(pid)
        own += one.own
        mapped += one.mapped
    return Resident(own, mapped)


M_MMAP_THRESHOLD = -3
LARGE = 128 << 10  # bytes


def map_large() -> None:
    """Have the C library map whatever is large by itself, so that it goes back when it is freed (glibc).

    Else it raises what counts as large up to 32 MB, and columns that grow leave holes behind: 13 MB in a node without
    coins. Each large buffer costs page faults instead, some 3 % of the time that blocks take.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Have the C library give what was freed back to the system, where it can (glibc); takes some milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
