"""Reading a UTXO set from a file into a database of its own.

Such files have their coins in order: they go into the database in one pass, and are hashed on the way. Nothing says
that they must: coins of a file in another order are committed some at a time, and the whole set is hashed afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

from btcnode.errors import DecodeError, StorageError
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import coin_height, coin_value
from btcnode.primitives.compactsize import read_compact_size
from btcnode.storage.coins import CoinItem, CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.survivor_load import RepeatedOutput, load_survivors
from btcnode.storage.undo import decompress_coin
from btcnode.storage.utxo_snapshot import HEADER, SnapshotHeader

READ_SIZE = 4 << 20
MAX_ITEM = 4 * READ_SIZE  # more than any coin takes
TOGETHER = 4096  # coins that are handed on together
BATCH = 100_000  # coins to a commit where they are not in order: with their objects about 25 MB
TOLD = 1_000_000  # coins from one line in the log to the next
MAX_VOUT = 0xFFFFFFFF

log = logging.getLogger("btcnode.validation")

T = TypeVar("T")


class SnapshotRefused(Exception):
    """The file's coins cannot be taken; the text is Core's."""


class _OutOfOrder(Exception):
    """The coins of the file are not in the order of their outpoints."""


class _Bytes:
    """A file, decoded piece by piece; what is cut off is tried again with more of it. Raises StorageError."""

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
        try:
            more = self._file.read(READ_SIZE)
        except OSError as error:
            raise StorageError(f"cannot read the UTXO set: {error.strerror}") from None
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
) -> bytes:
    """Put the coins behind the header into ``database``, which is empty; returns their ``hash_serialized_3``.

    ``file`` begins with the header, ``height`` is that of the set's block. ``between`` is called now and then and may
    raise. Raises SnapshotRefused, StorageError.
    """

    def coins() -> Iterator[list[CoinItem]]:
        file.seek(HEADER.size)
        return _coins(file, header, height, between)

    try:
        return load_survivors(lambda: _ordered(coins()), database, header.coins)[1]
    except (_OutOfOrder, RepeatedOutput):
        log.info("[snapshot] the coins are not in order: they are loaded some at a time")
    batch: dict[bytes, bytes] = {}
    for items in coins():
        batch.update(items)
        if len(batch) >= BATCH:
            database.commit(coins_put=batch)
            batch = {}
    database.commit(coins_put=batch)
    return CoinsDb(database).utxo_stats("hash_serialized_3", lambda _: between()).hash or b""


def _ordered(batches: Iterator[list[CoinItem]]) -> Iterator[list[CoinItem]]:
    """The same, as long as transactions ascend; raises _OutOfOrder."""
    last = b""
    for items in batches:
        items.sort()  # outputs of a transaction may be in another order than that of their numbers
        if items[0][0][:32] <= last:
            raise _OutOfOrder
        last = items[-1][0][:32]
        yield items


def _coins(
    file: BinaryIO, header: SnapshotHeader, height: int, between: Callable[[], None]
) -> Iterator[list[CoinItem]]:
    """The coins in the order of the file, whole transactions, some thousand at a time; raises SnapshotRefused."""
    source, done, items = _Bytes(file), 0, list[CoinItem]()
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
                items.append((txid + vout.to_bytes(4, "little"), coin))
                done += 1
                if not done % TOLD:
                    log.info("[snapshot] %d coins loaded (%.2f%%)", done, 100 * done / header.coins)
        except DecodeError:
            raise SnapshotRefused(
                f"Bad snapshot format or truncated snapshot after deserializing {done} coins"
            ) from None
        if len(items) >= TOGETHER:
            between()
            yield items
            items = []
    if not source.at_end():
        raise SnapshotRefused(f"Bad snapshot - coins left over after deserializing {header.coins} coins")
    if items:
        yield items
