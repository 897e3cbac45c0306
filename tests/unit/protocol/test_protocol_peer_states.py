from __future__ import annotations

from random import Random

import pytest

from btcnode.protocol import effects as fx
from btcnode.protocol.connections.peer_states import TRANSITIONS, AttemptKey, Change, PeerEvent, PeerState, PeerStates
from btcnode.protocol.events import PeerDisconnected
from btcnode.protocol.timer_wheel import RESOLUTION, TimerWheel
from btcnode.wire.messages import GetAddr, Ping, Pong
from tests.lib.protocol_bench import Bench


def ignore(_: str) -> None:
    """Take a line of the log."""


@pytest.mark.parametrize("state", list(PeerState))
@pytest.mark.parametrize("event", list(PeerEvent))
def test_only_the_table_moves_a_connection(state: PeerState, event: PeerEvent) -> None:
    lines: list[str] = []
    states = PeerStates(lines.append)
    if state is not PeerState.DISCONNECTED:
        states._states[1] = state
    after = TRANSITIONS.get((state, event))
    assert states.handle(1, event) is (after is not None)
    assert states.state(1) is (after or state)
    assert states.refused == len(lines) == (after is None)


def test_every_state_is_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(PeerState)
    assert {before for before, _ in TRANSITIONS} == set(PeerState)


def test_handlers_are_told_of_what_they_asked_for() -> None:
    states = PeerStates(ignore)
    every: list[Change] = []
    lost: list[Change] = []
    states.on(None, every.append)
    states.on(PeerEvent.LOST, lost.append)
    states.handle(AttemptKey(5), PeerEvent.CONNECT_INITIATED)
    states.adopt(5, 9)
    states.handle(9, PeerEvent.CONNECTED)
    states.handle(9, PeerEvent.RECONNECT)  # refused: nobody is told
    states.handle(9, PeerEvent.LOST)
    assert [change.event.value for change in every] == ["connect initiated", "connected", "lost"]
    assert lost == [Change(9, PeerState.CONNECTED, PeerEvent.LOST, PeerState.DISCONNECTED)]
    assert len(states) == 0


def test_timers_come_in_time_and_never_early() -> None:
    rng = Random(3)
    wheel, now = TimerWheel(100.0), 100.0
    due: dict[int, float] = {}
    for step in range(5000):
        key = rng.randrange(200)
        if rng.random() < 0.1:
            wheel.cancel(key)
            due.pop(key, None)
        else:
            due[key] = now + rng.choice((0.0, 1.0, 50.0, 300.0, 1300.0)) * rng.random()
            wheel.set(key, due[key])
        if step % 7 == 0:
            now += rng.choice((0.1, 0.5, 3.0, 400.0)) * rng.random()
            for key in wheel.advance(now):
                assert due.pop(key) <= now
            assert all(when > now - 2 * RESOLUTION for when in due.values())
        assert len(wheel) == len(due)


def test_a_silent_peer_is_probed_degraded_and_recovers(bench: Bench) -> None:
    peer = bench.peer()
    states = bench.protocol._ctx.states
    assert states.state(peer) is PeerState.STABLE
    bench.wait(2)
    bench.wait(122, pongs=False)
    assert bench.sent(Ping, peer)  # the probe
    assert states.state(peer) is PeerState.STABLE
    bench.wait(63, pongs=False)
    assert states.state(peer) is PeerState.DEGRADED
    assert bench.protocol.peer_scores()[peer]["state"] == "degraded"
    bench.receive(peer, GetAddr())
    assert states.state(peer) is PeerState.STABLE
    assert not [e for e in bench.effects if isinstance(e, fx.Disconnect)]


def test_a_peer_that_answers_is_never_degraded(bench: Bench) -> None:
    peer = bench.peer()
    changes: list[Change] = []
    bench.protocol._ctx.states.on(PeerEvent.HEARTBEAT_MISSED, changes.append)
    bench.wait(3600)
    assert not changes
    assert peer in bench.protocol.peer_ids()


def test_no_state_outlives_its_connection(bench: Bench) -> None:
    peers = [bench.peer() for _ in range(5)]
    bench.receive(peers[0], Pong(1))
    for peer in peers:
        bench.step(PeerDisconnected(peer))
    states = bench.protocol._ctx.states
    assert len(states) == 0
    assert states.refused == 0


def test_peers_whose_numbers_begin_at_zero_have_states_of_their_own(bench: Bench) -> None:
    """The reactor's numbers begin at 0, and an inbound connection answers no attempt: it takes over nobody's state."""
    bench._next_peer = 0
    first = bench.peer()
    others = [bench.peer() for _ in range(3)]
    states = bench.protocol._ctx.states
    assert [states.state(peer) for peer in (first, *others)] == [PeerState.STABLE] * 4
    assert states.refused == 0
    bench.wait(190, pongs=False)
    assert [states.state(peer) for peer in (first, *others)] == [PeerState.DEGRADED] * 4
    for peer in (first, *others):
        bench.step(PeerDisconnected(peer))
    assert len(states) == 0
    assert states.refused == 0


def test_an_attempt_is_no_peer_whatever_its_number() -> None:
    states = PeerStates(ignore)
    for number in (0, 1):
        assert states.handle(number, PeerEvent.CONNECTED)
        assert states.handle(AttemptKey(number), PeerEvent.CONNECT_INITIATED)
        assert states.state(number) is PeerState.CONNECTED
        assert states.state(AttemptKey(number)) is PeerState.CONNECTING
        states.adopt(number, 10 + number)
        assert states.state(number) is PeerState.CONNECTED
        assert states.state(10 + number) is PeerState.CONNECTING
