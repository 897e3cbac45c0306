"""Watches the synchronisation of a node: its state, its checkpoints, its profile."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from btcnode.chain.events import BlockConnected, BlockDisconnected, BlockRejected, ChainEvent
from btcnode.counting import Histogram
from btcnode.errors import Fault, StorageError
from btcnode.primitives.hashes import BlockHash
from btcnode.protocol.protocol import Protocol
from btcnode.services.clock import Clock
from btcnode.sync.checkpoint import Checkpoint, how_it_ended, read_checkpoint, write_checkpoint
from btcnode.sync.driver import ChainDriver
from btcnode.sync.process_memory import resident_of
from btcnode.sync.profile import StageSeconds, SyncProfile, SyncReport, SyncSample, describe
from btcnode.sync.state_machine import (
    CHANGES_DISK,
    IllegalTransition,
    Observation,
    SyncEvent,
    SyncState,
    SyncStateMachine,
    classify,
)
from btcnode.sync.worker_pool import WorkerPool

if TYPE_CHECKING:
    from btcnode.protocol.chain_view import ChainView

log = logging.getLogger("btcnode.sync")

DEPTH_BOUNDS = (1, 2, 3, 6, 10, 100)
CONNECTING = ("ConnectStep", "FinishStep", "DisconnectStep", "RetreatStep")


class SyncMonitor:
    """Observes once a second; the state machine, the checkpoint and the profile are its own."""

    def __init__(
        self, driver: ChainDriver, view: ChainView, protocol: Protocol, pool: WorkerPool | None, clock: Clock
    ) -> None:
        self.machine = SyncStateMachine(clock.now())
        self.profile = SyncProfile()
        self._final: SyncReport | None = None  # of the initial download, once it is over
        self.blocks = self.txs = self.inputs = 0  # connected since the start
        self.rejected = dict.fromkeys(Fault, 0)  # blocks that broke a rule
        self.reorganisations = Histogram(DEPTH_BOUNDS)  # blocks that the chain has left at a time
        self._left = 0  # since the last block that was connected
        self._driver = driver
        self._view = view
        self._protocol = protocol
        self._pool = pool
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._last_progress = self._loop.time()
        self._heights = (-1, -1)
        self._headers_grew = False
        self._pids = [os.getpid()]
        driver.listen(self._on_events)

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        for event in chain_events:
            if isinstance(event, BlockConnected):
                self.blocks += 1
                self.txs += event.txs
                self.inputs += event.inputs
                if self._left:
                    self.reorganisations.add(self._left)
                    self._left = 0
            elif isinstance(event, BlockDisconnected):
                self._left += 1
            elif isinstance(event, BlockRejected):
                self.rejected[event.violation.fault] += 1

    # -- for RPC -------------------------------------------------------------------------------------------------

    def report(self) -> SyncReport | None:
        """Rates and shares of the initial download, so far or of all of it; None before there are any."""
        return self._final if self._final is not None else self.profile.report()

    # -- how the last run ended ----------------------------------------------------------------------------------

    def log_last_run(self) -> None:
        """Log how the last run ended, unless it ended well. Raises CorruptionError."""
        state = self._driver.chainstate
        checkpoint = read_checkpoint(state.store.database)
        if checkpoint is None:
            return
        tree, tip = state.tree, state.tip
        then, same = tree.find(BlockHash(checkpoint.tip_hash)), True
        if then >= 0:
            high, low = (then, tip) if tree.height(then) >= tree.height(tip) else (tip, then)
            same = tree.ancestor(high, tree.height(low)) == low
        line = how_it_ended(checkpoint, tree.hash(tip), tree.height(tip), same_branch=same)
        if line is not None:
            log.warning("%s", line)

    # -- once a second ---------------------------------------------------------------------------------------------

    async def observe(self) -> None:
        """Observe, and change the state where something has happened. Raises StorageError."""
        seen = self._observe(stopping=False)
        await self._follow(classify(seen), seen.tip_height)
        self._sample()

    def _observe(self, *, stopping: bool) -> Observation:
        tree, active = self._view.tree, self._view.active
        heights = (active.height, tree.height(tree.best_header))
        presync = self._protocol.presync_height()
        mark = (heights[0], max(heights[1], presync))
        self._headers_grew = mark[1] > self._heights[1]
        if mark != self._heights or heights[0] == heights[1]:
            self._heights = mark
            self._last_progress = self._loop.time()
        return Observation(
            tip_height=heights[0],
            best_header_height=heights[1],
            initial_download=self._view.is_initial_block_download(self._clock.now()),
            presync=presync >= 0,
            peers=len(self._protocol.peer_ids()),
            idle_seconds=self._loop.time() - self._last_progress,
            headers_grow=self._headers_grew,
            stopping=stopping,
        )

    async def _follow(self, event: SyncEvent, height: int) -> None:
        machine = self.machine
        try:
            new = machine.target(event)
        except IllegalTransition as error:
            log.debug("%s", error)
            return
        old = machine.state
        if new is old:
            return
        if new in CHANGES_DISK:
            await self._write(new)
        change = machine.fire(event, self._clock.now(), height)
        if change is not None:
            log.info("sync state: %s -> %s (%s) at height %d", change.old, change.new, change.event, height)
        if new is SyncState.SYNCED and self._final is None and old is not SyncState.IDLE:
            self._sample()
            self._final = self.profile.report()
            for line in describe(self._final) if self._final is not None else ():
                log.info("%s", line)

    async def _write(self, state: SyncState) -> None:
        chain = self._driver.chainstate
        checkpoint = Checkpoint(self._clock.now(), state, chain.active.height, chain.tree.hash(chain.tip))
        await asyncio.to_thread(write_checkpoint, chain.store.database, checkpoint)

    async def note_stop(self) -> None:
        """The node begins to shut down."""
        try:
            await self._follow(SyncEvent.STOP, self._view.active.height)
        except StorageError as error:  # the flush that follows will meet the same and stop the node
            log.error("the checkpoint of the shutdown is not written: %s", error)

    # -- profile ---------------------------------------------------------------------------------------------------

    def stages(self) -> StageSeconds:
        """Seconds that each stage has worked."""
        busy = self._driver.busy_seconds
        pool = self._pool
        return StageSeconds(
            store=busy.get("StoreStep", 0.0),
            validate=sum(busy.get(kind, 0.0) for kind in CONNECTING),
            commit=self._driver.chainstate.executor.flusher.seconds,
            processes=pool.busy_seconds if pool is not None else 0.0,
            workers=pool.workers if pool is not None else 0,
        )

    def _sample(self) -> None:
        """One sample, as long as the initial download lasts."""
        if self._final is not None:
            return
        fetching = self._protocol.fetching
        open_requests, queued, _ = self._protocol.block_queue()
        self.profile.add(
            SyncSample(
                steady=self._loop.time(),
                blocks=self.blocks,
                inputs=self.inputs,
                txs=self.txs,
                memory=self.memory(),
                requests_open=open_requests,
                queued_blocks=queued,
                active_peers=len(fetching.active),
                peers=len(self._protocol.peer_ids()),
                stages=self.stages(),
            )
        )

    def memory(self) -> int:
        """Resident bytes of the node and its workers."""
        pids = self._pool.pids if self._pool is not None else []
        return resident_of([*self._pids, *pids]).total
