"""Processor time that peers cost: who overspends is read later, then scored, then disconnected; what we ask is free."""

from __future__ import annotations

from itertools import permutations

import pytest

from btcnode.networks.parameters import params_for
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.limits import PING_BURST, WORK_BURST, WORK_RATE
from btcnode.protocol.peer import PAUSE_REASONS, PAUSE_VALIDATION
from btcnode.settings.permissions import Permission
from btcnode.testing.memory_chain import mine_chain
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.messages import BlockMessage, Headers, Ping
from tests.lib.protocol_bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench(params_for("regtest"))


def spend(bench: Bench, peer: int, seconds: float) -> list[fx.Effect]:
    return bench.step(ev.WorkMeasured(((peer, seconds),)))


def test_who_overspends_is_read_later(bench: Bench) -> None:
    peer, other = bench.peer(), bench.peer()
    assert spend(bench, peer, WORK_BURST) == []
    spend(bench, peer, 0.02)
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, False)]
    assert "of processor time of late" in bench.all(fx.Log)[-1].text
    assert bench.state(peer).conduct.load > bench.state(other).conduct.load
    bench.wait(0.5 * WORK_BURST / 10 / WORK_RATE)
    assert not bench.all(fx.SetReceiving)
    bench.wait((0.6 * WORK_BURST / 10 + 0.02) / WORK_RATE)
    assert bench.all(fx.SetReceiving) == [fx.SetReceiving(peer, True)]


def test_who_goes_on_is_disconnected_and_one_line_says_why(bench: Bench) -> None:
    peer = bench.peer()
    effects: list[fx.Effect] = []
    for _ in range(20):
        effects += spend(bench, peer, 0.1)
        effects += spend(bench, peer, WORK_BURST)
        effects += bench.wait(150, each=10)
    assert [e.peer_id for e in effects if isinstance(e, fx.Disconnect)] == [peer]
    lines = [e.text for e in effects if isinstance(e, fx.Log) and f"disconnecting peer={peer}" in e.text]
    assert len(lines) == 1
    assert "more processor time than its share" in lines[0]


def test_each_budget_that_is_used_up_counts(bench: Bench) -> None:
    once, at_once, on_and_on = bench.peer(), bench.peer(), bench.peer()
    spend(bench, once, WORK_BURST + 0.01)
    spend(bench, at_once, 3 * WORK_BURST + 0.01)
    for _ in range(31):
        spend(bench, on_and_on, WORK_BURST / 10)
    loads = [bench.state(peer).conduct.load for peer in (once, at_once, on_and_on)]
    assert loads[1] == pytest.approx(3 * loads[0])
    assert loads[2] == pytest.approx(3 * loads[0])


def test_a_budget_refills(bench: Bench) -> None:
    peer = bench.peer()
    for _ in range(20):
        spend(bench, peer, 0.9 * WORK_RATE * 60)
        assert not bench.all(fx.SetReceiving)
        bench.wait(60)
    assert bench.disconnected(peer) is None


@pytest.mark.parametrize(
    ("kind", "permissions"),
    [(ConnectionKind.INBOUND, Permission.NOBAN), (ConnectionKind.MANUAL, Permission.NONE)],
)
def test_friends_are_only_read_later(bench: Bench, kind: ConnectionKind, permissions: Permission) -> None:
    peer = bench.peer(kind, permissions=permissions)
    for _ in range(20):
        spend(bench, peer, WORK_BURST + 0.1)
        bench.wait(150, each=10)
        assert bench.disconnected(peer) is None


def test_who_presses_on_is_asked_whether_it_is_there(bench: Bench) -> None:
    """Whatever it is not read for, and also a second time; nobody is blamed for it."""
    spender, pinger, read, waiting = bench.peer(), bench.peer(), bench.peer(), bench.peer()
    friends = bench.peer(permissions=Permission.NOBAN), bench.peer(ConnectionKind.MANUAL)
    for peer in (spender, *friends):
        spend(bench, peer, WORK_BURST + 0.1)
    for _ in range(int(PING_BURST) + 1):
        bench.receive(pinger, Ping(1))
    ctx = bench.protocol._ctx
    ctx.effects = []
    ctx.pause(bench.state(waiting), PAUSE_VALIDATION)
    everybody = (spender, pinger, read, waiting, *friends)
    bench.step(ev.PeersPressing((*everybody, 1_000)))
    assert not bench.all(fx.Disconnect)
    pings = {peer: bench.sent(Ping, peer) for peer in everybody}
    assert all(len(sent) == 1 for sent in pings.values())
    bench.step(ev.PeersPressing((read,)))
    assert bench.sent(Ping, read) == pings[read]  # the answer to the first one counts as much as it would have


def test_what_we_asked_for_is_excused(bench: Bench) -> None:
    """Blocks and headers that answer a request; not a ping, and not the same block once more."""
    blocks = mine_chain(bench.params, 3, UNIX_START - 600)
    peer = bench.peer(ConnectionKind.OUTBOUND_FULL)

    def excused(message: Headers | BlockMessage | Ping) -> bool:
        return fx.Excuse(peer) in bench.protocol.step(bench.now, ev.MessageReceived(peer, message))

    assert excused(Headers(tuple(raw[:80] for raw in blocks)))
    assert not excused(Ping(1))
    assert excused(BlockMessage(blocks[0]))
    assert not excused(BlockMessage(blocks[0]))
    assert not excused(Headers(tuple(raw[:80] for raw in blocks)))


def test_the_score_tells_what_a_peer_has_cost(bench: Bench) -> None:
    peer = bench.peer()
    spend(bench, peer, 0.125)
    assert bench.protocol.peer_scores()[peer]["work"] == 0.125


@pytest.mark.parametrize(("one", "other"), list(permutations(PAUSE_REASONS, 2)))
def test_what_ends_one_pause_does_not_end_another(bench: Bench, one: int, other: int) -> None:
    peer = bench.peer()
    ctx, state = bench.protocol._ctx, bench.state(peer)
    ctx.effects = []
    ctx.pause(state, one)
    ctx.pause(state, other)
    ctx.resume(state, one)
    assert ctx.effects == [fx.SetReceiving(peer, False)]
    ctx.resume(state, other)
    assert ctx.effects[1:] == [fx.SetReceiving(peer, True)]
