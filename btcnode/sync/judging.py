"""Transactions that strangers have sent, judged together: what a bad one costs is not asked of the others again."""

from __future__ import annotations

from btcnode.script.runs import look_at_unproven, prove
from btcnode.script.verify import ScriptFailure
from btcnode.sync.job_clock import JobClock
from btcnode.tuples import NamedTuple


class FailedJob(NamedTuple):
    """A job of a run that fails, why, and the seconds of processor time that it took."""

    job: int
    failure: ScriptFailure
    seconds: float


class Judged(NamedTuple):
    """The number of inputs of a run, the jobs that fail, in order, and the seconds of all; the others are valid."""

    inputs: int
    failed: list[FailedJob]
    seconds: float


def judge_all(raw: bytes, coins: bytes, jobs: int, flags: int) -> Judged | None:
    """Verify all ``jobs`` transactions in ``raw`` with kernels, also behind one that fails.

    None where there are none, or the bytes are not what they should be. Raises ValueError for inconsistent flags.
    """
    clock = JobClock()
    proven = prove(raw, coins, jobs, flags)
    if proven is None:
        return None
    each = clock.all() / max(1, proven.inputs)  # in kernels
    failed = []
    clock.next()
    for job, inputs, failure in look_at_unproven(raw, coins, proven, flags):
        if failure is not None:
            failed.append(FailedJob(job, failure, each * inputs + clock.last()))
        clock.next()
    return Judged(proven.inputs, failed, clock.all())
