"""Coins that stay unspent, collected in any order: sorted files first, then all of them in one sorted pass.

A file (a run) is a row of records ``outpoint[36] size[u16 LE] coin`` in the order of the outpoints' bytes, then one of
``height[u32 LE] txid[32]``: coinbases that could be repeated (BIP30). What is recorded of a run is its sizes and its
CRC-32; files that nobody has recorded are of a run that a kill has cut off, and are written anew.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple
from zlib import crc32

from btcnode.errors import CorruptionError, StorageError
from btcnode.storage.durable import storage_error, sync_directory, write_synced

RECORD_HEAD = Struct("<36sH")
OUTPOINT_SIZE = 36
COINBASE = Struct("<I32s")
READ_SIZE = 1 << 18  # bytes of each run at a time while they are merged
CRC_SIZE = 1 << 22
BATCH_BYTES = 24 << 20  # of records that are sorted together: with their objects about 100 MB

Record = tuple[bytes, bytes]

_SIZE = Struct("<H")

_outpoint = itemgetter(0)


class RunSizes(NamedTuple):
    """What is to be recorded of a run."""

    size: int
    coins: int
    coinbases: int
    crc: int


def split_records(data: bytes) -> tuple[list[Record], int]:
    """The (outpoint, coin) pairs of whole records at the beginning of ``data``, and the position behind them."""
    unpack, head = RECORD_HEAD.unpack_from, RECORD_HEAD.size
    found: list[Record] = []
    at, end = 0, len(data)
    while at + head <= end:
        outpoint, size = unpack(data, at)
        behind = at + head + size
        if behind > end:
            break
        found.append((outpoint, data[at + head : behind]))
        at = behind
    return found, at


class _Reader:
    """A run that is read while others are."""

    def __init__(self, chunks: Iterator[list[Record]]) -> None:
        self._chunks = chunks
        self.rows: list[Record] = []
        self._at = 0

    def fill(self) -> None:
        """Have rows that were not taken, unless the run has ended."""
        if self._at == len(self.rows):
            self.rows, self._at = next(self._chunks, []), 0

    def take(self, bound: bytes) -> list[Record]:
        """The rows up to this outpoint, that one included."""
        start = self._at
        self._at = bisect_right(self.rows, bound, start, key=_outpoint)
        return self.rows[start : self._at]


class SurvivorRuns:
    """The runs of one folder. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, number: int) -> Path:
        """Where the run of this number lies."""
        return self._folder / f"run{number:05d}.dat"

    def write(self, number: int, records: Iterable[bytes], coinbases: Sequence[tuple[int, bytes]]) -> RunSizes:
        """Write a run from records of any order, durably; raises DiskFullError, StorageError."""
        rows: list[bytes] = []
        sizes = _SIZE.unpack_from
        for part in records:
            at, end = 0, len(part)
            while at < end:
                behind = at + RECORD_HEAD.size + sizes(part, at + OUTPOINT_SIZE)[0]
                rows.append(part[at:behind])
                at = behind
            if at != end:
                raise ValueError("a record that is cut off")
        rows.sort()  # whole records: they begin with their outpoints
        body = b"".join(rows)
        data = body + b"".join([COINBASE.pack(*item) for item in coinbases])
        path = self.path(number)
        try:
            write_synced(path, data)
            sync_directory(self._folder)
        except OSError as error:
            raise storage_error(error, f"cannot write {path}") from None
        return RunSizes(len(body), len(rows), len(coinbases), crc32(data))

    def verify(self, number: int, sizes: RunSizes) -> None:
        """Hold a run against what was recorded of it; raises CorruptionError, StorageError."""
        crc, total = 0, 0
        with self._open(number) as file:
            while data := file.read(CRC_SIZE):
                crc, total = crc32(data, crc), total + len(data)
        if crc != sizes.crc or total != sizes.size + sizes.coinbases * COINBASE.size:
            raise CorruptionError(f"{self.path(number)} is damaged")

    def coinbases(self, number: int, sizes: RunSizes) -> list[tuple[int, bytes]]:
        """Heights and txids behind the records of a run; raises StorageError."""
        with self._open(number) as file:
            file.seek(sizes.size)
            data = file.read(sizes.coinbases * COINBASE.size)
        return [(height, txid) for height, txid in COINBASE.iter_unpack(data)]

    def merged(self, runs: Sequence[RunSizes], between: Callable[[], None]) -> Iterator[list[Record]]:
        """All records in the order of the outpoints, in lists; ``between`` is called before each and may raise.

        Raises CorruptionError, StorageError.
        """
        total = sum(run.size for run in runs)
        if total <= BATCH_BYTES:
            rows = [row for n, run in enumerate(runs) for chunk in self._chunks(n, run.size) for row in chunk]
            rows.sort()
            between()
            yield rows
            return
        readers = [_Reader(self._chunks(n, run.size)) for n, run in enumerate(runs)]
        while readers:
            between()
            # what all runs have up to the first of their last rows is complete
            for reader in readers:
                reader.fill()
            readers = [reader for reader in readers if reader.rows]
            if not readers:
                return
            bound = min(reader.rows[-1][0] for reader in readers)
            rows = [row for reader in readers for row in reader.take(bound)]
            rows.sort()
            yield rows

    def _chunks(self, number: int, size: int) -> Iterator[list[Record]]:
        rest = b""
        with self._open(number) as file:
            while size:
                data = file.read(min(size, READ_SIZE))
                if not data:
                    raise CorruptionError(f"{self.path(number)} is truncated")
                size -= len(data)
                rows, at = split_records(rest + data)
                rest = (rest + data)[at:]
                if rows:
                    yield rows
        if rest:
            raise CorruptionError(f"{self.path(number)} is damaged")

    def _open(self, number: int) -> BinaryIO:
        try:
            return self.path(number).open("rb")
        except FileNotFoundError:
            raise CorruptionError(f"{self.path(number)} is missing") from None
        except OSError as error:
            raise StorageError(f"cannot read {self.path(number)}: {error.strerror}") from None
