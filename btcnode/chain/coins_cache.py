"""The write-back cache in front of the stored coins.

``created``   coins that the database does not have as they are: new, restored, or overwriting an older one
``tombs``     outpoints under which the database has (or may have) a coin that is no longer the present one
``frozen``    created and tombs of a moment ago, which are on their way to the database while blocks go on changing
              the two above
``clean``     coins as the database has them, in two generations: the older one is dropped as a whole

A lookup goes created, tombs, frozen, clean, database. The last block lies above all of them as a whole until there is
time, or need, to work it into them (``settle_block``): the tip does not wait for that. A coin that is created and spent
between two flushes leaves no trace. What is not on disk is flushed at half the budget: while the one half is written
the other one may fill.
An outpoint may be in ``created`` and in ``tombs``: the database's coin is to be replaced. For two kinds of coin the
cache cannot know that the database lacks them, so removing one from ``created`` leaves a tombstone: coinbases (two
on mainnet have overwritten an unspent one, BIP30) and coins that a disconnected block restored.

Cost of an entry, measured on CPython 3.11 (64 bit): the outpoint is an object of 80 bytes (33 + 36, rounded up to
16), the coin one of 33 bytes plus its length, rounded up (7.5 bytes more on average); the tables of the dicts and the
set are asked for their own size (50 to 110 bytes per entry, they grow in steps). A P2WPKH coin of 35 bytes comes to
about 240 bytes, so that 450 MiB hold about 1.9 million changed coins. Freed pools that CPython keeps are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import repeat
from sys import getsizeof
from types import MappingProxyType
from typing import ClassVar, Protocol

from btcnode.consensus.connect import BlockDelta
from btcnode.primitives.later_coins import TXID_SIZE, all_of
from btcnode.tuples import NamedTuple

KEY_COST = 80
COIN_COST = 41  # beside its length
YOUNG_SHARE = 8  # the younger generation of clean coins takes at most this part of the budget


class CoinsBackend(Protocol):
    """The stored coins."""

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The packed coin of each outpoint, None where there is none."""

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        """Those txids under which there may be coins; under the others there are none."""


ChangeListener = Callable[[Collection[bytes], Mapping[bytes, bytes]], None]


class CoinsBatch(NamedTuple):
    """What a flush writes, deletions first; the database sorts both by outpoint. ``meta`` goes with the tip marker."""

    puts: Mapping[bytes, bytes]
    deletes: AbstractSet[bytes]
    meta: Mapping[bytes, bytes] = MappingProxyType({})


