"""Watches the synchronisation of a node: its state, its checkpoints, its profile."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from btcnode.chain.events import (
    BlockConnected,
    BlockDisconnected,
    BlockRejected,
    ChainEvent,
    Flushed,
    SnapshotActivated,
)
from btcnode.counting import Histogram
from btcnode.errors import Fault, StorageError
from btcnode.primitives.hashes import BlockHash
from btcnode.protocol.protocol import Protocol
from btcnode.services.clock import Clock
from btcnode.shielding import shielded
from btcnode.storage.layout import META_TIP
from btcnode.storage.tip_note import TipNote
from btcnode.sync.checkpoint import KEPT, Checkpoint, how_it_ended, read_checkpoints, write_checkpoints
from btcnode.sync.driver import ChainDriver
from btcnode.sync.process_memory import resident_of
from btcnode.sync.profile import StageSeconds, SyncProfile, SyncReport, SyncSample, describe
from btcnode.sync.state_machine import (
    CHANGES_DISK,
    NEAR_TIP,
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
RECENT_SAMPLES = 601  # one a second: ten minutes
CONNECTING = ("ConnectStep", "FinishStep", "DisconnectStep", "RetreatStep")


class SyncMonitor:
    """The state machine, the checkpoints and the profile are its own. ``watch`` follows what happens."""

    def __init__(
        self,
        driver: ChainDriver,
        view: ChainView,
        protocol: Protocol,
        pool: WorkerPool | None,
        clock: Clock,
        note: TipNote,
    ) -> None:
        self.machine = SyncStateMachine(clock.now())
        self.profile = SyncProfile()
        self._recent: deque[SyncSample] = deque(maxlen=RECENT_SAMPLES)
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
        self._note = note
        self._loop = asyncio.get_running_loop()
        self._last_progress = self._loop.time()
        self._heights = (view.active.height, view.tree.height(view.tree.best_header))
        self._headers_grew = False
        self._imports = 0
        self._changed = asyncio.Event()  # something has happened that may mean another state
        self._flushed = False
        self._checkpoints: deque[Checkpoint] = deque(maxlen=KEPT)
        self._writing: asyncio.Future[None] | None = None
        self._pids = [os.getpid()]
        driver.listen(self._on_events)
        driver.listen_settled(self._changed.set)
        protocol.listen_progress(self._changed.set)
        clock.listen(self._changed.set)

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        moved = False
        for event in chain_events:
            if isinstance(event, BlockConnected):
                moved = True
                self.blocks += 1
                self.txs += event.txs
                self.inputs += event.inputs
                if self._left:
                    self.reorganisations.add(self._left)
                    self._left = 0
            elif isinstance(event, BlockDisconnected):
                moved = True
                self._left += 1
            elif isinstance(event, BlockRejected):
                self.rejected[event.violation.fault] += 1
            elif isinstance(event, Flushed):
                self._flushed = True
                self._changed.set()
            elif isinstance(event, SnapshotActivated):
                moved = True
        if moved:
            self._last_progress = self._loop.time()
            self._note.write(self._now(self.machine.state).pack())
        if not self._goes_on():
            self._changed.set()

    def _goes_on(self) -> bool:
        """Whether blocks are connected one after the other and there are more to come: the state stays."""
        tree, active, state = self._view.tree, self._view.active, self.machine.state
        if state is SyncState.IMPORT:
            return self._imports > 0
        more = active.height < tree.height(tree.best_header)
        return state is SyncState.BLOCKS and more and self._view.is_initial_block_download(self._clock.now())

    def _now(self, state: SyncState) -> Checkpoint:
        chain = self._driver.chainstate
        return Checkpoint(self._clock.now(), state, chain.active.height, chain.tree.hash(chain.tip))

    # -- for RPC -------------------------------------------------------------------------------------------------

    def report(self) -> SyncReport | None:
        """Rates and shares of the initial download, so far or of all of it; None before there are any."""
        return self._final if self._final is not None else self.profile.report()

    def recent_report(self) -> SyncReport | None:
        """The same of the last ten minutes, whatever the node did in them; None before the second sample."""
        profile = SyncProfile()
        for sample in self._recent:
            profile.add(sample)
        return profile.report()

    # -- how the last run ended ----------------------------------------------------------------------------------

    def log_last_run(self) -> None:
        """Log how the last run ended, unless it ended well. Raises CorruptionError."""
        state = self._driver.chainstate
        tree, tip = state.tree, state.tip
        self._checkpoints.extend(read_checkpoints(state.store.database))
        last = self._checkpoints[-1] if self._checkpoints else None
        if self._note.last is not None:
            last = Checkpoint.unpack(self._note.last)
        if last is not None:
            stored = [one for one in self._checkpoints if one.tip_hash == tree.hash(tip)]
            line = how_it_ended(
                last,
                tree.hash(tip),
                tree.height(tip),
                same_branch=self._is_same_branch(last),
                flushed=stored[-1] if stored else None,
            )
            if line is not None:
                log.warning("%s", line)
        self._note.write(self._now(self.machine.state).pack())

    def _is_same_branch(self, last: Checkpoint) -> bool:
        """As far as the headers on disk tell: those of the last minutes may be missing."""
        state = self._driver.chainstate
        tree, tip = state.tree, state.tip
        then = tree.find(BlockHash(last.tip_hash))
        if then < 0:
            return True
        high, low = (then, tip) if tree.height(then) >= tree.height(tip) else (tip, then)
        return tree.ancestor(high, tree.height(low)) == low

    # -- as things happen ----------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Change the state whenever something has happened that means another; until cancelled. Raises StorageError."""
        while True:
            self._changed.clear()
            if self._flushed:
                self._flushed = False
                await self._write(self._now(self.machine.state), at_flush=True)
            seen = self._observe()
            await self._follow(classify(seen), seen.tip_height)
            with suppress(TimeoutError):
                async with asyncio.timeout(seen.seconds_until_late):
                    await self._changed.wait()

    @contextmanager
    def importing(self) -> Iterator[None]:
        """Blocks come from files inside."""
        self._imports += 1
        self._changed.set()
        try:
            yield
        finally:
            self._imports -= 1
            self._changed.set()

    def _observe(self) -> Observation:
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
            peers=sum(self._protocol.directions()),
            idle_seconds=self._loop.time() - self._last_progress,
            headers_grow=self._headers_grew,
            importing=self._imports > 0,
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
        usual = old in NEAR_TIP and new in NEAR_TIP
        if new in CHANGES_DISK and not usual:
            await self._write(self._now(new))
        change = machine.fire(event, self._clock.now(), height)
        if change is not None:
            level = logging.DEBUG if usual else logging.INFO
            log.log(level, "sync state: %s -> %s (%s) at height %d", change.old, change.new, change.event, height)
            self._note.write(self._now(new).pack())
        if new is SyncState.SYNCED and self._final is None and old not in (SyncState.IDLE, SyncState.IMPORT):
            self.sample()
            self._final = self.profile.report()
            for line in describe(self._final) if self._final is not None else ():
                log.info("%s", line)

    async def _write(self, checkpoint: Checkpoint, *, at_flush: bool = False) -> None:
        """Keep a record; ``at_flush``: of where the database stands now. Raises StorageError."""
        database = self._driver.chainstate.store.database
        if at_flush:
            tree = self._view.tree
            stored = await asyncio.to_thread(lambda: database.get_meta(META_TIP))
            tip = -1 if stored is None else tree.find(BlockHash(stored))
            if tip < 0:
                return
            checkpoint = replace(checkpoint, height=tree.height(tip), tip_hash=tree.hash(tip))
        self._checkpoints.append(checkpoint)
        await self._written()
        self._writing = asyncio.ensure_future(asyncio.to_thread(write_checkpoints, database, [*self._checkpoints]))
        await shielded(self._writing)

    async def _written(self) -> None:
        """Wait for a write that somebody has been cancelled in."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait({self._writing})

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

    def sample(self) -> None:
        """One sample, once a second: for the last minutes, and for the initial download as long as it lasts."""
        fetching = self._protocol.fetching
        open_requests, queued, _ = self._protocol.block_queue()
        sample = SyncSample(
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
        self._recent.append(sample)
        if self._final is None:
            self.profile.add(sample)

    def memory(self) -> int:
        """Resident bytes of the node and its workers."""
        pids = self._pool.pids if self._pool is not None else []
        return resident_of([*self._pids, *pids]).total
