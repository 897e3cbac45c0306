"""What lies in a network's data directory: one database, the block files, one lock."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from btcnode.chain.snapshot_store import SnapshotStore, find_snapshot, remove_snapshot, take_snapshot_over
from btcnode.errors import CorruptionError, RebuildError, StorageError
from btcnode.storage.block_index import BlockIndexStore, IndexColumns
from btcnode.storage.blockfiles import BlockFiles, FileChanges
from btcnode.storage.coins import CoinsDb
from btcnode.storage.damage_reports import DamageReports
from btcnode.storage.database import COINS_ADVICE, Database
from btcnode.storage.durable import storage_error, write_durably
from btcnode.storage.layout import (
    BLOCKS_DIR,
    DATABASE_FILE,
    INDEX_DIR,
    MAX_BLOCKFILE_SIZE,
    META_DAMAGE,
    META_INDEX_DIR,
    META_NETWORK,
    META_REINDEX,
    META_TIP,
    REINDEX_FILE,
    SMALL_BLOCKFILE_SIZE,
)
from btcnode.storage.locking import DirectoryLock

if TYPE_CHECKING:
    from btcnode.networks.parameters import NetworkParams

log = logging.getLogger("btcnode.chain")


class ChainStore:
    """Database, coins, block index and block files of one network, opened, committed and closed together."""

    def __init__(
        self,
        directory: Path,
        database: Database,
        files: BlockFiles,
        blocks_lock: DirectoryLock,
        damage: DamageReports,
        snapshot: SnapshotStore | None = None,
        *,
        flushes_freely: bool = True,
    ) -> None:
        """``flushes_freely``: coins are written when they are old too, and the chain may go on meanwhile; without it
        only by the steps of a block, before it is answered for. ``damage`` is what the databases report to.

        Listen to ``damage_reports`` once the store is in use.
        """
        self.damage_reports = damage
        self.directory = directory
        self._blocks_lock = blocks_lock
        self.database = database
        self.own_coins = CoinsDb(database)  # those of the validated chain, where another set is loaded
        self.files = files
        self.flushes_freely = flushes_freely
        self.snapshot: SnapshotStore | None = None
        if snapshot is not None:
            self.adopt(snapshot)

    def adopt(self, snapshot: SnapshotStore) -> None:
        """From now on the active chain has the coins of a loaded set."""
        self.snapshot = snapshot
        self.files.split_at(snapshot.known.height)

    @classmethod
    def open(
        cls,
        directory: Path,
        params: NetworkParams,
        *,
        blocks_dir: Path | None = None,
        blocks_xor: bool = True,
        small_files: bool = False,
        prune: bool = False,
        reindex: bool = False,
        drop_snapshot: bool = False,
        crash_ratio: int = 0,
    ) -> ChainStore:
        """Open, or make, the store in ``directory``, its block files in ``blocks_dir`` where that is another one.

        With ``reindex`` the database is made anew over the block files that are there, to be filled from them.
        ``drop_snapshot``: a UTXO set that was loaded is deleted, as by ``reindex``.
        ``crash_ratio``: as ``Database.open`` takes it.
        ``prune``: old block files may be deleted; without it a directory where this has happened is refused.
        Raises StorageError (locked, corrupt, of another network, full), always with one line that says what to do.
        """
        reindex = reindex or (directory / REINDEX_FILE).exists()  # a kill came before the new database knew of it
        if reindex:
            _begin_reindex(directory)
        if reindex or drop_snapshot:
            remove_snapshot(directory)
        take_snapshot_over(directory, params)
        damage = DamageReports()
        database = Database.open(directory, crash_ratio=crash_ratio, damage=damage, anew=reindex)
        snapshot: SnapshotStore | None = None
        lock: DirectoryLock | None = None
        files: BlockFiles | None = None
        try:
            network = database.get_meta(META_NETWORK)
            if network is None:
                database.commit(meta_puts={META_NETWORK: params.magic})
            elif network != params.magic:
                raise CorruptionError(f"{directory} holds the data of another network: use another --datadir")
            folder = blocks_dir or directory / BLOCKS_DIR
            lock = _lock_folder(folder)
            files = BlockFiles.open(
                folder,
                params.magic,
                database,
                use_xor=blocks_xor,
                adopt=reindex,
                tidy=reindex and prune,
                max_file_size=SMALL_BLOCKFILE_SIZE if small_files else MAX_BLOCKFILE_SIZE,
            )
            if reindex:
                _reindex_begun(directory)
            _check_index_dir(directory, database)
            snapshot = find_snapshot(directory, params, damage)
            if files.have_pruned and not prune:
                raise RebuildError(
                    "You need to rebuild the database using -reindex to go back to unpruned mode.  This will redownload"
                    " the entire blockchain"
                )
        except BaseException:
            if files is not None:
                files.close()
            if lock is not None:
                lock.release()
            if snapshot is not None:
                snapshot.close()
            database.close()
            raise
        # who has writes crash wants to know which call it was: the answer comes after the flush then
        return cls(directory, database, files, lock, damage, snapshot, flushes_freely=not crash_ratio)

    @property
    def reindexing(self) -> bool:
        """Whether the index is being made from the block files, also by an earlier run that did not finish."""
        return bool(self.database.get_meta(META_REINDEX))

    def end_reindex(self) -> None:
        """The index is made."""
        self.database.commit(meta_puts={META_REINDEX: b""})

    def load_index(self, *, lean: bool = False) -> IndexColumns:
        """The block index, empty when there is none yet; ``lean`` as there. Raises CorruptionError."""
        return BlockIndexStore(self.database).load(lean=lean)

    @property
    def coins(self) -> CoinsDb:
        """The stored coins of the active chain."""
        return self.own_coins if self.snapshot is None else self.snapshot.coins

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The stored coins of outpoints on the active chain, None where there is none."""
        return self.coins.get_many(outpoints)

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        """Those txids under which the active chain may have stored coins; under the others it has none."""
        return self.coins.may_have(txids)

    def touch(self, outpoints: list[bytes]) -> None:
        """Look coins up, so that their pages are in memory when they are needed."""
        self.coins.get_many(outpoints)

    @property
    def databases(self) -> list[Database]:
        """The node's own, and that of a loaded set."""
        return [self.database] if self.snapshot is None else [self.database, self.snapshot.database]

    def verify_small_coins(self) -> None:
        """All files of coins are there, and whole where that takes no time to see; raises CorruptionError."""
        for database in self.databases:
            with CoinsDb(database).snapshot():
                if database.is_small:
                    CoinsDb(database).verify()

    def coins_damaged(self, what: str) -> CorruptionError:
        """The error that names the file of the active chain's coins and what repairs it."""
        return (self.database if self.snapshot is None else self.snapshot.database).damaged(what, COINS_ADVICE)

    def tip_hash(self) -> bytes | None:
        """Hash of the block after which the stored coins are, None in a new database."""
        return (self.database if self.snapshot is None else self.snapshot.database).get_meta(META_TIP)

    def own_tip_hash(self) -> bytes | None:
        """The same of the coins in the node's own database."""
        return self.database.get_meta(META_TIP)

    def history(self) -> HistoryStore:
        """The store as the chain below a loaded UTXO set has it."""
        return HistoryStore(self.own_coins, self.database, self.files)

    def take_changes(self) -> FileChanges:
        """What the block files have to bring to disk with the next commit."""
        return self.files.take_changes()

    def commit(
        self,
        coins_put: Mapping[bytes, bytes],
        coins_delete: Collection[bytes],
        records: Collection[tuple[int, bytes]],
        tip_hash: bytes | None,
        changes: FileChanges,
        meta: Mapping[bytes, bytes],
    ) -> None:
        """Write index and file records, the files before them, then coins and tip marker in one transaction.

        Until then the coins stand at an earlier block, and those above it, which the index has, are connected again.

        ``meta`` is written with the marker. Without ``tip_hash`` that stays. From any thread; raises StorageError, the
        changes are due again then.
        """
        if self.snapshot is None:
            self.history().commit(coins_put, coins_delete, records, tip_hash, changes, meta)
            return
        self.history().commit({}, (), records, None, changes, {})
        marker = {} if tip_hash is None else {META_TIP: tip_hash}
        self.snapshot.database.commit(coins_put=coins_put, coins_delete=coins_delete, meta_puts=marker)

    def forget_coins(self, genesis_hash: bytes) -> None:
        """Go back to the coins after the genesis block (none), keeping blocks and index."""
        if self.tip_hash() is not None:
            self.database.clear_coins({META_TIP: genesis_hash, META_DAMAGE: b""})

    def note_damage(self, text: str) -> None:
        """Remember that the data is damaged until it is rebuilt, for the next start; raises StorageError."""
        self.database.commit(meta_puts={META_DAMAGE: text.encode()})

    def damage(self) -> str:
        """What ``note_damage`` was told, else empty."""
        return (self.database.get_meta(META_DAMAGE) or b"").decode(errors="replace")

    def close(self) -> None:
        """Close files and database, and unlock the directory."""
        try:
            self.files.close()
        finally:
            self._blocks_lock.release()
            if self.snapshot is not None:
                self.snapshot.close()
            self.database.close()


