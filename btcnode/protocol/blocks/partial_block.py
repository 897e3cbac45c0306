"""Putting a block together from a compact one and the transactions that we have already.

Whether the result is the block of its header is not decided here: validation says so, and a wrong guess (two
transactions with one short id) comes back as a mutated block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.steps import STEP, Steps
from btcnode.wire.short_ids import matching, short_id_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from btcnode.protocol.chain_view import PoolEntry
    from btcnode.wire.messages import CmpctBlock


LEAST_KNOWN = 0.75  # of a block's transactions: with more to be parsed a process beside the node is quicker


class ShortIdCollision(DecodeError):
    """Two transactions of the compact block have the same short id: it is of no use, and nobody's fault."""


class PartialBlock:
    """A block with gaps: a slot for each transaction, None where it is missing.

    ``from_pool`` and ``from_extra`` count what was found where. Once ``spent`` (filled) it is of no further use.
    Memory: a pointer for each of at most 65,535 transactions, the bytes are shared with mempool and message.
    """

    __slots__ = ("_entries", "from_extra", "from_pool", "header", "prefilled", "slots", "spent")

    def __init__(self, message: CmpctBlock) -> None:
        """Raises DecodeError when the message describes no block, ShortIdCollision."""
        self.header = message.header
        self.from_pool = self.from_extra = 0
        self.spent = False
        self.prefilled = len(message.prefilled)
        count = len(message.short_ids) + self.prefilled
        if not count:
            raise DecodeError("compact block without transactions")
        self.slots: list[bytes | None] = [None] * count
        self._entries: list[PoolEntry | None] = [None] * count
        for position, raw in message.prefilled:
            if position >= count:
                raise DecodeError("prefilled transaction beyond the end of the block")
            self.slots[position] = raw

    def collect(
        self, message: CmpctBlock, pool: Mapping[bytes, PoolEntry], spare: Mapping[bytes, bytes]
    ) -> Steps[None]:
        """Fill the gaps from the mempool, then from what else we have (serialised), both by wtxid.

        A gap that two different transactions fit stays empty. Raises ShortIdCollision.
        """
        slots = self.slots
        gaps = [position for position, raw in enumerate(slots) if raw is None]
        wanted = dict(zip(message.short_ids, gaps, strict=True))
        if len(wanted) != len(gaps):
            raise ShortIdCollision("two transactions with one short id")
        key = short_id_key(message.header, message.nonce)
        filled: dict[int, bytes] = {}  # position -> wtxid
        entries = self._entries
        names = list(pool)
        for start in range(0, len(names), STEP):
            if start:
                yield
            for position, wtxid in matching(key, names[start : start + STEP], wanted):
                if position in filled:
                    self.from_pool -= slots[position] is not None
                    slots[position] = entries[position] = None
                elif (entry := pool.get(wtxid)) is not None:  # it may have left between two steps
                    slots[position] = entry.tx.raw
                    entries[position] = entry
                    filled[position] = wtxid
                    self.from_pool += 1
        if self.from_pool == len(gaps):
            return
        for at, wtxid in matching(key, list(spare), wanted):
            if at not in filled:
                slots[at] = spare[wtxid]
                filled[at] = wtxid
                self.from_extra += 1
            elif filled[at] != wtxid:
                slots[at] = entries[at] = None

    @property
    def known(self) -> tuple[PoolEntry | None, ...]:
        """The mempool's transactions by their places; empty where too few are from there for it to be of use."""
        if self.from_pool < LEAST_KNOWN * len(self._entries):
            return ()
        return tuple(self._entries)

    def missing(self) -> tuple[int, ...]:
        """Positions in the block of the transactions that are missing, ascending."""
        return tuple([position for position, raw in enumerate(self.slots) if raw is None])

    def fill(self, transactions: Iterable[bytes]) -> bytes:
        """The whole serialised block with ``transactions`` in the gaps; DecodeError when their number does not fit."""
        given = list(transactions)
        gaps = self.missing()
        if len(gaps) != len(given):
            raise DecodeError(f"{len(given)} transactions for {len(gaps)} gaps")
        parts = self.slots
        for position, raw in zip(gaps, given, strict=True):
            parts[position] = raw
        self.spent = True
        self.slots, self._entries = [], []
        return b"".join([self.header, compact_size(len(parts)), *[raw for raw in parts if raw is not None]])
