"""Whether every coin that was spent was made, and once: by a salted number of 64 bits for each, in files by bucket.

What a worker sends of a partition are numbers only. They are counted bucket by bucket, so that memory holds one of
them at a time: for all of mainnet some 25 GB lie on the disk for either side, a bucket has 25 MB of each, and counting
takes eight times that.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from siphashc import siphash

from btcnode.storage.durable import storage_error

BUCKETS = 1024
BUFFERED = 64 << 20  # bytes of numbers that wait in memory
_SHIFT = 64 - 10


def coin_keys(salt: bytes, coins: Iterable[bytes]) -> array[int]:
    """The numbers of coins, each given as outpoint and packed coin, in ascending order."""
    return array("Q", sorted([siphash(salt, coin) for coin in coins]))


class KeySpool:
    """The numbers of all coins made and spent, in a folder of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._waiting: dict[str, list[array[int]]] = {}
        self._bytes = 0

    def add(self, made: array[int], spent: array[int]) -> None:
        """Take in those of a partition, in ascending order; raises StorageError."""
        for side, keys in (("made", made), ("spent", spent)):
            start = 0
            while start < len(keys):
                bucket = keys[start] >> _SHIFT
                end = bisect_left(keys, (bucket + 1) << _SHIFT, start)
                self._waiting.setdefault(f"{side}{bucket:04d}", []).append(keys[start:end])
                start = end
            self._bytes += 8 * len(keys)
        if self._bytes >= BUFFERED:
            self._flush()

    def _flush(self) -> None:
        try:
            for name, parts in self._waiting.items():
                with (self._directory / name).open("ab") as file:
                    for part in parts:
                        part.tofile(file)
        except OSError as error:
            raise storage_error(error, f"cannot write to {self._directory}") from None
        self._waiting.clear()
        self._bytes = 0

    def unmatched(self) -> set[int]:
        """The numbers of coins that were spent more often than they were made; raises StorageError."""
        self._flush()
        found: set[int] = set()
        for bucket in range(BUCKETS):
            made, spent = self._read(f"made{bucket:04d}"), self._read(f"spent{bucket:04d}")
            if len(spent):
                found |= _too_many(made, spent)
        return found

    def _read(self, name: str) -> pa.Array:
        try:
            data = (self._directory / name).read_bytes()
        except FileNotFoundError:
            data = b""
        except OSError as error:
            raise storage_error(error, f"cannot read {self._directory / name}") from None
        return pa.Array.from_buffers(pa.uint64(), len(data) // 8, [None, pa.py_buffer(data)])


def _too_many(made: pa.Array, spent: pa.Array) -> set[int]:
    """Those of ``spent`` that are in ``made`` less often."""
    keys = pa.chunked_array([made, spent])
    one, minus = pa.scalar(1, pa.int8()), pa.scalar(-1, pa.int8())
    weights = pa.chunked_array([pa.repeat(one, len(made)), pa.repeat(minus, len(spent))])
    sums = pa.table({"key": keys, "weight": weights}).group_by("key").aggregate([("weight", "sum")])
    short = sums.filter(pc.less(sums["weight_sum"], 0))
    return set(short["key"].to_pylist())
