"""The LMDB environment: opened once, written by whole transactions, its map growing by itself.

Durability: ``commit`` returns after the data has reached the disk; a kill or power loss at any moment leaves the
state before it or the state after it, nothing between. Readers see the last commit that was complete when they
began. LMDB releases the GIL while it writes and syncs, and keeps it for single lookups, which is what both sides want.
"""

from __future__ import annotations

import errno
import logging
import os
import random
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from btcnode.errors import CorruptionError, DiskFullError, StorageError
from btcnode.storage.durable import FULL_ERRNOS, write_all
from btcnode.storage.layout import (
    DATABASE_FILE,
    DATABASES,
    DB_COINS,
    DB_INDEX,
    DB_META,
    INDEX_KEY,
    META_SCHEMA,
    OLD_DATABASE_FILE,
    SCHEMA,
    SCHEMA_VERSION,
)
from btcnode.storage.locking import DirectoryLock

DEFAULT_MAP_SIZE = 32 << 30  # address space, not memory or disk: mainnet's coins need about 20 GiB
MAX_MAP_SIZE = 1 << 44
GROWTH_MIN = 1 << 20
MAX_READERS = 126
MAX_SPARE_READERS = 16

PROBE_SIZE = 1 << 18
CRASH_BYTES = 200_000

log = logging.getLogger("btcnode.coindb")

_CORRUPT = (
    lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError, lmdb.IncompatibleError,
)  # fmt: skip

Pairs = Mapping[bytes, bytes] | Collection[tuple[bytes, bytes]]


class CommitStats(NamedTuple):
    """What a commit wrote: records put and found for deletion, and how often the map was enlarged for it."""

    coins_put: int
    coins_deleted: int
    index_put: int
    meta_put: int
    growths: int


class Database:
    """The environment with its three databases ``coins``, ``index`` and ``meta`` (layout.py).

    One thread at a time may call ``commit``; any thread may read.
    """

    def __init__(
        self, path: Path, file: Path, env: Any, lock: DirectoryLock, max_map_size: int, crash_ratio: int = 0
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
        self._crash_ratio = crash_ratio

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        file: str = DATABASE_FILE,
        map_size: int = DEFAULT_MAP_SIZE,
        max_map_size: int = MAX_MAP_SIZE,
        crash_ratio: int = 0,
    ) -> Database:
        """Open, or create, the database ``file`` in the directory ``path`` and lock that directory.

        ``crash_ratio``: for tests, the process ends in one of so many writes of CRASH_BYTES of coins.
        ``map_size`` is the initial size of the memory map, ``max_map_size`` the limit of its growth (bytes).
        Raises DatadirLockedError, CorruptionError (foreign or damaged file, unknown schema), StorageError.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the data directory {path}: {error.strerror}") from None
        lock = DirectoryLock(path)
        env = None
        try:
            _make_home(path, path / file)
            env = _open_env(path / file, map_size)
            database = cls(path, path / file, env, lock, max_map_size, crash_ratio)
            database._prepare()
        except BaseException as error:
            if env is not None:
                env.close()
            lock.release()
            if isinstance(error, lmdb.Error):
                raise translate(error, path) from error
            raise
        return database

    def _prepare(self) -> None:
        """Open the named databases, free reader slots of killed processes, check or write the schema."""
        check_length(self._env, self.file)
        self._env.reader_check()
        for name in DATABASES:
            self._dbs[name] = self._env.open_db(name)
        stored = self.get_meta(META_SCHEMA)
        if stored is None:
            if any(self.count(name) for name in DATABASES):
                raise CorruptionError(f"{self.file} is not a btcnode database: {_ADVICE}")
            self.commit(meta_puts={META_SCHEMA: SCHEMA.pack(SCHEMA_VERSION)})
        elif stored != SCHEMA.pack(SCHEMA_VERSION):
            found = int.from_bytes(stored, "little")
            raise CorruptionError(f"{self.file} has layout {found}, this version knows {SCHEMA_VERSION}: {_ADVICE}")

    def close(self) -> None:
        """Close the environment and unlock the directory; waits for readers of other threads."""
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
            raise translate(error, self.path) from error
        finally:
            self.end_read(txn)

    def begin_read(self, name: bytes) -> Any:
        """A read transaction whose default database is ``name``; ``end_read`` must follow in the same thread."""
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
                raise translate(error, self.path) from error
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

    def get_meta(self, name: bytes) -> bytes | None:
        """A value of ``meta``, or None."""
        with self.read(DB_META) as txn:
            value: bytes | None = txn.get(name)
            return value

    def meta_items(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """All names and values of ``meta`` whose name begins with ``prefix``, in order."""
        found = []
        with self.read(DB_META) as txn:
            cursor = txn.cursor()
            if cursor.set_range(prefix):
                for key, value in cursor.iternext():
                    if not key.startswith(prefix):
                        break
                    found.append((key, value))
        return found

    def count(self, name: bytes) -> int:
        """Number of records in a database."""
        with self.read(name) as txn:
            return int(txn.stat(self._dbs[name])["entries"])

    def size_on_disk(self, name: bytes) -> int:
        """Bytes of the pages that hold a database's records."""
        with self.read(name) as txn:
            stat = txn.stat(self._dbs[name])
        return int(stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]))

    def take_over(self, other: Database, keep: Collection[bytes]) -> None:
        """Copy the index and what ``meta`` says, but for the names in ``keep``, from ``other``; raises StorageError."""
        with other.read(DB_INDEX) as txn:
            index = [(int.from_bytes(key, "big"), bytes(value)) for key, value in txn.cursor().iternext()]
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
        """Write everything in one transaction, durably; deletions come before puts.

        Pairs that are no mapping must be sorted by key. A deletion of what is not there is no error. Beside the
        arguments it takes 8 bytes per key for sorting and at most 512 MiB of changed pages, as LMDB writes further
        ones out before the commit.

        Raises DiskFullError (disk, quota or ``max_map_size``), StorageError, CorruptionError: then nothing of it is
        written, and the same commit may be tried again.
        """
        growths = 0
        with self._write:
            while True:
                if self._failure:
                    raise StorageError(self._failure)
                try:
                    return self._commit_once(coins_put, coins_delete, index_puts, meta_puts, growths)
                except lmdb.MapFullError:
                    self._grow()
                    growths += 1
                except lmdb.Error as error:
                    if isinstance(error, lmdb.PanicError):
                        self._failure = f"the database in {self.path} failed while writing: restart the node"
                    if os.strerror(errno.EIO) in str(error) and _is_full(self.file):
                        raise DiskFullError(_FULL.format(self.path, error)) from error
                    raise translate(error, self.path) from error

    def clear_coins(self, meta_puts: Mapping[bytes, bytes]) -> None:
        """Forget every coin, and write ``meta_puts``, in one transaction. Raises as ``commit``."""
        with self._write:
            try:
                with self._env.begin(write=True) as txn:
                    txn.drop(self._dbs[DB_COINS], delete=False)
                    txn.cursor(db=self._dbs[DB_META]).putmulti(_pairs(meta_puts))
            except lmdb.Error as error:
                raise translate(error, self.path) from error

    def _commit_once(
        self,
        coins_put: Pairs,
        coins_delete: Collection[bytes],
        index_puts: Mapping[int, bytes] | Collection[tuple[int, bytes]],
        meta_puts: Mapping[bytes, bytes] | Collection[tuple[bytes, bytes]],
        growths: int,
    ) -> CommitStats:
        dbs, pack = self._dbs, INDEX_KEY.pack
        numbered = sorted(index_puts.items()) if isinstance(index_puts, Mapping) else index_puts
        txn = self._env.begin(write=True)
        try:
            cursor = txn.cursor(db=dbs[DB_COINS])
            deleted = 0
            seek, delete = cursor.set_key, cursor.delete
            for key in sorted(coins_delete):
                if seek(key):
                    delete()
                    deleted += 1
            put = cursor.putmulti(_pairs(coins_put))[0]
            index_put = txn.cursor(db=dbs[DB_INDEX]).putmulti((pack(i), record) for i, record in numbered)[0]
            meta_put = txn.cursor(db=dbs[DB_META]).putmulti(_pairs(meta_puts))[0]
            if self._crash_ratio:
                _crash_perhaps(self._crash_ratio, coins_put)
            txn.commit()
        except BaseException:
            txn.abort()
            raise
        return CommitStats(put, deleted, index_put, meta_put, growths)

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


