"""The tip as Core announces it: to whoever waits for a new one, and to ``-blocknotify``.

On the way from one branch to another blocks are no news: the first is that which has more work than the tip that was
left, or the last one where the branches are of equal work. What the user invalidates is told once, by the block below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from btcnode.chain.events import BlockConnected, BlockDisconnected, ChainEvent, SnapshotActivated
from btcnode.chain.header_tree import HeaderTree


class AnnouncedTip:
    """Follows what the chain driver reports; ``tip`` is the header index of the last tip that was announced."""

    def __init__(self, tree: HeaderTree, tip: int) -> None:
        self.tip = tip
        self._tree = tree
        self._left: int | None = None  # the tip that a reorganisation has left
        self._invalidated = False  # the user has had blocks disconnected, and nothing was told yet
        self._listeners: list[Callable[[int], None]] = []

    def listen(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` with each tip that is announced."""
        self._listeners.append(listener)

    def on_events(self, events: Sequence[ChainEvent]) -> None:
        """A batch of the chain driver's."""
        for event in events:
            if isinstance(event, BlockDisconnected):
                if event.by_hand:
                    self._invalidated = True
                elif self._left is None:
                    self._left = event.index
            elif isinstance(event, BlockConnected):
                self._on_connected(event.index)
            elif isinstance(event, SnapshotActivated):
                self._announce(event.index)

    def _on_connected(self, index: int) -> None:
        if self._invalidated:
            self._invalidated = False
            self._announce(self._tree.prev(index))
        if self._left is not None:
            if self._tree.chainwork(index) <= self._tree.chainwork(self._left):
                return
            self._left = None
        self._announce(index)

    def come_to_rest(self, tip: int) -> None:
        """The chain has come to rest at ``tip``."""
        self._left, self._invalidated = None, False
        self._announce(tip)

    def _announce(self, tip: int) -> None:
        if tip != self.tip:
            self.tip = tip
            for listener in self._listeners:
                listener(tip)
