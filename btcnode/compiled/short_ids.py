"""Kernel: short ids of compact blocks (BIP152), and which of many transactions a block names by them."""

from __future__ import annotations

from btcnode.compiled.memory import add64, load32, load64, rotate64, store8, store32
from btcnode.compiled.scanning import UNKNOWN

_MASK = 0xFFFFFFFFFFFF
_PRODUCT_BITS = 62
_PROBES = 64  # places of the table that are looked at for one id: ids are a stranger's choice, the multiplier is not


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0, v2 = add64(v0, v1), add64(v2, v3)
    v1, v3 = rotate64(v1, 13) ^ v0, rotate64(v3, 16) ^ v2
    v0 = rotate64(v0, 32)
    v2, v0 = add64(v2, v1), add64(v0, v3)
    v1, v3 = rotate64(v1, 17) ^ v2, rotate64(v3, 21) ^ v0
    return v0, v1, rotate64(v2, 32), v3


def _two_rounds(v0: int, v1: int, v2: int, v3: int, word: int) -> tuple[int, int, int, int]:
    v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ word, v1, v2, v3


def short_id(key: int, at: int) -> int:
    """The lower 48 bits of SipHash-2-4 of the 32 bytes at ``at``, with the 16 bytes at ``key``."""
    k0, k1 = load64(key), load64(key + 8)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    for k in range(4):
        v0, v1, v2, v3 = _two_rounds(v0, v1, v2, v3, load64(at + (k << 3)))
    v0, v1, v2, v3 = _two_rounds(v0, v1, v2, v3, 32 << 56)  # the length
    v2 ^= 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return (v0 ^ v1 ^ v2 ^ v3) & _MASK


def write_short_ids(key: int, hashes: int, count: int, to: int) -> int:
    """Write the short ids of ``count`` hashes, six bytes each."""
    for k in range(count):
        name = short_id(key, hashes + (k << 5))
        store32(to, name)
        store8(to + 4, name >> 32)
        store8(to + 5, name >> 40)
        to += 6
    return count


def match_short_ids(
    key: int, hashes: int, count: int, ids: int, wanted: int, multiplier: int, table: int, bits: int, to: int
) -> int:
    """Find those of ``count`` hashes whose short id is among the ``wanted`` different ones of ``ids`` (u64 each).

    Writes for each its place among the hashes and that of its id (u32 both), and returns how many these are; UNKNOWN
    where ids do not spread over the ``1 << bits`` places of ``table`` (u32, all zero), whatever ``multiplier`` does.
    """
    shift, last = _PRODUCT_BITS - bits, (1 << bits) - 1
    for k in range(wanted):
        place = ((load64(ids + (k << 3)) * multiplier) & 0x3FFFFFFFFFFFFFFF) >> shift
        probes = 0
        while load32(table + (place << 2)):
            place = (place + 1) & last
            probes += 1
            if probes > _PROBES:
                return UNKNOWN
        store32(table + (place << 2), k + 1)
    found = 0
    for k in range(count):
        name = short_id(key, hashes + (k << 5))
        place = ((name * multiplier) & 0x3FFFFFFFFFFFFFFF) >> shift
        held = load32(table + (place << 2))
        while held:
            if load64(ids + ((held - 1) << 3)) == name:
                store32(to + (found << 3), k)
                store32(to + (found << 3) + 4, held - 1)
                found += 1
                break
            place = (place + 1) & last
            held = load32(table + (place << 2))
    return found
