"""CompactSize: Bitcoin's length prefix (1, 3, 5 or 9 bytes, little-endian)."""

from __future__ import annotations

from btcnode.errors import DecodeError

MAX_SIZE = 0x02000000  # 32 MiB: Core's limit for any length read from the network


def read_compact_size(buf: bytes | bytearray | memoryview, pos: int, limit: int = MAX_SIZE) -> tuple[int, int]:
    """Read a CompactSize at ``pos``; returns ``(value, position after it)``.

    Raises DecodeError when truncated, not in its shortest form, or above ``limit``.
    """
    try:
        value = buf[pos]
    except IndexError:
        raise DecodeError("DataStream::read(): end of data: truncated CompactSize") from None
    if value < 0xFD:
        return value, pos + 1
    width = 2 if value == 0xFD else 4 if value == 0xFE else 8
    end = pos + 1 + width
    if end > len(buf):
        raise DecodeError("DataStream::read(): end of data: truncated CompactSize")
    value = int.from_bytes(buf[pos + 1 : end], "little")
    if value < (0xFD if width == 2 else 0x10000 if width == 4 else 0x100000000):
        raise DecodeError("non-canonical ReadCompactSize()")
    if value > limit:
        raise DecodeError(f"CompactSize {value} above the limit of {limit}")
    return value, end


def compact_size(value: int) -> bytes:
    """The shortest CompactSize of ``value`` (0 <= value < 2**64)."""
    if value < 0xFD:
        return value.to_bytes(1, "little")
    if value <= 0xFFFF:
        return b"\xfd" + value.to_bytes(2, "little")
    if value <= 0xFFFFFFFF:
        return b"\xfe" + value.to_bytes(4, "little")
    return b"\xff" + value.to_bytes(8, "little")
