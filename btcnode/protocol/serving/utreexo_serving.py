"""Serving Utreexo proofs and roots (``getuproof``, ``geturoot``; docs/utreexo.md) to nodes that keep no coins.

What a request costs is one record of the index, and for leaves the block and its undo data, read and put into another
form beside the loop: one at a time for each peer, none while its send buffer is full, and among peers that of the least
served first, as for other work there.
"""

from __future__ import annotations

from btcnode.protocol.context import Context
from btcnode.protocol.effects import ReadUtreexo, SendRaw
from btcnode.protocol.events import UtreexoRead
from btcnode.protocol.limits import MAX_UTREEXO_QUEUE, NODE_NETWORK_LIMITED_MIN_BLOCKS, PEER_BLOCK_SLACK
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, PAUSE_UTREEXO, Peer
from btcnode.protocol.serving.serving import Serving
from btcnode.wire.constants import (
    MAX_PROTOCOL_MESSAGE_LENGTH,
    MSG_UTREEXO_PROOF,
    NODE_NETWORK,
    NODE_NETWORK_LIMITED,
    NODE_UTREEXO_ARCHIVE,
)
from btcnode.wire.messages import GetUtreexoProof, GetUtreexoRoot, InvItem, NotFound, UtreexoProof, UtreexoRoot


class UtreexoServing:
    """Answers to getuproof and geturoot: what was asked for, or notfound."""

    def __init__(self, ctx: Context, serving: Serving) -> None:
        self._ctx = ctx
        self._serving = serving

    def on_request(self, peer: Peer, message: GetUtreexoProof | GetUtreexoRoot) -> None:
        """Queue a request; one for what nobody offered ends the connection."""
        ctx = self._ctx
        if not ctx.config.services & NODE_UTREEXO_ARCHIVE:
            ctx.punish(peer, Offence.UTREEXO_UNSUPPORTED)
            return
        peer.serve.utreexo.append(message)
        if len(peer.serve.utreexo) >= MAX_UTREEXO_QUEUE:
            ctx.pause(peer, PAUSE_UTREEXO)
        self.serve(peer)

    def serve(self, peer: Peer) -> None:
        """Begin with the next requests, until one has to be read, when the peer takes answers."""
        serve = peer.serve
        while serve.utreexo and serve.reading_utreexo == NONE and not peer.send_full and peer.role.is_served:
            request = serve.utreexo[0]
            index = self._ctx.tree.find(request.block_hash)
            if index >= 0 and self._may_have(peer, index):
                serve.reading_utreexo = index
                self._ctx.emit(ReadUtreexo(peer.id, index, request))
            elif peer.role.is_served:
                self._done(peer, None)

    def _may_have(self, peer: Peer, index: int) -> bool:
        """Whether we tell of this block; a peer that asks beyond the day's upload is disconnected."""
        ctx = self._ctx
        if not self._serving.may_show(index):
            return False
        if self._serving.beyond_upload_target(peer, index):
            ctx.punish(peer, Offence.UPLOAD_LIMIT)
            return False
        limited = ctx.config.services & (NODE_NETWORK | NODE_NETWORK_LIMITED) == NODE_NETWORK_LIMITED
        depth = ctx.active.height - ctx.tree.height(index)
        return not limited or peer.no_ban or depth <= NODE_NETWORK_LIMITED_MIN_BLOCKS + PEER_BLOCK_SLACK

    def on_read(self, answer: UtreexoRead) -> None:
        """Send what was read, then go on with the queue."""
        peer = self._ctx.peers.get(answer.peer_id)
        if peer is None or peer.serve.reading_utreexo != answer.index:
            return
        peer.serve.reading_utreexo = NONE
        if peer.role.is_served:
            self._done(peer, answer.payload)
            self.serve(peer)

    def _done(self, peer: Peer, payload: bytes | None) -> None:
        """Answer the first request; what does not fit into a message is as good as not here."""
        ctx, waiting = self._ctx, peer.serve.utreexo
        request = waiting.popleft()
        if payload is None or len(payload) > MAX_PROTOCOL_MESSAGE_LENGTH:
            ctx.send(peer, NotFound((InvItem(MSG_UTREEXO_PROOF, request.block_hash),)))
        else:
            command = UtreexoProof.command if isinstance(request, GetUtreexoProof) else UtreexoRoot.command
            ctx.emit(SendRaw(peer.id, command, payload))
            self._serving.upload.record(len(payload), int(ctx.unix))
        if len(waiting) <= MAX_UTREEXO_QUEUE // 2:
            ctx.resume(peer, PAUSE_UTREEXO)
