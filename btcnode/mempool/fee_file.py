"""The estimator's memory as bytes: Core's ``fee_estimates.dat``.

``version[i32] best_height[u32] first[u32] last[u32] bounds`` and the medium, short and long horizon, each
``decay scale[u32] feerates counts confirmed failed``. Numbers are doubles, lists have a CompactSize before
them; all little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from struct import Struct

from btcnode.errors import DecodeError
from btcnode.mempool.fee_estimator import FeeEstimator, Horizon
from btcnode.mempool.fee_stats import ConfirmStats, Row
from btcnode.primitives.compactsize import compact_size, read_compact_size

VERSION = 309900
MAX_BUCKETS = 1000
MAX_CONFIRMS = 1008
MAX_VALUE = 1e100  # the largest that is written is the last bucket's bound
FILE_ORDER = (Horizon.MEDIUM, Horizon.SHORT, Horizon.LONG)

_HEAD = Struct("<iIII")
_STATS = Struct("<dI")


def _row(values: Sequence[float]) -> bytes:
    return compact_size(len(values)) + Struct(f"<{len(values)}d").pack(*values)


def _rows(rows: Sequence[Row]) -> bytes:
    return compact_size(len(rows)) + b"".join(map(_row, rows))


def encode_estimates(estimator: FeeEstimator) -> bytes:
    """The file's bytes."""
    span = (estimator.first_height, estimator.best_height)
    if estimator.block_span() <= estimator.history_span() // 2:
        span = estimator.history
    parts = [_HEAD.pack(VERSION, estimator.best_height, *span), _row(estimator.stats[Horizon.MEDIUM].bounds)]
    for horizon in FILE_ORDER:
        stats = estimator.stats[horizon]
        stats.apply_decay()
        parts += (
            _STATS.pack(stats.decay, stats.scale),
            _row(stats.feerates),
            _row(stats.counts),
            _rows(stats.confirmed),
            _rows(stats.failed),
        )
    return b"".join(parts)


class _Cursor:
    """Reads one value after the other; raises DecodeError where the bytes end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def unpack(self, form: Struct) -> tuple[float, ...]:
        """The fields of a record."""
        end = self._at + form.size
        if end > len(self._data):
            raise DecodeError("the file ends early")
        found = form.unpack_from(self._data, self._at)
        self._at = end
        return found

    def count(self) -> int:
        """A CompactSize."""
        value, self._at = read_compact_size(self._data, self._at)
        return value

    def row(self, width: int | None = None) -> Row:
        """A list of doubles that can be counted with, of ``width`` where it is known."""
        count = self.count()
        if count > MAX_BUCKETS or (width is not None and count != width):
            raise DecodeError(f"a list of {count} numbers where another length is due")
        values = list(self.unpack(Struct(f"<{count}d")))
        if not all(0 <= value < MAX_VALUE for value in values):
            raise DecodeError("a number that is no count, sum or feerate")
        return values

    def rows(self, width: int, count: int | None = None) -> list[Row]:
        """A list of such lists."""
        found = self.count()
        if found > MAX_CONFIRMS or (count is not None and found != count):
            raise DecodeError(f"{found} periods where another number is due")
        return [self.row(width) for _ in range(found)]


def decode_estimates(data: bytes) -> FeeEstimator:
    """An estimator with the memory of a file; raises DecodeError, also for an old version or bytes behind the data."""
    cursor = _Cursor(data)
    version, best, first, last = map(int, cursor.unpack(_HEAD))
    if version != VERSION:
        raise DecodeError(f"version {version} of the file is not known")
    if not first <= last <= best:
        raise DecodeError("the range of blocks makes no sense")
    bounds = cursor.row()
    if len(bounds) < 2:
        raise DecodeError("fewer than two buckets")
    if any(low >= high for low, high in pairwise(bounds)):
        raise DecodeError("the buckets do not ascend")
    estimator = FeeEstimator()
    estimator.stats |= {horizon: _read_stats(cursor, bounds) for horizon in FILE_ORDER}
    if not cursor.at_end():
        raise DecodeError("there is more behind the last number")
    estimator.best_height = best
    estimator.history = (first, last)
    return estimator


def _read_stats(cursor: _Cursor, bounds: Row) -> ConfirmStats:
    decay, scale = cursor.unpack(_STATS)
    if not 0 < decay < 1 or not scale:
        raise DecodeError("a decay or scale makes no sense")
    width = len(bounds)
    feerates, counts = cursor.row(width), cursor.row(width)
    confirmed = cursor.rows(width)
    periods = len(confirmed)
    if not 0 < int(scale) * periods <= MAX_CONFIRMS:
        raise DecodeError("targets beyond a week")
    failed = cursor.rows(width, periods)
    stats = ConfirmStats(bounds, periods, decay, int(scale))
    stats.feerates, stats.counts, stats.confirmed, stats.failed = feerates, counts, confirmed, failed
    return stats
