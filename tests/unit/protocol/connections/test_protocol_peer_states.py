from __future__ import annotations

from random import Random

import pytest

from btcnode.protocol import effects as fx
from btcnode.protocol import limits
from btcnode.protocol.commands import PingPeers
from btcnode.protocol.connections.connections import Attempt
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.peer_states import (
    FIRST,
    NEVER,
    TRANSITIONS,
    Change,
    PeerEvent,
    PeerState,
    PeerStates,
)
from btcnode.protocol.events import BlockRead, ConnectFailed, PeerConnected, PeerDisconnected, TransportReady
from btcnode.protocol.peer import PAUSE_VALIDATION
from btcnode.protocol.timer_wheel import RESOLUTION, TimerWheel
from btcnode.testing.simulator import sim_address
from btcnode.wire.constants import MSG_WTX
from btcnode.wire.messages import (
    GetAddr,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    InvItem,
    Ping,
    Pong,
    Verack,
    Version,
)
from tests.lib.protocol_bench import Bench


def ignore(_: str) -> None:
    """Take a line of the log."""


def attempt(state: PeerState = PeerState.CLOSED) -> Attempt:
    return Attempt(1, ConnectionKind.MANUAL, None, "somewhere", state=state)


@pytest.mark.parametrize("state", list(PeerState))
@pytest.mark.parametrize("event", list(PeerEvent))
def test_only_the_table_moves_a_connection(state: PeerState, event: PeerEvent) -> None:
    lines: list[str] = []
    states, connection = PeerStates(lines.append), attempt(state)
    after = TRANSITIONS.get((state, event))
    assert states.fits(connection, event) is (after is not None)
    assert states.apply(connection, event) is (after is not None)
    assert connection.state is (after or state)
    assert states.refused == len(lines) == (after is None)


def test_every_state_is_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(PeerState)
    assert {before for before, _ in TRANSITIONS} == set(PeerState)
    assert {event for _, event in TRANSITIONS} == set(PeerEvent)


def test_what_follows_from_a_state_fits_together() -> None:
    for role in (state.role for state in PeerState):
        asked = role.gives_headers or role.gives_blocks or role.gives_transactions
        assert role.is_complete or not (asked or role.is_served or role.is_told)
        assert role.is_heard or not (role.is_complete or role.negotiates)
        assert role.is_heard == role.is_spoken_to == (role.eviction > NEVER)
        assert role.holds_slot or not role.is_heard
    assert PeerState.DEGRADED.role.eviction == FIRST > PeerState.ACTIVE.role.eviction


def test_handlers_are_told_of_transitions_only() -> None:
    states, connection = PeerStates(ignore), attempt()
    changes: list[Change] = []
    states.on_change(changes.append)
    states.apply(connection, PeerEvent.ASKED)
    states.apply(connection, PeerEvent.CONNECTED)
    states.apply(connection, PeerEvent.ASKED)  # refused: nobody is told
    states.apply(connection, PeerEvent.LOST)
    assert [change.event for change in changes] == [PeerEvent.ASKED, PeerEvent.CONNECTED, PeerEvent.LOST]
    assert changes[-1] == Change(connection, PeerState.HANDSHAKE, PeerEvent.LOST, PeerState.CLOSED)


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


# -- heartbeat ---------------------------------------------------------------------------------------------------


def silent_peer(bench: Bench, kind: ConnectionKind = ConnectionKind.INBOUND, *, version: int = 70016) -> int:
    """A peer that owes nothing and then says nothing for three minutes."""
    peer = bench.peer(kind, version=version)
    bench.receive(peer, Headers(()))
    bench.wait(190, pongs=False)
    return peer


def test_a_silent_peer_is_pinged_degraded_and_recovers(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, Headers(()))  # it owes nothing
    bench.wait(119, pongs=False)
    assert not bench.sent(Ping, peer)
    bench.wait(3, pongs=False)
    assert bench.sent(Ping, peer)
    assert bench.state(peer).state is PeerState.ACTIVE
    bench.wait(56, pongs=False)
    assert bench.state(peer).state is PeerState.ACTIVE
    bench.wait(8, pongs=False)
    assert bench.state(peer).state is PeerState.DEGRADED
    assert bench.protocol.peer_scores()[peer]["state"] == "degraded"
    bench.receive(peer, GetAddr())
    assert bench.state(peer).state is PeerState.ACTIVE
    assert not [e for e in bench.effects if isinstance(e, fx.Disconnect)]


def test_who_owes_us_something_is_pinged_after_a_minute(bench: Bench) -> None:
    peer = bench.peer()
    assert bench.state(peer).headers.requested_at is not None
    bench.wait(58, pongs=False)
    assert not bench.sent(Ping, peer)
    bench.wait(4, pongs=False)
    assert len(bench.sent(Ping, peer)) == 1
    bench.wait(115, pongs=False)
    assert not bench.sent(Ping, peer)  # one is on its way
    assert bench.state(peer).state is PeerState.ACTIVE


