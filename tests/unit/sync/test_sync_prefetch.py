"""Prefetching: what is asked, when it is worth it, and what bounds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from btcnode.errors import StorageError
from btcnode.sync import prefetch
from btcnode.sync.prefetch import BATCH, MAX_QUEUED, PROBE_EVERY, Prefetcher


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
    """Answers after a while, or fails; remembers what it was asked."""

    def __init__(self, seconds: float = 0.0, error: bool = False) -> None:
        self.seconds, self.error = seconds, error
        self.asked: list[bytes] = []
        self.gate = threading.Event()
        self.gate.set()

    def touch(self, wanted: list[bytes]) -> None:
        self.gate.wait()
        if self.error:
            raise StorageError("cannot read")
        time.sleep(self.seconds * len(wanted))
        self.asked += wanted


def drain(prefetcher: Prefetcher) -> None:
    prefetcher._pool.shutdown()


def test_a_slow_disk_is_asked_for_every_block_but_not_for_what_is_known() -> None:
    blocks = [outpoints(100, 1000 * n) for n in range(6)]
    disk = Disk(seconds=60e-6)
    prefetcher = Prefetcher(Cache(blocks[0][:50]), disk)
    prefetcher.offer(Block(blocks[0]))
    while not prefetcher.active:
        time.sleep(0.001)
        prefetcher._blocks = 0  # probe again: the smoothed cost has to grow first
        prefetcher.offer(Block(blocks[0]))
    for block in blocks[1:]:
        prefetcher.offer(Block(block))
    drain(prefetcher)
    assert set(disk.asked) == {outpoint for block in blocks for outpoint in block} - set(blocks[0][:50])


def test_a_fast_disk_is_probed_now_and_then() -> None:
    disk = Disk()
    prefetcher = Prefetcher(Cache(), disk)
    prefetcher._look_up(outpoints(BATCH))
    prefetcher._cost = 0.0  # however busy this machine is
    for n in range(PROBE_EVERY):
        prefetcher.offer(Block(outpoints(10, 1000 + 10 * n)))
    drain(prefetcher)
    assert len(disk.asked) == BATCH + 10


def test_what_waits_is_bounded() -> None:
    disk = Disk()
    disk.gate.clear()
    prefetcher = Prefetcher(Cache(), disk)
    prefetcher._cost = 1.0
    prefetcher.offer(Block(outpoints(MAX_QUEUED + 3 * BATCH)))
    assert prefetcher._queued <= MAX_QUEUED and prefetcher.skipped >= 3 * BATCH
    disk.gate.set()
    drain(prefetcher)
    assert prefetcher._queued == 0 and prefetcher.lookups == len(disk.asked) <= MAX_QUEUED


def test_an_error_is_left_to_who_needs_the_coin() -> None:
    prefetcher = Prefetcher(Cache(), Disk(error=True))
    prefetcher.offer(Block(outpoints(10)))
    prefetcher.close()
    assert prefetcher.lookups == 0
    prefetcher._blocks = 0
    prefetcher.offer(Block(outpoints(10)))  # closed: nothing happens
    assert prefetch.THREADS > 1
