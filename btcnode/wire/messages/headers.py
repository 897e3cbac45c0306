"""Messages of header synchronisation."""

from __future__ import annotations

from typing import ClassVar, Self

from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.header import HEADER_SIZE
from btcnode.record import record
from btcnode.wire.codec import Message, Reader, encode_hashes
from btcnode.wire.constants import MAX_HEADERS_RESULTS, MAX_LOCATOR_SIZE, PROTOCOL_VERSION

_STRIDE = HEADER_SIZE + 1
_ZERO_HASH = bytes(32)


@record
class _Locate(Message):
    """The form that getheaders and getblocks share: a locator, newest hash first, and where to stop.

    ``version`` has no use. A stop hash of zeros asks for as many as fit.
    """

    locator: tuple[bytes, ...]
    stop_hash: bytes = _ZERO_HASH
    version: int = PROTOCOL_VERSION

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; a locator of more than 101 hashes raises LimitExceeded."""
        r = Reader(payload)
        version = r.i32()
        locator = r.hashes(MAX_LOCATOR_SIZE, "locator hashes")
        return cls(locator, r.take(32), version)

    def encode(self) -> bytes:
        """The payload."""
        return self.version.to_bytes(4, "little", signed=True) + encode_hashes(self.locator) + self.stop_hash


@record
class GetHeaders(_Locate):
    """Request for headers after the fork point with the locator; an empty locator asks for the stop hash's header."""

    command: ClassVar[str] = "getheaders"


@record
class GetBlocks(_Locate):
    """Request for an inv of blocks after the fork point with the locator."""

    command: ClassVar[str] = "getblocks"


@record
class Headers(Message):
    """At most 2000 headers of 80 bytes, in chain order."""

    command: ClassVar[str] = "headers"
    max_size: ClassVar[int] = 9 + 2 * MAX_HEADERS_RESULTS * (HEADER_SIZE + 9)  # one with too many can be told

    headers: tuple[bytes, ...]

    @classmethod
    def decode(cls, payload: bytes) -> Headers:
        """Read the payload; more than 2000 headers raise LimitExceeded.

        The count of transactions behind each header is read and ignored, as in Core.
        """
        r = Reader(payload)
        count = r.count(_STRIDE, MAX_HEADERS_RESULTS, "headers")
        start, end = r.pos, r.pos + count * _STRIDE
        if max(payload[start + HEADER_SIZE : end : _STRIDE], default=0) < 0xFD:  # each count is a single byte
            return cls(tuple([payload[p : p + HEADER_SIZE] for p in range(start, end, _STRIDE)]))
        headers = []
        for _ in range(count):
            headers.append(r.take(HEADER_SIZE))
            r.compact()
        return cls(tuple(headers))

    def encode(self) -> bytes:
        """The payload."""
        return compact_size(len(self.headers)) + b"".join([header + b"\x00" for header in self.headers])
