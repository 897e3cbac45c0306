"""The chain driver: plans on the loop thread, executes on the chain thread, commits on the loop thread.

Whoever has a block hands it over and awaits what became of it; the driver then activates the best chain by itself,
one step after the other, and tells listeners of every event. A storage error stops the driver for good: nothing of
the failed step was kept, and the node is told to shut down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import (
    BlockConnected,
    BlockInvalidated,
    BlockRejected,
    ChainEvent,
    HistoryMoved,
    SnapshotActivated,
)
from btcnode.chain.history import History
from btcnode.chain.snapshot_store import SnapshotStore
from btcnode.chain.steps import FlushStep, Step, StepResult, StoreStep
from btcnode.consensus.blocks import check_block
from btcnode.consensus.known_txs import JudgedTx
from btcnode.errors import RuleViolation, StorageError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.record import record
from btcnode.storage.blockfiles import BlockPos
from btcnode.sync.prefetch import Prefetcher
from btcnode.sync.store_queue import StoreQueue
from btcnode.sync.worker_pool import WorkerPool

MIN_DECODE_BYTES = 50_000  # smaller blocks take less than 1.5 ms to decode: sending them would cost more
RUN_AHEAD_BYTES = 12 << 20  # of blocks, which take three times as much with their columns
STORES_AT_ONCE = 4  # blocks on their way through check and store, and two more for each worker process
READER_THREADS = 2  # for block files: serving peers and answering RPC while a block connects
SETTLE_AFTER = 0.25  # seconds from a new tip to what its coins cost that nobody waits for
SCANS = 2  # of all coins at a time, minutes long on a large chain: each has a thread of its own

bench = logging.getLogger("btcnode.bench")

T = TypeVar("T")
Listener = Callable[[list[ChainEvent]], None]


class DriverStopped(StorageError):
    """The driver takes no more work: it was closed, or a storage error stopped it."""


@record
class StoreOutcome:
    """What became of a block's bytes: ``index`` of its header, whether they were new, the rule they broke."""

    index: int
    new: bool
    violation: RuleViolation | None = None


