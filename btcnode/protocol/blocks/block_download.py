"""Block download: which block to ask of whom, and when to give up on a peer.

A window of 1024 blocks above the last block in common moves over the chain of each peer. How many blocks are asked of
whom is decided in ``fetch_strategy.py``; a block is asked of one peer at a time, and of a second one when it is late.
Who keeps the window or the tip from moving is replaced after two seconds, doubled with each replacement and decaying
with each connected block, as in Bitcoin Core 31.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.standing import Standing
from btcnode.consensus.known_txs import JudgedTx
from btcnode.errors import Fault
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.protocol.agenda import NEVER, NEXT_TICK
from btcnode.protocol.blocks.block_blame import blame_for_block
from btcnode.protocol.blocks.block_headers import is_mutated
from btcnode.protocol.blocks.block_requests import BlockRequests
from btcnode.protocol.blocks.fetch_strategy import Failure, FetchStrategy
from btcnode.protocol.blocks.late_blocks import LateBlocks, Stalling, remember
from btcnode.protocol.blocks.proof_download import ProofDownload
from btcnode.protocol.blocks.unasked import UnaskedBlocks
from btcnode.protocol.chain_view import FoldedBlocks
from btcnode.protocol.chronicle import FULL
from btcnode.protocol.commands import ValidationLimit
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.context import Context
from btcnode.protocol.effects import DistrustBlocks, LogLevel, ProcessBlock
from btcnode.protocol.events import BlockProcessed, BlockRejected, TipChanged
from btcnode.protocol.limits import (
    BLOCK_DOWNLOAD_TIMEOUT_BASE,
    BLOCK_DOWNLOAD_TIMEOUT_PER_PEER,
    BLOCK_DOWNLOAD_WINDOW,
    CLOCK_GAP,
    FETCH_HEAD_UNASKED,
    LATE_EXPIRY,
    MAX_BLOCK_SOURCES,
    MAX_BLOCKS_IN_TRANSIT_PER_PEER,
    MAX_BLOCKS_IN_VALIDATION,
    MAX_MISSING_PER_PEER,
    MAX_REQUESTS,
    MAX_VALIDATION_BYTES,
    MIN_BLOCKS_TO_KEEP,
    MISSING_EXPIRY,
    NODE_NETWORK_LIMITED_MIN_BLOCKS,
    PEER_BLOCK_SLACK,
    PROOFS_AHEAD,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import NONE, PAUSE_VALIDATION, Peer
from btcnode.wire.constants import MSG_BLOCK, MSG_WITNESS_FLAG
from btcnode.wire.messages import NotFound


class BlockDownload:
    """Requests for blocks of all peers, and the blocks on their way through validation.

    ``fetch_new`` asks a peer for one new block (header index) in a short form; False when it offers none.
    """

    def __init__(
        self, ctx: Context, fetch_new: Callable[[Peer, int], bool], proofs: ProofDownload | None = None
    ) -> None:
        """``proofs``: a block is asked for when its proof is here, None for a node that needs none."""
        self._ctx = ctx
        self._proofs = proofs
        self.strategy = FetchStrategy(lambda text: ctx.log(LogLevel.DEBUG, "net", text))
        self.requests = BlockRequests(ctx, self.strategy)
        self.preferred_count = 0
        self.stalling = Stalling(ctx)
        self._unasked = UnaskedBlocks(ctx)
        self._validating: dict[tuple[int, int], int] = {}  # (peer, index) -> bytes
        self._validating_blocks: dict[int, int] = {}  # index -> how many of the above
        self._assembled: dict[int, int] = {}  # peer -> block that is being put together from its compact form
        self.validating_bytes = 0
        self._validation_limit = MAX_VALIDATION_BYTES
        # index -> peer that delivered it, until it is connected, and whether in compact form
        self._sources: dict[int, tuple[int, bool]] = {}
        self._best_chain = ActiveChain(ctx.tree)
        self._late = LateBlocks(ctx, self.requests, self.strategy, self.stalling)
        self._fetch_new = fetch_new
        self._last_tick = ctx.steady
        self._clock_jumped = False  # since the last tick so much time passed that sockets have to be read first
        self._free_head = (NONE, 0.0)  # the lowest block that is left to faster peers, and since when

    # -- peers come and go ---------------------------------------------------------------------------------------

    def on_version(self, peer: Peer) -> None:
        """Decide whether blocks are preferably downloaded from this peer."""
        preferred = (not peer.inbound or peer.no_ban) and peer.kind is not ConnectionKind.ADDR_FETCH
        peer.blocks.preferred = preferred and peer.serves_blocks
        if peer.serves_blocks:
            self.strategy.add(peer.id, str(peer.address))

    def on_gives_blocks(self, peer: Peer, *, gives: bool) -> None:
        """The peer may be asked for blocks from now on, or no more."""
        self.preferred_count += peer.blocks.preferred if gives else -peer.blocks.preferred
        if not gives:
            self.strategy.retire(peer.id)

    def forget(self, peer: Peer) -> None:
        """Nothing more is expected of the peer: its requests are free for others."""
        in_flight = list(peer.blocks.in_flight)
        for index in in_flight:
            self.requests.release(peer, index)
        self._assembled.pop(peer.id, None)  # it gets no more turns
        self.strategy.on_failure(peer.id, Failure.GONE, len(in_flight), self._ctx.steady)
        self.strategy.remove(peer.id)

    def has_share(self, peer: Peer) -> bool:
        """Whether others may have something to do once this peer is gone."""
        return bool(peer.blocks.in_flight) or peer.id in self._assembled or peer.blocks.preferred

    def may_sync_from(self, peer: Peer) -> bool:
        """Whether initial synchronisation uses this peer: outbound ones, others when there is nobody else."""
        if peer.blocks.preferred:
            return True
        if not peer.serves_blocks or peer.kind is ConnectionKind.ADDR_FETCH:
            return False
        return self.preferred_count == 0 or not self.requests

    # -- what a peer has -----------------------------------------------------------------------------------------

    def raise_best_known(self, peer: Peer, index: int) -> None:
        """The peer has block ``index`` and all before it."""
        state, tree = peer.headers, self._ctx.tree
        if state.best_known < 0 or tree.chainwork(index) >= tree.chainwork(state.best_known):
            state.best_known = index
            if self._proofs is not None:
                self._proofs.note_change()

    def is_ready(self, index: int) -> bool:
        """Whether a block may be asked for: what connecting it needs is here."""
        return self._proofs is None or index in self._proofs

    def on_lost(self, index: int) -> None:
        """The data of a block is not here any more: it is to be asked for again."""
        self._sources.pop(index, None)
        for peer in self._ctx.peers.values():
            common = peer.blocks.last_common
            if common >= 0 and self._ctx.tree.is_ancestor(index, common):
                peer.blocks.last_common = NONE

    def update_availability(self, peer: Peer) -> None:
        """Look again for the block that the peer announced before its header was known."""
        state = peer.headers
        if state.last_unknown:
            index = self._ctx.tree.find(state.last_unknown)
            if index >= 0:
                state.last_unknown = b""
                self.raise_best_known(peer, index)

    # -- asking --------------------------------------------------------------------------------------------------

    def tick(self, peer: Peer) -> float:
        """Judge the peer's pace, then ask for more; returns when the peer is looked at next."""
        steady = self._ctx.steady
        missing, late = peer.blocks.missing, peer.blocks.late
        if missing and steady - missing[first := next(iter(missing))] > MISSING_EXPIRY:
            del missing[first]
        if late and steady - late[first := next(iter(late))] > LATE_EXPIRY:
            del late[first]
        self._check_pace(peer)
        self.request_more(peer)
        return NEVER if self._is_at_rest(peer) else NEXT_TICK

    def _is_at_rest(self, peer: Peer) -> bool:
        """Whether nothing is asked of the peer, nor will be until it tells of a block or the tip changes."""
        ctx, blocks, best = self._ctx, peer.blocks, peer.headers.best_known
        if blocks.in_flight or blocks.missing or blocks.late or blocks.stalling_since is not None or peer.pauses:
            return False
        if peer.headers.last_unknown:
            return False
        if best < 0 or best in (blocks.last_common, ctx.active.tip):
            return True
        return not peer.serves_blocks or ctx.tree.chainwork(best) < ctx.tip_work()

    def begin_tick(self) -> None:
        """Once for all peers: what the clocks say."""
        steady = self._ctx.steady
        if steady == self._last_tick:
            return
        self._clock_jumped = steady - self._last_tick > CLOCK_GAP and not self._clock_jumped
        self._last_tick = steady
        self._late.note_distance()

    def request_more(self, peer: Peer) -> None:
        """Ask the peer for the next blocks of its chain that nobody was asked for.

        Requests that are left over go to blocks below a loaded UTXO set, as in Core.
        """
        if not peer.role.gives_blocks:
            return
        folded = self._ctx.chain.folded
        if folded is not None:
            self._request_folded(peer, folded)
            return
        self._request_ahead(peer)
        history = self._ctx.chain.history
        if history is not None:
            self._request_history(peer, history)

    def _request_folded(self, peer: Peer, folded: FoldedBlocks) -> None:
        """Ask for blocks of a sync without lookups: any that are missing, the lowest first."""
        ctx, limit = self._ctx, self.strategy.limit(peer.id)
        budget = self._budget(peer, limit)
        if folded.target < 0 or budget < max(1, min(limit // 4, MAX_BLOCKS_IN_TRANSIT_PER_PEER)):
            return
        if not peer.serves_blocks or peer.is_limited or not self.has_room() or not self.may_sync_from(peer):
            return
        self.update_availability(peer)
        if not ctx.has_header(folded.target, peer.headers.best_known):
            return
        if self.strategy.admits(peer.id, ctx.steady):
            self.requests.ask(peer, self._folded_missing(peer, folded, budget))

    def _folded_missing(self, peer: Peer, folded: FoldedBlocks, count: int) -> list[int]:
        last = self._ctx.tree.height(folded.target)
        path = self._path(folded.target, folded.first, min(last, folded.first + BLOCK_DOWNLOAD_WINDOW))
        requests, validating, blocks = self.requests, self._validating_blocks, peer.blocks
        wanted: list[int] = []
        for height, index in enumerate(path, folded.first):
            if folded.has(height) or index in requests or index in validating or self._ctx.tree.has_data(index):
                continue
            if index not in blocks.missing and index not in blocks.late and folded.is_ready(height):
                wanted.append(index)
                if len(wanted) == count:
                    break
        return wanted

    def _is_here(self, index: int) -> bool:
        """Whether the block is of no use any more."""
        tree, folded = self._ctx.tree, self._ctx.chain.folded
        if tree.has_data(index):
            return True
        if folded is None or folded.target < 0 or not tree.is_ancestor(index, folded.target):
            return False
        return folded.has(tree.height(index))

    def _request_history(self, peer: Peer, span: tuple[int, int]) -> None:
        """Ask for blocks between the chain that is validated and the loaded set's block, whose indices are ``span``."""
        if peer.pauses or not peer.serves_blocks or peer.is_limited or not self.has_room():
            return
        room = min(MAX_BLOCKS_IN_TRANSIT_PER_PEER, self.strategy.limit(peer.id)) - len(peer.blocks.in_flight)
        if room > 0:
            self.requests.ask(peer, self._history_missing(peer, span, room))

    def _history_missing(self, peer: Peer, span: tuple[int, int], count: int) -> list[int]:
        """Blocks above the chain that is validated, up to the set's, that nobody was asked for."""
        ctx, tree = self._ctx, self._ctx.tree
        tip, base = span
        self.update_availability(peer)
        if not ctx.has_header(base, peer.headers.best_known):
            return []
        first = tree.height(tree.find_fork(tip, base)) + 1
        path: Sequence[int] = ctx.active.span(first, min(tree.height(base), first + BLOCK_DOWNLOAD_WINDOW))
        wanted: list[int] = []
        for index in path:
            if tree.has_data(index) or index in self.requests or self.is_validating(index):
                continue
            if index not in peer.blocks.missing and index not in peer.blocks.late:
                wanted.append(index)
                if len(wanted) == count:
                    break
        return wanted

    def _request_ahead(self, peer: Peer) -> None:
        """Ask for blocks above the last one in common, as far as the window and validation allow."""
        ctx, blocks, strategy = self._ctx, peer.blocks, self.strategy
        limit = strategy.limit(peer.id)
        budget = self._budget(peer, limit)
        if budget < max(1, min(limit // 4, MAX_BLOCKS_IN_TRANSIT_PER_PEER)):  # one walk over the window for several
            return
        if not peer.serves_blocks or not self.has_room():
            return
        if len(blocks.missing) >= MAX_MISSING_PER_PEER:  # it has shown often enough that it does not help
            return
        if ctx.is_initial_block_download() and (peer.is_limited or not self.may_sync_from(peer)):
            return
        self.update_availability(peer)
        best = peer.headers.best_known
        if best == ctx.active.tip:
            blocks.last_common = best
        if best < 0 or best == blocks.last_common or not strategy.admits(peer.id, ctx.steady):
            return
        wanted, staller = self._find_next(peer, budget)
        self.requests.ask(peer, wanted)
        if staller != NONE and not blocks.in_flight:
            other = ctx.peers.get(staller)
            if other is not None:
                self.stalling.start(other)

    def _budget(self, peer: Peer, limit: int) -> int:
        """How many blocks may be asked of the peer now: less as validation fills up, and as the peer owes us some."""
        room = max(MAX_BLOCKS_IN_TRANSIT_PER_PEER, MAX_BLOCKS_IN_VALIDATION - len(self._validating))
        open_requests = len(peer.blocks.in_flight)
        if peer.blocks.late and self.strategy.has_other(peer.id):
            open_requests += len(peer.blocks.late)
        return min(min(limit, room) - open_requests, MAX_REQUESTS - len(self.requests))

    @property
    def validating(self) -> int:
        """Blocks that are being validated."""
        return len(self._validating)

    def has_room(self) -> bool:
        """Whether validation keeps up, so that more blocks may be asked for."""
        return len(self._validating) < MAX_BLOCKS_IN_VALIDATION and self.validating_bytes < self._validation_limit

    def is_validating(self, index: int) -> bool:
        """Whether the block is being validated."""
        return index in self._validating_blocks

    @contextmanager
    def assembling(self, peer: Peer, index: int) -> Iterator[None]:
        """Ask nobody for the block inside: it is being put together, which can take several turns of the peer."""
        self._assembled[peer.id] = index
        try:
            yield
        finally:
            self._assembled.pop(peer.id, None)

    def _find_next(self, peer: Peer, count: int) -> tuple[list[int], int]:
        """Up to ``count`` blocks to ask for, and the peer that keeps the window from moving (``NONE``: nobody)."""
        ctx = self._ctx
        tree, blocks, best = ctx.tree, peer.blocks, peer.headers.best_known
        if best < 0:
            return [], NONE
        work = tree.chainwork(best)
        if work < ctx.tip_work() or work < ctx.chain.minimum_chain_work:
            return [], NONE
        fork = tree.find_fork(best, ctx.active.tip)
        common = blocks.last_common
        if common < 0 or tree.chainwork(fork) > tree.chainwork(common) or not tree.is_ancestor(common, best):
            common = blocks.last_common = fork
        if common == best or tree.is_failed(best):
            return [], NONE
        window_end = tree.height(common) + (BLOCK_DOWNLOAD_WINDOW if self._proofs is None else PROOFS_AHEAD)
        path = self._path(best, tree.height(common) + 1, min(tree.height(best), window_end + 1))
        return self._scan(peer, path, window_end, count)

    def _path(self, best: int, first: int, last: int) -> Sequence[int]:
        """The headers at heights ``first`` to ``last`` on the way to ``best``."""
        tree, chain = self._ctx.tree, self._best_chain
        if chain.tip != tree.best_header:
            chain.set_tip(tree.best_header)
        if chain.contains(best):
            return chain.span(first, last)
        index = tree.ancestor(best, last)
        path = []
        for _ in range(last - first + 1):
            path.append(index)
            index = tree.prev(index)
        path.reverse()
        return path

    def _scan(self, peer: Peer, path: Sequence[int], window_end: int, count: int) -> tuple[list[int], int]:
        """Walk the window: move the last common block, collect what is missing, notice who holds it up."""
        ctx = self._ctx
        tree, blocks, active = ctx.tree, peer.blocks, ctx.active
        requests, validating = self.requests, self._validating_blocks
        assembled = self._assembled.values()
        missing, owed = blocks.missing, blocks.late
        fastest = self.strategy.fastest(but=peer.id)
        if not self.strategy.has_other(peer.id):
            owed = {}
        left_to_faster: bool | None = None
        segwit = ctx.params.segwit_height if not peer.serves_witnesses else 1 << 62
        best_height = tree.height(peer.headers.best_known)
        ours_from = active.height + self.strategy.lead(peer.id, fastest)
        if not self.strategy.is_tried(peer.id):  # there shall be something to prove itself with
            ours_from = min(ours_from, best_height - MAX_BLOCKS_IN_TRANSIT_PER_PEER + 1)
        first_served = best_height - (NODE_NETWORK_LIMITED_MIN_BLOCKS - PEER_BLOCK_SLACK) if peer.is_limited else -1
        waiting_for = NONE
        wanted: list[int] = []
        height = tree.height(path[0]) - 1
        for index in path:
            height += 1
            if tree.has_data(index) or active.contains(index):
                if tree.is_linked(index):
                    blocks.last_common = index
                continue
            if tree.is_failed(index) or height >= segwit:
                break
            if not self.is_ready(index):
                continue
            if index in requests:
                if waiting_for == NONE:
                    waiting_for = requests.peer_of(index)
                continue
            if index in validating or index in assembled:
                continue
            if height > window_end:
                if not wanted and waiting_for != peer.id and not left_to_faster:
                    return [], waiting_for
                break
            if height <= first_served or index in missing or index in owed:
                continue
            if height < ours_from and left_to_faster is not False:
                if left_to_faster is None:
                    left_to_faster = self._is_left_to(fastest, index)
                if left_to_faster:
                    continue
            wanted.append(index)
            if len(wanted) == count:
                break
        return wanted, NONE

    def _is_left_to(self, fastest: int, index: int) -> bool:
        """Whether the lowest free block is better asked of the fastest peer; not when that does not happen soon."""
        head, since = self._free_head
        if head != index:
            self._free_head = index, self._ctx.steady
        elif self._ctx.steady - since > FETCH_HEAD_UNASKED:
            return False
        other = self._ctx.peers.get(fastest)
        return other is not None and self.requests.can_serve(other, index)

    def direct_fetch(self, peer: Peer, last: int) -> None:
        """Near today: ask at once for the blocks up to a header that the peer has just announced."""
        ctx, tree, active = self._ctx, self._ctx.tree, self._ctx.active
        if not ctx.can_direct_fetch() or tree.is_failed(last) or tree.chainwork(last) < ctx.tip_work():
            return
        if not peer.role.gives_blocks or not self.has_room():  # whatever its services say: it has it
            return
        wanted: list[int] = []
        index = last
        while not active.contains(index) and len(wanted) <= MAX_BLOCKS_IN_TRANSIT_PER_PEER:
            free = index not in self.requests and index not in self._validating_blocks
            free = free and index not in self._assembled.values() and self.is_ready(index)
            served = peer.serves_witnesses or tree.height(index) < ctx.params.segwit_height
            if free and served and not tree.has_data(index) and (peer.no_ban or index not in peer.blocks.missing):
                wanted.append(index)
            index = tree.prev(index)
        if not active.contains(index):
            ctx.log_peer(peer, LogLevel.DEBUG, f"large reorganisation, no direct fetch to height {tree.height(last)}")
            return
        wanted.reverse()
        if len(wanted) == 1 and not self.requests and self._fetch_new(peer, last):
            return
        self.requests.ask(peer, wanted[: MAX_BLOCKS_IN_TRANSIT_PER_PEER - len(peer.blocks.in_flight)])

    # -- pace ----------------------------------------------------------------------------------------------------

    def _check_pace(self, peer: Peer) -> None:
        """Give up on a peer that holds the window up or takes too long; near the tip, ask others as well."""
        ctx, blocks = self._ctx, peer.blocks
        if peer.pauses:  # we do not read from it: its pace is not its own
            blocks.stalling_since = None
            blocks.downloading_since, blocks.reading_since = ctx.mockable, ctx.steady
            return
        if self.stalling.drop_overdue(peer) or not blocks.in_flight:
            return
        spacings = BLOCK_DOWNLOAD_TIMEOUT_BASE + BLOCK_DOWNLOAD_TIMEOUT_PER_PEER * (self.requests.downloading_peers - 1)
        if ctx.mockable > blocks.downloading_since + ctx.params.pow_target_spacing * spacings:
            first = next(iter(blocks.in_flight))
            ctx.disconnect(peer, f"Timeout downloading block {to_display(ctx.tree.hash(first))}")
            return
        if not self._clock_jumped and not ctx.clock_held and self.has_room():
            self._late.move(peer)

    # -- answers -------------------------------------------------------------------------------------------------

    def on_not_found(self, peer: Peer, message: NotFound) -> None:
        """The peer has not what it was asked for: others are asked."""
        for kind, item_hash in message.pairs(len(message)):
            if kind & ~MSG_WITNESS_FLAG != MSG_BLOCK:
                continue
            index = self._ctx.tree.find(item_hash)
            if index >= 0 and self.requests.release(peer, index):
                peer.blocks.stalling_since = None
                self.strategy.on_failure(peer.id, Failure.NOT_FOUND, 1, self._ctx.steady)
                remember(peer.blocks.missing, index, self._ctx.steady, MAX_MISSING_PER_PEER)

    def on_block(self, peer: Peer, raw: bytes) -> None:
        """Hand a block whose header is known over for validation, if it was asked for or promises more than the tip."""
        ctx, tree = self._ctx, self._ctx.tree
        block_hash = header_hash(raw[:HEADER_SIZE])
        index = tree.find(block_hash)
        requested = index in self.requests
        asked, late = peer.blocks.in_flight.get(index), peer.blocks.late.pop(index, None)
        if asked is not None:
            self.requests.release(peer, index)
        elif late is not None:
            asked = late
        if asked is not None:
            requested = True
            ctx.excuse(peer)
            peer.blocks.stalling_since = None
            self.strategy.on_arrival(peer.id, asked, len(raw), ctx.steady, late=late is not None)
        here = self._is_here(index) or (peer.id, index) in self._validating
        wanted = requested or self._wants_unrequested(index)
        if (here or tree.is_failed(index) or not wanted) and is_mutated(ctx, peer, raw, tree.height(index)):
            return
        if here:
            return
        if tree.is_failed(index):
            ctx.punish(peer, Offence.BLOCK_CACHED_INVALID, to_display(block_hash))
            return
        if not self.is_ready(index):
            self.raise_best_known(peer, index)  # the proof first
            ctx.log_peer(peer, LogLevel.DEBUG, f"block {to_display(block_hash)} dropped, its proof is not here")
            return
        if not wanted:
            self.raise_best_known(peer, index)  # should the form in validation be a broken one, this peer is asked
            ctx.log_peer(peer, LogLevel.DEBUG, f"unrequested block {to_display(block_hash)} dropped")
            return
        far = tree.height(index) > ctx.active.height + MIN_BLOCKS_TO_KEEP  # wanted since it follows those that are here
        self._validate(peer, index, raw, requested or far)
        if not requested:
            self._unasked.note(peer, tree.height(index))

    def _follows(self, index: int) -> bool:
        """Whether all blocks before this one are here: then it is not too far above the tip, wherever the tip is."""
        prev = self._ctx.tree.prev(index)
        return self._ctx.tree.is_linked(prev) or prev in self._validating_blocks

    def _wants_unrequested(self, index: int) -> bool:
        """Whether a block that nobody asked for is worth validating (Core's AcceptBlock), once at a time."""
        ctx, tree = self._ctx, self._ctx.tree
        if index in self._validating_blocks or not self.has_room():
            return False
        work = tree.chainwork(index)
        return (
            work >= ctx.tip_work()
            and work >= ctx.chain.minimum_chain_work
            and (tree.height(index) <= ctx.active.height + MIN_BLOCKS_TO_KEEP or self._follows(index))
        )

    # -- validation ----------------------------------------------------------------------------------------------

    def deliver(
        self,
        peer: Peer,
        index: int,
        raw: bytes,
        form: str,
        missed: int,
        known: tuple[JudgedTx | None, ...] = (),
    ) -> None:
        """A block put together of a short form is to be validated; ``missed``: transactions that were asked for.

        ``known``: those that were in the mempool, by place, if most were.
        """
        asked = peer.blocks.in_flight.get(index)
        if asked is not None:
            self.requests.release(peer, index)
            peer.blocks.stalling_since = None
            self.strategy.on_arrival(peer.id, asked, len(raw), self._ctx.steady)
        if not self._ctx.tree.has_data(index) and index not in self._validating_blocks:
            self._validate(peer, index, raw, True, form, missed, known)

    def _validate(
        self,
        peer: Peer,
        index: int,
        raw: bytes,
        requested: bool,
        form: str = FULL,
        missed: int = 0,
        known: tuple[JudgedTx | None, ...] = (),
    ) -> None:
        self._validating[peer.id, index] = len(raw)
        self._validating_blocks[index] = self._validating_blocks.get(index, 0) + 1
        self.validating_bytes += len(raw)
        self._sources.setdefault(index, (peer.id, form != FULL))
        if len(self._sources) > MAX_BLOCK_SOURCES:
            del self._sources[next(iter(self._sources))]
        peer.unjudged.add_block(index)
        if not self._ctx.is_initial_block_download():
            self._ctx.delays.block_came(index, self._ctx.steady)
            self._ctx.chronicle.came(index, peer, self._ctx.steady, len(raw), form, missed)
        self._ctx.emit(ProcessBlock(peer.id, index, raw, requested, _standing(peer, asked=requested), known))
        if self.validating_bytes > self._validation_limit or len(self._validating) >= MAX_BLOCKS_IN_VALIDATION:
            self._ctx.pause(peer, PAUSE_VALIDATION)

    def _resume_reading(self) -> None:
        few = len(self._validating) <= MAX_BLOCKS_IN_VALIDATION // 2
        if few and self.validating_bytes <= self._validation_limit // 2:
            for paused in self._ctx.peers.values():
                self._ctx.resume(paused, PAUSE_VALIDATION)

    def on_limit(self, event: ValidationLimit) -> None:
        """The memory that blocks in validation may take has changed; one block is always admitted."""
        self._validation_limit = min(max(event.limit, 1), MAX_VALIDATION_BYTES)
        self._resume_reading()

    def on_processed(self, result: BlockProcessed) -> None:
        """A block left validation: make room, and punish who sent a broken one."""
        ctx, index = self._ctx, result.index
        if (result.peer_id, index) not in self._validating:
            return
        self.validating_bytes -= self._validating.pop((result.peer_id, index))
        left = self._validating_blocks.get(index, 0) - 1
        if left > 0:
            self._validating_blocks[index] = left
        else:
            self._validating_blocks.pop(index, None)
        self._resume_reading()
        peer = ctx.peers.get(result.peer_id)
        if peer is not None and (result.violation is not None or self._is_far_ahead(index)):
            peer.unjudged.end_block(index)
        if result.violation is None:
            if peer is not None and result.new:
                peer.last_block_unix = int(ctx.unix)
            self._cancel_compact(index)
            return
        compact = self._sources.get(index) == (result.peer_id, True)
        if self._sources.get(index, (-1, False))[0] == result.peer_id:
            del self._sources[index]
        if peer is not None and compact and result.violation.fault is Fault.MUTATED:
            self._collided(peer, index)
        elif peer is not None:
            # unless its header is condemned the block is still wanted, but not from this peer
            remember(peer.blocks.missing, index, self._ctx.steady, MAX_MISSING_PER_PEER)
            self._note_invalid(peer, compact)
            blame_for_block(ctx, peer, ctx.tree.hash(index), result.violation, compact=compact)

    def _is_far_ahead(self, index: int) -> bool:
        """Whether a block of initial download has to wait for others, so that nobody shall wait for it."""
        ctx = self._ctx
        ahead = ctx.tree.height(index) - ctx.active.height
        if ctx.chain.folded is not None:  # none is connected
            return True
        far = ahead > MAX_BLOCKS_IN_TRANSIT_PER_PEER and not ctx.tree.is_linked(index)
        return far and ctx.is_initial_block_download()

    def on_settled(self) -> None:
        """What could be connected is connected."""
        for peer in self._ctx.peers.values():
            for index in peer.unjudged.blocks():
                if (peer.id, index) not in self._validating:
                    peer.unjudged.end_block(index)
        if not self._validating:
            self._unasked.resume_all()

    def _cancel_compact(self, index: int) -> None:
        """The block is here: what comes of it in parts is not needed."""
        for peer_id in self.requests.asked_of(index):
            peer = self._ctx.peers[peer_id]
            if index in peer.blocks.partial:
                self.requests.cancel(peer, index)

    def _collided(self, peer: Peer, index: int) -> None:
        """What was put together is not the block: perhaps short ids collided. Ask for the whole, if nobody else was."""
        self._ctx.log_peer(peer, LogLevel.DEBUG, "a compact block was put together wrongly", "cmpctblock")
        if index not in self.requests and peer.role.gives_blocks:
            self.requests.register(peer, index)
            peer.blocks.partial[index] = None
            self.requests.ask_in_full(peer, index)

    def on_rejected(self, result: BlockRejected) -> None:
        """A stored block could not be connected: whoever delivered it is to blame."""
        source, compact = self._sources.pop(result.index, (-1, False))
        peer = self._ctx.peers.get(source)
        if peer is None:
            text = f"block {to_display(self._ctx.tree.hash(result.index))} is invalid: {result.violation}"
            self._ctx.log(LogLevel.WARNING, "validation", text)
        else:
            self._note_invalid(peer, compact)
            blame_for_block(self._ctx, peer, self._ctx.tree.hash(result.index), result.violation, compact=compact)

    def _note_invalid(self, peer: Peer, compact: bool) -> None:
        """Ask the peer for less, unless it passed on what it had not judged yet, or may send what it likes.

        Its other blocks lose their place among those that wait to be judged.
        """
        if not compact:
            peer.blocks.broken = True
            if waiting := tuple(index for index, (source, _) in self._sources.items() if source == peer.id):
                self._ctx.emit(DistrustBlocks(waiting))
        if not compact and not peer.no_ban:
            self.strategy.on_failure(peer.id, Failure.INVALID, 1, self._ctx.steady)

    def on_tip(self, change: TipChanged) -> list[int]:
        """Blocks were connected: their sources, which are returned, are in the clear; patience shrinks to normal."""
        self.strategy.on_connected(len(change.connected), self._ctx.steady)
        self._late.note_distance()
        self._unasked.resume_near_tip()
        sources = []
        initial = self._ctx.is_initial_block_download()
        for index in change.connected:
            source, _ = self._sources.pop(index, (-1, False))
            if (peer := self._ctx.peers.get(source)) is not None:
                peer.blocks.proven = True
                if initial:
                    peer.unjudged.end_block(index)  # there may be no end to wait for
            if source >= 0:
                sources.append(source)
            self.stalling.on_connected()
        return sources


def _standing(peer: Peer, *, asked: bool) -> Standing:
    """What a peer has earned; one that brings proven and broken blocks has earned nothing."""
    if peer.blocks.broken:
        return Standing.BAD
    if peer.blocks.proven or not peer.inbound or peer.no_ban:
        return Standing.PROVEN
    return Standing.ASKED if asked else Standing.UNASKED