class HistoryStore:
    """The node's own database and the block files, as one thing to commit."""

    def __init__(self, coins: CoinsDb, database: Database, files: BlockFiles) -> None:
        self.coins = coins
        self.database = database
        self.files = files

    def coins_damaged(self, what: str) -> CorruptionError:
        """The error that names the file of the coins and what repairs it."""
        return self.database.damaged(what, COINS_ADVICE)

    def take_changes(self) -> FileChanges:
        """What the block files have to bring to disk with the next commit."""
        return self.files.take_changes()

    def commit(
        self,
        coins_put: Mapping[bytes, bytes],
        coins_delete: Collection[bytes],
        records: Collection[tuple[int, bytes]],
        tip_hash: bytes | None,
        changes: FileChanges,
        meta: Mapping[bytes, bytes],
    ) -> None:
        """As that of ``ChainStore``, on the node's own coins."""
        puts = {**changes.records, **meta}
        if tip_hash is not None:
            puts[META_TIP] = tip_hash
        try:
            self.files.sync_changes(changes)
            if coins_put or coins_delete:  # a kill while many coins are written shall not cost the blocks
                self.database.commit(index_puts=records, meta_puts=changes.records)
                records = ()
            self.database.commit(coins_put=coins_put, coins_delete=coins_delete, index_puts=records, meta_puts=puts)
        except BaseException:
            self.files.put_back(changes)
            raise


