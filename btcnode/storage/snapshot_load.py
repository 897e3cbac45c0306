"""Reading a UTXO set from a file into a database of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from btcnode.errors import DecodeError
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import coin_height, coin_value
from btcnode.primitives.compactsize import read_compact_size
from btcnode.storage.database import Database
from btcnode.storage.undo import decompress_coin
from btcnode.storage.utxo_snapshot import SnapshotHeader

READ_SIZE = 4 << 20
MAX_ITEM = 4 * READ_SIZE  # more than any coin takes
BATCH = 200_000  # coins to a commit: with their objects about 50 MB
MAX_VOUT = 0xFFFFFFFF

log = logging.getLogger("btcnode.validation")

T = TypeVar("T")


class SnapshotRefused(Exception):
    """The file's coins cannot be taken; the text is Core's."""


class _Bytes:
    """A file, decoded piece by piece; what turns out to be cut off is tried again with more of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = b""
        self._pos = 0

    def take(self, decode: Callable[[bytes, int], tuple[T, int]]) -> T:
        """The value that ``decode(data, position)`` gives with the position behind it; raises DecodeError."""
        while True:
            try:
                value, pos = decode(self._data, self._pos)
            except DecodeError:
                if not self._more():
                    raise
                continue
            if pos > len(self._data):
                if not self._more():
                    raise DecodeError("the file ends too early")
                continue
            self._pos = pos
            return value

    def _more(self) -> bool:
        if len(self._data) - self._pos > MAX_ITEM:
            return False
        more = self._file.read(READ_SIZE)
        self._data = self._data[self._pos :] + more
        self._pos = 0
        return bool(more)

    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self._pos == len(self._data) and not self._more()


def _txid(data: bytes, pos: int) -> tuple[bytes, int]:
    return data[pos : pos + 32], pos + 32


def load_coins(
    file: BinaryIO, header: SnapshotHeader, height: int, database: Database, between: Callable[[], None]
) -> None:
    """Put the coins behind the header into ``database``; ``height`` is that of the set's block.

    ``between`` is called now and then and may raise. Raises SnapshotRefused, StorageError.
    """
    source, done, batch = _Bytes(file), 0, dict[bytes, bytes]()
    while done < header.coins:
        try:
            txid = source.take(_txid)
            count = source.take(read_compact_size)
            if count > header.coins - done:
                raise SnapshotRefused("Mismatch in coins count in snapshot metadata and actual snapshot data")
            for _ in range(count):
                vout = source.take(read_compact_size)
                coin = source.take(decompress_coin)
                if coin_height(coin) > height or vout >= MAX_VOUT:
                    raise SnapshotRefused(f"Bad snapshot data after deserializing {done} coins")
                if not 0 <= coin_value(coin) <= MAX_MONEY:
                    raise SnapshotRefused(f"Bad snapshot data after deserializing {done} coins - bad tx out value")
                batch[txid + vout.to_bytes(4, "little")] = coin
                done += 1
        except DecodeError:
            raise SnapshotRefused(
                f"Bad snapshot format or truncated snapshot after deserializing {done} coins"
            ) from None
        if len(batch) >= BATCH:
            between()
            database.commit(coins_put=batch)
            batch = {}
            log.info("[snapshot] %d coins loaded (%.2f%%)", done, 100 * done / header.coins)
    if not source.at_end():
        raise SnapshotRefused(f"Bad snapshot - coins left over after deserializing {header.coins} coins")
    database.commit(coins_put=batch)
