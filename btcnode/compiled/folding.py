"""Kernels: what a sync without lookups makes of a block (``swiftsync.fold``); XOR with the key of block files."""

from __future__ import annotations

from btcnode.compiled.memory import copy, load8, load32, load64, store8, store32, store64
from btcnode.compiled.scanning import read_compact

SPENT_LATER, LOST, KEPT = range(3)  # marks of outputs, a byte for each


def spread_inputs(raw: int, in_pos: int, count: int, first: int, second: int, third: int) -> int:
    """The outpoints that ``count`` inputs spend as three columns of 16 bytes: halves of the txid; vout and zeros."""
    for k in range(count):
        at = raw + load32(in_pos + (k << 2))
        place = k << 4
        copy(first + place, at, 16)
        copy(second + place, at + 16, 16)
        store64(third + place, load32(at + 32))
        store64(third + place + 8, 0)
    return count


def spread_outputs(txids: int, first_out: int, n_tx: int, marks: int, first: int, second: int, third: int) -> int:
    """The same of the outputs that are marked SPENT_LATER; their number."""
    place = k = 0
    for i in range(n_tx):
        txid, start = txids + (i << 5), k
        end = load32(first_out + (i << 2) + 4)
        while k < end:
            if load8(marks + k) == SPENT_LATER:
                copy(first + place, txid, 16)
                copy(second + place, txid + 16, 16)
                store64(third + place, k - start)
                store64(third + place + 8, 0)
                place += 16
            k += 1
    return place >> 4


def pack_kept(
    raw: int, size: int, out_pos: int, first_out: int, txids: int, n_tx: int, marks: int, prefixes: int, to: int
) -> int:
    """Write a record for each output that is marked KEPT: outpoint, size of the coin (u16), the coin.

    ``prefixes`` has the four bytes in front of a coin, of others and of the coinbase. Returns the bytes written; behind
    the prefixes stand their satoshi (i64) then.
    """
    at, k, value = to, 0, 0
    for i in range(n_tx):
        txid, start = txids + (i << 5), k
        end = load32(first_out + (i << 2) + 4)
        while k < end:
            if load8(marks + k) == KEPT:
                place = load32(out_pos + (k << 2))
                length, script = read_compact(raw, place + 8, size)
                length += script - place
                copy(at, txid, 32)
                store32(at + 32, k - start)
                store8(at + 36, length + 4)
                store8(at + 37, (length + 4) >> 8)
                store32(at + 38, load32(prefixes + (4 if i == 0 else 0)))
                copy(at + 42, raw + place, length)
                value += load64(raw + place)
                at += 42 + length
            k += 1
    store64(prefixes + 8, value)
    return at - to


def apply_key(source: int, size: int, key: int, to: int) -> int:
    """XOR with eight bytes, those of ``key`` in little-endian order, again and again."""
    whole = size >> 3
    for k in range(whole):
        store64(to + (k << 3), load64(source + (k << 3)) ^ key)
    for k in range(whole << 3, size):
        store8(to + k, load8(source + k) ^ (key >> ((k & 7) << 3)))
    return 0
