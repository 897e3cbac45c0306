"""Serving the coins that blocks spend (``getbspent``, docs/swiftsync.md) to nodes that sync fully with hints.

What a request costs is one block's undo data, read and put into another form beside the loop.
"""

from __future__ import annotations

from btcnode.protocol.effects import ReadSpent
from btcnode.protocol.events import SpentRead
from btcnode.protocol.limits import MAX_SPENT_QUEUE
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import PAUSE_SPENT, Peer, ReadQueue
from btcnode.protocol.serving.read_serving import ReadServing
from btcnode.wire.constants import MSG_BLOCK_SPENT, NODE_BLOCK_UNDO, SPENT_VERSION
from btcnode.wire.messages import BlockSpent, GetBlockSpent, InvItem, NotFound


class SpentServing(ReadServing[GetBlockSpent]):
    """Answers to getbspent: the coins, or notfound."""

    most = MAX_SPENT_QUEUE
    pause = PAUSE_SPENT
    unsupported = Offence.SPENT_UNSUPPORTED

    def queue(self, peer: Peer) -> ReadQueue[GetBlockSpent]:
        """The peer's requests."""
        return peer.serve.spent

    def why_not(self, peer: Peer, request: GetBlockSpent) -> str | None:
        """A form of which nobody knows, or none at all."""
        offered = self._ctx.config.services & NODE_BLOCK_UNDO and request.version == SPENT_VERSION
        return None if offered else f"version {request.version}"

    def may_show(self, peer: Peer, index: int) -> bool:
        """Blocks whose undo data is here."""
        return self._ctx.tree.has_undo(index) and super().may_show(peer, index)

    def effect(self, peer: Peer, index: int, request: GetBlockSpent) -> ReadSpent:
        """Undo data, put into another form."""
        return ReadSpent(peer.id, index, request.cutoff)

    def on_read(self, event: SpentRead) -> None:
        """The coins are here, or cannot be read."""
        self.read(event.peer_id, event.index, event.coins)

    def answer(self, request: GetBlockSpent, read: bytes) -> tuple[str, bytes]:
        """The coins behind the block's hash."""
        return BlockSpent.command, request.block_hash + read

    def missing(self, request: GetBlockSpent) -> NotFound:
        """The draft has no word for it."""
        return NotFound((InvItem(MSG_BLOCK_SPENT, request.block_hash),))
