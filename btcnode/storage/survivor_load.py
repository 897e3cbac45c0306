"""Loading all coins of a set that come in order, in one pass: into the database, and into their hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain

from btcnode.storage.coin_groups import Entries
from btcnode.storage.coins import CoinItem, in_chunks
from btcnode.storage.database import Database


class RepeatedOutput(Exception):
    """An outpoint is there twice."""


def load_survivors(batches: Iterable[list[CoinItem]], database: Database, expected: int) -> tuple[int, bytes]:
    """Put coins that come in order of their outpoints into an empty database; how many, and ``hash_serialized_3``.

    ``expected``: how many they are. Raises RepeatedOutput, StorageError: nothing is in the database then.
    """
    count, digest = 0, sha256()

    def entries() -> Iterator[Entries]:
        nonlocal count
        for items in in_chunks(chain.from_iterable(batches)):  # whole transactions, as the hash takes them
            digest.update(b"".join(chain.from_iterable(items)))
            rows = dict(sorted(items))
            if len(rows) != len(items):
                raise RepeatedOutput
            count += len(rows)
            yield list(rows), list(rows.values())

    if expected:
        database.load_coins(entries(), expected)
    return count, sha256(digest.digest()).digest()
