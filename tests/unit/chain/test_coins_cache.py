"""The coin cache against a plain dict, and its traces in the database."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Collection, Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from btcnode.chain.coins_cache import KEY_COST, CoinsBatch, CoinsCache
from btcnode.consensus.connect import BlockDelta
from btcnode.primitives.coin import make_coin
from btcnode.primitives.later_coins import LaterCoins


class DictBackend:
    """Stored coins that count their lookups."""

    def __init__(self) -> None:
        self.coins: dict[bytes, bytes] = {}
        self.lookups = 0

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        self.lookups += len(outpoints)
        return [self.coins.get(outpoint) for outpoint in outpoints]

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        return {outpoint[:32] for outpoint in self.coins}.intersection(txids)

    def commit(self, cache: CoinsCache) -> tuple[int, int]:
        """Write a batch; returns how many were put and deleted."""
        batch = cache.freeze()
        self.write(batch)
        cache.flushed()
        return len(batch.puts), len(batch.deletes)

    def write(self, batch: CoinsBatch) -> None:
        """Deletions first."""
        for outpoint in batch.deletes:
            self.coins.pop(outpoint, None)
        self.coins.update(batch.puts)


def outpoint(number: int) -> bytes:
    return number.to_bytes(36, "big")


def coin(number: int, *, coinbase: bool = False, size: int = 22) -> bytes:
    return make_coin(100 + number, coinbase, 5000 + number, bytes(size))


def delta(spent: dict[bytes, bytes] | None = None, created: dict[bytes, bytes] | None = None) -> BlockDelta:
    return BlockDelta(created=created or {}, spent=spent or {})


KEYS = 14
COINBASE_KEYS = 4  # the first keys are coinbase outputs: they may be overwritten while unspent


class CacheModel(RuleBasedStateMachine):
    """Blocks connected and disconnected over a cache and over a plain dict."""

    def __init__(self) -> None:
        super().__init__()
        self.backend = DictBackend()
        self.budget = 4000
        self.cache = CoinsCache(self.backend, self.budget)
        self.model: dict[bytes, bytes] = {}
        self.history: list[dict[bytes, bytes]] = []
        self.count = 0
        self.batch: CoinsBatch | None = None  # on its way to the database
        self.at_freeze: dict[bytes, bytes] = {}

    @rule(spend=st.sets(st.integers(0, KEYS - 1)), create=st.sets(st.integers(0, KEYS - 1)))
    def connect(self, spend: set[int], create: set[int]) -> None:
        spent = {outpoint(k): self.model[outpoint(k)] for k in sorted(spend) if outpoint(k) in self.model}
        wanted = list(spent)
        assert self.cache.get_many(wanted) == [self.model[key] for key in wanted]
        left = {key for key in self.model if key not in spent}
        created = {}
        for k in sorted(create):
            if k < COINBASE_KEYS or outpoint(k) not in left:
                self.count += 1
                created[outpoint(k)] = coin(self.count, coinbase=k < COINBASE_KEYS, size=self.count % 40)
        self.history.append(self.model.copy())
        self.cache.apply(delta(spent, created))
        self.model = {key: value for key, value in self.model.items() if key not in spent} | created

    @rule()
    def settle(self) -> None:
        """The last block is worked in, or it was before."""
        self.cache.settle_block()

    @rule()
    def disconnect(self) -> None:
        if not self.history:
            return
        before = self.history.pop()
        restored = {key: value for key, value in before.items() if self.model.get(key) != value}
        removed = [key for key in self.model if key not in before]
        self.cache.apply_disconnect(restored, removed)
        self.model = before

    @rule()
    def begin_flush(self) -> None:
        if self.batch is None:
            self.batch, self.at_freeze = self.cache.freeze(), self.model.copy()
            assert not self.cache.is_dirty()

    @rule()
    def write_batch(self) -> None:
        """The database changes under the cache; what it is asked for from then on must be the same."""
        if self.batch is not None:
            self.backend.write(self.batch)
            assert self.backend.coins == self.at_freeze

    @rule()
    def end_flush(self) -> None:
        if self.batch is not None:
            self.write_batch()
            self.cache.flushed()
            self.batch = None

    @rule()
    def give_flush_up(self) -> None:
        """As when the disk is full: nothing of the batch was written."""
        if self.batch is not None and not self.cache.is_dirty() and self.backend.coins != self.at_freeze:
            self.cache.thaw()
            self.batch = None

    @rule()
    def flush(self) -> None:
        self.end_flush()
        self.backend.commit(self.cache)
        assert self.backend.coins == self.model
        assert not self.cache.is_dirty()

    @rule()
    def restart(self) -> None:
        """Flush and begin with an empty cache: nothing but the database counts."""
        self.flush()
        self.cache = CoinsCache(self.backend, self.budget)

    @rule(keys=st.lists(st.integers(0, KEYS - 1)))
    def read(self, keys: list[int]) -> None:
        wanted = [outpoint(k) for k in keys]
        assert self.cache.peek_many(wanted) == [self.model.get(key) for key in wanted]
        unknown = set(self.cache.unknown(wanted))
        assert [self.cache.held(key) for key in wanted] == [
            None if key in unknown else self.model.get(key) for key in wanted
        ]
        assert self.cache.any_unspent(wanted) == any(key in self.model for key in wanted)
        assert self.cache.get_many(wanted) == [self.model.get(key) for key in wanted]

    @invariant()
    def sizes_are_exact(self) -> None:
        cache = self.cache
        assert cache._frozen_bytes == sum(map(len, cache._frozen.values()))
        assert cache._created_bytes == sum(map(len, cache._created.values()))
        assert cache._clean_bytes == sum(map(len, cache._young.values())) + sum(map(len, cache._old.values()))
        assert not cache._young.keys() & cache._old.keys()
        assert not cache._tombs & (cache._young.keys() | cache._old.keys())


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_created_and_spent_between_flushes_leaves_no_trace() -> None:
    backend = DictBackend()
    cache = CoinsCache(backend, 1 << 20)
    made = {outpoint(k): coin(k) for k in range(100)}
    cache.apply(delta(created=made))
    cache.apply(delta(spent=made))
    assert backend.commit(cache) == (0, 0) and backend.lookups == 0


def test_the_last_block_is_seen_before_it_is_worked_in() -> None:
    """By who looks from elsewhere; what is read and counted is the same before and after."""
    backend = DictBackend()
    backend.coins = {outpoint(k): coin(k) for k in range(4)}
    cache = CoinsCache(backend, 1 << 20)
    assert cache.get_many([outpoint(k) for k in range(4)]) == [coin(k) for k in range(4)]
    listed: list[int] = []

    def make() -> dict[bytes, bytes]:
        listed.append(1)
        return {outpoint(9): coin(9)}

    later = LaterCoins(1, {outpoint(9)[:32]}, make)
    assert outpoint(9)[:32] == outpoint(0)[:32], "any of these may be one of its transaction"
    cache.apply(BlockDelta(created=later, spent={outpoint(0): coin(0), outpoint(1): coin(1)}))
    assert cache.is_dirty() and len(cache) == 3 and listed == []
    keys = [outpoint(k) for k in (0, 1, 2, 9)]
    for _ in range(2):
        assert cache.peek_many(keys) == [None, None, coin(2), coin(9)]
        assert [cache.held(key) for key in keys] == [None, None, coin(2), coin(9)]
        assert cache.unknown([*keys, outpoint(8)]) == [outpoint(8)]
        assert len(cache) == 3
        cache.settle_block()
    assert listed == [1] and cache.get_many(keys) == [None, None, coin(2), coin(9)]
    assert backend.commit(cache) == (1, 2) and not cache.is_dirty()


def test_a_flush_has_the_last_block_too() -> None:
    backend = DictBackend()
    cache = CoinsCache(backend, 1 << 20)
    cache.apply(delta(created={outpoint(1): coin(1)}))
    cache.apply(delta(spent={outpoint(1): coin(1)}, created={outpoint(2): coin(2)}))
    assert backend.commit(cache) == (1, 0) and backend.coins == {outpoint(2): coin(2)}


def test_what_is_worked_in_meanwhile_is_seen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = CoinsCache(DictBackend(), 1 << 20)
    cache.apply(delta(created={outpoint(1): coin(1)}))
    cache.settle_block()
    cache.apply(delta(spent={outpoint(1): coin(1)}, created={outpoint(2): coin(2)}))
    find = CoinsCache._find

    def settled_meanwhile(self: CoinsCache, outpoints: Sequence[bytes]) -> tuple[list[bytes | None], list[int]]:
        found = find(self, outpoints)
        self.settle_block()
        return found

    monkeypatch.setattr(CoinsCache, "_find", settled_meanwhile)
    assert cache.peek_many([outpoint(1), outpoint(2)]) == [None, coin(2)]


def test_who_is_told_of_a_change_sees_what_was_before() -> None:
    cache = CoinsCache(DictBackend(), 1 << 20)
    cache.apply(delta(created={outpoint(1): coin(1)}))
    seen: list[list[bytes | None]] = []
    cache.on_change(lambda created, spent: seen.append(cache.peek_many([outpoint(1), outpoint(2)])))
    cache.apply(delta(spent={outpoint(1): coin(1)}, created={outpoint(2): coin(2)}))
    assert seen == [[coin(1), None]]


def test_coins_that_cannot_be_listed_change_nothing() -> None:
    cache = CoinsCache(DictBackend(), 1 << 20)
    cache.apply(delta(created={outpoint(1): coin(1)}))
    full = [MemoryError()]

    def make() -> dict[bytes, bytes]:
        if full:
            raise full.pop()
        return {outpoint(2): coin(2)}

    cache.apply(BlockDelta(LaterCoins(1, {outpoint(2)[:32]}, make), {outpoint(1): coin(1)}))
    with pytest.raises(MemoryError):
        cache.settle_block()
    assert cache._created == {outpoint(1): coin(1)} and cache.is_waiting
    assert cache.get_many([outpoint(1), outpoint(2)]) == [None, coin(2)] and cache._tombs == set()


def test_what_waits_takes_the_place_of_clean_coins() -> None:
    backend = DictBackend()
    backend.coins = {outpoint(k): coin(k) for k in range(100)}
    cache = CoinsCache(backend, 64_000)
    cache.get_many(list(backend.coins))
    assert len(cache) > 0
    usage = cache.usage
    cache.apply(delta(spent={outpoint(k): coin(k) for k in range(1000, 1300)}, created={outpoint(999): coin(999)}))
    assert cache.usage > usage + 300 * KEY_COST and len(cache) == 1, "there are more to be taken out than are here"
    cache.settle_block()
    cache.apply(delta(created={outpoint(k): coin(k) for k in range(2000, 2300)}))
    assert cache.clean_usage > 10_000
    cache.settle_block()
    assert cache.clean_usage < 1000 and len(cache) == 301


def test_a_full_cache_counts_what_waits() -> None:
    cache = CoinsCache(DictBackend(), 64_000)
    before = cache.usage
    cache.apply(delta(created={outpoint(k): coin(k) for k in range(200)}))
    waiting = cache.usage - before
    assert cache.needs_flush()
    cache.settle_block()
    assert 0.7 < (cache.usage - before) / waiting < 1.3


def test_new_outpoints_are_not_asked_for_one_by_one() -> None:
    backend = DictBackend()
    backend.coins = {bytes([n]) * 32 + bytes(4): coin(n) for n in range(20)}
    cache = CoinsCache(backend, 1 << 20)
    fresh = [bytes([n]) * 32 + vout.to_bytes(4, "little") for n in range(100, 120) for vout in range(10)]
    assert not cache.any_unspent(fresh) and backend.lookups == 0
    assert not cache.any_unspent([*fresh, bytes([3]) * 32 + b"\1\0\0\0"]) and backend.lookups == 1
    assert cache.any_unspent([*fresh, bytes([3]) * 32 + bytes(4)])


def test_overwritten_coinbase_does_not_come_back() -> None:
    """BIP30: the second coinbase hides a first one that is only in the database; spending it removes both."""
    backend = DictBackend()
    backend.coins[outpoint(1)] = coin(1, coinbase=True)
    cache = CoinsCache(backend, 1 << 20)
    second = coin(2, coinbase=True)
    cache.apply(delta(created={outpoint(1): second}))
    assert cache.get(outpoint(1)) == second
    cache.apply(delta(spent={outpoint(1): second}))
    assert cache.get(outpoint(1)) is None
    backend.commit(cache)
    assert backend.coins == {} and cache.get(outpoint(1)) is None


def test_restored_coin_is_written_over_an_older_one() -> None:
    backend = DictBackend()
    backend.coins[outpoint(1)] = coin(1)
    cache = CoinsCache(backend, 1 << 20)
    cache.apply(delta(spent={outpoint(1): coin(1)}))
    cache.apply_disconnect({outpoint(1): coin(1)}, [])
    assert cache.get(outpoint(1)) == coin(1)
    cache.apply(delta(spent={outpoint(1): coin(1)}))
    backend.commit(cache)
    assert backend.coins == {}


def test_disconnected_outputs_leave_the_database() -> None:
    backend = DictBackend()
    cache = CoinsCache(backend, 1 << 20)
    cache.apply(delta(created={outpoint(1): coin(1), outpoint(2): coin(2)}))
    backend.commit(cache)
    cache.apply_disconnect({}, [outpoint(1)])
    assert cache.get_many([outpoint(1), outpoint(2)]) == [None, coin(2)]
    assert backend.commit(cache) == (0, 1)
    assert backend.coins == {outpoint(2): coin(2)}


def test_reads_are_kept_and_flushed_coins_too() -> None:
    backend = DictBackend()
    backend.coins = {outpoint(k): coin(k) for k in range(50)}
    cache = CoinsCache(backend, 1 << 20)
    keys = [outpoint(k) for k in range(50)]
    for _ in range(3):
        assert cache.get_many(keys) == [coin(k) for k in range(50)]
    assert backend.lookups == 50
    cache.apply(delta(created={outpoint(60): coin(60)}))
    backend.commit(cache)
    assert cache.get(outpoint(60)) == coin(60) and backend.lookups == 50


@pytest.mark.parametrize("budget", [0, 20_000, 300_000])
def test_reading_stays_within_the_budget(budget: int) -> None:
    backend = DictBackend()
    backend.coins = {outpoint(k): coin(k) for k in range(5000)}
    cache = CoinsCache(backend, budget)
    empty = cache.usage
    for start in range(0, 5000, 10):
        cache.get_many([outpoint(k) for k in range(start, start + 10)])
        assert cache.usage <= max(budget, empty)


def test_flush_is_due_at_the_budget() -> None:
    backend = DictBackend()
    cache = CoinsCache(backend, 1 << 20)
    blocks = 0
    while not cache.needs_flush():
        cache.apply(delta(created={outpoint(blocks * 100 + k): coin(k) for k in range(100)}))
        blocks += 1
    assert 1 << 19 <= cache.usage < 3 << 18  # half of it: the other one may fill while this one is written
    assert 15 <= blocks <= 30  # at 175 to 350 bytes each
    batch = cache.freeze()
    assert (len(batch.puts), len(batch.deletes)) == (blocks * 100, 0)
    assert not cache.needs_flush()
    while not cache.needs_flush():
        cache.apply(delta(created={outpoint(blocks * 100 + k): coin(k) for k in range(100)}))
        blocks += 1
    assert 1 << 20 <= cache.usage < 5 << 18
    backend.write(batch)
    cache.flushed()
    assert cache.is_dirty() and cache.usage < 5 << 18
    backend.commit(cache)
    assert cache.usage < 1 << 20 and not cache.needs_flush() and len(backend.coins) == blocks * 100


def test_accounting_follows_the_allocator() -> None:
    """Within a tenth of what CPython allocates for the entries, over a mix of script sizes."""
    rng = random.Random(1)
    cache = CoinsCache(DictBackend(), 1 << 30)
    tracemalloc.start()
    try:
        for _ in range(30):
            sizes = [rng.choice((22, 22, 23, 25, 34, 34, 67)) for _ in range(1000)]
            cache.apply(delta(created={rng.randbytes(36): coin(0, size=size) for size in sizes}))
        cache.apply(delta(spent={rng.randbytes(36): b"" for _ in range(5000)}))
        allocated = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # tracemalloc counts what was asked for: without the rounding up to 16 bytes, half of that on average
    rounding = 30_000 * (11 + 7.5) + 5000 * 11
    assert abs(cache.usage - (allocated + rounding)) < 0.1 * cache.usage
