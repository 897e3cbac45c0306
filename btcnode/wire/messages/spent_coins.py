"""Coins that a block spends (draft of rustaceanrob/swiftsync-bips): asked for and told."""

from __future__ import annotations

from typing import ClassVar

from btcnode.record import record
from btcnode.wire.codec import Message, Reader
from btcnode.wire.constants import MAX_BLOCK_INPUTS, MAX_PROTOCOL_MESSAGE_LENGTH, MIN_SPENT_COIN_SIZE


@record
class GetBlockSpent(Message):
    """Request for the coins that a block spends.

    ``version`` is that of the coins' form; with a ``cutoff`` above 0 only coins of blocks below that height.
    """

    command: ClassVar[str] = "getbspent"

    version: int
    block_hash: bytes
    cutoff: int = 0

    @classmethod
    def decode(cls, payload: bytes) -> GetBlockSpent:
        """Read the payload."""
        r = Reader(payload)
        return cls(r.u8(), r.take(32), r.u32())

    def encode(self) -> bytes:
        """The payload."""
        return bytes([self.version]) + self.block_hash + self.cutoff.to_bytes(4, "little")


@record
class BlockSpent(Message):
    """The coins, as bytes: their number, then each (``swiftsync/spent_coins.py``), and whatever follows them."""

    command: ClassVar[str] = "bspent"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    block_hash: bytes
    coins: bytes

    @classmethod
    def decode(cls, payload: bytes) -> BlockSpent:
        """Read the payload but for the coins themselves; more than any block spends raise LimitExceeded."""
        r = Reader(payload)
        block_hash = r.take(32)
        r.count(MIN_SPENT_COIN_SIZE, MAX_BLOCK_INPUTS, "spent coins")
        return cls(block_hash, payload[32:])

    def encode(self) -> bytes:
        """The payload."""
        return self.block_hash + self.coins
