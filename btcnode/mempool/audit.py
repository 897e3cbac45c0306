"""The second step of making room, which does not trust the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from btcnode.mempool.pool import Mempool


class PoolAudit:
    """After transactions had to go for lack of room: one walk over all others, for what should not be there."""

    def __init__(self, pool: Mempool) -> None:
        self._pool = pool
        self._evicted = pool.evicted
        self._at = 0
        self._walking = False

    def examine(self, has_coins: Callable[[Sequence[bytes]], Sequence[bool]], count: int) -> bool:
        """Examine the next ``count`` entries, if a walk is due; returns whether it was."""
        if not self._walking:
            if self._pool.evicted == self._evicted:
                return False
            self._evicted, self._walking = self._pool.evicted, True
        self._at = self._pool.audit(has_coins, self._at, count)
        self._walking = bool(self._at)
        return True
