"""Coins as they were at an earlier block: a snapshot of the stored ones with changes laid over it.

The changes are kept in memory or in an LMDB file of their own, which has no name: it goes with whoever works on it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from pathlib import Path
from typing import Any

import lmdb

from btcnode.errors import StorageError
from btcnode.storage.coins import CoinItem, CoinRows, in_chunks
from btcnode.storage.durable import storage_error
from btcnode.storage.lmdb_errors import translate

MAP_SIZE = 1 << 38  # address space
GONE = b""  # in the place of a coin that is not there


class CoinChanges:
    """Changes over a snapshot ``base`` of the coins. For one thread, within the snapshot's life."""

    def __init__(self, base: CoinRows, path: Path | None) -> None:
        """``path``: where a file can be made (one that is there is of no use), None for memory. Raises StorageError."""
        self._base = base
        self._memory: dict[bytes, bytes] = {}
        self._env: Any = None
        if path is not None:
            try:
                path.unlink(missing_ok=True)  # what a killed run of an older version has left
                self._env = lmdb.open(
                    os.fsencode(path), subdir=False, map_size=MAP_SIZE, sync=False, lock=False, mode=0o600
                )
                path.unlink()
            except OSError as error:
                raise storage_error(error, f"cannot make {path}") from None
            except lmdb.Error as error:
                path.unlink(missing_ok=True)
                raise translate(error, path) from error

    def close(self) -> None:
        """Forget the changes."""
        self._memory.clear()
        if self._env is not None:
            self._env.close()

    def get_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The coins of outpoints, None where there is none; raises StorageError."""
        stored = zip(self._changed(outpoints), self._base.get_many(outpoints), strict=True)
        return [coin if changed is None else changed or None for changed, coin in stored]

    def _changed(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        if self._env is None:
            return [self._memory.get(outpoint) for outpoint in outpoints]
        with self._env.begin() as txn:
            return [txn.get(outpoint) for outpoint in outpoints]

    def apply(self, restored: Mapping[bytes, bytes], removed: Collection[bytes]) -> None:
        """Remove coins, then put others; raises StorageError."""
        changes = dict.fromkeys(removed, GONE) | dict(restored)
        if self._env is None:
            self._memory.update(changes)
            return
        try:
            with self._env.begin(write=True) as txn:
                txn.cursor().putmulti(sorted(changes.items()))
        except lmdb.Error as error:
            raise StorageError(f"no room for the coins of earlier blocks: {error}") from error

    def count(self) -> int:
        """How many coins there are."""
        return sum(1 for _ in self._rows())

    def chunks(self) -> Iterator[list[CoinItem]]:
        """All coins, in lists of whole transactions in Core's order."""
        return in_chunks(self._rows())

    def _rows(self) -> Iterator[CoinItem]:
        """Coins in the order of their keys' bytes."""
        if self._env is None:
            yield from _laid_over(self._base, sorted(self._memory.items()))
            return
        with self._env.begin() as txn:
            yield from _laid_over(self._base, txn.cursor().iternext())


def _laid_over(base: Iterable[CoinItem], changes: Iterable[CoinItem]) -> Iterator[CoinItem]:
    """Two rows in order as one, where a change stands in the place of what it changes."""
    last = b""
    old = ((key, 1, coin) for key, coin in base)
    new = ((key, 0, coin) for key, coin in changes)
    for key, _, coin in merge(new, old):
        if key != last:
            last = key
            if coin:
                yield key, coin
