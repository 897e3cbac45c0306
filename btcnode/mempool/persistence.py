"""``mempool.dat`` in Bitcoin Core's format: transactions in mining order, the operator's deltas, what is unbroadcast.

Version 1 is plain; version 2 has a key of 8 bytes behind the version number, and everything after it is XORed with the
key, which begins anew at each multiple of 8 in the file. Integers are little-endian. What this node writes has a
checksum behind it (``storage/trailer.py``), which is not XORed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from struct import error as StructError
from typing import Any, TypeVar, cast

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.tx import Tx
from btcnode.record import struct
from btcnode.storage.trailer import with_trailer

VERSION_PLAIN = 1
VERSION_XOR = 2
KEY_SIZE = 8
STEP_BYTES = 1 << 20  # read, and given on, at a time
MAX_ITEM_BYTES = 4_000_000  # no transaction is larger
MAX_DELTAS = 250_000  # they stay in memory: 60 MB

_HEAD = Struct("<Q")
_TIMES = Struct("<qq")
_DELTA = Struct("<32sq")
_CHUNK = 1 << 20
_CHECKED = 1000  # items that are looked at together

T = TypeVar("T")


@struct
class StoredTx:
    """A transaction with the time at which it came in (Unix seconds) and the operator's fee delta (satoshi)."""

    tx: Tx
    time: int
    delta: int


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
        return with_trailer(_HEAD.pack(VERSION_PLAIN), body)
    if len(key) != KEY_SIZE:
        raise ValueError("the key has 8 bytes")
    head = _HEAD.pack(VERSION_XOR) + compact_size(KEY_SIZE) + key
    return with_trailer(head, _apply_key(body, key, len(head)))


def check_dump(read: Callable[[int], bytes]) -> None:
    """Read a file without checksum to its end; raises DecodeError when it has another form, or something behind it."""
    dump = DumpReader(read)
    dump.begin()
    while dump.transactions(_CHECKED):
        continue
    dump.begin_deltas()
    while dump.deltas(_CHECKED):
        continue
    dump.begin_unbroadcast()
    while dump.unbroadcast(_CHECKED):
        continue
    if not dump.at_end():
        raise DecodeError("there is more behind it")


class DumpReader:
    """Reads a file in steps. ``read`` gives up to so many bytes from where the last call has ended, none at the end.

    In order: ``begin``, ``transactions`` until there are none, ``begin_deltas``, ``deltas`` until there are none,
    ``begin_unbroadcast``, ``unbroadcast`` until there are none. Everything raises DecodeError where the file is none,
    and what ``read`` raises. No more than MAX_ITEM_BYTES are held at a time.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = b""
        self._at = 0
        self._offset = 0  # in the file, of what is read next
        self._key = b""
        self._left = 0  # of what is being read

    def begin(self) -> int:
        """Read version, key and the number of transactions, which is returned as the file claims it."""
        version = int(self._take(_fixed(_HEAD))[0])
        if version not in (VERSION_PLAIN, VERSION_XOR):
            raise DecodeError(f"version {version} of the file is not known")
        if version == VERSION_XOR:
            if self._take(read_compact_size) != KEY_SIZE:
                raise DecodeError("the file has no key")
            self._key = self._take(_slice(KEY_SIZE))
            rest = self._data[self._at :]
            self._data, self._at = _apply_key(rest, self._key, self._offset - len(rest)), 0
        self._left = int(self._take(_fixed(_HEAD))[0])
        return self._left

    def transactions(self, most: int) -> list[StoredTx]:
        """The next transactions, ``most`` of them, or fewer large ones; none when all were read."""
        found: list[StoredTx] = []
        size = 0
        while self._left and len(found) < most and size < STEP_BYTES:
            tx = self._take(Tx.parse_at)
            time, delta = self._take(_fixed(_TIMES))
            found.append(StoredTx(tx, time, delta))
            size += len(tx.raw)
            self._left -= 1
        return found

    def begin_deltas(self) -> int:
        """The number of deltas of transactions that were not in the pool; raises DecodeError for too many."""
        self._left = self._take(read_compact_size)
        if self._left > MAX_DELTAS:
            raise DecodeError(f"{self._left} fee deltas are more than {MAX_DELTAS}")
        return self._left

    def deltas(self, most: int) -> list[tuple[bytes, int]]:
        """The next ``(txid, delta)``."""
        count = min(most, self._left)
        self._left -= count
        form = _fixed(_DELTA)
        return [cast(tuple[bytes, int], self._take(form)) for _ in range(count)]

    def begin_unbroadcast(self) -> int:
        """The number of txids of what is unbroadcast."""
        self._left = self._take(read_compact_size)
        return self._left

    def unbroadcast(self, most: int) -> list[bytes]:
        """The next txids."""
        count = min(most, self._left)
        self._left -= count
        return [self._take(_slice(32)) for _ in range(count)]

    def at_end(self) -> bool:
        """Whether nothing follows what was read."""
        return self._at == len(self._data) and not self._more()

    def _take(self, decode: Callable[[bytes, int], tuple[T, int]]) -> T:
        """What ``decode(data, place)`` gives with the place behind it, after more was read if need be."""
        while True:
            try:
                value, end = decode(self._data, self._at)
            except (DecodeError, IndexError, StructError):
                end = len(self._data) + 1
            if end <= len(self._data):
                self._at = end
                return value
            if not self._more():
                raise DecodeError(f"no mempool, or cut off, around byte {self._offset}")

    def _more(self) -> bool:
        held = self._data[self._at :]
        if len(held) > MAX_ITEM_BYTES:
            return False
        more = self._read(max(STEP_BYTES, len(held)))  # twice as much each time: a large item is tried few times
        self._data, self._at = held + (_apply_key(more, self._key, self._offset) if self._key else more), 0
        self._offset += len(more)
        return bool(more)


def _fixed(form: Struct) -> Callable[[bytes, int], tuple[tuple[Any, ...], int]]:
    return lambda data, at: (form.unpack_from(data, at), at + form.size)


def _slice(size: int) -> Callable[[bytes, int], tuple[bytes, int]]:
    return lambda data, at: (data[at : at + size], at + size)
