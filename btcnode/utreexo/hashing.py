"""The hashes of the forest: SHA-512/256, of nodes (BIP 181) and of coins (BIP 182)."""

from __future__ import annotations

import hashlib

HASH_SIZE = 32
EMPTY = bytes(HASH_SIZE)  # how an empty root is written

# a copy of a prepared state costs a third of what a lookup of the algorithm by name does
_NODE = hashlib.new("sha512_256")
_TAG = hashlib.sha512(b"UtreexoV1").digest()
_LEAF = hashlib.new("sha512_256", _TAG + _TAG)  # one block of SHA-512, compressed once


def parent_hash(left: bytes | None, right: bytes | None) -> bytes | None:
    """The node above two others; an empty one (None) lets its sibling take the parent's place."""
    if left is None:
        return right
    if right is None:
        return left
    state = _NODE.copy()
    state.update(left + right)
    return state.digest()


def leaf_hash(block_hash: bytes, outpoint: bytes, coin: bytes) -> bytes:
    """The leaf of a packed ``coin`` at a 36-byte ``outpoint``, confirmed in the block of that hash.

    What BIP 182 hashes behind the block hash is the outpoint and then a packed coin's own bytes.
    """
    state = _LEAF.copy()
    state.update(block_hash + outpoint + coin)
    return state.digest()
