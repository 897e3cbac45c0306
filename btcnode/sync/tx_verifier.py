"""Scripts of unconfirmed transactions, verified in worker processes without holding up the loop.

Strangers' jobs wait here, in the order of ``tx_order.py``; the workers are handed a few batches ahead, by shard. The
shard follows from the txid, so that a transaction and its repeats always meet the same worker. Where there are no
workers a thread of the node verifies; libsecp256k1 lets go of the interpreter meanwhile.

The user's jobs do not wait. Small ones are verified on the spot: the way to a worker and back takes longer, also when
nothing else is to be done. Larger ones overtake everything that has not been sent to a worker.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from time import perf_counter

from btcnode.chain.script_checks import INPUTS_FOR_KERNEL
from btcnode.compiled import current, look_for
from btcnode.primitives.tx import Tx
from btcnode.script.runs import pack_run
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_transaction
from btcnode.sync.job_clock import JobClock
from btcnode.sync.judging import judge_all
from btcnode.sync.tx_order import TxOrder
from btcnode.sync.worker_pool import WorkerPool
from btcnode.sync.worker_tasks import BatchResult, TxTask

BATCH_INPUTS = 256  # about 6 ms of work: each batch costs the loop a fifth of one, whatever its size
BATCH_BYTES = 60_000  # a job that is larger goes alone
BATCHES_AHEAD = 3  # of a shard: full ones are about 20 ms of work, more than the loop may be away
SPOT_INPUTS = 16  # about 1 ms; with so few bytes at most 100 signatures
SPOT_BYTES = 5_000
SLICE = 0.005  # seconds of the loop for what follows from verdicts, until others have had their turn
NOBODY = -1  # the source of what did not come from a peer
Done = Callable[[ScriptFailure | None, float], None]
"""Takes a verdict, and the seconds of processor time that it took as far as they are known."""


Verdict = tuple[ScriptFailure | None, float]


class _Waiting:
    """A job and who wants its verdict. ``judged``: he has it, and what else comes is of no interest."""

    __slots__ = ("done", "job", "judged", "sent", "source", "txid")

    def __init__(self, job: ScriptJob, txid: bytes, source: int, done: Done) -> None:
        self.job = job
        self.txid = txid
        self.source = source
        self.done = done
        self.sent = False
        self.judged = False


_Verdict = tuple[_Waiting, ScriptFailure | None, float]


class _Shard:
    """What is to be verified by one worker: what waits here, and how many batches are under way."""

    __slots__ = ("ahead", "order")

    def __init__(self) -> None:
        self.order: TxOrder[_Waiting] = TxOrder()
        self.ahead = 0


def verify_batch(jobs: Sequence[ScriptJob]) -> BatchResult:
    """Verify in order, up to the first failure."""
    clock = JobClock()
    for n, job in enumerate(jobs):
        clock.next()
        failure = verify_transaction(Tx.parse(job.raw_tx), job.spent, job.flags)
        if failure is not None:
            return BatchResult(n, failure, clock.last())
    return BatchResult(len(jobs), None, clock.all())


def verify_beside(jobs: Sequence[ScriptJob]) -> BatchResult:
    """``verify_batch`` in a thread that has nothing else to do: with kernels, where there are any."""
    inputs = sum([len(job.spent) for job in jobs])
    if inputs >= INPUTS_FOR_KERNEL:
        look_for()
    if current() is not None:
        judged = judge_all(*pack_run(jobs), len(jobs), jobs[0].flags)
        if judged is not None and judged.inputs == inputs:
            return BatchResult.of(len(jobs), judged.failed, judged.seconds)
    return verify_batch(jobs)


def is_small(jobs: Sequence[ScriptJob]) -> bool:
    """Whether all jobs together may be verified on the spot."""
    return (
        sum(len(job.spent) for job in jobs) <= SPOT_INPUTS
        and sum(len(job.raw_tx) + sum(map(len, job.spent)) for job in jobs) <= SPOT_BYTES
    )


def _set_verdict(answer: asyncio.Future[Verdict], failure: ScriptFailure | None, seconds: float) -> None:
    if not answer.done():  # nobody waits any more
        answer.set_result((failure, seconds))


class TxVerifier:
    """Takes script jobs on the loop thread and answers there, each exactly once; make it within a running loop."""

    def __init__(self, pool: WorkerPool | None, told: Callable[[], None] = lambda: None) -> None:
        """``told`` is called behind a group of verdicts; ``telling`` is true while one is told."""
        self._pool = pool
        self._told = told
        self.telling = False
        self._loop = asyncio.get_running_loop()
        self._shards = [_Shard() for _ in range(pool.shards if pool is not None else 1)]
        self._open: dict[bytes, _Waiting] = {}  # by txid
        self._flush_due = False
        self._ended = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scripts")
        self._thread.submit(int)  # the thread is there from now on, also when the system has no more
        self.verified = 0  # transactions
        self.open = 0  # not answered yet

    def submit(
        self,
        job: ScriptJob,
        txid: bytes,
        done: Done,
        *,
        source: int = NOBODY,
        feerate: float = 0.0,
        urgent: bool = False,
    ) -> None:
        """Verify a job; ``done`` is called with the first failure, None when every input is valid.

        ``source``: the peer that it came from. ``feerate`` in sat/kvB, 0 for an unknown one. ``urgent``: the user
        waits for it; ``done`` may be called before this returns.
        """
        waiting = _Waiting(job, txid, source, done)
        self._open[txid] = waiting
        self.open += 1
        if urgent:
            self._hurry(waiting)
            return
        shard = self._shards[int.from_bytes(txid[:4], "little") % len(self._shards)]
        shard.order.add(waiting, source, len(job.spent), len(job.raw_tx), feerate)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def promote(self, txid: bytes) -> None:
        """The user waits for this job, if it is not answered yet: let it overtake what waits."""
        waiting = self._open.get(txid)
        if waiting is not None:
            self._hurry(waiting)

    def withdraw(self, txid: bytes, job: ScriptJob) -> bool:
        """Nobody is interested in this job any more; False when it is under way already.

        Otherwise its ``done`` is never called.
        """
        waiting = self._open.get(txid)
        if waiting is None or waiting.job is not job or waiting.sent:
            return False
        waiting.sent = waiting.judged = True  # so it is passed over
        self.open -= 1
        del self._open[txid]
        return True

    async def verify(self, job: ScriptJob, name: bytes, *, source: int = NOBODY) -> Verdict:
        """Verify one job and wait for its verdict and what it took; ``name`` chooses the worker."""
        answer: asyncio.Future[Verdict] = self._loop.create_future()
        self.submit(job, name, partial(_set_verdict, answer), source=source)
        return await answer

    async def verify_urgent(self, jobs: Sequence[ScriptJob]) -> list[ScriptFailure | None]:
        """Verify the user's jobs, each by itself; it does not let the loop go when they are small together."""
        if is_small(jobs):
            self.verified += len(jobs)
            return [verify_batch([job]).failure for job in jobs]
        answers: list[asyncio.Future[Verdict]] = []
        for job in jobs:
            answers.append(self._loop.create_future())
            self.open += 1
            self._send_urgent(_Waiting(job, b"", NOBODY, partial(_set_verdict, answers[-1])))
        return [failure for failure, _ in await asyncio.gather(*answers)]

    def _hurry(self, waiting: _Waiting) -> None:
        if is_small([waiting.job]):
            waiting.sent = True
            result = verify_batch([waiting.job])
            self._give_verdict(waiting, result.failure, result.seconds)
        elif not waiting.sent:
            self._send_urgent(waiting)

    def _send_urgent(self, waiting: _Waiting) -> None:
        waiting.sent = True
        self._send(None, [waiting])

    def _give_verdict(self, waiting: _Waiting, failure: ScriptFailure | None, seconds: float) -> None:
        """Give the verdict, unless it has been given."""
        if waiting.judged:
            return
        waiting.judged = True
        self.verified += 1
        self.open -= 1
        if self._open.get(waiting.txid) is waiting:
            del self._open[waiting.txid]
        waiting.done(failure, seconds)

    def _flush(self) -> None:
        self._flush_due = False
        for shard in self._shards:
            self._fill(shard)

    def _fill(self, shard: _Shard) -> None:
        """Hand out batches as long as few are ahead."""
        order = shard.order
        batch: list[_Waiting] = []
        inputs = size = 0
        while shard.ahead < BATCHES_AHEAD and order:
            waiting = order.take()
            if waiting.sent:
                continue  # it has overtaken the others
            job = waiting.job
            if batch and (job.flags != batch[0].job.flags or size + len(job.raw_tx) > BATCH_BYTES):
                self._send_ahead(shard, batch)
                batch, inputs, size = [], 0, 0
            batch.append(waiting)
            inputs += len(job.spent)
            size += len(job.raw_tx)
            if inputs >= BATCH_INPUTS:
                self._send_ahead(shard, batch)
                batch, inputs, size = [], 0, 0
        if batch:
            self._send_ahead(shard, batch)

    def _send_ahead(self, shard: _Shard, batch: list[_Waiting]) -> None:
        for waiting in batch:
            waiting.sent = True
        shard.ahead += 1
        self._send(shard, batch)

    def _send(self, shard: _Shard | None, batch: list[_Waiting]) -> None:
        """Hand a batch to the pool; without a shard it is urgent."""
        if self._ended:
            return
        pool = self._pool
        if pool is not None and pool.usable:
            if not pool.running:
                pool.start()
            number = 0 if shard is None else self._shards.index(shard)
            task = TxTask([waiting.job for waiting in batch], number, urgent=shard is None)
            task.future.add_done_callback(lambda future: self._call_back(self._answered, shard, batch, future))
            pool.submit_transactions(task)
        else:
            self._verify_here(shard, batch)

    def _verify_here(self, shard: _Shard | None, batch: list[_Waiting]) -> None:
        running = self._thread.submit(verify_beside, [waiting.job for waiting in batch])
        running.add_done_callback(lambda future: self._call_back(self._answered, shard, batch, future))

    def _call_back(self, *call: object) -> None:
        """From another thread to the loop, unless that has ended."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(*call)  # type: ignore[arg-type]

    def _answered(self, shard: _Shard | None, batch: list[_Waiting], future: Future[BatchResult | None]) -> None:
        if self._ended:  # what workers give back when they end as well
            return
        result = None if future.cancelled() else future.result()
        if result is None:  # no worker could do it
            self._verify_here(shard, batch)
            return
        valid, failure, seconds, behind = result
        rest = batch[valid + 1 :] if behind is None else []
        if rest:
            self._send(shard, rest)
        elif shard is not None:
            shard.ahead -= 1
        share = 0.0 if failure is not None else seconds / max(1, sum(len(waiting.job.spent) for waiting in batch))
        verdicts = deque[_Verdict]((waiting, None, share * len(waiting.job.spent)) for waiting in batch[:valid])
        if valid < len(batch):
            verdicts.append((batch[valid], failure, seconds))
            verdicts += [(waiting, *known) for waiting, known in zip(batch[valid + 1 :], behind or (), strict=False)]
        for waiting, fault, _ in verdicts:
            if fault is not None and shard is not None:
                shard.order.distrust(waiting.source)
        self._give_verdicts(shard, verdicts)

    def _give_verdicts(self, shard: _Shard | None, verdicts: deque[_Verdict]) -> None:
        """Tell what came out, some milliseconds at a time: what follows from one may take as many."""
        end = perf_counter() + SLICE
        self.telling = True
        try:
            while verdicts:
                self._give_verdict(*verdicts.popleft())
                if perf_counter() > end:
                    break
        finally:
            self.telling = False
            if verdicts:
                self._loop.call_soon(self._give_verdicts, shard, verdicts)
            elif shard is not None:
                self._fill(shard)
        self._told()

    def close(self) -> None:
        """End the thread; what is still open is not answered."""
        self._ended = True
        self._thread.shutdown(cancel_futures=True)
