"""The validation of what lies below a loaded UTXO set: the chain from genesis to the set's block, in the background.

It has the coins of the node's own database and connects one block after the other, on the chain thread between two
steps of the active chain, which stands on the set meanwhile. Its way is given, so nothing has to be chosen. When it
has come to the set's block its coins must have the hash that the set was loaded for.
"""

from __future__ import annotations

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.assumevalid import AssumeValid
from btcnode.chain.block_status import HAVE_UNDO, VALID_SCRIPTS
from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.executor import StepExecutor
from btcnode.chain.header_tree import HeaderTree
from btcnode.chain.script_checks import ScriptChecker
from btcnode.chain.steps import ConnectStep, DisconnectStep, FinishStep, FlushStep, Step, StepResult
from btcnode.chain.store import ChainStore
from btcnode.errors import CorruptionError
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import to_display
from btcnode.storage.blockfiles import BlockPos


class History:
    """Planned and committed on the loop thread, executed on the chain thread, as the active chain's steps.

    ``known`` is the loaded set, ``base`` its block's header index, ``tip`` the block that the own coins are at.
    """

    def __init__(
        self,
        params: NetworkParams,
        store: ChainStore,
        tree: HeaderTree,
        known: AssumeUtxo,
        tip: int,
        *,
        dbcache: int,
        assume_valid: AssumeValid,
        checker: ScriptChecker | None,
    ) -> None:
        self.known = known
        self.base = tree.find(known.block_hash)
        self.tree = tree
        self.store = store
        self.active = ActiveChain(tree, tip)
        self.coins = CoinsCache(store.own_coins, dbcache)
        self.executor = StepExecutor(params, store.history(), tree, self.coins, checker=checker)
        self.executor.tip = tip
        self._assume_valid = assume_valid
        self._pending: Step | None = None
        self._finish: FinishStep | None = None
        self.flushed_tip = tip

    @property
    def done(self) -> bool:
        """Whether all blocks are connected and on disk."""
        return self.active.tip == self.base == self.flushed_tip

    def plan_step(self) -> Step | None:
        """The next step; None when the next block is not here yet, a step is pending, or all is done."""
        if self._pending is not None:
            return None
        self._pending = self._next()
        return self._pending

    def plan_close(self) -> Step | None:
        """The next step that is needed to have everything on disk, None when there is none."""
        if self._pending is None:
            if self._finish is not None:
                self._pending = self._finish
            elif self.flushed_tip != self.active.tip or self.coins.is_dirty():
                self._pending = FlushStep(self._records(), self.tree.hash(self.active.tip))
        return self._pending

    def _records(self) -> list[tuple[int, bytes]]:
        record = self.tree.record
        return [(index, record(index)) for index in self.tree.take_dirty()]

    def _next(self) -> Step | None:
        tree, tip = self.tree, self.active.tip
        if self._finish is not None:
            return self._finish
        if self.coins.needs_flush() or (tip == self.base and not self.done):
            return FlushStep(self._records(), tree.hash(tip))
        if tip == self.base:
            return None
        height = tree.height(tip)
        if not tree.is_ancestor(tip, self.base):
            fork = tree.height(tree.find_fork(tip, self.base))
            if not tree.has_data(tree.ancestor(self.base, fork + 1)):
                return None
            return DisconnectStep(tip, tree.prev(tip), height, self._position(tip), self._undo(tip))
        index = tree.ancestor(self.base, height + 1)
        if not tree.has_data(index):
            return None
        undo = self._undo(index) if tree.status(index) & HAVE_UNDO else None
        verify = not self._assume_valid.covers(tree, index)
        return ConnectStep(index, tip, height + 1, self._position(index), undo, verify)

    def _position(self, index: int) -> BlockPos:
        columns = self.tree.columns
        if not self.tree.has_data(index):
            raise CorruptionError(f"block {to_display(self.tree.hash(index))} is not here: start with --reindex")
        return BlockPos(columns.file[index], columns.data_pos[index])

    def _undo(self, index: int) -> BlockPos:
        if not self.tree.has_undo(index):
            raise CorruptionError(f"no undo data of block {to_display(self.tree.hash(index))}: start with --reindex")
        return BlockPos(self.tree.columns.file[index], self.tree.columns.undo_pos[index])

    def execute(self, step: Step) -> StepResult:
        """Do the step (chain thread). Raises StorageError."""
        return self.executor.execute(step)

    def commit(self, step: Step, result: StepResult) -> bool:
        """Record what came of a step; returns whether the tip has moved.

        Raises CorruptionError when a block of this chain is invalid: what was loaded stands on nothing.
        """
        self._pending = None
        if isinstance(step, FlushStep):
            self.flushed_tip = self.active.tip
            self.tree.note_stored(row for row, _ in step.records)
            return False
        if isinstance(step, DisconnectStep):
            self.active.set_tip(step.prev)
            return True
        if not isinstance(step, ConnectStep | FinishStep):
            raise RuntimeError("no step of a history")
        if result.violation is not None:
            name = to_display(self.tree.hash(step.index))
            raise CorruptionError(f"block {name} below the loaded UTXO set is invalid: {result.violation}")
        self._finish = FinishStep(step.index, step.height) if result.ahead else None
        if result.ahead:
            return False
        if result.undo_position is not None:
            self.tree.set_undo(step.index, result.undo_position.pos)
        self.tree.raise_validity(step.index, VALID_SCRIPTS)
        self.active.set_tip(step.index)
        return True

    def abort(self, step: Step) -> None:
        """Forget a pending step that could not be executed."""
        self._pending = None
        if isinstance(step, FlushStep):
            self.tree.restore_dirty(index for index, _ in step.records)

    def release(self) -> None:
        """End the thread of the flusher."""
        self.executor.flusher.close()
