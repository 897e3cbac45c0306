"""Which blocks' scripts are checked by worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.sync.chunks import PooledCheck, inputs_together

if TYPE_CHECKING:
    from btcnode.chain.script_checks import BlockScripts, ScriptCheck
    from btcnode.sync.worker_pool import WorkerPool

MIN_INPUTS = 64  # blocks with fewer inputs (3 ms of work) are verified by the caller


class PooledChecker:
    """Gives the scripts of large blocks to a pool, leaves small ones to the caller."""

    def __init__(self, pool: WorkerPool, *, min_inputs: int = MIN_INPUTS) -> None:
        self._pool = pool
        self._min_inputs = min_inputs

    def start(self, scripts: BlockScripts) -> ScriptCheck | None:
        """Take a block's scripts on; None when it is small, or when no worker can be had."""
        if scripts.inputs < self._min_inputs or not self._pool.usable:
            return None
        self._pool.start()
        size = inputs_together(scripts.inputs, alone=not self._pool.queued)
        check = PooledCheck(scripts, self._pool.take_chunk, self._pool.forget, size)
        self._pool.submit_check(check)
        return check
