"""One optional index on disk: an LMDB environment of its own.

- the main database: ``block hash[32] -> record``, for stale blocks too; ``"best"`` names the block up to which one
  chain was indexed
- rows without values, looked up by their first bytes, in the databases of ``runs.py``
- ``numbers``: ``u32 BE -> block hash``, for rows that name their block in four bytes
- ``"schema"`` in the main database: the layout's number, u32 LE

An index can be made again from the blocks: a store that is damaged, foreign or of another layout is wiped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from btcnode.errors import CorruptionError, StorageError
from btcnode.indexes.recipe import NUMBER_SIZE
from btcnode.indexes.runs import SLOTS, Runs
from btcnode.primitives.hashes import BlockHash
from btcnode.storage.database import check_length, translate

MAP_SIZE = 1 << 38  # address space: mainnet's spenders need about 100 GiB
MAX_READERS = 32
SCHEMA_VERSION = 1  # stores of this layout without a mark are older than the mark
_BEST = b"best"
_NUMBERS = b"numbers"
_SCHEMA = b"schema"


@dataclass(slots=True)
class Batch:
    """What is stored at once."""

    records: dict[BlockHash, bytes] = field(default_factory=dict)
    numbers: dict[int, BlockHash] = field(default_factory=dict)
    rows: list[bytes] = field(default_factory=list)


class IndexStore:
    """One thread at a time may ``put``; any thread may read."""

    def __init__(self, path: Path, *, wipe: bool = False) -> None:
        """Open or create the file; ``wipe`` it first for a reindex.

        Raises StorageError; CorruptionError when the file is damaged, foreign or of another layout.
        """
        self._path = path
        self._env: Any = None
        self._begin(wipe=wipe)

    def wipe(self) -> None:
        """Begin anew, with nothing in it, whatever the file is like; raises StorageError."""
        self._env.close()
        self._begin(wipe=True)

    def _begin(self, *, wipe: bool) -> None:
        path = self._path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if wipe:
                path.unlink(missing_ok=True)
                path.with_name(f"{path.name}-lock").unlink(missing_ok=True)
            self._open()
        except OSError as error:
            raise StorageError(f"cannot make {path}: {error.strerror}") from None
        except (lmdb.Error, CorruptionError) as error:
            if self._env is not None:
                self._env.close()
            if isinstance(error, CorruptionError):
                raise
            translated = translate(error, path)
            if isinstance(translated, CorruptionError):
                raise CorruptionError(f"{path} is damaged or foreign") from error
            raise translated from error

    def _open(self) -> None:
        """Raises lmdb.Error, CorruptionError, OSError."""
        self._env = lmdb.open(
            str(self._path), subdir=False, map_size=MAP_SIZE, max_readers=MAX_READERS, max_dbs=1 + SLOTS,
            readahead=False, mode=0o600,
        )  # fmt: skip
        check_length(self._env, self._path)
        self._runs = Runs(self._env)
        self._numbers: Any = self._env.open_db(_NUMBERS)
        with self._env.begin(write=True) as txn:
            found = txn.get(_SCHEMA)
            if found is None:
                txn.put(_SCHEMA, SCHEMA_VERSION.to_bytes(4, "little"))
            elif found != SCHEMA_VERSION.to_bytes(4, "little"):
                layout = int.from_bytes(found, "little")
                raise CorruptionError(f"{self._path} has layout {layout}, this version knows {SCHEMA_VERSION}")

    # -- reading -------------------------------------------------------------------------------------------------

    def record(self, block_hash: BlockHash) -> bytes | None:
        """The record of a block; raises StorageError."""
        return self._get(block_hash)

    def best(self) -> BlockHash | None:
        """The last block of the chain that was indexed; raises StorageError."""
        found = self._get(_BEST)
        return None if found is None else BlockHash(found)

    def _get(self, key: bytes) -> bytes | None:
        try:
            with self._env.begin() as txn:
                found: bytes | None = txn.get(key)
                return found
        except lmdb.Error as error:
            raise translate(error, self._path) from error

    def block_count(self) -> int:
        """How many blocks have a number: those from 0 up to this one, it excluded."""
        try:
            with self._env.begin() as txn:
                return int(txn.stat(self._numbers)["entries"])
        except lmdb.Error as error:
            raise translate(error, self._path) from error

    def find(self, prefix: bytes) -> list[tuple[BlockHash, bytes]]:
        """Rows that begin with ``prefix``: block by the number behind it, and what follows; newest blocks first.

        Raises StorageError.
        """
        found = []
        try:
            with self._env.begin() as txn:
                for row in sorted(self._runs.find(txn, prefix), reverse=True):
                    number = row[len(prefix) : len(prefix) + NUMBER_SIZE]
                    block_hash = txn.get(number, db=self._numbers)
                    if block_hash is None:
                        raise CorruptionError(f"{self._path} lacks a block: start with --reindex")
                    found.append((BlockHash(block_hash), row[len(prefix) + NUMBER_SIZE :]))
        except lmdb.Error as error:
            raise translate(error, self._path) from error
        return found

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, batch: Batch, best: BlockHash) -> None:
        """Store a batch and where it ends, durably, all or nothing; raises StorageError."""
        try:
            with self._env.begin(write=True) as txn:
                txn.cursor().putmulti(sorted(batch.records.items()))
                numbers = ((number.to_bytes(NUMBER_SIZE, "big"), block) for number, block in batch.numbers.items())
                txn.cursor(db=self._numbers).putmulti(numbers)
                self._runs.add(txn, batch.rows)
                txn.put(_BEST, best)
        except lmdb.Error as error:
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Close the files."""
        self._env.close()
