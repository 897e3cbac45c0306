"""Kernels: what the transactions of a block spend and make, as rows of outpoints and of packed coins."""

from __future__ import annotations

from btcnode.compiled.memory import copy, load8, load32, store32, store64
from btcnode.compiled.scanning import UNKNOWN, find_body, read_compact

INPUTS, COINS, COIN_BYTES, LOCKED = range(4)  # what ``count_parts`` finds, as i64 one behind the other
FINDINGS = 4

_MAX_SCRIPT_SIZE = 10_000
_OP_RETURN = 0x6A
_DISABLED = 0x80000000  # from this sequence on there is no relative lock (BIP68)


def is_spendable(script: int, size: int) -> bool:
    """Whether an output with this script makes a coin."""
    return size <= _MAX_SCRIPT_SIZE and (size == 0 or load8(script) != _OP_RETURN)


def count_parts(raw: int, end: int, tx_pos: int, n_tx: int, found: int) -> int:
    """Count what the transactions at these offsets (u32) have; 0, or UNKNOWN for what is none.

    ``found`` is filled as the names above say: inputs, coins that are made, their bytes with four more each, and
    transactions but the coinbase that may have a relative lock.
    """
    inputs = coins = coin_bytes = locked = 0
    for i in range(n_tx):
        start = load32(tx_pos + (i << 2))
        body, count, at, _ = find_body(raw, start, end)
        if body < 0:
            return UNKNOWN
        relative = 0
        for _ in range(count):
            size, at = read_compact(raw, at + 36, end)
            at += size + 4
            if size < 0 or at > end:
                return UNKNOWN
            if load32(raw + at - 4) < _DISABLED:
                relative = 1
        if relative and i and load32(raw + start) > 1:
            locked += 1
        inputs += count
        outputs, at = read_compact(raw, at, end)
        if outputs < 0:
            return UNKNOWN
        for _ in range(outputs):
            size, script = read_compact(raw, at + 8, end)
            if size < 0 or script + size > end:
                return UNKNOWN
            if is_spendable(raw + script, size):
                coins += 1
                coin_bytes += 4 + script + size - at
            at = script + size
    store64(found + 8 * INPUTS, inputs)
    store64(found + 8 * COINS, coins)
    store64(found + 8 * COIN_BYTES, coin_bytes)
    store64(found + 8 * LOCKED, locked)
    return 0


def list_prevouts(raw: int, end: int, tx_pos: int, n_tx: int, counts: int, to: int) -> int:
    """Copy the outpoint of each input, and note how many (u32) each transaction has.

    ``count_parts`` has seen the same bytes: all that is read is inside.
    """
    for i in range(n_tx):
        _, count, at, _ = find_body(raw, load32(tx_pos + (i << 2)), end)
        store32(counts + (i << 2), count)
        for _ in range(count):
            copy(to, raw + at, 36)
            to += 36
            size, at = read_compact(raw, at + 36, end)
            at += size + 4
    return 0


def list_coins(
    raw: int, end: int, tx_pos: int, n_tx: int, txids: int, prefixes: int, outpoints: int, coins: int, ends: int
) -> int:
    """Write the outpoint of each output that makes a coin, the coins, and where each of them ends (u32).

    ``prefixes`` has the four bytes in front of a coin, of others and of the coinbase. ``count_parts`` has seen the same
    bytes.
    """
    coin = coins
    for i in range(n_tx):
        _, count, at, _ = find_body(raw, load32(tx_pos + (i << 2)), end)
        for _ in range(count):
            size, at = read_compact(raw, at + 36, end)
            at += size + 4
        outputs, at = read_compact(raw, at, end)
        for vout in range(outputs):
            size, script = read_compact(raw, at + 8, end)
            length = script + size - at
            if is_spendable(raw + script, size):
                copy(outpoints, txids + (i << 5), 32)
                store32(outpoints + 32, vout)
                store32(coin, load32(prefixes + (4 if i == 0 else 0)))
                copy(coin + 4, raw + at, length)
                coin += 4 + length
                store32(ends, coin - coins)
                outpoints += 36
                ends += 4
            at += length
    return 0
