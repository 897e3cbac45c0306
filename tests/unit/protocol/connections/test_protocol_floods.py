"""What is beyond the rate is not looked at, costs standing, and stops the reading for a while."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol import limits
from btcnode.protocol.config import ProtocolConfig
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import MSG_TX
from btcnode.wire.messages import Inv, InvItem, Ping, Pong
from tests.lib.protocol_bench import Bench


@pytest.fixture
def bench(params: NetworkParams) -> Bench:
    return Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True))


FLOOD = Inv((InvItem(MSG_TX, b"\x01" * 32),) * 50_000)


def test_who_floods_is_not_read_from_for_a_while(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, FLOOD)
    assert [e.enabled for e in bench.all(fx.SetReceiving)] == [False]
    bench.wait(limits.FLOOD_PAUSE - 1)
    assert not bench.all(fx.SetReceiving)
    bench.wait(1.1)
    assert [e.enabled for e in bench.all(fx.SetReceiving)] == [True]


def test_going_on_ends_the_connection_and_honest_pace_does_not(bench: Bench) -> None:
    flood, honest = bench.peer(), bench.peer()
    for _ in range(20):
        bench.receive(flood, FLOOD)
        bench.receive(honest, Inv(FLOOD.items[:1000]))
        bench.wait(5.5)
        if bench.disconnected(flood) is not None:
            break
    assert flood not in bench.protocol.peer_ids() or not bench.state(flood).role.is_heard
    assert bench.state(honest).role.is_complete
    assert not bench.state(honest).conduct.offences


def test_favoured_peers_have_no_rate(bench: Bench) -> None:
    peer = bench.peer(permissions=Permission.RELAY)
    bench.receive(peer, FLOOD)
    assert not bench.all(fx.SetReceiving)


def test_every_ping_is_answered_flood_or_not(bench: Bench) -> None:
    peer = bench.peer()
    answered = 0
    for _ in range(int(limits.PING_BURST) + 1):
        answered += sum(isinstance(e, fx.Send) and isinstance(e.message, Pong) for e in bench.receive(peer, Ping(1)))
    assert answered == limits.PING_BURST + 1
    assert bench.state(peer).pauses
    assert "PING_FLOOD" in bench.state(peer).conduct.offences
