"""The LMDB environment and the runs of coins beside it: opened once, written by whole transactions.

Durability: ``commit`` returns after the data has reached the disk; a kill or power loss at any moment leaves the
state before it or the state after it, nothing between. Readers see the last commit that was complete when they
began. LMDB releases the GIL while it writes and syncs, and keeps it for single lookups, which is what both sides want.

Damage: every record has a checksum, every part of the database its sums (checksums.py), written with the records that
they count; before LMDB maps a file its form is checked (page_check.py). Whatever does not fit raises CorruptionError,
with the file and what repairs it, and is told to those who listen (damage_reports.py).
"""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from btcnode.errors import CorruptionError, DiskFullError, LostDatabaseError, StorageError
from btcnode.storage.checksums import (
    Seal,
    Total,
    check_of,
    checked_total,
    is_whole,
    opened,
    sealed,
)
from btcnode.storage.coin_groups import Entries
from btcnode.storage.coin_run import RunRecord
from btcnode.storage.coin_runs import CoinRuns, NewRun
from btcnode.storage.damage_reports import DamageReports
from btcnode.storage.durable import storage_error
from btcnode.storage.fault_note import fault_noted
from btcnode.storage.interpreter_lock import require_lock
from btcnode.storage.layout import (
    COINS_DIR,
    DATABASE_FILE,
    DATABASES,
    DB_INDEX,
    DB_META,
    DB_SUMS,
    INDEX_KEY,
    META_RUNS,
    META_SCHEMA,
    OLD_DATABASE_FILE,
    OLD_DB_COINS,
    SCHEMA,
    SCHEMA_VERSION,
    SUMS_SEAL,
)
from btcnode.storage.lmdb_errors import LOST_ADVICE, REINDEX_ADVICE, translate, translate_write
from btcnode.storage.locking import DirectoryLock
from btcnode.storage.page_check import WHOLE_BYTES, check_file
from btcnode.tuples import NamedTuple

DEFAULT_MAP_SIZE = 4 << 30  # address space, not memory or disk
MAX_MAP_SIZE = 1 << 44
GROWTH_MIN = 1 << 20
MAX_READERS = 126
MAX_SPARE_READERS = 16

LOCK_FILE_SIZE = 1 << 14  # bytes: places of 64 for MAX_READERS, and a head
CRASH_BYTES = 200_000

log = logging.getLogger("btcnode.coindb")

T = TypeVar("T")

Pairs = Mapping[bytes, bytes] | Collection[tuple[bytes, bytes]]


class CommitStats(NamedTuple):
    """What a commit wrote: records put and found for deletion, and how often the map was enlarged for it."""

    coins_put: int
    coins_deleted: int
    index_put: int
    meta_put: int
    growths: int


class _Changes(NamedTuple):
    """What a commit is to write."""

    index_puts: Mapping[int, bytes] | Collection[tuple[int, bytes]]
    meta_puts: Pairs


