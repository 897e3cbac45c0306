"""Feerates: sat/kvB as int, or a pair ``(fee, size)`` that is compared by cross product and never divided."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.primitives.amounts import COIN

FeeSize = tuple[int, int]
"""Fee in satoshi (may be negative by prioritisation) and size; the unit of size is the caller's."""


def fee_at(rate: int, vsize: int) -> int:
    """The fee in satoshi for ``vsize`` vbytes at ``rate`` sat/kvB, rounded up (Core's ``CFeeRate::GetFee``)."""
    return -(-rate * vsize // 1000)


def rate_of(fee: int, vsize: int) -> int:
    """The feerate in sat/kvB, rounded down (Core's ``CFeeRate::GetFeePerK``); 0 for no size."""
    return fee * 1000 // vsize if vsize > 0 else 0


def is_higher(a: FeeSize, b: FeeSize) -> bool:
    """Whether ``a`` is strictly the higher feerate; both sizes are positive."""
    return a[0] * b[1] > b[0] * a[1]


def format_rate(fee: int, vsize: int) -> str:
    """As Core's texts have it: ``0.00001000 BTC/kvB``; a negative rate is printed the way C's division leaves it."""
    rate = rate_of(fee, vsize)
    whole, part = divmod(abs(rate), COIN)
    if rate >= 0:
        return f"{whole}.{part:08d} BTC/kvB"
    return f"{-whole}.{-part:08d} BTC/kvB"


def improves_diagram(new: Sequence[FeeSize], old: Sequence[FeeSize]) -> bool:
    """Whether the chunks ``new`` are better somewhere and worse nowhere than ``old``.

    Both are chunks of non-increasing feerate; the diagram of a set of chunks is its cumulative fee over its
    cumulative size, and behind its end it is flat (Core's ``CompareChunks``).
    """
    new_points, old_points = _cumulate(new), _cumulate(old)
    better = False
    for points, other, sign in ((new_points, old_points, 1), (old_points, new_points, -1)):
        at = 0
        for fee, size in points[1:]:
            while at + 1 < len(other) and other[at + 1][1] < size:
                at += 1
            base_fee, base_size = other[at]
            if at + 1 < len(other):
                next_fee, next_size = other[at + 1]
                # fee against the line to the next point, both sides times its width
                width = next_size - base_size
                ahead = (fee - base_fee) * width - (next_fee - base_fee) * (size - base_size)
            else:
                ahead = fee - base_fee
            if ahead * sign < 0:
                return False
            better |= ahead != 0
    return better


def _cumulate(chunks: Sequence[FeeSize]) -> list[FeeSize]:
    fee = size = 0
    points = [(0, 0)]
    for chunk_fee, chunk_size in chunks:
        fee += chunk_fee
        size += chunk_size
        points.append((fee, size))
    return points
