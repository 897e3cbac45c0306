"""Loading all coins of a set that come in order, in one pass: into the database, and into their hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import chain

from btcnode.storage.coin_groups import Entries
from btcnode.storage.coins import CoinItem, in_chunks
from btcnode.storage.database import Database


class RepeatedOutput(Exception):
    """An outpoint is there twice."""


def load_survivors(
    batches: Callable[[], Iterable[list[CoinItem]]], database: Database, expected: int
) -> tuple[int, bytes]:
    """Put coins that come in order of their outpoints into an empty database; how many, and ``hash_serialized_3``.

    ``batches`` gives all of them, and again if need be; ``expected``: how many they are. Raises RepeatedOutput,
    StorageError: nothing is in the database then.
    """
    count, digest = 0, sha256()

    def entries() -> Iterator[Entries]:
        nonlocal count, digest
        count, digest = 0, sha256()
        for items in in_chunks(chain.from_iterable(batches())):  # whole transactions, as the hash takes them
            digest.update(b"".join(chain.from_iterable(items)))
            items.sort()  # in the order of their bytes again, where Core's is another
            keys = [key for key, _ in items]
            if len(set(keys)) != len(keys):
                raise RepeatedOutput
            count += len(keys)
            yield keys, [coin for _, coin in items]

    if expected:
        database.load_coins(entries, expected)
    return count, sha256(digest.digest()).digest()
