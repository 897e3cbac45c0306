"""Rolling Bloom filters: what was seen recently, in constant memory."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct

GENERATION_BITS_LOG2 = 16
HASHES = 8


Positions = tuple[int, ...]
"""32-bit words, one for each hash function; a filter takes as many bits of each as its generations have."""


class BloomHasher:
    """Turns byte strings into the positions that filters of one shape share: hashed once for many filters.

    ``key`` is secret, else peers could choose collisions. ``bits_log2`` (at most 32) is the size of a generation,
    ``hashes`` the number of positions (at most 16).
    """

    __slots__ = ("_keyed", "_unpack", "generation_bytes", "mask")

    def __init__(self, key: bytes, bits_log2: int = GENERATION_BITS_LOG2, hashes: int = HASHES) -> None:
        self._keyed = blake2b(digest_size=4 * hashes, key=key)
        self._unpack = Struct(f"<{hashes}I").unpack
        self.mask = (1 << bits_log2) - 1
        self.generation_bytes = 1 << bits_log2 >> 3

    def positions(self, item: bytes) -> Positions:
        """Where ``item`` stands in a generation."""
        state = self._keyed.copy()
        state.update(item)
        return self._unpack(state.digest())


class RollingBloom:
    """Remembers at least the last ``per_generation`` byte strings added, at most twice as many.

    Two generations; the older is cleared when the younger is full. By default they have 8 KiB each and eight positions
    for an entry: at 2,500 entries a generation answers wrongly for 2 strings in 100,000. Other shapes and their error
    rates stand in ``limits.py``. One that nothing was added to takes no memory.
    """

    __slots__ = ("_count", "_old", "_per_generation", "_young", "hasher", "is_empty")

    def __init__(self, key: bytes, per_generation: int, *, hasher: BloomHasher | None = None) -> None:
        self.hasher = hasher if hasher is not None else BloomHasher(key)
        self._per_generation = per_generation
        self._count = 0
        self._young = self._old = bytearray()
        self.is_empty = True

    def __contains__(self, item: bytes) -> bool:
        return self.has(self.hasher.positions(item))

    def has(self, positions: Positions) -> bool:
        """Whether what has these positions was added."""
        if self.is_empty:
            return False
        mask, young, old = self.hasher.mask, self._young, self._old
        first = positions[0] & mask
        if not (young[first >> 3] | old[first >> 3]) >> (first & 7) & 1:  # mostly: it was not
            return False
        for bits in (young, old):
            for word in positions:
                p = word & mask
                if not bits[p >> 3] >> (p & 7) & 1:
                    break
            else:
                return True
        return False

    def add(self, item: bytes) -> None:
        """Remember ``item``."""
        self.put(self.hasher.positions(item))

    def put(self, positions: Positions) -> None:
        """Remember what has these positions."""
        if self.is_empty:
            self.is_empty = False
            self._young, self._old = (bytearray(self.hasher.generation_bytes) for _ in range(2))
        if self._count >= self._per_generation:
            self._old, self._young = self._young, bytearray(self.hasher.generation_bytes)
            self._count = 0
        young, mask = self._young, self.hasher.mask
        for word in positions:
            p = word & mask
            young[p >> 3] |= 1 << (p & 7)
        self._count += 1

    def clear(self) -> None:
        """Forget everything."""
        if self.is_empty:  # nearly every time that a block comes during a sync
            return
        self.is_empty = True
        self._count = 0
        self._young = self._old = bytearray()