class ChainDriver:
    """Runs one chainstate; create and use it on the loop thread."""

    def __init__(
        self,
        chainstate: Chainstate,
        *,
        on_fatal: Callable[[BaseException], None],
        stop_at_height: int = 0,
        on_stop_height: Callable[[], None] | None = None,
        pool: WorkerPool | None = None,
    ) -> None:
        self.chainstate = chainstate
        self._pool = pool
        self._on_fatal = on_fatal
        self._stop_at_height = stop_at_height
        self._on_stop_height = on_stop_height
        self._chain_thread: Executor = ThreadPoolExecutor(1, thread_name_prefix="chain")
        self._readers: Executor = ThreadPoolExecutor(READER_THREADS, thread_name_prefix="read")
        self._scanners: Executor = ThreadPoolExecutor(SCANS, thread_name_prefix="scan")
        self._scans = asyncio.Semaphore(SCANS)
        self._listeners: list[Listener] = []
        self._checked_listeners: list[Callable[[int, ParsedBlock], None]] = []
        self._settled_listeners: list[Callable[[], None]] = []
        self._followers: list[Callable[[], Awaitable[object]]] = []
        self._task: asyncio.Task[None] | None = None
        self._stopped: BaseException | None = None
        self._paused = 0  # who holds activation back, or waits for his turn to
        self._turn = False  # one step may be taken although somebody waits: between two, or they starve the chain
        self._pause = asyncio.Lock()
        self._retreating = False  # blocks ahead of their script checks are given up rather than finished
        self._inflight_stores: dict[int, asyncio.Event] = {}  # by header index; set when that one has its verdict
        self._store_queue = StoreQueue(self._places, lambda: chainstate.besieged)
        self._idle = asyncio.Event()  # no step is under way
        self._idle.set()
        self._rest = asyncio.Event()  # the active chain has no step to take
        self._rest.set()
        self.busy_seconds: dict[str, float] = {}  # of the chain thread, by kind of step
        self.history: History | None = None  # what validates the chain below a loaded UTXO set
        self._on_history_done: Callable[[], None] = lambda: None  # it has all blocks: called once
        self._next_look: asyncio.TimerHandle | None = None
        self._settling: asyncio.TimerHandle | None = None
        self.run_ahead = RUN_AHEAD_BYTES  # of an import: stored and not connected yet
        self._progress = asyncio.Event()  # something has happened to the active chain
        self.prefetcher = Prefetcher(chainstate.coins, chainstate.store)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` with each batch of events, on the loop thread, in the order of registration."""
        self._listeners.append(listener)

    def listen_checked(self, listener: Callable[[int, ParsedBlock], None]) -> None:
        """Call ``listener`` with each block on the tip that has passed what needs no coins, before it is written."""
        self._checked_listeners.append(listener)

    def listen_settled(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever an activation has come to its end."""
        self._settled_listeners.append(listener)

    def follow(self, follower: Callable[[], Awaitable[object]]) -> None:
        """Await ``follower`` before each step of the active chain, and before it is at rest.

        So that what belongs to the tip is right for it before there is another one. It may not wait for the chain.
        """
        self._followers.append(follower)

    async def _followed(self) -> None:
        for follower in self._followers:
            await follower()

    # -- blocks in -----------------------------------------------------------------------------------------------

    def decode(self, raw: bytes) -> Future[ParsedBlock | None] | None:
        """Begin to parse and check a block without context in a worker process.

        None for a small block, or when there is no worker: then it is done when the block is stored. The future gives
        None for a block at fault, which is named when it is stored.
        """
        pool = self._pool
        if pool is None or not pool.usable or len(raw) < MIN_DECODE_BYTES:
            return None
        if not pool.running:
            pool.start()
            return None
        return pool.submit_decode(raw)

    async def store_block(
        self,
        raw: bytes,
        now: int,
        *,
        requested: bool,
        position: BlockPos | None = None,
        parsed: ParsedBlock | None = None,
        known: tuple[JudgedTx | None, ...] = (),
    ) -> StoreOutcome:
        """Check and store a block; activation follows by itself.

        When other bytes of the same block are being stored, it waits for what becomes of them: the header does not tell
        a mutated form from the honest one. ``position`` tells that the bytes lie in the block files already, ``parsed``
        is what ``decode`` has given, ``known`` what is known of its transactions from before, by place.

        Raises DecodeError for bytes that are no block, RuleViolation when the header cannot enter the tree (its
        index does not exist then), StorageError.
        """
        standings, index = self.chainstate.standings, self.chainstate.tree.find(header_hash(raw[:HEADER_SIZE]))
        async with self._store_queue.place(lambda: standings.of(index)):
            return await self._store(raw, now, requested, position, parsed, known)

    async def _store(
        self,
        raw: bytes,
        now: int,
        requested: bool,
        position: BlockPos | None,
        parsed: ParsedBlock | None,
        known: tuple[JudgedTx | None, ...],
    ) -> StoreOutcome:
        self._check_running()
        state = self.chainstate
        if parsed is None and state.tree.find(header_hash(raw[:HEADER_SIZE])) < 0:
            parsed = await self._decoded(raw)
            if parsed is None and len(raw) >= MIN_DECODE_BYTES:  # at fault, or there is no worker
                parsed = await self.in_reader(lambda: _checked(raw, state.params))
            self._check_running()
        while True:
            step = state.plan_store(raw, now, requested=requested, position=position, parsed=parsed)
            if step is None:
                return StoreOutcome(state.tree.find(header_hash(raw[:HEADER_SIZE])), new=False)
            other = self._inflight_stores.get(step.index)
            if other is None:
                break
            # other bytes under the same header may be a broken form of the block: only their verdict says whether
            # these are needed
            await other.wait()
            self._check_running()
        done = self._inflight_stores[step.index] = asyncio.Event()
        try:
            if not known and step.parsed is None:
                step = replace(step, parsed=await self._decoded(raw))
            step = replace(step, known=known, checked=self._teller(step))
            events = await self._run(step)
        finally:
            del self._inflight_stores[step.index]
            done.set()
            self.kick()  # also when this is cancelled: the block may be here
        for event in events:
            if isinstance(event, BlockRejected):
                return StoreOutcome(step.index, new=True, violation=event.violation)
        return StoreOutcome(step.index, new=True)

    def _teller(self, step: StoreStep) -> Callable[[ParsedBlock], object] | None:
        """Who is to hear in the chain thread that the block has passed."""
        if not self._checked_listeners or step.prev != self.chainstate.tip:
            return None
        loop = asyncio.get_running_loop()
        return lambda block: loop.call_soon_threadsafe(self._tell_checked, step.index, block)

    def _tell_checked(self, index: int, block: ParsedBlock) -> None:
        for listener in self._checked_listeners:
            listener(index, block)

    def _places(self) -> int:
        """Blocks that are parsed and stored at a time: enough for workers and chain thread to find the next one ready.

        No more, since what is under way is not overtaken.
        """
        return STORES_AT_ONCE + (2 * self._pool.workers if self._pool is not None else 0)

    async def store_checked(self, index: int, raw: bytes, txs: int) -> None:
        """Store a block that was checked alone elsewhere, unless it is here; raises StorageError."""
        self._check_running()
        tree = self.chainstate.tree
        if not tree.has_data(index):
            await self._run(StoreStep(index, tree.prev(index), raw, checked_txs=txs))

    def hold(self, held: bool) -> None:
        """Connect no block for the time being; or go on."""
        self.chainstate.held = held
        if not held:
            self.kick()

    async def _decoded(self, raw: bytes) -> ParsedBlock | None:
        """The block parsed and checked by a worker process; None where that is not possible."""
        decoding = self.decode(raw)
        return None if decoding is None else await asyncio.wrap_future(decoding)

    def kick(self) -> None:
        """See whether there is a step to take; call it after anything that may change the best chain."""
        if self._stopped is None:
            self._rest.clear()  # a task that is busy with the chain below a loaded set looks again before it goes on
        self._start()

    def _start(self) -> None:
        if self._task is None and self._stopped is None:
            self._idle.clear()
            self._task = asyncio.get_running_loop().create_task(self._activate())
            self._task.add_done_callback(self._never_begun)

    async def settled(self) -> None:
        """Wait until the active chain is the best one (or the driver has stopped), whoever holds it back meanwhile."""
        self.kick()
        if self._stopped is None:
            await self._rest.wait()

    @property
    def is_settled(self) -> bool:
        """Whether the active chain is the best one: no step is under way, and none is held back."""
        return self._rest.is_set()

    @property
    def has_block(self) -> bool:
        """Whether a block is being stored, connected or disconnected."""
        return bool(self._inflight_stores) or not self._rest.is_set()

    async def reached(self, height: int) -> None:
        """Wait until the active chain has this height, or is the best one anyway, or the driver has stopped."""
        self.kick()
        while self._stopped is None and not self._rest.is_set() and self.chainstate.active.height < height:
            self._progress.clear()
            await self._progress.wait()

    async def history_has(self, index: int) -> bool:
        """Whether the chain below a loaded UTXO set has the block, after the steps that lead to it."""
        history, tree = self.history, self.chainstate.tree
        if history is None or not tree.is_ancestor(index, history.base):
            return False
        at = index
        while not history.active.contains(at):
            if not tree.has_data(at):
                return False
            at = tree.prev(at)
        self.kick()
        while (self._task is not None or self._held_back) and not history.active.contains(index):
            self._progress.clear()
            await self._progress.wait()
        return history.active.contains(index)

    async def _activate(self) -> None:
        try:
            while self._stopped is None:
                await self._followed()
                step = self._plan()
                if step is None:
                    if self._held_back:
                        break
                    self._come_to_rest()
                    if await self._look_again() or await self._advance_history():
                        continue
                    break
                self._turn = False
                self._check_stop_height(await self._run(step))
        except Exception as error:
            self._fail(error)  # tells the node, unless the failed step has done so
        finally:
            self._activation_ended()

    def _never_begun(self, task: asyncio.Task[None]) -> None:
        """An activation has ended; one that was cancelled before its first turn has not said so."""
        if self._task is task:
            self._activation_ended()

    def _activation_ended(self) -> None:
        self._task = None
        self._idle.set()
        self._progress.set()
        if not self._held_back:
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        """The active chain has no step to take."""
        if not self._rest.is_set():
            self._rest.set()
            self._progress.set()
            if self._stopped is None:
                for listener in self._settled_listeners:
                    listener()
                self._settle_later()

    def _settle_later(self) -> None:
        """Have the coins of the last block worked into the others, unless something else comes before."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self.chainstate.coins.is_waiting and not self._retreating:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_AFTER, self._settle_coins)

    def _settle_coins(self) -> None:
        self._settling = None
        running = asyncio.get_running_loop().run_in_executor(self._chain_thread, self.chainstate.coins.settle_block)
        running.add_done_callback(self._coins_settled)

    def _coins_settled(self, running: asyncio.Future[None]) -> None:
        error = None if running.cancelled() else running.exception()
        if error is not None:
            self._fail(error)

    def _stop(self, reason: BaseException) -> None:
        """Take no more work; whoever waits for the chain has waited enough."""
        self._stopped = reason
        self._rest.set()
        self._progress.set()

    @property
    def _held_back(self) -> bool:
        """Whether no step may be begun: somebody holds the chain, or waits for it and the chain has had its turn."""
        return self._stopped is None and self._paused > 0 and not self._turn

    def _plan(self) -> Step | None:
        state = self.chainstate
        if self._retreating:
            return state.plan_retreat()
        return state.plan_drain() if self._held_back else state.plan_step()

    async def _look_again(self) -> bool:
        """A slice of a second look at a condemned block, if one is due; returns whether there is more to be done.

        The chain is at rest for everybody else; what comes meanwhile goes first.
        """
        state = self.chainstate
        if self._held_back or self._retreating or not state.has_second_looks:
            return False
        if (wait := state.second_looks.wait) > 0:
            if self._next_look is None:
                self._next_look = asyncio.get_running_loop().call_later(wait, self._look_is_due)
            return False
        step = state.plan_second_look()
        if step is not None:
            self._turn = False
            await self._run(step)
        return True

    def _look_is_due(self) -> None:
        self._next_look = None
        self._start()

    async def _advance_history(self) -> bool:
        """One step of the chain below a loaded UTXO set, where there is one to take; returns whether there was."""
        history = self.history
        if history is None or self._held_back or self._retreating:
            return False
        if history.done:
            done, self._on_history_done = self._on_history_done, lambda: None
            done()
            return False
        step = history.plan_step()
        if step is None:
            return False
        self._turn = False
        await self._run_history(history, step)
        return True

    async def _run_history(self, history: History, step: Step) -> None:
        try:
            if isinstance(step, FlushStep):  # what the active chain has begun to write comes first
                while (end := self.chainstate.plan_end_flush()) is not None:
                    await self._run(end)
            running = asyncio.get_running_loop().run_in_executor(self._chain_thread, history.execute, step)
            cancelled = await _ended(running)
            moved = history.commit(step, running.result())
        except BaseException as error:
            history.abort(step)
            self._fail(error)
            raise
        if moved:
            tip = history.active.tip
            self._publish([HistoryMoved(tip, history.active.height)])
        if cancelled:
            raise asyncio.CancelledError

    def begin_history(self, history: History, on_done: Callable[[], None]) -> None:
        """Validate the chain below a loaded UTXO set, beside the active one; ``on_done`` is called when it is whole."""
        self.history = history
        self._on_history_done = on_done

    def history_span(self) -> tuple[int, int] | None:
        """Tip of the validated chain below a loaded UTXO set, and the set's block; None when there is no such set."""
        return None if self.history is None else (self.history.active.tip, self.history.base)

    async def adopt_snapshot(
        self, snapshot: SnapshotStore, history: Callable[[int], History] | None, on_done: Callable[[], None]
    ) -> None:
        """Make a loaded UTXO set the active chain's coins.

        ``history(tip)`` makes what validates the chain below, ``on_done`` is called when that is whole; without it the
        chain below counts as validated.

        Raises StorageError, ValueError when the chain has more work meanwhile.
        """
        self._check_running()
        state = self.chainstate
        async with _Pause(self):
            await self._flush()
            old = state.tip
            base = state.tree.find(snapshot.known.block_hash)
            if state.tree.chainwork(base) <= state.tree.chainwork(old):
                raise ValueError("work does not exceed active chainstate")
            state.adopt_snapshot(snapshot)
            if history is None:
                state.trust_below_snapshot()
            else:
                self.begin_history(history(old), on_done)
            await self._flush()
            self._publish([SnapshotActivated(base, state.tree.height(base))])

    async def end_history(self) -> None:
        """The chain below the loaded UTXO set is validated: every block of any chain may be the tip's from now on."""
        async with _Pause(self):
            history, self.history = self.history, None
            self.chainstate.tree.base = -1
            if history is not None:
                await asyncio.to_thread(history.release)
        self._publish([HistoryMoved(self.chainstate.tip, self.chainstate.active.height)])

    def validated_chain(self) -> ActiveChain:
        """The active chain, or the one below a loaded UTXO set while that is not validated."""
        return self.chainstate.active if self.history is None else self.history.active

    def _check_stop_height(self, events: Iterable[ChainEvent]) -> None:
        if not self._stop_at_height or self._on_stop_height is None:
            return
        for event in events:
            if isinstance(event, BlockConnected) and event.height >= self._stop_at_height:
                self._retreating = True
                self._on_stop_height()
                return

    async def _run(self, step: Step) -> list[ChainEvent]:
        """Have a step done, commit it and tell of it; who cancels this waits for that, as the coins change with it."""
        running = asyncio.get_running_loop().run_in_executor(self._chain_thread, self._execute, step)
        cancelled = await _ended(running)
        try:
            result: StepResult = running.result()
        except BaseException as error:
            self.chainstate.abort(step)
            self._fail(error)
            raise
        events = self.chainstate.commit(step, result)
        self._publish(events)
        if cancelled:
            raise asyncio.CancelledError
        return events

    def _execute(self, step: Step) -> StepResult:
        """Do a step (chain thread), and remember how long steps of its kind have taken."""
        begun = time.perf_counter()
        try:
            result = self.chainstate.execute(step)
            if isinstance(step, StoreStep) and result.block is not None:
                self.prefetcher.offer(result.block)  # it will be connected before long
            return result
        finally:
            kind = type(step).__name__
            took = time.perf_counter() - begun
            self.busy_seconds[kind] = self.busy_seconds.get(kind, 0.0) + took
            bench.debug("%s: %.2fms", kind, 1000 * took)

    @property
    def waiting_stores(self) -> int:
        """Blocks that are being checked and stored, or wait for it."""
        return len(self._inflight_stores) + len(self._store_queue)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError) or self._stopped is not None:
            return
        self._stop(error)
        self._on_fatal(error)

    def _publish(self, events: list[ChainEvent]) -> None:
        if events:
            self._progress.set()
            for listener in self._listeners:
                listener(events)

    def _check_running(self) -> None:
        if self._stopped is not None:
            raise DriverStopped(f"the chain is stopped: {self._stopped}")

    # -- reading -------------------------------------------------------------------------------------------------

    async def read_block(self, index: int) -> bytes:
        """The serialised block; raises KeyError when it is not here, StorageError when it cannot be read."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self.chainstate.read_block, index)

    async def in_reader(self, work: Callable[[], T]) -> T:
        """Run ``work`` on a reader thread: it may read files and database, never coins in memory, and is soon done."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    async def in_scanner(self, work: Callable[[], T]) -> T:
        """The same for what reads the whole database: peers and users who ask for a block do not wait for it."""
        await self._scans.acquire()
        return await asyncio.wrap_future(self._scan(work))

    def _scan(self, work: Callable[[], T]) -> Future[T]:
        """Begin ``work``, whose place in ``_scans`` was taken; it has it to its end, whoever waits for that."""
        loop = asyncio.get_running_loop()
        running = self._scanners.submit(work)
        running.add_done_callback(lambda _: loop.call_soon_threadsafe(self._scans.release))
        return running

    async def in_chain_thread(self, work: Callable[[], T]) -> T:
        """Run ``work`` between two steps on the chain thread, where the coins at the active tip may be read."""
        self._check_running()
        async with _Pause(self):
            return await self._in_chain_thread(work)

    async def _in_chain_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._chain_thread, work)

    # -- control -------------------------------------------------------------------------------------------------

    def paused(self) -> _Pause:
        """``async with driver.paused():`` no step is under way inside; leaving it goes on activating.

        One at a time: whoever comes second waits. What is inside must not ask for another pause.
        """
        return _Pause(self)

    async def invalidate(self, index: int) -> None:
        """Declare a block invalid; returns when the active chain has left it, before it goes to the best that remains.

        Raises ValueError for the genesis block, StorageError, RuntimeError when the driver has stopped.
        """
        self._check_running()
        async with _Pause(self):
            state = self.chainstate
            state.invalidate(index)
            while state.active.contains(index):
                step = state.plan_step()
                if step is None:
                    raise RuntimeError("a step is pending although the driver is paused")
                await self._run(step)
                await self._followed()
            self._publish([BlockInvalidated(index)])
            await self._followed()

    async def flush(self) -> None:
        """Write everything to disk, between two steps of an activation."""
        self._check_running()
        async with _Pause(self):
            await self._flush()

    async def _flush(self) -> None:
        while (end := self.chainstate.plan_end_flush()) is not None:
            await self._run(end)
        step = self.chainstate.plan_flush()
        if step is None:
            raise RuntimeError("a step is pending although the driver is paused")
        await self._run(step)

    async def prune(self, choose: Callable[[], Sequence[int]]) -> int:
        """Flush, and delete the block files that ``choose`` names when the flush begins; returns how many.

        Raises StorageError, RuntimeError when the driver has stopped.
        """
        self._check_running()
        async with _Pause(self):
            await self._flush()  # the coins of a loaded set are written after the index: they must not need these files
            files = choose()
            if not files:
                return 0
            step = self.chainstate.plan_prune(files)
            if step is None:
                raise RuntimeError("a step is pending although the driver is paused")
            await self._run(step)
            return len(files)

    async def at_tip(self, work: Callable[[Callable[[], None]], T]) -> tuple[int, T]:
        """Flush, then run ``work(begun)`` beside everything over the database; returns the tip and its result.

        The chain goes on as soon as ``work`` has called ``begun`` (its read transaction stands) or has ended. Whoever
        comes when ``SCANS`` others are at work waits for one of them, and the chain does not.
        """
        self._check_running()
        loop = asyncio.get_running_loop()
        standing: asyncio.Future[None] = loop.create_future()

        def mark() -> None:
            if not standing.done():
                standing.set_result(None)

        def begun() -> None:
            loop.call_soon_threadsafe(mark)

        await self._scans.acquire()
        running: asyncio.Future[T] | None = None
        try:
            async with _Pause(self):
                await self._flush()
                tip = self.chainstate.tip
                running = asyncio.wrap_future(self._scan(lambda: work(begun)))
                running.add_done_callback(lambda _: mark())
                await standing
        finally:
            if running is None:
                self._scans.release()
        return tip, await running

    def wind_down(self) -> None:
        """Take no further step up, and give up blocks ahead of their script checks: the next start connects them."""
        self._retreating = True

    async def close(self) -> None:
        """Finish the running step, flush (unless a storage error stopped the driver) and end the threads.

        Raises StorageError when the flush fails; the threads have ended and the store is closed then, too.
        """
        self.wind_down()
        for timer in (self._next_look, self._settling):
            if timer is not None:
                timer.cancel()
        try:
            async with _Pause(self):
                if self._stopped is None:
                    await self._flush()
                    while self.history is not None and (step := self.history.plan_close()) is not None:
                        await self._run_history(self.history, step)
                    self._stop(DriverStopped("closed"))
        finally:
            await asyncio.to_thread(self._chain_thread.shutdown)
            await asyncio.to_thread(self.prefetcher.close)
            await asyncio.to_thread(self._readers.shutdown)
            await asyncio.to_thread(self._scanners.shutdown)
            if self.history is not None:
                await asyncio.to_thread(self.history.release)
            await asyncio.to_thread(self.chainstate.release)


class _Pause:
    """Hold activation back: entered when no step is under way and nobody else holds it, leaving it goes on."""

    def __init__(self, driver: ChainDriver) -> None:
        self._driver = driver

    async def __aenter__(self) -> None:
        self._driver._paused += 1
        try:
            await self._driver._pause.acquire()
        except BaseException:
            self._leave()
            raise
        try:
            while not self._driver._idle.is_set():
                await self._driver._idle.wait()
            self._driver._turn = False
        except BaseException:
            self._driver._pause.release()
            self._leave()
            raise

    async def __aexit__(self, *exc: object) -> None:
        self._driver._pause.release()
        self._leave()

    def _leave(self) -> None:
        self._driver._paused -= 1
        if not self._driver._pause.locked():
            self._driver._turn = True
        self._driver.kick()


def _checked(raw: bytes, params: NetworkParams) -> ParsedBlock:
    """The block, checked alone; raises DecodeError and RuleViolation."""
    block = parse_block(raw, exact=False)
    check_block(block, params)
    return block


async def _ended(running: asyncio.Future[Any]) -> bool:
    """Wait until it is done, however often the waiting is cancelled; returns whether it was."""
    cancelled = False
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError:
            cancelled = True
    return cancelled
