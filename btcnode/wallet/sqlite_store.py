"""A wallet's file: a SQLite database (write-ahead log, every transaction synced before it counts).

Works on whatever thread the service gives it, one call at a time. The application id is this program's own, so that no
wallet of Bitcoin Core is taken for one of these or the other way round.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any
from zlib import crc32

from btcnode.errors import StorageError
from btcnode.record import record
from btcnode.storage.durable import sync_directory, sync_file
from btcnode.wallet.errors import Trouble, WalletError
from btcnode.wallet.journal import Change
from btcnode.wallet.log_check import log_is_damaged

FILE_NAME = "wallet.dat"
UNFINISHED = "wallet.dat.new"  # one that is being made, or that a crash has left
SCHEMA_VERSION = 2
IN_USE = (
    "SQLiteDatabase: Unable to obtain an exclusive lock on the database, is it being used by another instance of"
    " btcnode?"
)
DAMAGED = "Restore a backup (restorewallet), or recover the wallet from its descriptors."
_HEADER = b"SQLite format 3\0"
_ID_AT = 68
_BDB_AT, _BDB_MAGIC = 12, (b"\x62\x31\x05\x00", b"\x00\x05\x31\x62")
_BDB_LEAST, _SQLITE_LEAST = 4096, 512

_TABLES = {
    "meta": "name TEXT PRIMARY KEY, value",
    "master": "number INTEGER PRIMARY KEY, salt BLOB, n INTEGER, r INTEGER, p INTEGER, sealed BLOB",
    "descriptors": "id BLOB PRIMARY KEY, text TEXT, created INTEGER, start INTEGER, end INTEGER, next_index INTEGER",
    "keys": "descriptor BLOB, pubkey BLOB, data BLOB, sealed INTEGER, PRIMARY KEY (descriptor, pubkey)",
    "derived_keys": "descriptor BLOB, number INTEGER, position INTEGER, key BLOB,"
    " PRIMARY KEY (descriptor, number, position)",
    "positions": "descriptor BLOB, position INTEGER, scripts BLOB, pubkeys BLOB, PRIMARY KEY (descriptor, position)",
    "active": "kind TEXT, internal INTEGER, descriptor BLOB, PRIMARY KEY (kind, internal)",
    "txs": "txid BLOB PRIMARY KEY, raw BLOB, received INTEGER, smart_time INTEGER, position INTEGER, notes TEXT",
    "tx_states": "txid BLOB PRIMARY KEY, state TEXT, block BLOB, height INTEGER, place INTEGER",
    "addresses": "script BLOB PRIMARY KEY, label TEXT, purpose TEXT, used INTEGER",
    "locked": "outpoint BLOB PRIMARY KEY",
}
"""Columns; before them each row has ``sum``, its checksum (``row_sum``)."""

_ENTERED = {
    "meta": "meta",
    "master": "master",
    "descriptor": "descriptors",
    "key": "keys",
    "derived_key": "derived_keys",
    "position": "positions",
    "active": "active",
    "tx": "txs",
    "tx_state": "tx_states",
    "address": "addresses",
    "lock": "locked",
}
"""Into which table a change enters a row, in the place of one with the same key."""

_REMOVED = {
    "inactive": "DELETE FROM active WHERE kind = ? AND internal = ?",
    "remove_tx": "DELETE FROM txs WHERE txid = ?",
    "remove_tx_state": "DELETE FROM tx_states WHERE txid = ?",
    "unlock": "DELETE FROM locked WHERE outpoint = ?",
}


@record
class Rows:
    """All that a file has."""

    meta: dict[str, Any]
    master: tuple[Any, ...] | None
    descriptors: list[tuple[Any, ...]]
    keys: list[tuple[Any, ...]]
    derived_keys: list[tuple[Any, ...]]
    positions: list[tuple[Any, ...]]
    active: list[tuple[Any, ...]]
    txs: list[tuple[Any, ...]]
    addresses: list[tuple[Any, ...]]
    locked: list[tuple[Any, ...]]


def application_id(magic: bytes) -> int:
    """What marks the wallets of a network."""
    return int.from_bytes(sha256(b"btcnode wallet" + magic).digest()[:4], "big") & 0x7FFFFFFF


def kind_of_file(path: Path, magic: bytes) -> str:
    """``ours``, ``core`` (a descriptor wallet of Bitcoin Core), ``legacy``, ``other``, ``none``; raises OSError."""
    if not path.is_file():
        return "none"
    with path.open("rb") as file:
        head = file.read(_BDB_LEAST)
    if len(head) >= _BDB_LEAST and head[_BDB_AT : _BDB_AT + 4] in _BDB_MAGIC:
        return "legacy"
    if len(head) < _SQLITE_LEAST or not head.startswith(_HEADER):
        return "other"
    mark = int.from_bytes(head[_ID_AT : _ID_AT + 4], "big")
    if mark == application_id(magic):
        return "ours"
    return "core" if mark == int.from_bytes(magic, "big") else "other"


def begin_file(unfinished: Path) -> None:
    """An empty file in the place of what a crash has left there; raises OSError."""
    for name in (unfinished, unfinished.with_name(f"{unfinished.name}-journal")):
        name.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # nobody else reads private keys


def put_in_place(unfinished: Path, path: Path) -> None:
    """Give a synced file its name, for good; raises FileExistsError where that is taken, OSError."""
    if path.exists() or path.is_symlink():
        raise FileExistsError(path)
    for end in ("-wal", "-journal"):  # of a wallet whose file was taken away: SQLite would put it into this one
        left = path.with_name(path.name + end)
        if left.exists():
            left.rename(left.with_name(f"{left.name}.old"))
    unfinished.rename(path)
    sync_directory(path.parent)


def _code(error: Exception) -> int:
    """SQLite's code of an error; where its text could not even be read the file is damaged."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


