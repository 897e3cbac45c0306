"""The cache of verification results: transactions whose scripts are all valid.

It remembers successes only, by wtxid and flags; Python's sets place byte strings by a hash with a key of each process
(PEP 456), so nobody can aim at a slot. It is bounded in bytes by two generations: when the young one is full it becomes
the old one and the previous old one is forgotten, so an entry lives for at least half of its set's capacity, longer
when it is asked for.

Adding to and looking into a set are single steps of CPython, so threads may share a cache: at worst an entry is lost,
or the first ones of new flags.
"""

from __future__ import annotations

from collections.abc import Collection

ENTRY_BYTES = 150
"""Memory for one entry at worst: the wtxid as an object (80) and its share of the slots (70 measured)."""

DEFAULT_EXECUTION_CACHE_BYTES = 16 * 1024 * 1024


class GenerationSet:
    """A set of short byte strings in at most ``max_bytes`` of memory; the oldest half is forgotten at a time."""

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 2 * ENTRY_BYTES:
            raise ValueError(f"a cache needs at least {2 * ENTRY_BYTES} bytes")
        self._limit = max_bytes // ENTRY_BYTES // 2
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def __contains__(self, name: bytes) -> bool:
        if name in self._young:
            return True
        if name in self._old:
            self.add(name)
            return True
        return False

    def __len__(self) -> int:
        return len(self._young | self._old)

    def __bool__(self) -> bool:
        return bool(self._young or self._old)

    def has_all(self, names: Collection[bytes]) -> bool:
        """Whether it has each of them."""
        young = self._young
        if young.issuperset(names):
            return True
        return all(name in self for name in names)

    def add(self, name: bytes) -> None:
        """Remember ``name``."""
        young = self._young
        if len(young) >= self._limit:
            self._old = young
            self._young = young = set()
        young.add(name)


class ScriptExecutionCache:
    """Transactions whose scripts have all been verified under some flags (Core's script execution cache).

    The wtxid commits to the spent outputs through the prevouts' txids, so it stands for the whole verification. Two
    sets of flags are in use at a time, those of policy and those of the next block, and each has half of the room. When
    others come, as those of the block do when a soft fork has become active, the ones that were added to last are kept.
    """

    __slots__ = ("_last", "_max_bytes", "_valid")

    def __init__(self, max_bytes: int = DEFAULT_EXECUTION_CACHE_BYTES) -> None:
        """Raises ValueError for less than a few entries."""
        self._max_bytes = max_bytes // 2
        self._last = 0  # flags
        GenerationSet(self._max_bytes)
        self._valid: dict[int, GenerationSet] = {}  # wtxids by flags; replaced rather than changed: others may look

    def __len__(self) -> int:
        return sum(map(len, self._valid.values()))

    def __bool__(self) -> bool:
        return bool(self._valid)

    def contains(self, wtxid: bytes, flags: int) -> bool:
        """Whether ``add`` has been called with the same wtxid and flags."""
        valid = self._valid.get(flags)
        return valid is not None and wtxid in valid

    def contains_all(self, wtxids: Collection[bytes], flags: int) -> bool:
        """``contains`` of each of them."""
        valid = self._valid.get(flags)
        return valid is not None and valid.has_all(wtxids)

    def add(self, wtxid: bytes, flags: int) -> None:
        """Remember that every input of the transaction is valid under ``flags``."""
        valid = self._valid.get(flags)
        if valid is None:
            valid = GenerationSet(self._max_bytes)
            kept = {of: wtxids for of, wtxids in self._valid.items() if of == self._last}
            self._valid = kept | {flags: valid}
        self._last = flags
        valid.add(wtxid)
