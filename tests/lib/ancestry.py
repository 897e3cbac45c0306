"""A header tree of plain lists, for tests of consensus rules."""

from __future__ import annotations

from btcnode.consensus.ancestry import MEDIAN_TIME_SPAN
from btcnode.consensus.pow import block_work
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import Header


class ListAncestry:
    """Headers in a list; each knows its parent's index. Nothing is checked.

    ``first_height`` and ``first_work`` place the first header, so that a tree can begin anywhere in a chain.
    """

    def __init__(self, first_height: int = 0, first_work: int | None = None) -> None:
        self._first_height = first_height
        self._first_work = first_work
        self._headers: list[Header] = []
        self._hashes: list[BlockHash] = []
        self._prev: list[int] = []
        self._height: list[int] = []
        self._work: list[int] = []

    def __len__(self) -> int:
        return len(self._headers)

    def append(self, raw: bytes, prev: int | None = None) -> int:
        """Add the header at the start of ``raw``, a child of the last one or of ``prev``; returns its index."""
        header = Header.parse(raw[:80])
        index = len(self._headers)
        parent = index - 1 if prev is None else prev
        work = block_work(header.bits)
        self._headers.append(header)
        self._hashes.append(header.hash)
        self._prev.append(parent)
        if parent < 0:
            self._height.append(self._first_height)
            self._work.append(work if self._first_work is None else self._first_work)
        else:
            self._height.append(self._height[parent] + 1)
            self._work.append(self._work[parent] + work)
        return index

    def extend(self, count: int, *, spacing: int = 600, version: int = 0x20000000, bits: int | None = None) -> int:
        """Add ``count`` made-up headers after the last one, ``spacing`` seconds apart; returns the last index."""
        index = len(self._headers) - 1
        for _ in range(count):
            last = self._headers[index]
            header = Header(
                version, self._hashes[index], bytes(32), last.time + spacing, last.bits if bits is None else bits, 0
            )
            index = self.append(header.serialize())
        return index

    def height(self, index: int) -> int:
        """Height of the header."""
        return self._height[index]

    def version(self, index: int) -> int:
        """Signed version."""
        return self._headers[index].version

    def time(self, index: int) -> int:
        """Timestamp."""
        return self._headers[index].time

    def bits(self, index: int) -> int:
        """Compact target."""
        return self._headers[index].bits

    def hash(self, index: int) -> BlockHash:
        """Block hash."""
        return self._hashes[index]

    def prev(self, index: int) -> int:
        """Index of the parent, -1 for the first."""
        return self._prev[index]

    def ancestor(self, index: int, height: int) -> int:
        """Walk down to ``height``; -1 when the tree does not reach it."""
        if height < self._first_height or height > self._height[index]:
            return -1
        while self._height[index] > height:
            index = self._prev[index]
        return index

    def median_time_past(self, index: int) -> int:
        """Median of the header's and up to ten ancestors' timestamps."""
        times: list[int] = []
        while index >= 0 and len(times) < MEDIAN_TIME_SPAN:
            times.append(self._headers[index].time)
            index = self._prev[index]
        times.sort()
        return times[len(times) // 2]

    def chainwork(self, index: int) -> int:
        """Work of the chain up to the header."""
        return self._work[index]
