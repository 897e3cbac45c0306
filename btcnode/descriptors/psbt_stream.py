"""Reading from bytes as Core's streams do, whose messages reach the user when a PSBT is cut or bent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from btcnode.descriptors.errors import PsbtError
from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import MAX_SIZE, compact_size
from btcnode.primitives.tx import Tx

T = TypeVar("T")
_WIDTHS = {0xFD: (2, 0xFD), 0xFE: (4, 0x10000), 0xFF: (8, 0x100000000)}


def failure(text: str) -> PsbtError:
    """An error as a stream of the C++ library words it."""
    return PsbtError(f"{text}: iostream error")


class Stream:
    """Bytes and a place in them; every read raises PsbtError at the end of the data."""

    __slots__ = ("_at", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._raw) - self._at

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._at + size
        if end > len(self._raw):
            raise failure("SpanReader::read(): end of data")
        data = self._raw[self._at : end]
        self._at = end
        return data

    def size(self) -> int:
        """A CompactSize in its shortest form, up to 32 MiB."""
        first = self.take(1)[0]
        if first < 0xFD:
            return first
        width, least = _WIDTHS[first]
        value = int.from_bytes(self.take(width), "little")
        if value < least:
            raise failure("non-canonical ReadCompactSize()")
        if value > MAX_SIZE:
            raise failure("ReadCompactSize(): size too large")
        return value

    def data(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(self.size())

    def sized(self, read: Callable[[Stream], T]) -> T:
        """A value that must take exactly as many bytes as the length before it says."""
        expected, before = self.size(), self.left
        value = read(self)
        if before - self.left != expected:
            raise failure("Size of value was not the stated size")
        return value

    def txout(self) -> bytes:
        """A serialised txout."""
        value, script = self.take(8), self.data()
        return value + compact_size(len(script)) + script

    def transaction(self, *, witness: bool) -> Tx:
        """A transaction; without ``witness`` no input is no sign of a witness."""
        if not witness:
            version = int.from_bytes(self.take(4), "little")
            inputs = [(self.take(36), self.data(), self.take(4)) for _ in range(self.size())]
            txouts = [self.txout() for _ in range(self.size())]
            lock_time = int.from_bytes(self.take(4), "little")
            return Tx(
                version,
                [outpoint for outpoint, _, _ in inputs],
                [script for _, script, _ in inputs],
                [int.from_bytes(sequence, "little") for _, _, sequence in inputs],
                txouts,
                lock_time=lock_time,
            )
        try:
            tx, self._at = Tx.parse_at(self._raw, self._at)
        except DecodeError:
            self._skip_transaction()
            raise failure("SpanReader::read(): end of data") from None
        return tx

    def _skip_transaction(self) -> None:
        """Read a transaction field by field, as Core does, for the error of the first that is wrong."""

        def skip_inputs(count: int) -> None:
            for _ in range(count):
                self.take(36), self.data(), self.take(4)

        self.take(4)
        inputs, flags = self.size(), 0
        skip_inputs(inputs)
        if not inputs:
            flags = self.take(1)[0]
            if flags:
                inputs = self.size()
                skip_inputs(inputs)
        if inputs or flags:
            for _ in range(self.size()):
                self.txout()
        if flags & 1:
            stacks = [[self.data() for _ in range(self.size())] for _ in range(inputs)]
            if not any(stacks):
                raise failure("Superfluous witness record")
        if flags & ~1:
            raise failure("Unknown transaction optional data")
        self.take(4)


def parse_stripped(raw: bytes) -> Tx:
    """Decode exactly one transaction in the form without witness; raises PsbtError."""
    stream = Stream(raw)
    tx = stream.transaction(witness=False)
    if stream.left:
        raise PsbtError(f"{stream.left} bytes left over after the transaction")
    return tx
