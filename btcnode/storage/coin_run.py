"""A run: coins and tombstones in order of their outpoints, in a file that is written once and never changed.

The file is an LMDB environment of its own, appended to in order, so its leaves are full, nothing in it is ever free,
and it goes as a whole when it has been merged. Its unnamed database holds the groups (coin_groups.py) by their bounds
and, behind the last one, a filter: a bitmap in which a txid's place is that of its first four bytes among all, so that
three of four runs need no search for a coin that they do not have. The checksums of groups and filter are salted with
the run's name, the record in the manifest has their sum: a page of another run, or of an older file, does not fit.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any
from zlib import crc32

import lmdb

from btcnode.errors import CorruptionError
from btcnode.storage.checksums import CHECK_SIZE, RESIDUE, check_of
from btcnode.storage.coin_groups import END, GONE, Entries, find, low_of, sealed_group, split, unpack
from btcnode.storage.durable import is_full, sync_directory, sync_file
from btcnode.storage.mapped_memory import append_value, zeros
from btcnode.storage.page_check import check_file
from btcnode.storage.read_ahead import ReadAhead
from btcnode.tuples import NamedTuple

NAME_SIZE = 8
FILTER_BITS = 6  # for each entry: with two outputs to a transaction 8 % of strange txids pass
FILTER_KEY = END + b"\x01"
SUFFIX = ".mdb"
MAP_SIZE = 1 << 36  # address space while a run is written
SLICE = 1 << 21  # bytes of groups to a transaction: LMDB holds its pages in memory
PENDING = 4096  # entries that are packed together
GROUPS = 64  # read at a time of each run that is merged
Wanted = tuple[int, bytes, int]  # the first four bytes as a number, the outpoint, its place
_BITS = Struct("<Q")
_RECORD = Struct(f"<{NAME_SIZE}sQQQQ")
_PREFIX = 4  # bytes of a txid that the filter looks at
_MASK64 = 0xFFFFFFFFFFFFFFFF


class RunDamageError(CorruptionError):
    """A run is damaged; the text has the file, not the advice."""


class RunRecord(NamedTuple):
    """What the manifest has of a run: its name, entries, tombstones among them, groups, sum of their checksums."""

    name: bytes
    entries: int
    tombs: int
    groups: int
    checks: int

    def pack(self) -> bytes:
        """As stored."""
        return _RECORD.pack(*self)

    @classmethod
    def unpack_all(cls, stored: bytes) -> list[RunRecord]:
        """Decode records side by side; raises CorruptionError."""
        if len(stored) % _RECORD.size:
            raise CorruptionError("the list of the coins' files has a wrong size")
        return [cls(*fields) for fields in _RECORD.iter_unpack(stored)]

    def path(self, folder: Path) -> Path:
        """The file."""
        return path_of(folder, self.name)


def new_name() -> bytes:
    """A name that no run has."""
    return os.urandom(NAME_SIZE)


def path_of(folder: Path, name: bytes) -> Path:
    """The file of a run with this name."""
    return folder / (name.hex() + SUFFIX)


class RunWriter:
    """Writes a run from entries that come in order. Raises lmdb.Error, OSError; then ``abandon`` is due."""

    def __init__(
        self, folder: Path, expected: int, wrote: Callable[[int], None] | None = None, name: bytes = b""
    ) -> None:
        """``expected``: about how many entries will come. ``wrote`` is called with bytes after each transaction.

        ``name``: one of ``new_name``, where somebody else has to know it.
        """
        self._folder = folder
        self.name = name or new_name()
        self.path = path_of(folder, self.name)
        try:
            self._env: Any = lmdb.open(
                os.fsencode(self.path), subdir=False, map_size=MAP_SIZE, max_dbs=0, lock=False, sync=False, mode=0o600
            )
        except lmdb.Error:
            self.path.unlink(missing_ok=True)
            raise
        self._bits = max(8, FILTER_BITS * expected)
        try:
            self._filter = zeros(folder, _BITS.size + (self._bits >> 3) + 1 + CHECK_SIZE)  # as stored
        except OSError:
            self.abandon()
            raise
        self._wrote = wrote
        self._keys: list[bytes] = []
        self._coins: list[bytes] = []
        self._low = b""
        self._waiting: list[tuple[bytes, bytes]] = []
        self._waiting_size = 0
        self._entries = self._tombs = self._groups = self._checks = 0

    def add(self, keys: Sequence[bytes], coins: Sequence[bytes]) -> None:
        """Take entries, which are above all before them; GONE is a tombstone."""
        self._keys += keys
        self._coins += coins
        self._entries += len(keys)
        self._tombs += coins.count(GONE)
        if len(self._keys) >= PENDING:
            self._pack(last=False)

    def finish(self) -> RunRecord:
        """Bring the run to the disk; it counts when the manifest names it."""
        self._pack(last=True)
        self._write()
        self._env.close()
        stored = self._filter
        _BITS.pack_into(stored, 0, self._bits)
        check = crc32(memoryview(stored)[:-CHECK_SIZE], crc32(FILTER_KEY, crc32(self.name)))
        stored[-CHECK_SIZE:] = check.to_bytes(CHECK_SIZE, "little")
        self._checks += check
        with self._telling_full():
            append_value(self.path, FILTER_KEY, stored)
        sync_file(self.path)
        sync_directory(self._folder)
        return RunRecord(self.name, self._entries, self._tombs, self._groups, self._checks & _MASK64)

    def abandon(self) -> None:
        """Remove what was written."""
        self._env.close()
        self.path.unlink(missing_ok=True)

    def _pack(self, *, last: bool) -> None:
        begin = 0
        for bound, group, end in split(self._keys, self._coins, self._low, last=last):
            stored = sealed_group(group, bound, self.name)
            self._waiting.append((bound, stored))
            self._waiting_size += len(stored)
            self._checks += check_of(stored)
            self._groups += 1
            self._low = bound
            self._mark(self._keys[begin:end])
            begin = end
        del self._keys[:begin], self._coins[:begin]
        if self._waiting_size >= SLICE:
            self._write()

    def _mark(self, keys: list[bytes]) -> None:
        bits, table, number = self._bits, self._filter, int.from_bytes
        for prefix in {key[:_PREFIX] for key in keys}:
            place = number(prefix, "big") * bits >> 32
            table[_BITS.size + (place >> 3)] |= 1 << (place & 7)

    @contextmanager
    def _telling_full(self) -> Iterator[None]:
        """A full disk as what it is."""
        try:
            yield
        except lmdb.Error as error:
            if os.strerror(errno.EIO) in str(error) and is_full(self.path):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise

    def _write(self) -> None:
        with self._telling_full(), self._env.begin(write=True) as txn:
            txn.cursor().putmulti(self._waiting, append=True)
        if self._wrote is not None:
            self._wrote(self._waiting_size)
        self._waiting, self._waiting_size = [], 0


def write_run(
    folder: Path,
    entries: Iterable[Entries],
    expected: int,
    wrote: Callable[[int], None] | None = None,
    name: bytes = b"",
) -> RunRecord:
    """Write a run from entries in order of their outpoints, some thousand at a time.

    Arguments and errors are those of ``RunWriter``; when it fails nothing stays.
    """
    writer = RunWriter(folder, expected, wrote, name)
    try:
        for keys, coins in entries:
            writer.add(keys, coins)
        return writer.finish()
    except BaseException:
        writer.abandon()
        raise


class CoinRun:
    """An open run; any thread may read. It lives as long as somebody holds it, also when its file is removed."""

    def __init__(self, folder: Path, record: RunRecord, *, in_doubt: bool = False, trusted: bool = False) -> None:
        """Open it; ``trusted``: it was looked at, or written, by this process.

        Raises RunDamageError, OSError, lmdb.Error.
        """
        self.record = record
        self.path = record.path(folder)
        self.size = size = self.path.stat().st_size
        if not size:
            raise self.damage("it is empty")
        if not trusted:
            try:
                check_file(self.path, (), "", in_doubt=in_doubt)
            except CorruptionError as error:
                raise RunDamageError(str(error)) from None
        self._env: Any = lmdb.open(
            os.fsencode(self.path), subdir=False, map_size=max(size, 1 << 20), max_dbs=0, lock=False, readonly=True,
            readahead=False, max_spare_txns=0,
        )  # fmt: skip
        self._salt = crc32(record.name)
        # nobody writes, so one transaction does for all readers; the filter is a view of the mapped file
        self._txn: Any = self._env.begin(buffers=True)
        self._groups: Any = self._env.begin()
        if (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"] > size:
            raise self.damage("it is shorter than it says")
        stored = self._txn.get(FILTER_KEY)
        if stored is None or not (trusted or crc32(stored, crc32(FILTER_KEY, self._salt)) == RESIDUE):
            raise self.damage("its filter")
        self._bits = _BITS.unpack_from(stored)[0]
        self._filter = stored[_BITS.size : -CHECK_SIZE]
        self._filter_check = check_of(bytes(stored[-CHECK_SIZE:]))
        if self._env.stat()["entries"] != record.groups + 1:
            raise self.damage("it has not as many groups as it had")

    def damage(self, what: str) -> RunDamageError:
        """The error that names the file."""
        return RunDamageError(f"{self.path} is damaged ({what})")

    def find(self, wanted: list[Wanted]) -> dict[int, bytes]:
        """The coins, or GONE, of those outpoints that are here, by place; raises RunDamageError, lmdb.Error."""
        bits, table = self._bits, self._filter
        hits = [item for item in wanted if table[(at := item[0] * bits >> 32) >> 3] >> (at & 7) & 1]
        found: dict[int, bytes] = {}
        if not hits:
            return found
        cursor, salt = self._groups.cursor(), self._salt
        low = bound = group = b""
        for _, outpoint, place in hits:
            if not low < outpoint <= bound:
                if not cursor.set_range(outpoint):
                    raise self.damage("groups are missing")
                bound, group = cursor.item()
                self._check(bound, group, salt)
                low = low_of(group)
                if not low < outpoint <= bound:
                    raise self.damage("groups are missing")
            coin = find(group, outpoint)
            if coin is not None:
                found[place] = coin
        return found

    def may_have(self, txids: Sequence[tuple[int, bytes]]) -> set[bytes]:
        """Those txids, with their first four bytes as numbers, that the filter lets pass; the others have no entry."""
        bits, table = self._bits, self._filter
        return {txid for number, txid in txids if table[(at := number * bits >> 32) >> 3] >> (at & 7) & 1}

    def _check(self, bound: bytes, group: bytes, salt: int) -> None:
        if crc32(group, crc32(bound, salt)) != RESIDUE or bound > END:
            raise self.damage("a group of coins")

    def groups(self, *, above: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(bound, group) in order from the one that has the first outpoint above ``above``, each checked.

        The end comes only after all that were written. Raises RunDamageError, lmdb.Error.
        """
        cursor = self._groups.cursor()
        if not cursor.set_range(above + b"\0"):
            raise self.damage("groups are missing")
        low: bytes | None = None
        checks, count, salt, size = self._filter_check, 0, self._salt, self.size
        with closing(ReadAhead(self.path, size)) as ahead:
            for bound, group in cursor.iternext():
                # outpoints are as good as random; a bound may be shorter than the prefix
                ahead.at(int.from_bytes(bound[:_PREFIX].ljust(_PREFIX, b"\0"), "big") * size >> 32)
                self._check(bound, group, salt)
                if low is not None and low_of(group) != low:
                    raise self.damage("groups are missing")
                low = bound
                checks += check_of(group)
                count += 1
                yield bound, group
                if bound == END:
                    break
        if low != END:
            raise self.damage("groups are missing")
        if not above and (count, checks & _MASK64) != (self.record.groups, self.record.checks):
            raise self.damage("its groups are not those that were written")

    def close(self) -> None:
        """Let go of the file; nobody may be reading."""
        self._filter = memoryview(b"")
        self._txn.abort()
        self._groups.abort()
        self._env.close()

    def verify(self) -> None:
        """Look at every group; raises RunDamageError, lmdb.Error."""
        for _ in self.groups():
            pass


