"""Fee estimation from what was seen: how long transactions of each feerate waited for their block.

Core's ``CBlockPolicyEstimator``: three horizons with different memory, each a ``ConfirmStats``. Only transactions that
came while the node was at the tip, without parents in the mempool, alone and within the usual limits are followed.
Feerates are satoshi per kvB; 0 stands for "not known".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from math import floor, isfinite

from btcnode.mempool.entry import MempoolEntry
from btcnode.mempool.fee_stats import ConfirmStats, Estimation
from btcnode.tuples import NamedTuple

MIN_BUCKET = 100.0  # satoshi per kvB
MAX_BUCKET = 1e7
SPACING = 1.05
INFINITE = 1e99  # bound of the last bucket

HALF_SUCCESS, SUCCESS, DOUBLE_SUCCESS = 0.6, 0.85, 0.95
SUFFICIENT, SUFFICIENT_SHORT = 0.1, 0.5  # transactions a block that a run of buckets needs
OLDEST_HISTORY = 6 * 1008  # blocks after which a stored history says nothing any more


class Horizon(StrEnum):
    """How far back a horizon remembers; the values are the names in ``estimaterawfee``."""

    SHORT = "short"
    MEDIUM = "medium"
    LONG = "long"


# periods, decay for each block, blocks of a period
HORIZONS = {Horizon.SHORT: (12, 0.962, 1), Horizon.MEDIUM: (24, 0.9952, 2), Horizon.LONG: (42, 0.99931, 24)}


class _Followed(NamedTuple):
    height: int
    bucket: int


class FeeReason(StrEnum):
    """Where a feerate comes from, in Core's words; the last three are for who adds limits to an estimate."""

    NONE = "None"
    HALF_ESTIMATE = "Half Target 60% Threshold"
    FULL_ESTIMATE = "Target 85% Threshold"
    DOUBLE_ESTIMATE = "Double Target 95% Threshold"
    CONSERVATIVE = "Conservative Double Target longer horizon"
    MEMPOOL_MIN = "Mempool Min Fee"
    FALLBACK = "Fallback fee"
    REQUIRED = "Minimum Required Fee"


class SmartFee(NamedTuple):
    """``feerate`` (0: not known) for confirmation within ``blocks``, which may differ from what was asked for."""

    feerate: int
    blocks: int
    reason: FeeReason = FeeReason.NONE


def make_bounds() -> list[float]:
    """The upper bounds of the buckets, ascending."""
    bounds = []
    bound = MIN_BUCKET
    while bound <= MAX_BUCKET:
        bounds.append(bound)
        bound *= SPACING
    return [*bounds, INFINITE]


def _rounded(value: float) -> int:
    """Half away from zero; 0 for what only a file with absurd numbers can bring about."""
    return floor(value + 0.5) if isfinite(value) else 0


