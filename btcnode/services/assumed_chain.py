"""Starting from a loaded UTXO set (assumeutxo): loading it, and validating the chain below it in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from btcnode.chain.assumed import forget_undo_above
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.history import History
from btcnode.chain.script_checks import ScriptChecker
from btcnode.chain.snapshot_store import SnapshotStore, new_snapshot
from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.files import open_regular
from btcnode.mempool.pool import Mempool
from btcnode.networks.assumeutxo import AssumeUtxo, known_sets, set_after
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.services.chain import Chain
from btcnode.services.file_names import system_name
from btcnode.services.snapshot_files import SnapshotContentError, SnapshotFileError, SnapshotRefusedError
from btcnode.storage.layout import META_HISTORY
from btcnode.storage.utxo_snapshot import HEADER, SnapshotHeader, parse_header
from btcnode.tuples import NamedTuple

HISTORY_SHARE = 8  # the chain below gets this part of the coin cache
MIN_HISTORY_CACHE = 4 << 20

log = logging.getLogger("btcnode.validation")


class LoadedSnapshot(NamedTuple):
    """Coins loaded, and the header index of their block."""

    coins: int
    base: int


class ChainPart(NamedTuple):
    """A chain whose coins are kept: its tip, bytes of cache, the block of the set that it began with, if any."""

    tip: int
    cache: int
    snapshot_base: BlockHash | None
    validated: bool


def _open(name: str) -> BinaryIO:
    """A file to read; raises SnapshotFileError, DecodeError when it is a directory, with Core's words for each."""
    try:
        if not name:
            raise FileNotFoundError
        return open_regular(Path(system_name(name)))
    except IsADirectoryError:
        raise DecodeError("AutoFile::read: fread failed") from None
    except OSError:
        raise SnapshotFileError(f"Couldn't open file {name} for reading.") from None


