"""What control groups allow and take: version 1 and 2, nested, hybrid, in containers that see a part of the tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.node.control_groups import MemoryGroup, memory_groups

MIB = 1 << 20
V1 = "35 31 0:32 {root} {point} rw,relatime shared:9 - cgroup cgroup rw,{controllers}\n"
V2 = "41 31 0:38 {root} {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
NO_LIMIT = 9223372036854771712


class Tree:
    """Files of /proc/self and of mounted groups."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mounts = f"22 1 8:1 / / rw - ext4 /dev/sda rw\n31 22 0:28 / {folder} rw - tmpfs tmpfs rw\n"

    def mount(self, version: int, point: str, root: str = "/", controllers: str = "memory") -> None:
        line = V1 if version == 1 else V2
        place = str(self.folder / point).replace(" ", "\\040")
        self.mounts += line.format(root=root, point=place, controllers=controllers)

    def write(self, name: str, text: object) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def groups(self, membership: str) -> tuple[MemoryGroup, ...]:
        proc = self.folder / "proc"
        proc.mkdir(exist_ok=True)
        (proc / "cgroup").write_text(membership)
        (proc / "mountinfo").write_text(self.mounts)
        return memory_groups(proc)

    def limit(self, membership: str) -> int | None:
        limits = [limit for group in self.groups(membership) if (limit := group.limit()) is not None]
        return min(limits, default=None)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_version_2_the_smallest_limit_of_all_ancestors(tree: Tree) -> None:
    tree.mount(2, "cg")
    tree.write("cg/cgroup.controllers", "memory")  # the root of the tree has no limit
    tree.write("cg/a/memory.max", 300 * MIB)
    tree.write("cg/a/b/memory.max", "max")
    tree.write("cg/a/b/c/memory.max", 700 * MIB)
    assert tree.limit("0::/a/b/c\n") == 300 * MIB
    assert [group.folder.name for group in tree.groups("0::/a/b/c\n")] == ["c", "b", "a"]
    assert tree.limit("0::/\n") is None


def test_version_2_what_throttles_is_a_limit(tree: Tree) -> None:
    tree.mount(2, "cg")
    tree.write("cg/a/memory.max", 700 * MIB)
    tree.write("cg/a/memory.high", 500 * MIB)
    assert tree.limit("0::/a\n") == 500 * MIB
    tree.write("cg/a/memory.high", "max")
    assert tree.limit("0::/a\n") == 700 * MIB


def test_version_1_with_other_controllers_beside(tree: Tree) -> None:
    tree.mount(1, "cpu", controllers="cpu")
    tree.mount(1, "memory")
    tree.write("memory/memory.limit_in_bytes", NO_LIMIT)
    tree.write("memory/x/memory.limit_in_bytes", 400 * MIB)
    tree.write("memory/x/y/memory.limit_in_bytes", 600 * MIB)
    tree.write("cpu/x/y/memory.limit_in_bytes", 1)
    assert tree.limit("5:cpu:/x/y\n4:memory:/x/y\n0::/\n") == 400 * MIB
    assert tree.limit("4:memory:/\n") is None


def test_version_1_a_limit_above_what_is_mounted(tree: Tree) -> None:
    """A container sees its own group as the root of the mount; the kernel tells it what its ancestors allow."""
    tree.mount(1, "memory", root="/docker/abc")
    tree.write("memory/memory.limit_in_bytes", NO_LIMIT)
    tree.write("memory/memory.stat", f"cache 5\nhierarchical_memory_limit {512 * MIB}\ntotal_inactive_file 0")
    assert tree.limit("4:memory:/docker/abc\n") == 512 * MIB


def test_hybrid_memory_is_where_its_files_are(tree: Tree) -> None:
    tree.mount(2, "unified")
    tree.mount(1, "memory")
    tree.write("unified/a/cgroup.procs", "")
    tree.write("memory/b/memory.limit_in_bytes", 450 * MIB)
    assert tree.limit("4:memory:/b\n0::/a\n") == 450 * MIB
    tree.write("unified/a/memory.max", 420 * MIB)  # with the newer version although the older one is mounted
    assert tree.limit("4:memory:/\n0::/a\n") == 420 * MIB


@pytest.mark.parametrize("path", ["/host/path", "/../outside", "/", "/docker/ab"])
def test_a_container_that_knows_its_path_on_the_host_only(tree: Tree, path: str) -> None:
    tree.mount(2, "cg", root="/docker/abc")
    tree.write("cg/memory.max", 2 * MIB)
    assert tree.limit(f"0::{path}\n") == 2 * MIB


def test_a_folder_with_blanks_and_a_path_with_colons(tree: Tree) -> None:
    tree.mount(2, "my groups")
    tree.write("my groups/a:b/memory.max", 3 * MIB)
    assert tree.limit("0::/a:b\n") == 3 * MIB


def test_what_is_taken_leaves_out_what_the_kernel_takes_back(tree: Tree) -> None:
    tree.mount(2, "cg")
    tree.write("cg/a/memory.max", 500 * MIB)
    tree.write("cg/a/memory.current", 100 * MIB)
    tree.write("cg/a/memory.stat", "anon 1\ninactive_file 1000\nactive_file 200\nslab_reclaimable 30\nshmem 7")
    assert [group.used() for group in tree.groups("0::/a\n")] == [100 * MIB - 1230]
    tree.mount(1, "memory")
    tree.write("memory/memory.limit_in_bytes", NO_LIMIT)
    tree.write("memory/memory.usage_in_bytes", 5000)
    tree.write("memory/memory.stat", "active_file 1\ntotal_active_file 300\ntotal_inactive_file 4000")
    assert [group.used() for group in tree.groups("1:memory:/\n")] == [700]


def test_a_limit_that_changes_and_a_group_that_goes(tree: Tree) -> None:
    tree.mount(2, "cg")
    tree.write("cg/a/memory.max", 500 * MIB)
    (group,) = tree.groups("0::/a\n")
    tree.write("cg/a/memory.max", 400 * MIB)
    assert group.limit() == 400 * MIB
    (tree.folder / "cg/a/memory.max").unlink()
    assert group.limit() is None and group.used() == 0


@pytest.mark.parametrize("membership", ["", "nonsense\n", "0\n", "4:memory\n", "::\n"])
def test_what_is_no_membership(tree: Tree, membership: str) -> None:
    tree.mount(2, "cg")
    tree.mounts += "garbage\n1 2 - \n"
    assert tree.limit(membership) is None


def test_no_control_groups(tmp_path: Path) -> None:
    assert memory_groups(tmp_path / "absent") == ()


def test_this_process() -> None:
    for group in memory_groups():
        assert group.folder.is_dir() and group.used() >= 0
