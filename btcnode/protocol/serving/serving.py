"""Serving the chain: headers, block inventories, blocks and transactions.

Requests wait in a bounded queue per peer. At most one block is read for a peer at a time and none while its send
buffer is full, so that a peer that does not read costs one buffer. Limits and refusals are Bitcoin Core's.
"""

from __future__ import annotations

from collections.abc import Callable

from btcnode.chain.block_status import VALID_SCRIPTS
from btcnode.primitives.steps import Steps
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel, MakeThin, MatchBlock, ReadBlock, SendRaw
from btcnode.protocol.events import BlockMatched, BlockRead, ThinMade
from btcnode.protocol.limits import (
    GETDATA_PAUSE,
    HISTORICAL_BLOCK_AGE,
    MAX_BLOCKTXN_DEPTH,
    MAX_CMPCTBLOCK_DEPTH,
    MAX_GETBLOCKS_RESULTS,
    MAX_GETDATA_BYTES_PER_TURN,
    MAX_GETDATA_PER_TURN,
    MAX_GETDATA_QUEUE,
    MAX_NOT_FOUND,
    MAX_PENDING_BLOCKTXN,
    NODE_NETWORK_LIMITED_MIN_BLOCKS,
    PEER_BLOCK_SLACK,
    STALE_RELAY_AGE_LIMIT,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, PAUSE_GETDATA, Peer
from btcnode.protocol.serving.compact_serving import CompactServing
from btcnode.protocol.serving.upload_budget import UploadBudget
from btcnode.protocol.transactions.tx_relay import TxRelay
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import (
    MAX_HEADERS_RESULTS,
    MAX_INV_SIZE,
    MAX_LOCATOR_SIZE,
    MSG_BLOCK,
    MSG_CMPCT_BLOCK,
    MSG_FILTERED_BLOCK,
    MSG_TX,
    MSG_WITNESS_BLOCK,
    MSG_WITNESS_TX,
    MSG_WTX,
    NODE_NETWORK,
    NODE_NETWORK_LIMITED,
)
from btcnode.wire.messages import (
    GetBlocks,
    GetBlockTxn,
    GetData,
    GetHeaders,
    GetXBlockTx,
    GetXThin,
    Headers,
    Inv,
    InvItem,
    NotFound,
)
from btcnode.wire.registry import Sealed

_TX_KINDS = (MSG_TX, MSG_WTX, MSG_WITNESS_TX)
_BLOCK_KINDS = (MSG_BLOCK, MSG_WITNESS_BLOCK, MSG_CMPCT_BLOCK, MSG_FILTERED_BLOCK)


class Serving:
    """Answers to requests for chain data."""

    def __init__(self, ctx: Context, relay: TxRelay, compact: CompactServing, upload: UploadBudget) -> None:
        self._ctx = ctx
        self._relay = relay
        self._compact = compact
        self.upload = upload

    # -- headers -------------------------------------------------------------------------------------------------

    def on_getheaders(self, peer: Peer, message: GetHeaders) -> None:
        """Send up to 2000 headers of the active chain after the fork point, or the one asked for by hash."""
        ctx, tree, active = self._ctx, self._ctx.tree, self._ctx.active
        if len(message.locator) > MAX_LOCATOR_SIZE:
            ctx.punish(peer, Offence.LOCATOR_TOO_LARGE, f"getheaders {len(message.locator)}")
            return
        download = peer.permissions & Permission.DOWNLOAD
        if ctx.tip_work() < ctx.chain.minimum_chain_work and not download:
            ctx.send(peer, Headers(()))  # too early to be of help: an empty answer says so
            return
        if message.locator:
            index = active.next(active.find_fork_with(message.locator))
        else:
            index = tree.find(message.stop_hash)
            if index < 0 or not self.may_show(index):
                return
        headers: list[bytes] = []
        last = index
        while index >= 0:
            headers.append(tree.raw(index))
            last = index
            if len(headers) == MAX_HEADERS_RESULTS or tree.hash(index) == message.stop_hash:
                break
            index = active.next(index)
        peer.headers.best_sent = last if index >= 0 else active.tip
        ctx.send(peer, Headers(tuple(headers)))

    def on_getblocks(self, peer: Peer, message: GetBlocks) -> None:
        """Announce up to 500 blocks of the active chain after the fork point by inv."""
        ctx, tree, active = self._ctx, self._ctx.tree, self._ctx.active
        if len(message.locator) > MAX_LOCATOR_SIZE:
            ctx.punish(peer, Offence.LOCATOR_TOO_LARGE, f"getblocks {len(message.locator)}")
            return
        index = active.next(active.find_fork_with(message.locator))
        hashes: list[bytes] = []
        while index >= 0:
            block_hash = tree.hash(index)
            if block_hash == message.stop_hash or not tree.has_data(index):
                break
            hashes.append(block_hash)
            if len(hashes) == MAX_GETBLOCKS_RESULTS:
                peer.serve.continuation = block_hash
                break
            index = active.next(index)
        room = MAX_INV_SIZE - len(peer.serve.inventory)
        peer.serve.inventory += hashes[:room]

    def may_show(self, index: int) -> bool:
        """Whether the block may be shown without telling who we are: active, or stale but valid and young."""
        ctx, tree = self._ctx, self._ctx.tree
        if ctx.active.contains(index):
            return True
        best = tree.best_header
        if tree.validity(index) < VALID_SCRIPTS or tree.is_failed(index):
            return False
        if tree.time(best) - tree.time(index) >= STALE_RELAY_AGE_LIMIT:
            return False
        work = tree.chainwork(best) - tree.chainwork(index)
        per_block = max(tree.chainwork(best) - tree.chainwork(max(tree.prev(best), 0)), 1)
        return work * ctx.params.pow_target_spacing // per_block < STALE_RELAY_AGE_LIMIT

    # -- getdata -------------------------------------------------------------------------------------------------

    def on_getdata(self, peer: Peer, message: GetData) -> None:
        """Queue requests, then answer what can be answered."""
        ctx, queue = self._ctx, peer.serve.queue
        if len(message) > MAX_INV_SIZE:
            ctx.punish(peer, Offence.GETDATA_TOO_LARGE, str(len(message)))
            return
        if len(queue) + len(message) > MAX_GETDATA_QUEUE + GETDATA_PAUSE:
            ctx.punish(peer, Offence.GETDATA_FLOOD)
            return
        ctx.log(LogLevel.DEBUG, "net", f"received getdata ({len(message)} invsz) peer={peer.id}")
        for first in message.pairs(1):
            ctx.log(LogLevel.DEBUG, "net", f"received getdata for: {InvItem(*first).name} peer={peer.id}")
        queue.extend(message.packed)
        self.serve(peer)
        if len(queue) > GETDATA_PAUSE:
            ctx.pause(peer, PAUSE_GETDATA)

    def serve(self, peer: Peer) -> None:
        """Answer from the front of the queue until a block has to be read, the peer shall read first, or others follow.

        What is left over is answered when the peer's turn comes again. Transactions that are not here are told of
        after the block behind them in the queue, as in Core; of a block that is not here nothing is told.
        """
        ctx, queue = self._ctx, peer.serve.queue
        self._serve_parts(peer)
        budget, room = MAX_GETDATA_PER_TURN, MAX_GETDATA_BYTES_PER_TURN
        while queue and budget and room > 0 and self._may_serve(peer):
            budget -= 1
            if self._awaits_validation(queue.first_hash()):
                break
            item = queue.popleft()
            if item.kind in _TX_KINDS:
                sent = self._serve_tx(peer, item)
                if sent is None:
                    peer.serve.not_found.append(item)
                else:
                    room -= sent
                continue
            if item.kind in _BLOCK_KINDS:
                room -= self._serve_block(peer, item)
            if peer.serve.reading == NONE:
                self._send_not_found(peer)
        if peer.serve.reading == NONE and (not queue or len(peer.serve.not_found) >= MAX_NOT_FOUND or peer.send_full):
            self._send_not_found(peer)
        if len(queue) <= GETDATA_PAUSE:
            ctx.resume(peer, PAUSE_GETDATA)
        if queue and (not budget or room <= 0) and self._may_serve(peer):
            ctx.ask_for_turn(peer)

    def wake(self, peer: Peer) -> None:
        """Have what waits answered at the peer's turn."""
        if (peer.serve.queue or peer.serve.parts) and self._may_serve(peer):
            self._ctx.ask_for_turn(peer)

    @staticmethod
    def _may_serve(peer: Peer) -> bool:
        return not peer.send_full and peer.role.is_served and peer.serve.reading == NONE

    def _serve_tx(self, peer: Peer, item: InvItem) -> int | None:
        """Send a transaction; its bytes, None when there is none to send."""
        if not self._relay.may_ask(peer):
            return 0
        raw = self._relay.find(peer, item.hash, item.kind == MSG_WTX, witness=item.kind != MSG_TX)
        if raw is None:
            return None
        self._ctx.emit(SendRaw(peer.id, "tx", raw))
        return len(raw)

    def _send_not_found(self, peer: Peer) -> None:
        if peer.serve.not_found:
            self._ctx.send(peer, NotFound(tuple(peer.serve.not_found)))
            peer.serve.not_found.clear()

    def _serve_block(self, peer: Peer, item: InvItem) -> int:
        """Ask for the block to be read, if we have it and show it; bytes that were sent at once."""
        ctx, tree = self._ctx, self._ctx.tree
        index = tree.find(item.hash)
        if index < 0 or not self.may_show(index):
            return 0
        if self.beyond_upload_target(peer, index, filtered=item.kind == MSG_FILTERED_BLOCK):
            ctx.punish(peer, Offence.UPLOAD_LIMIT)
            return 0
        limited = ctx.config.services & (NODE_NETWORK | NODE_NETWORK_LIMITED) == NODE_NETWORK_LIMITED
        depth = ctx.active.height - tree.height(index)
        if limited and depth > NODE_NETWORK_LIMITED_MIN_BLOCKS + PEER_BLOCK_SLACK and not peer.no_ban:
            ctx.punish(peer, Offence.BLOCK_TOO_DEEP, f"depth {depth}")
            return 0
        if not tree.has_data(index):
            return 0
        if item.kind == MSG_FILTERED_BLOCK:
            if peer.tx is not None and peer.tx.filter is not None:  # else there is no answer
                peer.serve.reading = index
                ctx.emit(MatchBlock(peer.id, index, peer.tx.filter.copy()))
            return 0
        if item.kind == MSG_CMPCT_BLOCK and ctx.can_direct_fetch() and depth <= MAX_CMPCTBLOCK_DEPTH:
            return self._send_compact(peer, index)
        self._read(peer, index, witness=item.kind != MSG_BLOCK)
        return 0

    def _read(
        self, peer: Peer, index: int, *, witness: bool = True, then: Callable[[bytes], None] | None = None
    ) -> None:
        peer.serve.reading, peer.serve.then = index, then
        self._ctx.emit(ReadBlock(peer.id, index, witness))

    # -- compact blocks ------------------------------------------------------------------------------------------

    def announce_compact(self, peer: Peer, index: int) -> bool:
        """Send the compact form of a new block; False when too many of them wait for the disk."""
        payload = self._compact.payload(index)
        if payload is not None:
            self._ctx.emit(SendRaw(peer.id, "cmpctblock", payload))
        elif len(peer.serve.parts) < MAX_PENDING_BLOCKTXN:
            # not as an answer: that would be the whole block once others are on top of it
            peer.serve.parts.append((index, lambda raw: self._send_compact_of(peer, index, raw)))
            self.serve(peer)
        else:
            return False
        return True

    def _send_compact(self, peer: Peer, index: int) -> int:
        payload = self._compact.payload(index)
        if payload is None:
            self._read(peer, index, then=lambda raw: self._send_compact_of(peer, index, raw))
            return 0
        self._ctx.emit(SendRaw(peer.id, "cmpctblock", payload))
        return len(payload)

    def _send_compact_of(self, peer: Peer, index: int, raw: bytes) -> None:
        self._ctx.emit(SendRaw(peer.id, "cmpctblock", self._compact.make_payload(index, raw)))

    def _awaits_validation(self, block_hash: bytes) -> bool:
        """Whether this is the block that was announced just now: it is served when its scripts are verified."""
        newest, tree = self._compact.newest, self._ctx.tree
        if newest is None or newest.hash != block_hash:
            return False
        index = tree.find(block_hash)
        return tree.prev(index) == self._ctx.active.tip and not tree.is_failed(index)

    def _is_here(self, index: int) -> bool:
        """Whether parts of a block can be told: it is stored, or was announced just now and is about to be."""
        newest, tree = self._compact.newest, self._ctx.tree
        return index >= 0 and (tree.has_data(index) or (newest is not None and newest.hash == tree.hash(index)))

    def on_get_block_txn(self, peer: Peer, sealed: GetBlockTxn | Sealed[GetBlockTxn]) -> Steps[None]:
        """Single transactions of a block near the tip; of a deeper one the whole block, so that the asker pays too.

        For a block that is not here the positions are not decoded.
        """
        index = self._ctx.tree.find(sealed.block_hash)
        if not self._is_here(index):
            self._ctx.log_peer(peer, LogLevel.DEBUG, "request for parts of a block that is not here", "cmpctblock")
            return
        message = yield from sealed.opened()
        wanted = message.indexes
        self._with_raw(
            peer, message.block_hash, lambda index, raw: self._compact.send_transactions(peer, index, raw, wanted)
        )

    def answer_thin(self, peer: Peer, request: GetXThin | GetXBlockTx) -> None:
        """Parts of a block near the tip, made beside the loop, once for each peer and block; else the whole block."""
        ctx, tree, serve = self._ctx, self._ctx.tree, peer.serve
        index, floor = tree.find(request.block_hash), ctx.active.height - MAX_BLOCKTXN_DEPTH
        if not self._is_here(index):
            ctx.log_peer(peer, LogLevel.DEBUG, "request for parts of a block that is not here", "cmpctblock")
            return
        serve.thin_answered = {asked for asked in serve.thin_answered if tree.height(asked[1]) >= floor}
        asked = request.command, index
        if tree.height(index) < floor or asked in serve.thin_answered or len(serve.parts) >= MAX_PENDING_BLOCKTXN:
            self.send_whole(peer, request.block_hash)
            return
        serve.thin_answered.add(asked)
        serve.parts.append((index, request))
        self.serve(peer)

    def on_thin_made(self, answer: ThinMade) -> None:
        """Send the parts of a block that were made, then go on with the queue."""
        ctx, peer = self._ctx, self._asker(answer)
        if peer is None:
            return
        if answer.made is None:
            self._cannot_read(peer, answer.index)
        elif answer.made.fault:
            ctx.punish(peer, Offence.XTHIN_INVALID, answer.made.fault)
        elif not answer.made.command:
            self.send_whole(peer, ctx.tree.hash(answer.index))
        else:
            ctx.emit(SendRaw(peer.id, answer.made.command, answer.made.payload))
            self.upload.record(len(answer.made.payload), int(ctx.unix))
            self._after_block(peer, answer.index)

    def send_whole(self, peer: Peer, block_hash: bytes) -> None:
        """Answer by the whole block."""
        self.on_getdata(peer, GetData((InvItem(MSG_WITNESS_BLOCK, block_hash),)))

    def _with_raw(self, peer: Peer, block_hash: bytes, then: Callable[[int, bytes], None]) -> None:
        ctx, tree, serve = self._ctx, self._ctx.tree, peer.serve
        newest = self._compact.newest
        index = tree.find(block_hash)
        if not self._is_here(index):
            ctx.log_peer(peer, LogLevel.DEBUG, "request for parts of a block that is not here", "cmpctblock")
        elif newest is not None and newest.hash == block_hash:
            then(index, newest.raw)
        elif tree.height(index) >= ctx.active.height - MAX_BLOCKTXN_DEPTH and len(serve.parts) < MAX_PENDING_BLOCKTXN:
            serve.parts.append((index, lambda raw: then(index, raw)))
            self.serve(peer)
        else:
            self.send_whole(peer, block_hash)

    def _serve_parts(self, peer: Peer) -> None:
        serve = peer.serve
        if serve.parts and self._may_serve(peer):
            index, work = serve.parts.pop(0)
            if callable(work):
                self._read(peer, index, then=work)
                return
            newest = self._compact.newest
            here = newest if newest is not None and newest.hash == work.block_hash else None
            serve.reading = index
            self._ctx.emit(MakeThin(peer.id, index, work, here))

    def beyond_upload_target(self, peer: Peer, index: int, *, filtered: bool = False) -> bool:
        """Whether an old or a filtered block would break the day's upload target, of which new ones have a reserve."""
        ctx = self._ctx
        if peer.permissions & Permission.DOWNLOAD or not self.upload.reached(int(ctx.unix), historical=True):
            return False
        age = ctx.tree.time(ctx.tree.best_header) - ctx.tree.time(index)
        return age > HISTORICAL_BLOCK_AGE or filtered

    def _asker(self, answer: BlockRead | BlockMatched | ThinMade) -> Peer | None:
        """The peer for which a block was read, if it still waits; it may have the next one read now."""
        peer = self._ctx.peers.get(answer.peer_id)
        if peer is None or peer.serve.reading != answer.index:
            return None
        peer.serve.reading = NONE
        return peer if peer.role.is_complete else None

    def on_block_read(self, answer: BlockRead) -> None:
        """Send a block that was read from disk, then go on with the queue."""
        ctx, peer = self._ctx, self._asker(answer)
        if peer is None:
            return
        if answer.raw is None:
            self._cannot_read(peer, answer.index)
            return
        self.upload.record(len(answer.raw), int(ctx.unix))
        then, peer.serve.then = peer.serve.then, None
        if then is not None:
            then(answer.raw)
        else:
            ctx.emit(SendRaw(peer.id, "block", answer.raw))
        self._after_block(peer, answer.index)

    def on_block_matched(self, answer: BlockMatched) -> None:
        """Send what a light client wants of a block, its transactions behind the proof."""
        ctx, peer = self._ctx, self._asker(answer)
        if peer is None:
            return
        if answer.found is None:
            self._cannot_read(peer, answer.index)
            return
        if peer.tx is not None and peer.tx.filter is not None and len(peer.tx.filter.data) == len(answer.found.data):
            peer.tx.filter.merge(answer.found.data)
        ctx.send(peer, answer.found.proof)
        for raw in answer.found.transactions:
            ctx.emit(SendRaw(peer.id, "tx", raw))
        self.upload.record(sum(map(len, answer.found.transactions)), int(ctx.unix))
        self._after_block(peer, answer.index)

    def _cannot_read(self, peer: Peer, index: int) -> None:
        ctx = self._ctx
        ctx.log_peer(peer, LogLevel.WARNING, f"block at height {ctx.tree.height(index)} cannot be read")
        ctx.punish(peer, Offence.BLOCK_UNREADABLE)

    def _after_block(self, peer: Peer, index: int) -> None:
        """A block was sent: perhaps the peer shall ask for the next batch; then the next request."""
        ctx = self._ctx
        if peer.serve.continuation == ctx.tree.hash(index):
            peer.serve.continuation = b""
            ctx.send(peer, Inv((InvItem(MSG_BLOCK, ctx.tree.hash(ctx.active.tip)),)))
        self._send_not_found(peer)
        self.serve(peer)
