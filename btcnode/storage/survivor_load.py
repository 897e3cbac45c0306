"""Loading all coins of a set that come in order, in one pass: into the database, and into their hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from typing import NamedTuple

from btcnode.storage.coins import CoinItem, in_chunks
from btcnode.storage.database import Database

BATCH = 200_000  # coins to a commit: with their objects about 50 MB


class LoadedCoins(NamedTuple):
    """How many there were, their ``hash_serialized_3``, and whether an outpoint came twice."""

    coins: int
    utxo_hash: bytes
    repeated: bool


class _Loader:
    def __init__(self, batches: Iterable[list[CoinItem]], database: Database) -> None:
        self._batches = batches
        self._database = database
        self.coins = 0
        self.repeated = False

    def rows(self) -> Iterator[CoinItem]:
        """All coins, which are in the database when the last one has been taken."""
        held: list[CoinItem] = []
        last = b""
        for batch in self._batches:
            for item in batch:
                if item[0] == last:
                    self.repeated = True
                    return
                last = item[0]
                held.append(item)
                yield item
                if len(held) == BATCH:
                    self._write(held)
                    held = []
        self._write(held)

    def _write(self, rows: list[CoinItem]) -> None:
        self._database.commit(coins_put=rows)
        self.coins += len(rows)


def load_survivors(batches: Iterable[list[CoinItem]], database: Database) -> LoadedCoins:
    """Put coins that come in order of their outpoints into an empty database; raises StorageError.

    What comes behind an outpoint that is there twice is left out.
    """
    loader, digest = _Loader(batches, database), sha256()
    for items in in_chunks(loader.rows()):
        digest.update(b"".join(chain.from_iterable(items)))
    return LoadedCoins(loader.coins, sha256(digest.digest()).digest(), loader.repeated)
