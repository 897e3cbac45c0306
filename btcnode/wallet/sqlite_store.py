"""A wallet's file: a SQLite database (write-ahead log, every transaction synced before it counts).

Works on whatever thread the service gives it, one call at a time. The application id is this program's own, so that no
wallet of Bitcoin Core is taken for one of these or the other way round.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from btcnode.errors import StorageError
from btcnode.wallet.errors import Trouble, WalletError
from btcnode.wallet.journal import Change

FILE_NAME = "wallet.dat"
SCHEMA_VERSION = 1
IN_USE = (
    "SQLiteDatabase: Unable to obtain an exclusive lock on the database, is it being used by another instance of"
    " btcnode?"
)
_HEADER = b"SQLite format 3\0"
_ID_AT = 68
_BDB_AT, _BDB_MAGIC = 12, (b"\x62\x31\x05\x00", b"\x00\x05\x31\x62")
_BDB_LEAST, _SQLITE_LEAST = 4096, 512

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE master (number INTEGER PRIMARY KEY, salt BLOB, n INTEGER, r INTEGER, p INTEGER, sealed BLOB);
CREATE TABLE descriptors (id BLOB PRIMARY KEY, text TEXT, created INTEGER, start INTEGER, end INTEGER,
    next_index INTEGER) WITHOUT ROWID;
CREATE TABLE keys (descriptor BLOB, pubkey BLOB, data BLOB, sealed INTEGER,
    PRIMARY KEY (descriptor, pubkey)) WITHOUT ROWID;
CREATE TABLE derived_keys (descriptor BLOB, number INTEGER, position INTEGER, key BLOB,
    PRIMARY KEY (descriptor, number, position)) WITHOUT ROWID;
CREATE TABLE positions (descriptor BLOB, position INTEGER, scripts BLOB, pubkeys BLOB,
    PRIMARY KEY (descriptor, position)) WITHOUT ROWID;
CREATE TABLE active (kind TEXT, internal INTEGER, descriptor BLOB, PRIMARY KEY (kind, internal)) WITHOUT ROWID;
CREATE TABLE txs (txid BLOB PRIMARY KEY, raw BLOB, state TEXT, block BLOB, height INTEGER, place INTEGER,
    received INTEGER, smart_time INTEGER, position INTEGER, notes TEXT);
CREATE TABLE addresses (script BLOB PRIMARY KEY, label TEXT, purpose TEXT, used INTEGER) WITHOUT ROWID;
CREATE TABLE locked (outpoint BLOB PRIMARY KEY) WITHOUT ROWID;
"""

STATEMENTS = {
    "meta": "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    "master": "INSERT OR REPLACE INTO master VALUES (1, ?, ?, ?, ?, ?)",
    "descriptor": "INSERT OR REPLACE INTO descriptors VALUES (?, ?, ?, ?, ?, ?)",
    "key": "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?)",
    "derived_key": "INSERT OR REPLACE INTO derived_keys VALUES (?, ?, ?, ?)",
    "position": "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)",
    "active": "INSERT OR REPLACE INTO active VALUES (?, ?, ?)",
    "inactive": "DELETE FROM active WHERE kind = ? AND internal = ?",
    "tx": "INSERT OR REPLACE INTO txs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "tx_state": "UPDATE txs SET state = ?, block = ?, height = ?, place = ? WHERE txid = ?",
    "remove_tx": "DELETE FROM txs WHERE txid = ?",
    "address": "INSERT OR REPLACE INTO addresses VALUES (?, ?, ?, ?)",
    "lock": "INSERT OR REPLACE INTO locked VALUES (?)",
    "unlock": "DELETE FROM locked WHERE outpoint = ?",
}
"""What a change's name stands for."""


@dataclass(frozen=True, slots=True)
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


class WalletStore:
    """One wallet's file, locked for this process from ``open`` to ``close``."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._db = connection

    @classmethod
    def create(cls, directory: Path, magic: bytes, *, unsafe: bool) -> WalletStore:
        """A new file; raises WalletError, StorageError."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WalletError(f"Failed to create database path '{directory}': {error.strerror}") from None
        path = directory / FILE_NAME
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))  # nobody else reads private keys
        except OSError as error:
            raise WalletError(f"Failed to create database path '{directory}': {error.strerror}") from None
        store = cls._connect(path, unsafe=unsafe)
        try:
            store._db.executescript(
                f"BEGIN; PRAGMA application_id = {application_id(magic)}; PRAGMA user_version = {SCHEMA_VERSION};"
                f"{_TABLES} COMMIT;"
            )
            store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # so that the file says what it is
        except sqlite3.Error as error:
            store.close()
            raise StorageError(f"{path} cannot be written: {error}") from None
        return store

    @classmethod
    def open(cls, path: Path, magic: bytes, *, unsafe: bool) -> WalletStore:
        """A file that is there; raises WalletError with what is wrong with it."""
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
        except sqlite3.DatabaseError as error:
            if db is not None:
                db.close()
            if "locked" in str(error):
                raise WalletError(IN_USE) from None
            raise WalletError(f"SQLiteDatabase: Failed to open database: {error}") from None
        return cls(path, db)

    def _check(self, magic: bytes) -> None:
        try:
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            found = [line for (line,) in self._db.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            raise WalletError(f"{self.path} is damaged: {error}") from None
        if mark != application_id(magic):
            text = f"SQLiteDatabase: Unexpected application id. Expected {application_id(magic)}, got {mark}"
            raise WalletError(text, Trouble.BAD_FORMAT)
        if version != SCHEMA_VERSION:
            raise WalletError(
                f"SQLiteDatabase: Unknown sqlite wallet schema version {version}. Only version {SCHEMA_VERSION} is"
                " supported"
            )
        if found != ["ok"]:
            raise WalletError("Failed to verify database\n" + "\n".join(found))

    def read(self) -> Rows:
        """All there is; raises WalletError where the file is damaged."""

        def rows(table: str, order: str = "") -> list[tuple[Any, ...]]:
            return self._db.execute(f"SELECT * FROM {table} {order}").fetchall()

        try:
            master = self._db.execute("SELECT salt, n, r, p, sealed FROM master").fetchone()
            return Rows(
                dict(rows("meta")), master, rows("descriptors"), rows("keys"), rows("derived_keys"),
                rows("positions", "ORDER BY descriptor, position"), rows("active"), rows("txs", "ORDER BY position"),
                rows("addresses"), rows("locked"),
            )  # fmt: skip
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise WalletError(f"{self.path} is damaged: {error}") from None

    def write(self, changes: Iterable[Change]) -> None:
        """Carry out all changes, durably, or none; raises StorageError."""
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in changes:
                    db.execute(STATEMENTS[statement], values)
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise StorageError(f"the wallet {self.path} cannot be written: {error}") from None

    def backup(self, target: Path) -> None:
        """Copy the wallet to a file; raises StorageError, for a directory as Core does."""
        try:
            if target.exists() and target.samefile(self.path):
                raise StorageError("a wallet cannot be copied over itself")
            copy = sqlite3.connect(target)
            try:
                self._db.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            finally:
                copy.close()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"the wallet cannot be copied to {target}: {error}") from None

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
