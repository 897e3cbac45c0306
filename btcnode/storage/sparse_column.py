"""A column of integers most of which are alike, as where a pruned node has its blocks."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

CHUNK_ROWS = 1024
_SHIFT = 10
_LAST = CHUNK_ROWS - 1


class SparseColumn:
    """Integers of an array's ``typecode``, each ``usual`` until it is set; rows beyond those that were set are too.

    A chunk of 1,024 takes memory once one of them is another.
    """

    __slots__ = ("_chunks", "_usual_chunk", "typecode", "usual")

    def __init__(self, typecode: str, usual: int) -> None:
        self.typecode = typecode
        self.usual = usual
        self._usual_chunk = array(typecode, [usual]) * CHUNK_ROWS
        self._chunks: dict[int, array[int]] = {}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SparseColumn):
            return NotImplemented
        numbers = {*self._chunks, *other._chunks}
        return all(
            self._chunks.get(number, self._usual_chunk) == other._chunks.get(number, other._usual_chunk)
            for number in numbers
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, row: int) -> int:
        chunk = self._chunks.get(row >> _SHIFT)
        return self.usual if chunk is None else chunk[row & _LAST]

    def __setitem__(self, row: int, value: int) -> None:
        chunk = self._chunks.get(row >> _SHIFT)
        if chunk is None:
            if value == self.usual:
                return
            chunk = self._chunks[row >> _SHIFT] = self._usual_chunk[:]
        chunk[row & _LAST] = value

    def put(self, first: int, values: array[int]) -> None:
        """Set a range of rows."""
        at = 0
        while at < len(values):
            number, place = divmod(first + at, CHUNK_ROWS)
            part = values[at : at + CHUNK_ROWS - place]
            chunk = self._chunks.get(number)
            if chunk is None and part.count(self.usual) < len(part):
                chunk = self._chunks[number] = self._usual_chunk[:]
            if chunk is not None:
                chunk[place : place + len(part)] = part
            at += len(part)

    def count_unusual(self) -> int:
        """How many rows have another value than most."""
        return sum(CHUNK_ROWS - chunk.count(self.usual) for chunk in self._chunks.values())

    def unusual(self) -> Iterator[tuple[int, int]]:
        """The rows that have another value than most, with it, ascending."""
        usual = self.usual
        for number in sorted(self._chunks):
            for row, value in enumerate(self._chunks[number], number << _SHIFT):
                if value != usual:
                    yield row, value

    def tidy(self) -> None:
        """Let go of chunks that have nothing but the usual value any more."""
        for number in [number for number, chunk in self._chunks.items() if chunk == self._usual_chunk]:
            del self._chunks[number]
