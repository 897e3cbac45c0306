"""Coins that are listed when somebody looks: a block makes thousands, and its tip need not wait for that."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping

TXID_SIZE = 32


class LaterCoins(Mapping[bytes, bytes]):
    """``count`` packed coins by their outpoints of 36 bytes, of the transactions ``txids``; any thread may look.

    ``make`` lists them when somebody looks for what may be one. Two that do at the same time may each have a list of
    their own, with the same in it.
    """

    __slots__ = ("_count", "_made", "_make", "_txids")

    def __init__(self, count: int, txids: Container[bytes], make: Callable[[], dict[bytes, bytes]]) -> None:
        self._count = count
        self._txids = txids
        self._make: Callable[[], dict[bytes, bytes]] | None = make
        self._made: dict[bytes, bytes] = {}

    def all(self) -> dict[bytes, bytes]:
        """All of them; whoever asks must not change it."""
        make = self._make
        if make is not None:
            self._made = make()
            self._make = None  # not before they are there: another thread may look
        return self._made

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.all())

    def __getitem__(self, outpoint: bytes) -> bytes:
        if outpoint[:TXID_SIZE] not in self._txids:
            raise KeyError(outpoint)
        return self.all()[outpoint]


def all_of(coins: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The coins as a dict that must not be changed."""
    if isinstance(coins, LaterCoins):
        return coins.all()
    return coins if isinstance(coins, dict) else dict(coins)
