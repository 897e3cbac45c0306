"""Kernel: undo data of a block (``storage.undo.encode_undo``) from the packed coins that it spends."""

from __future__ import annotations

from btcnode.compiled.memory import copy, load8, load16, load32, load64, store8
from btcnode.compiled.scanning import UNKNOWN, read_compact

MAX_COIN_GROWTH = 8  # bytes that a coin may take more than it does packed, and a transaction for its count
_MAX_AMOUNT = 1 << 53
_P2PKH_HEAD, _P2PKH_TAIL = 0x14A97619, 0xAC88  # with the script's size in front
_P2SH_HEAD, _P2SH_TAIL = 0x14A9, 0x87
_CHECKSIG = 0xAC


def put_varint(at: int, n: int) -> int:
    """Write Core's VARINT of a number below 2**62; returns the address behind it."""
    size, rest = 1, n
    while rest > 0x7F:
        rest = (rest >> 7) - 1
        size += 1
    end = at + size
    at = end - 1
    store8(at, n & 0x7F)
    while n > 0x7F:
        n = (n >> 7) - 1
        at -= 1
        store8(at, n & 0x7F | 0x80)
    return end


def put_compact(at: int, n: int) -> int:
    """Write the CompactSize of a number below 2**32; returns the address behind it."""
    if n < 0xFD:
        store8(at, n)
        return at + 1
    wide = n > 0xFFFF
    store8(at, 0xFE if wide else 0xFD)
    for k in range(4 if wide else 2):
        store8(at + 1 + k, n >> (k << 3))
    return at + (5 if wide else 3)


def tenth(n: int) -> int:
    """``n // 10`` of a number below 2**53, by multiplications."""
    high = n >> 26
    quotient = high * 0xCCCCCCCD >> 35
    rest = ((high - 10 * quotient) << 26) + (n & 0x3FFFFFF)
    return (quotient << 26) + (rest * 0xCCCCCCCD >> 35)


def compressed_amount(n: int) -> int:
    """``storage.undo.compress_amount`` of a number below 2**53."""
    if n == 0:
        return 0
    exponent, quotient = 0, tenth(n)
    while exponent < 9 and n == 10 * quotient:
        n, quotient = quotient, tenth(quotient)
        exponent += 1
    if exponent < 9:
        return 1 + (quotient * 9 + n - 10 * quotient - 1) * 10 + exponent
    return 1 + (n - 1) * 10 + 9


def put_script(at: int, script: int, size: int) -> int:
    """Write a compressed script; returns the address behind it, UNKNOWN for one that may have a key to be looked at."""
    if size == 25 and load32(script - 1) == _P2PKH_HEAD and load16(script + 23) == _P2PKH_TAIL:
        store8(at, 0)
        copy(at + 1, script + 3, 20)
        return at + 21
    if size == 23 and load16(script) == _P2SH_HEAD and load8(script + 22) == _P2SH_TAIL:
        store8(at, 1)
        copy(at + 1, script + 2, 20)
        return at + 21
    if size == 35 and load8(script) == 33 and load8(script + 1) >> 1 == 1 and load8(script + 34) == _CHECKSIG:
        copy(at, script + 1, 33)
        return at + 33
    if size == 67 and load8(script) == 65 and load8(script + 66) == _CHECKSIG:
        return UNKNOWN
    at = put_varint(at, size + 6)
    copy(at, script, size)
    return at + size


def encode_undo(coins: int, size: int, counts: int, n_tx: int, to: int) -> int:
    """Write what ``n_tx`` transactions spend: of each the number of inputs (u32 in ``counts``) and their coins.

    Returns the bytes written behind the first CompactSize, which is not; UNKNOWN where it leaves that to others.
    """
    at, p = to, 0
    for i in range(n_tx):
        count = load32(counts + (i << 2))
        at = put_compact(at, count)
        for _ in range(count):
            if p + 13 > size:
                return UNKNOWN
            code, value = load32(coins + p), load64(coins + p + 4)
            length, script = read_compact(coins, p + 12, size)
            if value < 0 or value >= _MAX_AMOUNT or length < 0 or script + length > size:
                return UNKNOWN
            at = put_varint(at, code)
            if code > 1:  # behind a height above 0 stands the byte that once was a version
                store8(at, 0)
                at += 1
            at = put_varint(at, compressed_amount(value))
            at = put_script(at, coins + script, length)
            if at < 0:
                return UNKNOWN
            p = script + length
    return at - to if p == size else UNKNOWN
