"""What a sync without lookups knows at a moment: which blocks are folded, the sums so far, where the survivors lie.

All of it is one record, so that a kill leaves a state that fits together: the blocks that are done and exactly their
sums. Memory and record: one byte, and one bit, for each block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import field
from struct import Struct
from zlib import crc32

from btcnode.errors import CorruptionError
from btcnode.record import record, struct
from btcnode.swiftsync.fold import Fold
from btcnode.swiftsync.sums import MODULUS, SALT_SIZE

VERSION = 3
# version, height, hash of the block there, SHA-256 of the hintsfile, salt, whether the sums are of coins; created,
# spent; kept, lost, inputs; runs
_HEAD = Struct(f"<II32s32s{SALT_SIZE}s?16s16sQQQI")
_RUN = Struct("<QQQI")  # bytes and coins of survivors, early coinbases behind them, CRC-32 of all
_CHECK = Struct("<I")
_TO_TEXT = b"01" + bytes(254)
_FROM_TEXT = bytes.maketrans(b"01", b"\x00\x01")


@record
class RunRecord:
    """A file of survivors: ``size`` bytes of ``coins`` records in order, then ``coinbases``; ``crc`` of the file."""

    size: int
    coins: int
    coinbases: int
    crc: int


@struct
class Ledger:
    """The state; ``target`` is the hash of the block at ``height``, amounts are satoshi.

    ``full``: every script is verified, and the sums are those of coins.
    """

    height: int
    target: bytes
    hints: bytes
    salt: bytes
    created: int = 0
    spent: int = 0
    kept: int = 0
    lost: int = 0
    inputs: int = 0
    runs: list[RunRecord] = field(default_factory=list)
    done: bytearray = field(default_factory=bytearray)  # by height, 1 for a folded block; that of genesis is 1
    first: int = 1  # the lowest block that is not folded
    left: int = 0  # blocks that are not folded
    full: bool = False

    def __post_init__(self) -> None:
        if not self.done:
            self.done = bytearray(self.height + 1)
            self.done[0] = 1
        self._count()

    def _count(self) -> None:
        first = self.done.find(0)
        self.first = first if first >= 0 else self.height + 1
        self.left = self.done.count(0)

    @property
    def coins(self) -> int:
        """Coins in the runs."""
        return sum(run.coins for run in self.runs)

    def add(self, height: int, fold: Fold) -> bool:
        """Count a folded block; returns whether it was not counted before."""
        if self.done[height]:
            return False
        self.done[height] = 1
        self.left -= 1
        self.created = (self.created + fold.created) % MODULUS
        self.spent = (self.spent + fold.spent) % MODULUS
        self.kept += fold.kept
        self.lost += fold.lost
        self.inputs += fold.inputs
        if height == self.first:
            first = self.done.find(0, height)
            self.first = first if first >= 0 else self.height + 1
        return True

    def pack(self) -> bytes:
        """The record."""
        bits = int(self.done.translate(_TO_TEXT), 2).to_bytes(-(-len(self.done) // 8), "big")
        head = _HEAD.pack(
            VERSION, self.height, self.target, self.hints, self.salt, self.full,
            self.created.to_bytes(16, "big"), self.spent.to_bytes(16, "big"),
            self.kept, self.lost, self.inputs, len(self.runs),
        )  # fmt: skip
        runs = [_RUN.pack(run.size, run.coins, run.coinbases, run.crc) for run in self.runs]
        data = b"".join((head, *runs, bits))
        return data + _CHECK.pack(crc32(data))

    @classmethod
    def unpack(cls, data: bytes) -> Ledger:
        """The inverse of ``pack``; raises CorruptionError."""
        body, check = data[: -_CHECK.size], data[-_CHECK.size :]
        if len(body) < _HEAD.size or _CHECK.pack(crc32(body)) != check:
            raise CorruptionError("the record of a SwiftSync is damaged")
        version, height, target, hints, salt, full, created, spent, kept, lost, inputs, count = _HEAD.unpack_from(body)
        end = _HEAD.size + count * _RUN.size
        if version != VERSION or len(body) != end + -(-(height + 1) // 8):
            raise CorruptionError("the record of a SwiftSync is of another version")
        runs = [RunRecord(*_RUN.unpack_from(body, at)) for at in range(_HEAD.size, end, _RUN.size)]
        bits = f"{int.from_bytes(body[end:], 'big'):0{height + 1}b}".encode()
        sums = int.from_bytes(created, "big"), int.from_bytes(spent, "big")
        done = bytearray(bits.translate(_FROM_TEXT))
        return cls(height, target, hints, salt, *sums, kept, lost, inputs, runs, done, full=full)


def find_repeated(coinbases: Iterable[tuple[int, bytes]], allowed: Collection[int]) -> tuple[int, int] | None:
    """Heights of a coinbase and of a later one with the same txid that is not ``allowed``; None: there is none.

    Transactions can be the same only if the coinbases that they descend from are, so that this is all of BIP30.
    """
    seen: dict[bytes, int] = {}
    for height, txid in sorted(coinbases):
        if txid in seen and height not in allowed:
            return seen[txid], height
        seen[txid] = height
    return None
