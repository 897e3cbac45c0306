"""Adaptive block fetching: whole nodes against eight peers, good and bad."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import limits
from btcnode.protocol.blocks.fetch_strategy import FetchStrategy
from btcnode.protocol.commands import AddNode
from btcnode.protocol.config import ProtocolConfig
from btcnode.testing.simulator import Conditions, End, SimNode, Simulator, sim_address
from btcnode.wire.messages import BlockMessage
from tests.lib.block_givers import Denying, Fleeting, Good, Lying, Slow, Stalling

ALLOWED_RATIO = 1.3


BAD: tuple[type[Good], ...] = (Slow, Slow, Slow, Stalling, Stalling, Lying, Fleeting, Good)


def sync(
    params: NetworkParams,
    chain: list[bytes],
    kinds: tuple[type[Good], ...],
    *,
    seed: int,
    validation_delay: float = 0.001,
    conditions: Conditions | None = None,
) -> tuple[float, SimNode, list[Good]]:
    """Seconds of virtual time until the node has the whole chain of manual peers, one of each of ``kinds``."""
    sim = Simulator(seed, conditions)
    peers = [kind(sim, i, chain, params.genesis_hash) for i, kind in enumerate(kinds)]
    config = ProtocolConfig(dns_seed=False, connect=tuple(str(peer.address) for peer in peers))
    node = SimNode(sim, sim_address(200), params, config=config, validation_delay=validation_delay)
    done: list[float] = []

    def look() -> None:
        if node.height == len(chain):
            done.append(sim.now)
        else:
            sim.at(0.01, look)

    look()
    assert sim.run(600, lambda: bool(done)), (node.height, node.disconnects)
    return done[0], node, peers


def strategy_of(node: SimNode) -> FetchStrategy:
    return node.protocol._download.strategy


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("validation_delay", [0.004, 0.01])
def test_eight_peers_of_which_seven_are_bad(
    params: NetworkParams, chain: list[bytes], seed: int, validation_delay: float
) -> None:
    good, _, _ = sync(params, chain, (Good,) * 8, seed=seed, validation_delay=validation_delay)
    bad, node, peers = sync(params, chain, BAD, seed=seed, validation_delay=validation_delay)
    assert bad <= ALLOWED_RATIO * good, f"{bad:.2f} s against {good:.2f} s"
    ids = {info["addr"]: info["id"] for info in node.peers()}
    assert all(str(peer.address) in ids for peer in (peers[0], peers[1], peers[2], peers[-1]))  # slow is no fault
    blamed = [reason for _, reason, _ in node.disconnects]
    assert blamed
    assert all("stalling" in reason for reason in blamed)
    assert len(peers[3].asked) + len(peers[4].asked) <= 40  # after the first batch, one block for each try
    assert len(peers[5].asked) <= limits.MAX_BLOCKS_IN_TRANSIT_PER_PEER + limits.FETCH_BLOCKS_MAX
    assert 1 <= sum("Not punishing" in line for line in node.lines) <= 20
    node.sim.run(10)
    assert not node.protocol._download.requests


def test_the_good_peer_may_come_last(params: NetworkParams, chain: list[bytes]) -> None:
    """Silent peers have all the places: they make room for one that nobody knows yet."""
    kinds = (Stalling,) * limits.FETCH_PEERS_START
    sim = Simulator(15)
    peers = [kind(sim, i, chain, params.genesis_hash) for i, kind in enumerate((*kinds, Good))]
    config = ProtocolConfig(dns_seed=False, connect=tuple(str(peer.address) for peer in peers[:-1]))
    node = SimNode(sim, sim_address(200), params, config=config)
    sim.run(10)
    assert len(strategy_of(node).active) == limits.FETCH_PEERS_START
    node.feed(AddNode(str(peers[-1].address), "onetry"))
    assert sim.run(20, lambda: node.height == len(chain))


def test_good_peers_make_it_grow_to_the_maximum(params: NetworkParams, chain: list[bytes]) -> None:
    _, node, peers = sync(params, chain, (Good,) * 3, seed=7)
    strategy = strategy_of(node)
    assert (strategy.blocks_limit, strategy.peers_limit) == (limits.FETCH_BLOCKS_MAX, limits.FETCH_PEERS_MAX)
    assert strategy.growths >= 8
    assert not strategy.shrinks
    assert strategy.requests_sent == strategy.requests_succeeded == len(chain)
    assert strategy.latencies.count == len(chain)
    assert any("64 blocks a peer, 16 peers" in line for line in node.lines)
    assert sum(record.succeeded for record in strategy.peers.values()) == len(chain)
    assert min(len(peer.asked) for peer in peers) > 500


def test_failing_peers_make_it_shrink(params: NetworkParams, chain: list[bytes]) -> None:
    """Seven peers have nothing to give: their failures are most of the outcomes at first."""
    _, node, peers = sync(params, chain, (*(Denying,) * 7, Good), seed=8)
    strategy = strategy_of(node)
    assert strategy.shrinks >= 2
    assert strategy.requests_failed["notfound"] > 7 * limits.MAX_BLOCKS_IN_TRANSIT_PER_PEER // 2
    assert len(peers[-1].asked) >= len(chain)
    assert strategy.blocks_limit == limits.FETCH_BLOCKS_MAX  # it grew again with the good one


def test_high_latency_is_no_reason_to_grow(params: NetworkParams, chain: list[bytes]) -> None:
    far = Conditions(latency_min=0.8, latency_max=0.9)
    _, node, _ = sync(params, chain[:1000], (Good,) * 3, seed=9, conditions=far)
    strategy = strategy_of(node)
    assert strategy.blocks_limit == limits.FETCH_BLOCKS_START
    assert not strategy.growths
    assert not strategy.shrinks


def test_slow_peers_get_few_blocks_and_later_ones(params: NetworkParams, chain: list[bytes]) -> None:
    _, node, peers = sync(params, chain, (Slow, Slow, Good), seed=10, validation_delay=0.01)
    tips: dict[int, float] = {}  # height -> when it was needed, had validation never waited
    start = min(at for peer in peers for at, _ in peer.asked)
    for height in range(1, len(chain) + 1):
        tips[height] = start + 0.01 * height
    for slow in peers[:2]:
        later = [(at, height) for at, height in slow.asked if at > start + 5]
        assert 20 <= len(slow.asked) <= 80
        assert later
        assert all(tips[height] - at > 0.5 for at, height in later)  # more than it needs for one
    record = strategy_of(node).peers[next(i["id"] for i in node.peers() if i["addr"] == str(peers[0].address))]
    assert record.interval == pytest.approx(0.5, rel=0.3)
    assert not node.disconnects


def test_sixteen_peers_of_twenty_are_asked_at_most(params: NetworkParams, chain: list[bytes]) -> None:
    _, node, peers = sync(params, chain, (Good,) * 20, seed=11, validation_delay=0.002)
    strategy = strategy_of(node)
    assert len(strategy.active) <= limits.FETCH_PEERS_MAX
    asked_at_first = [
        peer for peer in peers if peer.asked and peer.asked[0][0] < min(p[0] for q in peers for p in q.asked) + 0.05
    ]
    assert len(asked_at_first) <= limits.FETCH_PEERS_START
    assert sum(bool(peer.asked) for peer in peers) > limits.FETCH_PEERS_START
    assert not node.protocol._download.requests


def test_no_more_requests_than_the_maximum(
    params: NetworkParams, chain: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("btcnode.protocol.blocks.block_download.MAX_REQUESTS", 50)
    sim = Simulator(12)
    peers = [Good(sim, i, chain, params.genesis_hash) for i in range(8)]
    config = ProtocolConfig(dns_seed=False, connect=tuple(str(peer.address) for peer in peers))
    node = SimNode(sim, sim_address(200), params, config=config)
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, len(node.protocol._download.requests))
        sim.at(0.005, look)

    look()
    assert sim.run(120, lambda: node.height == len(chain))
    assert 40 <= most <= 50


def test_open_requests_are_counted_like_those_of_the_download(params: NetworkParams, chain: list[bytes]) -> None:
    sim = Simulator(13)
    peers = [kind(sim, i, chain, params.genesis_hash) for i, kind in enumerate(BAD)]
    config = ProtocolConfig(dns_seed=False, connect=tuple(str(peer.address) for peer in peers))
    node = SimNode(sim, sim_address(200), params, config=config, validation_delay=0.004)
    for _ in range(200):
        sim.run(0.05)
        for peer_id, peer in node.protocol._ctx.peers.items():
            record = strategy_of(node).peers.get(peer_id)
            assert (record.open if record else 0) == len(peer.blocks.in_flight)
    assert node.height > 1000


def test_the_last_peer_is_asked_again_for_what_it_owes(params: NetworkParams, chain: list[bytes]) -> None:
    """Late blocks move to a better peer, which leaves: the slow one alone still completes the chain."""

    class Leaving(Good):
        listens = True

        def serve_block(self, end: End, raw: bytes) -> None:
            if len(self.asked) > 60:
                self.listens = False
                self.sim.close(end)
            else:
                self.send(end, BlockMessage(raw))

    took, node, _ = sync(params, chain[:200], (Slow, Leaving), seed=14)
    assert took < 120
    assert not [reason for _, reason, _ in node.disconnects if "stalling" in reason]
