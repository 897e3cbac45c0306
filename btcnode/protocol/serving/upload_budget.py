"""The day's upload target: how many bytes of blocks are sent before old blocks are refused (``--maxuploadtarget``).

A cycle of a day begins with the first block sent. As in Bitcoin Core a reserve is kept back from old blocks, enough to
send one block each ten minutes of the rest of the cycle. What counts are blocks, nearly all that a node sends.
"""

from __future__ import annotations

from btcnode.protocol.limits import MAX_UPLOAD_TIMEFRAME

BLOCK_RESERVE = 4_000_000  # bytes for each ten minutes
RESERVE_INTERVAL = 600


class UploadBudget:
    """``target`` in bytes, 0 for none; ``now`` is the present in Unix seconds."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._sent = 0
        self._start: int | None = None

    def record(self, size: int, now: int) -> None:
        """A block of ``size`` bytes was sent."""
        self._end_cycle(now)
        if self._start is None:
            self._start = now
        self._sent += size

    def _end_cycle(self, now: int) -> None:
        """Forget what was sent in a cycle that is over, or that begins in the future: the clock was set back.

        Without that the cycle would last until the clock is where it was, which may take years.
        """
        if self._start is not None and not self._start <= now <= self._start + MAX_UPLOAD_TIMEFRAME:
            self._start, self._sent = None, 0

    def time_left(self, now: int) -> int:
        """Seconds until the cycle ends; 0 without a target."""
        if not self.target:
            return 0
        if self._start is None:
            return int(MAX_UPLOAD_TIMEFRAME)
        return max(0, int(self._start + MAX_UPLOAD_TIMEFRAME) - now)

    def bytes_left(self) -> int:
        """Bytes left in the cycle; 0 without a target."""
        return max(0, self.target - self._sent)

    def reached(self, now: int, *, historical: bool) -> bool:
        """Whether no more may be sent, for old blocks (``historical``) or at all."""
        if not self.target:
            return False
        self._end_cycle(now)
        reserve = self.time_left(now) // RESERVE_INTERVAL * BLOCK_RESERVE if historical else 0
        return self._sent >= self.target - reserve
