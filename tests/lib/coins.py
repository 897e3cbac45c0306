"""Coins for tests: those in a dict, for connecting and disconnecting blocks, and all that are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from btcnode.consensus.connect import BlockDelta, Disconnected
from btcnode.storage.coins import CoinItem, CoinsDb, in_chunks


def all_coins(db: CoinsDb) -> list[CoinItem]:
    """All stored (outpoint, coin), by txid bytes, then vout as a number."""
    with db.snapshot() as rows:
        return [item for items in in_chunks(iter(rows)) for item in items]


class DictCoins:
    """A coin source over packed coins by outpoint; ``lookups`` counts what it has been asked for."""

    def __init__(self, coins: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.coins: dict[bytes, bytes] = dict(coins)
        self.lookups = 0

    def get_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The coin of each outpoint, or None."""
        self.lookups += len(outpoints)
        return list(map(self.coins.get, outpoints))

    def any_unspent(self, outpoints: Sequence[bytes]) -> bool:
        """Whether one of the outpoints has a coin."""
        return not self.coins.keys().isdisjoint(outpoints)

    def apply(self, delta: BlockDelta) -> None:
        """Carry out what a connected block does; raises KeyError when it spends a coin that is not here."""
        for outpoint in delta.spent:
            del self.coins[outpoint]
        self.coins.update(delta.created)

    def revert(self, undone: Disconnected) -> None:
        """Carry out what a disconnected block does."""
        for outpoint in undone.removed:
            del self.coins[outpoint]
        self.coins.update(undone.restored)
