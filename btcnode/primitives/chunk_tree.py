"""Files in chunks of equal size, and the Merkle tree over their hashes (BIP 452, draft).

The hash of a chunk is its double SHA-256. Of an odd level the last hash goes up as it is, so that, other than in a
block's tree, no two lists have the same root.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

CHUNK_SIZE = 3_900_000  # bytes, but for the last one
MAX_CHUNKS = 1 << 14  # 64 GB; the hashes take 512 kB
HASH_SIZE = 32


def chunk_count(length: int) -> int:
    """Chunks of a file of ``length`` bytes."""
    return -(-length // CHUNK_SIZE)


def chunk_size(length: int, chunk: int) -> int:
    """Bytes of a chunk of a file of ``length`` bytes; 0 or less behind its end."""
    return min(CHUNK_SIZE, length - chunk * CHUNK_SIZE)


def chunk_hash(data: bytes) -> bytes:
    """Double SHA-256, 32 bytes in internal order."""
    return sha256(sha256(data).digest()).digest()


def split_hashes(joined: bytes) -> list[bytes]:
    """The hashes that lie side by side in ``joined``."""
    return [joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)]


def chunk_root(hashes: Sequence[bytes]) -> bytes:
    """The root over at least one hash; raises ValueError for none."""
    level = list(hashes)
    if not level:
        raise ValueError("no chunks")
    while len(level) > 1:
        last = level[len(level) & ~1 :]
        level = [chunk_hash(a + b) for a, b in zip(level[0::2], level[1::2], strict=False)] + last
    return level[0]
