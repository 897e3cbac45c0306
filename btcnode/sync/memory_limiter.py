"""Keeps a running node within its memory: what each consumer may take follows what is there.

What the coin cache takes is known to the byte, the rest is measured: resident memory of the node and its workers,
less the cache. So the cache gets what is left of the budget, up to its share (``memory_plan.py``). Memory that Python
has freed often stays with the process, for the next coins; the cache's highest use of late is therefore what counts
against the resident size. If the budget is nearly taken all the same, fewer blocks are admitted to validation, one at
the least: the sync goes on more slowly, it never stands still. If it is taken, the mempool gives way too.

The budget may change while the node runs: a container's limit does, and what others in the same container take.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Protocol

from btcnode.chain.coins_cache import CoinsCache
from btcnode.sync.memory_plan import MIB, MIN_QUEUE, MemoryPlan
from btcnode.sync.process_memory import Resident
from btcnode.tuples import NamedTuple

MIN_CACHE = 4 * MIB
HEADROOM = 0.05  # of the budget: what one block adds between two looks
TIGHT = 0.90  # of the budget is taken: admit less
RELAXED = 0.80  # admit all again
TRIM = 0.45  # of the budget is taken: what was freed goes back to the system, often a fifth of all that is taken
SMALL_CACHE = 3 * MIN_CACHE  # the coins have nothing left to give
PATIENCE = 10  # looks from one relief to the next: freed memory goes back to the system slowly
CHANGED = 0.03  # a budget that differs by less is the same
MAPPED_SHARE = 4  # pages of the database that were read may take this part of the budget before they are given back
CACHE_MEMORY = 300  # looks that the highest use of the cache is remembered for, at one a second: five minutes

log = logging.getLogger("btcnode.sync")


class MemoryState(NamedTuple):
    """What the last look has found, and what followed (bytes)."""

    limit: int
    own: int  # resident, of all processes
    mapped: int
    cache: int


class Budget(Protocol):
    """How much there is, and how it is divided."""

    def limit(self, own: int) -> int:
        """Bytes that the node may take now; ``own`` are taken by it."""

    def plan(self, limit: int) -> MemoryPlan:
        """The shares of so many bytes."""


class Consumers(Protocol):
    """What takes memory beside the coin cache, and keeps to what it is told."""

    def measure(self) -> Resident:
        """Resident memory of the node and its workers."""

    def apply(self, plan: MemoryPlan) -> None:
        """Keep to these shares from now on."""

    def admit(self, queue: int) -> None:
        """So many bytes of blocks may be on their way to the chain."""

    def offer(self, free: int) -> None:
        """So many bytes of the budget are not taken."""

    def release(self) -> None:
        """Give mapped pages of the database back to the system."""

    def trim(self) -> None:
        """Give memory that was freed back to the system."""

    def relieve(self, excess: int) -> None:
        """So many bytes too many are taken: give up what others can do without."""


class MemoryLimiter:
    """``divide`` is to be called about once a second on the loop thread."""

    def __init__(self, budget: Budget, consumers: Consumers, coins: CoinsCache) -> None:
        self._budget = budget
        self._consumers = consumers
        self._coins = coins
        self._plan = budget.plan(budget.limit(consumers.measure().own))
        self._queue = self._plan.queue
        self._short = False
        self._looks, self._relieved, self._trimmed = 0, -PATIENCE, -PATIENCE
        self._cache_use: deque[int] = deque(maxlen=CACHE_MEMORY)
        self.state = MemoryState(self._plan.limit, 0, 0, 0)
        consumers.apply(self._plan)
        consumers.admit(self._queue)

    def divide(self) -> None:
        """Measure, and divide anew."""
        own, mapped = self._consumers.measure()
        limit = self._budget.limit(own)
        if abs(limit - self._plan.limit) > CHANGED * self._plan.limit:
            self._follow(limit)
        use = self._coins.usage
        self._cache_use.append(use)
        others = max(0, own - max(self._cache_use))
        # blocks and answers that are not there yet count already: what is admitted has to fit
        room = int(limit * (1 - HEADROOM)) - others - self._plan.queue - self._plan.answers
        cache = max(MIN_CACHE, min(self._plan.coins, room))
        self._coins.set_budget(cache)
        if own + mapped > limit and mapped > limit // MAPPED_SHARE:
            self._consumers.release()
        self._set_queue(own, limit)
        self._looks += 1
        if own > TRIM * limit and self._looks >= self._trimmed + PATIENCE:
            self._trimmed = self._looks
            self._consumers.trim()
        if own > limit and use <= SMALL_CACHE and self._looks >= self._relieved + PATIENCE:
            self._relieved = self._looks
            self._consumers.relieve(own - limit)
        self._consumers.offer(max(0, limit - own))
        self.state = MemoryState(limit, own, mapped, use)

    def _follow(self, limit: int) -> None:
        """The budget is another one."""
        before, self._plan = self._plan.limit, self._budget.plan(limit)
        log.info("memory budget %d MiB instead of %d", limit // MIB, before // MIB)
        self._consumers.apply(self._plan)

    def _set_queue(self, own: int, limit: int) -> None:
        share = own / max(1, limit)
        if share >= TIGHT and not self._short:
            self._short = True
            log.info(
                "memory is short: %d of %d MiB are taken, blocks are admitted one at a time (see --maxmemory)",
                own // MIB, limit // MIB,
            )  # fmt: skip
        elif share <= RELAXED and self._short:
            self._short = False
            log.info("memory suffices again: %d of %d MiB are taken", own // MIB, limit // MIB)
        queue = MIN_QUEUE if self._short else self._plan.queue
        if queue != self._queue:
            self._queue = queue
            self._consumers.admit(queue)
