"""Serving Utreexo proofs and roots (``getuproof``, ``geturoot``; docs/utreexo.md) to nodes that keep no coins.

What a request costs is one record of the index, and for leaves the block and its undo data, read and put into another
form beside the loop.
"""

from __future__ import annotations

from btcnode.protocol.effects import ReadUtreexo
from btcnode.protocol.events import UtreexoRead
from btcnode.protocol.limits import MAX_UTREEXO_QUEUE
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import PAUSE_UTREEXO, Peer, ReadQueue
from btcnode.protocol.serving.read_serving import ReadServing
from btcnode.wire.constants import MSG_UTREEXO_PROOF, NODE_UTREEXO_ARCHIVE
from btcnode.wire.messages import GetUtreexoProof, GetUtreexoRoot, InvItem, NotFound, UtreexoProof, UtreexoRoot


class UtreexoServing(ReadServing[GetUtreexoProof | GetUtreexoRoot]):
    """Answers to getuproof and geturoot: what was asked for, or notfound."""

    most = MAX_UTREEXO_QUEUE
    pause = PAUSE_UTREEXO
    unsupported = Offence.UTREEXO_UNSUPPORTED

    def queue(self, peer: Peer) -> ReadQueue[GetUtreexoProof | GetUtreexoRoot]:
        """The peer's requests."""
        return peer.serve.utreexo

    def why_not(self, peer: Peer, request: GetUtreexoProof | GetUtreexoRoot) -> str | None:
        """Without the service there are no proofs."""
        return None if self._ctx.config.services & NODE_UTREEXO_ARCHIVE else request.command

    def effect(self, peer: Peer, index: int, request: GetUtreexoProof | GetUtreexoRoot) -> ReadUtreexo:
        """The whole payload of the answer."""
        return ReadUtreexo(peer.id, index, request)

    def on_read(self, event: UtreexoRead) -> None:
        """The payload is here, or cannot be read."""
        self.read(event.peer_id, event.index, event.payload)

    def answer(self, request: GetUtreexoProof | GetUtreexoRoot, read: bytes) -> tuple[str, bytes]:
        """What was read, as it is."""
        return UtreexoProof.command if isinstance(request, GetUtreexoProof) else UtreexoRoot.command, read

    def missing(self, request: GetUtreexoProof | GetUtreexoRoot) -> NotFound:
        """The draft has no word for it."""
        return NotFound((InvItem(MSG_UTREEXO_PROOF, request.block_hash),))
