"""The bloom filter of BIP37: murmur hashes over bytes, as it stands in filterload and get_xthin."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil, log

from mmh3 import hash as murmur3

from btcnode.wire.constants import MAX_BLOOM_FILTER_SIZE

SEED_STEP = 0xFBA4C795
# Fewer functions than would be best for the size (15): they are what takes time. (1 - e^(-7/22))^7 = 1.1e-4
BITS_PER_ELEMENT = 22
HASH_FUNCS = 7


def make_filter(elements: Collection[bytes], tweak: int) -> tuple[bytes, int]:
    """A filter of at most 36,000 bytes with these elements; returns its bytes and the number of hash functions.

    Up to 13,000 elements one false answer in 9,000 is expected. Nothing gives the empty filter. About 1 us an element.
    """
    count = len(elements)
    if not count:
        return b"", 0
    size = min(MAX_BLOOM_FILTER_SIZE, ceil(count * BITS_PER_ELEMENT / 8))
    funcs = min(HASH_FUNCS, max(1, round(size * 8 / count * log(2))))
    bits = size * 8
    seeds = [(n * SEED_STEP + tweak) & 0xFFFFFFFF for n in range(funcs)]
    data = bytearray(size)
    for element in elements:
        for seed in seeds:
            at = murmur3(element, seed, signed=False) % bits
            data[at >> 3] |= 1 << (at & 7)
    return bytes(data), funcs


def contains(data: bytes, hash_funcs: int, tweak: int, element: bytes) -> bool:
    """Whether the filter may have the element; an empty filter has nothing."""
    bits = len(data) * 8
    if not bits:
        return False
    for n in range(hash_funcs):
        at = murmur3(element, (n * SEED_STEP + tweak) & 0xFFFFFFFF, signed=False) % bits
        if not data[at >> 3] >> (at & 7) & 1:
            return False
    return True


class BloomFilter:
    """A filter that a light client has loaded (BIP37), as Bitcoin Core reads it: an empty one matches everything.

    Without that rule the client's empty filter would lead to a division by zero (CVE-2013-5700). ``flags``: what a
    match adds to the filter (``UPDATE_*``).
    """

    UPDATE_NONE = 0
    UPDATE_ALL = 1
    UPDATE_PUBKEYS = 2  # outputs to bare keys only
    UPDATE_MASK = 3

    __slots__ = ("_bits", "_seeds", "data", "flags", "hash_funcs", "tweak")

    def __init__(self, data: bytes, hash_funcs: int, tweak: int, flags: int) -> None:
        self.data = bytearray(data)
        self.hash_funcs = hash_funcs
        self.tweak = tweak
        self.flags = flags
        self._bits = 8 * len(data)
        self._seeds = [(n * SEED_STEP + tweak) & 0xFFFFFFFF for n in range(hash_funcs)]

    def copy(self) -> BloomFilter:
        """Another filter that is equal now."""
        return BloomFilter(bytes(self.data), self.hash_funcs, self.tweak, self.flags)

    def insert(self, element: bytes) -> None:
        """Add an element."""
        data, bits = self.data, self._bits
        if bits:
            for seed in self._seeds:
                at = murmur3(element, seed, signed=False) % bits
                data[at >> 3] |= 1 << (at & 7)

    def __contains__(self, element: bytes) -> bool:
        data, bits = self.data, self._bits
        if bits:
            for seed in self._seeds:
                at = murmur3(element, seed, signed=False) % bits
                if not data[at >> 3] >> (at & 7) & 1:
                    return False
        return True

    def merge(self, data: bytes) -> None:
        """Add what a copy has got meanwhile."""
        both = int.from_bytes(self.data, "little") | int.from_bytes(data, "little")
        self.data = bytearray(both.to_bytes(len(self.data), "little"))
