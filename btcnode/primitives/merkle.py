"""Merkle trees over 32-byte hashes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from btcnode.primitives.hashes import ZERO_HASH


def merkle_root(hashes: Sequence[bytes]) -> tuple[bytes, bool]:
    """The merkle root, and whether the list is a mutation (CVE-2012-2459).

    It is one when two hashes that are paired at some level are equal, as then a shorter or longer list has the same
    root. The last hash of an odd level is paired with itself, which does not count. The root of nothing is zero.
    """
    if not hashes:
        return ZERO_HASH, False
    level = list(hashes)
    mutated = False
    while len(level) > 1:
        odd = len(level) & 1
        left, right = level[0::2], level[1::2]
        if not mutated and any(map(bytes.__eq__, left, right)):
            mutated = True
        if odd:
            right.append(left[-1])
        level = [sha256(sha256(a + b).digest()).digest() for a, b in zip(left, right, strict=True)]
    return level[0], mutated
