"""The node's memory: how much there is, who gets what of it, and who keeps to that."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from btcnode.errors import ConfigError
from btcnode.networks.assumeutxo import known_sets
from btcnode.node.control_groups import MemoryGroup, memory_groups
from btcnode.protocol.commands import ValidationLimit
from btcnode.record import record
from btcnode.side_processes import PROCESS_BYTES
from btcnode.storage.coin_runs import MERGES
from btcnode.sync.driver import RUN_AHEAD_BYTES, ChainDriver
from btcnode.sync.memory_plan import FLUSH, MERGE, MIB, PROCESS, WRITER, MemoryPlan, Wishes, least, plan
from btcnode.sync.process_memory import Resident, give_back, map_large, resident, resident_of
from btcnode.sync.worker_pool import WorkerPool, worker_count

if TYPE_CHECKING:
    from btcnode.net.reactor import Reactor
    from btcnode.rpc.room import Room
    from btcnode.services.chain import Chain
    from btcnode.services.transactions import Transactions
    from btcnode.settings.settings import Settings

COMPILING_FROM = 1024 * MIB  # where the system ends who takes more than he may: the compiler takes a quarter of it
SMALL_ANSWER = 8 * MIB  # that much is never refused
GROUP_SHARE = 0.85  # of a container's limit: the rest is for the kernel, and for what comes between two looks

log = logging.getLogger("btcnode.node")


class MemoryBudget:
    """How many bytes the node may take, and their division: the one place that knows both."""

    def __init__(self, settings: Settings, groups: tuple[MemoryGroup, ...] | None = None, own: int = 0) -> None:
        """``groups``: in place of those that this process is in. ``own``: bytes that it has before the node starts."""
        self._groups = memory_groups() if groups is None else groups
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._wanted = settings.storage.maxmemory_bytes
        self._most = min(self._wanted, int(GROUP_SHARE * machine))
        self._program = max(0, own - PROCESS)  # of whoever has a node inside
        self._wishes = Wishes(
            headers=max((known.height for known in known_sets(settings.params)), default=0),
            peers=settings.connections.maxconnections,
            workers=worker_count(settings.storage.par),
            dbcache=settings.storage.dbcache_bytes,
            mempool=settings.mempool.maxmempool_bytes,
            keeps_coins=not settings.storage.utreexocsn,
            kernels=settings.process.compiled,
        )

    def _left(self, own: int) -> tuple[int, MemoryGroup] | None:
        """What the tightest group leaves to the node, which has ``own`` bytes of it, and that group; None: no limit."""
        found: tuple[int, MemoryGroup] | None = None
        for group in self._groups:
            limit = group.limit()
            if limit is None:
                continue
            left = limit - max(0, group.used() - own)
            if found is None or left < found[0]:
                found = left, group
        return found

    @property
    def enforced(self) -> bool:
        """Whether the system ends the node for taking more."""
        return any(group.limit() is not None for group in self._groups)

    def limit(self, own: int) -> int:
        """Bytes that the node may take now, of which it has ``own``: as the options, the machine, the groups allow."""
        left = self._left(own)
        return self._most if left is None else max(0, min(self._most, int(GROUP_SHARE * left[0])))

    def plan(self, limit: int) -> MemoryPlan:
        """The shares of so many bytes; who only has said how much he would like to give keeps workers and kernels."""
        if limit < self._wanted:
            return plan(max(0, limit - self._program), self._wishes)._replace(limit=limit)
        wishes = self._wishes
        return plan(limit, wishes._replace(workers=0, kernels=False))._replace(
            workers=wishes.workers, kernels=wishes.kernels
        )

    def may_compile(self, plan: MemoryPlan) -> bool:
        """Whether there is room for the process that makes the kernels, once and for some seconds."""
        return plan.kernels and (not self.enforced or plan.limit >= COMPILING_FROM)

    def check(self, own: int) -> None:
        """Raise ConfigError, with what is needed, when the groups leave less than a node can work with."""
        left, needed = self._left(own), int((least(self._wishes) + self._program) / GROUP_SHARE)
        if left is not None and left[0] < needed:
            raise ConfigError(
                f"Not enough memory: the control group {left[1].folder} leaves {left[0] // MIB} MiB to this node, which"
                f" needs {-(-needed // MIB)} MiB with these options. Raise the limit, or lower -maxconnections or"
                " -maxmempool."
            )


def fit_memory(settings: Settings) -> tuple[Settings, MemoryBudget, MemoryPlan]:
    """The options as far as there is memory for them, and the budget; raises ConfigError when it does not suffice."""
    if settings.storage.utreexocsn:
        map_large()
    own = resident().own
    budget = MemoryBudget(settings, own=own)
    budget.check(own)
    share = budget.plan(budget.limit(own))
    storage, mempool = settings.storage, settings.mempool
    if share.limit < storage.maxmemory_bytes:
        log.info(
            "memory budget %d MiB instead of %d: the machine or the container has no more",
            share.limit // MIB, storage.maxmemory_bytes // MIB,
        )  # fmt: skip
    wanted = (
        ("-dbcache", storage.dbcache_bytes, share.coins, MIB, "MiB"),
        ("-maxmempool", mempool.maxmempool_bytes, share.mempool, 1_000_000, "MB"),
        ("-par", 1 + worker_count(storage.par), 1 + share.workers, 1, "processes"),
    )
    for name, wish, given, unit, of in wanted:
        if given < wish:
            log.warning("Reducing %s from %d to %d %s, for lack of memory.", name, wish // unit, given // unit, of)
    settings = settings.changed("storage", dbcache_bytes=share.coins, par=1 + share.workers)
    return settings.changed("mempool", maxmempool_bytes=share.mempool), budget, share


@record
class NodeConsumers:
    """What takes memory in a node beside the coin cache."""

    driver: ChainDriver
    workers: WorkerPool | None  # None: -par=1, or no memory for more
    reactor: Reactor
    transactions: Transactions
    chain: Chain
    room: Room
    enforced: bool  # the budget is the system's: what does not fit must be refused

    def measure(self) -> Resident:
        """Resident memory of the node, its workers, and processes that write or merge coins or make answers."""
        pids = [os.getpid()]
        if self.workers is not None:
            pids += self.workers.pids
        for database in self.driver.chainstate.store.databases:
            pids += database.coin_runs.pids
        if self.room.processes is not None:
            pids += self.room.processes.pids
        return resident_of(pids)

    def apply(self, plan: MemoryPlan) -> None:
        """Keep to these shares from now on. Worker processes stay as many as were started."""
        self.reactor.limit_held(plan.held)
        self.room.limit = plan.answers
        self.chain.lately.set_limit(plan.lately)
        self.transactions.limit_memory(plan.mempool)

    def admit(self, queue: int) -> None:
        """So many bytes of blocks may be on their way to the chain, from peers and from files."""
        self.reactor.feed(ValidationLimit(queue))
        self.driver.run_ahead = min(RUN_AHEAD_BYTES, queue // 2)

    def offer(self, free: int) -> None:
        """So many bytes of the budget are not taken: all answers together get no more where that would end the node.

        A flush may begin at any moment, so its share stays free. A second process that merges coins comes only where
        there is room for it.
        """
        if self.enforced:
            self.room.offer(free - WRITER - FLUSH, SMALL_ANSWER)
        if self.enforced and self.room.processes is not None:
            self.room.processes.allowed = free - WRITER - FLUSH >= PROCESS_BYTES
        for database in self.driver.chainstate.store.databases:
            database.coin_runs.most_merges = MERGES if free >= MERGES * MERGE else 1

    def release(self) -> None:
        """Give mapped pages of the database back to the system."""
        self.driver.chainstate.store.database.release_pages()

    def trim(self) -> None:
        """Memory that was freed goes back to the system, beside the loop: after large answers it is much."""
        asyncio.get_running_loop().run_in_executor(None, give_back)

    def relieve(self, excess: int) -> None:
        """The mempool gives way by as much."""
        self.transactions.shrink(max(0, self.transactions.pool.memory_usage - excess))
