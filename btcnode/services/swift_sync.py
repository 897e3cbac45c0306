"""SwiftSync: bringing a new node to height N with hints, block by block in any order (docs/swiftsync.md).

With ``full`` the coins that blocks spend are asked of peers (``services/swift_spent.py``) and every script is verified;
without, scripts are assumed valid up to N.

The loop thread only hands blocks to worker processes, counts what they answer (``swiftsync/ledger.py``) and has the
bytes appended to the block files; one thread beside it writes survivors. Memory: what protocol and pool hold of blocks
on their way, and survivors up to ``MAX_HELD_BYTES``.

What is done becomes durable together at each checkpoint: blocks and their index records first, then the run of
survivors, then the ledger. A kill loses what came after the last one; its blocks are read from the disk again where
they got there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.block_status import HAVE_DATA
from btcnode.chain.events import BlockStored, ChainEvent
from btcnode.chain.snapshot_store import SnapshotStore, remove_snapshot
from btcnode.consensus.connect import BIP30_OVERWRITTEN
from btcnode.consensus.subsidy import subsidies_up_to
from btcnode.errors import BtcnodeError, CorruptionError, DecodeError, RuleViolation, StorageError
from btcnode.networks.assumeutxo import AssumeUtxo, set_after
from btcnode.networks.parameters import BIP34_IMPLIES_BIP30_LIMIT
from btcnode.observe.progress import duration
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.protocol.chain_view import NodeChainView
from btcnode.protocol.commands import FetchBlocks
from btcnode.protocol.effects import TakeSpent
from btcnode.protocol.inputs import Input
from btcnode.protocol.limits import BLOCK_DOWNLOAD_WINDOW
from btcnode.services.assumed_chain import AssumedChain
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.swift_files import OpenHints, SwiftFolder
from btcnode.services.swift_spent import MAX_REFUSALS, SpentAhead, ToldCoins
from btcnode.storage.survivor_load import RepeatedOutput, load_survivors
from btcnode.storage.survivors import RunSizes
from btcnode.swiftsync.fold import Fold, FoldJob, HintMismatch
from btcnode.swiftsync.full_fold import FoldResult, SpentRefused, TimesWanted, fold_any
from btcnode.swiftsync.hints import HintsError
from btcnode.swiftsync.ledger import Ledger, RunRecord, find_repeated
from btcnode.swiftsync.sums import SALT_SIZE
from btcnode.sync.driver import StoreOutcome
from btcnode.sync.worker_pool import WorkerPool

RUN_BYTES = 32 << 20  # of survivors that make a run
MAX_HELD_BYTES = 2 * RUN_BYTES  # of survivors in memory: blocks wait for the disk then
CHECKPOINT_SECONDS = 30.0
POLL_SECONDS = 0.25
HEADERS_POLL_SECONDS = 0.02
HEADERS_PATIENCE = 120.0  # seconds without a new header, of peers that have none beyond, after which N will not come
SPENT_PATIENCE = 120.0  # seconds without spent coins of any peer, while there are peers and some are wanted
REPORT_SECONDS = 10.0
READ_TOGETHER = 8  # blocks that are read from the disk at a time
KEPT_BELOW = 288  # blocks under N that are kept although old ones are deleted (BIP159)

log = logging.getLogger("btcnode.swiftsync")


class SwiftSyncFailed(BtcnodeError):
    """It cannot come to a good end: the node syncs as usual. The text says why."""


class SwiftProgress(NamedTuple):
    """How far it is. ``target``: the hints' block, once it is known; ``failure``: why it was given up.

    ``blocks_rate`` and ``inputs_rate``: per second, of late.
    """

    running: bool
    height: int
    target: BlockHash | None
    blocks: int
    inputs: int
    coins: int
    blocks_rate: float
    inputs_rate: float
    failure: str


NO_PROGRESS = SwiftProgress(False, 0, None, 0, 0, 0, 0.0, 0.0, "")


class SwiftOptions(NamedTuple):
    """``block`` is the hash that the user has named, ``keep_blocks`` whether blocks go to the disk.

    ``full``: verify every script. ``validate``: validate the chain in the background afterwards.
    """

    hints: Path
    block: BlockHash | None
    keep_blocks: bool
    full: bool
    validate: bool


def progress_line(progress: SwiftProgress) -> str:
    """How far it is, how fast, and how long the rest takes at the present pace of blocks; for the log."""
    done, height, rate = progress.blocks, progress.height, progress.blocks_rate
    left = f", {duration((height - done) / rate)} left at this pace" if rate else ""
    return (
        f"SwiftSync: {done} of {height} blocks ({100 * done / height:.1f} %), {progress.coins} coins;"
        f" {rate:.0f} blocks/s, {progress.inputs_rate:.0f} inputs/s{left}"
    )


class SwiftSync:
    """One sync with hints. Lives on the loop thread; the view tells the protocol what is wanted while it runs."""

    def __init__(
        self,
        chain: Chain,
        view: NodeChainView,
        assumed: AssumedChain,
        pool: WorkerPool | None,
        clock: Clock,
        options: SwiftOptions,
        *,
        feed: Callable[[Input], None],
        has_peers: Callable[[], bool],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._chain = chain
        self._driver = chain.driver
        self._state = chain.driver.chainstate
        self._view = view
        self._assumed = assumed
        self._pool = pool
        self._clock = clock
        self._options = options
        self._feed = feed
        self._spent = SpentAhead(feed) if options.full else None
        self._has_peers = has_peers
        self._on_fatal = on_fatal
        self._folder = SwiftFolder(self._state.store.directory)
        self._hints: OpenHints | None = None
        self._ledger: Ledger | None = None
        self._path = ActiveChain(chain.tree)
        self._inflight: dict[int, asyncio.Event] = {}
        self._records: list[bytes] = []
        self._coinbases: list[tuple[int, bytes]] = []
        self._held_bytes = 0
        self._stored: dict[int, None] = {}  # heights of blocks in the block files that are not folded
        self._room = asyncio.Event()
        self._checkpoint: asyncio.Task[None] | None = None
        self._checkpointed = 0.0
        self._changed = asyncio.Event()  # something to look at for the task
        self._failure: SwiftSyncFailed | None = None
        self._rates = (0.0, 0.0)  # blocks and inputs a second, of late
        self._task: asyncio.Task[None] | None = None
        self._fold_thread = ThreadPoolExecutor(1, thread_name_prefix="fold")
        self.target = -1
        self._driver.listen(self._on_events)

    # -- what the protocol sees ----------------------------------------------------------------------------------

    @property
    def first(self) -> int:
        """Height of the lowest block that is missing."""
        return 1 if self._ledger is None else self._ledger.first

    def has(self, height: int) -> bool:
        """Whether the block at a height up to the target's is done."""
        return self._ledger is not None and bool(self._ledger.done[height])

    def is_ready(self, height: int) -> bool:
        """Whether the block may be asked for: in a full sync when the coins that it spends are here."""
        return self._spent is None or self._path.at(height) in self._spent

    def progress(self) -> SwiftProgress:
        """How far it is."""
        ledger, failure = self._ledger, self._failure
        done = (0, 0, 0) if ledger is None else (ledger.height - ledger.left, ledger.inputs, ledger.coins)
        target = None if ledger is None else BlockHash(ledger.target)
        why = "" if failure is None else str(failure)
        return SwiftProgress(self.running, self._height, target, *done, *self._rates, why)

    @property
    def running(self) -> bool:
        """Whether blocks up to N are wanted."""
        return self._view.folded is not None

    def wants(self, index: int) -> bool:
        """Whether a block that has come is one of those that are folded."""
        return self.target >= 0 and self.running and index > 0 and self._path.contains(index)

    # -- life ----------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the hints, and hold the chain back, unless this node has a chain already.

        Raises HintsError, StorageError when the file cannot be used.
        """
        if self._state.tip != 0 or self._state.store.snapshot is not None:
            log.info("SwiftSync is for a new node: this one has a chain, and goes on with it")
            await asyncio.to_thread(self._folder.clear)
            return
        hints = await asyncio.to_thread(OpenHints, self._options.hints, self._chain.check_stop)
        if await asyncio.to_thread(self._folder.failed_with) == hints.digest:
            hints.close()
            log.warning("SwiftSync with these hints has failed before: the node syncs as usual")
            return
        if not self._assumed.reserve():
            hints.close()
            log.warning("SwiftSync: a UTXO set is being loaded from a file, and the node goes on with that")
            return
        self._hints = hints
        log.info("SwiftSync: hints for height %d, %d bytes", hints.height, hints.size)
        self._driver.hold(True)
        self._view.begin_folding(self)
        if self._pool is not None:  # the node's own process has little to do meanwhile
            self._pool.resize(self._pool.workers + 1)
            self._pool.start()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Give up what is under way; what is done becomes durable."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._checkpoint is not None:
            await asyncio.gather(self._checkpoint, return_exceptions=True)
        if self.running and self._ledger is not None and self._failure is None:
            try:
                await self._write_checkpoint()
            except StorageError as error:
                log.warning("SwiftSync: what came after the last checkpoint will be done again: %s", error)
        if self._hints is not None:
            self._hints.close()
        await asyncio.to_thread(self._fold_thread.shutdown)

    async def _run(self) -> None:
        try:
            try:
                earlier = await self._open_folder()
                await self._find_target()
                await self._open_ledger(earlier)
                await self._gather()
                await self._finish()
            except SwiftSyncFailed as failure:
                await self._give_up(failure)
        except StorageError as error:
            if not self._chain.stopping():
                self._on_fatal(error)
        except Exception as error:
            self._on_fatal(error)

    # -- which block ---------------------------------------------------------------------------------------------

    async def _find_target(self) -> None:
        """Wait until the headers say which block the hints are for; raises SwiftSyncFailed."""
        tree, grown = self._chain.tree, time.monotonic()
        known = len(tree)
        while (target := self._target()) < 0:
            await asyncio.sleep(HEADERS_POLL_SECONDS)
            now = time.monotonic()
            if len(tree) != known or not self._has_peers():
                known, grown = len(tree), now
            elif now - grown > HEADERS_PATIENCE:
                best = tree.height(tree.best_header)
                raise SwiftSyncFailed(
                    f"the hints are for height {self._height}, and no peer has a chain of headers that makes it certain"
                    f" which block that is: theirs ends at {best}"
                )
        await asyncio.to_thread(self._path.set_tip, target)  # of what never changes
        log.info("SwiftSync to block %s at height %d", to_display(tree.hash(target)), self._height)

    @property
    def _height(self) -> int:
        return 0 if self._hints is None else self._hints.height

    def _target(self) -> int:
        """The block that the hints are for, -1 while headers are missing; raises SwiftSyncFailed."""
        tree, named, assume = self._chain.tree, self._options.block, self._state.assume_valid
        full = self._options.full
        anchor = tree.best_header if full and named is None else tree.find(named or assume.block or b"")
        if anchor < 0 or tree.chainwork(tree.best_header) < assume.minimum_chain_work:
            return -1
        if named is not None and tree.height(anchor) != self._height:
            raise SwiftSyncFailed(
                f"the hints are for height {self._height}, and block {to_display(named)} is at {tree.height(anchor)}"
            )
        if full and tree.height(anchor) < self._height:
            return -1
        if tree.height(anchor) < self._height:
            raise SwiftSyncFailed(
                f"the hints are for height {self._height}, above the assumed-valid block at {tree.height(anchor)}:"
                " -swiftsyncblock can name the block"
            )
        target = tree.ancestor(anchor, self._height)
        if not tree.is_ancestor(target, tree.best_header) or tree.is_failed(target):
            return -1
        if named is None and not full and assume.objection(tree, target) is not None:
            return -1
        return target

    def _check_target(self) -> None:
        tree = self._chain.tree
        if tree.is_failed(self.target):
            raise SwiftSyncFailed("a block up to the hints' one is invalid")
        if not tree.is_ancestor(self.target, tree.best_header):
            raise SwiftSyncFailed("a chain without the hints' block has more work")

    async def _open_folder(self) -> Ledger | None:
        """What an earlier run has done, else an empty folder: while headers come, so that no block waits for it."""
        hints = self._known_hints()
        ledger = await asyncio.to_thread(self._folder.load, hints.digest, full=self._options.full)
        if ledger is None:
            await asyncio.to_thread(self._folder.begin)
        return ledger

    def _known_hints(self) -> OpenHints:
        if self._hints is None:
            raise RuntimeError("no hints")
        return self._hints

    async def _open_ledger(self, earlier: Ledger | None) -> None:
        """Go on where an earlier run has ended, or begin."""
        hints, target = self._known_hints(), self._chain.tree.hash(self._path.tip)
        if earlier is not None and earlier.target == target:
            ledger = earlier
            if self._options.keep_blocks:
                await asyncio.to_thread(self._check_kept, ledger)
        else:
            if earlier is not None:
                await asyncio.to_thread(self._folder.begin)
            salt = secrets.token_bytes(SALT_SIZE)
            ledger = Ledger(hints.height, target, hints.digest, salt, full=self._options.full)
        if ledger.left < ledger.height:
            log.info("SwiftSync goes on: %d of %d blocks are done", ledger.height - ledger.left, ledger.height)
        self._ledger = ledger
        self._checkpointed = time.monotonic()
        self.target = self._path.tip  # from now on blocks that are stored are noted as they come
        found = await asyncio.to_thread(self._find_stored, ledger)
        self._stored = dict.fromkeys(found) | self._stored
        self._feed(FetchBlocks())

    def _here(self, ledger: Ledger) -> Iterator[tuple[int, bool, bool]]:
        """(height, folded, in the block files) of all blocks above genesis: in a thread, for there are a million."""
        status = self._chain.tree.columns.status
        for height, index in enumerate(self._path.span(1, ledger.height), 1):
            yield height, bool(ledger.done[height]), bool(status[index] & HAVE_DATA)

    def _find_stored(self, ledger: Ledger) -> list[int]:
        """Heights of blocks that lie in the block files and are not folded."""
        return [height for height, folded, here in self._here(ledger) if here and not folded]

    def _check_kept(self, ledger: Ledger) -> None:
        """Blocks that a run has folded that kept none would be missing later; raises SwiftSyncFailed."""
        if any(folded and not here for _, folded, here in self._here(ledger)):
            raise SwiftSyncFailed("blocks that were worked on are not on the disk")

    def _is_stored(self, height: int) -> bool:
        """Whether the block lies in the block files and is not folded."""
        return not self.has(height) and self._chain.tree.has_data(self._path.at(height))

    # -- blocks --------------------------------------------------------------------------------------------------

    async def take(self, index: int, raw: bytes) -> StoreOutcome:
        """Check, fold and store a block of the chain up to N; as ``ChainDriver.store_block``."""
        height = self._chain.tree.height(index)
        while (other := self._inflight.get(index)) is not None:
            await other.wait()  # other bytes of the same block: only their verdict says whether these are needed
        if self.has(height) or not self.wants(index) or self._ledger is None:
            return await self._store_as_usual(index, raw)
        done = self._inflight[index] = asyncio.Event()
        try:
            fold = await self._fold(height, index, raw)
            if not isinstance(fold, Fold):  # at fault, or not to be judged yet: the usual way finds out, or stores it
                return await self._store_as_usual(index, raw)
            if self._options.keep_blocks or height > self._height - KEPT_BELOW:
                await self._driver.store_checked(index, raw[: fold.size], fold.txs)
            else:
                self._chain.tree.note_txs(index, fold.txs)
            self._count(height, index, fold)
        except SwiftSyncFailed as failure:
            self._failure = self._failure or failure
            self._changed.set()
            return await self._store_as_usual(index, raw)
        finally:
            del self._inflight[index]
            done.set()
        while self._held_bytes > MAX_HELD_BYTES and self.running:
            self._room.clear()
            await self._room.wait()
        return StoreOutcome(index, new=True)

    async def _store_as_usual(self, index: int, raw: bytes) -> StoreOutcome:
        if self.has(self._chain.tree.height(index)) and self.running:
            return StoreOutcome(index, new=False)
        outcome = await self._driver.store_block(raw, self._clock.now(), requested=True)
        self._note_stored(index)
        return outcome

    def _note_stored(self, index: int) -> None:
        """A block was stored the usual way: it is to be read from the disk if it is one of those up to N."""
        height = self._chain.tree.height(index)
        if self.wants(index) and self._is_stored(height):
            self._stored[height] = None
            self._changed.set()

    def _job(self, height: int) -> FoldJob:
        """What a worker needs of everything else; raises SwiftSyncFailed when the hint cannot be read any more."""
        ledger, tree = self._ledger, self._chain.tree
        if ledger is None:
            raise RuntimeError("nothing to fold for")
        index = self._path.at(height)
        lost = (height, tree.hash(index)) in BIP30_OVERWRITTEN
        try:
            hint = self._known_hints().hint(height)
        except (StorageError, HintsError) as error:
            raise SwiftSyncFailed(str(error)) from None
        return FoldJob(ledger.salt, height, tree.median_time_past(tree.prev(index)), lost, hint)

    async def _fold(self, height: int, index: int, raw: bytes, *, here: bool = False) -> FoldResult | None:
        """Have a worker fold a block; None when that was not possible, also for a block at fault.

        ``here``: do it in a thread; raises RuleViolation, DecodeError for a block at fault. In a full sync: with the
        coins that a peer told, who is blamed where they do not go together with the block; None where there are none.
        """
        work, job = self._fold_here if here else self._work_on, self._job(height)
        if self._spent is None:
            return await work(raw, job)
        told = self._spent.get(index)
        if told is None:
            return None
        job = job._replace(spent=told.coins)
        result = await work(raw, job)
        if isinstance(result, TimesWanted):
            result = await work(raw, job._replace(times=self._times(result.heights)))
        if isinstance(result, SpentRefused):
            self._refuse(height, index, told, result.reason)
        return result

    async def _work_on(self, raw: bytes, job: FoldJob) -> FoldResult | None:
        pool = self._pool
        if pool is not None and pool.usable:
            return await asyncio.wrap_future(pool.submit_fold(raw, job))
        try:
            return await self._fold_here(raw, job)
        except (RuleViolation, DecodeError):
            return None

    async def _fold_here(self, raw: bytes, job: FoldJob) -> FoldResult:
        running = asyncio.get_running_loop()
        return await running.run_in_executor(self._fold_thread, fold_any, raw, job, self._state.params)

    def _times(self, heights: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Median times past of blocks up to N."""
        tree, path = self._chain.tree, self._path
        return tuple((height, tree.median_time_past(path.at(height))) for height in heights)

    def _refuse(self, height: int, index: int, told: ToldCoins, reason: str) -> None:
        """What a peer told does not go together with the block: others are asked, but not for ever."""
        spent = self._spent
        if spent is None or not self.running:
            return
        log.warning("SwiftSync: peer=%d told wrong coins for block %d: %s", told.peer_id, height, reason)
        if spent.refuse(index, told, reason) >= MAX_REFUSALS and self._failure is None:
            self._failure = SwiftSyncFailed(f"what peers tell of block {height} does not go together with it: {reason}")
        self._changed.set()

    def _count(self, height: int, index: int, fold: Fold) -> None:
        if self._spent is not None:
            self._spent.forget(index)
        ledger = self._ledger
        if ledger is None or not ledger.add(height, fold):
            return
        self._want_spent()
        if fold.records:
            self._records.append(fold.records)
        if height < self._state.params.bip34_height or height >= BIP34_IMPLIES_BIP30_LIMIT:
            self._coinbases.append((height, fold.coinbase))
        self._held_bytes += len(fold.records)
        if not ledger.left or self._held_bytes >= RUN_BYTES:
            self._changed.set()

    def on_spent(self, told: TakeSpent) -> None:
        """A peer told the coins that a block spends."""
        if self._spent is None or not self.running:
            return
        if self._spent.take(told) and self._chain.tree.height(told.index) in self._stored:
            self._changed.set()
        self._want_spent()

    def _want_spent(self) -> None:
        """Have the coins of the next blocks asked for, in a full sync."""
        spent, ledger = self._spent, self._ledger
        if spent is None or ledger is None or not self.running or self.target < 0 or not spent.has_room:
            return
        heights = range(ledger.first, min(ledger.height, ledger.first + BLOCK_DOWNLOAD_WINDOW) + 1)
        spent.ask(self._path.at(height) for height in heights if not ledger.done[height])

    def _on_events(self, events: list[ChainEvent]) -> None:
        for event in events:
            if isinstance(event, BlockStored) and event.index not in self._inflight:
                self._note_stored(event.index)

    # -- the task ------------------------------------------------------------------------------------------------

    async def _gather(self) -> None:
        """Until all blocks are folded: read the stored ones, make durable what is done; raises SwiftSyncFailed."""
        ledger = self._ledger
        if ledger is None:
            raise RuntimeError("no ledger")
        reported, seen = time.monotonic(), (ledger.left, ledger.inputs)
        while ledger.left or self._inflight:
            self._check_target()
            self._changed.clear()
            self._want_spent()
            await self._fold_stored()
            now = time.monotonic()
            if self._failure is not None:
                raise self._failure
            self._check_spent(now)
            if self._held_bytes >= RUN_BYTES or now - self._checkpointed > CHECKPOINT_SECONDS:
                self._begin_checkpoint()
            if now - reported > REPORT_SECONDS:
                self._rates = ((seen[0] - ledger.left) / (now - reported), (ledger.inputs - seen[1]) / (now - reported))
                if seen[0] != ledger.left:
                    log.info("%s", progress_line(self.progress()))
                reported, seen = now, (ledger.left, ledger.inputs)
            if self._checkpoint is not None and self._checkpoint.done():
                self._checkpoint.result()
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _check_spent(self, now: float) -> None:
        """Whether peers tell what is needed of them; raises SwiftSyncFailed."""
        spent = self._spent
        if spent is None:
            return
        if not self._has_peers():
            spent.heard = now
        if spent.waits and now - spent.heard > SPENT_PATIENCE:
            raise SwiftSyncFailed(
                f"no peer has told what blocks spend for {SPENT_PATIENCE:.0f} seconds; nodes with -peerblockinputs do"
            )

    def _next_stored(self) -> int | None:
        """Height of a stored block that can be folded now."""
        stored = self._stored
        if self._spent is None:
            return next(iter(stored), None)
        heights = map(self._chain.tree.height, self._spent)
        return next((height for height in heights if height in stored), None)

    async def _fold_stored(self) -> None:
        """Fold blocks that lie in the block files and are not done: of an earlier run, or brought by somebody else."""

        async def fold_next() -> None:
            while (height := self._next_stored()) is not None:
                del self._stored[height]
                index = self._path.at(height)
                if index in self._inflight:
                    await self._inflight[index].wait()
                if not self.has(height):
                    await self._fold_from_disk(height, index)
                if self._held_bytes >= RUN_BYTES:
                    self._begin_checkpoint()

        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(fold_next()) for _ in range(min(READ_TOGETHER, len(self._stored)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fold_from_disk(self, height: int, index: int) -> None:
        done = self._inflight[index] = asyncio.Event()
        try:
            raw = await self._driver.read_block(index)
            fold = await self._fold(height, index, raw)
            if fold is None:
                fold = await self._fold(height, index, raw, here=True)
            if isinstance(fold, Fold):
                self._count(height, index, fold)
            else:
                self._stored[height] = None
        except HintMismatch as error:
            raise SwiftSyncFailed(f"the hints do not fit block {height}: {error}") from None
        except (RuleViolation, DecodeError) as error:
            raise SwiftSyncFailed(f"block {height} is not valid: {error}") from None
        finally:
            del self._inflight[index]
            done.set()

    # -- durable -------------------------------------------------------------------------------------------------

    def _begin_checkpoint(self) -> None:
        if self._checkpoint is None or self._checkpoint.done():
            self._checkpoint = asyncio.get_running_loop().create_task(self._write_checkpoint())

    async def _write_checkpoint(self) -> None:
        """Make durable what is done now; raises StorageError."""
        await self._make_durable(await self._write_run())

    async def _write_run(self) -> Ledger:
        """Have all survivors in runs; the state that they belong to. Raises StorageError."""
        ledger = self._ledger
        if ledger is None:
            raise RuntimeError("no ledger")
        self._checkpointed = time.monotonic()
        records, coinbases = self._records, self._coinbases
        self._records, self._coinbases, self._held_bytes = [], [], 0
        frozen = replace(ledger, done=bytearray(ledger.done), runs=list(ledger.runs))
        self._room.set()
        if records or coinbases:
            sizes = await asyncio.to_thread(self._folder.runs.write, len(frozen.runs), records, coinbases)
            frozen.runs.append(RunRecord(*sizes))
            ledger.runs.append(RunRecord(*sizes))
        return frozen

    async def _make_durable(self, frozen: Ledger) -> None:
        """Blocks and index first, then the record of what is done; its runs are on the disk. Raises StorageError."""
        await self._driver.flush()
        await asyncio.to_thread(self._folder.save, frozen)
        self._changed.set()

    # -- the end -------------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """All blocks are folded: compare, load the coins, and go on from N; raises SwiftSyncFailed, StorageError."""
        if self._checkpoint is not None:
            await self._checkpoint
        frozen = await self._write_run()
        ledger = self._ledger
        if ledger is None:
            raise RuntimeError("no ledger")
        self._check_target()
        if ledger.created != ledger.spent:
            told = "" if self._spent is None else f", or a peer told wrong coins ({self._spent.tellers()})"
            raise SwiftSyncFailed(f"the outputs that the hints call spent are not those that the blocks spend{told}")
        if ledger.kept + ledger.lost > subsidies_up_to(ledger.height, self._state.params):
            raise SwiftSyncFailed("there are more coins than were ever to be made")
        durable = asyncio.get_running_loop().create_task(self._make_durable(frozen))
        try:
            try:
                snapshot = await self._load_checked(ledger)
            finally:
                await asyncio.gather(durable, return_exceptions=True)
        except CorruptionError as error:  # the hints are not to blame
            self._ledger = None
            await asyncio.to_thread(self._folder.clear)
            raise CorruptionError(f"{error}: with the next start the sync with hints begins anew") from None
        try:
            await durable
            if not self._options.keep_blocks:
                self._state.store.files.have_pruned = True
            await self._assumed.adopt(snapshot, validate=self._options.validate)
        except BaseException:
            if self._state.store.snapshot is not snapshot:
                await asyncio.to_thread(snapshot.discard)
            raise
        self._end()
        self._driver.hold(False)
        await asyncio.to_thread(self._folder.clear)
        log.info("SwiftSync has brought the chain to height %d: %d coins", ledger.height, ledger.coins)

    async def _load_checked(self, ledger: Ledger) -> SnapshotStore:
        """A database with the survivors; raises SwiftSyncFailed, StorageError."""
        runs = [RunSizes(run.size, run.coins, run.coinbases, run.crc) for run in ledger.runs]
        await asyncio.to_thread(self._check_coinbases, runs)
        log.info("SwiftSync: all %d blocks fit the hints; loading %d coins", ledger.height, ledger.coins)
        return await asyncio.to_thread(self._load, ledger, runs)

    def _check_coinbases(self, runs: list[RunSizes]) -> None:
        """No coinbase may be there twice (BIP30), but for the two that are known; raises SwiftSyncFailed."""
        tree, path = self._chain.tree, self._path
        known = self._state.params.bip30_exceptions
        allowed = {height for height, name in known if height < len(path) and tree.hash(path.at(height)) == name}
        found = [item for number, run in enumerate(runs) for item in self._folder.runs.coinbases(number, run)]
        repeated = find_repeated(found, allowed)
        if repeated is not None:
            raise SwiftSyncFailed("the coinbase of block {1} repeats that of block {0}".format(*repeated))

    def _load(self, ledger: Ledger, runs: list[RunSizes]) -> SnapshotStore:
        """A database with the survivors; raises SwiftSyncFailed, StorageError."""
        tree, store = self._chain.tree, self._state.store
        for number, run in enumerate(runs):
            self._folder.runs.verify(number, run)
        remove_snapshot(store.directory)
        name = tree.hash(self.target)
        listed = set_after(self._state.params, name)
        chain_tx = sum(tree.columns.n_tx[index] for index in self._path.span(0, ledger.height))
        known = listed or AssumeUtxo(ledger.height, name, bytes(32), chain_tx)
        snapshot = SnapshotStore(
            store.directory, known, store.damage_reports, own=True, trusted=not self._options.validate
        )
        try:
            count, utxo_hash = load_survivors(
                lambda: self._folder.runs.merged(runs, self._chain.check_stop), snapshot.database, ledger.coins
            )
            if count != ledger.coins:
                raise SwiftSyncFailed(f"{count} coins were found where {ledger.coins} were written")
            if listed is not None and utxo_hash != listed.utxo_hash:
                raise SwiftSyncFailed("the coins do not have the hash that is known for this block")
            snapshot.known = known._replace(utxo_hash=utxo_hash)
        except RepeatedOutput:
            snapshot.discard()
            raise SwiftSyncFailed("an output was made twice") from None
        except BaseException:
            snapshot.discard()
            raise
        log.info("SwiftSync: coins loaded, hash_serialized_3 %s", to_display(utxo_hash))
        return snapshot

    def _end(self) -> None:
        """Blocks go the usual way from now on."""
        self._assumed.release()
        self._view.end_folding()
        self._feed(FetchBlocks())
        if self._spent is not None:
            self._spent.close()
        self._room.set()
        if self._pool is not None:
            self._pool.resize(self._pool.workers - 1)

    async def _give_up(self, failure: SwiftSyncFailed) -> None:
        """Sync as usual, from the blocks that are here."""
        self._end()
        if self._checkpoint is not None:
            await asyncio.gather(self._checkpoint, return_exceptions=True)
        await self._driver.flush()  # the blocks first: a kill after the note shall not cost them
        hints = self._known_hints()
        if hints.changed:  # what was read at the start is not to blame
            failure = SwiftSyncFailed(f"{failure}, and somebody has written into the file of hints meanwhile")
            await asyncio.to_thread(self._folder.clear)
        else:
            await asyncio.to_thread(self._folder.note_failure, hints.digest)
        self._failure = failure
        self._records, self._coinbases, self._held_bytes = [], [], 0
        log.error("SwiftSync has failed: %s. The node syncs as usual, with the blocks that are here.", failure)
        self._driver.hold(False)