class AssumedChain:
    """Loads one set in the life of a data directory. Lives on the loop thread."""

    def __init__(
        self,
        chain: Chain,
        mempool: Mempool,
        checker: ScriptChecker | None,
        *,
        dbcache: int,
        offer_history: Callable[[bool], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """``offer_history`` is told whether old blocks can be served; raises CorruptionError."""
        self._chain = chain
        self._driver = chain.driver
        self._state: Chainstate = chain.driver.chainstate
        self._mempool = mempool
        self._checker = checker
        self._cache = max(MIN_HISTORY_CACHE, dbcache // HISTORY_SHARE)
        self._on_fatal = on_fatal
        self._offer_history = offer_history
        self._loading = False
        self._reserved = False
        self._task: asyncio.Task[None] | None = None
        snapshot = self._state.store.snapshot
        if snapshot is not None:
            self._resume(snapshot)

    async def close(self) -> None:
        """Wait for a comparison under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    # -- reading -------------------------------------------------------------------------------------------------

    def chain_parts(self) -> list[ChainPart]:
        """The chains that this node has coins of, the active one last."""
        state, history, snapshot = self._state, self._driver.history, self._state.store.snapshot
        base_hash = None if snapshot is None else snapshot.known.block_hash
        parts = [ChainPart(state.tip, state.coins.budget, base_hash, history is None)]
        if history is not None:
            parts.insert(0, ChainPart(history.active.tip, history.coins.budget, None, True))
        return parts

    @property
    def has_set(self) -> bool:
        """Whether a set was loaded that is not validated yet, or is loaded now."""
        return self._loading or self._state.store.snapshot is not None

    # -- loading -------------------------------------------------------------------------------------------------

    def reserve(self) -> bool:
        """Load no file until ``release``: coins come another way. False when there is a set, or one is loaded now."""
        if self._loading or self._state.store.snapshot is not None:
            return False
        self._reserved = True
        return True

    def release(self) -> None:
        """Files may be loaded again."""
        self._reserved = False

    async def load(self, name: str) -> LoadedSnapshot:
        """Load a UTXO set whose hash is known and make its block the tip; the chain below is validated later.

        Raises DecodeError for a wrong header, SnapshotFileError, SnapshotRefusedError, StorageError.
        """
        try:
            return await self._load_file(name)
        except (DecodeError, StorageError) as error:  # the words for who asked may lack the name
            log.warning("[snapshot] %s cannot be loaded: %s", name, error)
            raise

    async def _load_file(self, name: str) -> LoadedSnapshot:
        file = _open(name)
        with file:
            try:
                start = await asyncio.to_thread(file.read, HEADER.size)
            except OSError:
                raise DecodeError("AutoFile::read: fread failed") from None
            header = parse_header(start, self._state.params)
            if self._loading or self._state.store.snapshot is not None:
                raise SnapshotRefusedError("Can't activate a snapshot-based chainstate more than once")
            if self._reserved:
                raise SnapshotRefusedError("Can't load a UTXO set while the node syncs with hints")
            known = self._known(header.block_hash)
            base = self._check_base(known)
            self._loading = True
            try:
                snapshot = await self._load(file, header, known, base)
            finally:
                self._loading = False
        log.info("[snapshot] successfully activated snapshot %s", to_display(snapshot.known.block_hash))
        return LoadedSnapshot(header.coins, base)

    async def adopt(self, snapshot: SnapshotStore, *, validate: bool) -> None:
        """Go on from coins that this node has made itself; raises StorageError, ValueError as the driver's.

        ``validate``: the chain below is validated in the background, else it counts as validated.
        """

        def history(tip: int) -> History:
            return self._make_history(snapshot.known, tip)

        await self._driver.adopt_snapshot(snapshot, history if validate else None, self._on_done)
        self._offer()
        self._driver.kick()

    def _known(self, block_hash: BlockHash) -> AssumeUtxo:
        known = set_after(self._state.params, block_hash)
        if known is None:
            heights = ", ".join(str(item.height) for item in known_sets(self._state.params))
            raise SnapshotRefusedError(
                f"assumeutxo block hash in snapshot metadata not recognized (hash: {to_display(block_hash)})."
                f" The following snapshot heights are available: {heights}"
            )
        return known

    def _check_base(self, known: AssumeUtxo) -> int:
        """The set's block in the tree; raises SnapshotRefusedError."""
        tree = self._state.tree
        base, name = tree.find(known.block_hash), to_display(known.block_hash)
        if base < 0:
            raise SnapshotRefusedError(
                f"The base block header ({name}) must appear in the headers chain. Make sure all headers are syncing,"
                " and call loadtxoutset again"
            )
        if tree.is_failed(base):
            raise SnapshotRefusedError(f"The base block header ({name}) is part of an invalid chain")
        if not tree.is_ancestor(base, tree.best_header):
            raise SnapshotRefusedError(
                "A forked headers-chain with more work than the chain with the snapshot base block header exists."
                " Please proceed to sync without AssumeUtxo."
            )
        if len(self._mempool):
            raise SnapshotRefusedError("Can't activate a snapshot when mempool not empty")
        if tree.chainwork(base) <= tree.chainwork(self._state.tip):
            raise SnapshotRefusedError("Population failed: Work does not exceed active chainstate")
        return base

    async def _load(self, file: BinaryIO, header: SnapshotHeader, known: AssumeUtxo, base: int) -> SnapshotStore:
        from btcnode.storage.snapshot_load import SnapshotRefused  # here and below: few nodes load a set

        height = self._state.tree.height(base)
        log.info("[snapshot] loading %d coins from snapshot %s", header.coins, to_display(known.block_hash))
        store = self._state.store
        snapshot = await asyncio.to_thread(new_snapshot, store.directory, known, store.damage_reports)
        try:
            await asyncio.to_thread(self._fill, file, header, height, snapshot)
            await self._driver.adopt_snapshot(snapshot, lambda tip: self._make_history(known, tip), self._on_done)
        except BaseException as error:
            if self._state.store.snapshot is not snapshot:
                await asyncio.to_thread(snapshot.discard)
            if isinstance(error, SnapshotRefused):
                kind = SnapshotRefusedError if self._chain.stopping() else SnapshotContentError
                raise kind(f"Population failed: {error}") from None
            if isinstance(error, ValueError):
                raise SnapshotRefusedError(str(error)) from None
            raise
        self._offer()
        self._driver.kick()
        return snapshot

    def _fill(self, file: BinaryIO, header: SnapshotHeader, height: int, snapshot: SnapshotStore) -> None:
        """Put the coins into the database and compare their hash; raises SnapshotRefused."""
        from btcnode.storage.snapshot_load import SnapshotRefused, load_coins

        def check_stop() -> None:
            if self._chain.stopping():
                raise SnapshotRefused("Aborting after an interrupt was requested")

        found = load_coins(file, header, height, snapshot.database, check_stop)
        if found != snapshot.known.utxo_hash:
            expected = to_display(snapshot.known.utxo_hash)
            raise SnapshotRefused(f"Bad snapshot content hash: expected {expected}, got {to_display(found)}")

    # -- the chain below -----------------------------------------------------------------------------------------

    def _make_history(self, known: AssumeUtxo, tip: int) -> History:
        state = self._state
        return History(
            state.params,
            state.store,
            state.tree,
            known,
            tip,
            dbcache=self._cache,
            assume_valid=state.assume_valid,
            checker=self._checker,
        )

    def _resume(self, snapshot: SnapshotStore) -> None:
        """Go on where the last run has ended; raises CorruptionError."""
        tip_hash = self._state.store.own_tip_hash()
        tip = -1 if tip_hash is None else self._state.tree.find(BlockHash(tip_hash))
        if tip < 0:
            raise CorruptionError("the tip of the chain below the loaded UTXO set is not in the block index")
        self._driver.begin_history(self._make_history(snapshot.known, tip), self._on_done)
        self._offer()

    def _offer(self) -> None:
        """Old blocks are not served before they are here."""
        self._offer_history(self._driver.history is None)

    def _on_done(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._compare())

    async def _compare(self) -> None:
        """All blocks up to the set's are connected: their coins must be those that were loaded."""
        store = self._state.store
        snapshot = store.snapshot
        if snapshot is None:
            return
        name = to_display(snapshot.known.block_hash)
        try:
            log.info("[snapshot] tip: actual=%s, base=%s", self._state.tree.height(self._state.tip), name)
            stats = await self._driver.in_scanner(
                lambda: store.own_coins.utxo_stats("hash_serialized_3", self._check_stop)
            )
            if stats.hash != snapshot.known.utxo_hash:
                await self._condemn(snapshot)
                return
            await asyncio.to_thread(store.database.commit, meta_puts={META_HISTORY: b""})
            await self._driver.end_history()
        except StorageError as error:
            if not self._chain.stopping():
                self._on_fatal(error)
            return
        self._offer()
        log.info("[snapshot] snapshot beginning at %s has been fully validated", name)

    def _check_stop(self, _count: int) -> None:
        if self._chain.stopping():
            raise StorageError("Shutting down")

    async def _condemn(self, snapshot: SnapshotStore) -> None:
        """What was loaded is not what the chain gives: go back to the validated chain, with the next start."""
        async with self._driver.paused():
            forget_undo_above(self._state.tree, self._state.tree.find(snapshot.known.block_hash))
        await self._driver.flush()
        await asyncio.to_thread(snapshot.condemn)
        raise CorruptionError(
            "The UTXO set that was loaded does not fit the chain that leads to it. The node stops; with the next start"
            " it goes on from the last validated block. Please report this, and where the set came from."
        )