class CoinsCache:
    """The coins at the tip. ``budget`` is in bytes, of everything held here.

    Belongs to the chain thread; from any may be asked what is said so of, and how large and how full it is.
    """

    __slots__ = (
        "_backend",
        "_budget",
        "_clean_bytes",
        "_created",
        "_created_bytes",
        "_frozen",
        "_frozen_bytes",
        "_frozen_tombs",
        "_old",
        "_on_change",
        "_tombs",
        "_waiting",
        "_young",
        "database_lookups",
        "lookups",
    )

    are_proven: ClassVar[bool] = False  # each block's come with it

    def __init__(self, backend: CoinsBackend, budget: int) -> None:
        self._backend = backend
        self._budget = budget
        self._created: dict[bytes, bytes] = {}
        self._created_bytes = 0  # lengths of the coins in _created
        self._tombs: set[bytes] = set()
        self._frozen: dict[bytes, bytes] = {}
        self._frozen_bytes = 0
        self._frozen_tombs: set[bytes] = set()
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}
        self._clean_bytes = 0  # lengths of the coins in _young and _old
        self._waiting: BlockDelta | None = None  # the last block, if it is not in the others yet
        self._on_change: ChangeListener | None = None
        self.lookups = 0  # coins asked for, and those of them that the database was asked for
        self.database_lookups = 0

    def on_change(self, listener: ChangeListener) -> None:
        """Call ``listener(created, spent)`` before each change: outpoints that will be new, coins that will be gone."""
        self._on_change = listener

    # -- size ----------------------------------------------------------------------------------------------------

    @property
    def budget(self) -> int:
        """Bytes that everything held here may take."""
        return self._budget

    def set_budget(self, budget: int) -> None:
        """Change the budget; clean coins go at the next occasion, a flush becomes due where it must."""
        self._budget = budget

    @property
    def _active_usage(self) -> int:
        created, tombs, waiting = self._created, self._tombs, self._waiting
        entries = len(created) * (KEY_COST + COIN_COST) + len(tombs) * KEY_COST
        if waiting is not None:  # its coins are not looked at: most are as long as they cost beside that
            entries += len(waiting.created) * (KEY_COST + 2 * COIN_COST) + len(waiting.spent) * KEY_COST
        return entries + self._created_bytes + getsizeof(created) + getsizeof(tombs)

    @property
    def dirty_usage(self) -> int:
        """Bytes taken by what is not on disk yet, or on its way there."""
        frozen, tombs = self._frozen, self._frozen_tombs
        entries = len(frozen) * (KEY_COST + COIN_COST) + len(tombs) * KEY_COST
        return self._active_usage + entries + self._frozen_bytes + getsizeof(frozen) + getsizeof(tombs)

    @property
    def clean_usage(self) -> int:
        """Bytes taken by coins that are held for reading."""
        young, old = self._young, self._old
        entries = (len(young) + len(old)) * (KEY_COST + COIN_COST)
        return entries + self._clean_bytes + getsizeof(young) + getsizeof(old)

    @property
    def usage(self) -> int:
        """Bytes taken by everything."""
        return self.dirty_usage + self.clean_usage

    def __len__(self) -> int:
        """Number of coins held in memory."""
        held, waiting = len(self._created) + len(self._frozen) + len(self._young) + len(self._old), self._waiting
        return held if waiting is None else max(0, held - len(waiting.spent)) + len(waiting.created)

    def needs_flush(self) -> bool:
        """Whether what is not on disk has reached its share of the budget."""
        if self.is_frozen():
            return self.dirty_usage >= self._budget
        return 2 * self._active_usage >= self._budget

    def is_dirty(self) -> bool:
        """Whether there is anything to write beside what is being written."""
        return bool(self._created or self._tombs or self._waiting is not None)

    @property
    def is_waiting(self) -> bool:
        """Whether the last block lies above the layers still; any thread may ask."""
        return self._waiting is not None

    def is_frozen(self) -> bool:
        """Whether a batch is on its way to the database."""
        return bool(self._frozen or self._frozen_tombs)

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, outpoint: bytes) -> bytes | None:
        """The packed coin of an outpoint of 36 bytes, None if there is none unspent."""
        return self.get_many((outpoint,))[0]

    def get_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The packed coins of the outpoints, in their order; those missing here in one call to the database."""
        self.settle_block()
        self.lookups += len(outpoints)
        coins, missing = self._find(outpoints)
        if missing:
            self.database_lookups += len(missing)
            young = self._young
            found = self._backend.get_many([outpoints[i] for i in missing])
            for i, coin in zip(missing, found, strict=True):
                if coin is not None:
                    coins[i] = coin
                    if outpoints[i] not in young:  # one call may ask twice for the same
                        young[outpoints[i]] = coin
                        self._clean_bytes += len(coin)
            self._trim()
        return coins

    def held(self, outpoint: bytes) -> bytes | None:
        """As ``peek_many`` for one, from any thread; None also where only the database can tell."""
        waiting = self._waiting
        if waiting is not None:
            coin = waiting.created.get(outpoint)
            if coin is not None or outpoint in waiting.spent:
                return coin
        coin = self._created.get(outpoint)
        if coin is None and outpoint not in self._tombs:
            coin = self._frozen.get(outpoint)
            if coin is None and outpoint not in self._frozen_tombs:
                coin = self._young.get(outpoint) or self._old.get(outpoint)
        return coin

    def peek_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """As ``get_many``, from any thread: nothing is kept. Only ``ReadView`` makes a consistent answer of it."""
        coins, missing = self._look_through(outpoints)
        if missing:
            for i, coin in zip(missing, self._backend.get_many([outpoints[i] for i in missing]), strict=True):
                coins[i] = coin
        return coins

    def any_unspent(self, outpoints: list[bytes]) -> bool:
        """Whether one of the outpoints has an unspent coin; that none has is seen without asking for each."""
        self.settle_block()
        layers = (self._created, self._frozen, self._young, self._old)
        if all(layer.keys().isdisjoint(outpoints) for layer in layers):
            suspects = self._backend.may_have({outpoint[:TXID_SIZE] for outpoint in outpoints})
            if not suspects:
                return False
            outpoints = [outpoint for outpoint in outpoints if outpoint[:TXID_SIZE] in suspects]
        return any(coin is not None for coin in self.get_many(outpoints))

    def unknown(self, outpoints: Sequence[bytes]) -> list[bytes]:
        """Those outpoints for which the database would be asked; any thread may ask."""
        return [outpoints[i] for i in self._look_through(outpoints)[1]]

    def _look_through(self, outpoints: Sequence[bytes]) -> tuple[list[bytes | None], list[int]]:
        """As ``_find``, from any thread: what waits is looked at first, and may be worked in meanwhile."""
        waiting = self._waiting
        coins, missing = self._find(outpoints)
        if waiting is not None:
            created, spent = waiting.created, waiting.spent
            told = {i for i, outpoint in enumerate(outpoints) if outpoint in created or outpoint in spent}
            for i in told:
                coins[i] = created.get(outpoints[i])
            missing = [i for i in missing if i not in told]
        return coins, missing

    def _find(self, outpoints: Sequence[bytes]) -> tuple[list[bytes | None], list[int]]:
        """The coins that are here, and the positions of those that only the database can tell.

        Another thread may look while this one changes layers: they are read in the order in which coins move on.
        """
        coins: list[bytes | None] = list(map(self._created.get, outpoints))
        if None not in coins:
            return coins, []
        tombs, frozen, frozen_tombs, young, old = self._tombs, self._frozen, self._frozen_tombs, self._young, self._old
        missing: list[int] = []
        for i, coin in enumerate(coins):
            if coin is None and (outpoint := outpoints[i]) not in tombs:
                coin = frozen.get(outpoint)
                if coin is None:
                    if outpoint in frozen_tombs:
                        continue
                    coin = young.get(outpoint) or old.get(outpoint)
                    if coin is None:
                        missing.append(i)
                        continue
                coins[i] = coin
        return coins, missing

    def _trim(self) -> None:
        """Drop clean coins that have no room: the older generation first, then the younger one."""
        young_usage = len(self._young) * (KEY_COST + COIN_COST) + getsizeof(self._young)
        if young_usage > self._budget // YOUNG_SHARE:
            self._replace_old(self._young)
        if self._old and self.usage > self._budget:
            self._replace_old({})
        if self._young and self.usage > self._budget:
            self._young = {}
            self._clean_bytes = sum(map(len, self._old.values()))

    def _replace_old(self, coins: dict[bytes, bytes]) -> None:
        """Make ``coins`` the older generation; the younger one starts anew if it is that one."""
        if coins is self._young:
            self._young = {}
        self._old = coins
        self._clean_bytes = sum(map(len, self._young.values())) + sum(map(len, coins.values()))

    # -- changing ------------------------------------------------------------------------------------------------

    def apply(self, delta: BlockDelta) -> None:
        """Take over what a connected block spent, then what it created.

        What it creates must not exist unspent, coinbases aside: that is BIP30, which connecting has checked.
        """
        self.settle_block()
        if self._on_change is not None:
            self._on_change(delta.created, delta.spent)
        self._waiting = delta

    def settle_block(self) -> None:
        """Work the last block into the layers, if that was not done yet. Whoever needs them does so himself."""
        delta = self._waiting
        if delta is None:
            return
        created, fresh = self._created, all_of(delta.created)
        self._remove(delta.spent)
        entries = len(created) + len(fresh)
        created.update(fresh)
        if len(created) == entries:
            self._created_bytes += sum(map(len, fresh.values()))
        else:  # an overwritten coinbase
            self._created_bytes = sum(map(len, created.values()))
        self._waiting = None  # not before all is in place: another thread may be looking
        self._trim()

    def apply_disconnect(self, restored: Mapping[bytes, bytes], removed: Collection[bytes]) -> None:
        """Take over what disconnecting a block removed, then what it restored."""
        self.settle_block()
        if self._on_change is not None:
            coins = zip(removed, self.get_many(list(removed)), strict=True)
            self._on_change(restored, {outpoint: coin for outpoint, coin in coins if coin is not None})
        self._remove(removed)
        created, tombs = self._created, self._tombs
        for outpoint, coin in restored.items():
            before = created.get(outpoint, b"")
            created[outpoint] = coin
            self._created_bytes += len(coin) - len(before)
            self._forget_clean(outpoint)
            tombs.add(outpoint)
        self._trim()

    def _remove(self, outpoints: Collection[bytes]) -> None:
        """Remove coins that exist."""
        taken = list(map(self._created.pop, outpoints, repeat(b"")))
        self._created_bytes -= sum(map(len, taken))
        # of one that is no coinbase and not stored there is no other trace: where the database has it, it is buried
        stored = [outpoint for outpoint, coin in zip(outpoints, taken, strict=True) if not coin or coin[0] & 1]
        for clean in (self._young, self._old):
            self._clean_bytes -= sum(map(len, map(clean.pop, stored, repeat(b""))))
        self._tombs.update(stored)

    def _forget_clean(self, outpoint: bytes) -> None:
        coin = self._young.pop(outpoint, None) or self._old.pop(outpoint, None)
        if coin is not None:
            self._clean_bytes -= len(coin)

    def read_anew(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """As ``get_many``, but what is held for reading is read from the database once more."""
        for outpoint in outpoints:
            self._forget_clean(outpoint)
        return self.get_many(outpoints)

    def forget_clean_coins(self) -> None:
        """The stored coins are others from now on; nothing may be dirty."""
        if self.is_dirty() or self.is_frozen():
            raise RuntimeError("coins are not on disk yet")
        self._young = {}
        self._replace_old({})

    # -- flushing ------------------------------------------------------------------------------------------------

    def freeze(self) -> CoinsBatch:
        """What is to be written. Changes may go on; ``flushed`` or ``thaw`` has to follow before the next batch."""
        if self.is_frozen():
            raise RuntimeError("a batch is on its way to the database already")
        self.settle_block()
        created, tombs = self._created, self._tombs
        self._frozen_bytes = self._created_bytes
        # the frozen layers stand before the others are emptied: another thread may be looking
        self._frozen, self._frozen_tombs = created, tombs
        self._created, self._tombs = {}, set()
        self._created_bytes = 0
        return CoinsBatch(created, tombs if tombs.isdisjoint(created) else tombs.difference(created))

    def thaw(self) -> None:
        """The batch could not be written: it is dirty as before. Only while nothing has changed since ``freeze``."""
        if self.is_dirty():
            raise RuntimeError("coins have changed while the batch was on its way")
        self._created, self._created_bytes, self._tombs = self._frozen, self._frozen_bytes, self._frozen_tombs
        self._drop_frozen()

    def flushed(self) -> None:
        """The batch is on disk: what was created is clean now, and is kept as far as there is room for it."""
        written = self._frozen
        changed = (self._tombs & written.keys()) | (self._created.keys() & written.keys())
        if changed:  # not in place: another thread may be looking into it
            written = {outpoint: coin for outpoint, coin in written.items() if outpoint not in changed}
        self._young = {}
        self._replace_old(written)
        self._drop_frozen()
        self._trim()

    def _drop_frozen(self) -> None:
        self._frozen, self._frozen_tombs = {}, set()
        self._frozen_bytes = 0
