"""Golomb-coded sets: the basic block filter of BIP158.

A filter is ``CompactSize(n)`` and the sorted hashes of the ``n`` elements, spread over ``n * M``, as differences in
Golomb-Rice code with ``P`` low bits. Hashing is SipHash-2-4 under the first 16 bytes of the block's hash.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256

from siphashc import siphash

from btcnode.errors import DecodeError
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import BlockHash

BASIC_P = 19
BASIC_M = 784_931
_OP_RETURN = 0x6A


def _hashes(elements: Iterable[bytes], count: int, key: bytes) -> list[int]:
    """The elements' places in ``0 .. count * M``, ascending."""
    span = count * BASIC_M
    return sorted(siphash(key, element) * span >> 64 for element in elements)


def encode_filter(elements: Collection[bytes], block_hash: BlockHash) -> bytes:
    """The filter of distinct elements."""
    count = len(elements)
    words = []
    last = 0
    for value in _hashes(elements, count, block_hash[:16]):
        difference = value - last
        last = value
        words.append("1" * (difference >> BASIC_P) + "0" + format(difference & (1 << BASIC_P) - 1, f"0{BASIC_P}b"))
    bits = "".join(words)
    size = (len(bits) + 7) // 8
    return compact_size(count) + (int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big") if bits else b"")


def decode_filter(data: bytes) -> tuple[int, list[int]]:
    """The number of elements and their places, ascending; raises DecodeError."""
    count, at = read_compact_size(data, 0)
    body = data[at:]
    bits = format(int.from_bytes(body, "big"), f"0{8 * len(body)}b") if body else ""
    values = []
    place = value = 0
    for _ in range(count):
        zero = bits.find("0", place)
        end = zero + 1 + BASIC_P
        if zero < 0 or end > len(bits):
            raise DecodeError("the block filter ends early")
        value += (zero - place << BASIC_P) + int(bits[zero + 1 : end], 2)
        values.append(value)
        place = end
    if len(bits) - place >= 8:
        raise DecodeError("bytes left over after the block filter")
    return count, values


def matches_any(data: bytes, block_hash: BlockHash, elements: Collection[bytes]) -> bool:
    """Whether any of the elements is, or seems to be, in the filter; raises DecodeError."""
    count, values = decode_filter(data)
    span, key = count * BASIC_M, block_hash[:16]
    # in no order: of a wallet's thousands of scripts sorting would take half the time
    return bool(count) and not set(values).isdisjoint([siphash(key, element) * span >> 64 for element in elements])


def matching(elements: Collection[bytes], filters: Sequence[tuple[BlockHash, bytes]]) -> list[bool]:
    """For each filter, after the hash of its block, whether it matches any of the elements; raises DecodeError."""
    return [matches_any(data, block_hash, elements) for block_hash, data in filters]


def matching_of_bytes(count: bytes, *parts: bytes) -> tuple[bytes]:
    """``matching`` as a process beside the node is asked for it: so many elements, then hashes with filters.

    Returns a byte for each. Raises DecodeError.
    """
    first = int(count)
    filters = list(zip(map(BlockHash, parts[first::2]), parts[first + 1 :: 2], strict=True))
    return (bytes(matching(parts[:first], filters)),)


def basic_elements(block: ParsedBlock, spent_scripts: Iterable[bytes]) -> set[bytes]:
    """What BIP158's basic filter holds: scripts of all outputs but OP_RETURN ones, and those of the coins spent."""
    raw = block.raw
    elements = set()
    for at in block.out_pos:
        size = raw[at + 8]
        start = at + 9
        if size >= 0xFD:
            size, start = read_compact_size(raw, at + 8)
        if size and raw[start] != _OP_RETURN:
            elements.add(raw[start : start + size])
    elements.update(spent_scripts)
    elements.discard(b"")
    return elements


def filter_hash(data: bytes) -> bytes:
    """The double SHA256 of a filter."""
    return sha256(sha256(data).digest()).digest()


def filter_header(of_filter: bytes, previous: bytes) -> bytes:
    """BIP157: links a filter's hash to the header before it (32 zero bytes before the genesis block's)."""
    return sha256(sha256(of_filter + previous).digest()).digest()
