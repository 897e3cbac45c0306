"""The view of the coins at the active tip while the chain thread is elsewhere."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Collection

from btcnode.chain.coins_cache import CoinsCache
from btcnode.chain.read_view import ReadView
from btcnode.consensus.connect import BlockDelta
from btcnode.primitives.coin import make_coin


class SlowBackend:
    """Stored coins; a batch becomes visible as a whole, as a commit does."""

    def __init__(self) -> None:
        self.coins: dict[bytes, bytes] = {}

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        coins = self.coins
        return [coins.get(outpoint) for outpoint in outpoints]

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        return set(txids)

    def commit(self, cache: CoinsCache) -> None:
        batch = cache.freeze()
        self.coins = {key: coin for key, coin in self.coins.items() if key not in batch.deletes} | dict(batch.puts)
        cache.flushed()


def outpoint(number: int) -> bytes:
    return number.to_bytes(36, "big")


def coin(number: int) -> bytes:
    return make_coin(100 + number, False, 5000 + number, bytes(22))


def spend(old: int, new: int) -> BlockDelta:
    return BlockDelta(created={outpoint(new): coin(new)}, spent={outpoint(old): coin(old)})


def test_the_view_follows_the_tip_not_the_chain_thread() -> None:
    cache = CoinsCache(SlowBackend(), 1 << 20)
    view = ReadView(cache)
    cache.apply(BlockDelta(created={outpoint(0): coin(0)}, spent={}))
    assert view.get(outpoint(0)) is None
    view.drop_changes(oldest_only=False)
    version = view.version
    cache.apply(spend(0, 1))  # two blocks ahead of their scripts
    cache.apply(spend(1, 2))
    assert view.get_many([outpoint(n) for n in range(3)]) == [coin(0), None, None]
    assert [view.held(outpoint(n)) for n in range(3)] == [None] * 3, "not while a change is under way"
    assert view.version == version
    view.drop_changes(oldest_only=True)
    assert view.get_many([outpoint(n) for n in range(3)]) == [None, coin(1), None]
    view.drop_changes(oldest_only=True)
    assert view.get_many([outpoint(n) for n in range(3)]) == [None, None, coin(2)]
    assert [view.held(outpoint(n)) for n in range(3)] == [None, None, coin(2)]
    assert view.version == version + 2


def test_a_retreat_is_not_seen_and_a_disconnection_only_when_the_tip_moves() -> None:
    cache = CoinsCache(SlowBackend(), 1 << 20)
    view = ReadView(cache)
    cache.apply(BlockDelta(created={outpoint(0): coin(0)}, spent={}))
    view.drop_changes(oldest_only=False)
    cache.apply(spend(0, 1))
    cache.apply_disconnect({outpoint(0): coin(0)}, [outpoint(1)])
    assert view.get_many([outpoint(0), outpoint(1)]) == [coin(0), None]
    view.drop_changes(oldest_only=False)
    assert view.get_many([outpoint(0), outpoint(1)]) == [coin(0), None]
    cache.apply_disconnect({}, [outpoint(0)])
    assert view.get(outpoint(0)) == coin(0)
    view.drop_changes(oldest_only=False)
    assert view.get(outpoint(0)) is None


def test_readers_of_other_threads_see_whole_states_only() -> None:
    """Every block moves each of five coins on: at each version exactly one outpoint of each row is unspent."""
    rows, steps = 5, 1500
    backend = SlowBackend()
    cache = CoinsCache(backend, 1 << 20)
    view = ReadView(cache)
    position = [row * 10_000 for row in range(rows)]
    cache.apply(BlockDelta(created={outpoint(n): coin(n) for n in position}, spent={}))
    view.drop_changes(oldest_only=False)
    faults: list[str] = []
    done = threading.Event()
    reads = [0, 0]

    def read(me: int) -> None:
        rng = random.Random(me)
        while not done.is_set():
            begun = view.version
            center = begun - 1
            window = range(max(center - 3, 0), center + 40)
            row = rng.randrange(rows) * 10_000
            coins = view.get_many([outpoint(row + k) for k in window])
            if view.version == begun and sum(c is not None for c in coins) != 1:
                faults.append(f"{[k for k, c in zip(window, coins, strict=True) if c is not None]} at {center}")
                return
            held = [view.held(outpoint(row + k)) for k in window]
            if view.version == begun and any(
                mine is not None and mine != c for mine, c in zip(held, coins, strict=True)
            ):
                faults.append(f"held {held} and not {coins}")
                return
            reads[me] += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=read, args=(me,)) for me in range(2)]
    try:
        for thread in threads:
            thread.start()
        rng = random.Random(7)
        for _ in range(steps):
            cache.apply(
                BlockDelta(
                    created={outpoint(n + 1): coin(n + 1) for n in position},
                    spent={outpoint(n): coin(n) for n in position},
                )
            )
            position = [n + 1 for n in position]
            view.drop_changes(oldest_only=False)
            if rng.random() < 0.1:
                backend.commit(cache)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert faults == [] and min(reads) > 20
