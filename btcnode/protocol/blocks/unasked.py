"""Peers that send blocks unasked: they go on when what they have sent is connected.

Whether a block is wanted depends on the tip, and the tip moves later than blocks come in. Bitcoin Core, which connects
a block before it reads on, judges a row of them one after the other; so does this node by not reading meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.protocol.context import Context
from btcnode.protocol.peer import PAUSE_BLOCKS, Peer

MAX_AHEAD = 16  # blocks above the tip before the sender waits; it goes on at half of it


class UnaskedBlocks:
    """Who waits, and up to which height."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._held: dict[int, int] = {}

    def note(self, peer: Peer, height: int) -> None:
        """A block that nobody asked the peer for is being validated."""
        if height > self._ctx.active.height + MAX_AHEAD:
            self._held[peer.id] = height
            self._ctx.pause(peer, PAUSE_BLOCKS)

    def resume_near_tip(self) -> None:
        """The tip has moved: read again from those who are not far ahead of it any more."""
        self._resume(lambda height: height <= self._ctx.active.height + MAX_AHEAD // 2)

    def resume_all(self) -> None:
        """All is connected that can be: nobody has to wait."""
        self._resume(lambda _: True)

    def _resume(self, may_go: Callable[[int], bool]) -> None:
        for peer_id, height in list(self._held.items()):
            if may_go(height):
                del self._held[peer_id]
                if (peer := self._ctx.peers.get(peer_id)) is not None:
                    self._ctx.resume(peer, PAUSE_BLOCKS)
