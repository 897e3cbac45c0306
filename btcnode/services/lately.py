"""What users have asked for lately: who asks for a transaction of a block asks for the next one, and others for both.

Parsed blocks, blocks and transactions as JSON, figures of blocks: whatever follows from a block's bytes alone and can
be given again as it is. What may change about a block (confirmations, the block behind it) is no part of it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.tx import Tx

LATELY_BYTES = 32 << 20  # of everything together
ENTRY_BYTES = 200  # of memory beside what an entry says that it takes
TX_BYTES = 400  # of memory beside a block's bytes, for each transaction
ROW_BYTES = 40  # and for each input or output
OBJECT_BYTES = 48  # of each field of a transaction beside its bytes


def parsed_size(block: ParsedBlock) -> int:
    """Bytes of memory that a parsed block takes, about."""
    return block.size + TX_BYTES * block.n_tx + ROW_BYTES * (len(block.in_pos) + len(block.out_pos))


def parsed_tx_size(tx: Tx) -> int:
    """Bytes of memory that a transaction with its columns takes, about."""
    parts = 4 * len(tx.prevouts) + len(tx.txouts) + sum(map(len, tx.witnesses))
    return 3 * len(tx.raw) + OBJECT_BYTES * parts


class Lately:
    """Values by key, those asked for last, in at most ``limit`` bytes; used on the loop thread."""

    def __init__(self, limit: int = LATELY_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[Any, ...], tuple[Any, int]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of memory taken, about."""
        return self._size

    def get(self, key: tuple[Any, ...]) -> Any:
        """What is kept under a key, None when it is not here."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: tuple[Any, ...], value: Any, size: int) -> None:
        """Keep a value of about ``size`` bytes; those that nobody has asked for the longest go.

        One that is too large alone is not kept. What is kept under the key already stays.
        """
        size += ENTRY_BYTES
        if key in self._kept or size > self._limit:
            return
        self._kept[key] = value, size
        self._size += size
        self._trim()

    def set_limit(self, limit: int) -> None:
        """From now on take at most so many bytes."""
        self._limit = limit
        self._trim()

    def _trim(self) -> None:
        while self._size > self._limit:
            _, (_, size) = self._kept.popitem(last=False)
            self._size -= size
