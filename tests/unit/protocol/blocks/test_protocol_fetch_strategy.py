from __future__ import annotations

import pytest

from btcnode.protocol import limits
from btcnode.protocol.blocks.fetch_strategy import Failure, FetchStrategy


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def strategy(lines: list[str]) -> FetchStrategy:
    return FetchStrategy(lines.append)


def serve(strategy: FetchStrategy, peer: int, count: int, *, start: float, interval: float) -> float:
    """``count`` blocks asked for at once arrive one by one; returns when the last one did."""
    strategy.on_sent(peer, count, start)
    for n in range(1, count + 1):
        strategy.on_arrival(peer, start, 1000, start + n * interval)
    return start + count * interval


def join(strategy: FetchStrategy, *peers: int, now: float = 0.0) -> None:
    for peer in peers:
        strategy.add(peer, f"host{peer}:8333")
        strategy.admits(peer, now)


def test_start_and_bounds(strategy: FetchStrategy, lines: list[str]) -> None:
    join(strategy, 1)
    assert (strategy.blocks_limit, strategy.peers_limit) == (32, 8)
    now = 0.0
    for _ in range(40):
        now = serve(strategy, 1, 32, start=now, interval=0.001)
    assert (strategy.blocks_limit, strategy.peers_limit) == (64, 16)
    strategy.on_sent(1, 3000, now)
    for _ in range(300):
        strategy.on_failure(1, Failure.LATE, 10, now)
    assert (strategy.blocks_limit, strategy.peers_limit) == (8, 4)
    assert any("64 blocks a peer, 16 peers" in line for line in lines)
    assert any("8 blocks a peer, 4 peers" in line for line in lines)


@pytest.mark.parametrize(
    ("good", "bad", "latency", "change"),
    [
        (31, 1, 0.5, 1),
        (29, 3, 0.5, 1),
        (28, 4, 0.5, 0),  # 0.875
        (32, 0, 1.5, 0),
        (23, 9, 0.5, 0),  # 0.72
        (22, 10, 0.5, -1),  # 0.69
        (0, 32, 0.5, -1),
    ],
)
def test_growth_and_shrinking(strategy: FetchStrategy, good: int, bad: int, latency: float, change: int) -> None:
    join(strategy, 1)
    strategy.on_sent(1, good + bad, 0.0)
    strategy.on_failure(1, Failure.LATE, bad, latency)
    for _ in range(good):
        strategy.on_arrival(1, 0.0, 100, latency)
    blocks, peers = strategy.blocks_limit - 32, strategy.peers_limit - 8
    assert ((blocks > 0) - (blocks < 0), (peers > 0) - (peers < 0)) == (change, change)


def test_a_peer_gets_what_it_delivers_in_a_second(strategy: FetchStrategy) -> None:
    join(strategy, 1, 2, 3)
    assert strategy.limit(1) == 16
    serve(strategy, 1, 16, start=0.0, interval=0.1)
    assert strategy.limit(1) in (9, 10)
    serve(strategy, 2, 16, start=0.0, interval=3.0)
    assert strategy.limit(2) == 2
    serve(strategy, 3, 16, start=0.0, interval=0.001)
    assert strategy.limit(3) == strategy.blocks_limit
    assert strategy.limit(4) == 0


def test_a_peer_that_only_fails_gets_one(strategy: FetchStrategy) -> None:
    join(strategy, 1)
    strategy.on_sent(1, 16, 0.0)
    strategy.on_failure(1, Failure.LATE, 16, 1.0)
    assert strategy.limit(1) == 1
    strategy.on_arrival(1, 0.0, 100, 2.0, late=True)  # it comes after all
    assert strategy.peers[1].latency == 2.0
    assert strategy.limit(1) == 2
    assert strategy.requests_succeeded == 0  # counted once, as failed


def test_slow_peers_keep_a_distance(strategy: FetchStrategy) -> None:
    join(strategy, 1, 2)
    serve(strategy, 1, 16, start=0.0, interval=0.01)
    serve(strategy, 2, 4, start=0.0, interval=0.5)
    for second in range(1, 5):
        strategy.on_connected(100, second)
    assert strategy.fastest() == 1
    assert strategy.fastest(but=1) == 2
    assert strategy.lead(1, 2) == 0
    expected = strategy.peers[2].expected()
    assert strategy.lead(2, 1) == int(1.5 * expected * strategy.connect_rate)
    assert strategy.lead(2, 1) > 50


def test_places_go_to_the_better(strategy: FetchStrategy, lines: list[str]) -> None:
    join(strategy, *range(1, 10))
    assert list(strategy.active) == list(range(1, 9))
    for peer in range(1, 9):
        serve(strategy, peer, 3, start=0.0, interval=1.0 if peer == 5 else 0.05)
        strategy.on_sent(peer, 1, 4.0)
    assert strategy.admits(9, 4.0)  # unknown: tried in place of the one far below the others
    assert 5 not in strategy.active
    assert "peer=5 is no longer asked for blocks: peer=9 takes its place" in lines[-2]
    assert not strategy.admits(5, 4.0)


