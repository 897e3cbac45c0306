"""One optional index on disk: an LMDB environment of its own.

- the main database: ``block hash[32] -> record``, for stale blocks too; ``"best"`` names the block up to which one
  chain was indexed
- rows without values, looked up by their first bytes, in the databases of ``runs.py``
- ``numbers``: ``u32 BE -> block hash``, for rows that name their block in four bytes
- ``nodes``, for an index that keeps a state beside its records: ``key -> part of the state after "best"``
- ``"schema"`` in the main database: the layout's number, u32 LE; ``"seal"``: how many records and numbers there are
- ``sums``: what proves the rows, as the sums of the coins do (``storage/checksums.py``)

Every value has a checksum behind it. Rows have none of their own: those that one sum counts are proven together, when
one of them is asked for the first time; a file that is small is proven as a whole when it is opened.

An index can be made again from the blocks: a store that is damaged, foreign or of another layout is wiped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from struct import Struct
from typing import Any

import lmdb

from btcnode.errors import CorruptionError, StorageError
from btcnode.indexes.recipe import NUMBER_SIZE
from btcnode.indexes.runs import RUN_NAMES, Runs
from btcnode.primitives.hashes import BlockHash
from btcnode.record import struct
from btcnode.storage.checksums import (
    SUMS,
    Tally,
    Total,
    checked_total,
    opened,
    read_sums,
    sealed,
    sum_bounds,
    sum_matches,
    sum_number,
    sum_place,
)
from btcnode.storage.database import check_length, reserve_lock_file
from btcnode.storage.lmdb_errors import translate
from btcnode.storage.page_check import check_file

MAP_SIZE = 1 << 38  # address space: mainnet's spenders need about 100 GiB
KEEPING_MAP_SIZE = 1 << 40  # mainnet's Utreexo proofs need about 700 GiB
MAX_READERS = 32
SCHEMA_VERSION = 2
_BEST = b"best"
_NUMBERS = b"numbers"
_NODES = b"nodes"
_SCHEMA = b"schema"
_SUMS = b"sums"
_SEAL = b"seal"
_TOTALS = Struct("<QQQQ")  # count and sum of checksums: of blocks' records, of numbers
HASH_SIZE = 32


@struct
class Batch:
    """What is stored at once."""

    records: dict[BlockHash, bytes] = field(default_factory=dict)
    numbers: dict[int, BlockHash] = field(default_factory=dict)
    rows: list[bytes] = field(default_factory=list)
    nodes: Mapping[bytes, bytes | None] = field(default_factory=dict)


class StoredMoment:
    """An index as of one moment (``KeptState``)."""

    def __init__(self, get: Callable[[bytes], bytes | None], node: Callable[[bytes], bytes | None]) -> None:
        self._get = get
        self.node = node

    def best(self) -> BlockHash | None:
        """The last block that was indexed; raises StorageError."""
        found = self._get(_BEST)
        return None if found is None else BlockHash(found)

    def record(self, block_hash: BlockHash) -> bytes | None:
        """The record of a block; raises StorageError."""
        return self._get(block_hash)


class IndexStore:
    """One thread at a time may ``put``; any thread may read."""

    def __init__(self, path: Path, *, wipe: bool = False, in_doubt: bool = False, keeps: bool = False) -> None:
        """Open or create the file; ``wipe`` it first for a reindex, look at all of it where it is ``in_doubt``.

        ``keeps``: it has nodes.
        Raises StorageError; CorruptionError when the file is damaged, foreign or of another layout.
        """
        self.path = path
        self._in_doubt = in_doubt
        self._keeps = keeps
        self._env: Any = None
        self._begin(wipe=wipe)

    def wipe(self) -> None:
        """Begin anew, with nothing in it, whatever the file is like; raises StorageError."""
        self._env.close()
        self._begin(wipe=True)

    def _begin(self, *, wipe: bool) -> None:
        path = self.path
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
        self._proven = bytearray(SUMS)
        names = (_NUMBERS, _SUMS, *RUN_NAMES, *([_NODES] if self._keeps else ()))
        small = check_file(self.path, names, "", in_doubt=self._in_doubt)
        reserve_lock_file(self.path)
        self._env = lmdb.open(
            os.fsencode(self.path), subdir=False, map_size=KEEPING_MAP_SIZE if self._keeps else MAP_SIZE,
            max_readers=MAX_READERS, max_dbs=len(names), readahead=False, mode=0o600,
        )  # fmt: skip
        check_length(self._env, self.path)
        self._runs = Runs(self._env)
        self._numbers: Any = self._env.open_db(_NUMBERS)
        self._sums: Any = self._env.open_db(_SUMS)
        self._nodes: Any = self._env.open_db(_NODES) if self._keeps else None
        schema = sealed(_SCHEMA, SCHEMA_VERSION.to_bytes(4, "little"))
        with self._env.begin(write=True) as txn:
            found = txn.get(_SCHEMA)
            if found is None and not txn.get(_BEST):
                txn.put(_SCHEMA, schema)
                self._put_totals(txn, Total(), Total())
            elif found != schema:
                layout = int.from_bytes((found or b"")[:4], "little")
                raise CorruptionError(f"{self.path} has layout {layout}, this version knows {SCHEMA_VERSION}")
            with self._naming():
                self._check(txn, whole=small)

    def _check(self, txn: Any, *, whole: bool) -> None:
        """Hold what is there against the totals, row by row where it is to be the ``whole``; raises CorruptionError."""
        records, numbers = self._totals(txn)
        counted = int(txn.stat(self._numbers)["entries"])
        if counted != numbers.count or (self._opened(txn, _BEST) is None) != (not records.count):
            raise CorruptionError(f"{self.path} is damaged: blocks are missing")
        if not whole:
            return
        blocks = ((key, stored) for key, stored in txn.cursor().iternext() if len(key) == HASH_SIZE)
        if checked_total(blocks) != records or checked_total(txn.cursor(db=self._numbers).iternext()) != numbers:
            raise CorruptionError(f"{self.path} is damaged: its records are not those that were written")
        if self._nodes is not None and checked_total(txn.cursor(db=self._nodes).iternext()) is None:
            raise CorruptionError(f"{self.path} is damaged: a part of its state is not what was written")
        tally = Tally()
        tally.add_keys(self._runs.between(txn, b"", None))
        for number, checks in tally.by_number().items():
            self._prove(txn, number, checks)
        self._proven = bytearray(b"\x01" * SUMS)
        empty = set(range(SUMS)) - tally.by_number().keys()
        if any(self._stored_sum(txn, number) for number in empty):
            raise CorruptionError(f"{self.path} is damaged: rows are missing")

    def _totals(self, txn: Any) -> tuple[Total, Total]:
        value = self._opened(txn, _SEAL) or b""
        if len(value) != _TOTALS.size:
            raise CorruptionError(f"{self.path} is damaged: the record of its totals is missing")
        numbers = _TOTALS.unpack(value)
        return Total(*numbers[:2]), Total(*numbers[2:])

    def _put_totals(self, txn: Any, records: Total, numbers: Total) -> None:
        value = _TOTALS.pack(records.count, records.sum, numbers.count, numbers.sum)
        txn.put(_SEAL, sealed(_SEAL, value))

    def _opened(self, txn: Any, key: bytes, db: Any = None) -> bytes | None:
        """The value of a record; raises CorruptionError."""
        stored = txn.get(key, db=db) if db is not None else txn.get(key)
        return None if stored is None else opened(key, stored, "an index")

    def _stored_sum(self, txn: Any, number: int) -> int:
        chunk, place = sum_place(b"", number)
        return int(read_sums(txn, self._sums, chunk)[place])

    def _prove(self, txn: Any, number: int, checks: int) -> None:
        """Hold rows against their sum; raises CorruptionError."""
        if not sum_matches(self._stored_sum(txn, number), checks):
            raise CorruptionError(f"{self.path} is damaged: rows are not those that were written")
        self._proven[number] = 1

    def _prove_rows(self, txn: Any, prefix: bytes) -> None:
        """Prove the rows around those that begin with ``prefix``, unless they are proven; raises CorruptionError."""
        number = sum_number(prefix)
        if not self._proven[number]:
            tally = Tally()
            tally.add_keys(self._runs.between(txn, *sum_bounds(number)))
            self._prove(txn, number, tally.by_number().get(number, 0))

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Name the file in what goes wrong inside."""
        try:
            yield
        except lmdb.Error as error:
            raise translate(error, self.path) from error
        except CorruptionError as error:
            if str(self.path) in str(error):
                raise
            raise CorruptionError(f"{self.path} is damaged ({error})") from None

    # -- reading -------------------------------------------------------------------------------------------------

    def record(self, block_hash: BlockHash) -> bytes | None:
        """The record of a block; raises StorageError."""
        return self._get(block_hash)

    def best(self) -> BlockHash | None:
        """The last block of the chain that was indexed; raises StorageError."""
        found = self._get(_BEST)
        return None if found is None else BlockHash(found)

    def _get(self, key: bytes) -> bytes | None:
        with self._naming(), self._env.begin() as txn:
            return self._opened(txn, key)

    def node(self, key: bytes) -> bytes | None:
        """A part of the kept state; raises StorageError."""
        with self._naming(), self._env.begin() as txn:
            return self._opened(txn, key, self._nodes)

    @contextmanager
    def moment(self) -> Iterator[StoredMoment]:
        """What is stored now, whatever is written while the context lasts; raises StorageError."""
        with self._naming(), self._env.begin() as txn:
            yield StoredMoment(lambda key: self._opened(txn, key), lambda key: self._opened(txn, key, self._nodes))

    def block_count(self) -> int:
        """How many blocks have a number: those from 0 up to this one, it excluded."""
        with self._naming(), self._env.begin() as txn:
            return int(txn.stat(self._numbers)["entries"])

    def find(self, prefix: bytes) -> list[tuple[BlockHash, bytes]]:
        """Rows that begin with ``prefix``: block by the number behind it, and what follows; newest blocks first.

        Raises StorageError.
        """
        found = []
        with self._naming(), self._env.begin() as txn:
            self._prove_rows(txn, prefix)
            for row in sorted(self._runs.find(txn, prefix), reverse=True):
                number = row[len(prefix) : len(prefix) + NUMBER_SIZE]
                block_hash = self._opened(txn, number, self._numbers)
                if block_hash is None:
                    raise CorruptionError(f"{self.path} lacks a block: start with --reindex")
                found.append((BlockHash(block_hash), row[len(prefix) + NUMBER_SIZE :]))
        return found

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, batch: Batch, best: BlockHash) -> None:
        """Store a batch and where it ends, durably, all or nothing; raises StorageError."""
        with self._naming(), self._env.begin(write=True) as txn:
            records, numbers = self._totals(txn)
            made, counted, rows = Tally(), Tally(), Tally()
            keys = ((number.to_bytes(NUMBER_SIZE, "big"), block) for number, block in batch.numbers.items())
            txn.cursor().putmulti(made.sealing(sorted(batch.records.items())), overwrite=False)
            txn.cursor(db=self._numbers).putmulti(counted.sealing(keys), overwrite=False)
            rows.add_keys(batch.rows)
            rows.write(txn, self._sums, b"")
            self._runs.add(txn, batch.rows)
            for key, value in sorted(batch.nodes.items()):
                if value is None:
                    txn.delete(key, db=self._nodes)
                else:
                    txn.put(key, sealed(key, value), db=self._nodes)
            self._put_totals(txn, made.applied(records), counted.applied(numbers))
            txn.put(_BEST, sealed(_BEST, best))

    def close(self) -> None:
        """Close the files."""
        self._env.close()
