"""Serving what has to be read for the answer: one request of a peer at a time, the others wait behind it.

None is read while the peer's send buffer is full, and among peers that of the least served comes first, as for other
work beside the loop. What differs is in the subclasses: which requests, the effect that reads, the answer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from btcnode.protocol.context import Context
from btcnode.protocol.effects import SendRaw
from btcnode.protocol.limits import NODE_NETWORK_LIMITED_MIN_BLOCKS, PEER_BLOCK_SLACK
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, BlockRequest, Peer, ReadQueue
from btcnode.protocol.serving.serving import Serving
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH, NODE_NETWORK, NODE_NETWORK_LIMITED

if TYPE_CHECKING:
    from btcnode.protocol.effects import Effect
    from btcnode.wire.codec import Message

R = TypeVar("R", bound=BlockRequest)


class ReadServing(ABC, Generic[R]):
    """Answers to requests of one kind, each about one block."""

    most: ClassVar[int]  # requests of one peer that wait: then it is not read from until half of them are answered
    pause: ClassVar[int]  # the reason for that, a bit of PAUSE_*
    unsupported: ClassVar[Offence]  # to ask for what is not offered

    def __init__(self, ctx: Context, serving: Serving) -> None:
        self._ctx = ctx
        self._serving = serving

    @abstractmethod
    def queue(self, peer: Peer) -> ReadQueue[R]:
        """Where the peer's requests wait."""

    @abstractmethod
    def why_not(self, peer: Peer, request: R) -> str | None:
        """What is wrong with a request for what nobody offered; None where there is nothing wrong."""

    @abstractmethod
    def effect(self, peer: Peer, index: int, request: R) -> Effect:
        """What reads for the answer, about the block of that header index."""

    @abstractmethod
    def answer(self, request: R, read: bytes) -> tuple[str, bytes]:
        """Command and payload of the answer."""

    @abstractmethod
    def missing(self, request: R) -> Message | None:
        """What is said when it is not here, None for nothing."""

    def may_show(self, peer: Peer, index: int) -> bool:
        """Whether we tell of this block."""
        ctx = self._ctx
        if not self._serving.may_show(index):
            return False
        limited = ctx.config.services & (NODE_NETWORK | NODE_NETWORK_LIMITED) == NODE_NETWORK_LIMITED
        depth = ctx.active.height - ctx.tree.height(index)
        return not limited or peer.no_ban or depth <= NODE_NETWORK_LIMITED_MIN_BLOCKS + PEER_BLOCK_SLACK

    def beyond_upload_target(self, peer: Peer, index: int) -> bool:
        """Whether the answer would break the day's upload target."""
        return self._serving.beyond_upload_target(peer, index)

    def on_request(self, peer: Peer, message: R) -> None:
        """Queue a request; one for what nobody offered ends the connection."""
        why = self.why_not(peer, message)
        if why is not None:
            self._ctx.punish(peer, self.unsupported, why)
            return
        waiting = self.queue(peer).waiting
        waiting.append(message)
        if len(waiting) >= self.most:
            self._ctx.pause(peer, self.pause)
        self.serve(peer)

    def serve(self, peer: Peer) -> None:
        """Begin with the next requests, until one has to be read, when the peer takes answers."""
        queue = self.queue(peer)
        while queue.waiting and queue.reading == NONE and not peer.send_full and peer.role.is_served:
            request = queue.waiting[0]
            index = self._ctx.tree.find(request.block_hash)
            if index >= 0 and self._may_have(peer, index):
                queue.reading = index
                self._ctx.emit(self.effect(peer, index, request))
            elif peer.role.is_served:
                self._done(peer, None)

    def _may_have(self, peer: Peer, index: int) -> bool:
        """Whether the peer gets an answer; one that asks beyond the day's upload is disconnected."""
        if not self.may_show(peer, index):
            return False
        if self.beyond_upload_target(peer, index):
            self._ctx.punish(peer, Offence.UPLOAD_LIMIT)
            return False
        return True

    def read(self, peer_id: int, index: int, found: bytes | None) -> None:
        """Send what was read, None: it is not here; then go on with the queue."""
        peer = self._ctx.peers.get(peer_id)
        if peer is None or self.queue(peer).reading != index:
            return
        self.queue(peer).reading = NONE
        if peer.role.is_served:
            self._done(peer, found)
            self.serve(peer)

    def _done(self, peer: Peer, found: bytes | None) -> None:
        """Answer the first request; what does not fit into a message is as good as not here."""
        ctx, queue = self._ctx, self.queue(peer)
        waiting = queue.waiting
        request = waiting.popleft()
        queue.answered += 1
        command, payload = ("", b"") if found is None else self.answer(request, found)
        if command and len(payload) <= MAX_PROTOCOL_MESSAGE_LENGTH:
            ctx.emit(SendRaw(peer.id, command, payload))
            self._serving.upload.record(len(payload), int(ctx.unix))
        elif (missing := self.missing(request)) is not None:
            ctx.send(peer, missing)
        if len(waiting) <= self.most // 2:
            ctx.resume(peer, self.pause)
