"""BIP37 bloom filters."""

from __future__ import annotations

from struct import Struct
from typing import ClassVar

from btcnode.record import record
from btcnode.wire.codec import EmptyMessage, LimitExceeded, Message, Reader, encode_var_bytes
from btcnode.wire.constants import MAX_BLOOM_FILTER_SIZE, MAX_BLOOM_HASH_FUNCS, MAX_FILTERADD_SIZE

_TAIL = Struct("<IIB")


@record
class FilterLoad(Message):
    """The filter for transactions that the sender wants: at most 36,000 bytes and 50 hash functions."""

    command: ClassVar[str] = "filterload"

    data: bytes
    hash_funcs: int
    tweak: int
    flags: int

    @classmethod
    def decode(cls, payload: bytes) -> FilterLoad:
        """Read the payload; a larger filter raises LimitExceeded."""
        r = Reader(payload)
        data = r.var_bytes()
        hash_funcs, tweak, flags = _TAIL.unpack(r.take(9))
        if len(data) > MAX_BLOOM_FILTER_SIZE or hash_funcs > MAX_BLOOM_HASH_FUNCS:
            raise LimitExceeded(f"bloom filter of {len(data)} bytes and {hash_funcs} hash functions")
        return cls(data, hash_funcs, tweak, flags)

    def encode(self) -> bytes:
        """The payload."""
        return encode_var_bytes(self.data) + _TAIL.pack(self.hash_funcs, self.tweak, self.flags)


@record
class FilterAdd(Message):
    """One more element of the filter: at most 520 bytes."""

    command: ClassVar[str] = "filteradd"

    data: bytes

    @classmethod
    def decode(cls, payload: bytes) -> FilterAdd:
        """Read the payload; a larger element raises LimitExceeded."""
        data = Reader(payload).var_bytes()
        if len(data) > MAX_FILTERADD_SIZE:
            raise LimitExceeded(f"bloom filter element of {len(data)} bytes")
        return cls(data)

    def encode(self) -> bytes:
        """The payload."""
        return encode_var_bytes(self.data)


@record
class FilterClear(EmptyMessage):
    """The sender takes its filter back."""

    command: ClassVar[str] = "filterclear"