def _lock_folder(folder: Path) -> DirectoryLock:
    """Make and lock the folder of the block files, which may be another node's too; raises StorageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {folder}: {error.strerror}") from None
    return DirectoryLock(folder)


def _check_index_dir(directory: Path, database: Database) -> None:
    """Raise RebuildError when the folder that stands for the block index is gone; make it in a new directory."""
    path = directory / INDEX_DIR
    if database.get_meta(META_INDEX_DIR) is None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {path}: {error.strerror}") from None
        database.commit(meta_puts={META_INDEX_DIR: b""})
    elif not path.is_dir():
        log.error("the folder %s, which is empty, is missing", path)  # beside Core's words, which are all that it says
        raise RebuildError("Error initializing block database")


def _begin_reindex(directory: Path) -> None:
    """Remove the database file, so that it is made anew; raises StorageError when that is not possible."""
    # opening takes the directory's lock first, so that a running node's database is never taken away
    if not directory.is_dir():
        return
    lock = DirectoryLock(directory)
    try:
        write_durably(directory / REINDEX_FILE, b"")
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-lock"):
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot remove {directory / DATABASE_FILE}: {error.strerror}") from None
    finally:
        lock.release()


def _reindex_begun(directory: Path) -> None:
    """The new database knows what is to be done."""
    try:
        (directory / REINDEX_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, f"cannot remove {directory / REINDEX_FILE}") from None
