"""The node's memory budget: its options, what is measured, and who follows."""

from __future__ import annotations

import logging
import os

from btcnode.net.reactor import Reactor
from btcnode.protocol.commands import ValidationLimit
from btcnode.settings.settings import Settings
from btcnode.sync.driver import ChainDriver
from btcnode.sync.memory_limiter import MIB, MemoryLimiter
from btcnode.sync.process_memory import CGROUP_SHARE, Resident, container_limit, resident_of
from btcnode.sync.worker_pool import WorkerPool

log = logging.getLogger("btcnode.node")


def memory_limit(settings: Settings) -> int:
    """The budget in bytes: ``--maxmemory``, or less where the container's limit is lower."""
    limit = settings.storage.maxmemory_bytes
    container = container_limit()
    if container is not None and int(container * CGROUP_SHARE) < limit:
        limit = int(container * CGROUP_SHARE)
        log.info(
            "memory budget %d MiB instead of %d: the container may take %d MiB",
            limit // MIB, settings.storage.maxmemory_bytes // MIB, container // MIB,
        )  # fmt: skip
    return limit


def make_memory_limiter(
    limit: int, settings: Settings, driver: ChainDriver, pool: WorkerPool | None, reactor: Reactor
) -> MemoryLimiter:
    """What divides ``limit`` bytes between a node's chain, workers and peers."""
    state = driver.chainstate
    me = os.getpid()

    def measure() -> Resident:
        return resident_of([me, *(pool.pids if pool is not None else ()), *state.store.database.coin_runs.pids])

    return MemoryLimiter(
        limit,
        coins=state.coins,
        dbcache=settings.storage.dbcache_bytes,
        measure=measure,
        admit=lambda limit: reactor.feed(ValidationLimit(limit)),
        release=state.store.database.release_pages,
    )
