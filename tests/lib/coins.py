"""Coins in a dict, for tests of connecting and disconnecting blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from btcnode.consensus.connect import BlockDelta, Disconnected


class DictCoins:
    """A coin source over packed coins by outpoint; ``lookups`` counts what it has been asked for."""

    def __init__(self, coins: Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.coins: dict[bytes, bytes] = dict(coins)
        self.lookups = 0

    def get_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The coin of each outpoint, or None."""
        self.lookups += len(outpoints)
        return list(map(self.coins.get, outpoints))

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