def test_idle_peers_make_room(strategy: FetchStrategy) -> None:
    join(strategy, *range(1, 10))
    for peer in range(1, 9):
        serve(strategy, peer, 3, start=0.0, interval=0.05)
    assert not strategy.admits(9, 1.0)
    assert strategy.admits(9, 6.0)


def test_silent_peers_make_room_for_unknown_ones(strategy: FetchStrategy) -> None:
    join(strategy, *range(1, 10))
    for peer in range(1, 9):
        strategy.on_sent(peer, 16, 1.0)
    assert not strategy.admits(9, 1.4)
    assert strategy.admits(9, 1.6)
    assert 1 not in strategy.active
    assert strategy.admits(1, 1.6)  # nothing has failed yet: the others are as silent
    strategy.on_failure(2, Failure.LATE, 16, 2.0)
    assert not strategy.admits(2, 2.0)


def test_what_was_under_way_from_a_resting_peer_is_not_held_against_others(strategy: FetchStrategy) -> None:
    join(strategy, 1)
    serve(strategy, 1, 1, start=0.0, interval=0.01)
    for _ in range(200):
        strategy.on_failure(1, Failure.INVALID, 1, 1.0)
    assert (strategy.blocks_limit, strategy.shrinks) == (limits.FETCH_BLOCKS_START, 0)
    assert strategy.requests_failed["invalid"] == 200


def test_broken_block_means_rest_and_is_remembered(strategy: FetchStrategy, lines: list[str]) -> None:
    join(strategy, 1)
    serve(strategy, 1, 4, start=0.0, interval=0.05)
    strategy.on_failure(1, Failure.INVALID, 1, 1.0)
    assert not strategy.admits(1, 60.0)
    strategy.remove(1)
    strategy.add(2, "host1:8333")  # the same address again
    assert not strategy.admits(2, 60.0)
    assert strategy.admits(2, 61.1)
    strategy.on_failure(2, Failure.INVALID, 1, 62.0)
    assert not strategy.admits(2, 62.0 + 119)
    assert strategy.admits(2, 62.0 + 121)
    assert "120 s" in "\n".join(lines)


def test_memory_of_former_peers_is_bounded(strategy: FetchStrategy) -> None:
    for peer in range(1, 1000):
        join(strategy, peer, now=float(peer))
        serve(strategy, peer, 1, start=float(peer), interval=0.05)
        strategy.remove(peer)
    assert len(strategy._remembered) == limits.FETCH_MAX_REMEMBERED
    assert not strategy.peers
    assert not strategy.active
    assert not strategy._keys


def test_patience_goes_by_the_fastest(strategy: FetchStrategy) -> None:
    join(strategy, 1, 2, 3)
    assert strategy.patience(1) == (5.0, 5.0)
    serve(strategy, 2, 1, start=0.0, interval=0.4)
    assert strategy.patience(1)[0] == pytest.approx(1.2)
    serve(strategy, 3, 1, start=0.0, interval=0.001)
    assert strategy.patience(1)[0] == 0.5
    assert strategy.patience(2) == (0.3, 0.8)
    assert strategy.patience(3)[0] == pytest.approx(1.2)


def test_counters_for_the_metrics(strategy: FetchStrategy) -> None:
    join(strategy, 1)
    strategy.on_sent(1, 10, 0.0)
    for latency in (0.05, 0.1, 0.4, 3.0, 60.0):
        strategy.on_arrival(1, 0.0, 1000, latency)
    strategy.on_failure(1, Failure.NOT_FOUND, 2, 60.0)
    strategy.on_failure(1, Failure.GONE, 3, 60.0)
    record = strategy.peers[1]
    assert strategy.latencies.counts == [2, 1, 0, 0, 1, 0, 1]
    assert strategy.latencies.sum == pytest.approx(63.55)
    assert (record.sent, record.succeeded, record.failed, record.open) == (10, 5, 5, 0)
    assert strategy.requests_failed == {"late": 0, "notfound": 2, "invalid": 0, "disconnected": 3}
    assert record.received_bytes == 5000
    assert record.score > 0


def test_who_leaves_twice_without_a_block_rests(strategy: FetchStrategy) -> None:
    """A staller that is connected to again at once, for want of others, does not hold the window up each time."""
    strategy.add(1, "a")
    strategy.on_sent(1, 16, 0.0)
    strategy.on_failure(1, Failure.GONE, 16, 2.0)
    strategy.remove(1)
    strategy.add(2, "a")
    assert strategy.admits(2, 3.0)
    strategy.on_sent(2, 1, 3.0)
    strategy.on_failure(2, Failure.GONE, 1, 10.0)
    strategy.remove(2)
    strategy.add(3, "a")
    assert not strategy.admits(3, 69.0)
    assert strategy.admits(3, 71.0)
