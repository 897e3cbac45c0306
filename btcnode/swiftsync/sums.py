"""The salted sums: outputs that are spent later against inputs, whatever their order.

Each outpoint, or outpoint with its packed coin, counts as a number of 128 bits that nobody can foretell without a
secret salt, which is drawn for one sync and leaves it never; the numbers are added modulo 2**128 - 1. So two
collections that somebody has chosen, and that are not the same, have the same sum by chance only.

Of coins the number is SHA-256 of salt and bytes, reduced. Outpoints are many more for each second of a sync, and all
have one form, so that a block cipher takes those of a whole block in four calls: with three keys made from the salt the
number is ``E3(E1(txid[:16]) ^ E2(txid[16:]) ^ vout)``, E being AES-128. Different outpoints meet in what goes into E3
with a chance of 2**-128, since E1 and E2 are drawn independently; what comes out of E3 is then as good as random.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256, sha512
from operator import methodcaller
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes

SALT_SIZE = 16
MODULUS = (1 << 128) - 1

_BLOCK = 16  # bytes
_BLOCK_BITS = 8 * _BLOCK
_TXID_SIZE, _VOUT_SIZE = 32, 4
_OUTPOINT_SIZE = _TXID_SIZE + _VOUT_SIZE

_digest = methodcaller("digest")


def salted_sum(salt: bytes, elements: Iterable[bytes]) -> int:
    """The sum over coins behind their outpoints, below ``MODULUS``; half a microsecond for each."""
    return sum(map(int.from_bytes, map(_digest, map(sha256, map(salt.__add__, elements))))) % MODULUS


def outpoint_sum(salt: bytes, outpoints: bytes) -> int:
    """The sum over outpoints that stand one behind the other, below ``MODULUS``; a tenth of a microsecond for each."""
    count = len(outpoints) // _OUTPOINT_SIZE
    parts = bytearray(_BLOCK * count), bytearray(_BLOCK * count), bytearray(_BLOCK * count)
    for k in range(_OUTPOINT_SIZE):
        parts[k // _BLOCK][k % _BLOCK :: _BLOCK] = outpoints[k::_OUTPOINT_SIZE]
    return column_sum(salt, *parts)


def output_sum(salt: bytes, txids: bytes, vouts: bytes) -> int:
    """The same of outpoints whose txids stand one behind the other, and their vouts."""
    count = len(vouts) // _VOUT_SIZE
    parts = bytearray(_BLOCK * count), bytearray(_BLOCK * count), bytearray(_BLOCK * count)
    for k in range(_TXID_SIZE):
        parts[k // _BLOCK][k % _BLOCK :: _BLOCK] = txids[k::_TXID_SIZE]
    for k in range(_VOUT_SIZE):
        parts[-1][k::_BLOCK] = vouts[k::_VOUT_SIZE]
    return column_sum(salt, *parts)


@lru_cache(maxsize=2)
def _ciphers(salt: bytes) -> tuple[Cipher[modes.ECB], ...]:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # few nodes begin with hints

    keys = sha512(salt).digest()
    return tuple([Cipher(algorithms.AES(keys[at : at + 16]), modes.ECB()) for at in (0, 16, 32)])


def _apply(cipher: Cipher[modes.ECB], data: bytes | bytearray) -> int:
    """Each block of the data enciphered by itself; all as one number."""
    context: CipherContext = cipher.encryptor()
    return int.from_bytes(context.update(data), "little")


def column_sum(salt: bytes, first: bytearray, second: bytearray, vouts: bytearray) -> int:
    """The sum of outpoints as columns with a block for each: halves of the txids; vouts filled up with zeros."""
    one, two, three = _ciphers(salt)
    mixed = _apply(one, first) ^ _apply(two, second) ^ int.from_bytes(vouts, "little")
    total = _apply(three, mixed.to_bytes(len(first), "little"))
    # as one number the blocks are their sum modulo 2**128 - 1, and so are the two halves of that number added
    bits = 8 * len(first)
    while bits > 2 * _BLOCK_BITS:
        bits = -(-bits // (2 * _BLOCK_BITS)) * _BLOCK_BITS
        total = (total >> bits) + (total & (1 << bits) - 1)
    return total % MODULUS
