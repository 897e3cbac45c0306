"""The block index: columns in memory, fixed-size records on disk.

A million headers are twelve flat buffers of 136 bytes per header together; no object exists per header. Loading
moves whole columns out of joined records, never one field at a time.
"""

from __future__ import annotations

import sys
from array import array
from hashlib import sha256
from itertools import islice
from zlib import crc32

from btcnode.errors import CorruptionError
from btcnode.primitives.header import HEADER_SIZE
from btcnode.storage.checksums import CHECK_SIZE, RESIDUE, Total, check_of
from btcnode.storage.database import Database
from btcnode.storage.layout import DB_INDEX, INDEX_RECORD, INDEX_RECORD_SIZE, index_key

HEADER_PART = 48  # version[4], merkle root[32], time[4], bits[4], nonce[4]
HASH_SIZE = 32
WORK_SIZE = 16  # chainwork below 2**128; mainnet stood at 2**96 in 2024
LOAD_CHUNK = 8192  # records joined at a time: 1.1 MB
LOAD_SPAN = 16 * LOAD_CHUNK  # records read before the mapped pages are given back: 20 MB
ZERO_HASH = bytes(HASH_SIZE)
CHECK_CHUNK = 8192


class IndexColumns:
    """One flat buffer per field of the block index; the header with index ``i`` is at place ``i`` of each.

    - ``headers``: 48 bytes each: the 80 of the header without its parent's hash
    - ``hashes``: 32 bytes each, internal order
    - ``chainwork``: 16 bytes each, big-endian (so that bytes compare as numbers)
    - ``prev``: header index of the parent, -1 for the genesis block
    - ``height``, ``status`` (bits of the header tree), ``n_tx``, ``chain_tx`` (0 while unknown)
    - ``file`` (-1 when there is no data), ``data_pos``, ``undo_pos``: as Core's FlatFilePos
    - ``block_crc``: CRC-32 of the block's bytes, 0 while that is not known
    """

    __slots__ = (
        "block_crc",
        "chain_tx",
        "chainwork",
        "data_pos",
        "file",
        "hashes",
        "headers",
        "height",
        "n_tx",
        "prev",
        "status",
        "undo_pos",
    )

    def __init__(self) -> None:
        self.headers = bytearray()
        self.hashes = bytearray()
        self.chainwork = bytearray()
        self.chain_tx = array("Q")
        self.prev = array("i")
        self.height = array("i")
        self.status = array("I")
        self.n_tx = array("I")
        self.file = array("i")
        self.data_pos = array("I")
        self.undo_pos = array("I")
        self.block_crc = array("I")

    def __len__(self) -> int:
        return len(self.prev)

    def append(self, header: bytes, block_hash: bytes, prev: int, height: int, status: int, chainwork: int) -> int:
        """Add a header without block data; returns its index.

        ``header`` is the 48 bytes of the column: the header's first 4 and its last 44.
        """
        index = len(self.prev)
        self.headers += header
        self.hashes += block_hash
        self.chainwork += chainwork.to_bytes(WORK_SIZE, "big")
        self.chain_tx.append(0)
        self.prev.append(prev)
        self.height.append(height)
        self.status.append(status)
        self.n_tx.append(0)
        self.file.append(-1)
        self.data_pos.append(0)
        self.undo_pos.append(0)
        self.block_crc.append(0)
        return index

    def hash(self, i: int) -> bytes:
        """Block hash of header ``i``."""
        return bytes(self.hashes[32 * i : 32 * i + 32])

    def raw(self, i: int) -> bytes:
        """The 80 bytes of header ``i``."""
        part = self.headers[48 * i : 48 * i + 48]
        prev = self.prev[i]
        parent = self.hashes[32 * prev : 32 * prev + 32] if prev >= 0 else ZERO_HASH
        return b"".join((part[:4], parent, part[4:]))

    def record(self, i: int, status: int | None = None) -> bytes:
        """The record of header ``i`` as it is stored, with another ``status`` if one is given."""
        return INDEX_RECORD.pack(
            self.headers[48 * i : 48 * i + 48],
            self.hashes[32 * i : 32 * i + 32],
            self.chainwork[16 * i : 16 * i + 16],
            self.chain_tx[i],
            self.prev[i],
            self.height[i],
            self.status[i] if status is None else status,
            self.n_tx[i],
            self.file[i],
            self.data_pos[i],
            self.undo_pos[i],
            self.block_crc[i],
        )

    def extend_records(self, joined: bytes) -> None:
        """Append whole records, one after the other in ``joined``; raises CorruptionError for a part of one."""
        if len(joined) % INDEX_RECORD_SIZE:
            raise CorruptionError("the block index has records of a wrong size: start with --reindex")
        count = len(joined) // INDEX_RECORD_SIZE
        words = memoryview(joined).cast("Q")
        stride = INDEX_RECORD_SIZE // 8
        word = 0
        for column, size in ((self.headers, HEADER_PART), (self.hashes, HASH_SIZE), (self.chainwork, WORK_SIZE)):
            width = size // 8
            part = bytearray(size * count)
            target = memoryview(part).cast("Q")
            for k in range(width):
                target[k::width] = words[word + k :: stride]
            column += part
            word += width
        _extend(self.chain_tx, words[word::stride])
        halves = memoryview(joined).cast("I")
        half = 2 * (word + 1)
        places = (self.file, self.data_pos, self.undo_pos, self.block_crc)
        fields = (self.prev, self.height, self.status, self.n_tx, *places)
        for offset, numbers in enumerate(fields):
            _extend(numbers, halves[half + offset :: 2 * stride])

    def check(self) -> None:
        """Raise CorruptionError unless every header hashes to its hash and follows its parent.

        One hash binds all of a header's bytes and the link to its parent, so damaged records cannot pass.
        """
        for start in range(0, len(self.prev), CHECK_CHUNK):
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
        parts = memoryview(self.headers[48 * start : 48 * end]).cast("I")
        parents = memoryview(self.hashes[32 * (start - 1) : 32 * (end - 1)]).cast("I")
        target[::20] = parts[::12]
        for k in range(8):
            target[1 + k :: 20] = parents[k::8]
        for k in range(1, 12):
            target[8 + k :: 20] = parts[k::12]
        return bytes(raws)


def _extend(column: array[int], values: memoryview) -> None:
    """Append a strided view of little-endian integers to an array of the same width."""
    part = array(column.typecode)
    part.frombytes(values.tobytes())
    if sys.byteorder == "big":
        part.byteswap()
    column += part


class BlockIndexStore:
    """The ``index`` database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, *, check: bool = True) -> IndexColumns:
        """Read every record, before anybody writes; empty columns for a new database.

        Raises CorruptionError for a gap in the numbers, a record that does not match its checksum or has a wrong size,
        records that are not those that were written and, with ``check``, a header that does not match its hash or its
        parent.
        """
        columns = IndexColumns()
        found = Total()
        while (span := self._load_span(columns)).count:
            found = found.plus(span.count, span.sum)
            self._database.release_pages()
        with self._database.read(DB_INDEX) as txn:
            if found != self._database.seal(txn).index:
                raise self._database.damaged("the records of the block index are not those that were written")
        if len(columns) != len(self):
            raise self._database.damaged("the block index has gaps")
        if check:
            columns.check()
        return columns

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
