"""The mempool as it was when somebody asked for all of it (BIP35): 32 bytes a transaction, shared by all who read it.

An answer takes a while, and goes on where it was: best feerate first, parents before children. Who has just asked
shares the newest snapshot unless that is older than the peer's connection or ``AGE``; there are never more than
``MOST``. When all of them are being read, who needs a newer one waits; one that is read for longer than ``LIFE``
is withdrawn then, with what was not read of it.
"""

from __future__ import annotations

from dataclasses import field
from itertools import islice
from typing import TYPE_CHECKING

from btcnode.record import struct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from btcnode.protocol.chain_view import PoolEntry, TxSource

AGE = 10.0  # seconds
LIFE = 120.0  # seconds
MOST = 4  # 4 x 40 B x transactions: 16 MB for a hundred thousand, and what has gone until it is read
HASH_SIZE = 32
AT_ONCE = 1_000  # hashes, in a millisecond


@struct(eq=False)
class PoolSnapshot:
    """Hashes, and the mempool's sequence number and the time when they were taken; ``readers`` are not through.

    ``entries`` are those whose hashes nobody has come to yet: all at once would take a tenth of a second.
    """

    entries: Iterator[PoolEntry]
    sequence: int
    made: float
    wtxids: bytearray = field(default_factory=bytearray)
    readers: int = 0

    def at(self, position: int) -> bytes:
        """The wtxid at a position; empty behind the last one."""
        start = position * HASH_SIZE
        while len(self.wtxids) <= start and (some := [entry.wtxid for entry in islice(self.entries, AT_ONCE)]):
            self.wtxids += b"".join(some)
        return bytes(self.wtxids[start : start + HASH_SIZE])

    def withdraw(self) -> None:
        """Nobody reads on."""
        self.entries, self.wtxids = iter(()), bytearray()


class PoolSnapshots:
    """All that are being read, the newest last."""

    def __init__(self, source: TxSource) -> None:
        self._source = source
        self._held: list[PoolSnapshot] = []

    def __len__(self) -> int:
        return len(self._held)

    def take(self, now: float, at_least: int) -> PoolSnapshot | None:
        """One to read, not older than the mempool's sequence number ``at_least``; None: there is no room now."""
        self._held = [held for held in self._held if held.readers]
        newest = self._held[-1] if self._held else None
        fits = newest is not None and newest.sequence >= at_least
        if not fits or (newest is not None and now - newest.made >= AGE):
            if len(self._held) >= MOST and now - self._held[0].made >= LIFE:
                self._held.pop(0).withdraw()
            if len(self._held) < MOST:
                newest = PoolSnapshot(iter(self._source.in_order()), self._source.sequence, now)
                self._held.append(newest)
            elif not fits:
                return None
        assert newest is not None
        newest.readers += 1
        return newest
