"""What no rule reads of a header once it is in the tree: merkle root and nonce, 36 bytes.

They are kept until they are on disk, and where memory is asked to be small no longer: whoever wants a whole header
then (another node, a user, a record that is written anew) has it read from the database, some at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

REST_SIZE = 36
CHUNK_ROWS = 128  # read together, in some 50 us; and let go of together
_SHIFT = 7
_LAST = CHUNK_ROWS - 1
_WHOLE = (1 << CHUNK_ROWS) - 1
READ_CHUNKS = 8  # kept of what was read last

ReadRests = Callable[[int, int], bytes]


class HeaderRests:
    """Merkle root[32] and nonce[4] of each header, in the order of the headers.

    ``read`` (first row, number of rows) gives those of stored rows, joined; without it all are kept in memory. Rows are
    added and let go of by one thread; any may read.
    """

    __slots__ = ("_count", "_kept", "_lately", "_read", "_stored")

    def __init__(self, read: ReadRests | None = None) -> None:
        self._read = read
        self._count = 0
        self._kept: dict[int, bytearray] = {}
        self._stored: dict[int, int] = {}  # of chunks that are kept: a bit for each row that is on disk
        self._lately: list[tuple[int, bytes]] = [(-1, b"")] * READ_CHUNKS

    def __len__(self) -> int:
        return self._count

    @property
    def kept_bytes(self) -> int:
        """What is in memory."""
        return sum(map(len, self._kept.values())) + sum(len(read) for _, read in self._lately)

    def append(self, rest: bytes) -> None:
        """Add those of the next header."""
        chunk = self._kept.get(self._count >> _SHIFT)
        if chunk is None:
            chunk = self._kept[self._count >> _SHIFT] = bytearray()
        chunk += rest
        self._count += 1

    def extend(self, joined: bytes | bytearray) -> None:
        """Add those of several headers."""
        at = 0
        while at < len(joined):
            chunk = self._kept.setdefault(self._count >> _SHIFT, bytearray())
            part = joined[at : at + REST_SIZE * CHUNK_ROWS - len(chunk)]
            chunk += part
            self._count += len(part) // REST_SIZE
            at += len(part)

    def get(self, row: int) -> bytes | bytearray:
        """Those of one header; raises IndexError, and StorageError where they have to be read."""
        at = REST_SIZE * (row & _LAST)
        rest = (self._kept.get(row >> _SHIFT) or self._chunk(row >> _SHIFT))[at : at + REST_SIZE]
        if not rest:
            raise IndexError(row)
        return rest

    def span(self, first: int, end: int) -> bytes:
        """Those of a range of headers, joined; raises StorageError where they have to be read."""
        joined = b"".join(map(self._chunk, range(first >> _SHIFT, -(-end >> _SHIFT))))
        skipped = first & ~_LAST
        return joined[REST_SIZE * (first - skipped) : REST_SIZE * (end - skipped)]

    def _chunk(self, number: int) -> bytes | bytearray:
        kept = self._kept.get(number)
        if kept is not None:
            return kept
        known, chunk = self._lately[number % READ_CHUNKS]
        if known != number:
            if self._read is None or number >= self._count >> _SHIFT:
                return b""
            chunk = self._read(number << _SHIFT, CHUNK_ROWS)
            self._lately[number % READ_CHUNKS] = number, chunk
        return chunk

    def note_stored(self, rows: Iterable[int]) -> None:
        """These rows are on disk; a chunk of which all are is let go of, if it can be read again."""
        if self._read is None:
            return
        kept, stored = self._kept, self._stored
        for row in rows:
            number = row >> _SHIFT
            if number in kept:
                mask = stored.get(number, 0) | 1 << (row & _LAST)
                stored[number] = mask
                if mask == _WHOLE:
                    del stored[number], kept[number]