def test_whoever_begins_to_owe_while_silent_is_pinged_soon(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, Headers(()))
    bench.wait(80, pongs=False)
    bench.state(peer).headers.requested_at = bench.now
    bench.wait(limits.PROBE_RECHECK + 2, pongs=False)
    assert len(bench.sent(Ping, peer)) == 1


def test_a_peer_that_answers_is_never_degraded(bench: Bench) -> None:
    peer = bench.peer()
    changes: list[Change] = []
    bench.protocol._ctx.states.on_change(changes.append)
    bench.wait(3600)
    assert not changes
    assert peer in bench.protocol.peer_ids()


def test_a_clock_that_jumps_degrades_nobody_who_answers(bench: Bench) -> None:
    peer = bench.peer()
    bench.wait(900, each=900, pongs=False)
    (ping,) = bench.sent(Ping, peer)
    assert bench.state(peer).state is PeerState.ACTIVE
    bench.receive(peer, Pong(ping.nonce))
    bench.wait(100, pongs=False)
    assert bench.state(peer).state is PeerState.ACTIVE


def test_the_users_pings_do_not_hide_silence(bench: Bench) -> None:
    """Each of them takes the place of the one before: the time without an answer is not counted anew."""
    peer = bench.peer()
    for _ in range(20):
        bench.step(PingPeers())
        bench.wait(10, pongs=False)
    assert bench.state(peer).state is PeerState.DEGRADED


def test_who_cannot_answer_pings_is_not_degraded(bench: Bench) -> None:
    peer = silent_peer(bench, version=60000)
    bench.wait(600, pongs=False)
    assert bench.state(peer).state is PeerState.ACTIVE


def test_whom_we_do_not_read_is_not_silent(bench: Bench) -> None:
    peer = bench.peer()
    bench.protocol._ctx.pause(bench.state(peer), PAUSE_VALIDATION)
    bench.wait(600, pongs=False)
    assert bench.state(peer).state is PeerState.ACTIVE
    bench.protocol._ctx.resume(bench.state(peer), PAUSE_VALIDATION)
    bench.wait(170, pongs=False)
    assert bench.state(peer).state is PeerState.ACTIVE
    bench.wait(30, pongs=False)
    assert bench.state(peer).state is PeerState.DEGRADED


def test_a_degraded_peer_that_owes_a_pong_for_twenty_minutes_is_dropped(bench: Bench) -> None:
    peer = silent_peer(bench)
    assert bench.state(peer).state is PeerState.DEGRADED
    bench.wait(1200, pongs=False)
    assert (closed := bench.disconnected(peer)) is not None
    assert "ping timeout" in closed.reason


# -- who is asked, served, told ----------------------------------------------------------------------------------


def test_nothing_but_pings_goes_to_a_degraded_peer_and_what_waits_comes_later(
    bench: Bench, blocks: list[bytes]
) -> None:
    bench.load(blocks[:10])
    peer, other = bench.peer(), bench.peer()
    bench.receive(peer, GetHeaders((bench.chain.params.genesis_hash,)))  # it knows our chain
    bench.wait(2)
    bench.wait(125, pongs=False)
    (ping,) = bench.sent(Ping, other)
    bench.receive(other, Pong(ping.nonce))
    bench.wait(60, pongs=False)
    assert bench.state(peer).state is PeerState.DEGRADED
    bench.load(blocks[10:12])
    sends = [e for e in [*bench.effects, *bench.wait(5)] if isinstance(e, fx.Send)]
    assert not [e for e in sends if e.peer_id == peer]
    assert [e for e in sends if e.peer_id == other]
    bench.receive(peer, Pong(7))
    assert [e for e in bench.all(fx.Send) if e.peer_id == peer]


def test_a_degraded_peer_holds_nothing_up(bench: Bench, old_blocks: list[bytes]) -> None:
    """What was asked of it is asked of others, and it is no reason not to synchronise from inbound ones."""
    silent = bench.peer(ConnectionKind.OUTBOUND_FULL)
    inbound = bench.peer()
    assert bench.protocol._download.preferred_count == 1
    bench.receive(silent, Inv((InvItem(MSG_WTX, bytes(32)),)))
    bench.wait(2)
    bench.wait(60, pongs=False)
    bench.receive(inbound, GetAddr())
    bench.wait(125, pongs=False)
    assert bench.state(silent).state is PeerState.DEGRADED
    assert bench.state(inbound).state is PeerState.ACTIVE
    assert bench.protocol._download.preferred_count == 0
    assert not bench.protocol._intake.download.tracker.count(silent)
    bench.receive(inbound, Headers(tuple(raw[:80] for raw in old_blocks[:20])))
    bench.wait(1)
    assert len(bench.state(inbound).blocks.in_flight) == 16
    assert not bench.state(silent).blocks.in_flight
    bench.receive(silent, Pong(9))
    assert bench.protocol._download.preferred_count == 1
    bench.step(PeerDisconnected(silent))
    assert bench.protocol._download.preferred_count == 0


