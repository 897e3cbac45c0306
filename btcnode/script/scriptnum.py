"""Script numbers: little-endian, sign in the top bit of the last byte, empty is zero."""

from __future__ import annotations

from btcnode.script.errors import ScriptAbort, ScriptError

DEFAULT_MAX_SIZE = 4


def decode_number(data: bytes, minimal: bool, max_size: int = DEFAULT_MAX_SIZE) -> int:
    """The integer in a stack element.

    Raises ScriptAbort(SCRIPTNUM) when it has more than ``max_size`` bytes or, with ``minimal``, is longer than needed.
    """
    size = len(data)
    if size == 0:
        return 0
    if size > max_size:
        raise ScriptAbort(ScriptError.SCRIPTNUM)
    last = data[-1]
    if minimal and not last & 0x7F and (size == 1 or data[-2] < 0x80):
        raise ScriptAbort(ScriptError.SCRIPTNUM)
    value = int.from_bytes(data, "little")
    return value if last < 0x80 else (1 << (8 * size - 1)) - value


def encode_number(value: int) -> bytes:
    """The shortest encoding of ``value``."""
    if value == 0:
        return b""
    magnitude = abs(value)
    size = magnitude.bit_length() // 8 + 1
    if value < 0:
        magnitude |= 1 << (8 * size - 1)
    return magnitude.to_bytes(size, "little")


def is_true(data: bytes) -> bool:
    """Whether a stack element counts as true: any bit set, except that negative zero is false."""
    if data.strip(b"\0"):
        return not (data[-1] == 0x80 and not data[:-1].strip(b"\0"))
    return False


TRUE = b"\x01"
FALSE = b""