_ADVICE = "start with --reindex to rebuild it from the block files, or use another --datadir"

_FULL = "no room left for the database in {}: nothing was lost, free some space ({})"


def _is_full(path: Path) -> bool:
    """Whether the database file cannot be made longer: LMDB reports a write cut short by a full disk as EIO."""
    try:
        fd = os.open(path, os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            try:
                write_all(fd, bytes(PROBE_SIZE), size)
            finally:
                os.ftruncate(fd, size)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno in FULL_ERRNOS
    return False


def _crash_perhaps(ratio: int, coins: Pairs) -> None:
    """End the process now, or not, with chances that grow with what is to be written."""
    written = sum(len(key) + len(coin) for key, coin in _pairs(coins))
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


def _open_env(path: Path, map_size: int) -> Any:
    """Open the environment file; raises lmdb.Error."""
    return lmdb.open(
        str(path),
        subdir=False,
        map_size=map_size,
        max_dbs=len(DATABASES),
        max_readers=MAX_READERS,
        max_spare_txns=MAX_SPARE_READERS,
        readahead=False,  # coins are looked up at random places
        mode=0o600,
    )


def check_length(env: Any, path: Path) -> None:
    """Refuse a file that ends before its last page: touching the missing ones would kill the process (SIGBUS)."""
    needed = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if os.path.getsize(path) < needed:  # noqa: PTH202
        raise CorruptionError(f"{path} is shorter than it says: {_ADVICE}")


def translate(error: Exception, path: Path) -> StorageError:
    """The typed error for one of LMDB's."""
    text = str(error)
    if isinstance(error, lmdb.DiskError) or any(os.strerror(code) in text for code in FULL_ERRNOS):
        return DiskFullError(_FULL.format(path, text))
    if isinstance(error, _CORRUPT):
        return CorruptionError(f"the database in {path} is damaged or foreign ({text}): {_ADVICE}")
    return StorageError(f"the database in {path} failed: {text}")