def test_a_draining_peer_is_forgotten_before_its_socket_is_closed(bench: Bench, old_blocks: list[bytes]) -> None:
    first = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.receive(first, Headers(tuple(raw[:80] for raw in old_blocks[:10])))
    bench.wait(1)
    assert bench.state(first).blocks.in_flight
    second = bench.peer(ConnectionKind.OUTBOUND_FULL)
    bench.receive(second, Headers(tuple(raw[:80] for raw in old_blocks[:10])))
    bench.protocol._ctx.disconnect(bench.state(first), "test")
    assert bench.state(first).state is PeerState.DRAINING
    bench.wait(1)
    assert len(bench.state(second).blocks.in_flight) == 10
    bench.step(BlockRead(first, 1, None))  # answers for it lead nowhere
    assert not bench.receive(first, GetData(()))
    bench.step(PeerDisconnected(first))
    assert not bench.protocol._ctx.states.refused


@pytest.mark.parametrize("moment", range(5))
def test_a_connection_ends_cleanly_in_each_state(bench: Bench, moment: int) -> None:
    """Lost in the handshake (before and after the version), active, degraded, draining: nothing of it is left."""
    ctx = bench.protocol._ctx
    peer = bench.connect()
    if moment >= 1:
        bench.receive(peer, Version(services=9, time=0, nonce=1))
    if moment >= 2:
        bench.receive(peer, Verack())
    if moment >= 3:
        bench.wait(250, pongs=False)
        assert bench.state(peer).state is PeerState.DEGRADED
    if moment >= 4:
        ctx.disconnect(bench.state(peer), "test")
        ctx.disconnect(bench.state(peer), "once more")
        assert bench.state(peer).state is PeerState.DRAINING
    bench.step(PeerDisconnected(peer))
    bench.step(PeerDisconnected(peer))  # of nobody
    bench.step(TransportReady(peer, "v1"))
    assert not ctx.peers
    assert not bench.protocol._pings._owing
    assert not len(bench.protocol._pings._wheel)
    assert not ctx.states.refused
    download = bench.protocol._download
    assert not download.preferred_count
    assert not download.strategy.peers
    assert not bench.protocol._headers.sync_count


def test_an_attempt_fails_or_becomes_a_peer(bench: Bench) -> None:
    ctx, connections = bench.protocol._ctx, bench.protocol._connections
    numbers = [connections.connect(sim_address(i), ConnectionKind.MANUAL) for i in range(2)]
    assert [a.state for a in connections.attempts.values()] == [PeerState.OPENING] * 2
    bench.step(ConnectFailed(numbers[0] or 0))
    bench.step(PeerConnected(7, sim_address(1), ConnectionKind.MANUAL, numbers[1]))
    assert not connections.attempts
    assert bench.state(7).state is PeerState.HANDSHAKE
    assert not ctx.states.refused


def test_ten_thousand_connections_leave_nothing(bench: Bench) -> None:
    """Churn of thousands a minute, some cut in the handshake, some refused for want of room."""
    ctx = bench.protocol._ctx
    standing: list[int] = []
    for number in range(10_000):
        peer = 1000 + number
        bench.step(PeerConnected(peer, sim_address(number), ConnectionKind.INBOUND))
        standing.append(peer)
        if number % 10 == 0:
            bench.receive(peer, Version(services=9, time=0, nonce=number + 1))
            if number % 20 == 0:
                bench.receive(peer, Verack())
        if len(standing) > 100:
            bench.step(PeerDisconnected(standing.pop(0)))
        bench.log.clear()
    for peer in standing:
        bench.step(PeerDisconnected(peer))
    assert not ctx.peers
    assert not ctx.states.refused
    assert not len(bench.protocol._pings._wheel)
    assert not bench.protocol._download.strategy.peers
    assert not bench.protocol._intake.download._peers
    assert not bench.protocol._relay._peers
    assert not bench.protocol._handshake._nonces
    assert len(bench.protocol._download.strategy._remembered) <= limits.FETCH_MAX_REMEMBERED


def test_a_peer_that_falls_silent_and_wakes_all_the_time_keeps_its_place(bench: Bench) -> None:
    """Each turn costs it standing, and none leaves anything behind."""
    ctx, peer = bench.protocol._ctx, bench.peer()
    changes: list[Change] = []
    ctx.states.on_change(changes.append)
    for turn in range(20):
        bench.wait(250, each=5, pongs=False)
        assert bench.state(peer).state is PeerState.DEGRADED, turn
        bench.receive(peer, Pong(bench.state(peer).ping.nonce))
        assert bench.state(peer).state is PeerState.ACTIVE
    assert len(changes) == 40
    assert bench.state(peer).conduct.stumbles > 2
    assert not ctx.states.refused
    assert len(bench.protocol._relay._peers) == 1