class FeeEstimator:
    """Follows transactions from the mempool into blocks, and estimates from that."""

    def __init__(self) -> None:
        bounds = make_bounds()
        self.stats = {horizon: ConfirmStats(bounds, *terms) for horizon, terms in HORIZONS.items()}
        self.best_height = 0  # of the newest block seen
        self.first_height = 0  # of the first block that told something, 0 before
        self.history = (0, 0)  # first and last height of what a file told
        self._followed: dict[bytes, _Followed] = {}

    # -- what happens --------------------------------------------------------------------------------------------

    def added(self, entry: MempoolEntry, *, counts: bool) -> None:
        """A transaction came into the mempool; ``counts``: it says something about fees."""
        if entry.txid in self._followed or entry.height != self.best_height or not counts:
            return
        feerate = entry.fee * 1000 // entry.vsize
        bucket = self.stats[Horizon.SHORT].bucket_of(feerate)
        for stats in self.stats.values():
            stats.add(entry.height, bucket)
        self._followed[entry.txid] = _Followed(entry.height, bucket)

    def removed(self, txid: bytes) -> bool:
        """A transaction left the mempool, not for a block; whether it was followed."""
        followed = self._followed.pop(txid, None)
        if followed is None:
            return False
        for stats in self.stats.values():
            stats.remove(followed.height, self.best_height, followed.bucket, in_block=False)
        return True

    def block(self, confirmed: Iterable[MempoolEntry], height: int) -> None:
        """A block at ``height`` confirmed these transactions of the mempool; blocks of forks do not count."""
        if height <= self.best_height:
            return
        self.best_height = height
        for stats in self.stats.values():
            stats.next_block(height)
        # a block has thousands of transactions and few buckets: what is alike is counted together
        left: Counter[_Followed] = Counter()
        found: dict[tuple[int, int], list[int]] = {}  # (blocks waited, bucket): feerates in the order of the block
        bucket_of = self.stats[Horizon.SHORT].bucket_of
        for entry in confirmed:
            followed = self._followed.pop(entry.txid, None)
            if followed is None:
                continue
            left[followed] += 1
            if height > entry.height:
                feerate = entry.fee * 1000 // entry.vsize
                found.setdefault((height - entry.height, bucket_of(feerate)), []).append(feerate)
        for stats in self.stats.values():
            for (since, bucket), count in left.items():
                stats.remove(since, height, bucket, in_block=True, count=count)
            for (blocks, bucket), feerates in found.items():
                stats.record(blocks, bucket, feerates)
        if found and not self.first_height:
            self.first_height = height

    def give_up(self) -> None:
        """The node stops: what is still unconfirmed counts as such."""
        for txid in list(self._followed):
            self.removed(txid)

    # -- spans ---------------------------------------------------------------------------------------------------

    def block_span(self) -> int:
        """Blocks of data gathered since the start."""
        return self.best_height - self.first_height if self.first_height else 0

    def history_span(self) -> int:
        """Blocks of data that a file brought, 0 when they are too old."""
        first, last = self.history
        return 0 if not first or self.best_height - last > OLDEST_HISTORY else last - first

    def highest_target(self, horizon: Horizon = Horizon.LONG) -> int:
        """The farthest target that a horizon tracks."""
        return self.stats[horizon].max_confirms

    def _usable_target(self) -> int:
        """Half of the span, so that there is time for failures to show."""
        return min(self.highest_target(), max(self.block_span(), self.history_span()) // 2)

    # -- estimates -----------------------------------------------------------------------------------------------

    def raw(self, target: int, threshold: float, horizon: Horizon) -> tuple[int, Estimation]:
        """The feerate at which a share of ``threshold`` confirmed within ``target``, on one horizon alone."""
        sufficient = SUFFICIENT_SHORT if horizon is Horizon.SHORT else SUFFICIENT
        median, found = self.stats[horizon].estimate(target, sufficient, threshold, self.best_height)
        return (_rounded(median) if median >= 0 else 0), found

    def smart(self, target: int, *, conservative: bool) -> SmartFee:
        """The feerate for confirmation within ``target`` blocks.

        The highest of what 60 % needed for half of the target, 85 % for the target and 95 % for twice the target; a
        ``conservative`` estimate looks at the longer horizons too for the last one.
        """
        wanted = target
        if not 0 < target <= self.highest_target():
            return SmartFee(0, wanted)
        target = min(max(target, 2), self._usable_target())
        if target <= 1:
            return SmartFee(0, target)
        best, reason = self._combined(target // 2, HALF_SUCCESS, check_shorter=True), FeeReason.HALF_ESTIMATE
        full = self._combined(target, SUCCESS, check_shorter=True)
        if full > best:
            best, reason = full, FeeReason.FULL_ESTIMATE
        double = self._combined(2 * target, DOUBLE_SUCCESS, check_shorter=not conservative)
        if double > best:
            best, reason = double, FeeReason.DOUBLE_ESTIMATE
        if conservative or best == -1:
            longer = self._over_longer_horizons(2 * target)
            if longer > best:
                best, reason = longer, FeeReason.CONSERVATIVE
        return SmartFee(_rounded(best), target, reason) if best >= 0 else SmartFee(0, target)

    def _median(self, horizon: Horizon, target: int, threshold: float) -> float:
        sufficient = SUFFICIENT_SHORT if horizon is Horizon.SHORT else SUFFICIENT
        return self.stats[horizon].estimate(target, sufficient, threshold, self.best_height)[0]

    def _combined(self, target: int, threshold: float, *, check_shorter: bool) -> float:
        """From the shortest horizon that tracks the target; shorter ones may lower it by what their farthest says."""
        if not 1 <= target <= self.highest_target():
            return -1.0
        fitting = next(horizon for horizon in Horizon if target <= self.highest_target(horizon))
        estimate = self._median(fitting, target, threshold)
        if check_shorter:
            for horizon in (Horizon.MEDIUM, Horizon.SHORT):
                farthest = self.highest_target(horizon)
                if target > farthest:
                    shorter = self._median(horizon, farthest, threshold)
                    if shorter > 0 and (estimate == -1 or shorter < estimate):
                        estimate = shorter
        return estimate

    def _over_longer_horizons(self, target: int) -> float:
        estimate = -1.0
        if target <= self.highest_target(Horizon.SHORT):
            estimate = self._median(Horizon.MEDIUM, target, DOUBLE_SUCCESS)
        if target <= self.highest_target(Horizon.MEDIUM):
            estimate = max(estimate, self._median(Horizon.LONG, target, DOUBLE_SUCCESS))
        return estimate
