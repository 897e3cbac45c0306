"""``mempool.dat`` in Bitcoin Core's format: transactions in mining order, the operator's deltas, what is unbroadcast.

Version 1 is plain; version 2 has a key of 8 bytes behind the version number, and everything after it is XORed with the
key, which begins anew at each multiple of 8 in the file. Integers are little-endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from struct import Struct

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.tx import Tx

VERSION_PLAIN = 1
VERSION_XOR = 2
KEY_SIZE = 8

_HEAD = Struct("<Q")
VERSION_SIZE = _HEAD.size
_TIMES = Struct("<qq")
_DELTA = Struct("<32sq")
_CHUNK = 1 << 20


@dataclass(slots=True)
class StoredTx:
    """A transaction with the time at which it came in (Unix seconds) and the operator's fee delta (satoshi)."""

    tx: Tx
    time: int
    delta: int


@dataclass(slots=True)
class MempoolDump:
    """What the file holds. ``deltas`` are those of transactions that were not in the pool."""

    transactions: list[StoredTx] = field(default_factory=list)
    deltas: dict[bytes, int] = field(default_factory=dict)
    unbroadcast: list[bytes] = field(default_factory=list)


def _apply_key(data: bytes, key: bytes, offset: int) -> bytes:
    """XOR with a repeating key whose phase follows from the place in the file."""
    if not any(key):
        return data
    turned = key[offset % KEY_SIZE :] + key[: offset % KEY_SIZE]
    pattern = turned * (_CHUNK // KEY_SIZE)
    parts = []
    for start in range(0, len(data), _CHUNK):
        part = data[start : start + _CHUNK]
        mask = pattern[: len(part)]
        mixed = int.from_bytes(part, "little") ^ int.from_bytes(mask, "little")
        parts.append(mixed.to_bytes(len(part), "little"))
    return b"".join(parts)


def encode_dump(
    transactions: Iterable[StoredTx], deltas: Mapping[bytes, int], unbroadcast: Iterable[bytes], key: bytes | None
) -> bytes:
    """The file's bytes; ``key`` of 8 bytes for version 2, None for version 1."""
    stored = list(transactions)
    here = {item.tx.txid for item in stored}
    parts = [_HEAD.pack(len(stored))]
    for item in stored:
        parts += (item.tx.raw, _TIMES.pack(item.time, item.delta))
    rest = {txid: delta for txid, delta in deltas.items() if txid not in here}
    parts.append(compact_size(len(rest)))
    parts += [_DELTA.pack(txid, rest[txid]) for txid in sorted(rest)]
    waiting = sorted(set(unbroadcast))
    parts.append(compact_size(len(waiting)))
    parts += waiting
    body = b"".join(parts)
    if key is None:
        return _HEAD.pack(VERSION_PLAIN) + body
    if len(key) != KEY_SIZE:
        raise ValueError("the key has 8 bytes")
    head = _HEAD.pack(VERSION_XOR) + compact_size(KEY_SIZE) + key
    return head + _apply_key(body, key, len(head))


def check_version(data: bytes) -> int:
    """The version that a file begins with; raises DecodeError for one that is not known."""
    if len(data) < _HEAD.size:
        raise DecodeError("the file ends within its version")
    version: int = _HEAD.unpack_from(data)[0]
    if version not in (VERSION_PLAIN, VERSION_XOR):
        raise DecodeError(f"version {version} of the file is not known")
    return version


def decode_dump(data: bytes) -> MempoolDump:
    """The file's contents; raises DecodeError for anything else than a whole file."""
    if check_version(data) == VERSION_XOR:
        start = _HEAD.size + 1 + KEY_SIZE
        if len(data) < start or data[_HEAD.size] != KEY_SIZE:
            raise DecodeError("the file has no key")
        body = _apply_key(data[start:], data[start - KEY_SIZE : start], start)
    else:
        body = data[_HEAD.size :]
    try:
        return _decode_body(body)
    except IndexError:
        raise DecodeError("the file ends early") from None


def _take(body: bytes, at: int, size: int) -> bytes:
    piece = body[at : at + size]
    if len(piece) != size:
        raise DecodeError("the file ends early")
    return piece


def _decode_body(body: bytes) -> MempoolDump:
    dump = MempoolDump()
    (count,) = _HEAD.unpack(_take(body, 0, _HEAD.size))
    at = _HEAD.size
    if count > len(body):
        raise DecodeError("the file promises more transactions than it can hold")
    for _ in range(count):
        tx, at = Tx.parse_at(body, at)
        time, delta = _TIMES.unpack(_take(body, at, _TIMES.size))
        at += _TIMES.size
        dump.transactions.append(StoredTx(tx, time, delta))
    count, at = read_compact_size(body, at)
    for _ in range(count):
        txid, delta = _DELTA.unpack(_take(body, at, _DELTA.size))
        dump.deltas[txid] = delta
        at += _DELTA.size
    count, at = read_compact_size(body, at)
    for _ in range(count):
        dump.unbroadcast.append(_take(body, at, 32))
        at += 32
    return dump
