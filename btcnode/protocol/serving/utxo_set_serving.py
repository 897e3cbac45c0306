"""Serving UTXO sets in chunks (``getutxotree``, ``getutxoset``; docs/utxo-sets.md) to nodes that start from one.

What a request costs is a chunk, which is read and hashed beside the loop: nothing goes out that is not as it was when
the set was taken up. What is not here is not answered, as the draft wants it; who asks for that again and again is
disconnected, as nothing else would slow it down.
"""

from __future__ import annotations

from btcnode.protocol.effects import ReadUtxoSet
from btcnode.protocol.events import UtxoSetRead
from btcnode.protocol.limits import MAX_UTXO_SET_MISSES, MAX_UTXO_SET_QUEUE
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import PAUSE_UTXO_SETS, Peer, ReadQueue
from btcnode.protocol.serving.read_serving import ReadServing
from btcnode.settings.permissions import Permission
from btcnode.wire.messages import GetUtxoSet, GetUtxoTree, UtxoSetChunk, UtxoTree


class UtxoSetServing(ReadServing[GetUtxoTree | GetUtxoSet]):
    """Answers to getutxotree and getutxoset."""

    most = MAX_UTXO_SET_QUEUE
    pause = PAUSE_UTXO_SETS
    unsupported = Offence.UTXO_SETS_UNSUPPORTED

    def queue(self, peer: Peer) -> ReadQueue[GetUtxoTree | GetUtxoSet]:
        """The peer's requests."""
        return peer.serve.utxo_sets

    def why_not(self, peer: Peer, request: GetUtxoTree | GetUtxoSet) -> str | None:
        """Both sides have to speak of it in the handshake."""
        return None if self._ctx.config.utxo_sets and peer.speaks_utxo_sets else request.command

    def may_show(self, peer: Peer, index: int) -> bool:
        """What is in the folder to be shared is no secret, whether the block is on our chain yet or not."""
        return not self._ctx.tree.is_failed(index)

    def beyond_upload_target(self, peer: Peer, index: int) -> bool:
        """They count as old blocks do."""
        target = self._serving.upload.reached(int(self._ctx.unix), historical=True)
        return target and not peer.permissions & Permission.DOWNLOAD

    def effect(self, peer: Peer, index: int, request: GetUtxoTree | GetUtxoSet) -> ReadUtxoSet:
        """The whole payload of the answer."""
        return ReadUtxoSet(peer.id, index, request)

    def on_read(self, event: UtxoSetRead) -> None:
        """The payload is here, or the set is not."""
        self.read(event.peer_id, event.index, event.payload)

    def answer(self, request: GetUtxoTree | GetUtxoSet, read: bytes) -> tuple[str, bytes]:
        """What was read, as it is."""
        return UtxoTree.command if isinstance(request, GetUtxoTree) else UtxoSetChunk.command, read

    def _done(self, peer: Peer, found: bytes | None) -> None:
        queue = self.queue(peer)
        queue.missed += found is None
        super()._done(peer, found)
        if queue.missed > MAX_UTXO_SET_MISSES:
            self._ctx.punish(peer, self.unsupported, f"{queue.missed} of what is not here")

    def missing(self, request: GetUtxoTree | GetUtxoSet) -> None:
        """Nobody is told so: who asks tries another peer."""
