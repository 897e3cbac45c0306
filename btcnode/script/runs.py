"""A run of transactions and of the coins that they spend, each as bytes, verified as a whole where kernels are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from btcnode.compiled import current
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.script.flags import require_consistent
from btcnode.script.sighash import SighashContext
from btcnode.script.verify import ScriptJob, verify_input_of

if TYPE_CHECKING:
    pass

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


def verified_inputs(raw: bytes, coins: bytes, jobs: int, flags: int) -> int | None:
    """The number of inputs of ``jobs`` transactions in ``raw`` if all are valid with the packed coins that they spend.

    None says nothing: there are no kernels, the bytes are not what they should be, or some input is not valid, and
    ``verify_transaction`` finds out. Raises ValueError for inconsistent flags.
    """
    require_consistent(flags)
    kernels = current()
    if kernels is None:
        return None
    proven = kernels.verify_spends(raw, coins, jobs, flags)
    if proven is None:
        return None
    for (_, tx_at, coins_at), group in groupby(proven.unproven, _place):
        if not _verify(raw, tx_at, coins, coins_at, [each.place for each in group], flags):
            return None
    return proven.inputs


def are_valid(jobs: Sequence[ScriptJob]) -> bool:
    """Whether all jobs are known to be valid, which have the same flags; False says nothing."""
    if not jobs or current() is None:
        return not jobs
    raw = b"".join([job.raw_tx for job in jobs])
    coins = b"".join([NO_CODE + txout for job in jobs for txout in job.spent])
    return verified_inputs(raw, coins, len(jobs), jobs[0].flags) == sum([len(job.spent) for job in jobs])


def _verify(raw: bytes, tx_at: int, coins: bytes, coins_at: int, indexes: Sequence[int], flags: int) -> bool:
    """Whether these inputs of the transaction at ``tx_at`` are valid."""
    tx, _ = Tx.parse_at(raw, tx_at)
    ctx = SighashContext(tx, read_coins(coins, coins_at, len(tx.prevouts))[0])
    return all(verify_input_of(ctx, index, flags) is None for index in indexes)
