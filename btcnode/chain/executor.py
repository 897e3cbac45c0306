"""Executing the chainstate's steps: everything that touches coins, block files and the database.

It runs in one thread at a time. Of the header tree it reads ancestors only, which never change.
"""

from __future__ import annotations

from collections import OrderedDict

from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.steps import ConnectStep, DisconnectStep, FlushStep, Step, StepResult, StoreStep
from btcnode.chain.store import ChainStore
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import connect_block, connect_context, disconnect_block, script_violation
from btcnode.errors import CorruptionError, DecodeError, Fault, RuleViolation
from btcnode.params import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import to_display
from btcnode.script.verify import ScriptJob, verify_jobs
from btcnode.storage.blockfiles import BlockPos
from btcnode.storage.undo import decode_undo, encode_undo

RECENT_BLOCKS_BYTES = 64 << 20  # parsed blocks kept between storing and connecting; columns double their size


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


class StepExecutor:
    """Executes steps; ``tip`` is the header index up to which ``coins`` have been brought."""

    def __init__(self, params: NetworkParams, store: ChainStore, tree: HeaderTree, coins: CoinsCache) -> None:
        self._params = params
        self._store = store
        self._tree = tree
        self._coins = coins
        self._recent = RecentBlocks()
        self.tip = -1

    def execute(self, step: Step) -> StepResult:
        """Do one step; a broken rule comes back in the result, StorageError is raised."""
        if isinstance(step, ConnectStep):
            return self._connect(step)
        if isinstance(step, StoreStep):
            return self._store_block(step)
        if isinstance(step, DisconnectStep):
            return self._disconnect(step)
        return self._flush(step)

    def _store_block(self, step: StoreStep) -> StepResult:
        block = step.parsed
        try:
            if block is None:
                block = parse_block(step.raw, exact=False)
                check_block(block, self._params)
            contextual_check_block(block, self._tree, step.prev, self._params)
        except DecodeError as error:
            # the header is known and good, these bytes are not its block
            return StepResult(RuleViolation("block-decode-failed", str(error), Fault.MUTATED))
        except RuleViolation as violation:
            return StepResult(violation)
        files, height = self._store.files, self._tree.height(step.index)
        if step.position is None:
            position = files.append_block(block.raw, height)
        else:
            position = step.position
            files.note_block(position, block.raw, height)
        self._recent.add(step.index, block)
        return StepResult(position=position, txs=block.n_tx)

    def _load(self, index: int, position: BlockPos) -> ParsedBlock:
        """The block of a step, from memory or from disk; what comes from disk is checked once more."""
        block = self._recent.pop(index)
        if block is not None:
            return block
        raw = self._store.files.read_block(position)
        try:
            block = parse_block(raw)
            check_block(block, self._params)
        except (DecodeError, RuleViolation) as error:
            raise CorruptionError(f"block {to_display(self._tree.hash(index))} is damaged on disk: {error}") from None
        if block.hash != self._tree.hash(index):
            raise CorruptionError(f"block {to_display(self._tree.hash(index))} is not where the index says")
        return block

    def _connect(self, step: ConnectStep) -> StepResult:
        if step.prev != self.tip:
            raise CorruptionError("the coins are not at the parent of the block to connect")
        block = self._load(step.index, step.position)
        context = connect_context(self._tree, step.prev, block.hash, self._params, with_jobs=step.verify_scripts)
        try:
            delta = connect_block(block, step.height, self._coins, context)
            self._verify(delta.jobs)
        except RuleViolation as violation:
            return StepResult(violation)
        undo_position = step.undo_position
        if undo_position is None:
            undo_position = self._store.files.append_undo(step.position.file, encode_undo(delta.undo), block.prev_hash)
        self._coins.apply(delta)
        self.tip = step.index
        return StepResult(
            undo_position=undo_position, txs=block.n_tx, inputs=len(block.in_pos) - 1, fees=delta.fees
        )

    def _verify(self, jobs: list[ScriptJob]) -> None:
        """Run the input scripts; raises RuleViolation for the first that fails, as Core words it."""
        failed = verify_jobs(jobs)
        if failed is not None:
            number, failure = failed
            raise script_violation(jobs[number], failure)

    def _disconnect(self, step: DisconnectStep) -> StepResult:
        if step.index != self.tip:
            raise CorruptionError("the coins are not at the block to disconnect")
        block = self._load(step.index, step.position)
        undo = decode_undo(self._store.files.read_undo(step.undo_position, block.prev_hash))
        restored, removed, clean = disconnect_block(block, step.height, undo, self._coins)
        if not clean:
            raise CorruptionError(f"undo data of block {to_display(block.hash)} does not fit the coins")
        self._coins.apply_disconnect(restored, removed)
        self.tip = step.prev
        return StepResult(txs=block.n_tx)

    def _flush(self, step: FlushStep) -> StepResult:
        batch = self._coins.take_batch()
        self._store.commit(batch.puts, batch.deletes, step.records, step.tip_hash)
        self._coins.flushed()
        return StepResult(coins_put=len(batch.puts), coins_deleted=len(batch.deletes))
