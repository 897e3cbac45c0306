"""Deleting old block files: on demand, or whenever they have grown beyond their target."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from btcnode.chain.active_chain import ActiveChain
from btcnode.chain.block_status import HAVE_DATA, HAVE_UNDO
from btcnode.chain.events import ChainEvent
from btcnode.chain.pruning import (
    MIN_PRUNE_TARGET,
    files_beyond,
    files_within,
    last_prunable,
    lock_height,
    prunable_heights,
)
from btcnode.errors import StorageError
from btcnode.services.chain import Chain

LOOK_AFTER = 1 << 20  # bytes that are written between two looks at the files
LOOK_AFTER_BLOCKS = 16  # that are connected: with blocks that were stored before, nothing much is written
HELD_SECONDS = 1.0  # between two looks while somebody holds pruning back
HAVE_MASK = HAVE_DATA | HAVE_UNDO

log = logging.getLogger("btcnode.prune")


class IndexBehindError(StorageError):
    """An index has to read blocks that were deleted."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} best block of the index goes beyond pruned data (including undo data). Please disable the index"
            " or reindex (which will download the whole blockchain again)\nError: A fatal internal error occurred, see"
            " debug.log for details: Failed to start indexes, shutting down…"
        )


class Pruner:
    """Prunes the files of one chain; ``target`` is in bytes, None for pruning on demand only.

    ``locks`` hold pruning back: each tells the height from which on it needs blocks.
    """

    def __init__(
        self, chain: Chain, locks: Mapping[str, Callable[[], int]], target: int | None, *, enabled: bool
    ) -> None:
        self._chain = chain
        self._driver = chain.driver
        self._state = chain.driver.chainstate
        self._files = self._state.store.files
        self._target = None if target is None else max(target, MIN_PRUNE_TARGET)
        self._enabled = enabled
        self._locks = dict(locks)
        self._looked_at = 0  # bytes that had been written
        self._looked_height = 0  # of the chain
        self._task: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def start(self) -> None:
        """Begin to prune automatically, if that is wanted."""
        if not self._enabled:
            return
        if self._target is None:
            log.info("block files are deleted by the RPC pruneblockchain only")
            return
        log.info("block files are kept below %d MiB", self._target >> 20)
        self._driver.listen(self._on_events)
        self._begin()

    async def close(self) -> None:
        """Begin no more; a deletion under way is finished."""
        self._target = None
        self._closing.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def is_enabled(self) -> bool:
        """Whether the node prunes at all."""
        return self._enabled

    def prune_height(self) -> int | None:
        """The highest block of the active chain whose data or undo data is gone, None when all are there."""
        if not self._files.have_pruned and self._driver.history is None:
            return None
        return self._highest_gap(self._state.active)

    def _highest_gap(self, active: ActiveChain) -> int | None:
        status = self._state.tree.columns.status
        for height in range(active.height, 0, -1):
            if status[active.at(height)] & HAVE_MASK != HAVE_MASK:
                return height
        return None

    def check_locks(self) -> None:
        """Raise IndexBehindError when blocks are gone that an index needs."""
        partial = self._files.have_pruned or (self._driver.history is None and self._state.lacks_undo)
        gone = self._highest_gap(self._driver.validated_chain()) if partial else None
        behind = sorted((held(), name) for name, held in self._locks.items())
        if gone is not None and behind and behind[0][0] <= gone:
            raise IndexBehindError(behind[0][1])

    @contextmanager
    def holding(self, name: str, height: int) -> Iterator[None]:
        """Keep the blocks from ``height`` on inside."""
        self._locks[name] = lambda: height
        try:
            yield
        finally:
            del self._locks[name]

    # -- deleting ------------------------------------------------------------------------------------------------

    async def prune_to(self, height: int) -> None:
        """Delete the files whose blocks are all at ``height`` or below; raises StorageError."""

        def choose() -> list[int]:
            last = last_prunable(self._state.active.height, min(self._limit(), height))
            files = self._prunable(last) if height > 0 else []
            log.info("Prune (Manual): prune_height=%d removed %d blk/rev pairs", last, len(files))
            return files

        await self._driver.prune(choose)

    def _limit(self) -> int:
        """The height up to which those who hold pruning back allow it."""
        last, limiting = self._state.active.height, ""
        for name, held in self._locks.items():
            allowed = lock_height(held())
            last = max(1, min(last, allowed))
            if last == allowed:
                limiting = name
        if limiting:
            log.debug("%s limited pruning to height %d", limiting, last)
        return last

    def _prunable(self, last: int) -> list[int]:
        """The files that may go when blocks up to height ``last`` may."""
        history, tree = self._driver.history, self._state.tree
        if history is None:
            heights = prunable_heights(last)
        else:  # a crash takes the chain below to what it has on disk
            heights = prunable_heights(last, tree.height(history.base), tree.height(history.flushed_tip))
        return files_within(self._files.infos, heights, self._files.writing)

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        written = self._files.appended - self._looked_at
        grown = self._state.active.height - self._looked_height
        if self._target is not None and (written >= LOOK_AFTER or grown >= LOOK_AFTER_BLOCKS):
            self._begin()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._looked_at, self._looked_height = self._files.appended, self._state.active.height
            if self._beyond_target() or self._is_held():
                self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        """Prune what has to go, and what is held back when it is so no more, which can be long after the last block."""
        while True:
            if self._beyond_target():
                if not await self._prune():
                    return
            elif self._is_held():
                with suppress(TimeoutError):
                    async with asyncio.timeout(HELD_SECONDS):
                        await self._closing.wait()
            else:
                return

    def _is_held(self) -> bool:
        """Whether more would have to go if nobody held pruning back."""
        return len(self._beyond_target()) < len(self._beyond(self._state.active.height))

    def _beyond_target(self) -> list[int]:
        """The files that have to go now."""
        return self._beyond(self._limit())

    def _beyond(self, limit: int) -> list[int]:
        """The files that have to go, with blocks up to height ``limit`` only."""
        state = self._state
        height = state.active.height
        if self._target is None or height <= state.params.prune_after_height:
            return []
        to_come = 0
        if self._chain.is_initial_block_download():
            to_come = max(0, state.tree.height(state.tree.best_header) - height)
        prunable = self._prunable(last_prunable(height, limit))
        return files_beyond(self._files.infos, prunable, self._target, to_come)

    async def _prune(self) -> bool:
        """Whether the files that had to go are gone."""
        try:
            count = await self._driver.prune(self._beyond_target)
        except StorageError as error:
            log.error("old block files are not deleted: %s", error)
            return False
        usage, target = self._files.total_size, self._target or 0
        log.debug("target=%dMiB actual=%dMiB removed %d blk/rev pairs", target >> 20, usage >> 20, count)
        return True