class _Source:
    """The entries of a run that are next, some groups at a time."""

    def __init__(self, run: CoinRun, above: bytes) -> None:
        self._groups = run.groups(above=above)
        self.keys: list[bytes] = []
        self.coins: list[bytes] = []
        self.bound = b""  # all entries up to here are in hand, or taken
        self.above = above

    def fill(self) -> None:
        """Read on."""
        for bound, group in islice(self._groups, GROUPS):
            keys, coins = unpack(group)
            self.keys += keys
            self.coins += coins
            self.bound = bound
        if self.above:
            begin = bisect_right(self.keys, self.above)
            del self.keys[:begin], self.coins[:begin]
            self.above = b""
        if self.bound == END:
            for _ in self._groups:  # the end says whether all were there
                raise AssertionError("a group behind the last one")

    def take(self, bound: bytes) -> Entries:
        """Those up to ``bound``."""
        end = bisect_right(self.keys, bound)
        taken = self.keys[:end], self.coins[:end]
        del self.keys[:end], self.coins[:end]
        return taken


def merged(runs: Sequence[CoinRun], *, keep_tombs: bool, above: bytes = b"") -> Iterator[Entries]:
    """The entries of runs, oldest first, in order of outpoints: of each the youngest, some thousand at a time.

    Raises RunDamageError, lmdb.Error.
    """
    sources = [_Source(run, above) for run in runs]
    bound = b""
    while bound != END and sources:
        for source in sources:
            if source.bound == bound:
                source.fill()
        bound = min(source.bound for source in sources)
        parts = [part for source in sources if (part := source.take(bound))[0]]
        if not parts:
            continue
        keys, coins = parts[0] if len(parts) == 1 else _youngest(parts)
        if not keep_tombs and GONE in coins:
            alive = [number for number, coin in enumerate(coins) if coin]
            keys, coins = [keys[number] for number in alive], [coins[number] for number in alive]
        yield keys, coins


def _youngest(parts: list[Entries]) -> Entries:
    """Parts, oldest first, as one: a later entry stands in the place of an earlier one."""
    entries: dict[bytes, bytes] = {}
    for keys, coins in parts:
        entries.update(zip(keys, coins, strict=True))
    ordered = sorted(entries)
    return ordered, list(map(entries.__getitem__, ordered))