def _why_not_written(path: Path) -> str:
    """What the system says against writing a file that nobody has open here, "" for nothing: SQLite does not tell."""
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        return error.strerror or ""
    return ""


def row_sum(table: str, values: Sequence[Any]) -> int:
    """CRC-32 of a row and of the table where it lies."""
    parts = [table.encode()]
    for value in values:
        if isinstance(value, bytes):
            parts.append(b"b%d:%s" % (len(value), value))
        elif isinstance(value, int):
            parts.append(b"i%d" % value)
        else:
            parts.append(repr(value if value is None else str(value)).encode())
    return crc32(b"".join(parts))


def _carry_out(db: sqlite3.Connection, changes: Iterable[Change]) -> None:
    """All changes in their order, those of a kind that follow each other at once."""
    for statement, some in groupby(changes, attrgetter("statement")):
        table = _ENTERED.get(statement)
        if table is None:
            db.executemany(_REMOVED[statement], [change.values for change in some])
            continue
        rows = [(row_sum(table, change.values), *change.values) for change in some]
        places = ", ".join("?" * len(rows[0]))
        db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", rows)


def _fill_new(path: Path, magic: bytes, changes: Iterable[Change]) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN")
        db.execute(f"PRAGMA application_id = {application_id(magic)}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        for table, columns in _TABLES.items():
            without = "" if table == "txs" else "WITHOUT ROWID"  # which suits short rows
            db.execute(f"CREATE TABLE {table} (sum INTEGER, {columns}) {without}")
        _carry_out(db, changes)
        db.execute("COMMIT")
    finally:
        db.close()


def remove_if_empty(directory: Path, *, made: bool) -> None:
    """Take a directory away that was ``made`` for a wallet, unless it has one by now."""
    if made:
        with suppress(OSError):
            directory.rmdir()


class WalletStore:
    """One wallet's file, locked for this process from ``open`` to ``close``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def create(cls, directory: Path, magic: bytes, changes: Iterable[Change], *, unsafe: bool) -> WalletStore:
        """A new wallet with its first ``changes``; raises WalletError, StorageError.

        It is made beside its place and put there as a whole: a crash leaves the name free.
        """
        path, unfinished, made = directory / FILE_NAME, directory / UNFINISHED, not directory.exists()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            begin_file(unfinished)
        except OSError as error:
            remove_if_empty(directory, made=made)
            raise WalletError(f"Failed to create database path '{directory}': {error.strerror}") from None
        try:
            _fill_new(unfinished, magic, changes)
            sync_file(unfinished)
            put_in_place(unfinished, path)
        except FileExistsError:
            text = f"Failed to create database path '{directory}'. Database already exists."
            raise WalletError(text, Trouble.ALREADY_EXISTS) from None
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{path} cannot be written: {error}") from None
        finally:
            unfinished.unlink(missing_ok=True)
            remove_if_empty(directory, made=made)
        return cls._connect(path, unsafe=unsafe)

    @classmethod
    def open(cls, path: Path, magic: bytes, *, unsafe: bool) -> WalletStore:
        """A file that is there; raises WalletError with what is wrong with it."""
        try:
            log = path.with_name(f"{path.name}-wal")
            if log_is_damaged(log):
                raise WalletError(f"{log} is damaged. {DAMAGED}")
        except OSError as error:
            raise WalletError(f"Failed to access database path '{path}': {error.strerror}") from None
        store = cls._connect(path, unsafe=unsafe)
        try:
            store._check(magic)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def _connect(cls, path: Path, *, unsafe: bool) -> WalletStore:
        db = None
        try:
            db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.5)
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'OFF' if unsafe else 'FULL'}")
            db.execute("PRAGMA secure_delete = ON")
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: its text has a damaged name
            if db is not None:
                db.close()
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise WalletError(IN_USE) from None
            text = f"SQLiteDatabase: Failed to open database: {path}: {_why_not_written(path) or error}"
            damaged = _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
            raise WalletError(f"{text}. {DAMAGED}" if damaged else text) from None
        return cls(path, db)

    def _check(self, magic: bytes) -> None:
        try:
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            found = [line for (line,) in self._db.execute("PRAGMA integrity_check")]
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._damage(str(error)) from None
        if mark != application_id(magic):
            text = f"SQLiteDatabase: Unexpected application id. Expected {application_id(magic)}, got {mark}"
            raise WalletError(text, Trouble.BAD_FORMAT)
        if version != SCHEMA_VERSION:
            raise WalletError(
                f"SQLiteDatabase: Unknown sqlite wallet schema version {version}. Only version {SCHEMA_VERSION} is"
                " supported"
            )
        if found != ["ok"]:
            raise self._damage("Failed to verify database: " + "; ".join(found[:5]))

    def read(self) -> Rows:
        """All there is; raises WalletError where the file is damaged."""
        try:
            (master,) = self._rows("master") or (None,)
            states = {row[0]: row[1:] for row in self._rows("tx_states")}
            txs = sorted(self._rows("txs"), key=itemgetter(4))
            if len(states) != len(txs):
                raise self._damage("a transaction has no state, or a state no transaction")
            return Rows(
                dict(self._rows("meta")), None if master is None else master[1:], self._rows("descriptors"),
                self._rows("keys"), self._rows("derived_keys"), self._rows("positions"), self._rows("active"),
                [(*row[:2], *states[row[0]], *row[2:]) for row in txs], self._rows("addresses"), self._rows("locked"),
            )  # fmt: skip
        except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, OverflowError) as error:
            raise self._damage(str(error)) from None

    def _rows(self, table: str) -> list[tuple[Any, ...]]:
        """All rows in the order of their keys; raises WalletError, sqlite3.DatabaseError."""
        found = []
        for known, *values in self._db.execute(f"SELECT * FROM {table}"):
            if row_sum(table, values) != known:
                raise self._damage(f"a row of {table} has another checksum")
            found.append(tuple(values))
        return found

    def _damage(self, what: str) -> WalletError:
        return WalletError(f"{self.path} is damaged ({what}). {DAMAGED}")

    def write(self, changes: Iterable[Change]) -> None:
        """Carry out all changes, durably, or none; raises StorageError."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                _carry_out(db, changes)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StorageError(f"the wallet {self.path} cannot be written: {error}") from None

    def backup(self, target: Path) -> None:
        """Copy the wallet to a file, which is as it was until the copy is whole; raises StorageError."""
        try:
            if target.exists() and target.samefile(self.path):
                raise StorageError("a wallet cannot be copied over itself")
            if target.exists() and not target.is_file():
                raise StorageError(f"the wallet cannot be copied to {target}, which is no file")
            target = target.resolve()
            if target.with_name(f"{target.name}-wal").exists():
                raise StorageError(f"the wallet cannot be copied to {target}: another one is in use there")
            unfinished = target.with_name(f"{target.name}.unfinished")
            begin_file(unfinished)
            try:
                self._copy_to(unfinished)
                sync_file(unfinished)
                unfinished.replace(target)
                sync_directory(target.parent)
            finally:
                unfinished.unlink(missing_ok=True)
        except (OSError, ValueError, RuntimeError, sqlite3.Error) as error:  # ValueError: a NUL in a name
            raise StorageError(f"the wallet cannot be copied to {target}: {error}") from None

    def _copy_to(self, path: Path) -> None:
        copy = sqlite3.connect(path)
        try:
            self._db.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            copy.close()

    def rewrite(self) -> None:
        """Write the file anew, so that nothing is left of what was deleted; raises StorageError."""
        try:
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise StorageError(f"the wallet {self.path} cannot be rewritten: {error}") from None

    def close(self) -> None:
        """Let go of the file."""
        with suppress(sqlite3.Error):
            self._db.close()
