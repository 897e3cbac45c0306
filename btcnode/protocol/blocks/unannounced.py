"""Blocks whose headers nobody announced: looked at one at a time, in the order in which they came.

Before the header counts all bytes are looked at (``accept_header``), in steps between which others are served. A block
takes up to a hundred bytes of memory for each of its own meanwhile, so the others wait as bytes; what would make these
more than ``MAX_WAITING_BYTES`` is dropped: nobody asked for it, and honest peers announce what they have.
"""

from __future__ import annotations

from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.steps import Steps
from btcnode.protocol.blocks.block_headers import accept_header
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.peer import NONE, Peer

MAX_WAITING_BYTES = 32 << 20


class UnannouncedBlocks:
    """Who waits with such a block, and whose is looked at."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._waiting: dict[int, int] = {}  # bytes by peer; the first one's block is being looked at

    def accept(self, peer: Peer, raw: bytes) -> Steps[int]:
        """The index of the block's header, which is in the tree then; ``NONE`` when that is refused."""
        name = header_hash(raw[:HEADER_SIZE])
        if self._waiting and sum(self._waiting.values()) + len(raw) > MAX_WAITING_BYTES:
            self._ctx.log_peer(peer, LogLevel.DEBUG, f"unannounced block {to_display(name)} dropped, others wait")
            return NONE
        self._waiting[peer.id] = len(raw)
        try:
            while not self._is_first(peer):
                yield
            index = self._ctx.tree.find(name)  # another peer's may have been the same
            return index if index >= 0 else (yield from accept_header(self._ctx, peer, raw))
        finally:
            self._waiting.pop(peer.id, None)

    def _is_first(self, peer: Peer) -> bool:
        for first in list(self._waiting):
            if first == peer.id:
                return True
            other = self._ctx.peers.get(first)
            if other is not None and other.role.is_heard and other.job is not None:
                return False
            del self._waiting[first]  # it is gone, whatever still holds its block
        return True
