"""Control groups with a memory limit that this process is in: what they allow, and what is taken there.

A limit counts for all groups below, so that of every ancestor is looked at, in version 1 and 2 and where both are
mounted (hybrid: memory is then with one of them). Where the groups are mounted is read from ``mountinfo``, since a
container may see a part of the tree only, under another path than the one that ``/proc/self/cgroup`` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from btcnode.tuples import NamedTuple

UNLIMITED = 1 << 60  # version 1 writes a number beyond all memory for "no limit"
# version 2 throttles above memory.high, which is as bad as no memory: the lower one counts
_LIMITS = {1: ("memory.limit_in_bytes",), 2: ("memory.max", "memory.high")}
_USED = {1: "memory.usage_in_bytes", 2: "memory.current"}
# what the kernel takes back by itself before it ends a process
_RECLAIMABLE = {
    1: ("total_inactive_file", "total_active_file"),
    2: ("inactive_file", "active_file", "slab_reclaimable"),
}
_HIERARCHY = "hierarchical_memory_limit"  # version 1: the lowest of all ancestors, those not mounted here among them


class MemoryGroup(NamedTuple):
    """A control group: its folder and the version of its files."""

    folder: Path
    version: int

    def limit(self) -> int | None:
        """Bytes that everything in it may take now; None without a limit, or when the group is gone."""
        found = [number for name in _LIMITS[self.version] if (number := _number(self.folder / name)) is not None]
        if self.version == 1:
            found += [number for key, number in _statistics(self.folder) if key == _HIERARCHY]
        return min((number for number in found if number < UNLIMITED), default=None)

    def used(self) -> int:
        """Bytes taken there that the kernel cannot take back: no pages of files; 0 when nothing tells."""
        names = _RECLAIMABLE[self.version]
        taken = _number(self.folder / _USED[self.version]) or 0
        return max(0, taken - sum(number for key, number in _statistics(self.folder) if key in names))


def memory_groups(proc: Path = Path("/proc/self")) -> tuple[MemoryGroup, ...]:
    """The groups of this process in which memory can be limited, each before its parent; empty where there are none.

    ``proc``: the folder with the process's ``cgroup`` and ``mountinfo``.
    """
    try:
        membership, mounts = ((proc / name).read_text() for name in ("cgroup", "mountinfo"))
    except OSError:
        return ()
    found: list[MemoryGroup] = []
    for line in membership.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        version = 2 if line.startswith("0::") else 1 if "memory" in controllers.split(",") else 0
        if version:
            found += (group for root, point in _mounts(mounts, version) for group in _line(root, point, path, version))
    return tuple(dict.fromkeys(found))


def _mounts(text: str, version: int) -> Iterator[tuple[str, Path]]:
    """Where the tree of groups with memory is mounted: the group that is its root there, and the folder."""
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        place, kind = left.split(), right.split()
        if len(place) < 5 or len(kind) < 3:
            continue
        if (kind[0] == "cgroup2") if version == 2 else (kind[0] == "cgroup" and "memory" in kind[2].split(",")):
            yield _unescaped(place[3]), Path(_unescaped(place[4]))


def _line(root: str, point: Path, path: str, version: int) -> Iterator[MemoryGroup]:
    """The group ``path`` and its ancestors as far as they are mounted."""
    inside = path == root or path.startswith(root.rstrip("/") + "/")
    names = [name for name in path[len(root) :].split("/") if name] if inside else []
    if ".." in names:  # outside of what a namespace shows
        names = []
    for depth in range(len(names), -1, -1):
        folder = point.joinpath(*names[:depth])
        if (folder / _USED[version]).exists() or any((folder / name).exists() for name in _LIMITS[version]):
            yield MemoryGroup(folder, version)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _statistics(folder: Path) -> list[tuple[str, int]]:
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return []
    pairs = (line.split() for line in lines)
    return [(pair[0], int(pair[1])) for pair in pairs if len(pair) == 2 and pair[1].isdigit()]


def _unescaped(text: str) -> str:
    """A path of ``mountinfo``: blanks and the like stand there as three octal digits."""
    first, *others = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in others)
