"""The pool of worker processes: script checks and block decoding outside the node's own process.

Any thread hands work in; one thread of the pool talks to the processes. Work waits here, not in the workers: each is
sent a little more than it is working on, so that the chain thread can take what has not been sent and do it itself.

A worker that ends, answers nonsense or does not answer in time is replaced, for ever and after growing pauses
(``restarts.py``), and what it had been sent is done again; a piece of work that was lost twice is left to the node's
own process, and so is everything while no worker is left. In time is what the oldest piece of work allows: a few
seconds and a multiple of what it usually takes, at the speed of the workers so far; when that is over, a multiple of
the most that its bytes can ask for. An answer counts only when it names the request and the number of jobs and inputs
that were asked for.

The user's own transactions overtake everything that has not been sent; blocks come next, then the transactions of
strangers.

Memory, per worker: ``SENT_CHUNKS`` chunks of ``CHUNK_INPUTS`` inputs, usually 60 kB each but at most one transaction
(4 MB) above that; one block to decode (4 MB) with its answer (10 MB at worst); the process itself 25 MB.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from concurrent.futures import Future
from random import Random
from typing import TYPE_CHECKING

from btcnode.compiled import give_up, is_allowed, look_for
from btcnode.errors import DecodeError
from btcnode.script.verify import ScriptFailure
from btcnode.settings.groups.storage import MAX_PROCESSES
from btcnode.sync.judging import FailedJob
from btcnode.sync.restarts import LONGEST_PAUSE, Restarts
from btcnode.sync.worker_codec import (
    CONFIG,
    DECODE,
    DECODED,
    FAILED,
    FOLD,
    FOLDED,
    INVALID,
    JUDGED,
    KERNELS,
    NO_MEMORY,
    READY,
    REFUSED,
    TIMES,
    VALID,
    VERIFY,
    Answer,
    decode_columns,
    pack_request,
    script_error,
    unpack_failures,
)
from btcnode.sync.worker_process import WorkerProcess
from btcnode.sync.worker_tasks import BatchResult, DecodeTask, FoldTask, TxTask

if TYPE_CHECKING:
    from collections.abc import Collection

    from btcnode.networks.parameters import NetworkParams
    from btcnode.primitives.block import ParsedBlock
    from btcnode.swiftsync.fold import FoldJob
    from btcnode.swiftsync.full_fold import FoldResult
    from btcnode.sync.chunks import Chunk, PooledCheck
    from btcnode.sync.worker_process import Task

SENT_CHUNKS = 3  # the one in work and two behind it: the pool's thread may have to wait 5 ms for the interpreter
SENT_SECONDS = 0.05  # of usual work; above it a worker is sent one at a time: what urgent work has to wait for
ANSWER_TIMEOUT = 5.0  # seconds, and
SLACK = 4.0  # times what the work takes at most, at the measured speed
PACE_SHARE = 1 / 16  # of the last piece of work in the measured speed
MAX_PACE = 20.0  # times the usual seconds
START_TIMEOUT = 10.0  # a start takes 80 ms
END_TIMEOUT = 5.0  # seconds for killed processes to be gone when the pool ends
LAST_WORDS = 0.2  # seconds for a worker that has closed its socket to end, so that its status tells why
STUCK_SECONDS = 0.05  # in one piece of work, after which others take over the share of a worker
MAX_ATTEMPTS = 2
FAULTS = frozenset(
    (signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)
)
LOUD_FAILURES = 3  # in a row; what follows is said once

log = logging.getLogger("btcnode.workers")


def worker_count(par: int, cores: int | None = None) -> int:
    """Processes beside the node's own for ``--par``: 0 takes all ``cores``, below 0 leaves that many free."""
    if par <= 0:
        par += cores or len(os.sched_getaffinity(0))
    return min(max(par, 1), MAX_PROCESSES) - 1


