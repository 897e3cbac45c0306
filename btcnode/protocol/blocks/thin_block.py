"""Putting a block together from a thin one (XTHIN) and the transactions that we have already."""

from __future__ import annotations

from collections.abc import Iterable

from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.wire.messages import XThinBlock
from btcnode.wire.messages.xthin import CHEAP_HASH_SIZE


class ThinBlock:
    """A block on its way in thin form; without ``header`` it was asked for only."""

    __slots__ = ("_places", "_slots", "header")

    def __init__(self) -> None:
        self.header = b""
        self._places: dict[bytes, int] = {}  # cheap hash -> position
        self._slots: list[bytes | None] = []

    def begin(self, message: XThinBlock) -> bool:
        """Take the form of the block; False when two of its transactions have one cheap hash."""
        self.header = message.header
        self._places = {cheap: at for at, cheap in enumerate(message.cheap_hashes)}
        self._slots = [None] * len(message.cheap_hashes)
        return len(self._places) == len(self._slots)

    def put(self, transactions: Iterable[bytes]) -> bool:
        """Transactions that came over the wire; False when one does not belong there."""
        for raw in transactions:
            at = self._places.get(sha256d(raw)[:CHEAP_HASH_SIZE])
            if at is None:
                return False
            self._slots[at] = raw
        return True

    def collect(self, pool: dict[bytes, bytes]) -> None:
        """Fill gaps from candidates, serialised by wtxid; where two fit one gap it stays."""
        found: dict[int, list[bytes]] = {}
        for wtxid, raw in pool.items():
            at = self._places[wtxid[:CHEAP_HASH_SIZE]]
            if self._slots[at] is None:
                found.setdefault(at, []).append(raw)
        for at, candidates in found.items():
            if len(candidates) == 1:
                self._slots[at] = candidates[0]

    def has(self, wtxid: bytes) -> bool:
        """Whether the block has a transaction with this wtxid, as far as its cheap hash says."""
        return wtxid[:CHEAP_HASH_SIZE] in self._places

    def missing(self) -> tuple[bytes, ...]:
        """Cheap hashes (8 bytes each) of the transactions that are missing, in block order."""
        return tuple([cheap for cheap, at in self._places.items() if self._slots[at] is None])

    def raw(self) -> bytes:
        """The whole serialised block, when nothing is missing."""
        parts = [raw for raw in self._slots if raw is not None]
        return b"".join((self.header, compact_size(len(parts)), *parts))
