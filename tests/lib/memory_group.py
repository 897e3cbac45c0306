"""Control groups with a memory limit, version 1 or 2, for processes of tests and benchmarks."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Self

from btcnode.node.control_groups import MemoryGroup, memory_groups

_LIMIT = {1: "memory.limit_in_bytes", 2: "memory.max"}
_PEAK = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}
_KILLS = {1: "memory.oom_control", 2: "memory.events"}
_numbers = count(1)


class LimitedGroup:
    """A group inside the one that this process is in, or inside ``parent``; a context manager that removes it."""

    def __init__(self, limit: int | None, parent: LimitedGroup | None = None) -> None:
        """``limit`` in bytes, None for none of its own. Raises OSError where no group can be made."""
        groups = memory_groups()
        if not groups:
            raise FileNotFoundError("no control group of memory is mounted")
        home: MemoryGroup = groups[0] if parent is None else parent.group
        if home.version == 2 and parent is None:  # processes of a group keep it from having limited ones inside
            home = next((group for group in groups if "memory" in _text(group.folder / "cgroup.subtree_control")), home)
        folder = home.folder / f"btcnode-test-{os.getpid()}-{next(_numbers)}"
        folder.mkdir()
        self.group: MemoryGroup = MemoryGroup(folder, home.version)
        try:
            if parent is not None and home.version == 2:
                (home.folder / "cgroup.subtree_control").write_text("+memory")
            if limit is not None:
                self.set_limit(limit)
        except OSError:
            folder.rmdir()
            raise

    def set_limit(self, limit: int) -> None:
        """Another limit, from now on."""
        (self.group.folder / _LIMIT[self.group.version]).write_text(str(limit))

    def enter(self, command: Sequence[str]) -> list[str]:
        """The command, run inside."""
        return ["sh", "-c", f'echo $$ > {self.group.folder}/cgroup.procs && exec "$@"', "sh", *command]

    @property
    def peak(self) -> int:
        """Most bytes that were ever taken in it, pages of files among them; 0 where nothing tells."""
        return int(_text(self.group.folder / _PEAK[self.group.version]) or 0)

    @property
    def kills(self) -> int:
        """Processes in it that were ended for lack of memory."""
        lines = _text(self.group.folder / _KILLS[self.group.version]).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def close(self) -> None:
        """Remove it, once everything in it has ended; raises OSError when that does not happen."""
        for _ in range(100):
            try:
                self.group.folder.rmdir()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.group.folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
