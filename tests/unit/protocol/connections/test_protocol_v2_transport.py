"""Who is spoken to in version 2 of the transport, and what follows when that does not get through (BIP324)."""

from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.commands import AddNode, DisconnectNode, SetNetworkActive
from btcnode.protocol.config import OWN_SERVICES, ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import ConnectFailed, PeerConnected, PeerDisconnected, TransportReady
from btcnode.testing.simulator import UNIX_START
from btcnode.wire.constants import NODE_P2P_V2
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress
from tests.lib.protocol_bench import Bench

ADDRESS = NetAddress.from_host("1.2.3.4", 5)


def make(params: NetworkParams, *, v2: bool = True, **options: object) -> Bench:
    services = OWN_SERVICES | (NODE_P2P_V2 if v2 else 0)
    settings = {"dns_seed": False, "no_automatic": True, **options}
    return Bench(params, config=ProtocolConfig(services=services, **settings))  # type: ignore[arg-type]


def begin(bench: Bench, effect: fx.Connect, peer_id: int = 900) -> int:
    """Answer an attempt with a connection whose handshake has not begun."""
    transport = "detecting" if effect.v2 else "v1"
    bench.step(PeerConnected(peer_id, ADDRESS, effect.kind, effect.attempt, transport=transport))
    return peer_id


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_bip324_addresses_of_the_book_by_their_services(params: NetworkParams, ours: bool, theirs: bool) -> None:
    bench = make(params, v2=ours, no_automatic=False)
    services = OWN_SERVICES | (NODE_P2P_V2 if theirs else 0)
    address = NetAddress.from_host("8.8.4.4", params.p2p_port)
    bench.protocol.address_book.add([AddrEntry(UNIX_START, services, address)], address, UNIX_START)
    assert bench.protocol.address_book.services(address) == services
    bench.wait(5)
    (effect, *_) = bench.all(fx.Connect)
    assert effect.target == address
    assert effect.v2 is (ours and theirs)


@pytest.mark.parametrize(("v2", "wish", "expected"), [
    (True, None, True), (True, False, False), (True, True, True), (False, None, False), (False, False, False),
])  # fmt: skip
def test_bip324_addnode(params: NetworkParams, v2: bool, wish: bool | None, expected: bool) -> None:
    bench = make(params, v2=v2)
    bench.step(AddNode("1.2.3.4:5", "onetry", wish))
    (once,) = bench.all(fx.Connect)
    assert once.v2 is expected
    bench.step(AddNode("4.3.2.1:5", "add", wish))
    bench.wait(1)
    (kept,) = bench.all(fx.Connect)
    assert kept.v2 is expected


def test_bip324_fallback_keeps_kind_and_target(params: NetworkParams) -> None:
    bench = make(params, add_nodes=("1.2.3.4:5",))
    bench.wait(1)
    (effect,) = bench.all(fx.Connect)
    assert effect.v2
    peer = begin(bench, effect)
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert (info["transport_protocol_type"], info["session_id"]) == ("detecting", "")
    bench.step(PeerDisconnected(peer, "closed", retry_v1=True))
    (again,) = bench.all(fx.Connect)
    assert (again.target, again.kind, again.v2) == (ADDRESS, ConnectionKind.MANUAL, False)
    peer = begin(bench, again, 901)
    assert bench.protocol.added_nodes() == [("1.2.3.4:5", peer)]
    bench.step(PeerDisconnected(peer, "closed"))
    assert not bench.all(fx.Connect)  # the ordinary delay
    bench.wait(5)
    (later,) = bench.all(fx.Connect)
    assert later.v2  # the node may have been upgraded


def test_bip324_fallback_that_fails_is_retried_with_the_usual_delay(params: NetworkParams) -> None:
    bench = make(params, add_nodes=("1.2.3.4:5",))
    bench.wait(1)
    (effect,) = bench.all(fx.Connect)
    bench.step(PeerDisconnected(begin(bench, effect), "closed", retry_v1=True))
    (again,) = bench.all(fx.Connect)
    bench.step(ConnectFailed(again.attempt, "refused"))
    assert not bench.all(fx.Connect)
    bench.wait(5)
    assert len(bench.all(fx.Connect)) == 1


def test_bip324_no_fallback_after_the_users_command_or_without_network(params: NetworkParams) -> None:
    bench = make(params)
    bench.step(AddNode("1.2.3.4:5", "onetry"))
    (effect,) = bench.all(fx.Connect)
    peer = begin(bench, effect)
    bench.step(DisconnectNode(peer))
    bench.step(PeerDisconnected(peer, "closed", retry_v1=True))
    assert not bench.all(fx.Connect)
    bench.step(AddNode("1.2.3.4:5", "onetry"))
    (effect,) = bench.all(fx.Connect)
    peer = begin(bench, effect, 901)
    bench.step(SetNetworkActive(False))
    bench.step(PeerDisconnected(peer, "closed", retry_v1=True))
    assert not bench.all(fx.Connect)


def test_bip324_handshake_timeout_is_named_and_leads_to_version_1(params: NetworkParams) -> None:
    bench = make(params, peer_timeout=10.0)
    bench.step(AddNode("1.2.3.4:5", "onetry"))
    (effect,) = bench.all(fx.Connect)
    peer = begin(bench, effect)
    bench.wait(12)
    (end,) = bench.all(fx.Disconnect)
    assert end.reason == "V2 handshake timeout"
    bench.step(PeerDisconnected(peer, "timeout", retry_v1=True))
    (again,) = bench.all(fx.Connect)
    assert not again.v2


def test_bip324_session_is_told(params: NetworkParams) -> None:
    bench = make(params)
    bench.step(PeerConnected(900, ADDRESS, ConnectionKind.INBOUND, transport="detecting"))
    bench.step(TransportReady(900, "v2", bytes(range(32))))
    info = bench.protocol.peer_info(900)
    assert info is not None
    assert info["transport_protocol_type"] == "v2"
    assert info["session_id"] == bytes(range(32)).hex()
    bench.step(TransportReady(12345, "v1"))  # gone meanwhile
