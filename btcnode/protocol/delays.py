"""How long it takes until what a peer brings is told to others, and how old blocks are when they arrive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from btcnode.counting import Histogram

TIMED = 16  # of 256: transactions whose hash ends so are timed, the others cost a comparison
MOST_AWAITED = 4096  # transactions or blocks that are remembered, twice
TX_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)  # seconds
BLOCK_BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
AGE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0)  # seconds

Key = TypeVar("Key")


class _Awaited(Generic[Key]):
    """When things came, the newest ``MOST_AWAITED`` at least."""

    def __init__(self) -> None:
        self._new: dict[Key, float] = {}
        self._old: dict[Key, float] = {}

    def come(self, key: Key, steady: float) -> None:
        if len(self._new) >= MOST_AWAITED:
            self._old, self._new = self._new, {}
        self._new.setdefault(key, steady)

    def take(self, key: Key) -> float | None:
        came = self._new.pop(key, None)
        return self._old.pop(key, None) if came is None else came


class Delays:
    """``steady`` are the protocol's seconds. Nothing is counted during initial download."""

    def __init__(self) -> None:
        self.transactions = Histogram(TX_BOUNDS)  # from a transaction's arrival to its first announcement
        self.blocks = Histogram(BLOCK_BOUNDS)  # from a block's last byte to the tip that is announced
        self.ages = Histogram(AGE_BOUNDS)  # of new tips, by their headers
        self._transactions: _Awaited[bytes] = _Awaited()
        self._blocks: _Awaited[int] = _Awaited()

    def transaction_came(self, wtxid: bytes, steady: float) -> None:
        """A transaction that is not known yet has come; one in sixteen is timed."""
        if wtxid[-1] < TIMED:
            self._transactions.come(wtxid, steady)

    def transaction_told(self, wtxid: bytes, steady: float) -> None:
        """A transaction is announced to a peer; the first time counts."""
        if wtxid[-1] < TIMED and (came := self._transactions.take(wtxid)) is not None:
            self.transactions.add(steady - came)

    def block_came(self, index: int, steady: float) -> None:
        """The bytes of the block of a header are here."""
        self._blocks.come(index, steady)

    def blocks_told(self, connected: Iterable[int], steady: float, age: float) -> None:
        """Headers that the chain goes to are announced; ``age``: seconds since the time of the last of them."""
        for index in connected:
            if (came := self._blocks.take(index)) is not None:
                self.blocks.add(steady - came)
        self.ages.add(max(0.0, age))
