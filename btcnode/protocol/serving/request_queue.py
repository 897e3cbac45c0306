"""What a peer asked for and was not given yet, packed: as objects fifty thousand requests would take ten megabytes."""

from __future__ import annotations

from struct import Struct

from btcnode.wire.messages import InvItem

_ITEM = Struct("<I32s")
COMPACT_ABOVE = 65536  # bytes already taken that are given back at the latest


class RequestQueue:
    """A queue of inventory items, first in first out, at 36 bytes each."""

    __slots__ = ("_data", "_pos", "taken")

    def __init__(self) -> None:
        self._data = bytearray()
        self._pos = 0
        self.taken = 0  # requests ever

    @property
    def added(self) -> int:
        """Number of requests that ever were in the queue."""
        return self.taken + len(self)

    def __len__(self) -> int:
        return (len(self._data) - self._pos) // _ITEM.size

    def extend(self, packed: bytes) -> None:
        """Append requests, packed as they are in the message."""
        self._data += packed

    def first_hash(self) -> bytes:
        """The hash of the oldest request; empty when there is none."""
        return bytes(self._data[self._pos + 4 : self._pos + 36])

    def popleft(self) -> InvItem:
        """Take the oldest request; raises IndexError when there is none."""
        if self._pos >= len(self._data):
            raise IndexError("no request is waiting")
        item = InvItem(*_ITEM.unpack_from(self._data, self._pos))
        self._pos += _ITEM.size
        self.taken += 1
        if self._pos >= min(len(self._data), COMPACT_ABOVE):
            del self._data[: self._pos]
            self._pos = 0
        return item
