"""Blocks that users have asked for lately, parsed: who asks for one transaction of a block asks for the next one."""

from __future__ import annotations

from collections import OrderedDict

from btcnode.primitives.block import ParsedBlock

PARSED_BYTES = 32 << 20  # of blocks and their columns together
TX_BYTES = 400  # of memory beside the block's bytes, for each transaction
ROW_BYTES = 40  # and for each input or output


def parsed_size(block: ParsedBlock) -> int:
    """Bytes of memory that a parsed block takes, about."""
    return block.size + TX_BYTES * block.n_tx + ROW_BYTES * (len(block.in_pos) + len(block.out_pos))


class ParsedBlocks:
    """The latest asked for, by header index, in at most ``limit`` bytes; used on the loop thread."""

    def __init__(self, limit: int = PARSED_BYTES) -> None:
        self._limit = limit
        self._blocks: OrderedDict[int, ParsedBlock] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of memory taken, about."""
        return self._size

    def get(self, index: int) -> ParsedBlock | None:
        """The block of a header, None when it is not here."""
        if index not in self._blocks:
            return None
        self._blocks.move_to_end(index)
        return self._blocks[index]

    def put(self, index: int, block: ParsedBlock) -> None:
        """Keep a block; those that nobody has asked for the longest go. One that is too large alone is not kept."""
        size = parsed_size(block)
        if index in self._blocks or size > self._limit:
            return
        self._blocks[index] = block
        self._size += size
        self._trim()

    def set_limit(self, limit: int) -> None:
        """From now on take at most so many bytes."""
        self._limit = limit
        self._trim()

    def _trim(self) -> None:
        while self._size > self._limit:
            _, oldest = self._blocks.popitem(last=False)
            self._size -= parsed_size(oldest)
