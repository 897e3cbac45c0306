"""The form of an LMDB file, looked at before LMDB maps it.

LMDB trusts its pages: a damaged one can kill the process, send a search to the wrong place, or, in the list of free
pages, have pages overwritten that are in use. Here every page on the way is read with its bounds checked: headers,
nodes that tile their page, keys in order between those of the parent, each page used once, none of them free, and the
counts that the roots have. Large files are looked at down to the parents of their leaves, a hundredth of the file;
what is wrong in leaves is left to the checksums of their records.

The format is that of LMDB 0.9 on a machine with 64 bits, in the machine's byte order.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path
from struct import Struct

from btcnode.errors import CorruptionError
from btcnode.tuples import NamedTuple

WHOLE_BYTES = 16 << 20  # files up to this size are looked at as a whole: 0.2 s

_HEADER = Struct("=QHHHH")  # number, pad, flags, lower, upper
_NODE = Struct("=HHHH")  # low and high part of a size or page number, flags, size of the key
_DB = Struct("=IHHQQQQQ")  # pad, flags, depth, branch pages, leaf pages, overflow pages, entries, root
_META_HEAD = Struct("=IIQQ")  # magic, version, address, map size
_META_TAIL = Struct("=QQ")  # last page, transaction
_HEADER_SIZE, _NODE_SIZE = _HEADER.size, _NODE.size
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8
_BIG, _SUB = 1, 2  # flags of nodes
_FREE_FLAGS = (0x08, 0x4008)  # integer keys; with the flag of a file without a folder of its own
_NO_PAGE = 2**64 - 1
_MAX_DEPTH = 32
_U64 = Struct("=Q")


class _Tree(NamedTuple):
    """A tree as its root record describes it."""

    pad: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class _Node(NamedTuple):
    """A node of a page: its key, and of a branch the child's page, of a leaf flags and data."""

    key: bytes
    child: int
    flags: int
    data: bytes


class _Damage(Exception):
    """What is wrong with a file."""


class _Count:
    """What was met on the way through one tree."""

    def __init__(self) -> None:
        self.branches = self.leaves = self.overflows = self.entries = 0


