"""The block index: columns in memory, fixed-size records on disk.

A million headers are a few flat buffers; no object exists per header. Loading moves whole columns out of joined
records, never one field at a time. Bytes per header: 67.5 that each has (hash 32, version, time and bits 12, chain_tx
8, prev, height and n_tx 12, status 1, work 2.5: a header in eight has it), 16 where blocks lie in files, 36 of merkle
root and nonce where these are kept (``header_rests.py``).
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from struct import Struct
from zlib import crc32

from btcnode.consensus.pow import block_work
from btcnode.errors import CorruptionError
from btcnode.primitives.header import HEADER_SIZE
from btcnode.storage.checksums import CHECK_SIZE, RESIDUE, Total, check_of
from btcnode.storage.database import Database
from btcnode.storage.header_rests import HeaderRests, ReadRests
from btcnode.storage.layout import DB_INDEX, INDEX_RECORD, INDEX_RECORD_SIZE, index_key
from btcnode.storage.sparse_column import SparseColumn

FIELDS_SIZE = 12  # version[4], time[4], bits[4]
HASH_SIZE = 32
WORK_SIZE = 16  # chainwork below 2**128; mainnet stood at 2**96 in 2024
LOAD_CHUNK = 8192  # records joined at a time: 1.1 MB
LOAD_SPAN = 16 * LOAD_CHUNK  # records read before the mapped pages are given back: 20 MB
ZERO_HASH = bytes(HASH_SIZE)
CHECK_CHUNK = 8192
WORK_EVERY = 8  # heights between two headers whose chainwork is kept: that of the others is added up from there
NOWHERE = (-1, 0, 0, 0)
KNOWN_WORKS = 1 << 10  # chainworks of whoever was asked about lately

_read_bits = Struct("<I").unpack_from


class IndexColumns:
    """One buffer per field of the block index; the header with index ``i`` is at place ``i`` of each.

    - ``fields``: 12 bytes each: version, time, bits, as in the header; ``rests`` has merkle root and nonce
    - ``hashes``: 32 bytes each, internal order
    - ``prev``: header index of the parent, -1 for the genesis block
    - ``height``, ``status`` (bits of the header tree), ``n_tx``, ``chain_tx`` (0 while unknown)
    - ``file`` (-1 when there is no data), ``data_pos``, ``undo_pos``: as Core's FlatFilePos; sparse, as is
    - ``block_crc``: CRC-32 of the block's bytes, 0 while that is not known
    """

    __slots__ = (
        "_known_works",
        "_work_rows",
        "_works",
        "block_crc",
        "chain_tx",
        "data_pos",
        "fields",
        "file",
        "hashes",
        "height",
        "n_tx",
        "prev",
        "rests",
        "status",
        "undo_pos",
    )

    def __init__(self, read_rests: ReadRests | None = None) -> None:
        """``read_rests`` as ``HeaderRests`` takes it."""
        self.fields = bytearray()
        self.rests = HeaderRests(read_rests)
        self.hashes = bytearray()
        self._work_rows = array("I")  # ascending: the headers whose height is a multiple of WORK_EVERY
        self._works = bytearray()  # their chainworks, big-endian
        self._known_works: dict[int, int] = {}
        self.chain_tx = array("Q")
        self.prev = array("i")
        self.height = array("i")
        self.status = array("B")
        self.n_tx = array("I")
        self.file = SparseColumn("i", -1)
        self.data_pos = SparseColumn("I", 0)
        self.undo_pos = SparseColumn("I", 0)
        self.block_crc = SparseColumn("I", 0)

    def __len__(self) -> int:
        return len(self.prev)

    def append(self, raw: bytes, block_hash: bytes, prev: int, height: int, status: int, chainwork: int) -> int:
        """Add a header of 80 bytes without block data; returns its index."""
        index = len(self.prev)
        self.fields += raw[:4] + raw[68:76]
        self.rests.append(raw[36:68] + raw[76:])
        self.hashes += block_hash
        if not height % WORK_EVERY:
            self._works += chainwork.to_bytes(WORK_SIZE, "big")
            self._work_rows.append(index)
        self._know_work(index, chainwork)
        self.chain_tx.append(0)
        self.prev.append(prev)
        self.height.append(height)
        self.status.append(status)
        self.n_tx.append(0)
        return index

    def _know_work(self, index: int, chainwork: int) -> None:
        known = self._known_works
        if len(known) >= KNOWN_WORKS:
            known.clear()
        known[index] = chainwork

    def chainwork(self, i: int) -> int:
        """Work from genesis up to and including header ``i``; at most WORK_EVERY - 1 steps back."""
        known = self._known_works
        found = known.get(i)
        if found is not None:
            return found
        height, prev, fields = self.height, self.prev, self.fields
        at, work = i, 0
        while found is None:
            if not height[at] % WORK_EVERY:
                place = WORK_SIZE * bisect_left(self._work_rows, at)
                found = int.from_bytes(self._works[place : place + WORK_SIZE], "big")
            else:
                work += block_work(_read_bits(fields, FIELDS_SIZE * at + 8)[0])
                at = prev[at]
                found = known.get(at)
        work += found
        self._know_work(i, work)
        return work

    def hash(self, i: int) -> bytes:
        """Block hash of header ``i``."""
        return bytes(self.hashes[32 * i : 32 * i + 32])

    def raw(self, i: int) -> bytes:
        """The 80 bytes of header ``i``; raises StorageError where they have to be read."""
        fields = self.fields[12 * i : 12 * i + 12]
        rest = self.rests.get(i)
        prev = self.prev[i]
        parent = self.hashes[32 * prev : 32 * prev + 32] if prev >= 0 else ZERO_HASH
        return bytes(fields[:4] + parent + rest[:32] + fields[4:] + rest[32:])

    def record(self, i: int, status: int | None = None) -> bytes:
        """The record of header ``i`` as it is stored, with another ``status`` if one is given; raises as ``raw``."""
        fields, rest, n_tx = self.fields[12 * i : 12 * i + 12], self.rests.get(i), self.n_tx[i]
        # what was never here has no place
        places = (self.file[i], self.data_pos[i], self.undo_pos[i], self.block_crc[i]) if n_tx else NOWHERE
        return INDEX_RECORD.pack(
            fields[:4] + rest[:32] + fields[4:] + rest[32:],
            self.hashes[32 * i : 32 * i + 32],
            self.chainwork(i).to_bytes(WORK_SIZE, "big"),
            self.chain_tx[i],
            self.prev[i],
            self.height[i],
            self.status[i] if status is None else status,
            n_tx,
            *places,
        )

    def extend_records(self, joined: bytes) -> None:
        """Append whole records, one after the other in ``joined``; raises CorruptionError for what is none."""
        if len(joined) % INDEX_RECORD_SIZE:
            raise CorruptionError("the block index has records of a wrong size: start with --reindex")
        first = len(self)
        count = len(joined) // INDEX_RECORD_SIZE
        words, halves = memoryview(joined).cast("Q"), memoryview(joined).cast("I")
        stride = INDEX_RECORD_SIZE // 4
        self.fields += _picked(halves, stride, (0, 9, 10), count)
        self.rests.extend(_picked(halves, stride, (*range(1, 9), 11), count))
        self.hashes += _picked(halves, stride, range(12, 20), count)
        works = _picked(halves, stride, range(20, 24), count)
        _extend(self.chain_tx, words[12 :: stride // 2])
        for offset, numbers in enumerate((self.prev, self.height), 26):
            _extend(numbers, halves[offset::stride])
        try:
            self.status.extend(_numbers("I", halves[28::stride]).tolist())
        except OverflowError:
            raise CorruptionError("a block index record has a status that is none: start with --reindex") from None
        _extend(self.n_tx, halves[29::stride])
        for offset, column in enumerate((self.file, self.data_pos, self.undo_pos, self.block_crc), 30):
            column.put(first, _numbers(column.typecode, halves[offset::stride]))
        for row, height in enumerate(self.height[first:], first):
            if not height % WORK_EVERY:
                place = WORK_SIZE * (row - first)
                self._works += works[place : place + WORK_SIZE]
                self._work_rows.append(row)

    def check(self, first: int = 0) -> None:
        """Raise CorruptionError unless every header from ``first`` on hashes to its hash and follows its parent.

        One hash binds all of a header's bytes and the link to its parent, so damaged records cannot pass.
        """
        for start in range(first, len(self.prev), CHECK_CHUNK):
            end = min(start + CHECK_CHUNK, len(self.prev))
            if start and self._is_line(start, end):
                raws = self._line_headers(start, end)
            else:
                self._check_links(start, end)
                raws = b"".join([self.raw(i) for i in range(start, end)])
            once = [sha256(raws[at : at + HEADER_SIZE]).digest() for at in range(0, len(raws), HEADER_SIZE)]
            if b"".join([sha256(digest).digest() for digest in once]) != self.hashes[32 * start : 32 * end]:
                raise CorruptionError(
                    f"a block index record from {start} to {end - 1} does not match its hash: start with --reindex"
                )

    def _is_line(self, start: int, end: int) -> bool:
        """Whether each header of a range has the one before it as parent, at the next height."""
        first = self.height[start - 1] + 1
        return self.prev[start:end] == array("i", range(start - 1, end - 1)) and self.height[start:end] == array(
            "i", range(first, first + end - start)
        )

    def _check_links(self, start: int, end: int) -> None:
        heights = self.height
        for i in range(start, end):
            prev = self.prev[i]
            height = heights[prev] + 1 if 0 <= prev < i else 0 if prev == -1 else -1
            if heights[i] != height:
                raise CorruptionError(f"block index record {i} does not follow its parent: start with --reindex")

    def _line_headers(self, start: int, end: int) -> bytes:
        """The 80-byte headers of a range that is a line, joined."""
        raws = bytearray(HEADER_SIZE * (end - start))
        target = memoryview(raws).cast("I")
        fields = memoryview(self.fields[FIELDS_SIZE * start : FIELDS_SIZE * end]).cast("I")
        rests = memoryview(self.rests.span(start, end)).cast("I")
        parents = memoryview(self.hashes[32 * (start - 1) : 32 * (end - 1)]).cast("I")
        for k, place in enumerate((0, 17, 18)):
            target[place::20] = fields[k::3]
        for k in range(8):
            target[1 + k :: 20] = parents[k::8]
        for k, place in enumerate((*range(9, 17), 19)):
            target[place::20] = rests[k::9]
        return bytes(raws)


def _picked(halves: memoryview, stride: int, places: Sequence[int], count: int) -> bytearray:
    """Of ``count`` records of ``stride`` words of 4 bytes, those at these places, joined."""
    part = bytearray(4 * len(places) * count)
    target = memoryview(part).cast("I")
    for k, place in enumerate(places):
        target[k :: len(places)] = halves[place::stride]
    return part


def _numbers(typecode: str, values: memoryview) -> array[int]:
    """A strided view of little-endian integers as an array of the same width."""
    part = array(typecode)
    part.frombytes(values.tobytes())
    if sys.byteorder == "big":
        part.byteswap()
    return part


def _extend(column: array[int], values: memoryview) -> None:
    """Append a strided view of little-endian integers to an array of the same width."""
    column += _numbers(column.typecode, values)


class BlockIndexStore:
    """The ``index`` database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, *, check: bool = True, lean: bool = False) -> IndexColumns:
        """Read every record, before anybody writes; empty columns for a new database.

        ``lean``: merkle roots and nonces of what is stored are read when they are asked for, and not kept in memory.

        Raises CorruptionError for a gap in the numbers, a record that does not match its checksum or has a wrong size,
        records that are not those that were written and, with ``check``, a header that does not match its hash or its
        parent.
        """
        columns = IndexColumns(self.read_rests if lean else None)
        found = Total()
        first = 0
        while (span := self._load_span(columns)).count:
            found = found.plus(span.count, span.sum)
            if check:
                columns.check(first)
            columns.rests.note_stored(range(first, len(columns)))
            first = len(columns)
            self._database.release_pages()
        with self._database.read(DB_INDEX) as txn:
            if found != self._database.seal(txn).index:
                raise self._database.damaged("the records of the block index are not those that were written")
        if len(columns) != len(self):
            raise self._database.damaged("the block index has gaps")
        return columns

    def read_rests(self, first: int, count: int) -> bytes:
        """Merkle roots and nonces of ``count`` stored headers, joined; raises StorageError."""
        with self._database.read(DB_INDEX) as txn:
            cursor = txn.cursor()
            found = list(islice(cursor.iternext(), count)) if cursor.set_range(index_key(first)) else []
            if len(found) != count or found[-1][0] != index_key(first + count - 1):
                raise self._database.damaged("the block index has gaps")
            if {crc32(stored, crc32(key)) for key, stored in found} != {RESIDUE}:
                raise self._database.damaged("a record of the block index")
            return b"".join([part for _, stored in found for part in (stored[4:36], stored[44:48])])

    def _load_span(self, columns: IndexColumns) -> Total:
        """Append the next records, up to LOAD_SPAN; returns how many there were, with the sum of their checksums."""
        total = Total()
        with self._database.read(DB_INDEX) as txn:
            cursor = txn.cursor()
            if not cursor.set_range(index_key(len(columns))):
                return total
            rows = islice(cursor.iternext(), LOAD_SPAN)
            while chunk := list(islice(rows, LOAD_CHUNK)):
                # keys are sorted and unique, so the last one tells whether any is missing
                if int.from_bytes(chunk[-1][0], "big") != len(columns) + len(chunk) - 1:
                    raise self._database.damaged("the block index has gaps")
                if {crc32(stored, crc32(key)) for key, stored in chunk} != {RESIDUE}:
                    raise self._database.damaged("a record of the block index")
                if any(len(stored) != INDEX_RECORD_SIZE + CHECK_SIZE for _, stored in chunk):
                    raise self._database.damaged("the block index has records of a wrong size")
                total = total.plus(len(chunk), sum([check_of(stored) for _, stored in chunk]))
                columns.extend_records(b"".join([stored[:-CHECK_SIZE] for _, stored in chunk]))
        return total

    def __len__(self) -> int:
        return self._database.count(DB_INDEX)