class Database:
    """The environment with its databases (layout.py). ``damage`` is told, from any thread, of what is damaged.

    One thread at a time may call ``commit``; any thread may read.
    """

    def __init__(
        self,
        path: Path,
        file: Path,
        env: Any,
        lock: DirectoryLock,
        max_map_size: int,
        damage: DamageReports,
        crash_ratio: int = 0,
    ) -> None:
        self.path = path
        self.file = file
        self._env = env
        self._lock = lock
        self._max_map_size = max_map_size
        self._dbs: dict[bytes, Any] = {}
        self._write = threading.Lock()
        # enlarging remaps the file: it waits for readers to end and keeps new ones out
        self._gate = threading.Condition()
        self._readers: dict[int, int] = {}
        self._growing = False
        self._failure = ""
        on_written = partial(_crash_perhaps, crash_ratio) if crash_ratio else None
        self.coin_runs = CoinRuns(file.parent / COINS_DIR, self._publish, self._run_damaged, on_written)
        self._reports = damage
        self.is_small = False  # all of it can be looked at whenever it is opened

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        file: str = DATABASE_FILE,
        map_size: int = DEFAULT_MAP_SIZE,
        max_map_size: int = MAX_MAP_SIZE,
        crash_ratio: int = 0,
        damage: DamageReports | None = None,
        anew: bool = False,
    ) -> Database:
        """Open, or create, the database ``file`` in the directory ``path`` and lock that directory.

        ``anew``: coins that lie beside a file which is not there, or empty, are of no use; without it they are a sign
        that the file was lost, and it is refused.
        ``crash_ratio``: for tests, the process ends in one of so many writes of CRASH_BYTES of coins.
        ``damage`` is told of what is found to be damaged later.
        ``map_size`` is the initial size of the memory map, ``max_map_size`` the limit of its growth (bytes).
        Raises DatadirLockedError, CorruptionError (foreign or damaged file, unknown schema), StorageError, and
        ConfigError where Python runs without its lock.
        """
        require_lock()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the data directory {path}: {error.strerror}") from None
        lock = DirectoryLock(path)
        env = None
        try:
            _make_home(path, path / file)
            doubt = fault_noted(path)
            if doubt:
                log.warning("The last run was ended by a fault: looking at every page of %s", path / file)
            small = check_file(path / file, (*DATABASES, OLD_DB_COINS), REINDEX_ADVICE, in_doubt=doubt)
            if (path / file).exists():
                from btcnode.storage.older_layout import bring_up_to_date  # a new database has the present one

                bring_up_to_date(path / file, lambda what: _damage(path / file, what))
            env = _open_env(path / file, map_size)
            database = cls(path, path / file, env, lock, max_map_size, damage or DamageReports(), crash_ratio)
            database._prepare(in_doubt=doubt, anew=anew)
            database.is_small = small and database.coin_runs.size <= WHOLE_BYTES
        except BaseException as error:
            if env is not None:
                env.close()
            typed = translate_write(error, path / file) if isinstance(error, lmdb.Error) else None
            lock.release()
            if typed is not None:
                raise typed from error
            if isinstance(error, OSError):
                raise storage_error(error, f"cannot open {path / file}") from None
            raise
        return database

    def _prepare(self, *, in_doubt: bool, anew: bool) -> None:
        """Open the named databases and the runs, free reader slots of killed processes, check or write the schema."""
        check_length(self._env, self.file)
        self._env.reader_check()
        with self._env.begin(write=True) as txn:  # in one: each that is new waits for the disk
            for name in DATABASES:
                self._dbs[name] = self._env.open_db(name, txn)
        with self.read(DB_META) as txn:
            stored: bytes | None = txn.get(META_SCHEMA)
        if stored is None:
            if any(self.count(name) for name in DATABASES):
                raise CorruptionError(f"{self.file} is not a btcnode database: {REINDEX_ADVICE}")
            if not anew and self.coin_runs.leftover():  # opening the runs of an empty manifest would delete them
                raise LostDatabaseError(f"{self.file} is missing or empty, but its coins are there: {LOST_ADVICE}")
            self.commit(meta_puts={META_SCHEMA: SCHEMA.pack(SCHEMA_VERSION)})
        elif not is_whole(META_SCHEMA, stored):
            raise self.damaged("the record of its layout")
        elif stored != sealed(META_SCHEMA, SCHEMA.pack(SCHEMA_VERSION)):
            found = int.from_bytes(stored[: SCHEMA.size], "little")
            raise CorruptionError(
                f"{self.file} has layout {found}, this version knows {SCHEMA_VERSION}: {REINDEX_ADVICE}"
            )
        self._check_totals()
        try:
            records = RunRecord.unpack_all(self.get_meta(META_RUNS) or b"")
        except CorruptionError as error:
            raise self.damaged(str(error)) from None
        self.coin_runs.open(records, in_doubt=in_doubt)

    def _check_totals(self) -> None:
        """Go through ``meta`` and count the index; raises CorruptionError."""
        with self.read(DB_META) as txn:
            seal = self.seal(txn)
            meta = checked_total(txn.cursor().iternext())
            index = int(txn.stat(self._dbs[DB_INDEX])["entries"])
        if meta != seal.meta:
            raise self.damaged("the records of meta are not those that were written")
        if index != seal.index.count:
            raise self.damaged("the number of its records is not what was written")

    def damaged(self, what: str, advice: str = "") -> CorruptionError:
        """The error that says what of this file is damaged and what repairs it; it is reported."""
        return self._reports.report(_damage(self.file, what, advice))

    def _run_damaged(self, what: str) -> CorruptionError:
        """The error that says which file of coins is damaged, and how, and what repairs it; it is reported."""
        return self._reports.report(CorruptionError(f"{what}: {COINS_ADVICE}"))

    def close(self) -> None:
        """Close everything and unlock the directory; waits for readers of other threads."""
        self.coin_runs.close()
        with self._write:
            self._shut_gate()
            try:
                self._env.close()
            finally:
                self._failure = "the database is closed"
                self._open_gate()
                self._lock.release()

    # -- reading -----------------------------------------------------------------------------------------------

    @contextmanager
    def read(self, name: bytes) -> Iterator[Any]:
        """A read transaction on the database ``name``: one consistent snapshot until the block ends.

        Keep it short: while it lasts, pages that commits replace cannot be used again. A commit from within it is
        refused if the map has to grow.
        """
        txn = self.begin_read(name)
        try:
            yield txn
        except lmdb.Error as error:
            raise self._translated(error) from error
        finally:
            self.end_read(txn)

    def begin_read(self, name: bytes) -> Any:
        """A read transaction whose default database is ``name``; ``end_read`` must follow in the same thread.

        Raises StorageError.
        """
        me = threading.get_ident()
        with self._gate:
            while self._growing:
                self._gate.wait()
            if self._failure:
                raise StorageError(self._failure)
            self._readers[me] = self._readers.get(me, 0) + 1
        try:
            return self._env.begin(db=self._dbs[name])
        except BaseException as error:
            self._leave(me)
            if isinstance(error, lmdb.Error):
                raise self._translated(error) from error
            raise

    def end_read(self, txn: Any) -> None:
        """End a read transaction."""
        txn.abort()
        self._leave(threading.get_ident())

    def _leave(self, me: int) -> None:
        with self._gate:
            left = self._readers[me] - 1
            if left:
                self._readers[me] = left
            else:
                del self._readers[me]
                if self._growing:
                    self._gate.notify_all()

    def _translated(self, error: Exception) -> StorageError:
        """The typed error for one of LMDB's; damage is reported."""
        return self._reported(translate(error, self.file))

    def _reported(self, typed: StorageError) -> StorageError:
        return self._reports.report(typed) if isinstance(typed, CorruptionError) else typed

    def seal(self, txn: Any) -> Seal:
        """How many records there are, and their sums, as of a transaction; raises CorruptionError."""
        stored: bytes | None = txn.get(SUMS_SEAL, db=self._dbs[DB_SUMS])
        if stored is None:
            raise self.damaged("the record of its totals is missing")
        try:
            return Seal.unpack(opened(SUMS_SEAL, stored, "the totals"))
        except CorruptionError as error:
            raise self.damaged(str(error)) from None

    def get_meta(self, name: bytes) -> bytes | None:
        """A value of ``meta``, or None."""
        with self.read(DB_META) as txn:
            stored: bytes | None = txn.get(name)
        return None if stored is None else self._opened(name, stored)

    def _opened(self, name: bytes, stored: bytes) -> bytes:
        try:
            return opened(name, stored, "meta")
        except CorruptionError as error:
            raise self.damaged(str(error)) from None

    def meta_items(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All names and values of ``meta`` whose name begins with ``prefix``, in order."""
        found = []
        with self.read(DB_META) as txn:
            cursor = txn.cursor()
            if cursor.set_range(prefix):
                for key, value in cursor.iternext():
                    if not key.startswith(prefix):
                        break
                    found.append((key, self._opened(key, value)))
        return found

    def count(self, name: bytes) -> int:
        """Number of records in a database."""
        with self.read(name) as txn:
            return int(txn.stat(self._dbs[name])["entries"])

    def take_over(self, other: Database, keep: Collection[bytes]) -> None:
        """Copy the index and what ``meta`` says, but for the names in ``keep``, from ``other``; raises StorageError."""
        with other.read(DB_INDEX) as txn:
            rows = [(key, other._opened(key, stored)) for key, stored in txn.cursor().iternext()]
        index = [(int.from_bytes(key, "big"), value) for key, value in rows]
        meta = [(key, value) for key, value in other.meta_items(b"") if key not in keep]
        self.commit(index_puts=index, meta_puts=meta)

    @property
    def map_size(self) -> int:
        """Present size of the memory map, bytes."""
        return int(self._env.info()["map_size"])

    # -- writing -----------------------------------------------------------------------------------------------

    def commit(
        self,
        *,
        coins_put: Pairs = (),
        coins_delete: Collection[bytes] = (),
        index_puts: Mapping[int, bytes] | Collection[tuple[int, bytes]] = (),
        meta_puts: Mapping[bytes, bytes] | Collection[tuple[bytes, bytes]] = (),
    ) -> CommitStats:
        """Write everything as if in one transaction, durably; deletions come before puts.

        Coins become a run of their own, which counts from the transaction on that names it. A deletion of what is not
        there is no error. Beside the arguments this takes 8 bytes for each outpoint, for sorting, and a few MiB.

        Raises DiskFullError (disk, quota or ``max_map_size``), StorageError, CorruptionError: then nothing of it is
        written, and the same commit may be tried again.
        """
        self._check_usable()
        new = None
        if coins_put or coins_delete:
            with self._naming_run():
                new = self.coin_runs.write(coins_put, coins_delete)
        growths = self._commit_with(new, _Changes(index_puts, meta_puts))
        self.coin_runs.begin_merges()
        return CommitStats(len(coins_put), len(coins_delete), len(index_puts), len(meta_puts), growths)

    def load_coins(self, entries: Callable[[], Iterator[Entries]], expected: int) -> None:
        """Take coins in order of their outpoints, some thousand at a time, into a database that has none of these.

        ``entries`` gives all, and again if need be; ``expected``: about how many they are. Raises as ``commit``.
        """
        self._check_usable()
        with self._naming_run():
            new = self.coin_runs.load(entries, expected)
        self._commit_with(new, _Changes((), ()))

    def _check_usable(self) -> None:
        if self._failure:
            raise StorageError(self._failure)

    @contextmanager
    def _naming_run(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise self._translated(error) from error
        except OSError as error:
            raise storage_error(error, f"cannot write coins to {self.file.parent}") from None

    def _commit_with(self, new: NewRun | None, changes: _Changes) -> int:
        """Commit changes and, if there is one, a run of coins; returns how often the map had to grow."""
        try:
            with self._write:
                if new is not None:
                    runs = (META_RUNS, self.coin_runs.manifest(new))
                    changes = changes._replace(meta_puts=[*_pairs(changes.meta_puts), runs])
                growths, _ = self._retried(lambda: self._commit_once(changes))
                if new is not None:
                    self.coin_runs.adopt(new)
        except BaseException:
            if new is not None:
                self.coin_runs.abandon(new)
            raise
        return growths

    def _publish(self, new: NewRun) -> None:
        """A merged run takes the place of its parts, unless they are gone; from any thread. Raises as ``commit``."""
        with self._write:
            if self._failure or not self.coin_runs.holds(new.replaced):
                self.coin_runs.abandon(new)
                return
            changes = _Changes((), [(META_RUNS, self.coin_runs.manifest(new))])
            try:
                self._retried(lambda: self._commit_once(changes))
            except BaseException:
                self.coin_runs.abandon(new)
                raise
            self.coin_runs.adopt(new)

    def _retried(self, write: Callable[[], T]) -> tuple[int, T]:
        """Do a transaction, again each time that the map had to be enlarged for it; returns how often that was."""
        growths = 0
        while True:
            if self._failure:
                raise StorageError(self._failure)
            try:
                return growths, write()
            except lmdb.MapFullError:
                self._grow()
                growths += 1
            except lmdb.Error as error:
                if isinstance(error, lmdb.PanicError):
                    self._failure = f"the database in {self.path} failed while writing: restart the node"
                raise self._reported(translate_write(error, self.file)) from error

    def clear_coins(self, meta_puts: Mapping[bytes, bytes]) -> None:
        """Forget every coin, and write ``meta_puts``, in one transaction. Raises as ``commit``."""
        changes = _Changes((), {**meta_puts, META_RUNS: b""})
        with self._write:
            self._retried(lambda: self._commit_once(changes))
            self.coin_runs.adopt(None)

    def _commit_once(self, changes: _Changes) -> None:
        """One transaction."""
        pack, puts = INDEX_KEY.pack, changes.index_puts
        numbered = sorted(puts.items()) if isinstance(puts, Mapping) else puts
        with self._env.begin(write=True) as txn:
            seal = self._seal_to_write(txn)
            index = self._put_counted(txn, DB_INDEX, ((pack(i), record) for i, record in numbered), seal.index)
            meta = self._put_counted(txn, DB_META, _pairs(changes.meta_puts), seal.meta)
            self._put_seal(txn, Seal(index, meta))

    def _seal_to_write(self, txn: Any) -> Seal:
        """The totals before a transaction: none yet in a new database."""
        if txn.stat(self._dbs[DB_META])["entries"]:
            return self.seal(txn)
        return Seal()

    def _put_seal(self, txn: Any, seal: Seal) -> None:
        txn.put(SUMS_SEAL, sealed(SUMS_SEAL, seal.pack()), db=self._dbs[DB_SUMS])

    def _put_counted(self, txn: Any, name: bytes, pairs: Iterator[tuple[bytes, bytes]], total: Total) -> Total:
        """Put records of ``index`` or ``meta``, perhaps over older ones; returns the part's total after that."""
        cursor = txn.cursor(db=self._dbs[name])
        for key, value in pairs:
            old = cursor.get(key)
            if old is not None:
                if not is_whole(key, old):
                    raise self.damaged(f"a record of {name.decode()}")
                total = total.plus(-1, -check_of(old))
            stored = sealed(key, value)
            cursor.put(key, stored)
            total = total.plus(1, check_of(stored))
        return total

    def _grow(self) -> None:
        """Double the map (at least 1 MiB more), once no reader uses it."""
        size = self.map_size
        target = min(max(2 * size, size + GROWTH_MIN), self._max_map_size)
        if target <= size:
            raise DiskFullError(f"the database in {self.path} has reached its limit of {self._max_map_size} bytes")
        self._remap(target)

    def release_pages(self) -> bool:
        """Give the mapped pages that were read back to the system's cache, unless somebody reads or writes now."""
        if not self._write.acquire(blocking=False):
            return False
        try:
            with self._gate:
                if self._readers:
                    return False
            self._remap(self.map_size)
        finally:
            self._write.release()
        return True

    def _remap(self, size: int) -> None:
        self._shut_gate()
        try:
            self._env.set_mapsize(size)
        except lmdb.Error as error:
            # the old map is gone: nothing may touch the environment again
            self._failure = f"cannot map {size} bytes of the database ({error}): restart the node"
            raise StorageError(self._failure) from error
        finally:
            self._open_gate()

    def _shut_gate(self) -> None:
        """Keep new readers out and wait for the present ones."""
        with self._gate:
            if threading.get_ident() in self._readers:
                raise StorageError("the database cannot be remapped while this thread reads from it")
            self._growing = True
            while self._readers:
                self._gate.wait()

    def _open_gate(self) -> None:
        with self._gate:
            self._growing = False
            self._gate.notify_all()


COINS_ADVICE = "start with --reindex-chainstate to rebuild the coins from the blocks"


def _damage(path: Path, what: str, advice: str = "") -> CorruptionError:
    return CorruptionError(f"{path} is damaged ({what}): {advice or REINDEX_ADVICE}")


def _crash_perhaps(ratio: int, written: int) -> None:
    """End the process now, or not, with chances that grow with what was written."""
    if any(random.randrange(ratio) == 0 for _ in range(written // CRASH_BYTES)):
        log.error("Simulating a crash. Goodbye.")
        os._exit(0)


def _pairs(pairs: Pairs) -> Iterator[tuple[bytes, bytes]]:
    """Pairs in order of their keys; a mapping costs one pointer per key for that."""
    if isinstance(pairs, Mapping):
        keys = sorted(pairs)
        return zip(keys, map(pairs.__getitem__, keys), strict=True)
    return iter(pairs)


def _make_home(path: Path, file: Path) -> None:
    """The folder of the database, with the one of an earlier version in it; raises StorageError."""
    try:
        file.parent.mkdir(exist_ok=True)
        if file == path / DATABASE_FILE and (path / OLD_DATABASE_FILE).exists() and not file.exists():
            (path / OLD_DATABASE_FILE).rename(file)
    except OSError as error:
        raise StorageError(f"cannot make {file.parent}: {error.strerror}") from None


def reserve_lock_file(path: Path) -> None:
    """Give the lock file of the environment ``path`` its room on the disk; raises DiskFullError, StorageError.

    LMDB maps it without: touching a page that a full disk cannot hold would kill the process (SIGBUS).
    """
    reserve = getattr(os, "posix_fallocate", None)  # not on every system
    if reserve is None:
        return
    lock = path.with_name(f"{path.name}-lock")
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            reserve(fd, 0, LOCK_FILE_SIZE)
        finally:
            os.close(fd)
    except OSError as error:
        raise storage_error(error, f"cannot make {lock}") from None


def _open_env(path: Path, map_size: int) -> Any:
    """Open the environment file; raises lmdb.Error, DiskFullError, StorageError."""
    reserve_lock_file(path)
    return lmdb.open(
        os.fsencode(path),
        subdir=False,
        map_size=map_size,
        max_dbs=len(DATABASES) + 1,
        max_readers=MAX_READERS,
        max_spare_txns=MAX_SPARE_READERS,
        mode=0o600,
    )


def check_length(env: Any, path: Path) -> None:
    """Refuse a file that ends before its last page: touching the missing ones would kill the process (SIGBUS)."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if os.path.getsize(path) < needed:  # noqa: PTH202
        raise CorruptionError(f"{path} is shorter than it says: {REINDEX_ADVICE}")
