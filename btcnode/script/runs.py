"""A run of transactions and of the coins that they spend, each as bytes, verified as a whole where kernels are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from btcnode.compiled import current
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.script.flags import require_consistent
from btcnode.script.sighash import SighashContext
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_input_of, verify_jobs
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.compiled.kernels import Proven

NO_CODE = bytes(4)  # in the place of height and coinbase flag of a packed coin, which scripts do not see

_place = attrgetter("job", "tx_at", "coins_at")


def read_coins(data: bytes, pos: int, count: int) -> tuple[list[bytes], int]:
    """The txouts of ``count`` packed coins from ``pos`` on, and the position after them.

    Raises IndexError or DecodeError when the bytes end early.
    """
    txouts = []
    for _ in range(count):
        start = pos + 4
        size = data[start + 8]
        if size < 0xFD:
            pos = start + 9 + size
        else:
            size, pos = read_compact_size(data, start + 8)
            pos += size
        txouts.append(data[start:pos])
    return txouts, pos


class Looked(NamedTuple):
    """A transaction that kernels have not proven: its place in the run, its inputs, the first failure if it has one."""

    job: int
    inputs: int
    failure: ScriptFailure | None


class Judgement(NamedTuple):
    """The number of inputs of a run, and the first of its transactions that fails, None where all are valid."""

    inputs: int
    failed: tuple[int, ScriptFailure] | None


def prove(raw: bytes, coins: bytes, jobs: int, flags: int) -> Proven | None:
    """What kernels know of ``jobs`` transactions in ``raw`` with the packed coins that they spend.

    None says nothing: there are no kernels, or the bytes are not what they should be. Raises ValueError for
    inconsistent flags.
    """
    require_consistent(flags)
    kernels = current()
    return None if kernels is None else kernels.verify_spends(raw, coins, jobs, flags)


def look_at_unproven(raw: bytes, coins: bytes, proven: Proven, flags: int) -> Iterator[Looked]:
    """Judge by the plain code what kernels have left over, in order; all else is valid."""
    for (job, tx_at, coins_at), group in groupby(proven.unproven, _place):
        tx, _ = Tx.parse_at(raw, tx_at)
        ctx = SighashContext(tx, read_coins(coins, coins_at, len(tx.prevouts))[0])
        failure = None
        for each in group:
            error = verify_input_of(ctx, each.place, flags)
            if error is not None:
                failure = ScriptFailure(each.place, error)
                break
        yield Looked(job, len(tx.prevouts), failure)


def judge(raw: bytes, coins: bytes, jobs: int, flags: int) -> Judgement | None:
    """Verify with kernels, up to the first transaction that fails; None and ValueError as ``prove`` gives them."""
    proven = prove(raw, coins, jobs, flags)
    if proven is None:
        return None
    failed = next(((job, fail) for job, _, fail in look_at_unproven(raw, coins, proven, flags) if fail), None)
    return Judgement(proven.inputs, failed)


def pack_run(jobs: Sequence[ScriptJob]) -> tuple[bytes, bytes]:
    """The transactions and the coins that they spend, without the coins' heights, which scripts do not see."""
    return b"".join([job.raw_tx for job in jobs]), b"".join([NO_CODE + txout for job in jobs for txout in job.spent])


def verify_run(jobs: Sequence[ScriptJob]) -> tuple[int, ScriptFailure] | None:
    """``verify_jobs`` of jobs that have the same flags, with kernels where there are any."""
    if jobs and current() is not None:
        found = judge(*pack_run(jobs), len(jobs), jobs[0].flags)
        if found is not None and found.inputs == sum([len(job.spent) for job in jobs]):
            return found.failed
    return verify_jobs(jobs)
