"""Checksums of stored records, and the running sums that say which records there are.

A stored record is ``value + CRC-32(key + value)[u32 LE]``. That finds a changed record; a missing one, or an old page
in the place of a new one, is found by sums: the checksums of all records of a database are added up as they come and
go, for rows of indexes by the first 14 bits of their keys too, so that a part of the keys can be proven alone.

``zlib.crc32`` costs 0.3 us a call, as much as the crc32c package does: for records this short the call is what costs.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from struct import Struct
from typing import Any
from zlib import crc32

from btcnode.errors import CorruptionError
from btcnode.record import record

CHECK_SIZE = 4
RESIDUE = 0x2144DF1C  # the CRC-32 of whatever has its own CRC-32, little-endian, at its end
PREFIX_SIZE = 2
CHUNK = 4096  # records looked at together
SUM_BITS = 14  # of a key: mainnet has some 11,000 coins to a sum
SUMS = 1 << SUM_BITS
CHUNK_SUMS = 256  # sums that are stored as one record
_SPARE_BITS = 8 * PREFIX_SIZE - SUM_BITS
_MASK32 = 0xFFFFFFFF
_MASK64 = 0xFFFFFFFFFFFFFFFF


def sealed(key: bytes, value: bytes) -> bytes:
    """The stored form of a record."""
    return value + crc32(value, crc32(key)).to_bytes(CHECK_SIZE, "little")


def is_whole(key: bytes, stored: bytes) -> bool:
    """Whether a stored record is what was written under this key."""
    return crc32(stored, crc32(key)) == RESIDUE


def opened(key: bytes, stored: bytes, what: str) -> bytes:
    """The value of a stored record; raises CorruptionError about ``what`` when it is damaged."""
    if crc32(stored, crc32(key)) != RESIDUE:
        raise CorruptionError(f"a record of {what} is damaged")
    return stored[:-CHECK_SIZE]


def check_of(stored: bytes) -> int:
    """The checksum of a stored record."""
    return int.from_bytes(stored[-CHECK_SIZE:], "little")


@record
class Total:
    """How many records there are, and the sum of their checksums modulo 2**64."""

    count: int = 0
    sum: int = 0

    def plus(self, count: int, checks: int) -> Total:
        """After records were added, or taken out (negative)."""
        return Total(self.count + count, self.sum + checks & _MASK64)


def checked_total(rows: Iterable[tuple[bytes, bytes]]) -> Total | None:
    """The total of stored records, None when one is damaged."""
    total, rows = Total(), iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        if {crc32(stored, crc32(key)) for key, stored in chunk} != {RESIDUE}:
            return None
        total = total.plus(len(chunk), sum([check_of(stored) for _, stored in chunk]))
    return total


_SEAL = Struct("<QQQQ")


@record
class Seal:
    """The totals of a database's parts, as of one transaction."""

    index: Total = Total()
    meta: Total = Total()

    def pack(self) -> bytes:
        """The record's value."""
        parts = (self.index, self.meta)
        return _SEAL.pack(*(number for part in parts for number in (part.count, part.sum)))

    @classmethod
    def unpack(cls, value: bytes) -> Seal:
        """Decode the value; raises CorruptionError for any other length."""
        if len(value) != _SEAL.size:
            raise CorruptionError("the record of the totals has a wrong size")
        numbers = _SEAL.unpack(value)
        return cls(*(Total(*numbers[at : at + 2]) for at in range(0, 4, 2)))


class Tally:
    """What one transaction changes in the sums of a part."""

    def __init__(self) -> None:
        self.count = 0
        self.by_prefix: defaultdict[bytes, int] = defaultdict(int)

    def sealing(self, pairs: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """Pairs in their stored form, counted as they pass."""
        sums, count = self.by_prefix, 0
        for key, value in pairs:
            check = crc32(value, crc32(key))
            sums[key[:PREFIX_SIZE]] += check
            count += 1
            yield key, value + check.to_bytes(CHECK_SIZE, "little")
        self.count += count

    def add_keys(self, keys: Iterable[bytes]) -> None:
        """Count records that are nothing but their key."""
        sums = self.by_prefix
        for key in keys:
            sums[key[:PREFIX_SIZE]] += crc32(key)
            self.count += 1

    def applied(self, total: Total) -> Total:
        """The total after the transaction."""
        return total.plus(self.count, sum(self.by_prefix.values()))

    def by_number(self) -> dict[int, int]:
        """The changes by the number of the sum."""
        found: defaultdict[int, int] = defaultdict(int)
        for prefix, change in self.by_prefix.items():
            found[sum_number(prefix)] += change
        return found

    def write(self, txn: Any, db: Any, name: bytes) -> None:
        """Add what has changed to the stored sums, whose records have names that begin with ``name``."""
        chunks: dict[bytes, array[int]] = {}
        for prefix, change in self.by_prefix.items():
            chunk, place = sum_place(name, sum_number(prefix))
            sums = chunks.get(chunk)
            if sums is None:
                sums = chunks[chunk] = read_sums(txn, db, chunk)
            sums[place] = sums[place] + change & _MASK32
        for key, sums in sorted(chunks.items()):
            txn.put(key, sealed(key, sums.tobytes()), db=db)


def sum_number(key: bytes) -> int:
    """Number of the sum that a key's record counts in; keys of one number lie side by side."""
    return int.from_bytes(key[:PREFIX_SIZE].ljust(PREFIX_SIZE, b"\0"), "big") >> _SPARE_BITS


def sum_bounds(number: int) -> tuple[bytes, bytes | None]:
    """What the keys of a sum begin with at least, and with less than what; None is the end of all."""
    low, high = number << _SPARE_BITS, number + 1 << _SPARE_BITS
    return low.to_bytes(PREFIX_SIZE, "big"), None if number + 1 == SUMS else high.to_bytes(PREFIX_SIZE, "big")


def sum_place(name: bytes, number: int) -> tuple[bytes, int]:
    """The record that has a sum, and its place in there."""
    return name + bytes((number // CHUNK_SUMS,)), number % CHUNK_SUMS


def read_sums(txn: Any, db: Any, key: bytes) -> array[int]:
    """The sums that one record has, all 0 when there are none; raises CorruptionError."""
    sums = array("I")
    stored = txn.get(key, db=db)
    if stored is None:
        return array("I", bytes(4 * CHUNK_SUMS))
    sums.frombytes(opened(key, stored, "the sums"))
    if len(sums) != CHUNK_SUMS:
        raise CorruptionError("a record of the sums has a wrong size")
    return sums


def sum_matches(stored: int, checks: int) -> bool:
    """Whether the checksums that were found, added up, are what the stored sum says."""
    return checks & _MASK32 == stored
