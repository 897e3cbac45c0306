"""How long transactions of each feerate took to confirm: the counters of one time horizon of the fee estimator.

Counts are exponential moving averages by feerate bucket (Core's ``TxConfirmStats``). A bucket holds the feerates up to
its upper bound; bounds and feerates are satoshi per kvB. Targets are counted in blocks and kept in periods of
``scale`` blocks. What waits in the mempool is counted by the height at which it came, in a ring.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import field
from math import frexp

from btcnode.record import struct

Row = list[float]
Counts = list[int]

EXACT_BLOCKS = 144  # owed decays that are applied one by one: 2 ms each
EXACT_INTEGERS = 2.0**53  # every whole number below is a float
_UINT32 = 0xFFFFFFFF
_NOBODY: Counts = []  # in place of counts that are all 0


@struct
class BucketRange:
    """A run of buckets that was judged together; bounds of -1 mean that there is none."""

    start: float = -1.0
    end: float = -1.0
    within_target: float = 0.0
    total_confirmed: float = 0.0
    in_mempool: float = 0.0
    left_mempool: float = 0.0


@struct
class Estimation:
    """What an estimate rests on: the lowest run that met the threshold, and the highest that did not."""

    passed: BucketRange = field(default_factory=BucketRange)
    failed: BucketRange = field(default_factory=BucketRange)
    decay: float = 0.0
    scale: int = 0


def add_each(value: float, addends: Sequence[int]) -> float:
    """The sum, rounded as if the addends were added one by one (as Core does).

    Between two powers of two below 2**53 every such step is exact, and so is one step for all.
    """
    end = value + sum(addends)
    if end < EXACT_INTEGERS and (not value or frexp(value)[1] == frexp(end)[1]):
        return end
    for addend in addends:
        value += addend
    return value


class ConfirmStats:
    """The counters of one horizon.

    ``confirmed[p][b]``: transactions of bucket ``b`` that confirmed within ``p + 1`` periods; ``failed`` those that
    left the mempool unconfirmed after that long; ``counts[b]`` all that confirmed, ``feerates[b]`` the sum of their
    feerates. Decay is owed block by block and paid when somebody looks, so that blocks without data cost nothing.
    """

    def __init__(self, bounds: Sequence[float], periods: int, decay: float, scale: int) -> None:
        width = len(bounds)
        self.bounds = bounds
        self.decay = decay
        self.scale = scale
        self.confirmed: list[Row] = [[0.0] * width for _ in range(periods)]
        self.failed: list[Row] = [[0.0] * width for _ in range(periods)]
        self.counts: Row = [0.0] * width
        self.feerates: Row = [0.0] * width
        self._owed = 0  # blocks whose decay is not applied yet
        self._waiting = [_NOBODY] * self.max_confirms  # a thousand, of which few have anything in them
        self._waiting_long: Counts = [0] * width

    @property
    def max_confirms(self) -> int:
        """The farthest target that is tracked, in blocks."""
        return self.scale * len(self.confirmed)

    def bucket_of(self, feerate: float) -> int:
        """The bucket of a feerate."""
        return min(bisect_left(self.bounds, feerate), len(self.bounds) - 1)

    def next_block(self, height: int) -> None:
        """A block at ``height``: what waits since the ring's last round waits long, and everything fades."""
        place = height % len(self._waiting)
        row, self._waiting[place] = self._waiting[place], _NOBODY
        if any(row):
            self._waiting_long = [long + count for long, count in zip(self._waiting_long, row, strict=True)]
        self._owed += 1

    def apply_decay(self) -> None:
        """Apply the decay that is owed."""
        if not self._owed:
            return
        decay = self.decay
        # one by one, so that the rounding is Core's too; a long absence at once
        factors = [decay] * self._owed if self._owed <= EXACT_BLOCKS else [decay**self._owed]
        self._owed = 0
        for row in (*self.confirmed, *self.failed, self.counts, self.feerates):
            if any(row):
                for factor in factors:
                    row[:] = [value * factor for value in row]

    def add(self, height: int, bucket: int) -> None:
        """A transaction came into the mempool at ``height``."""
        place = height % len(self._waiting)
        if self._waiting[place] is _NOBODY:
            self._waiting[place] = [0] * len(self.bounds)
        self._waiting[place][bucket] += 1

    def remove(self, height: int, best_height: int, bucket: int, *, in_block: bool, count: int = 1) -> None:
        """``count`` that came at ``height`` left; they count as failed if they waited a period and are in no block."""
        blocks_ago = best_height - height if best_height else 0
        if blocks_ago < 0:
            return
        ring = self._waiting
        row = self._waiting_long if blocks_ago >= len(ring) else ring[height % len(ring)]
        if row is not _NOBODY:
            row[bucket] = max(0, row[bucket] - count)
        if not in_block and blocks_ago >= self.scale:
            self.apply_decay()
            for row_failed in self.failed[: blocks_ago // self.scale]:
                row_failed[bucket] = add_each(row_failed[bucket], [1] * count)

    def record(self, blocks: int, bucket: int, feerates: Sequence[int]) -> None:
        """Transactions of one bucket confirmed in the ``blocks``-th block after they came."""
        if blocks < 1:
            return
        self.apply_decay()
        ones = [1] * len(feerates)
        for row in self.confirmed[(blocks + self.scale - 1) // self.scale - 1 :]:
            row[bucket] = add_each(row[bucket], ones)
        self.counts[bucket] = add_each(self.counts[bucket], ones)
        self.feerates[bucket] = add_each(self.feerates[bucket], feerates)

    def _waited(self, target: int, height: int) -> Counts:
        """By bucket: what waits for ``target`` blocks or longer."""
        ring = self._waiting
        rows = [ring[((height - ago) & _UINT32) % len(ring)] for ago in range(target, self.max_confirms)]
        return [sum(column) for column in zip(self._waiting_long, *(row for row in rows if any(row)), strict=True)]

    def estimate(self, target: int, sufficient: float, threshold: float, height: int) -> tuple[float, Estimation]:
        """The feerate of the lowest buckets of which a share of ``threshold`` confirmed within ``target`` blocks.

        Buckets are joined, from the highest feerate down, until ``sufficient`` transactions a block are in a run. The
        answer is the mean feerate of the bucket with the median transaction, -1 when there are too few data.
        ``height`` is that of the newest block.
        """
        self.apply_decay()
        period = (target + self.scale - 1) // self.scale - 1
        confirmed, failed, counts = self.confirmed[period], self.failed[period], self.counts
        waited = self._waited(target, height)
        enough = sufficient / (1 - self.decay)
        best_low = best_high = high = len(self.bounds) - 1
        result = Estimation(decay=self.decay, scale=self.scale)
        run = BucketRange()
        in_run = 0.0
        found, passing, fresh = False, True, True
        for bucket in range(len(self.bounds) - 1, -1, -1):
            if fresh:
                high, fresh = bucket, False
            run.within_target += confirmed[bucket]
            run.total_confirmed += counts[bucket]
            run.left_mempool += failed[bucket]
            run.in_mempool += waited[bucket]
            in_run += counts[bucket]
            if in_run < enough:
                continue
            in_run = 0.0
            if run.within_target / (run.total_confirmed + run.left_mempool + run.in_mempool) < threshold:
                if passing:
                    result.failed = self._bounded(run, bucket, high)
                    passing = False
                continue
            result.failed = BucketRange()
            result.passed, run = run, BucketRange()
            found = passing = fresh = True
            best_low, best_high = bucket, high
        median = -1.0
        total = 0.0
        for count in counts[best_low : best_high + 1]:  # not sum(), which rounds otherwise than Core since Python 3.12
            total += count
        if found and total:
            median = self._median(best_low, best_high, total / 2)
            result.passed = self._bounded(result.passed, best_low, best_high)
        if passing and not fresh:
            result.failed = self._bounded(run, 0, high)
        return median, result

    def _median(self, low: int, high: int, half: float) -> float:
        for bucket in range(low, high + 1):
            if self.counts[bucket] >= half:
                return self.feerates[bucket] / self.counts[bucket]
            half -= self.counts[bucket]
        return -1.0

    def _bounded(self, run: BucketRange, low: int, high: int) -> BucketRange:
        """A copy with the bounds of the buckets ``low`` to ``high``."""
        return BucketRange(
            self.bounds[low - 1] if low else 0.0,
            self.bounds[high],
            run.within_target,
            run.total_confirmed,
            run.in_mempool,
            run.left_mempool,
        )