def check_file(
    path: Path, names: Collection[bytes], advice: str, *, in_doubt: bool = False, whole_bytes: int = WHOLE_BYTES
) -> bool:
    """Check an LMDB file with these named databases, if it is there; returns whether it is small.

    Small ones are looked at as a whole, and those ``in_doubt``: a minute and a half for each 10 GB.

    Nobody may write meanwhile. Raises CorruptionError, with ``advice``, or OSError.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        size = os.fstat(fd).st_size
        if not size:
            return True
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
            small = size <= whole_bytes
            _File(data, small or in_doubt).check(names)
            return small
    except _Damage as damage:
        raise CorruptionError(f"{path} is damaged ({damage})" + (f": {advice}" if advice else "")) from None
    finally:
        os.close(fd)


class _File:
    """One file and what is known of its pages."""

    def __init__(self, data: mmap.mmap, whole: bool) -> None:
        self._data = data
        self._whole = whole
        self._page_size = 0
        self._used = bytearray()

    def check(self, names: Collection[bytes]) -> None:
        """Raises _Damage."""
        free, main, last = self._newest()
        self._used = bytearray(last + 1)
        self._used[0] = self._used[1] = 1
        if free.flags not in _FREE_FLAGS or main.flags or main.pad:
            raise _Damage("the flags of a root are wrong")
        found = self._walk(main, names)
        for name, record in found.items():
            tree = _Tree(*_DB.unpack(record))
            if tree.flags or tree.pad:
                raise _Damage(f"the flags of the root of {name.decode(errors='replace')} are wrong")
            self._walk(tree, ())
        self._check_free(free, last)

    def _newest(self) -> tuple[_Tree, _Tree, int]:
        """The roots and the last page as of the newest transaction."""
        data, metas = self._data, []
        size = 0
        for number in (0, 1):
            at = number * size
            if at + _HEADER_SIZE + 256 > len(data):
                raise _Damage("it is too short")
            page, _, flags, _, _ = _HEADER.unpack_from(data, at)
            magic, version, _, _ = _META_HEAD.unpack_from(data, at + _HEADER_SIZE)
            roots = at + _HEADER_SIZE + _META_HEAD.size
            free = _Tree(*_DB.unpack_from(data, roots))
            main = _Tree(*_DB.unpack_from(data, roots + _DB.size))
            last, transaction = _META_TAIL.unpack_from(data, roots + 2 * _DB.size)
            size = size or free.pad
            if page != number or flags != _META or magic != _MAGIC or version != _VERSION or free.pad != size:
                raise _Damage("a head page is no head page")
            if size & size - 1 or not 512 <= size <= 65536 or (transaction and transaction & 1 != number):
                raise _Damage("a head page has impossible values")
            metas.append((transaction, free, main, last))
        self._page_size = size
        if abs(metas[0][0] - metas[1][0]) > 1:  # they are written in turn
            raise _Damage("a head page has an impossible transaction")
        _, free, main, last = metas[1] if metas[0][0] < metas[1][0] else metas[0]
        if last < 1 or (last + 1) * size > len(data):
            raise _Damage("it is shorter than it says")
        return free, main, last

    # -- pages ---------------------------------------------------------------------------------------------------

    def _use(self, number: int, count: int = 1) -> None:
        """Note that pages are used, which must not be so already."""
        end = number + count
        if not 2 <= number < end <= len(self._used) or any(self._used[number:end]):
            raise _Damage(f"page {number} is used twice, or is none")
        self._used[number:end] = b"\x01" * count

    def _nodes(self, number: int, kind: int) -> list[_Node]:
        """The nodes of a branch or leaf page."""
        size = self._page_size
        page = self._data[number * size : (number + 1) * size]
        own, pad, flags, lower, upper = _HEADER.unpack_from(page)
        if own != number or flags != kind or pad or not _HEADER_SIZE <= lower <= upper <= size or lower & 1:
            raise _Damage(f"page {number} is not the one it should be")
        places = memoryview(page)[_HEADER_SIZE:lower].cast("H").tolist()
        nodes, spans = [], []
        for at in places:
            if not upper <= at <= size - _NODE_SIZE:
                raise _Damage(f"page {number} has a node outside of it")
            low, high, node_flags, key_size = _NODE.unpack_from(page, at)
            begin = at + _NODE_SIZE
            end = begin + key_size
            if kind == _BRANCH:
                nodes.append(_Node(page[begin:end], low | high << 16 | node_flags << 32, 0, b""))
            else:
                length = 8 if node_flags & _BIG else low | high << 16
                if node_flags not in (0, _BIG, _SUB):
                    raise _Damage(f"page {number} has a node of an unknown kind")
                data = page[end : end + length]
                if node_flags & _BIG:
                    data += (low | high << 16).to_bytes(8, "little")
                nodes.append(_Node(page[begin:end], 0, node_flags, data))
                end += length
            spans.append((at, end + (end & 1)))
        spans.sort()
        ends = [upper, *(end for _, end in spans)]
        if [begin for begin, _ in spans] + [size] != ends:
            raise _Damage(f"the nodes of page {number} do not fill it")
        return nodes

    def _walk(self, tree: _Tree, names: Collection[bytes]) -> dict[bytes, bytes]:
        """Check a tree, and give the root records that it has: all where leaves are looked at, else those named."""
        found: dict[bytes, bytes] = {}
        if tree.root == _NO_PAGE:
            if any((tree.depth, tree.branches, tree.leaves, tree.overflows, tree.entries)):
                raise _Damage("a tree without a root is not empty")
            return found
        if not 1 <= tree.depth <= _MAX_DEPTH:
            raise _Damage("a tree has an impossible depth")
        count = _Count()
        for nodes in self._leaves(tree, count, names):
            count.entries += len(nodes)
            for node in nodes:
                if node.flags & _SUB:
                    if len(node.data) != _DB.size:
                        raise _Damage("a root record has a wrong size")
                    found[node.key] = node.data
                elif node.flags & _BIG:
                    count.overflows += self._check_big(node)
        if (count.branches, count.leaves) != (tree.branches, tree.leaves):
            raise _Damage("a tree has not the pages that it should have")
        if self._whole and (count.entries, count.overflows) != (tree.entries, tree.overflows):
            raise _Damage("a tree has not the records that it should have")
        return found

    def _leaves(
        self, tree: _Tree, count: _Count, names: Collection[bytes], *, free: bool = False
    ) -> Iterator[list[_Node]]:
        """The leaves of a tree that are to be looked at, each checked: its place, its order."""
        pending: list[tuple[int, int, bytes, bytes | None]] = [(tree.root, tree.depth, b"", None)]
        while pending:
            number, depth, low, high = pending.pop()
            self._use(number)
            if depth > 1:
                count.branches += 1
                nodes = self._nodes(number, _BRANCH)
                if len(nodes) < 2:
                    raise _Damage(f"page {number} has too few nodes")
                keys = [low, *(node.key for node in nodes[1:])]
                self._check_order(number, keys, low, high, free=free)
                bounds = zip(keys, [*keys[1:], high], strict=True)
                pending += [(node.child, depth - 1, *pair) for node, pair in zip(nodes, bounds, strict=True)]
                continue
            count.leaves += 1
            if self._whole or free or any(low <= name and (high is None or name < high) for name in names):
                nodes = self._nodes(number, _LEAF)
                self._check_order(number, [node.key for node in nodes], low, high, free=free)
                yield nodes

    def _check_order(self, number: int, keys: list[bytes], low: bytes, high: bytes | None, *, free: bool) -> None:
        """Keys must grow within the bounds that the parent sets; those of the list of free pages are numbers."""
        if free:
            if any(len(key) != _U64.size for key in keys if key):
                raise _Damage(f"a key of page {number} is no number")
            keys = [key[::-1] for key in keys]
            low, high = low[::-1], None if high is None else high[::-1]
        ordered = all(left < right for left, right in pairwise(keys))
        if not keys or not ordered or keys[0] < low or (high is not None and keys[-1] >= high):
            raise _Damage(f"the keys of page {number} are not in order")

    def _check_big(self, node: _Node) -> int:
        """Check the pages that hold a large value; returns how many they are."""
        number, length = _U64.unpack_from(node.data)[0], int.from_bytes(node.data[8:], "little")
        if not 2 <= number < len(self._used):
            raise _Damage(f"page {number} is none")
        own, _, flags, low, high = _HEADER.unpack_from(self._data, number * self._page_size)
        pages: int = low | high << 16
        if own != number or flags != _OVERFLOW or pages != -(-(length + _HEADER_SIZE) // self._page_size):
            raise _Damage(f"page {number} is not the one it should be")
        self._use(number, pages)
        return pages

    # -- free pages ----------------------------------------------------------------------------------------------

    def _check_free(self, tree: _Tree, last: int) -> None:
        """No page that is said to be free may be used."""
        if tree.root == _NO_PAGE:
            return
        if not 1 <= tree.depth <= _MAX_DEPTH:
            raise _Damage("the list of free pages has an impossible depth")
        count, lists = _Count(), []
        for nodes in self._leaves(tree, count, (), free=True):
            count.entries += len(nodes)
            for node in nodes:
                lists.append(self._free_list(node, count))
        if (count.branches, count.leaves, count.overflows, count.entries) != tree[3:7]:
            raise _Damage("the list of free pages is not whole")
        for numbers in lists:
            for number in numbers:
                if not 2 <= number <= last or self._used[number]:
                    raise _Damage(f"page {number} is used, or none, and said to be free")
                self._used[number] = 1

    def _free_list(self, node: _Node, count: _Count) -> list[int]:
        data = node.data
        if node.flags & _BIG:
            number, length = _U64.unpack_from(data)[0], int.from_bytes(data[8:], "little")
            count.overflows += self._check_big(node)
            start = number * self._page_size + _HEADER_SIZE
            data = self._data[start : start + length]
        if len(data) < 8 or len(data) % 8:
            raise _Damage("a list of free pages has a wrong size")
        numbers = memoryview(data).cast("Q").tolist()
        if numbers[0] >= len(numbers):
            raise _Damage("a list of free pages is longer than its record")
        return list(numbers[1 : 1 + numbers[0]])
