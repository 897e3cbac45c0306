"""Work for workers beside the chunks of blocks (``chunks.py``): blocks to decode or fold, unconfirmed transactions."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from btcnode.errors import DecodeError
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.script.runs import pack_run
from btcnode.script.verify import ScriptFailure, ScriptJob
from btcnode.sync.judging import FailedJob
from btcnode.sync.work_estimate import longest_decoding, longest_verification, usual_seconds
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.swiftsync.fold import FoldJob
    from btcnode.swiftsync.full_fold import FoldResult

FOLDING_SHARE = 3.0  # of what decoding a block takes


class BatchResult(NamedTuple):
    """How many jobs of a batch are valid, and why the one after them is not.

    ``seconds`` of processor time: of the job that failed, or of all if none did. ``behind``: of each job after that one
    why it is not valid, None if it is, and its seconds as far as they are known; None where they were not looked at.
    """

    valid: int
    failure: ScriptFailure | None
    seconds: float
    behind: Sequence[tuple[ScriptFailure | None, float]] | None = None

    @classmethod
    def of(cls, jobs: int, failed: Sequence[FailedJob], seconds: float) -> BatchResult:
        """That of ``jobs`` jobs which have all been judged, in so many seconds."""
        if not failed:
            return cls(jobs, None, seconds)
        first, *others = failed
        behind: list[tuple[ScriptFailure | None, float]] = [(None, 0.0)] * (jobs - first.job - 1)
        for job, failure, took in others:
            behind[job - first.job - 1] = failure, took
        return cls(first.job, first.failure, first.seconds, behind)


class DecodeTask:
    """A block to decode; the future gives None where the node has to do it itself."""

    __slots__ = ("attempts", "future", "raw")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.future: Future[ParsedBlock | None] = Future()
        self.attempts = 0

    def usual_seconds(self) -> float:
        """What it takes a worker."""
        return usual_seconds(len(self.raw), 0)

    def longest(self) -> float:
        """Seconds that it may take at most."""
        return longest_decoding(len(self.raw))

    def answer(self, block: ParsedBlock | None) -> None:
        """Give the block, or None, to whoever still waits for it."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(block)


class FoldTask:
    """A block to check and to fold; the future gives None where the node has to look at it itself."""

    __slots__ = ("attempts", "future", "job", "raw")

    def __init__(self, raw: bytes, job: FoldJob) -> None:
        self.raw = raw
        self.job = job
        self.future: Future[FoldResult | None] = Future()
        self.attempts = 0

    def usual_seconds(self) -> float:
        """What it takes a worker."""
        from btcnode.swiftsync.spent_coins import count_spent

        spent = self.job.spent
        return usual_seconds(len(self.raw), 0 if spent is None else count_spent(spent))

    def longest(self) -> float:
        """Seconds that it may take at most."""
        from btcnode.swiftsync.spent_coins import decode_spent

        alone = FOLDING_SHARE * longest_decoding(len(self.raw))
        if self.job.spent is None:
            return alone
        try:
            block = parse_block(self.raw, exact=False)
            coins = decode_spent(self.job.spent, len(block.in_pos) - 1)
            return alone + longest_verification(block.raw[block.tx_pos[1] :], b"".join(coins))
        except (DecodeError, IndexError):  # no script of it will be run
            return alone

    def answer(self, result: FoldResult | None) -> None:
        """Give what came of it, or None, to whoever still waits for it."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)


class TxTask:
    """Scripts of unconfirmed transactions; the future gives None where the node has to do it itself.

    ``shard`` is the worker that is asked first; the user's (``urgent``) are for whoever has room first.
    """

    __slots__ = ("attempts", "future", "inputs", "jobs", "shard", "urgent")

    def __init__(self, jobs: Sequence[ScriptJob], shard: int, *, urgent: bool = False) -> None:
        self.jobs = jobs
        self.shard = shard
        self.urgent = urgent
        self.inputs = sum(len(job.spent) for job in jobs)
        self.future: Future[BatchResult | None] = Future()
        self.attempts = 0

    def packed(self) -> tuple[bytes, bytes]:
        """Transactions and coins as bytes; the coins' heights are of no interest to scripts."""
        return pack_run(self.jobs)

    def usual_seconds(self) -> float:
        """What it takes a worker."""
        return usual_seconds(sum(len(job.raw_tx) for job in self.jobs), self.inputs)

    def longest(self) -> float:
        """Seconds that it may take at most."""
        return longest_verification(*self.packed())

    def answer(self, result: BatchResult | None) -> None:
        """Give the result to whoever still waits for it."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)
