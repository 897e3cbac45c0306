"""From a block hash to its index: open addressing over one array, 4 bytes per slot.

A dict of a million 32-byte keys takes 170 MB, this table 8 MB: the keys stay where they are, in the column of hashes.
Slots come from a multiply-shift of 8 bytes of the hash by a secret odd number, so that nobody who can choose
headers (testnets and regtest: cheaply) can make them collide.
"""

from __future__ import annotations

import sys
from array import array

HASH_SIZE = 32
MIN_SLOTS = 1 << 10
BULK_ROWS = 1 << 15  # rows turned into integers at a time: 1 MB instead of 32 MB for a million


class HashTable:
    """Index of the rows of ``hashes`` (32 bytes each); the caller appends to ``hashes``, then calls ``insert``.

    ``salt`` is a secret of 64 bits. At most two thirds of the slots are taken (linear probing).
    """

    __slots__ = ("_count", "_hashes", "_mask", "_multiplier", "_shift", "_slots")

    def __init__(self, hashes: bytearray, salt: int) -> None:
        self._hashes = hashes
        self._multiplier = (salt & 0xFFFFFFFFFFFFFFFF) | 1
        self._rebuild()

    def __len__(self) -> int:
        """Number of hashes in the table."""
        return self._count

    def find(self, block_hash: bytes) -> int:
        """The row that holds the 32 bytes ``block_hash``, or -1."""
        hashes, slots, mask = self._hashes, self._slots, self._mask
        slot = (int.from_bytes(block_hash[:8], sys.byteorder) * self._multiplier >> self._shift) & mask
        while entry := slots[slot]:
            end = entry << 5  # an entry is the row plus one: 0 is an empty slot
            if hashes[end - 32 : end] == block_hash:
                return entry - 1
            slot = (slot + 1) & mask
        return -1

    def insert(self, block_hash: bytes, row: int) -> None:
        """Add a hash that is not in the table and stands at ``row`` of the column."""
        if (self._count + 1) * 3 > len(self._slots) * 2:
            self._rebuild()
            if self._count > row:  # the rebuild has read it from the column
                return
        slots, mask = self._slots, self._mask
        slot = (int.from_bytes(block_hash[:8], sys.byteorder) * self._multiplier >> self._shift) & mask
        while slots[slot]:
            slot = (slot + 1) & mask
        slots[slot] = row + 1
        self._count += 1

    def _rebuild(self) -> None:
        """Make a table for all rows of the column, with room for as many again before the next rebuild."""
        rows = len(self._hashes) // HASH_SIZE
        size = MIN_SLOTS
        while size * 2 < (rows + 1) * 3:
            size *= 2
        if size * 2 < (rows + 1) * 4:  # nearly full from the start: a second rebuild would follow soon
            size *= 2
        self._slots = slots = array("I", (0,)) * size
        self._mask = mask = size - 1
        self._shift = shift = 64 - mask.bit_length()
        self._count = rows
        multiplier = self._multiplier
        entry = 0
        with memoryview(self._hashes) as view, view.cast("Q") as words, words[::4] as keys:
            for start in range(0, rows, BULK_ROWS):
                for key in keys[start : start + BULK_ROWS].tolist():
                    entry += 1
                    slot = (key * multiplier >> shift) & mask
                    while slots[slot]:
                        slot = (slot + 1) & mask
                    slots[slot] = entry
