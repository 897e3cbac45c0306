"""Requests for blocks: which block is on its way from whom.

A block is asked of one peer at a time, and of more when it is late or comes in compact form. ``BlockState`` of each
peer has the same from its side.
"""

from __future__ import annotations

from collections.abc import Iterator

from btcnode.protocol.blocks.fetch_strategy import FetchStrategy
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import NODE_NETWORK_LIMITED_MIN_BLOCKS, PEER_BLOCK_SLACK
from btcnode.protocol.peer import Peer
from btcnode.wire.constants import MSG_BLOCK, MSG_WITNESS_FLAG
from btcnode.wire.messages import GetData, InvItem


class BlockRequests:
    """Open requests of all peers, by header index; at most MAX_REQUESTS and 16 for each peer near the tip."""

    def __init__(self, ctx: Context, strategy: FetchStrategy) -> None:
        self._ctx = ctx
        self._strategy = strategy  # is told how many are asked for
        self._asked: dict[int, int] = {}  # header index -> peer asked first
        self._partners: dict[int, list[int]] = {}  # index -> peers asked beside that one
        self.downloading_peers = 0  # peers that are asked for anything

    def __len__(self) -> int:
        """Number of blocks on their way."""
        return len(self._asked)

    def __contains__(self, index: int) -> bool:
        """Whether the block is on its way from anybody."""
        return index in self._asked

    def __iter__(self) -> Iterator[int]:
        """Header indices in the order of asking."""
        return iter(self._asked)

    def peer_of(self, index: int) -> int:
        """The peer that was asked first; raises KeyError when nobody was."""
        return self._asked[index]

    def can_serve(self, peer: Peer, index: int) -> bool:
        """Whether the block may be asked of this peer."""
        tree, blocks = self._ctx.tree, peer.blocks
        if not peer.role.gives_blocks or not peer.serves_blocks or peer.pauses or index in blocks.missing:
            return False
        height, best = tree.height(index), peer.headers.best_known
        if index in blocks.late or index in blocks.in_flight or not self._ctx.has_header(index, best):
            return False
        if peer.is_limited and height <= tree.height(best) - (NODE_NETWORK_LIMITED_MIN_BLOCKS - PEER_BLOCK_SLACK):
            return False
        return peer.serves_witnesses or height < self._ctx.params.segwit_height

    def ask(self, peer: Peer, wanted: list[int]) -> None:
        """Send getdata for these blocks and remember them as in flight."""
        if not wanted:
            return
        tree, blocks = self._ctx.tree, peer.blocks
        kind = MSG_BLOCK | MSG_WITNESS_FLAG if peer.serves_witnesses else MSG_BLOCK
        self.register(peer, *wanted)
        heights = f"{tree.height(wanted[0])} to {tree.height(wanted[-1])}"
        open_requests = f"{len(blocks.in_flight)} of {self._strategy.limit(peer.id)} in flight"
        self._ctx.log_peer(peer, LogLevel.DEBUG, f"asked for {len(wanted)} blocks at {heights}, {open_requests}")
        self._ctx.send(peer, GetData(tuple(InvItem(kind, tree.hash(index)) for index in wanted)))

    def register(self, peer: Peer, *wanted: int) -> None:
        """These blocks are on their way from the peer."""
        blocks, steady = peer.blocks, self._ctx.steady
        self._strategy.on_sent(peer.id, len(wanted), steady)
        self._ctx.agenda.wake(peer.id)
        if not blocks.in_flight:
            blocks.downloading_since = self._ctx.mockable
            self.downloading_peers += 1
        for index in wanted:
            blocks.in_flight[index] = steady
            blocks.late.pop(index, None)
            if self._asked.setdefault(index, peer.id) != peer.id:
                self._partners.setdefault(index, []).append(peer.id)

    def ask_in_full(self, peer: Peer, index: int) -> None:
        """Ask for the whole of a block that is on its way from the peer in compact form."""
        kind = MSG_BLOCK | MSG_WITNESS_FLAG if peer.serves_witnesses else MSG_BLOCK
        self._ctx.send(peer, GetData((InvItem(kind, self._ctx.tree.hash(index)),)))

    def asked_of(self, index: int) -> list[int]:
        """The peers that a block is on its way from, in the order in which they were asked."""
        first = self._asked.get(index)
        return [] if first is None else [first, *self._partners.get(index, ())]

    def cancel(self, peer: Peer, index: int) -> None:
        """The block is not wanted of the peer any more, through no fault of it."""
        if self.release(peer, index):
            self._strategy.on_cancelled(peer.id, 1)

    def release(self, peer: Peer, index: int) -> bool:
        """Take a request back, answered or not; tells whether the peer had been asked."""
        blocks = peer.blocks
        blocks.partial.pop(index, None)
        if index not in blocks.in_flight:
            return False
        if next(iter(blocks.in_flight)) == index:
            blocks.downloading_since = max(blocks.downloading_since, self._ctx.mockable)
        del blocks.in_flight[index]
        if not blocks.in_flight:
            self.downloading_peers -= 1
        partners = self._partners.get(index, [])
        if self._asked.get(index) != peer.id:
            if peer.id in partners:
                partners.remove(peer.id)
        elif partners:
            self._asked[index] = partners.pop(0)
        else:
            del self._asked[index]
        if not partners:
            self._partners.pop(index, None)
        return True