class WorkerPool:
    """``workers`` processes, started in the background when there is work for the first time."""

    def __init__(
        self,
        workers: int,
        params: NetworkParams,
        *,
        answer_timeout: float = ANSWER_TIMEOUT,
        max_attempts: int = MAX_ATTEMPTS,
        processors: Collection[int] = (),
    ) -> None:
        """``answer_timeout``: seconds that a worker has beyond what its work takes.

        ``max_attempts``: workers that a piece of work may cost. ``processors`` that they keep to, if any are named.
        """
        self._wanted = workers
        self._params = params
        self._answer_timeout = answer_timeout
        self._max_attempts = max_attempts
        self._processors = processors
        self._lock = threading.Lock()
        self._checks: deque[PooledCheck] = deque()  # with chunks that nobody has taken, oldest block first
        self._decodes: deque[DecodeTask | FoldTask] = deque()
        self._urgent: deque[TxTask] = deque()
        self._tx_tasks: list[deque[TxTask]] = [deque() for _ in range(max(workers, 1))]  # by worker
        self._workers: list[WorkerProcess] = []
        self._ended: list[WorkerProcess] = []  # killed and not gone yet
        self._restarts = Restarts(Random())
        self._pace = 1.0  # how many times longer than usual work takes, on the average
        self._next_id = 1
        self._closing = False
        self._idle = False  # the pool's thread sleeps, and a worker has room
        self._thread: threading.Thread | None = None
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        for sock in (self._wake_in, self._wake_out):
            sock.setblocking(False)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self.replaced = 0  # workers that have ended and had worked
        self.failed_starts = 0
        self.redone = 0  # pieces of work that were lost with a worker
        self.busy_seconds = 0.0  # of all workers together

    # -- any thread ----------------------------------------------------------------------------------------------

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [worker.pid for worker in self._workers]

    def counts(self) -> dict[str, int]:
        """Since the start: workers that ended and had worked, those that never got to work, work that was redone."""
        return {"replaced": self.replaced, "failed_starts": self.failed_starts, "jobs_redone": self.redone}

    @property
    def running(self) -> bool:
        """Whether there is a worker to do something."""
        return any(worker.ready for worker in self._workers)

    @property
    def queued(self) -> int:
        """Pieces of work that wait: blocks to decode, blocks with scripts to verify, batches of transactions."""
        return len(self._decodes) + len(self._checks) + len(self._urgent) + sum(map(len, self._tx_tasks))

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
        return not self._closing and (bool(self._workers) or not self._restarts.wait(time.monotonic()))

    def resize(self, workers: int) -> None:
        """Have another number of processes from now on; those that are too many end when they have nothing to do."""
        with self._lock:
            self._wanted = workers
            shards = max(workers, 1)
            for queue in self._tx_tasks[shards:]:
                self._tx_tasks[0].extend(queue)
            self._tx_tasks = (self._tx_tasks + [deque() for _ in range(shards)])[:shards]
        self._wake()

    def start(self) -> None:
        """Start the processes, without waiting for them."""
        with self._lock:
            if self._thread is not None or self._closing or self._restarts.wait(time.monotonic()):
                return
            thread = threading.Thread(target=self._run, name="workers", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no more threads for us
                now = time.monotonic()
                self._restarts.failed(now, now)
                log.warning("no worker processes: %s", error)
            else:
                self._thread = thread
                return
        self._answer_waiting()

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
        self._submit_block(task)
        return task.future

    def submit_fold(self, raw: bytes, job: FoldJob) -> Future[FoldResult | None]:
        """Let a worker check a block, with its scripts where the coins are told, and fold it (swiftsync/)."""
        task = FoldTask(raw, job)
        self._submit_block(task)
        return task.future

    def _submit_block(self, task: DecodeTask | FoldTask) -> None:
        with self._lock:
            if not self.usable:
                task.answer(None)
                return
            self._decodes.append(task)
            idle = self._idle
        if idle:
            self._wake()

    def submit_transactions(self, task: TxTask) -> None:
        """Let the worker of the task's shard verify scripts, an urgent one any; all jobs have the same flags."""
        with self._lock:
            if not self.usable:
                task.answer(None)
                return
            self._queue_of(task).append(task)
            idle = self._idle
        if idle:
            self._wake()

    def _queue_of(self, task: TxTask) -> deque[TxTask]:
        return self._urgent if task.urgent else self._tx_tasks[task.shard % len(self._tx_tasks)]

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
        self._answer_waiting()
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
                try:
                    self._turn()
                    look_for()
                except (OSError, MemoryError) as error:  # the system has nothing left for us: later
                    self._lose_all(str(error) or type(error).__name__)
        except Exception:
            log.exception("internal error: the node goes on without worker processes")
        finally:
            with self._lock:
                self._closing = True  # nothing more comes in
            for worker in list(self._workers):
                self._end(worker)
            self._answer_waiting()
            for worker in self._ended:
                worker.end(END_TIMEOUT)

    def _turn(self) -> None:
        """Start what is to be started, send what there is, take what comes, once."""
        self._start_workers()
        for worker in [worker for worker in self._workers if worker.slot >= self._wanted and not worker.sent]:
            self._end(worker)
        self._feed_all()
        wait = self._wait_time()
        before = time.monotonic()
        events = self._selector.select(wait)
        if wait is not None and (late := time.monotonic() - before - wait) > 1.0:
            for worker in self._workers:  # the node stood still, and they perhaps with it
                worker.deadline += late
        for key, mask in events:
            if key.data is None:
                self._drain_wake()
            else:
                self._serve(key.data, mask)
        self._check_deadlines()
        if self._ended:
            self._ended = [worker for worker in self._ended if not worker.is_gone()]

    def _lose_all(self, reason: str) -> None:
        for worker in list(self._workers):
            self._lost(worker, reason, grace=0.0)
        if not self._restarts.wait(time.monotonic()):
            self._start_failed(reason)

    def _answer_waiting(self) -> None:
        """Leave all that waits to the node."""
        with self._lock:
            waiting, self._decodes = self._decodes, deque()
            queues = [self._urgent, *self._tx_tasks]
            transactions = [task for queue in queues for task in queue]
            for queue in queues:
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
        while len(self._workers) < self._wanted and not self._restarts.wait(time.monotonic()):
            try:
                worker = WorkerProcess(self._processors)
            except OSError as error:
                self._start_failed(str(error))
                return
            taken = {other.slot for other in self._workers}
            worker.slot = next(n for n in range(self._wanted) if n not in taken)
            worker.born = time.monotonic()
            worker.deadline = worker.born + START_TIMEOUT
            try:
                self._selector.register(worker.sock, selectors.EVENT_READ, worker)
            except OSError as error:
                worker.end()
                self._start_failed(str(error))
                return
            self._workers.append(worker)
            import pickle  # a node that verifies nothing starts without

            try:
                worker.kernels = is_allowed()
                worker.send(pack_request(0, CONFIG, pickle.dumps(self._params), flags=KERNELS * worker.kernels))
            except OSError as error:
                self._lost(worker, str(error))

    def _start_failed(self, reason: str) -> None:
        """There was nothing to start, or it has never worked."""
        self.failed_starts += 1
        now = time.monotonic()
        self._failed(now, f"a worker process did not get to work: {reason}")

    def _failed(self, born: float, what: str) -> None:
        """Count it, say it unless it has been said, and leave the work to the node while there is nobody."""
        now = time.monotonic()
        if not self._restarts.failed(born, now) or self._restarts.failures > LOUD_FAILURES:
            log.debug("%s", what)
        else:
            log.warning("%s", what)
            if self._restarts.failures == LOUD_FAILURES:
                pause = f"at most {LONGEST_PAUSE:.0f} s"
                log.warning("worker processes keep failing: others are started after growing pauses, %s", pause)
        if not self._workers and self._restarts.wait(now):
            self._answer_waiting()

    def _feed_all(self) -> None:
        """Send work to every worker that has room; whoever hands in more from now on wakes this thread up."""
        with self._lock:
            self._idle = True
        for worker in list(self._workers):
            if worker.ready and worker.slot < self._wanted:
                self._feed(worker)
        if not any(map(_has_room, self._workers)):
            with self._lock:
                self._idle = False  # an answer comes first

    def _feed(self, worker: WorkerProcess) -> None:
        while _has_room(worker) and not worker.writing:
            with self._lock:
                task = self._take_task(worker.slot)
            if task is None:
                return
            number, self._next_id = self._next_id, self._next_id + 1
            seconds = task.usual_seconds()
            worker.sent.append((number, task, seconds))  # first: what cannot be sent is lost with the worker
            worker.ahead += seconds
            if len(worker.sent) == 1:
                self._begins(worker)
            if isinstance(task, DecodeTask):
                data = pack_request(number, DECODE, task.raw)
            elif isinstance(task, FoldTask):
                data = pack_request(number, FOLD, task.raw, task.job.pack())
            elif isinstance(task, TxTask):
                data = pack_request(number, VERIFY, *task.packed(), flags=task.jobs[0].flags, jobs=len(task.jobs))
            else:
                data = pack_request(number, VERIFY, *task.packed(), flags=task.flags, jobs=task.jobs)
            try:
                worker.send(data)
            except OSError as error:
                self._lost(worker, str(error))
                return
            if worker.writing:
                self._selector.modify(worker.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)

    def _begins(self, worker: WorkerProcess) -> None:
        """A worker begins with the oldest that it has been sent."""
        worker.busy_since = time.monotonic()
        worker.examined = False
        worker.deadline = worker.busy_since + self._patience(worker.sent[0][2])

    def _patience(self, seconds: float) -> float:
        """How long to wait for what takes so many seconds on the machine of the estimates."""
        return self._answer_timeout + SLACK * self._pace * seconds

    def _take_task(self, slot: int) -> Task | None:
        """What a worker does next: the user's transactions, blocks, its share of the strangers'. With the lock."""
        if self._urgent:
            return self._urgent.popleft()
        if self._decodes:
            return self._decodes.popleft()
        chunk = self._take_chunk(local=False)
        if chunk is not None:
            return chunk
        if slot < len(self._tx_tasks) and self._tx_tasks[slot]:
            return self._tx_tasks[slot].popleft()
        return self._take_over(slot)

    def _take_over(self, slot: int) -> TxTask | None:
        """Transactions of a share whose worker is not there, or busy for long. With the lock."""
        if not any(self._tx_tasks):
            return None
        now = time.monotonic()
        served = {slot} | {
            worker.slot
            for worker in self._workers
            if worker.ready and not (worker.sent and now - worker.busy_since > STUCK_SECONDS)
        }
        for other, queue in enumerate(self._tx_tasks):
            if queue and other not in served:
                return queue.popleft()
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
        elif isinstance(task, FoldTask):
            self._take_folded(task, answer)
        elif isinstance(task, TxTask):
            self._take_tx_verdict(task, answer)
        else:
            self._take_verdict(task, answer)
        _, _, usual = worker.sent.popleft()
        worker.ahead = worker.ahead - usual if worker.sent else 0.0
        worker.answers += 1
        now = time.monotonic()
        took = now - worker.busy_since
        self.busy_seconds += took
        if usual:
            self._pace += PACE_SHARE * (min(max(took / usual, 1.0), MAX_PACE) - self._pace)
        if worker.sent:
            self._begins(worker)
        if self._restarts.is_calm(worker.born, now):
            log.info("worker processes are at work again")

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
    def _take_folded(task: FoldTask, answer: Answer) -> None:
        from btcnode.swiftsync.fold import Fold  # of a sync with hints
        from btcnode.swiftsync.full_fold import SpentRefused, TimesWanted

        if answer.status == FOLDED:
            task.answer(Fold.unpack(answer.body))
        elif answer.status == FAILED:
            task.answer(None)  # a broken rule, or a hint for another block: the node finds out
        elif answer.status == REFUSED:
            task.answer(SpentRefused.unpack(answer.body))
        elif answer.status == TIMES:
            task.answer(TimesWanted.unpack(answer.body))
        else:
            raise DecodeError("no answer to a block that was to be folded")

    @staticmethod
    def _take_tx_verdict(task: TxTask, answer: Answer) -> None:
        if answer.status == VALID:
            if answer.jobs != len(task.jobs) or answer.inputs != task.inputs:
                raise DecodeError("an answer about another number of inputs")
            task.answer(BatchResult(len(task.jobs), None, answer.micros / 1e6))
        elif answer.status == INVALID:
            job, index = answer.failed_job, answer.failed_input
            if not 0 <= job < len(task.jobs) or answer.jobs != job + 1 or not 0 <= index < len(task.jobs[job].spent):
                raise DecodeError("an answer about an input that is not there")
            task.answer(BatchResult(job, ScriptFailure(index, script_error(answer.body)), answer.micros / 1e6))
        elif answer.status == JUDGED:
            failed = [FailedJob(job, failure, micros / 1e6) for job, failure, micros in unpack_failures(answer.body)]
            if answer.jobs != len(task.jobs) or answer.inputs != task.inputs:
                raise DecodeError("an answer about another number of inputs")
            if failed[-1].job >= len(task.jobs) or any(
                failure.input_index >= len(task.jobs[job].spent) for job, failure, _ in failed
            ):
                raise DecodeError("an answer about an input that is not there")
            task.answer(BatchResult.of(len(task.jobs), failed, answer.micros / 1e6))
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
            chunk.record_answer((job, ScriptFailure(index, script_error(answer.body))))
        elif answer.status == JUDGED:
            job, failure, _ = unpack_failures(answer.body)[0]
            if answer.jobs != chunk.jobs or answer.inputs != chunk.inputs:
                raise DecodeError("an answer about another number of inputs")
            if job >= chunk.jobs or not chunk.has_input(job, failure.input_index):
                raise DecodeError("an answer about an input that is not there")
            chunk.record_answer((job, failure))
        elif answer.status == FAILED:
            raise DecodeError(answer.body.decode("utf-8", "replace"))
        else:
            raise DecodeError("no answer to a verification")

    def _wait_time(self) -> float | None:
        """Seconds until the first deadline or start, None when nothing is awaited."""
        now = time.monotonic()
        times = [worker.deadline for worker in self._workers if worker.sent or not worker.ready]
        if len(self._workers) < self._wanted:
            times.append(self._restarts.due)
        if self._ended:
            times.append(now + 1.0)
        if any(self._tx_tasks) and self._idle:
            times.append(now + STUCK_SECONDS)  # then somebody may take them over
        return max(0.0, min(times) - now) if times else None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        for worker in list(self._workers):
            if (worker.sent or not worker.ready) and now >= worker.deadline and not self._may_take_longer(worker, now):
                self._lost(worker, "it does not answer", grace=0.0)

    def _may_take_longer(self, worker: WorkerProcess, now: float) -> bool:
        """Whether the work that is late may be of the worst kind; its deadline is later then."""
        if not worker.ready or worker.examined:
            return False
        worker.examined = True
        worker.deadline = max(worker.deadline, worker.busy_since + self._patience(worker.sent[0][1].longest()))
        return now < worker.deadline

    def _lost(self, worker: WorkerProcess, reason: str, *, grace: float = LAST_WORDS) -> None:
        """Replace a worker and have its work done again; whose socket is closed is about to end by itself."""
        if worker not in self._workers:
            return
        born = worker.born
        status = self._end(worker, grace)
        if worker.kernels and status is not None and -status in FAULTS:
            give_up(f"a worker process was ended by {signal.Signals(-status).name}")
        what = "it has run out of memory" if status == NO_MEMORY else f"{reason} (exit status {status})"
        if not worker.answers:
            self.failed_starts += 1
            self._failed(born, f"a worker process did not get to work: {what}")
            return
        self.replaced += 1
        self._failed(born, f"worker process {worker.pid} is replaced: {what}")

    def _end(self, worker: WorkerProcess, grace: float = 0.0) -> int | None:
        self._workers.remove(worker)
        self._selector.unregister(worker.sock)
        status = worker.end(grace=grace)
        if status is None:
            self._ended.append(worker)
        lost = list(worker.sent)
        worker.sent.clear()
        self.redone += len(lost)
        for place, (_, task, _) in enumerate(reversed(lost), 1 - len(lost)):
            self._redo(task, blamed=place == 0)
        return status

    def _redo(self, task: Task, *, blamed: bool) -> None:
        """Queue a lost task again; ``blamed``: it was the one in work, so that it may be what ended the worker."""
        if isinstance(task, DecodeTask | FoldTask):
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
                    self._queue_of(task).appendleft(task)
        else:
            task.attempts += blamed
            task.local_only = task.attempts >= self._max_attempts or self._closing
            self.put_back(task)


def _has_room(worker: WorkerProcess) -> bool:
    return len(worker.sent) < SENT_CHUNKS and (not worker.sent or worker.ahead < SENT_SECONDS)
