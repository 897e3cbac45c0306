"""Serving the coins that blocks spend (``getbspent``, docs/swiftsync.md) to nodes that sync fully with hints.

What a request costs is one block's undo data, read and put into another form beside the loop: one at a time for each
peer, none while its send buffer is full, and among peers that of the least served first, as for other work there.
"""

from __future__ import annotations

from btcnode.protocol.context import Context
from btcnode.protocol.effects import ReadSpent, SendRaw
from btcnode.protocol.events import SpentRead
from btcnode.protocol.limits import MAX_SPENT_QUEUE, NODE_NETWORK_LIMITED_MIN_BLOCKS, PEER_BLOCK_SLACK
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, PAUSE_SPENT, Peer
from btcnode.protocol.serving.serving import Serving
from btcnode.wire.constants import (
    MAX_PROTOCOL_MESSAGE_LENGTH,
    MSG_BLOCK_SPENT,
    NODE_BLOCK_UNDO,
    NODE_NETWORK,
    NODE_NETWORK_LIMITED,
    SPENT_VERSION,
)
from btcnode.wire.messages import BlockSpent, GetBlockSpent, InvItem, NotFound


class SpentServing:
    """Answers to getbspent: the coins, or notfound."""

    def __init__(self, ctx: Context, serving: Serving) -> None:
        self._ctx = ctx
        self._serving = serving

    def on_request(self, peer: Peer, message: GetBlockSpent) -> None:
        """Queue a request; one for what nobody offered ends the connection."""
        ctx = self._ctx
        if not ctx.config.services & NODE_BLOCK_UNDO or message.version != SPENT_VERSION:
            ctx.punish(peer, Offence.SPENT_UNSUPPORTED, f"version {message.version}")
            return
        peer.serve.spent.append(message)
        if len(peer.serve.spent) >= MAX_SPENT_QUEUE:
            ctx.pause(peer, PAUSE_SPENT)
        self.serve(peer)

    def serve(self, peer: Peer) -> None:
        """Begin with the next requests, until one has to be read, when the peer takes answers."""
        serve = peer.serve
        while serve.spent and serve.reading_spent == NONE and not peer.send_full and peer.role.is_served:
            request = serve.spent[0]
            index = self._ctx.tree.find(request.block_hash)
            if index >= 0 and self._may_have(peer, index):
                serve.reading_spent = index
                self._ctx.emit(ReadSpent(peer.id, index, request.cutoff))
            elif peer.role.is_served:
                self._done(peer, None)

    def _may_have(self, peer: Peer, index: int) -> bool:
        """Whether we have the coins and tell them; a peer that asks beyond the day's upload is disconnected."""
        ctx = self._ctx
        if not ctx.tree.has_undo(index) or not self._serving.may_show(index):
            return False
        if self._serving.beyond_upload_target(peer, index):
            ctx.punish(peer, Offence.UPLOAD_LIMIT)
            return False
        limited = ctx.config.services & (NODE_NETWORK | NODE_NETWORK_LIMITED) == NODE_NETWORK_LIMITED
        depth = ctx.active.height - ctx.tree.height(index)
        return not limited or peer.no_ban or depth <= NODE_NETWORK_LIMITED_MIN_BLOCKS + PEER_BLOCK_SLACK

    def on_read(self, answer: SpentRead) -> None:
        """Send what was read, then go on with the queue."""
        peer = self._ctx.peers.get(answer.peer_id)
        if peer is None or peer.serve.reading_spent != answer.index:
            return
        peer.serve.reading_spent = NONE
        if peer.role.is_served:
            self._done(peer, answer.coins)
            self.serve(peer)

    def _done(self, peer: Peer, coins: bytes | None) -> None:
        """Answer the first request; what does not fit into a message is as good as not here."""
        ctx, waiting = self._ctx, peer.serve.spent
        block_hash = waiting.popleft().block_hash
        if coins is None or len(block_hash) + len(coins) > MAX_PROTOCOL_MESSAGE_LENGTH:
            ctx.send(peer, NotFound((InvItem(MSG_BLOCK_SPENT, block_hash),)))
        else:
            ctx.emit(SendRaw(peer.id, BlockSpent.command, block_hash + coins))
            self._serving.upload.record(len(coins), int(ctx.unix))
        if len(waiting) <= MAX_SPENT_QUEUE // 2:
            ctx.resume(peer, PAUSE_SPENT)
