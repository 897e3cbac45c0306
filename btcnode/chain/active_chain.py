"""One chain of the header tree by height: the active chain, whose tip the coins are at."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btcnode.chain.header_tree import HeaderTree


class ActiveChain:
    """The headers from genesis to one tip, by height: 4 bytes each."""

    __slots__ = ("_rows", "_tree")

    def __init__(self, tree: HeaderTree, tip: int = -1) -> None:
        self._tree = tree
        self._rows = array("I")
        if tip >= 0:
            self.set_tip(tip)

    def __len__(self) -> int:
        """Number of headers: the tip's height plus one."""
        return len(self._rows)

    @property
    def tip(self) -> int:
        """The last header, -1 if the chain is empty."""
        return self._rows[-1] if self._rows else -1

    @property
    def height(self) -> int:
        """The tip's height, -1 if the chain is empty."""
        return len(self._rows) - 1

    def at(self, height: int) -> int:
        """The header at ``height``, -1 if the chain does not reach it."""
        return self._rows[height] if 0 <= height < len(self._rows) else -1

    def span(self, first: int, last: int) -> Sequence[int]:
        """The headers at heights ``first`` to ``last``, as far as the chain reaches; copied at 4 bytes each."""
        return self._rows[max(first, 0) : last + 1]

    def contains(self, index: int) -> bool:
        """Whether the header is part of the chain."""
        return index >= 0 and self.at(self._tree.columns.height[index]) == index

    def next(self, index: int) -> int:
        """The header after ``index``, -1 if that is the tip or not part of the chain."""
        return self.at(self._tree.columns.height[index] + 1) if self.contains(index) else -1

    def set_tip(self, index: int) -> None:
        """Make the chain end in ``index``; -1 empties it. Costs the distance to the fork point."""
        rows = self._rows
        if index < 0:
            del rows[:]
            return
        prev = self._tree.columns.prev
        height = self._tree.columns.height[index]
        known = len(rows)
        if height < known:
            del rows[height + 1 :]
        else:
            rows.frombytes(bytes(4 * (height + 1 - known)))
        while height >= 0 and not (height < known and rows[height] == index):
            rows[height] = index
            index = prev[index]
            height -= 1

    def find_fork(self, index: int) -> int:
        """The last ancestor of ``index`` (itself included) that is part of the chain, -1 if the chain is empty."""
        tree = self._tree
        if tree.columns.height[index] > self.height:
            index = tree.ancestor(index, self.height)
        while index >= 0 and not self.contains(index):
            index = tree.prev(index)
        return index

    def find_fork_with(self, locator: Sequence[bytes]) -> int:
        """The first header of a peer's locator that is part of the chain, or genesis.

        A locator that leads beyond our tip gives the tip.
        """
        for block_hash in locator:
            index = self._tree.find(block_hash)
            if index < 0:
                continue
            if self.contains(index):
                return index
            if self.tip >= 0 and self._tree.ancestor(index, self.height) == self.tip:
                return self.tip
        return self.at(0)
