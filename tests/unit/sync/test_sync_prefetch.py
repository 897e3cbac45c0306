"""Prefetching: what is asked, when it is worth it, and what bounds it."""

from __future__ import annotations

import asyncio
import mmap
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from btcnode.errors import StorageError
from btcnode.sync import prefetch
from btcnode.sync.prefetch import BATCH, MAX_QUEUED, PROBE_EVERY, Prefetcher, thread_disk_reads


class Block:
    """A coinbase and inputs."""

    def __init__(self, prevouts: list[bytes]) -> None:
        self._prevouts = prevouts

    def prevouts(self) -> list[bytes]:
        return [bytes(32) + b"\xff" * 4, *self._prevouts]


def outpoints(count: int, first: int = 0) -> list[bytes]:
    return [n.to_bytes(36, "big") for n in range(first, first + count)]


class Cache:
    def __init__(self, known: Sequence[bytes] = ()) -> None:
        self.known = set(known)

    def unknown(self, wanted: Sequence[bytes]) -> list[bytes]:
        return [outpoint for outpoint in wanted if outpoint not in self.known]


class Disk:
    """Answers, from memory or having read, or fails; remembers what it was asked."""

    def __init__(self, *, cold: bool = False, seconds: float = 0.0, error: bool = False) -> None:
        self.cold, self.seconds, self.error = cold, seconds, error
        self.reads = 0
        self.asked: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()

    def touch(self, wanted: list[bytes]) -> None:
        self.gate.wait()
        if self.error:
            raise StorageError("cannot read")
        self.reads += len(wanted) * self.cold
        time.sleep(self.seconds)
        self.asked += wanted


def drain(prefetcher: Prefetcher) -> None:
    prefetcher._pool.shutdown()


def over(disk: Disk, cache: Cache | None = None) -> Prefetcher:
    return Prefetcher(cache or Cache(), disk, lambda: disk.reads)


def test_who_waits_for_coins_is_told_whether_the_disk_was_read() -> None:
    known, disk = outpoints(5), Disk(cold=True)
    prefetcher = over(disk, Cache(known))
    assert asyncio.run(prefetcher.warm(outpoints(20))) and disk.asked == outpoints(15, 5)
    assert not asyncio.run(prefetcher.warm(known))
    disk.cold = False
    assert not asyncio.run(prefetcher.warm(outpoints(20)))
    disk.error = True
    assert not asyncio.run(prefetcher.warm(outpoints(20)))  # who needs the coins will tell
    prefetcher.close()
    assert not asyncio.run(prefetcher.warm(outpoints(20)))


def test_a_slow_disk_is_asked_for_every_block_but_not_for_what_is_known() -> None:
    blocks = [outpoints(100, 1000 * n) for n in range(6)]
    disk = Disk(cold=True)
    prefetcher = over(disk, Cache(blocks[0][:50]))
    prefetcher._look_up(blocks[0])
    assert prefetcher.active
    for block in blocks[1:]:
        prefetcher.offer(Block(block))
    drain(prefetcher)
    assert set(disk.asked) == {outpoint for block in blocks for outpoint in block} - set(blocks[0][:50])


def test_memory_is_probed_now_and_then_however_long_it_takes() -> None:
    """A busy machine, or an interpreter that others hold, is no slow disk."""
    disk = Disk(seconds=0.02)
    prefetcher = over(disk)
    prefetcher._look_up(outpoints(BATCH))
    assert not prefetcher.active
    disk.seconds = 0.0
    for n in range(PROBE_EVERY):
        prefetcher.offer(Block(outpoints(10, 1000 + 10 * n)))
    drain(prefetcher)
    assert len(disk.asked) == BATCH + 10


def test_what_waits_is_bounded() -> None:
    disk = Disk()
    disk.gate.clear()
    prefetcher = over(disk)
    prefetcher._share = 1.0
    prefetcher.offer(Block(outpoints(MAX_QUEUED + 3 * BATCH)))
    assert prefetcher._queued <= MAX_QUEUED and prefetcher.skipped >= 3 * BATCH
    disk.gate.set()
    drain(prefetcher)
    assert prefetcher._queued == 0 and prefetcher.lookups == len(disk.asked) <= MAX_QUEUED


def test_an_error_is_left_to_who_needs_the_coin() -> None:
    prefetcher = over(Disk(error=True))
    prefetcher.offer(Block(outpoints(10)))
    prefetcher.close()
    assert prefetcher.lookups == 0
    prefetcher._blocks = 0
    prefetcher.offer(Block(outpoints(10)))  # closed: nothing happens
    assert prefetch.THREADS > 1


def test_pages_that_were_not_in_memory_are_counted(tmp_path: Path) -> None:
    if not os.major(tmp_path.stat().st_dev):
        pytest.skip("temporary files may lie in memory")
    path, pages = tmp_path / "pages", 64
    path.write_bytes(os.urandom(pages * mmap.PAGESIZE))
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as warm:
            before = thread_disk_reads()
            warm[:: mmap.PAGESIZE]
            assert thread_disk_reads() == before
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as cold:
            cold[:: mmap.PAGESIZE]
    assert thread_disk_reads() > before
