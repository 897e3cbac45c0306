"""Merkle trees over 32-byte hashes."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from btcnode.compiled import current
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.steps import Steps, at_once

PAIRS_IN_STEP = 2_000  # about two milliseconds
HASHES_FOR_KERNEL = 8  # fewer are hashed in less time than it takes to call one
HASHES_AT_ONCE = 100_000  # a kernel takes 15 milliseconds for them


def merkle_root(hashes: Sequence[bytes]) -> tuple[bytes, bool]:
    """The merkle root, and whether the list is a mutation (CVE-2012-2459).

    It is one when two hashes that are paired at some level are equal, as then a shorter or longer list has the same
    root. The last hash of an odd level is paired with itself, which does not count. The root of nothing is zero.
    """
    return at_once(merkle_root_in_steps(hashes))


def merkle_root_in_steps(hashes: Sequence[bytes]) -> Steps[tuple[bytes, bool]]:
    """The same in steps."""
    if not hashes:
        return ZERO_HASH, False
    kernels = current()
    if kernels is not None and HASHES_FOR_KERNEL <= len(hashes) <= HASHES_AT_ONCE:
        return kernels.merkle_root(b"".join(hashes))
    level = list(hashes)
    mutated = False
    while len(level) > 1:
        odd = len(level) & 1
        left, right = level[0::2], level[1::2]
        if not mutated and any(map(bytes.__eq__, left, right)):
            mutated = True
        if odd:
            right.append(left[-1])
        level = []
        for at in range(0, len(left), PAIRS_IN_STEP):
            if at:
                yield
            pairs = zip(left[at : at + PAIRS_IN_STEP], right[at : at + PAIRS_IN_STEP], strict=True)
            level += [sha256(sha256(a + b).digest()).digest() for a, b in pairs]
    return level[0], mutated
