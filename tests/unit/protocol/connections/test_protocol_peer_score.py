from __future__ import annotations

import json
from itertools import product
from random import Random

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.blocks.fetch_strategy import Failure
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.conduct import Conduct, Features
from btcnode.protocol.connections.peer_score import (
    BOUNDS,
    FAILED_MAX,
    WEIGHTS,
    Learner,
    Standing,
    features_of,
    score_of,
    standing_of,
)
from btcnode.protocol.events import Malformation, MalformedMessage
from btcnode.protocol.misbehaviour import Offence
from btcnode.settings.permissions import Permission
from btcnode.wire.netaddr import NetAddress
from tests.lib.protocol_bench import Bench


def test_everybody_begins_in_the_middle() -> None:
    assert score_of(features_of(Conduct(), None, 0.0)) == 50.0
    assert standing_of(50.0) is Standing.OBSERVED


@pytest.mark.parametrize(
    ("score", "standing"),
    [
        (100.0, Standing.GOOD),
        (60.0, Standing.GOOD),
        (59.9, Standing.OBSERVED),
        (39.9, Standing.THROTTLED),
        (20.0, Standing.THROTTLED),
        (19.9, Standing.REMOVED),
    ],
)
def test_standings(score: float, standing: Standing) -> None:
    assert standing_of(score) is standing


def test_each_part_moves_the_score_its_way() -> None:
    middle = score_of(features_of(Conduct(), 1.0, 0.0))
    assert score_of(features_of(Conduct(), 0.05, 0.0)) > middle
    assert score_of(features_of(Conduct(), 5.0, 0.0)) < middle
    assert score_of(features_of(Conduct(), 1.0, 7200.0)) > middle
    assert score_of(features_of(Conduct(useful=10), 1.0, 0.0)) > middle
    for bad in (Conduct(wasted=5), Conduct(failed=5), Conduct(loads={"x": 2.0}), Conduct(stumbles=1)):
        assert score_of(features_of(bad, 1.0, 0.0)) < middle


def test_a_slow_and_failing_peer_is_not_removed() -> None:
    """A bad line of ours looks like this at every peer at once."""
    worst = Conduct(failed=1e9, stumbles=1e9)
    features = features_of(worst, 1e9, 0.0)
    assert features.fault <= FAILED_MAX
    assert standing_of(score_of(features)) is Standing.THROTTLED


def test_the_past_fades() -> None:
    conduct = Conduct(loads={"x": 6.0, "y": 2.0}, faded_at=1.0)
    conduct.fade(601.0)
    assert conduct.load == pytest.approx(4.0)
    assert conduct.worst == "x"


def test_broken_rules_end_in_removal_with_evidence(params: NetworkParams) -> None:
    bench = Bench(params)
    peer = bench.peer(address=NetAddress.from_host("44.3.2.1", 1234))
    bench.wait(20)
    assert bench.protocol.peer_scores()[peer]["standing"] in ("observed", "good")
    removed: list[fx.Effect] = []
    sent = 0
    while not removed and sent < 100:
        bench.step(MalformedMessage(peer, Malformation.PAYLOAD, "tx", "no"))
        sent += 1
        removed = [e for e in bench.wait(1) if isinstance(e, fx.Disconnect | fx.Audit)]
    assert 4 < sent < 20
    audit, disconnect = removed
    assert isinstance(audit, fx.Audit) and isinstance(disconnect, fx.Disconnect)
    assert disconnect.discourage
    assert audit.record["offences"] == {"MESSAGE_PAYLOAD": sent}
    assert audit.record["score"] < 20
    json.dumps(audit.record)


def test_the_users_own_are_spared(params: NetworkParams) -> None:
    bench = Bench(params)
    peer = bench.peer(permissions=Permission.NOBAN)
    effects: list[fx.Effect] = []
    for _ in range(60):
        bench.step(MalformedMessage(peer, Malformation.PAYLOAD, "tx", "no"))
        effects += bench.wait(1)
    assert not [e for e in effects if isinstance(e, fx.Disconnect)]
    assert peer in bench.protocol.peer_ids()


def test_learning_leaves_the_defaults_without_evidence() -> None:
    assert Learner().weights == WEIGHTS


def test_learning_finds_what_tells_peers_apart() -> None:
    """Outcomes follow value alone: its weight grows, and every weight stays within its bounds."""
    learner, rng = Learner(), Random(1)
    for _ in range(3000):
        features = Features(rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(0, 0.3))
        learner.learn(features, features.value > 0)
        assert all(low <= w <= high for w, (low, high) in zip(learner.weights, BOUNDS, strict=True))
    service, value, _ = learner.weights
    assert value > WEIGHTS[1]
    assert service < WEIGHTS[0]


@pytest.mark.parametrize("good", [True, False, None])
def test_whatever_is_taught_weights_are_finite_and_within_bounds(good: bool | None) -> None:
    learner, rng = Learner(), Random(2)
    extremes = (-1.0, 0.0, 1.0)
    for _ in range(3_000):
        features = Features(rng.choice(extremes), rng.choice(extremes), rng.choice((0.0, 4.0)))
        learner.learn(features, rng.random() < 0.5 if good is None else good)
    assert all(low <= w <= high for w, (low, high) in zip(learner.weights, BOUNDS, strict=True))


def fail(bench: Bench, peer: int, *, asked: bool) -> None:
    """For some minutes the peer breaks rules, and blocks that it is asked for, if any, do not come."""
    strategy = bench.protocol._download.strategy
    for _ in range(5):
        if asked:
            strategy.on_sent(peer, 1, bench.now)
            strategy.on_failure(peer, Failure.NOT_FOUND, 1, bench.now)
        bench.step(MalformedMessage(peer, Malformation.CHECKSUM, "tx", "no"))
        bench.wait(100, each=5)


def test_learning_is_an_option(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(peer_score_learning=True, dns_seed=False))
    fail(bench, bench.peer(), asked=True)
    assert bench.protocol.score_weights() != WEIGHTS
    bench = Bench(params)
    fail(bench, bench.peer(), asked=True)
    assert bench.protocol.score_weights() == WEIGHTS


def test_who_is_asked_for_no_blocks_teaches_nothing(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(peer_score_learning=True, dns_seed=False))
    for _ in range(3):
        fail(bench, bench.peer(), asked=False)
    assert bench.protocol.score_weights() == WEIGHTS


@pytest.mark.parametrize("corner", list(product(*BOUNDS)))
def test_driven_weights_change_who_is_asked_but_not_who_is_removed(
    params: NetworkParams, corner: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "weights", property(lambda _: corner))
    bench = Bench(params, config=ProtocolConfig(peer_score_learning=True, dns_seed=False))
    slow, bad = bench.peer(), bench.peer()
    bench.state(slow).conduct.stumbles, bench.state(slow).conduct.failed = 2.0, 1000.0
    bench.state(bad).conduct.wasted, bench.state(bad).conduct.stumbles = 1000.0, 2.0
    bench.state(bad).conduct.blame(Offence.OVERSPENDING.name, 200.0)
    effects = bench.wait(15)
    assert [e.peer_id for e in effects if isinstance(e, fx.Disconnect)] == [bad]
    standing, score = bench.protocol._download.strategy.peers[slow].standing, bench.state(slow).conduct.score
    assert standing != pytest.approx(score / 50.0, abs=0.01)
