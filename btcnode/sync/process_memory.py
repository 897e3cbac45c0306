"""How much memory processes take, and how much they may."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

CGROUP_SHARE = 0.85  # of a container's limit: the rest is for the page cache and for what nobody foresaw
_UNLIMITED = 1 << 60  # version 1 of cgroups writes a number beyond all memory for "no limit"


class Resident(NamedTuple):
    """Resident bytes: of the process's own, and of mapped files (which the system may take back at any time)."""

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
    try:
        fields = Path(f"/proc/{pid or 'self'}/statm").read_bytes().split()
    except OSError:
        if sys.platform == "linux" or pid not in (None, os.getpid()):
            return Resident(0, 0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Resident(peak if sys.platform == "darwin" else peak * 1024, 0)
    page = resource.getpagesize()
    size, shared = int(fields[1]), int(fields[2])
    return Resident((size - shared) * page, shared * page)


def resident_of(pids: Iterable[int]) -> Resident:
    """Sum over several processes."""
    own = mapped = 0
    for pid in pids:
        one = resident(pid)
        own += one.own
        mapped += one.mapped
    return Resident(own, mapped)


def container_limit(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """The lowest memory limit of the control groups that this process is in (bytes), None when there is none."""
    limits: list[int] = []
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        _, controllers, path = parts
        if controllers == "":
            base, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            base, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        # inside a container the path may be the host's: then the limit stands at the root
        folders = Path(path.lstrip("/")).parts
        for depth in range(len(folders), -1, -1):
            limits += _limit(base.joinpath(*folders[:depth], name))
    return min(limits, default=None)


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() and int(text) < _UNLIMITED else []
