"""Compact blocks as they come in (BIP152): whom to ask for them, and blocks from them.

A block is received from up to three peers at a time, of which one slot is kept for an outbound peer unless one is
among them already. Faults are judged as in Bitcoin Core 31: a peer may pass a compact block on that it has not
validated, so one that turns out to be invalid is not held against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.chain.block_status import VALID_CHAIN
from btcnode.consensus.pow import block_work, check_proof_of_work
from btcnode.errors import DecodeError, Fault, RuleViolation
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.protocol.blocks.partial_block import PartialBlock, ShortIdCollision
from btcnode.protocol.chronicle import COMPACT
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import (
    MAX_BLOCKS_IN_TRANSIT_PER_PEER,
    MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK,
    MAX_HIGH_BANDWIDTH_PEERS,
)
from btcnode.protocol.misbehaviour import BLOCK_OFFENCES, Offence
from btcnode.protocol.peer import NONE
from btcnode.wire.constants import CMPCTBLOCKS_VERSION, MSG_CMPCT_BLOCK, NODE_XTHIN
from btcnode.wire.messages import GetBlockTxn, GetData, Headers, InvItem, SendCmpct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from btcnode.primitives.steps import Steps
    from btcnode.protocol.blocks.block_download import BlockDownload
    from btcnode.protocol.blocks.headers_sync import HeaderSync
    from btcnode.protocol.blocks.xthin import ThinRelay
    from btcnode.protocol.chain_view import TxSource
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer
    from btcnode.wire.messages import BlockTxn, CmpctBlock
    from btcnode.wire.registry import Sealed


class CompactRelay:
    """Compact blocks from peers. ``spare`` gives serialised transactions beside the mempool's, by wtxid."""

    def __init__(
        self,
        ctx: Context,
        headers: HeaderSync,
        download: BlockDownload,
        source: TxSource,
        spare: Callable[[], Mapping[bytes, bytes]],
        thin: ThinRelay,
    ) -> None:
        self._ctx = ctx
        self._headers = headers
        self._download = download
        self._source = source
        self._spare = spare
        self._thin = thin
        self._high_bandwidth: list[int] = []  # peers asked to announce by cmpctblock, least recently useful first

    # -- asking --------------------------------------------------------------------------------------------------

    def fetch(self, peer: Peer, index: int) -> bool:
        """Ask for one new block in the form that the user prefers and the peer offers; False when there is none."""
        ctx, tree = self._ctx, self._ctx.tree
        if not self._wanted or tree.validity(tree.prev(index)) < VALID_CHAIN:
            return False
        if self._by_thin(peer):
            self._thin.ask(peer, index)
        elif peer.provides_compact:
            self._download.requests.register(peer, index)
            ctx.send(peer, GetData((InvItem(MSG_CMPCT_BLOCK, tree.hash(index)),)))
        else:
            return False
        return True

    @property
    def _wanted(self) -> bool:
        """Whether short forms are asked for at all: they need a mempool, and the user may want whole blocks."""
        config = self._ctx.config
        return config.tx_relay and config.block_relay != "plain"

    def _by_thin(self, peer: Peer) -> bool:
        """Whether blocks come from this peer in thin form: both sides offer it, and prefer it or have nothing else."""
        config = self._ctx.config
        if not config.services & peer.services & NODE_XTHIN or config.block_relay == "compact":
            return False
        return config.block_relay == "xthin" or not peer.provides_compact

    # -- whom to ask for announcements ---------------------------------------------------------------------------

    def on_connected_from(self, peer_id: int) -> None:
        """A block that this peer brought joined the active chain: it shall announce by cmpctblock from now on.

        At most three peers do, and an inbound one never takes the place of the last outbound one.
        """
        ctx, chosen = self._ctx, self._high_bandwidth
        peer = ctx.peers.get(peer_id)
        if not self._wanted or peer is None or not peer.role.gives_blocks or not peer.provides_compact:
            return
        if self._by_thin(peer):
            return
        if peer_id in chosen:
            chosen.remove(peer_id)
            chosen.append(peer_id)
            return
        if len(chosen) >= MAX_HIGH_BANDWIDTH_PEERS:
            if peer.inbound and self._is_outbound(chosen[0]) and sum(map(self._is_outbound, chosen)) == 1:
                chosen[0], chosen[1] = chosen[1], chosen[0]
            dropped = ctx.peers.get(chosen.pop(0))
            if dropped is not None:
                dropped.high_bandwidth_to = False
                ctx.send(dropped, SendCmpct(False, CMPCTBLOCKS_VERSION))
        peer.high_bandwidth_to = True
        ctx.send(peer, SendCmpct(True, CMPCTBLOCKS_VERSION))
        chosen.append(peer_id)

    def _is_outbound(self, peer_id: int) -> bool:
        peer = self._ctx.peers.get(peer_id)
        return peer is not None and not peer.inbound

    # -- cmpctblock ----------------------------------------------------------------------------------------------

    def on_compact_block(self, peer: Peer, message: CmpctBlock | Sealed[CmpctBlock]) -> Steps[None]:
        """An announcement, or the answer to a request; nothing but the header is looked at before it is of use."""
        ctx, tree, download = self._ctx, self._ctx.tree, self._download
        prev = tree.find(message.header[4:36])
        if prev < 0:
            if not ctx.is_initial_block_download():
                self._headers.request_from_best(peer)
            return
        work = tree.chainwork(prev) + block_work(int.from_bytes(message.header[72:76], "little"))
        if work < self._ctx.work_threshold():
            ctx.log(LogLevel.DEBUG, "net", f"Ignoring low-work compact block from peer {peer.id}")
            return
        block_hash = message.hash
        is_new = tree.find(block_hash) < 0
        index = self._accept_header(peer, message.header, block_hash)
        if index == NONE:
            return
        if is_new:
            self._headers.log_new_header(peer, index, compact=True)
        self._headers.learn_block(peer, block_hash)
        if is_new and work > ctx.tip_work():
            peer.headers.last_announcement = ctx.mockable
        if tree.has_data(index) or download.is_validating(index) or not download.is_ready(index):
            return
        asked = index in peer.blocks.in_flight
        if asked or peer.high_bandwidth_to:
            ctx.excuse(peer)
        if work <= ctx.tip_work():
            if asked:  # for some reason; the mempool will hardly help with it
                download.requests.ask_in_full(peer, index)
            return
        if index not in download.requests and not ctx.can_direct_fetch():
            return
        if tree.height(index) <= ctx.active.height + 2:
            yield from self._receive(peer, index, message)
        elif asked:
            download.requests.ask_in_full(peer, index)
        else:
            yield from self._headers.on_headers(peer, Headers((message.header,)))

    def _accept_header(self, peer: Peer, header: bytes, block_hash: BlockHash) -> int:
        ctx = self._ctx
        if not check_proof_of_work(block_hash, int.from_bytes(header[72:76], "little"), ctx.params):
            ctx.punish(peer, Offence.BLOCK_INVALID_HEADER, f"high-hash {to_display(block_hash)}")
            return NONE
        try:
            return ctx.tree.add(header, int(ctx.unix))[0]
        except RuleViolation as violation:
            if violation.fault is Fault.CACHED_INVALID:
                ctx.log_peer(peer, LogLevel.DEBUG, f"compact block: {violation}", "cmpctblock")
            else:
                ctx.punish(peer, BLOCK_OFFENCES[violation.fault], str(violation))
            return NONE

    def _receive(self, peer: Peer, index: int, sealed: CmpctBlock | Sealed[CmpctBlock]) -> Steps[None]:
        """Reconstruct the block as far as possible, then ask for the rest, if this peer is to be asked."""
        ctx, download = self._ctx, self._download
        if index in peer.blocks.partial:
            ctx.log_peer(peer, LogLevel.DEBUG, "compact block that is being received already", "cmpctblock")
            return
        found: PartialBlock | DecodeError
        with download.assembling(peer, index):
            message = yield from sealed.opened()
            try:
                found = PartialBlock(message)
                yield from found.collect(message, self._source.by_wtxid(), self._spare())
            except DecodeError as error:
                found = error
        if not ctx.tree.has_data(index) and not download.is_validating(index):  # it may have come meanwhile
            self._draw_conclusions(peer, index, found)

    def _draw_conclusions(self, peer: Peer, index: int, partial: PartialBlock | DecodeError) -> None:
        """What a compact block brought as far as it could be put together, or why it could not."""
        ctx, download, blocks = self._ctx, self._download, peer.blocks
        askers = download.requests.asked_of(index)
        is_first = not askers or askers[0] == peer.id
        asked = peer.id in askers
        slot = (
            len(askers) < MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK and len(blocks.in_flight) < MAX_BLOCKS_IN_TRANSIT_PER_PEER
        )
        if isinstance(partial, ShortIdCollision):
            if is_first and not asked and slot:
                download.requests.register(peer, index)
            if is_first and (asked or slot):
                blocks.partial[index] = None
                download.requests.ask_in_full(peer, index)
            else:
                download.requests.cancel(peer, index)
            return
        if isinstance(partial, DecodeError):
            if asked or slot:
                download.requests.cancel(peer, index)
                ctx.punish(peer, Offence.COMPACT_INVALID, str(partial))
            return
        missing = partial.missing()
        found = f"{partial.from_pool} from the mempool, {partial.from_extra} extra, {len(missing)} missing"
        ctx.log_peer(peer, LogLevel.DEBUG, f"compact block of {len(partial.slots)} transactions: {found}", "cmpctblock")
        if not missing:
            known = partial.known
            download.deliver(peer, index, partial.fill(()), COMPACT, 0, known)
        elif asked or (slot and (is_first or self._may_ask_too(peer, askers))):
            if not asked:
                download.requests.register(peer, index)
            blocks.partial[index] = partial
            ctx.send(peer, GetBlockTxn(ctx.tree.hash(index), missing))

    def _may_ask_too(self, peer: Peer, askers: list[int]) -> bool:
        """Whether a peer that is not the first may be asked for what is missing: the last slot is an outbound one's."""
        if not peer.high_bandwidth_to:
            return False
        is_last = len(askers) >= MAX_CMPCTBLOCKS_INFLIGHT_PER_BLOCK - 1
        return not peer.inbound or not is_last or any(map(self._is_outbound, askers))

    # -- blocktxn ------------------------------------------------------------------------------------------------

    def on_block_txn(self, peer: Peer, sealed: BlockTxn | Sealed[BlockTxn]) -> Steps[None]:
        """The transactions that were missing; others are not decoded."""
        ctx, download = self._ctx, self._download
        index = ctx.tree.find(sealed.block_hash)
        if not self._is_awaited(peer, index):
            ctx.log_peer(peer, LogLevel.DEBUG, "block transactions that were not asked for", "cmpctblock")
            return
        ctx.excuse(peer)
        message = yield from sealed.opened()
        if not self._is_awaited(peer, index):
            return  # it came from another peer meanwhile
        partial = peer.blocks.partial[index]
        if not isinstance(partial, PartialBlock):
            download.requests.cancel(peer, index)
            ctx.punish(peer, Offence.COMPACT_INVALID, "previous compact block reconstruction attempt failed")
            return
        known = partial.known
        try:
            raw = partial.fill(message.transactions)
        except DecodeError as error:
            download.requests.cancel(peer, index)
            ctx.punish(peer, Offence.COMPACT_INVALID, str(error))
            return
        download.deliver(peer, index, raw, COMPACT, len(message.transactions), known)

    @staticmethod
    def _is_awaited(peer: Peer, index: int) -> bool:
        return index in peer.blocks.partial and index in peer.blocks.in_flight
