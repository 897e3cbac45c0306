"""Rolling Bloom filters: what was seen recently, in constant memory."""

from __future__ import annotations

from hashlib import blake2b
from struct import unpack

GENERATION_BITS_LOG2 = 16
HASHES = 8


class BloomHasher:
    """Turns byte strings into the positions that filters of one shape share: hashed once for many filters.

    ``key`` is secret, else peers could choose collisions. ``bits_log2`` is the size of a generation, ``hashes`` the
    number of positions (at most 16).
    """

    __slots__ = ("_digest_size", "_format", "_key", "_mask", "generation_bytes")

    def __init__(self, key: bytes, bits_log2: int = GENERATION_BITS_LOG2, hashes: int = HASHES) -> None:
        self._key = key
        self._digest_size = 4 * hashes
        self._format = f"<{hashes}I"
        self._mask = (1 << bits_log2) - 1
        self.generation_bytes = 1 << bits_log2 >> 3

    def positions(self, item: bytes) -> list[int]:
        """Bit numbers of ``item`` in a generation, one for each hash function."""
        mask = self._mask
        digest = blake2b(item, digest_size=self._digest_size, key=self._key).digest()
        return [word & mask for word in unpack(self._format, digest)]


class RollingBloom:
    """Remembers at least the last ``per_generation`` byte strings added, at most twice as many.

    Two generations; the older is cleared when the younger is full. By default they have 8 KiB each and eight positions
    for an entry: at 2,500 entries a generation answers wrongly for 2 strings in 100,000. Other shapes and their error
    rates stand in ``limits.py``.
    """

    __slots__ = ("_count", "_old", "_per_generation", "_young", "hasher")

    def __init__(self, key: bytes, per_generation: int, *, hasher: BloomHasher | None = None) -> None:
        self.hasher = hasher if hasher is not None else BloomHasher(key)
        self._per_generation = per_generation
        self._count = 0
        self._young = bytearray(self.hasher.generation_bytes)
        self._old = bytearray(self.hasher.generation_bytes)

    def __contains__(self, item: bytes) -> bool:
        return self.has(self.hasher.positions(item))

    def has(self, positions: list[int]) -> bool:
        """Whether what has these positions was added."""
        for bits in (self._young, self._old):
            for p in positions:
                if not bits[p >> 3] >> (p & 7) & 1:
                    break
            else:
                return True
        return False

    def add(self, item: bytes) -> None:
        """Remember ``item``."""
        self.put(self.hasher.positions(item))

    def put(self, positions: list[int]) -> None:
        """Remember what has these positions."""
        if self._count >= self._per_generation:
            self._old, self._young = self._young, bytearray(self.hasher.generation_bytes)
            self._count = 0
        young = self._young
        for p in positions:
            young[p >> 3] |= 1 << (p & 7)
        self._count += 1

    def clear(self) -> None:
        """Forget everything."""
        self._count = 0
        self._young = bytearray(self.hasher.generation_bytes)
        self._old = bytearray(self.hasher.generation_bytes)
