"""Partial merkle trees (BIP37): some transactions of a block, and the hashes that lead from them to its root."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import sha256d

MAX_TRANSACTIONS = 4_000_000 // 60 // 4  # of a block: weight of the smallest transaction is 240


def _width(total: int, height: int) -> int:
    """Nodes of a tree at a height; the leaves have 0."""
    return (total + (1 << height) - 1) >> height


def _height(total: int) -> int:
    height = 0
    while _width(total, height) > 1:
        height += 1
    return height


def build_proof(txids: Sequence[bytes], wanted: Collection[bytes]) -> tuple[list[bytes], bytes]:
    """Hashes and packed bits (lowest first) of the tree of ``txids`` that proves ``wanted``."""
    levels: list[list[bytes]] = [list(txids)]
    marks = [[txid in wanted for txid in txids]]
    while len(levels[-1]) > 1:
        below, marked = levels[-1], marks[-1]
        pairs = range(0, len(below), 2)
        levels.append([sha256d(below[n] + below[min(n + 1, len(below) - 1)]) for n in pairs])
        marks.append([any(marked[n : n + 2]) for n in pairs])
    bits: list[bool] = []
    hashes: list[bytes] = []
    todo = [(len(levels) - 1, 0)]
    while todo:
        height, n = todo.pop()
        inside = marks[height][n]
        bits.append(inside)
        if not height or not inside:
            hashes.append(levels[height][n])
            continue
        if 2 * n + 1 < len(levels[height - 1]):
            todo.append((height - 1, 2 * n + 1))
        todo.append((height - 1, 2 * n))
    packed = sum(bit << n for n, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")
    return hashes, packed


class _Walk:
    """Goes through a proof depth first, as it was built."""

    def __init__(self, total: int, hashes: Sequence[bytes], flags: bytes) -> None:
        self._total = total
        self._hashes = hashes
        self._flags = flags
        self.bits_used = 0
        self.hashes_used = 0
        self.found: dict[bytes, int] = {}  # places in the block by txid

    def node(self, height: int, n: int) -> bytes:
        """The hash of a node; raises DecodeError."""
        if self.bits_used >= 8 * len(self._flags):
            raise DecodeError("the proof has too few bits")
        inside = self._flags[self.bits_used >> 3] >> (self.bits_used & 7) & 1
        self.bits_used += 1
        if not height or not inside:
            if self.hashes_used >= len(self._hashes):
                raise DecodeError("the proof has too few hashes")
            digest = self._hashes[self.hashes_used]
            self.hashes_used += 1
            if inside:
                self.found[digest] = n
            return digest
        left = right = self.node(height - 1, 2 * n)
        if 2 * n + 1 < _width(self._total, height - 1):
            right = self.node(height - 1, 2 * n + 1)
            if right == left:  # equal halves would let a proof be forged (CVE-2012-2459)
                raise DecodeError("the proof repeats a node")
        return sha256d(left + right)


def read_proof(total: int, hashes: Sequence[bytes], flags: bytes) -> tuple[bytes, list[bytes]]:
    """The merkle root that a proof leads to, and the txids it proves, in block order; raises DecodeError."""
    root, places = read_places(total, hashes, flags)
    return root, list(places)


def read_places(total: int, hashes: Sequence[bytes], flags: bytes) -> tuple[bytes, dict[bytes, int]]:
    """The merkle root that a proof leads to, and for each txid it proves the place in the block.

    ``total`` is the number of transactions of the block. Raises DecodeError for what is no proof.
    """
    if not 0 < total <= MAX_TRANSACTIONS or len(hashes) > total or 8 * len(flags) < len(hashes):
        raise DecodeError("the sizes of the proof make no sense")
    walk = _Walk(total, hashes, flags)
    root = walk.node(_height(total), 0)
    if (walk.bits_used + 7) // 8 != len(flags) or walk.hashes_used != len(hashes):
        raise DecodeError("the proof has parts that nothing needs")
    return root, walk.found
