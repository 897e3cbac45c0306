"""In which order the chain's and the mempool's changes are told.

As Core tells them: a transaction that a block contradicts goes before that block comes, and in a reorganisation the old
blocks go, what they held returns to the mempool, and only then the new blocks come. The node takes transactions back
when new blocks are connected already, so these wait here meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.chain.events import BlockConnected, BlockDisconnected
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.mempool.pool import Mempool
from btcnode.notify.topics import BlockIn, BlockOut, Event, NewTip, TxAdded, TxRemoved
from btcnode.primitives.block import ParsedBlock

MAX_HELD_BYTES = 64_000_000  # of blocks that wait for the end of a reorganisation; with their columns about twice that


class EventOrder:
    """Turns what chain and mempool tell into events for ``emit``; belongs to the loop thread.

    ``chainwork`` gives the work of the chain up to a header index, ``initial_download`` whether the node is far behind:
    then only the blocks' own events are told, not the new tip.
    """

    def __init__(
        self,
        pool: Mempool,
        chainwork: Callable[[int], int],
        initial_download: Callable[[], bool],
        emit: Callable[[Event], None],
    ) -> None:
        self._pool = pool
        self._chainwork = chainwork
        self._initial_download = initial_download
        self._emit = emit
        self._left: int | None = None  # header index of the tip that a reorganisation has left; None: there is none
        self._holding = False  # the mempool is not right for the tip
        self._held: list[tuple[int, ParsedBlock]] = []
        self._held_bytes = 0
        pool.listen(self._tx_added, self._tx_removed)

    def _tx_added(self, entry: MempoolEntry) -> None:
        self._emit(TxAdded(entry.txid, entry.tx.raw, self._pool.sequence - 1))

    def _tx_removed(self, entry: MempoolEntry, reason: RemovalReason) -> None:
        if reason is not RemovalReason.BLOCK:
            self._emit(TxRemoved(entry.txid, self._pool.sequence - 1))

    def block_connected(self, event: BlockConnected) -> None:
        """The mempool knows of the block already."""
        block = event.block
        if not self._holding:
            self._publish_connected(event.index, block, last=True)
            return
        if self._held_bytes + block.size > MAX_HELD_BYTES:
            self._release()
        self._held.append((event.index, block))
        self._held_bytes += block.size

    def block_disconnected(self, event: BlockDisconnected) -> None:
        """The mempool does not know of it yet."""
        self._holding = True
        if self._left is None and not event.by_hand:  # then there is no other chain that could be the better one
            self._left = event.index
        self._emit(BlockOut(event.block))

    def reorganised(self) -> None:
        """The mempool is right for the tip again."""
        self._holding = False
        self._release()

    def _release(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        for n, (index, block) in enumerate(held, 1):
            self._publish_connected(index, block, last=n == len(held))

    def _publish_connected(self, index: int, block: ParsedBlock, *, last: bool) -> None:
        """A block is connected, ``last`` of those that were at once."""
        self._emit(BlockIn(block))
        left = self._left
        if left is not None:
            work, left_work = self._chainwork(index), self._chainwork(left)
            if work < left_work or (work == left_work and not last):
                return  # halfway to a better chain nobody wants to hear of a tip
            self._left = None
        if index != left:
            self._publish_tip(block)

    def _publish_tip(self, block: ParsedBlock) -> None:
        if not self._initial_download():
            self._emit(NewTip(block))
