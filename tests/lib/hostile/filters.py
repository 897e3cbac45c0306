"""Filters of light clients that are as dear as they can be."""

from __future__ import annotations

from collections.abc import Iterable

from mmh3 import hash as murmur3

from btcnode.wire.bloom_filter import SEED_STEP
from btcnode.wire.constants import MAX_BLOOM_FILTER_SIZE, MAX_BLOOM_HASH_FUNCS
from btcnode.wire.messages import FilterLoad


def worst_filter(elements: Iterable[bytes]) -> FilterLoad:
    """A filter that has none of some hundred elements, which only the last of its fifty functions tells."""
    data = bytearray(b"\xff" * MAX_BLOOM_FILTER_SIZE)
    seed = (MAX_BLOOM_HASH_FUNCS - 1) * SEED_STEP & 0xFFFFFFFF
    for element in elements:
        at = murmur3(element, seed, signed=False) % (8 * len(data))
        data[at >> 3] &= ~(1 << (at & 7)) & 0xFF
    return FilterLoad(bytes(data), MAX_BLOOM_HASH_FUNCS, 0, 0)
