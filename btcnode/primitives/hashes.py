"""Hash functions and the NewTypes of 32-byte hashes (internal byte order)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NewType

from btcnode.errors import DecodeError

Txid = NewType("Txid", bytes)
Wtxid = NewType("Wtxid", bytes)
BlockHash = NewType("BlockHash", bytes)

ZERO_HASH = bytes(32)

sha256 = hashlib.sha256


def sha256d(data: bytes | bytearray | memoryview) -> bytes:
    """Double SHA-256 of ``data``: 32 bytes in internal order."""
    return sha256(sha256(data).digest()).digest()


def _pick_ripemd160() -> tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """RIPEMD-160 and HASH160 of OpenSSL where its build offers them, else with the Python one of python-bitcointx."""
    try:
        empty = hashlib.new("ripemd160")
    except ValueError:
        from bitcointx.core._ripemd160 import ripemd160 as slow  # OpenSSL without its legacy digests

        return lambda data: bytes(slow(data)), lambda data: bytes(slow(sha256(data).digest()))
    copy = empty.copy  # a copy of an empty state costs half of ``hashlib.new``

    def plain(data: bytes) -> bytes:
        state = copy()
        state.update(data)
        return state.digest()

    def after_sha256(data: bytes) -> bytes:
        state = copy()
        state.update(sha256(data).digest())
        return state.digest()

    return plain, after_sha256


ripemd160, hash160 = _pick_ripemd160()


def to_display(value: bytes) -> str:
    """A hash as people write it: byte-reversed hex."""
    return value[::-1].hex()


def from_display(text: str) -> bytes:
    """The 32 bytes (internal order) of a hash in display form.

    Raises DecodeError unless ``text`` is exactly 64 hexadecimal digits.
    """
    if len(text) != 64:
        raise DecodeError(f"hash must be 64 hexadecimal digits, not {len(text)}")
    try:
        return bytes.fromhex(text)[::-1]
    except ValueError:
        raise DecodeError(f"hash has a character that is not hexadecimal: {text!r}") from None
