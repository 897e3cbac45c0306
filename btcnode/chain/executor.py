"""Executing the chainstate's steps: everything that touches coins, block files and the database.

It runs in one thread at a time. Of the header tree it reads ancestors only, which never change.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast
from zlib import crc32

from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.flusher import Flusher, FlushReport
from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.pending_looks import run_slice
from btcnode.chain.script_checks import (
    BlockScripts,
    FinishedCheck,
    InlineChecker,
    ScriptCheck,
    ScriptChecker,
    ShadowValidator,
    Verdict,
)
from btcnode.chain.second_look import SecondLook
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
from btcnode.chain.store import ChainStore, HistoryStore
from btcnode.chain.stored_block import read_parsed
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import (
    BlockDelta,
    CoinSource,
    ConnectContext,
    ConnectSource,
    connect_block,
    connect_context,
    disconnect_block,
    script_violation,
)
from btcnode.consensus.known_txs import KnownBlock, assemble, connect_known, passes_alone, passes_in_context
from btcnode.errors import (
    CorruptionError,
    DecodeError,
    DisconnectError,
    Fault,
    ProofError,
    RuleViolation,
    StorageError,
)
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.assembled_block import AssembledBlock
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import to_display
from btcnode.script.caches import ScriptExecutionCache
from btcnode.storage.blockfiles import BlockPos
from btcnode.storage.undo import decode_undo, encode_undo
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.chain.proven_coins import ProvenCoins

# Connected ahead of the script checks. A block of 1 MB with 5,000 inputs holds 1 MB, 0.6 MB of columns, 0.6 MB of undo
# data and about 2 MB of coins of its own: 8 MiB of blocks come to 35 MB at most, beside one block above the limit.
MAX_AHEAD_BYTES = 8 << 20
MAX_AHEAD_BLOCKS = 32
RECENT_BLOCKS_BYTES = 64 << 20  # parsed blocks kept between storing and connecting; columns double their size

log = logging.getLogger("btcnode.chain")


class RecentBlocks:
    """Blocks that were checked a moment ago, by header index, oldest out first beyond a budget of bytes."""

    def __init__(self, budget: int = RECENT_BLOCKS_BYTES) -> None:
        self._blocks: OrderedDict[int, ParsedBlock] = OrderedDict()
        self._bytes = 0
        self._budget = budget

    def add(self, index: int, block: ParsedBlock) -> None:
        """Remember a block."""
        if index in self._blocks:
            return
        self._blocks[index] = block
        self._bytes += block.size
        while self._bytes > self._budget and len(self._blocks) > 1:
            self._bytes -= self._blocks.popitem(last=False)[1].size

    def pop(self, index: int) -> ParsedBlock | None:
        """Take a block out, if it is here."""
        block = self._blocks.pop(index, None)
        if block is not None:
            self._bytes -= block.size
        return block


class _Ahead(NamedTuple):
    """A block that is connected, or about to be, whose scripts are being verified."""

    step: ConnectStep
    block: ParsedBlock
    delta: BlockDelta
    undo: bytes  # encoded; empty when it is on disk already
    flags: int
    check: ScriptCheck


class StepExecutor:
    """Executes steps; ``tip`` is the header index up to which ``coins`` have been brought.

    While other processes verify the scripts of a block, the next ones are connected on top of it: ``ahead`` of the
    verdict. They are undone if it is bad, and nothing of them is written to disk before it is good.
    """

    def __init__(
        self,
        params: NetworkParams,
        store: ChainStore | HistoryStore,
        tree: HeaderTree,
        coins: CoinsCache,
        *,
        checker: ScriptChecker | None = None,
        script_cache: ScriptExecutionCache | None = None,
        shadow: ShadowValidator | None = None,
        recent_bytes: int = RECENT_BLOCKS_BYTES,
        settles: bool = False,
    ) -> None:
        """``settles``: a block's coins are worked into the others at once, so that a flush does not come later."""
        self._params = params
        self._store = store
        self._tree = tree
        self._coins = coins
        self._proven = cast("ProvenCoins", coins) if coins.are_proven else None
        self.flusher = Flusher(store, coins)
        self.recent = RecentBlocks(recent_bytes)
        self._known: KnownBlock | None = None  # the last block, if it is of known transactions and not connected
        self._most_ahead = min(MAX_AHEAD_BYTES, recent_bytes // 2)
        self._checker = checker or InlineChecker()
        self._script_cache = script_cache
        self._ahead: deque[_Ahead] = deque()
        self._ahead_bytes = 0
        self.shadow = shadow
        self._settles = settles
        self.tip = -1

    def execute(self, step: Step) -> StepResult:
        """Do one step; a broken rule comes back in the result, StorageError is raised."""
        if isinstance(step, ConnectStep):
            return self._connect(step)
        if isinstance(step, StoreStep):
            return self._store_block(step)
        if isinstance(step, DisconnectStep):
            return self._disconnect(step)
        if isinstance(step, FinishStep):
            return self._finish(step)
        if isinstance(step, RetreatStep):
            return self._retreat()
        if isinstance(step, EndFlushStep):
            return _flush_result(self.flusher.finish())
        if isinstance(step, SecondLookStep):
            return StepResult(slice=run_slice(step.slices))
        return self._flush(step)

    def _store_block(self, step: StoreStep) -> StepResult:
        if self._known is not None:  # it was not connected
            self._known.block.let_go()
            self._known = None
        if step.checked_txs:
            place = self._store.files.append_block(step.raw, self._tree.height(step.index))
            return StepResult(position=place, crc=crc32(step.raw), txs=step.checked_txs)
        block = step.parsed or self._assembled(step)
        try:
            if block is None:
                block = parse_block(step.raw, exact=False)
                check_block(block, self._params)
        except DecodeError as error:
            # the header is known and good, these bytes are not its block
            return StepResult(RuleViolation("block-decode-failed", str(error), Fault.MUTATED), condemns=False)
        except RuleViolation as violation:
            # as in Core: there may be forms of a block that break these rules and that nobody has thought of yet
            return StepResult(violation, condemns=False)
        if not isinstance(block, AssembledBlock):  # in context that has passed already
            try:
                contextual_check_block(block, self._tree, step.prev, self._params)
            except RuleViolation as violation:
                return StepResult(violation)
        if step.checked is not None:
            step.checked(block)
        files, height = self._store.files, self._tree.height(step.index)
        if step.position is None:
            position = files.append_block(block.raw, height)
        else:
            position = step.position
            files.note_block(position, block.raw, height)
        self.recent.add(step.index, block)
        return StepResult(position=position, crc=crc32(block.raw), txs=block.n_tx, block=block)

    def _assembled(self, step: StoreStep) -> AssembledBlock | None:
        """The block put together of transactions that are known; None when that does not prove it right."""
        it = assemble(step.raw, step.known) if step.known else None
        if it is None or not passes_alone(it, self._params):
            return None
        if not passes_in_context(it, self._tree, step.prev, self._params):
            return None
        self._known = it
        return it.block

    def _load(self, index: int, position: BlockPos) -> ParsedBlock:
        """The block of a step, from memory or from disk; what comes from disk is checked once more."""
        block = self.recent.pop(index)
        if block is not None:
            return block
        block = read_parsed(self._store.files, position, self._tree, index)
        try:
            check_block(block, self._params)
        except RuleViolation as error:
            path, name = self._store.files.block_path(position.file), to_display(self._tree.hash(index))
            raise CorruptionError(f"block {name} in {path} is damaged ({error}): start with --reindex") from None
        return block

    # -- connecting ----------------------------------------------------------------------------------------------

    @property
    def must_finish(self) -> bool:
        """Whether the oldest block ahead should be finished before another one is connected."""
        ahead = self._ahead
        if not ahead:
            return False
        return ahead[0].check.done or len(ahead) >= MAX_AHEAD_BLOCKS or self._ahead_bytes >= self._most_ahead

    def _connect(self, step: ConnectStep) -> StepResult:
        if step.prev != self.tip:
            raise CorruptionError("the coins are not at the parent of the block to connect")
        block = self._load(step.index, step.position)
        # what such a block overwrites could not be brought back: all scripts come first
        overwrites = (step.height, block.hash) in self._params.bip30_exceptions
        if overwrites and self._ahead:
            return self._postpone(step, block)
        context = connect_context(self._tree, step.prev, block.hash, self._params, with_jobs=False)
        try:
            delta = self._connect_known(step, block, context)
            if delta is None:
                delta = connect_block(block, step.height, self._source(step, block), context)
        except ProofError as error:
            return self._postpone(step, block) if self._ahead else StepResult(unproven=error)
        except RuleViolation as violation:
            if self._ahead:  # what it stands on may be invalid itself: judge it when that is known
                return self._postpone(step, block)
            return StepResult(violation, second_look=self._second_look(step, block))
        scripts = BlockScripts(block, delta.undo, context.flags, self._script_cache)
        check = self._start_check(step, scripts, wait=overwrites)
        undo = encode_undo(delta.undo) if step.undo_position is None else b""
        entry = _Ahead(step, block, delta, undo, context.flags, check)
        if not self._ahead and check.done:
            return self._accept(entry)
        self._apply(step, delta)
        self._ahead.append(entry)
        self._ahead_bytes += block.size
        return StepResult(ahead=True)

    def _connect_known(self, step: ConnectStep, block: ParsedBlock, context: ConnectContext) -> BlockDelta | None:
        """What the block does, by what is known of its transactions; None when that does not prove it right."""
        it = self._known
        if it is None or it.block is not block:
            return None
        self._known = None
        delta = None if self._proven is not None else connect_known(it, step.height, self._coins, context)
        it.block.let_go()
        return delta

    def _source(self, step: ConnectStep, block: ParsedBlock) -> ConnectSource:
        """The coins that the block is connected to; raises ProofError where they come with it and are not proven."""
        tree, prev = self._tree, step.prev
        if self._proven is None:
            return self._coins
        return self._proven.begin(block, step.height, lambda height: tree.hash(tree.ancestor(prev, height)))

    def _second_look(self, step: ConnectStep, block: ParsedBlock) -> SecondLook | None:
        """The look at the coins that a bad block spends; None where they were proven.

        Raises CorruptionError when two readings differ.
        """
        if self._proven is not None:
            return None
        own = set(block.txids)
        outpoints = [outpoint for outpoint in block.prevouts()[1:] if outpoint[:32] not in own]
        judged_by = self._coins.get_many(outpoints)
        coins = self._coins.read_anew(outpoints)
        for outpoint, before, now in zip(outpoints, judged_by, coins, strict=True):
            if before != now:
                number = int.from_bytes(outpoint[32:], "little")
                name = f"coin {to_display(outpoint[:32])}:{number}"
                raise self._store.coins_damaged(f"{name} was another one when it was read before")
        return SecondLook(self._store, self._tree, step.prev, dict(zip(outpoints, coins, strict=True)))

    def _postpone(self, step: ConnectStep, block: ParsedBlock) -> StepResult:
        self.recent.add(step.index, block)
        return StepResult(postponed=True)

    def _start_check(self, step: ConnectStep, scripts: BlockScripts, *, wait: bool) -> ScriptCheck:
        if not step.verify_scripts:
            return FinishedCheck(None)
        check = None if wait else self._checker.start(scripts)
        return FinishedCheck(scripts.verify_all()) if check is None else check

    def _accept(self, entry: _Ahead) -> StepResult:
        """Wait for the verdict on a block; if it is good write the undo data, and apply it unless it was ahead."""
        step, block = entry.step, entry.block
        verdict = entry.check.finish()
        self._compare(entry, verdict)
        if verdict is not None:
            first, last = block.first_in[verdict.job + 1], block.first_in[verdict.job + 2]
            spent = [block.raw[at : at + 36] for at in block.in_pos[first:last]]
            coins = dict(zip(spent, entry.delta.undo[verdict.job], strict=True))
            look = None
            if self._proven is None:
                look = SecondLook(self._store, self._tree, step.prev, _from_outside(block, coins))
            job = BlockScripts(block, entry.delta.undo, entry.flags).jobs(verdict.job, verdict.job + 1)[0]
            return StepResult(script_violation(job, verdict.failure), second_look=look)
        undo_position = step.undo_position
        if undo_position is None:
            undo_position = self._store.files.append_undo(step.position.file, entry.undo, block.prev_hash)
        if step.prev == self.tip:
            self._apply(step, entry.delta)
        return StepResult(
            undo_position=undo_position,
            txs=block.n_tx,
            inputs=sum(map(len, entry.delta.undo)),
            fees=entry.delta.fees,
            block=block,
        )

    def _apply(self, step: ConnectStep, delta: BlockDelta) -> None:
        self._coins.apply(delta)
        if self._settles:
            self._coins.settle_block()
        self.tip = step.index

    def _compare(self, entry: _Ahead, verdict: Verdict | None) -> None:
        """Let the second engine judge the same scripts; it raises when it disagrees."""
        step = entry.step
        if self.shadow is None or not step.verify_scripts or not self.shadow.selects(step.height):
            return
        scripts = BlockScripts(entry.block, entry.delta.undo, entry.flags)
        self.shadow.check_block(step.height, entry.block.hash, scripts.jobs(0, len(scripts)), verdict)

    def _finish(self, step: FinishStep) -> StepResult:
        entry = self._ahead[0]
        if entry.step.index != step.index:
            raise CorruptionError("the steps ahead are not those that were planned")
        result = self._accept(entry)
        if result.violation is not None:
            self._retreat()
            return result
        self._ahead.popleft()
        self._ahead_bytes -= entry.block.size
        return result

    def _retreat(self) -> StepResult:
        """Take back every block ahead, newest first."""
        while self._ahead:
            entry = self._ahead.pop()
            entry.check.cancel()
            self._coins.apply_disconnect(entry.delta.spent, entry.delta.created)
            self.tip = entry.step.prev
            self.recent.add(entry.step.index, entry.block)
        self._ahead_bytes = 0
        return StepResult()

    def _disconnect(self, step: DisconnectStep) -> StepResult:
        if step.index != self.tip:
            raise CorruptionError("the coins are not at the block to disconnect")
        try:
            block = self._load(step.index, step.position)
            undo = decode_undo(self._store.files.read_undo(step.undo_position, block.prev_hash))
            restored, removed, clean = disconnect_block(block, step.height, undo, self._left_by(block, step.height))
            if not clean:
                raise CorruptionError(f"undo data of block {to_display(block.hash)} does not fit the coins")
        except StorageError as error:
            log.error("block at height %d: %s", step.height, error)
            raise DisconnectError("Failed to disconnect block.") from error
        self._coins.apply_disconnect(restored, removed)
        self.tip = step.prev
        return StepResult(txs=block.n_tx, block=block)

    def _left_by(self, block: ParsedBlock, height: int) -> CoinSource:
        """The coins behind a block that is to be disconnected."""
        if self._proven is None:
            return self._coins
        from btcnode.chain.proven_coins import OwnOutputs

        return OwnOutputs(block, height)

    def _flush(self, step: FlushStep) -> StepResult:
        if not step.with_coins:
            self.flusher.write_records(step.records)
            return StepResult()
        if step.beside:
            self.flusher.begin(step.records, step.tip_hash)
            return StepResult()
        self._store.files.forget(step.prune)
        result = _flush_result(self.flusher.write(step.records, step.tip_hash))
        if step.prune:
            self._store.files.remove(step.prune)
        return result


def _from_outside(block: ParsedBlock, coins: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Those coins that the block has not made itself."""
    own = set(block.txids)
    return {outpoint: coin for outpoint, coin in coins.items() if outpoint[:32] not in own}


def _flush_result(report: FlushReport) -> StepResult:
    return StepResult(coins_put=report.coins_put, coins_deleted=report.coins_deleted)
