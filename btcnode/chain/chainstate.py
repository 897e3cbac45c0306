"""The chainstate: which chain is active, and the coins at its tip.

One object owns both, and three calls split its work between two threads so that no state has two writers:

- ``plan_*`` (loop thread) reads the header tree and says what is to be done next, as a step;
- ``execute`` (chain thread) does it on coins, block files and database, touching no tree;
- ``commit`` (loop thread) records the outcome in the tree and the active chain, and returns events.

At most one step may be between plan and commit, and any number of store steps beside it. Blocks may be connected ahead
of their script checks; they enter the active chain, and events tell of them, when a finish step has found them valid.
Tests and tools call ``process_block`` and ``activate_best_chain``, which do all three in the calling thread.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.assumed import assume, forget_assumed
from btcnode.chain.assumevalid import AssumeValid
from btcnode.chain.block_status import FAILED_VALID, HAVE_DATA, HAVE_UNDO, VALID_MASK, VALID_SCRIPTS
from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.events import (
    BlockConnected,
    BlockDisconnected,
    BlockRejected,
    BlockStored,
    BlockUnproven,
    ChainEvent,
    Flushed,
)
from btcnode.chain.executor import RECENT_BLOCKS_BYTES, StepExecutor
from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.pending_looks import PendingLooks
from btcnode.chain.read_view import ReadView
from btcnode.chain.script_checks import ScriptChecker, ShadowValidator
from btcnode.chain.snapshot_store import SnapshotStore
from btcnode.chain.standing import Standings
from btcnode.chain.steps import (
    ConnectStep,
    DisconnectStep,
    EndFlushStep,
    FinishStep,
    FlushStep,
    RetreatStep,
    SecondLookStep,
    Step,
    StepResult,
    StoreStep,
)
from btcnode.chain.store import ChainStore
from btcnode.chain.stored_block import read_stored
from btcnode.consensus.blocks import check_block
from btcnode.errors import CorruptionError, Fault, RebuildError, RuleViolation, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.script.caches import ScriptExecutionCache
from btcnode.storage.blockfiles import BlockPos
from btcnode.storage.layout import META_COMPACT, ROOTS_KEPT

if TYPE_CHECKING:
    from btcnode.chain.proven_coins import ProofSource, ProvenCoins

MIN_BLOCKS_AHEAD = 288  # unrequested blocks further above the tip are not stored (Core's MIN_BLOCKS_TO_KEEP)
MAX_FLUSH_AGE = 600.0  # seconds of work that a kill may cost
CONNECTED_TOGETHER = 32  # blocks that Core sets out to connect at once: its log names the last of them
RETURNING_BLOCKS = 10  # of an invalidation, the last of the chain: only their transactions come back (Core)
HEADERS_PER_FLUSH = 10_000  # new headers are written in portions: 10,000 records of 136 bytes and their objects, 3 MB

log = logging.getLogger("btcnode.chain")


class Chainstate:
    """Active chain and coins over one data directory; see the module's text for who may call what."""

    def __init__(
        self,
        params: NetworkParams,
        store: ChainStore,
        tree: HeaderTree,
        *,
        dbcache: int,
        assume_valid: AssumeValid | None = None,
        clock: Callable[[], float] = time.monotonic,
        checker: ScriptChecker | None = None,
        shadow: ShadowValidator | None = None,
        recent_bytes: int = RECENT_BLOCKS_BYTES,
        proofs: ProofSource | None = None,
    ) -> None:
        self.params = params
        self.store = store
        self.tree = tree
        self.active = ActiveChain(tree)
        self.proven: ProvenCoins | None = None
        if proofs is not None:
            from btcnode.chain.proven_coins import ProvenCoins  # with all that Utreexo is

            self.proven = ProvenCoins(store.database, proofs)
        self.coins = CoinsCache(store, dbcache) if self.proven is None else self.proven
        self.read_view = ReadView(self.coins)
        # whoever verifies a transaction before its block comes adds it here
        self.script_cache = ScriptExecutionCache()
        self.executor = StepExecutor(
            params,
            store,
            tree,
            self.coins,
            checker=checker,
            script_cache=self.script_cache,
            shadow=shadow,
            recent_bytes=recent_bytes,
            settles=not store.flushes_freely,
        )
        self.assume_valid = assume_valid or AssumeValid.from_params(params)
        self._clock = clock
        self._flushed_at = clock()
        self._pending: Step | None = None
        self._stored_rows = 0
        self._flushing: FlushStep | None = None  # begun, and not ended
        self._ahead: deque[ConnectStep] = deque()  # connected, scripts not verified yet
        self._verified_because: str | None = ""  # as of the last block planned; "" before the first
        self._hold = False  # the block after those ahead cannot be judged before they are finished
        self.held = False  # blocks are stored only: none is connected for the time being
        self._left_by_hand = 0  # blocks that the last invalidation has disconnected
        self.second_looks = PendingLooks(clock)
        self.standings = Standings()  # of blocks that wait for their judgement
        self._besieged = -1  # the tip on which a bad block was built

    # -- opening -------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        params: NetworkParams,
        store: ChainStore,
        *,
        dbcache: int = 450 << 20,
        assume_valid: AssumeValid | None = None,
        clock: Callable[[], float] = time.monotonic,
        salt: int | None = None,
        checker: ScriptChecker | None = None,
        shadow: ShadowValidator | None = None,
        recent_bytes: int = RECENT_BLOCKS_BYTES,
        proofs: ProofSource | None = None,
    ) -> Chainstate:
        """Load the tree and the tip from ``store``, or begin with the genesis block in an empty one.

        ``checker`` verifies scripts; without one the thread that executes steps does. ``shadow`` verifies them again.
        ``recent_bytes`` of blocks are kept parsed between storing and connecting. With ``proofs`` no coins are kept:
        blocks are connected by what these prove that they spend.

        Raises CorruptionError when the tip marker names a block that the index does not have, RebuildError when the
        directory has coins although none are to be kept, or the reverse.
        """
        tree = HeaderTree(params, columns=store.load_index(lean=proofs is not None), salt=salt)
        state = cls(
            params,
            store,
            tree,
            dbcache=dbcache,
            assume_valid=assume_valid,
            clock=clock,
            checker=checker,
            shadow=shadow,
            recent_bytes=recent_bytes,
            proofs=proofs,
        )
        if store.snapshot is None:
            forget_assumed(tree)
        elif assume(tree, store.snapshot.known) < 0:
            raise CorruptionError("the block of the loaded UTXO set is not in the block index")
        tip_hash = store.tip_hash()
        if tip_hash is None:
            state._begin()
            return state
        tip = tree.find(BlockHash(tip_hash))
        if tip < 0:
            raise CorruptionError(f"the database's tip {to_display(tip_hash)} is not in its block index")
        if (state.proven is None) is (store.database.get_meta(META_COMPACT) is not None):
            has, flag = ("no coins", "with -utreexo-csn") if proofs is None else ("coins", "without -utreexo-csn")
            raise RebuildError(f"The data directory has {has}: start {flag}, or with -reindex to make it anew")
        if state.proven is not None:
            state.proven.open_at(tree.hash(tip), tree.height(tip))
        state._stored_rows = len(tree)
        state.active.set_tip(tip)
        tree.prefer_loaded(state.active.span(0, state.active.height))
        state.executor.tip = tip
        return state

    def _begin(self) -> None:
        """Store the genesis block, whose coinbase is never spendable and so is no coin, and make it the tip."""
        raw = self.params.genesis_block
        position = self.store.files.adopt_first(raw) or self.store.files.append_block(raw)
        self.tree.receive_block(0, 1, position.file, position.pos, crc32(raw))
        self.tree.raise_validity(0, VALID_SCRIPTS)
        self.active.set_tip(0)
        self.executor.tip = 0
        if self.proven is not None:
            self.proven.begin_at_genesis(self.tree.hash(0))
        self.flush()

    @property
    def snapshot_base(self) -> int:
        """Header index of the block whose UTXO set was loaded and is not validated yet, or -1."""
        return self.tree.base

    def adopt_snapshot(self, snapshot: SnapshotStore) -> None:
        """Make a loaded UTXO set the coins and its block the tip; everything must be on disk and nothing under way.

        Raises StorageError, ValueError when the set's block has no header in the tree.
        """
        if self.busy or self._flushing is not None:
            raise RuntimeError("the chain is not at rest")
        base = self.tree.find(snapshot.known.block_hash)
        if base < 0:
            raise ValueError("the block of the UTXO set is not known")
        self.coins.forget_clean_coins()
        snapshot.activate()
        self.store.adopt(snapshot)
        assume(self.tree, snapshot.known)
        self.active.set_tip(base)
        self.executor.tip = base
        self.read_view.drop_changes(oldest_only=False)

    def trust_below_snapshot(self) -> None:
        """What lies below a loaded set is not going to be validated: its blocks count as connected."""
        base, self.tree.base = self.tree.base, -1
        self.tree.link_folded(base)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def tip(self) -> int:
        """Header index of the active tip."""
        return self.active.tip

    @property
    def lacks_undo(self) -> bool:
        """Whether the first blocks of the chain have no undo data: they were deleted, or folded, or lie below a set."""
        return self.active.height > 0 and not self.tree.has_undo(self.active.at(1))

    @property
    def busy(self) -> bool:
        """Whether the coins are on their way from one tip to another."""
        return self._pending is not None or bool(self._ahead)

    def block_position(self, index: int) -> BlockPos | None:
        """Where the bytes of a block lie, or None when they are not here."""
        columns = self.tree.columns
        if not columns.status[index] & HAVE_DATA:
            return None
        return BlockPos(columns.file[index], columns.data_pos[index])

    def undo_position(self, index: int) -> BlockPos | None:
        """Where the undo data of a block lies, or None when it was never connected."""
        columns = self.tree.columns
        if not columns.status[index] & HAVE_UNDO:
            return None
        return BlockPos(columns.file[index], columns.undo_pos[index])

    def read_block(self, index: int) -> bytes:
        """The serialised block of header ``index``.

        Raises KeyError when its bytes are not here, CorruptionError when they are not that block.
        """
        position = self.block_position(index)
        if position is None:
            raise KeyError(index)
        return read_stored(self.store.files, position, self.tree, index)

    # -- storing blocks ------------------------------------------------------------------------------------------

    def plan_store(
        self,
        raw: bytes,
        now: int,
        *,
        requested: bool,
        position: BlockPos | None = None,
        parsed: ParsedBlock | None = None,
    ) -> StoreStep | None:
        """Decide whether a received block is to be checked and stored.

        Its header enters the tree if it was unknown (a block that is broken in itself does not bring its header in).
        None means that there is nothing to do: the bytes are here already, or nobody asked for them and they do not
        promise more work (Core's AcceptBlock). ``parsed`` is the same block if somebody has parsed it already and
        ``check_block`` has passed. Raises DecodeError or RuleViolation when the block is at fault.
        """
        header = raw[:HEADER_SIZE]
        index = self.tree.find(header_hash(header))
        if index < 0:
            if parsed is None:
                parsed = parse_block(raw, exact=False)
                check_block(parsed, self.params)
            index, _ = self.tree.add(header, now)
        elif self.tree.is_failed(index):
            detail = f"block {to_display(self.tree.hash(index))} was previously marked invalid"
            raise RuleViolation("duplicate-invalid", detail, Fault.CACHED_INVALID)
        if self.tree.has_data(index) or (not requested and not self._wants_unrequested(index)):
            return None
        return StoreStep(index, self.tree.prev(index), raw, parsed, position)

    def _wants_unrequested(self, index: int) -> bool:
        tree, tip = self.tree, self.active.tip
        work = tree.chainwork(index)
        return (
            not tree.columns.n_tx[index]  # a block that was here before and was deleted
            and work >= tree.chainwork(tip)
            and tree.height(index) <= tree.height(tip) + MIN_BLOCKS_AHEAD
            and work >= self.assume_valid.minimum_chain_work
        )

    @property
    def besieged(self) -> bool:
        """Whether a bad block was met since the tip is what it is: what waits is chosen by its source's standing."""
        return self._besieged == self.active.tip

    # -- activating ----------------------------------------------------------------------------------------------

    def plan_step(self) -> Step | None:
        """The next step towards the chain with the most work, or a flush that is due; None when there is nothing."""
        if self._pending is not None:
            return None
        self._pending = self._next_step()
        return self._pending

    def plan_drain(self) -> Step | None:
        """The next step that is needed to have no block ahead of its script checks; None when there is none."""
        if self._pending is None and self._ahead:
            self._pending = self._finish_step()
            return self._pending
        return None

    @property
    def has_second_looks(self) -> bool:
        """Whether a second look waits, or a block that found no place for one stands in the way of the best branch."""
        return not self.busy and (not self.second_looks.idle or self.tree.best_suspect(self.active.tip) >= 0)

    def plan_second_look(self) -> Step | None:
        """The next slice of a second look at a condemned block, due or not; None when there is nothing to look at.

        Then blocks that were condemned and found no place for their look may become candidates once more.
        """
        if self.busy:
            return None
        self._pending = self.second_looks.next()
        if self._pending is None and (suspect := self.tree.best_suspect(self.active.tip)) >= 0:
            self.tree.clear_failed(suspect)
        return self._pending

    def plan_retreat(self) -> Step | None:
        """A step that gives up the blocks ahead of their script checks; None when there are none."""
        if self._pending is None and self._ahead:
            self._pending = RetreatStep()
            return self._pending
        return None

    def plan_end_flush(self) -> Step | None:
        """The step that waits for a flush that was begun; None when there is none, or another step is pending."""
        if self._pending is None and self._flushing is not None:
            self._pending = EndFlushStep(self._flushing)
            return self._pending
        return None

    def _finish_step(self) -> FinishStep:
        oldest = self._ahead[0]
        return FinishStep(oldest.index, oldest.height)

    def _best_candidate(self) -> int:
        """The block to move to; among those of equal work the first received, and in siege the one with standing.

        That one counts as the first received from then on, so that the others do not take its place in turn.
        """
        tree, tip = self.tree, self.active.tip
        candidate = tree.best_candidate(tip)
        if candidate != tip and self.besieged:
            of = self.standings.of
            best = max(tree.rivals(candidate), key=of)
            if of(best) > of(candidate):
                tree.prefer(best, tip)
                return tree.best_candidate(tip)
        return candidate

    def _step_ahead(self) -> Step:
        """The next step while there are blocks ahead: one more, or the end of the oldest one's checks."""
        tree, last = self.tree, self._ahead[-1]
        candidate = self._best_candidate()
        if tree.height(candidate) < last.height or tree.ancestor(candidate, last.height) != last.index:
            return RetreatStep()
        if self._hold or candidate == last.index or self.executor.must_finish or self.coins.needs_flush():
            return self._finish_step()
        return self._connect_step(tree.ancestor(candidate, last.height + 1), last.index)

    def _next_step(self) -> Step | None:
        if self._flushing is not None and self.executor.flusher.ready:
            return EndFlushStep(self._flushing)
        if self._ahead:
            return self._step_ahead()
        many_headers = len(self.tree) - self._stored_rows >= HEADERS_PER_FLUSH
        freely = self.store.flushes_freely
        too_old = freely and self.coins.is_dirty() and self._clock() - self._flushed_at > MAX_FLUSH_AGE
        if many_headers or too_old or self.coins.needs_flush():
            if self._flushing is not None:
                return EndFlushStep(self._flushing)
            if many_headers:
                return self._flush_step(HEADERS_PER_FLUSH)
            return self._flush_step(beside=freely)
        if self.held:
            return None
        tree, tip = self.tree, self.active.tip
        if tree.is_failed(tip):
            return self._disconnect_step(tip)
        candidate = self._best_candidate()
        if candidate == tip:
            return None
        fork = tree.find_fork(candidate, tip)
        if fork != tip:
            return self._disconnect_step(tip)
        return self._connect_step(tree.ancestor(candidate, tree.height(tip) + 1), tip)

    def _connect_step(self, index: int, tip: int) -> ConnectStep:
        tree = self.tree
        position = self.block_position(index)
        if position is None:
            raise CorruptionError(f"no data of block {to_display(tree.hash(index))} although the index says so")
        reason = self.assume_valid.objection(tree, index)
        self._tell_verification(index, reason)
        return ConnectStep(index, tip, tree.height(index), position, self.undo_position(index), reason is not None)

    def _tell_verification(self, index: int, reason: str | None) -> None:
        """One line in Core's words when scripts are verified for another reason than before, or no longer."""
        if reason == self._verified_because:
            return
        self._verified_because = reason
        height, name = self.tree.height(index), to_display(self.tree.hash(index))
        if reason is None:
            log.info("Disabling script verification at block #%d (%s).", height, name)
        else:
            log.info("Enabling script verification at block #%d (%s): %s.", height, name, reason)

    def _disconnect_step(self, tip: int) -> DisconnectStep:
        tree = self.tree
        position, undo = self.block_position(tip), self.undo_position(tip)
        if position is None or undo is None:
            raise CorruptionError(f"no undo data of block {to_display(tree.hash(tip))}: it cannot be disconnected")
        return DisconnectStep(tip, tree.prev(tip), tree.height(tip), position, undo)

    def plan_flush(self) -> FlushStep | None:
        """A flush now, whatever its size; None while another step is pending, blocks are ahead, or a flush runs."""
        if self.busy or self._flushing is not None:
            return None
        step = self._flush_step()
        self._pending = step
        return step

    def plan_prune(self, files: Sequence[int]) -> FlushStep | None:
        """A flush after which these block files are deleted; None when ``plan_flush`` gives none.

        Their blocks must lie below what a later start connects again: below the tip, which the flush writes.
        """
        if self.busy or self._flushing is not None:
            return None
        self.tree.forget_data(frozenset(files))
        step = replace(self._flush_step(), prune=tuple(files))
        self._pending = step
        return step

    def _flush_step(self, limit: int | None = None, *, beside: bool = False) -> FlushStep:
        """Everything that is not on disk, or (with ``limit``) the first so many changed headers and no coins."""
        record = self.tree.record
        records = [(index, record(index)) for index in self.tree.take_dirty(limit)]
        if limit is not None:
            return FlushStep(records, b"", with_coins=False)
        return FlushStep(records, self.tree.hash(self.active.tip), beside=beside)

    def execute(self, step: Step) -> StepResult:
        """Do the step (chain thread). Raises StorageError; a broken rule is in the result instead."""
        return self.executor.execute(step)

    def commit(self, step: Step, result: StepResult) -> list[ChainEvent]:
        """Record what came of a step (loop thread)."""
        if isinstance(step, StoreStep):
            return self._commit_store(step, result)
        self._pending = None
        if isinstance(step, FlushStep):
            return self._commit_flush(step, result)
        if isinstance(step, EndFlushStep):
            self._flushing = None
            self.tree.note_stored(row for row, _ in step.flush.records)
            return [Flushed(result.coins_put, result.coins_deleted)]
        if isinstance(step, SecondLookStep):
            seconds, over = result.slice
            self.second_looks.did(seconds, over=over)
            if over:
                self.tree.confirm_failed(step.index)
            return []
        if isinstance(step, DisconnectStep):
            self._set_tip(step.prev)
            by_hand = self.tree.is_failed(step.index)
            self._left_by_hand += by_hand
            returns = not by_hand or self._left_by_hand <= RETURNING_BLOCKS
            return [BlockDisconnected(step.index, step.height, _block_of(result), by_hand, returns)]
        if isinstance(step, RetreatStep):
            self._ahead.clear()
            self._hold = False
            self.read_view.drop_changes(oldest_only=False)
            return []
        if isinstance(step, ConnectStep) and result.unproven is not None:
            self._hold = False
            self.tree.drop_block(step.index)
            return [BlockUnproven(step.index, result.unproven)]
        if isinstance(step, ConnectStep) and (result.ahead or result.postponed):
            self._hold = result.postponed
            if result.ahead:
                self._ahead.append(step)
            return []
        return self._commit_verdict(step, result)

    def _commit_verdict(self, step: ConnectStep | FinishStep, result: StepResult) -> list[ChainEvent]:
        """A block is connected and its scripts are verified, or it broke a rule."""
        tree = self.tree
        if result.violation is not None:
            self._ahead.clear()
            self._hold = False
            self.read_view.drop_changes(oldest_only=False)
            candidate = tree.best_candidate(self.active.tip)
            reach = min(tree.height(candidate), step.height + CONNECTED_TOGETHER - 1)
            top = tree.ancestor(candidate, reach) if tree.is_ancestor(step.index, candidate) else step.index
            if result.second_look is not None:
                self.second_looks.add(step.index, result.second_look)
            return self._reject(step.index, result.violation, top=top, for_good=result.second_look is None)
        if isinstance(step, FinishStep):
            self._ahead.popleft()
            self._hold = self._hold and bool(self._ahead)
        if result.undo_position is not None:
            tree.set_undo(step.index, result.undo_position.pos)
        tree.raise_validity(step.index, VALID_SCRIPTS)
        self.standings.forget(step.index)
        self._set_tip(step.index)
        self.second_looks.note_connected()
        block = _block_of(result)
        return [BlockConnected(step.index, step.height, result.txs, result.inputs, result.fees, block)]

    def _set_tip(self, index: int) -> None:
        """Move the active tip over the oldest change of the coins that it has not followed yet."""
        self.active.set_tip(index)
        self.read_view.drop_changes(oldest_only=bool(self._ahead))

    def _commit_flush(self, step: FlushStep, result: StepResult) -> list[ChainEvent]:
        self._stored_rows = max(self._stored_rows, step.records[-1][0] + 1 if step.records else 0)
        if step.with_coins:
            self._flushed_at = self._clock()
        if step.beside:
            self._flushing = step
            return []
        self.tree.note_stored(row for row, _ in step.records)
        return [Flushed(result.coins_put, result.coins_deleted)]

    def abort(self, step: Step) -> None:
        """Forget a pending step whose execution raised StorageError; changed index records stay due for writing."""
        if step is self._pending:
            self._pending = None
        if isinstance(step, SecondLookStep):  # damage: the block may be as good as any
            self.second_looks.drop()
            self.tree.clear_failed(step.index)
        if isinstance(step, EndFlushStep):
            self._flushing = None
            step = step.flush
        if isinstance(step, FlushStep):
            self.tree.restore_dirty(index for index, _ in step.records)

    def _commit_store(self, step: StoreStep, result: StepResult) -> list[ChainEvent]:
        if result.violation is not None:
            return self._reject(step.index, result.violation, condemns=result.condemns)
        if result.position is None or self.tree.has_data(step.index):
            return []
        if self.store.files.is_pruned(result.position.file):  # the file went while this was on its way
            return []
        file, pos = result.position
        self.tree.receive_block(step.index, result.txs, file, pos, result.crc)
        return [BlockStored(step.index)]

    def _reject(
        self, index: int, violation: RuleViolation, *, top: int = -1, condemns: bool = True, for_good: bool = True
    ) -> list[ChainEvent]:
        self._besieged = self.active.tip
        self.standings.forget(index)
        if condemns and violation.fault is not Fault.MUTATED:
            self._condemn(index, for_good=for_good)
        return [BlockRejected(index, violation, top >= 0, top)]

    def _condemn(self, index: int, *, for_good: bool = True) -> None:
        best = self.tree.best_header
        self.tree.mark_failed(index, for_good=for_good)
        if self.tree.is_failed(best):
            self.tree.prefer_best(self.active.tip)

    # -- manual control ------------------------------------------------------------------------------------------

    def invalidate(self, index: int) -> None:
        """Mark a block and its descendants invalid (invalidateblock); steps then leave them.

        Raises ValueError for the genesis block, StorageError when the chain cannot be taken back below the block: the
        steps would stop the node.
        """
        if index == 0:
            raise ValueError("the genesis block cannot be invalidated")
        self._left_by_hand = 0
        if self.active.contains(index):
            for height in range(self.active.height, self.tree.height(index) - 1, -1):
                deep = self.proven is not None and self.active.height - height >= ROOTS_KEPT
                if deep or not self.tree.has_undo(self.active.at(height)):
                    raise StorageError(f"The chain cannot be taken back below height {height}: its data is not here")
        self._condemn(index)

    def reconsider(self, index: int) -> None:
        """Forget that a block, its ancestors and its descendants were found invalid (reconsiderblock)."""
        self.tree.clear_failed(index)
        self.tree.prefer_best(self.active.tip)

    def forget_verdicts(self) -> None:
        """Judge anew what was found invalid when it was to be connected: damaged coins may have been the reason.

        Blocks that were connected once are invalid because somebody said so, and stay it.
        """
        tree = self.tree
        for index in range(len(tree)):
            status = tree.status(index)
            judged = status & FAILED_VALID and status & VALID_MASK < VALID_SCRIPTS
            if judged and not tree.is_failed(tree.prev(index)):
                tree.clear_failed(index)

    def prefer(self, index: int) -> None:
        """Treat a block as the first received among chains of equal work (preciousblock).

        Does nothing for a block with less work than the tip. One that is invalid, or whose chain of blocks is not
        complete, counts so once that has changed.
        """
        if self.tree.chainwork(index) >= self.tree.chainwork(self.active.tip):
            self.tree.prefer(index, self.active.tip)

    # -- everything in the calling thread ------------------------------------------------------------------------

    def run(self, step: Step) -> list[ChainEvent]:
        """Execute and commit one planned step."""
        try:
            result = self.execute(step)
        except BaseException:
            self.abort(step)
            raise
        return self.commit(step, result)

    def activate_best_chain(self) -> list[ChainEvent]:
        """Run steps until the active chain is the one with the most work, and all that was condemned is looked at."""
        events: list[ChainEvent] = []
        while True:
            step = self.plan_step()
            if step is None and not self.has_second_looks:
                return events
            step = step or self.plan_second_look()
            if step is not None:
                events += self.run(step)

    def process_block(self, raw: bytes, now: int, *, requested: bool = True) -> list[ChainEvent]:
        """Check, store and, if it makes the best chain, connect a block.

        Raises DecodeError or RuleViolation when this block is at fault; that of another block is an event.
        """
        step = self.plan_store(raw, now, requested=requested)
        if step is None:
            return []
        events = self.run(step)
        raise_rejection(events, step.index)
        events += self.activate_best_chain()
        raise_rejection(events, step.index)
        return events

    def flush(self) -> None:
        """Write everything to disk now."""
        while (last := self.plan_drain() or self.plan_end_flush()) is not None:
            self.run(last)
        step = self.plan_flush()
        if step is None:
            raise RuntimeError("flush while a step is pending")
        self.run(step)

    def close(self) -> None:
        """Flush and close database and files."""
        self.flush()
        self.release()

    def release(self) -> None:
        """Close database and files without a flush."""
        self.executor.flusher.close()
        self.store.close()


def _block_of(result: StepResult) -> ParsedBlock:
    if result.block is None:
        raise RuntimeError("a step that moved the tip has no block")
    return result.block


def raise_rejection(events: Sequence[ChainEvent], index: int) -> None:
    """Raise the violation of block ``index`` if ``events`` has one."""
    for event in events:
        if isinstance(event, BlockRejected) and event.index == index:
            raise event.violation
