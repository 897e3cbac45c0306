"""The coins as they are at the active tip, for everybody but the chain thread.

The chain thread changes coins while the active chain still ends before the block that it connects (or disconnects),
and further when it connects blocks ahead of their script checks. Before each change it publishes here which outpoints
will be new and which coins will be gone; a reader takes what the oldest change says about an outpoint, and
asks the cache about the others. When the loop thread has moved the tip, the change is dropped: ``version`` grows.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

from btcnode.chain.coins_cache import CoinsCache
from btcnode.tuples import NamedTuple

_CHANGES_TRIED = 1000  # a reader that is overtaken so often has met a defect, not bad luck


class _Change(NamedTuple):
    """What a change of the coins will do."""

    created: Collection[bytes]
    spent: Mapping[bytes, bytes]


class ReadView:
    """A consistent view of the coins at the active tip; ``get_many`` may be called from any thread.

    The two blocks of 2010 that overwrote an unspent coinbase (BIP30) are shown, while they connect, without the coin
    that they overwrite.
    """

    def __init__(self, cache: CoinsCache) -> None:
        self._cache = cache
        self._lock = threading.Lock()  # for the writers: readers take the pair of state and changes
        self._changes: tuple[_Change, ...] = ()
        self._published = 0
        self._version = 0
        cache.on_change(self._publish)

    @property
    def version(self) -> int:
        """Grows whenever the active tip moves; equal versions mean equal coins."""
        return self._version

    def _publish(self, created: Collection[bytes], spent: Mapping[bytes, bytes]) -> None:
        """Chain thread: the coins are about to change."""
        with self._lock:
            self._changes = (*self._changes, _Change(created, spent))
            self._published += 1

    def drop_changes(self, *, oldest_only: bool) -> None:
        """Loop thread: the active tip has moved over the oldest change, or stands where all of them have led."""
        with self._lock:
            self._changes = self._changes[1:] if oldest_only else ()
            self._version += 1

    def get(self, outpoint: bytes) -> bytes | None:
        """The packed coin of a 36-byte outpoint, or None."""
        return self.get_many((outpoint,))[0]

    def held(self, outpoint: bytes) -> bytes | None:
        """The packed coin of an outpoint if it is in memory, and no change is under way; else ask for it."""
        published, version = self._published, self._version
        if self._changes:
            return None
        coin = self._cache.held(outpoint)
        return coin if self._published == published and self._version == version else None

    def get_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The packed coins of outpoints at the active tip, in their order; None where there is none unspent.

        Raises StorageError when the database cannot be read.
        """
        for _ in range(_CHANGES_TRIED):
            with self._lock:
                published, version, changes = self._published, self._version, self._changes
            coins = self._read(outpoints, changes)
            # a change that was published meanwhile may have been half done when the cache was read
            if self._published == published and self._version == version:
                return coins
        raise RuntimeError("the coins have changed during every attempt to read them")

    def _read(self, outpoints: Sequence[bytes], changes: tuple[_Change, ...]) -> list[bytes | None]:
        if not changes:
            return self._cache.peek_many(outpoints)
        coins: list[bytes | None] = [None] * len(outpoints)
        untouched: list[int] = []
        for i, outpoint in enumerate(outpoints):
            for created, spent in changes:
                if (coin := spent.get(outpoint)) is not None:
                    coins[i] = coin
                    break
                if outpoint in created:
                    break
            else:
                untouched.append(i)
        if untouched:
            found = self._cache.peek_many([outpoints[i] for i in untouched])
            for i, coin in zip(untouched, found, strict=True):
                coins[i] = coin
        return coins
