"""The pool of worker processes: script checks and block decoding outside the node's own process.

Any thread hands work in; one thread of the pool talks to the processes. Work waits here, not in the workers: each is
sent a little more than it is working on, so that the chain thread can take what has not been sent and do it itself.

A worker that ends, answers nonsense or does not answer in time is replaced, and what it had been sent is done again; a
piece of work that was lost twice is left to the node's own process. An answer counts only when it names the request and
the number of jobs and inputs that were asked for.

Memory, per worker: ``SENT_CHUNKS`` chunks of ``CHUNK_INPUTS`` inputs, usually 60 kB each but at most one transaction
(4 MB) above that; one block to decode (4 MB) with its answer (10 MB at worst); the process itself 25 MB.
"""

from __future__ import annotations

import logging
import os
import pickle
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
from btcnode.script.errors import ScriptError
from btcnode.script.verify import ScriptFailure, ScriptJob
from btcnode.sync.worker_codec import (
    CONFIG,
    DECODE,
    DECODED,
    FAILED,
    INVALID,
    READY,
    VALID,
    VERIFY,
    Answer,
    decode_columns,
    pack_request,
)
from btcnode.sync.worker_process import WorkerProcess

if TYPE_CHECKING:
    from btcnode.sync.chunks import Chunk, PooledCheck

SENT_CHUNKS = 3  # the one in work and two behind it: the pool's thread may have to wait 5 ms for the interpreter
ANSWER_TIMEOUT = 180.0  # seconds; the worst transaction that consensus allows takes less than a minute
START_TIMEOUT = 60.0
MAX_ATTEMPTS = 2
MAX_FAILED_STARTS = 3  # in a row; then the pool goes on with fewer workers

MAX_PROCESSES = 64  # the node's own included
_NO_CODE = bytes(4)

log = logging.getLogger("btcnode.workers")


def worker_count(par: int, cores: int | None = None) -> int:
    """Processes beside the node's own for ``--par``: 0 takes all ``cores``, below 0 leaves that many free."""
    if par <= 0:
        par += cores or len(os.sched_getaffinity(0))
    return min(max(par, 1), MAX_PROCESSES) - 1


