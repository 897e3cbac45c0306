"""The mempool as it was when somebody asked for all of it (BIP35): 32 bytes a transaction, shared by all who read it.

An answer takes a while, and goes on where it was: best feerate first, parents before children. Who has just asked
shares the newest snapshot unless that is older than the peer's connection or ``AGE``; there are never more than
``MOST``. When all of them are being read, who needs a newer one waits; one that is read for longer than ``LIFE``
is withdrawn then, with what was not read of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.record import struct

if TYPE_CHECKING:
    from btcnode.protocol.chain_view import TxSource

AGE = 10.0  # seconds
LIFE = 120.0  # seconds
MOST = 4  # 4 x 32 B x transactions: 13 MB of a mempool of a hundred thousand
HASH_SIZE = 32


@struct(eq=False)
class PoolSnapshot:
    """Hashes, and the mempool's sequence number and the time when they were taken; ``readers`` are not through."""

    wtxids: bytes
    sequence: int
    made: float
    readers: int = 0

    def at(self, position: int) -> bytes:
        """The wtxid at a position; empty behind the last one."""
        return self.wtxids[position * HASH_SIZE : (position + 1) * HASH_SIZE]


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
                self._held.pop(0).wtxids = b""
            if len(self._held) < MOST:
                wtxids = b"".join([entry.wtxid for entry in self._source.in_order()])
                newest = PoolSnapshot(wtxids, self._source.sequence, now)
                self._held.append(newest)
            elif not fits:
                return None
        assert newest is not None
        newest.readers += 1
        return newest
