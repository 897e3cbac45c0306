"""A proof that leaves are in the forest (BIP 181), and its encoding."""

from __future__ import annotations

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.record import record
from btcnode.utreexo.hashing import EMPTY, HASH_SIZE

MAX_TARGETS = 24_386  # inputs that fit into a block
MAX_HASHES = (51 - 15) * MAX_TARGETS + (1 << 15) - MAX_TARGETS  # of them all, in a forest of 51 rows
_MAX_POSITION = 2**64 - 1


@record
class Proof:
    """``targets``: the positions of the leaves, in the order of the leaves; ``hashes``: by ascending position."""

    targets: tuple[int, ...] = ()
    hashes: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """``CompactSize(n) + n * CompactSize(position) + CompactSize(m) + m * hash[32]``, as utreexod sends it."""
        targets = b"".join(map(compact_size, self.targets))
        return b"".join((compact_size(len(self.targets)), targets, compact_size(len(self.hashes)), *self.hashes))

    @classmethod
    def decode(cls, data: bytes, at: int = 0) -> tuple[Proof, int]:
        """Read a proof at ``at``; returns it and the place behind it. Raises DecodeError."""
        count, at = read_compact_size(data, at, MAX_TARGETS)
        targets = []
        for _ in range(count):
            target, at = read_compact_size(data, at, _MAX_POSITION)
            targets.append(target)
        count, at = read_compact_size(data, at, MAX_HASHES)
        end = at + count * HASH_SIZE
        if end > len(data):
            raise DecodeError("a Utreexo proof ends before its last hash")
        hashes = tuple(data[start : start + HASH_SIZE] for start in range(at, end, HASH_SIZE))
        if EMPTY in hashes:
            raise DecodeError("a Utreexo proof has an empty hash")
        return cls(tuple(targets), hashes), end
