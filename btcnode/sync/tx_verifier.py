"""Scripts of unconfirmed transactions, verified in worker processes without holding up the loop.

Jobs that come in during one turn of the loop go out together, in batches by shard. The shard follows from the txid, so
that a transaction and its repeats always meet the same worker. Where there are no workers a thread of the node
verifies; libsecp256k1 lets go of the interpreter meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from btcnode.primitives.tx import Tx
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_transaction
from btcnode.sync.worker_pool import TxTask, WorkerPool

BATCH_INPUTS = 64  # about 3 ms of work
BatchResult = tuple[int, ScriptFailure | None]
"""How many jobs of a batch are valid, and why the one after them is not."""


class _Waiting(NamedTuple):
    job: ScriptJob
    done: Callable[[ScriptFailure | None], None]


def verify_batch(jobs: Sequence[ScriptJob]) -> BatchResult:
    """Verify in order, up to the first failure."""
    for n, job in enumerate(jobs):
        failure = verify_transaction(Tx.parse(job.raw_tx), job.spent, job.flags)
        if failure is not None:
            return n, failure
    return len(jobs), None


class TxVerifier:
    """Takes script jobs on the loop thread and answers there, each exactly once; make it within a running loop."""

    def __init__(self, pool: WorkerPool | None) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._shards: dict[int, deque[_Waiting]] = {}
        self._flush_due = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scripts")
        self.verified = 0  # transactions, and those of them that the node's own process has verified
        self.verified_here = 0
        self.open = 0  # not answered yet

    def submit(self, job: ScriptJob, txid: bytes, done: Callable[[ScriptFailure | None], None]) -> None:
        """Verify a job; ``done`` is called with the first failure, None when every input is valid."""
        pool = self._pool
        shard = int.from_bytes(txid[:4], "little") % pool.shards if pool is not None else 0
        self._shards.setdefault(shard, deque()).append(_Waiting(job, done))
        self.open += 1
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    async def verify(self, job: ScriptJob, txid: bytes) -> ScriptFailure | None:
        """Verify one job and wait for its verdict."""
        answer: asyncio.Future[ScriptFailure | None] = self._loop.create_future()

        def done(failure: ScriptFailure | None) -> None:
            if not answer.done():
                answer.set_result(failure)

        self.submit(job, txid, done)
        return await answer

    def _flush(self) -> None:
        self._flush_due = False
        for shard, queue in self._shards.items():
            while queue:
                batch = [queue.popleft()]
                inputs, flags = len(batch[0].job.spent), batch[0].job.flags
                while queue and inputs < BATCH_INPUTS and queue[0].job.flags == flags:
                    batch.append(queue.popleft())
                    inputs += len(batch[-1].job.spent)
                self._send(shard, batch)

    def _send(self, shard: int, batch: list[_Waiting]) -> None:
        pool = self._pool
        if pool is not None and pool.usable:
            if not pool.running:
                pool.start()
            task = TxTask([waiting.job for waiting in batch], shard)
            task.future.add_done_callback(lambda future: self._call_back(self._answered, shard, batch, future))
            pool.submit_transactions(task)
        else:
            self._verify_here(shard, batch)

    def _verify_here(self, shard: int, batch: list[_Waiting]) -> None:
        self.verified_here += len(batch)
        running = self._thread.submit(verify_batch, [waiting.job for waiting in batch])
        running.add_done_callback(lambda future: self._call_back(self._answered, shard, batch, future))

    def _call_back(self, *call: object) -> None:
        """From another thread to the loop, unless that has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(*call)  # type: ignore[arg-type]

    def _answered(self, shard: int, batch: list[_Waiting], future: Future[BatchResult | None]) -> None:
        result = None if future.cancelled() else future.result()
        if result is None:  # no worker could do it
            self._verify_here(shard, batch)
            return
        valid, failure = result
        rest = batch[valid:]
        self.verified += len(batch) - max(0, len(rest) - 1)
        self.open -= len(batch) - max(0, len(rest) - 1)
        for waiting in batch[:valid]:
            waiting.done(None)
        if rest:
            if len(rest) > 1:
                self._send(shard, rest[1:])
            rest[0].done(failure)

    def close(self) -> None:
        """End the thread; what is still open is not answered."""
        self._thread.shutdown(cancel_futures=True)
