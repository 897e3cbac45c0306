"""Warming the coins that stored blocks will spend, before the chain thread asks for them.

On a disk that answers in 100 us, a block of 6,000 inputs whose coins are not in memory costs 0.6 s of waiting, one
coin after the other. Here a few threads ask for the same coins while earlier blocks are still being connected: LMDB
lets go of the interpreter while a page comes from the disk, and the page is in the system's cache when it is needed.
No value is handed over, so nothing can be out of date. Where pages are in memory anyway this would be work for
nothing: only one block in ``PROBE_EVERY`` is then looked at, to see whether that is still so. What tells is how often
the system had to read for the thread that looks (major page faults): time would not, as most of it is waiting for the
interpreter where blocks connect.
"""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from btcnode.errors import StorageError

THREADS = 4  # questions that the disk has at a time
BATCH = 512  # outpoints to a question
MAX_QUEUED = 1 << 16  # outpoints that wait: 65,536 x 36 bytes and their objects, 8 MB
DISK_SHARE = 1 / 32  # of lookups that had to read from the disk: from it on the others are worth their 3 us
PROBE_EVERY = 16  # blocks


class Spender(Protocol):
    """A parsed block, as far as it matters here."""

    def prevouts(self) -> list[bytes]:
        """The outpoint of every input, the coinbase's first."""


class CoinSource(Protocol):
    """The coin cache, as far as it matters here."""

    def unknown(self, outpoints: Sequence[bytes]) -> list[bytes]:
        """Those that the database would be asked for."""


class Backend(Protocol):
    """The stored coins."""

    def touch(self, outpoints: list[bytes]) -> None:
        """Look coins up, whatever comes of it."""


class Prefetcher:
    """Takes stored blocks; ``offer`` never waits and never fails."""

    def __init__(self, cache: CoinSource, backend: Backend, disk_reads: Callable[[], int] | None = None) -> None:
        """``disk_reads``: how often the system has read from the disk for the calling thread so far."""
        self._cache = cache
        self._backend = backend
        self._disk_reads = disk_reads or thread_disk_reads
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="prefetch")
        self._lock = threading.Lock()
        self._queued = 0
        self._blocks = 0
        self._share = 0.0  # of lookups that met the disk, smoothed
        self.cached = 0  # outpoints whose coins were in memory already
        self.lookups = 0  # coins that were asked for ahead
        self.skipped = 0  # outpoints for which there was no room

    @property
    def active(self) -> bool:
        """Whether lookups meet the disk often enough to be worth it."""
        return self._share >= DISK_SHARE

    def offer(self, block: Spender) -> None:
        """A block is stored and will be connected; from the chain thread."""
        self._blocks += 1
        if not self.active and self._blocks % PROBE_EVERY != 1:
            return
        prevouts = block.prevouts()[1:]
        for start in range(0, len(prevouts), BATCH):
            batch = prevouts[start : start + BATCH]
            with self._lock:
                if self._queued + len(batch) > MAX_QUEUED:
                    self.skipped += len(prevouts) - start
                    return
                self._queued += len(batch)
            try:
                self._pool.submit(self._look_up, batch)
            except RuntimeError:  # closed meanwhile
                return

    def _look_up(self, outpoints: Sequence[bytes]) -> None:
        unknown, reads = 0, 0
        try:
            unknown, reads = self._touch(outpoints)
        finally:
            with self._lock:
                self._queued -= len(outpoints)
                self.lookups += unknown
                self.cached += len(outpoints) - unknown
                if unknown:
                    self._share += (reads / unknown - self._share) / 8

    def _touch(self, outpoints: Sequence[bytes]) -> tuple[int, int]:
        """Look coins up; for how many the stored ones were asked, and how often the disk was read for it."""
        try:
            unknown = self._cache.unknown(outpoints)
            if not unknown:
                return 0, 0
            before = self._disk_reads()
            self._backend.touch(unknown)
            return len(unknown), self._disk_reads() - before
        except StorageError:
            return 0, 0  # whoever needs these coins will meet the same error and can tell it

    async def warm(self, outpoints: Sequence[bytes]) -> bool:
        """Wait until these coins are in memory, for a moment at least; returns whether the disk was read for it."""
        try:
            _, reads = await asyncio.wrap_future(self._pool.submit(self._touch, outpoints))
        except RuntimeError:  # closed meanwhile
            return False
        return reads > 0

    def close(self) -> None:
        """Drop what waits and end the threads."""
        self._pool.shutdown(cancel_futures=True)


def thread_disk_reads() -> int:
    """Major page faults so far: of the calling thread, or of the process where the system tells only these."""
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_majflt
