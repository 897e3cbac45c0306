"""Elias-Fano encoding of ascending indices, as the hintsfile draft has it (rustaceanrob/swiftsync-bips).

``N M L H``: the number of indices and the last one as CompactSize, then two runs of bits, each from the top bit of its
first byte on and filled up with zeros. With l = floor(log2((M + 1) / N)), L has the l low bits of each index, the
lowest first; H has for each index the distance of its high bits from those of the one before, in unary: that many
zeros, then a one. No indices at all are the byte 00.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size

MAX_INDEX = 4_000_000 // 36 - 1  # no block has more outputs: each weighs 36 at least
HEAD_SIZE = 10  # bytes of N and M at most


def _low_bits(count: int, last: int) -> int:
    return ((last + 1) // count).bit_length() - 1


def _pack(bits: str) -> bytes:
    size = -(-len(bits) // 8)
    return int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big") if bits else b""


def encode_indices(indices: Sequence[int]) -> bytes:
    """The encoding of ascending indices of at most ``MAX_INDEX``; raises ValueError for others."""
    if not indices:
        return b"\x00"
    last = indices[-1]
    if indices[0] < 0 or last > MAX_INDEX or any(a >= b for a, b in pairwise(indices)):
        raise ValueError("indices that are not ascending, or out of range")
    width = _low_bits(len(indices), last)
    low = "".join([f"{index & (1 << width) - 1:0{width}b}"[::-1] for index in indices]) if width else ""
    highs = [index >> width for index in indices]
    gaps = [highs[0], *(b - a for a, b in pairwise(highs))]
    return (
        compact_size(len(indices)) + compact_size(last) + _pack(low) + _pack("".join(["0" * gap + "1" for gap in gaps]))
    )


def encoded_size(data: bytes, pos: int = 0) -> int:
    """Bytes of the encoding that begins at ``pos`` with ``HEAD_SIZE`` bytes or all there are; raises DecodeError."""
    count, at = read_compact_size(data, pos)
    if not count:
        return at - pos
    last, at = read_compact_size(data, at)
    if count > last + 1 or last > MAX_INDEX:
        raise DecodeError(f"{count} indices up to {last}: no block has these")
    width = _low_bits(count, last)
    return at - pos + -(-count * width // 8) + -(-(count + (last >> width)) // 8)


def decode_indices(data: bytes) -> list[int]:
    """The indices of an encoding, which fills ``data``; raises DecodeError for any other form than the encoder's."""
    if encoded_size(data) != len(data):
        raise DecodeError("an encoding of another length")
    count, at = read_compact_size(data, 0)
    if not count:
        return []
    last, at = read_compact_size(data, at)
    width = _low_bits(count, last)
    middle = at + -(-count * width // 8)
    high_bits = f"{int.from_bytes(data[middle:], 'big'):0{8 * (len(data) - middle)}b}"
    gaps = high_bits.split("1")
    if len(gaps) != count + 1 or len(gaps[-1]) >= 8:
        raise DecodeError("high bits of another number of indices")
    highs = list(accumulate(map(len, gaps[:-1])))
    if width:
        low_bits = f"{int.from_bytes(data[at:middle], 'big'):0{8 * (middle - at)}b}"
        if "1" in low_bits[count * width :]:
            raise DecodeError("bits behind the low bits")
        reverse = low_bits[: count * width][::-1]  # the last index first, each with its top bit first
        lows = [int(reverse[p : p + width], 2) for p in range((count - 1) * width, -1, -width)]
        indices = [high << width | low for high, low in zip(highs, lows, strict=True)]
    else:
        indices = highs
    if indices[-1] != last or any(a >= b for a, b in pairwise(indices)):
        raise DecodeError("indices that are not ascending")
    return indices
