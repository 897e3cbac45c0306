"""Compact blocks as they go out (BIP152): new blocks to who asked for that, and answers to requests.

Of the blocks near the tip an outline is kept, so that each is parsed once however often it is asked for.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.header import HEADER_SIZE
from btcnode.protocol.effects import LogLevel, SendRaw
from btcnode.protocol.limits import MAX_OUTLINES
from btcnode.protocol.misbehaviour import Offence
from btcnode.record import record
from btcnode.wire.constants import INVALID_CB_NO_BAN_VERSION
from btcnode.wire.messages import BlockTxn
from btcnode.wire.short_ids import packed_short_ids, short_id_key

if TYPE_CHECKING:
    from btcnode.protocol.blocks.block_download import BlockDownload
    from btcnode.protocol.context import Context
    from btcnode.protocol.events import BlockAccepted
    from btcnode.protocol.peer import Peer


@record
class Outline:
    """A block near the tip: its cmpctblock message, and offsets of its transactions with the end of the last one."""

    compact: bytes
    positions: array[int]


def compact_payload(block: ParsedBlock, nonce: int) -> bytes:
    """The cmpctblock message of a block: the coinbase in full, short ids of all others."""
    header = block.raw[:HEADER_SIZE]
    ids = packed_short_ids(short_id_key(header, nonce), block.wtxids[1:])
    count = compact_size(block.n_tx - 1)
    return b"".join((header, nonce.to_bytes(8, "little"), count, ids, b"\x01\x00", block.tx_raw(0)))


class CompactServing:
    """Outlines of the blocks near the tip, the newest block itself, and what is made of them."""

    def __init__(self, ctx: Context, download: BlockDownload) -> None:
        self._ctx = ctx
        self._download = download
        self._outlines: dict[int, Outline] = {}  # by header index, the newest last
        self.newest: ParsedBlock | None = None  # the last one announced before it was validated
        self._announced_height = -1

    # -- announcements -------------------------------------------------------------------------------------------

    def on_accepted(self, event: BlockAccepted) -> None:
        """Pass a new block on to the peers that asked for that, before its scripts are verified."""
        ctx, tree, index = self._ctx, self._ctx.tree, event.index
        height = tree.height(index)
        if height <= self._announced_height or ctx.is_initial_block_download():
            return
        self._announced_height = height
        if height < ctx.params.segwit_height:
            return
        outline = self._remember(index, event.block)
        self.newest = event.block
        for peer in ctx.established():
            if not (peer.high_bandwidth_from and peer.role.is_told) or peer.common_version < INVALID_CB_NO_BAN_VERSION:
                continue
            self._download.update_availability(peer)
            if not ctx.peer_has(peer, index) and ctx.peer_has(peer, tree.prev(index)):
                ctx.emit(SendRaw(peer.id, "cmpctblock", outline.compact))
                peer.headers.best_sent = index
                ctx.log_peer(peer, LogLevel.DEBUG, f"compact block at height {height} sent", "cmpctblock")

    def _remember(self, index: int, block: ParsedBlock) -> Outline:
        outline = Outline(compact_payload(block, self._ctx.rng.getrandbits(64)), array("I", block.tx_pos))
        self._outlines[index] = outline
        if len(self._outlines) > MAX_OUTLINES:
            del self._outlines[next(iter(self._outlines))]
        return outline

    # -- answers -------------------------------------------------------------------------------------------------

    def payload(self, index: int) -> bytes | None:
        """Payload of the cmpctblock message (BIP152) of the block ``index``; None when that has to be read."""
        outline = self._outlines.get(index)
        return None if outline is None else outline.compact

    def make_payload(self, index: int, raw: bytes) -> bytes:
        """Payload of the cmpctblock message (BIP152) of a serialised block that was read from disk."""
        return self._outline(index, raw).compact

    def _outline(self, index: int, raw: bytes) -> Outline:
        return self._outlines.get(index) or self._remember(index, parse_block(raw))

    def send_transactions(self, peer: Peer, index: int, raw: bytes, wanted: tuple[int, ...]) -> None:
        """Answer a getblocktxn out of the block's bytes."""
        positions = self._outline(index, raw).positions
        if wanted and wanted[-1] >= len(positions) - 1:  # positions rise
            self._ctx.punish(peer, Offence.GETBLOCKTXN_INDEX, f"{wanted[-1]} of {len(positions) - 1}")
            return
        parts = [self._ctx.tree.hash(index), compact_size(len(wanted))]
        first = last = -1
        for i in (*wanted, -1):
            if i != last + 1 or first < 0:  # what lies together is taken as one piece
                if first >= 0:
                    parts.append(raw[positions[first] : positions[last + 1]])
                first = i
            last = i
        self._ctx.emit(SendRaw(peer.id, BlockTxn.command, b"".join(parts)))
