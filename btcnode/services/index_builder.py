"""What keeps an optional index up to date: it follows the active chain in the background, whatever the index holds.

The work is done in slices on a thread of its own, which all indexes share: read blocks, make their records, store
them. One transaction stores a slice's records with the block they lead to, so that a kill costs the slice at most.
A reorganisation takes nothing back, as records belong to blocks, not to heights; the position moves when there is a
block to add on the new chain. After a crash the index may have blocks that the chain has to learn again: it falls back
to the highest block of the active chain that it has a record of, and passes the others over when they come.

An index that keeps a state beside its records goes back with it, by what its records say, before it goes another way.

A store that is damaged (which whoever reads it may notice) is wiped and built anew, once in a run and where all blocks
are there; what cannot be mended that way, an unreadable block above all, ends the node, as in Core.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.block_status import HAVE_DATA, HAVE_UNDO
from btcnode.chain.events import BlockConnected, BlockDisconnected, ChainEvent, HistoryMoved
from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.indexes.recipe import IndexedBlock, KeepingRecipe, Made, Maker, PureRecipe, Recipe
from btcnode.indexes.store import Batch, IndexStore
from btcnode.primitives.hashes import ZERO_HASH, BlockHash, to_display
from btcnode.record import record
from btcnode.services.chain import Chain
from btcnode.storage.fault_note import fault_noted

SLICE_SECONDS = 1.0
SLICE_BLOCKS = 2000  # 32 bytes each to plan; more need another look at the chain
SLICE_BYTES = 16 << 20  # of records and rows, which Python keeps with some 60 bytes for each
ROW_COST = 60
MAX_WAITING = 1000
NEAR_BLOCKS = 1000  # as far behind it is worth waiting for
LOG_SECONDS = 30.0

log = logging.getLogger("btcnode.blockstorage")
prune_log = logging.getLogger("btcnode.prune")


@record
class IndexState:
    """How far an optional index has come."""

    name: str
    synced: bool
    height: int
    rebuilding: bool = False  # it was damaged


class BlockUnreadableError(StorageError):
    """A block, or what it spent, cannot be read: the index is not to blame."""


class IndexBuilder:
    """One index: its recipe, its store and how far it has come. Lives on the loop thread."""

    def __init__(
        self,
        recipe: Recipe,
        chain: Chain,
        directory: Path,
        thread: Executor,
        *,
        wipe: bool,
        on_fatal: Callable[[BaseException], None],
        on_rebuild: Callable[[], None],
    ) -> None:
        """Open the store under the network's directory; raises StorageError.

        ``on_fatal`` is told of an error that the index cannot go on after, ``on_rebuild`` when ``rebuilding`` changes.
        """
        self.recipe = recipe
        self.name = recipe.name
        # tools look for the line that Core writes here, and for the place that it names
        place = (directory / recipe.file).with_suffix("") / "db"
        if wipe:
            log.info("LMDB in place of Core's: Wiping LevelDB in %s", place)
        self._chain = chain
        self._tree = chain.tree
        self._thread = thread
        self._on_fatal = on_fatal
        self._on_rebuild = on_rebuild
        self.rebuilding = False
        self._damage: CorruptionError | None = None  # noticed, and not dealt with yet
        self.store = self._open(directory / recipe.file, wipe=wipe, in_doubt=fault_noted(directory))
        log.info("LMDB in place of Core's: Opening LevelDB in %s", place)
        self._at = self._position()  # header index of the last block that is stored
        self._waiting: deque[int] = deque()  # connected blocks: stale soon or not, the index goes their way, as in Core
        self._failed = False
        self._closing = False
        self._moved = asyncio.Event()
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._logged = 0.0  # when progress was logged, monotonic
        chain.driver.listen(self._on_events)

    def _open(self, path: Path, *, wipe: bool, in_doubt: bool) -> IndexStore:
        """The store, wiped if it has to be; raises StorageError."""
        keeps = isinstance(self.recipe, KeepingRecipe)
        try:
            return IndexStore(path, wipe=wipe, in_doubt=in_doubt, keeps=keeps)
        except CorruptionError as error:
            self._begin_rebuild(error)
            return IndexStore(path, wipe=True, keeps=keeps)

    def _position(self) -> int:
        """Where the index stands: a crash can have taken blocks from the chain that the index has."""
        best = self.store.best()
        at = self._tree.find(best) if best is not None else -1
        if best is None or at >= 0:
            return at
        if isinstance(self.recipe, KeepingRecipe):
            return self._position_of_state(self.recipe, best)
        active = self._active
        # who has a block's record has those of all its ancestors
        low, high = -1, active.height
        while low < high:
            middle = (low + high + 1) // 2
            if self.store.record(self._tree.hash(active.at(middle))) is not None:
                low = middle
            else:
                high = middle - 1
        log.info("%s falls back to height %d, where the chain is after a crash", self.name, low)
        return active.at(low) if low >= 0 else -1

    def _position_of_state(self, recipe: KeepingRecipe, best: BlockHash) -> int:
        """The last ancestor that the chain knows: the way back to it is in the records; raises StorageError."""
        while (at := self._tree.find(best)) < 0 and best != ZERO_HASH:
            record = self.store.record(best)
            if record is None:
                raise CorruptionError(f"the {self.name} lacks block {to_display(best)}")
            best = recipe.parent(record)
        log.info("%s falls back to height %d after a crash", self.name, self._tree.height(at) if at >= 0 else -1)
        return at

    @property
    def _active(self) -> ActiveChain:
        return self._chain.driver.validated_chain()

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        for event in chain_events:
            if isinstance(event, BlockDisconnected) and event.height <= self.state().height:
                prune_log.debug("%s prune lock moved back to %d", self.name, event.height - 1)
            if isinstance(event, BlockConnected):
                self._note(event.index)
            if isinstance(event, BlockConnected | BlockDisconnected | HistoryMoved):
                self._moved.set()

    def _note(self, index: int) -> None:
        """Remember a block that was connected on top of what is indexed, or will be."""
        parent = self._tree.prev(index)
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.clear()  # far behind: the active chain will do
        elif self._continues(parent, self._waiting[-1] if self._waiting else self._at):
            self._waiting.append(index)

    # -- where it is ---------------------------------------------------------------------------------------------

    def covers(self, index: int) -> bool:
        """Whether the block is on the chain that was indexed."""
        return self._continues(index, self._at)

    def _continues(self, index: int, at: int) -> bool:
        """Whether an index that stands at block ``at`` can go back to block ``index``."""
        return index >= 0 and at >= 0 and self._tree.ancestor(at, self._tree.height(index)) == index

    def state(self) -> IndexState:
        """How far the index has come."""
        height = self._tree.height(self._at) if self._at >= 0 else 0
        return IndexState(self.name, self.covers(self._active.tip), height, self.rebuilding)

    def needed_from(self) -> int:
        """Height of the last block of the active chain that is indexed: what lies above has to be read yet."""
        fork = self._active.find_fork(self._at) if self._at >= 0 else 0
        return self._tree.height(fork)

    async def until_synced(self, seconds: float = 10.0) -> bool:
        """Wait until the index has the tip of this moment; False when it does not come so far."""
        tip = self._active.tip
        if self.covers(tip):
            return True
        return await asyncio.create_task(self._wait_for(tip, seconds))

    async def _wait_for(self, tip: int, seconds: float) -> bool:
        """The same in a task, which may set itself a time."""
        try:
            async with asyncio.timeout(seconds):
                while not self.covers(tip) and not self.covers(self._active.tip):
                    behind = self._active.height - self.state().height
                    if self._failed or self._closing or behind > NEAR_BLOCKS:
                        return False
                    await self._progress.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def noticing_damage(self) -> Iterator[None]:
        """Have the index built anew when what is read inside turns out to be damaged; the error goes on."""
        try:
            yield
        except CorruptionError as error:
            self._damage = error
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._moved.set)  # whoever reads may be on any thread
            raise

    def _wake(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    # -- building ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Follow the chain from now on."""
        log.info("%s thread start", self.name)  # what tools that start bitcoind look for
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._follow())

    async def close(self) -> None:
        """Stop, with everything stored that is made."""
        self._closing = True
        self._wake()
        if self._task is not None:
            self._moved.set()
            await self._task
        self.store.close()

    async def _follow(self) -> None:
        enabled = False
        while not self._closing and not self._failed:
            self._moved.clear()
            try:
                await self._catch_up()
            except BlockUnreadableError as error:
                self._fail(error)
            except (CorruptionError, DecodeError) as error:
                self._mend(CorruptionError(str(error)))
            except Exception as error:
                self._fail(error)
            else:
                if not enabled:
                    log.info("%s is enabled at height %d", self.name, self.state().height)
                    enabled = True
                await self._moved.wait()

    async def _catch_up(self) -> None:
        """Index what there is; raises what the store, the recipe or the chain's files do."""
        while not self._closing:
            if self._damage is not None:
                damage, self._damage = self._damage, None
                raise damage
            if not (todo := self._plan()):
                break
            done = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, todo)
            for index in todo[:done]:
                self._at = index
                if self._waiting and self._waiting[0] == index:
                    self._waiting.popleft()
            self._wake()
        if self.rebuilding and not self._closing:
            self.rebuilding = False
            self._on_rebuild()

    def _fail(self, error: Exception) -> None:
        self._failed = True
        self._wake()
        if isinstance(error, StorageError):
            error = StorageError(f"the {self.name} cannot go on: {error} (its file is {self.store.path})")
        self._on_fatal(error)

    def _mend(self, damage: CorruptionError) -> None:
        """Wipe the store, for it to be built anew, or fail."""
        try:
            if self.rebuilding:
                raise damage  # damaged again before it was whole: the disk, not the index
            self._begin_rebuild(damage)
            self.store.wipe()
        except StorageError as error:
            self._fail(error)
            return
        self._at = -1
        self._damage = None
        self._waiting.clear()

    def _begin_rebuild(self, damage: CorruptionError) -> None:
        """Raises CorruptionError when blocks are gone that the index would be built from."""
        needed = HAVE_DATA | HAVE_UNDO if self.recipe.needs_spent else HAVE_DATA
        active, status = self._active, self._tree.columns.status
        if any(status[active.at(height)] & needed != needed for height in range(1, active.height + 1)):
            raise CorruptionError(
                f"{damage}. Blocks that the {self.name} would be built from were deleted: please disable the index or"
                " start with --reindex (which will download the whole blockchain again)"
            )
        log.warning("the %s is built anew from the block files: %s", self.name, damage)
        self.rebuilding = True
        self._on_rebuild()

    def _plan(self) -> Sequence[int]:
        """The next blocks to index, none when the index has the tip (or stands on top of it)."""
        if waiting := self._plan_waiting():
            return waiting
        active = self._active
        if active.tip < 0 or self.covers(active.tip):
            return ()
        fork = active.find_fork(self._at) if self._at >= 0 else -1
        first = self._tree.height(fork) + 1 if fork >= 0 else 0
        return active.span(first, first + SLICE_BLOCKS - 1)

    def _plan_waiting(self) -> list[int]:
        """The blocks that were connected first, as far as each is the child of the one before.

        One that is indexed already counts too: a block that comes back takes the index back to it.
        """
        waiting, prev = self._waiting, self._tree.prev
        while waiting and (waiting[0] == self._at or not self.covers(prev(waiting[0]))):
            waiting.popleft()
        run: list[int] = []
        for index in waiting:
            if len(run) >= SLICE_BLOCKS or (run and prev(index) != run[-1]):
                break
            run.append(index)
        return run

    def _work(self, todo: Sequence[int]) -> int:
        """Index blocks, each the child of the one before, and store them (index thread).

        Ends early when time or memory is used up; returns how many were done. Raises StorageError, DecodeError.
        """
        end = time.monotonic() + SLICE_SECONDS
        batch, size, done = Batch(), 0, 0
        number = self.store.block_count() if self.recipe.numbered else 0
        previous = self._record_before(todo[0])
        with self._made_by(todo[0]) as (make, maker):
            for index in todo:
                block_hash = self._tree.hash(index)
                record = self.store.record(block_hash)
                if record is None or maker is not None:
                    block = self._read(index, block_hash, number + len(batch.numbers), previous)
                    made, rows = make(block)
                    if record is None:
                        batch.records[block_hash] = made
                        batch.rows += rows
                        if self.recipe.numbered:
                            batch.numbers[block.number] = block_hash
                        size += len(made) + len(rows) * ROW_COST
                    record = made
                previous = record
                done += 1
                waiting = size + (maker.size if maker is not None else 0)
                if self._closing or waiting >= SLICE_BYTES or time.monotonic() >= end:
                    break
            if maker is not None:
                batch.nodes = maker.nodes()
        self.store.put(batch, self._tree.hash(todo[done - 1]))
        self._log_progress(todo[done - 1])
        return done

    @contextmanager
    def _made_by(self, index: int) -> Iterator[tuple[Callable[[IndexedBlock], Made], Maker | None]]:
        """What makes a block's record and those of its descendants; the latter for an index that keeps a state.

        All that is read of the state is as of one moment.
        """
        if isinstance(self.recipe, PureRecipe):
            yield self.recipe.make, None
            return
        parent = self._tree.prev(index)
        with self.store.moment() as state:
            maker = self.recipe.begin(state, self._tree.hash(parent) if parent >= 0 else BlockHash(ZERO_HASH))
            yield maker.make, maker

    def _record_before(self, index: int) -> bytes:
        parent = self._tree.prev(index)
        if parent < 0:
            return b""
        record = self.store.record(self._tree.hash(parent))
        if record is None:
            raise CorruptionError(f"the record of block {to_display(self._tree.hash(parent))} is missing")
        return record

    def _read(self, index: int, block_hash: BlockHash, number: int, previous: bytes) -> IndexedBlock:
        height = self._tree.height(index)
        try:
            raw = self._chain.read_block_now(index)
            spent = self._chain.read_undo_now(index) if self.recipe.needs_spent and height else []
        except StorageError as error:
            raise BlockUnreadableError(f"block {to_display(block_hash)} cannot be read: {error}") from None

        def hash_at(wanted: int) -> BlockHash:
            return self._tree.hash(self._tree.ancestor(index, wanted))

        return IndexedBlock(raw, spent, block_hash, height, number, previous, hash_at)

    def _log_progress(self, index: int) -> None:
        now = time.monotonic()
        if not self._logged:
            self._logged = now
        elif now - self._logged >= LOG_SECONDS:
            self._logged = now
            log.info("Syncing %s with block chain from height %d", self.name, self._tree.height(index))