class DecodeTask:
    """A block to decode; the future gives None where the node has to do it itself."""

    __slots__ = ("attempts", "future", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.future: Future[ParsedBlock | None] = Future()
        self.attempts = 0

    def answer(self, block: ParsedBlock | None) -> None:
        """Give the block, or None, to whoever still waits for it."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(block)


class TxTask:
    """Scripts of unconfirmed transactions; the future gives how many jobs are valid and what failed after them.

    It gives None where the node has to do it itself. ``shard`` chooses the worker.
    """

    __slots__ = ("attempts", "future", "inputs", "jobs", "shard")

    def __init__(self, jobs: Sequence[ScriptJob], shard: int) -> None:
        self.jobs = jobs
        self.shard = shard
        self.inputs = sum(len(job.spent) for job in jobs)
        self.future: Future[tuple[int, ScriptFailure | None] | None] = Future()
        self.attempts = 0

    def packed(self) -> tuple[bytes, bytes]:
        """Transactions and coins as bytes; the coins' heights are of no interest to scripts."""
        return (
            b"".join([job.raw_tx for job in self.jobs]),
            b"".join([_NO_CODE + txout for job in self.jobs for txout in job.spent]),
        )

    def answer(self, result: tuple[int, ScriptFailure | None] | None) -> None:
        """Give the result to whoever still waits for it."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)


class WorkerPool:
    """``workers`` processes, started in the background when there is work for the first time."""

    def __init__(
        self,
        workers: int,
        params: NetworkParams,
        *,
        answer_timeout: float = ANSWER_TIMEOUT,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> None:
        self._wanted = workers
        self._config = pickle.dumps(params)
        self._answer_timeout = answer_timeout
        self._max_attempts = max_attempts
        self._lock = threading.Lock()
        self._checks: deque[PooledCheck] = deque()  # with chunks that nobody has taken, oldest block first
        self._decodes: deque[DecodeTask] = deque()
        self._tx_tasks: list[deque[TxTask]] = [deque() for _ in range(max(workers, 1))]  # by worker
        self._workers: list[WorkerProcess] = []
        self._failed_starts = 0
        self._next_id = 1
        self._closing = False
        self._idle = False  # the pool's thread sleeps, and a worker has room
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for sock in (self._wake_in, self._wake_out):
            sock.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self.replaced = 0
        self.busy_seconds = 0.0  # of all workers together

    # -- any thread ----------------------------------------------------------------------------------------------

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [worker.pid for worker in self._workers]

    @property
    def running(self) -> bool:
        """Whether there is a worker to do something."""
        return any(worker.ready for worker in self._workers)

    @property
    def queued(self) -> int:
        """Pieces of work that wait: blocks to decode, blocks with scripts to verify, batches of transactions."""
        return len(self._decodes) + len(self._checks) + sum(map(len, self._tx_tasks))

    @property
    def workers(self) -> int:
        """How many processes there shall be."""
        return self._wanted

    @property
    def shards(self) -> int:
        """How many shares unconfirmed transactions are divided into: one for each worker."""
        return len(self._tx_tasks)

    @property
    def usable(self) -> bool:
        """Whether work may be handed in."""
        return not self._closing and self._failed_starts < MAX_FAILED_STARTS

    def start(self) -> None:
        """Start the processes, without waiting for them."""
        with self._lock:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
                self._thread.start()

    def submit_check(self, check: PooledCheck) -> None:
        """Let workers take chunks of a check."""
        with self._lock:
            self._checks.append(check)
            idle = self._idle
        if idle:
            self._wake()

    def submit_decode(self, raw: bytes) -> Future[ParsedBlock | None]:
        """Let a worker parse and check a block without context."""
        task = DecodeTask(raw)
        with self._lock:
            if not self.usable:
                task.answer(None)
                return task.future
            self._decodes.append(task)
            idle = self._idle
        if idle:
            self._wake()
        return task.future

    def submit_transactions(self, task: TxTask) -> None:
        """Let the worker of the task's shard verify scripts; all jobs have the same flags."""
        with self._lock:
            if not self.usable:
                task.answer(None)
                return
            self._tx_tasks[task.shard % len(self._tx_tasks)].append(task)
            idle = self._idle
        if idle:
            self._wake()

    def take_chunk(self) -> Chunk | None:
        """A chunk of the oldest block that has one left; None when there is none."""
        with self._lock:
            return self._take_chunk(local=True)

    def forget(self, check: PooledCheck) -> None:
        """Hand out nothing more of a check."""
        with self._lock:
            if check in self._checks:
                self._checks.remove(check)

    def _take_chunk(self, *, local: bool) -> Chunk | None:
        checks = self._checks
        for check in list(checks):
            chunk = check.take(local=local)
            if not check.has_pending:
                checks.remove(check)
            if chunk is not None:
                return chunk
        return None

    def put_back(self, chunk: Chunk) -> None:
        """A chunk was lost: it is to be taken again."""
        with self._lock:
            check = chunk.check
            check.give_back(chunk)
            if check not in self._checks and not check.cancelled:
                self._checks.appendleft(check)

    def close(self) -> None:
        """End thread and processes; work that waits is answered with "do it yourself"."""
        with self._lock:
            self._closing = True
            thread = self._thread
        self._wake()
        if thread is not None:
            thread.join()
        self._answer_decodes()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _wake(self) -> None:
        try:
            self._wake_out.send(b"\0")
        except OSError:  # full: it will wake up anyway; closed: it has ended
            return

    # -- the pool's thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing:
                self._start_workers()
                self._feed_all()
                for key, mask in self._selector.select(self._wait_time()):
                    if key.data is None:
                        self._drain_wake()
                    else:
                        self._serve(key.data, mask)
                self._check_deadlines()
        except Exception:
            log.exception("internal error: the node goes on without worker processes")
        finally:
            with self._lock:
                self._closing = True  # nothing more comes in
            for worker in list(self._workers):
                self._end(worker)
            self._answer_decodes()

    def _answer_decodes(self) -> None:
        with self._lock:
            waiting, self._decodes = self._decodes, deque()
            transactions = [task for queue in self._tx_tasks for task in queue]
            for queue in self._tx_tasks:
                queue.clear()
        for task in waiting:
            task.answer(None)
        for tx_task in transactions:
            tx_task.answer(None)

    def _drain_wake(self) -> None:
        try:
            self._wake_in.recv(4096)
        except BlockingIOError:
            return

    def _start_workers(self) -> None:
        while len(self._workers) < self._wanted and self._failed_starts < MAX_FAILED_STARTS:
            try:
                worker = WorkerProcess()
            except OSError as error:
                self._start_failed(str(error))
                continue
            taken = {other.slot for other in self._workers}
            worker.slot = next(n for n in range(self._wanted) if n not in taken)
            self._workers.append(worker)
            self._selector.register(worker.sock, selectors.EVENT_READ, worker)
            worker.deadline = time.monotonic() + START_TIMEOUT
            try:
                worker.send(pack_request(0, CONFIG, self._config))
            except OSError as error:
                self._lost(worker, str(error))

    def _start_failed(self, reason: str) -> None:
        self._failed_starts += 1
        log.warning("a worker process did not get to work: %s", reason)
        if self._failed_starts == MAX_FAILED_STARTS:
            log.error("no more worker processes are started; scripts are verified by the node's own process")
            if not self._workers:
                self._answer_decodes()

    def _feed_all(self) -> None:
        """Send work to every worker that has room; whoever hands in more from now on wakes this thread up."""
        with self._lock:
            self._idle = True
        for worker in list(self._workers):
            if worker.ready:
                self._feed(worker)
        if all(len(worker.sent) >= SENT_CHUNKS for worker in self._workers):
            with self._lock:
                self._idle = False  # an answer comes first

    def _feed(self, worker: WorkerProcess) -> None:
        while len(worker.sent) < SENT_CHUNKS and not worker.writing:
            with self._lock:
                task = self._take_task(worker.slot)
            if task is None:
                return
            number, self._next_id = self._next_id, self._next_id + 1
            if isinstance(task, DecodeTask):
                data = pack_request(number, DECODE, task.raw)
            elif isinstance(task, TxTask):
                data = pack_request(number, VERIFY, *task.packed(), flags=task.jobs[0].flags, jobs=len(task.jobs))
            else:
                data = pack_request(number, VERIFY, *task.packed(), flags=task.flags, jobs=task.jobs)
            if not worker.sent:
                worker.busy_since = time.monotonic()
                worker.deadline = worker.busy_since + self._answer_timeout
            worker.sent.append((number, task))
            try:
                worker.send(data)
            except OSError as error:
                self._lost(worker, str(error))
                return
            if worker.writing:
                self._selector.modify(worker.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)

    def _take_task(self, slot: int) -> DecodeTask | TxTask | Chunk | None:
        """What a worker does next: blocks first, then its share of the transactions. With the lock."""
        if self._decodes:
            return self._decodes.popleft()
        chunk = self._take_chunk(local=False)
        if chunk is not None:
            return chunk
        if self._tx_tasks[slot]:
            return self._tx_tasks[slot].popleft()
        if len(self._workers) < self._wanted and self._failed_starts >= MAX_FAILED_STARTS:
            # nobody else will ever come for the other shards
            return next((queue.popleft() for queue in self._tx_tasks if queue), None)
        return None

    def _serve(self, worker: WorkerProcess, mask: int) -> None:
        """A worker's socket is readable or writable."""
        if worker not in self._workers:
            return
        try:
            if mask & selectors.EVENT_WRITE:
                worker.flush()
                if not worker.writing:
                    self._selector.modify(worker.sock, selectors.EVENT_READ, worker)
            if mask & selectors.EVENT_READ:
                for answer in worker.receive():
                    self._take_answer(worker, answer)
        except (OSError, EOFError, DecodeError) as error:
            self._lost(worker, str(error))

    def _take_answer(self, worker: WorkerProcess, answer: Answer) -> None:
        """Settle the oldest request; raises DecodeError when the answer is not about it."""
        if not worker.ready:
            if answer.id or answer.status != READY:
                raise DecodeError("it did not get ready")
            worker.ready = True
            return
        if not worker.sent or worker.sent[0][0] != answer.id:
            raise DecodeError("an answer to no request")
        task = worker.sent[0][1]
        if isinstance(task, DecodeTask):
            self._take_decoded(task, answer)
        elif isinstance(task, TxTask):
            self._take_tx_verdict(task, answer)
        else:
            self._take_verdict(task, answer)  # type: ignore[arg-type]
        worker.sent.popleft()
        worker.answers += 1
        self._failed_starts = 0
        now = time.monotonic()
        worker.deadline = now + self._answer_timeout
        self.busy_seconds += now - worker.busy_since
        worker.busy_since = now

    @staticmethod
    def _take_decoded(task: DecodeTask, answer: Answer) -> None:
        if answer.status == DECODED:
            block = decode_columns(task.raw, answer.body)
        elif answer.status == FAILED:
            block = None  # a broken rule, found again and named by the node itself
        else:
            raise DecodeError("no answer to a block")
        task.answer(block)

    @staticmethod
    def _take_tx_verdict(task: TxTask, answer: Answer) -> None:
        if answer.status == VALID:
            if answer.jobs != len(task.jobs) or answer.inputs != task.inputs:
                raise DecodeError("an answer about another number of inputs")
            task.answer((len(task.jobs), None))
        elif answer.status == INVALID:
            job, index = answer.failed_job, answer.failed_input
            if not 0 <= job < len(task.jobs) or answer.jobs != job + 1 or not 0 <= index < len(task.jobs[job].spent):
                raise DecodeError("an answer about an input that is not there")
            task.answer((job, ScriptFailure(index, _script_error(answer.body))))
        else:
            raise DecodeError(answer.body.decode("utf-8", "replace"))

    @staticmethod
    def _take_verdict(chunk: Chunk, answer: Answer) -> None:
        if answer.status == VALID:
            if answer.jobs != chunk.jobs or answer.inputs != chunk.inputs:
                raise DecodeError("an answer about another number of inputs")
            chunk.record_answer(None)
        elif answer.status == INVALID:
            job, index = answer.failed_job, answer.failed_input
            if not 0 <= job < chunk.jobs or answer.jobs != job + 1 or not chunk.has_input(job, index):
                raise DecodeError("an answer about an input that is not there")
            chunk.record_answer((job, ScriptFailure(index, _script_error(answer.body))))
        elif answer.status == FAILED:
            raise DecodeError(answer.body.decode("utf-8", "replace"))
        else:
            raise DecodeError("no answer to a verification")

    def _wait_time(self) -> float | None:
        """Seconds until the first deadline, None when nothing is awaited."""
        deadlines = [worker.deadline for worker in self._workers if worker.sent or not worker.ready]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if (worker.sent or not worker.ready) and now >= worker.deadline:
                self._lost(worker, "it does not answer")

    def _lost(self, worker: WorkerProcess, reason: str) -> None:
        """Replace a worker and have its work done again."""
        if worker not in self._workers:
            return
        status = self._end(worker)
        if not worker.answers:
            self._start_failed(f"{reason} (exit status {status})")
            return
        self.replaced += 1
        log.warning("worker process %d is replaced: %s (exit status %s)", worker.pid, reason, status)

    def _end(self, worker: WorkerProcess) -> int | None:
        self._workers.remove(worker)
        self._selector.unregister(worker.sock)
        status = worker.end()
        for place, (_, task) in enumerate(reversed(worker.sent), 1 - len(worker.sent)):
            self._redo(task, blamed=place == 0)
        worker.sent.clear()
        return status

    def _redo(self, task: object, *, blamed: bool) -> None:
        """Queue a lost task again; ``blamed``: it was the one in work, so that it may be what ended the worker."""
        if isinstance(task, DecodeTask):
            task.attempts += blamed
            if task.attempts >= self._max_attempts or self._closing:
                task.answer(None)
            else:
                with self._lock:
                    self._decodes.appendleft(task)
        elif isinstance(task, TxTask):
            task.attempts += blamed
            if task.attempts >= self._max_attempts or self._closing:
                task.answer(None)
            else:
                with self._lock:
                    self._tx_tasks[task.shard % len(self._tx_tasks)].appendleft(task)
        else:
            chunk: Chunk = task  # type: ignore[assignment]
            chunk.attempts += blamed
            chunk.local_only = chunk.attempts >= self._max_attempts or self._closing
            self.put_back(chunk)


def _script_error(body: bytes) -> ScriptError:
    try:
        return ScriptError(body.decode("ascii"))
    except ValueError:
        raise DecodeError("an unknown script error") from None
