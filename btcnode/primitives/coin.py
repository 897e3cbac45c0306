"""Packed coins: ``code[u32 LE] + txout`` with ``code = height << 1 | is_coinbase``.

A txout is ``value[i64 LE] + CompactSize + script_pubkey`` as it stands in its transaction.
The packed form is what LMDB holds, and (behind its outpoint) what the UTXO set hash takes.
"""

from __future__ import annotations

from btcnode.primitives.compactsize import compact_size, read_compact_size

VOUTS = tuple(vout.to_bytes(4, "little") for vout in range(1024))
"""The last four bytes of an outpoint, of most outputs that there are; beyond it see ``vout_bytes``."""


def vout_bytes(vout: int) -> bytes:
    """The four bytes that stand behind the txid in an outpoint."""
    return VOUTS[vout] if vout < len(VOUTS) else vout.to_bytes(4, "little")


def coin_prefix(height: int, is_coinbase: bool) -> bytes:
    """The 4 bytes that stand before the txout."""
    return (height << 1 | is_coinbase).to_bytes(4, "little")


def coin_height(coin: bytes) -> int:
    """Height of the block that created the coin."""
    return int.from_bytes(coin[:4], "little") >> 1


def coin_is_coinbase(coin: bytes) -> bool:
    """Whether a coinbase transaction created the coin."""
    return bool(coin[0] & 1)


def coin_value(coin: bytes) -> int:
    """Value in satoshi."""
    return int.from_bytes(coin[4:12], "little", signed=True)


def coin_script(coin: bytes) -> bytes:
    """The script_pubkey."""
    return txout_script(coin[4:])


def txout_value(txout: bytes) -> int:
    """Value of a txout in satoshi; below zero is possible in what nobody has checked."""
    return int.from_bytes(txout[:8], "little", signed=True)


def txout_script(txout: bytes) -> bytes:
    """The script_pubkey of a txout."""
    size = txout[8]
    if size < 0xFD:
        return txout[9 : 9 + size]
    size, pos = read_compact_size(txout, 8)
    return txout[pos : pos + size]


def make_txout(value: int, script_pubkey: bytes) -> bytes:
    """Serialise a txout."""
    return value.to_bytes(8, "little", signed=True) + compact_size(len(script_pubkey)) + script_pubkey


def make_coin(height: int, is_coinbase: bool, value: int, script_pubkey: bytes) -> bytes:
    """Pack a coin from its parts."""
    return coin_prefix(height, is_coinbase) + make_txout(value, script_pubkey)
