"""One budget for the memory of the node: coin cache, queued blocks, worker processes and everything else.

What the coin cache takes is known to the byte, the rest is measured: resident memory of the node and its workers,
less the cache. So the cache gets what is left of the budget, up to ``--dbcache``. Memory that Python has freed often
stays with the process, for the next coins; the cache's highest use of late is therefore what counts against the
resident size. If the budget is nearly taken all the same, fewer blocks are admitted to validation, one at the least:
the sync goes on more slowly, it never stands still.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from btcnode.chain.coins_cache import CoinsCache
from btcnode.sync.process_memory import Resident

MIB = 1 << 20
QUEUE_SHARE = 8  # blocks that wait for validation take at most this part: parsed they are three times as large
MAX_QUEUE = 64 * MIB
MIN_QUEUE = 4 * MIB  # one block
MIN_CACHE = 4 * MIB
HEADROOM = 0.05  # of the budget: what one block adds between two looks
TIGHT = 0.90  # of the budget is taken: admit less
RELAXED = 0.80  # admit all again
MAPPED_SHARE = 4  # pages of the database that were read may take this part of the budget before they are given back
CACHE_MEMORY = 300  # looks that the highest use of the cache is remembered for, at one a second: five minutes

log = logging.getLogger("btcnode.sync")


def queue_budget(limit: int) -> int:
    """Bytes of blocks that may wait for validation when memory suffices, of ``limit`` bytes in all."""
    return max(MIN_QUEUE, min(MAX_QUEUE, limit // QUEUE_SHARE // 3))


class MemoryState(NamedTuple):
    """What the last look has found, and what followed (bytes)."""

    limit: int
    own: int  # resident, of all processes
    mapped: int
    cache: int
    cache_budget: int


class MemoryLimiter:
    """Divides ``limit`` bytes; ``divide`` is to be called about once a second on the loop thread.

    ``dbcache`` is the most that the coin cache may take, ``measure`` gives the resident memory of the node and its
    workers, ``admit`` is told how many bytes of blocks may wait for validation, and ``release`` gives mapped pages
    of the database back to the system.
    """

    def __init__(
        self,
        limit: int,
        *,
        coins: CoinsCache,
        dbcache: int,
        measure: Callable[[], Resident],
        admit: Callable[[int], None],
        release: Callable[[], object],
    ) -> None:
        self._limit = limit
        self._coins = coins
        self._dbcache = dbcache
        self._measure = measure
        self._admit = admit
        self._release = release
        self._full_queue = queue_budget(limit)
        self._queue_limit = -1
        self._cache_use: deque[int] = deque(maxlen=CACHE_MEMORY)
        self.state = MemoryState(limit, 0, 0, 0, coins.budget)

    def divide(self) -> None:
        """Measure, and divide anew."""
        own, mapped = self._measure()
        use = self._coins.usage
        self._cache_use.append(use)
        others = max(0, own - max(self._cache_use))
        # blocks that are not there yet count already: admission has to stop before the budget is passed
        room = int(self._limit * (1 - HEADROOM)) - others - self._full_queue
        budget = max(MIN_CACHE, min(self._dbcache, room))
        self._coins.set_budget(budget)
        if own + mapped > self._limit and mapped > self._limit // MAPPED_SHARE:
            self._release()
        self._set_queue(own)
        self.state = MemoryState(self._limit, own, mapped, use, budget)

    def _set_queue(self, own: int) -> None:
        share = own / self._limit
        if share >= TIGHT:
            queue = MIN_QUEUE
        elif share <= RELAXED or self._queue_limit < 0:
            queue = self._full_queue
        else:
            return
        if queue != self._queue_limit:
            if queue < self._full_queue:
                log.info(
                    "memory is short: %d of %d MiB are taken, blocks are admitted one at a time (see --maxmemory)",
                    own // MIB, self._limit // MIB,
                )  # fmt: skip
            elif self._queue_limit >= 0:
                log.info("memory suffices again: %d of %d MiB are taken", own // MIB, self._limit // MIB)
            self._queue_limit = queue
            self._admit(queue)
