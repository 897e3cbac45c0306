"""BIP157 compact block filters. ``filter_type`` is one byte, 0 the basic filter of BIP158."""

from __future__ import annotations

from typing import ClassVar, Self

from btcnode.record import record
from btcnode.wire.codec import Message, Reader, encode_hashes, encode_var_bytes
from btcnode.wire.constants import MAX_CFHEADERS, MAX_PROTOCOL_MESSAGE_LENGTH


@record
class _FilterRange(Message):
    """The form that getcfilters and getcfheaders share: blocks from a height to a block, both included."""

    filter_type: int
    start_height: int
    stop_hash: bytes

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; how many blocks it spans is left to the receiver."""
        r = Reader(payload)
        return cls(r.u8(), r.u32(), r.take(32))

    def encode(self) -> bytes:
        """The payload."""
        return bytes([self.filter_type]) + self.start_height.to_bytes(4, "little") + self.stop_hash


@record
class GetCFilters(_FilterRange):
    """Request for the filters of a range of blocks."""

    command: ClassVar[str] = "getcfilters"


@record
class GetCFHeaders(_FilterRange):
    """Request for the filter hashes of a range of blocks."""

    command: ClassVar[str] = "getcfheaders"


@record
class CFilter(Message):
    """The filter of one block."""

    command: ClassVar[str] = "cfilter"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    filter_type: int
    block_hash: bytes
    filter: bytes

    @classmethod
    def decode(cls, payload: bytes) -> CFilter:
        """Read the payload."""
        r = Reader(payload)
        return cls(r.u8(), r.take(32), r.var_bytes())

    def encode(self) -> bytes:
        """The payload."""
        return bytes([self.filter_type]) + self.block_hash + encode_var_bytes(self.filter)


@record
class CFHeaders(Message):
    """The filter header before a range of blocks, and the filter hashes of the range: at most 2000."""

    command: ClassVar[str] = "cfheaders"
    max_size: ClassVar[int] = 65 + 9 + 32 * MAX_CFHEADERS + 1024

    filter_type: int
    stop_hash: bytes
    previous_header: bytes
    filter_hashes: tuple[bytes, ...]

    @classmethod
    def decode(cls, payload: bytes) -> CFHeaders:
        """Read the payload; more than 2000 hashes raise LimitExceeded."""
        r = Reader(payload)
        return cls(r.u8(), r.take(32), r.take(32), r.hashes(MAX_CFHEADERS, "filter hashes"))

    def encode(self) -> bytes:
        """The payload."""
        head = bytes([self.filter_type]) + self.stop_hash + self.previous_header
        return head + encode_hashes(self.filter_hashes)


@record
class GetCFCheckpt(Message):
    """Request for the filter headers at every 1000th block up to a block."""

    command: ClassVar[str] = "getcfcheckpt"

    filter_type: int
    stop_hash: bytes

    @classmethod
    def decode(cls, payload: bytes) -> GetCFCheckpt:
        """Read the payload."""
        r = Reader(payload)
        return cls(r.u8(), r.take(32))

    def encode(self) -> bytes:
        """The payload."""
        return bytes([self.filter_type]) + self.stop_hash


@record
class CFCheckpt(Message):
    """The filter headers at every 1000th block, lowest first."""

    command: ClassVar[str] = "cfcheckpt"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    filter_type: int
    stop_hash: bytes
    filter_headers: tuple[bytes, ...]

    @classmethod
    def decode(cls, payload: bytes) -> CFCheckpt:
        """Read the payload."""
        r = Reader(payload)
        return cls(r.u8(), r.take(32), r.hashes(MAX_PROTOCOL_MESSAGE_LENGTH // 32, "filter headers"))

    def encode(self) -> bytes:
        """The payload."""
        return bytes([self.filter_type]) + self.stop_hash + encode_hashes(self.filter_headers)
