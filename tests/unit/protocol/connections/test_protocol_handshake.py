from __future__ import annotations

from hashlib import sha256

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import Malformation, MalformedMessage, PeerConnected, PeerDisconnected
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.constants import NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_WITNESS
from btcnode.wire.messages import (
    FeeFilter,
    FinalAlert,
    GetAddr,
    Ping,
    Pong,
    SendAddrV2,
    SendCmpct,
    SendHeaders,
    Verack,
    Version,
    WtxidRelay,
)
from tests.lib.protocol_bench import Bench

FULL = NODE_NETWORK | NODE_WITNESS
FINAL_ALERT_SHA256 = "7c776ffea65a6a93e89f4843675dc417ba9f2607f46bd6519354fe378a3a3843"


def their_version(**fields: object) -> Version:
    defaults: dict[str, object] = {"services": FULL, "time": UNIX_START, "nonce": 77, "user_agent": b"/x:1/"}
    return Version(**{**defaults, **fields})  # type: ignore[arg-type]


def test_outbound_speaks_first_and_negotiates_before_verack(bench: Bench) -> None:
    peer = bench.connect(ConnectionKind.OUTBOUND_FULL)
    (ours,) = bench.sent(Version)
    assert ours.version == 70016
    assert ours.relay is False
    assert ours.services & FULL == FULL
    assert ours.receiver == sim_address(peer)
    bench.receive(peer, their_version())
    order = [type(e.message) for e in bench.all(fx.Send)]
    assert order == [WtxidRelay, SendAddrV2, Verack, GetAddr]
    bench.receive(peer, WtxidRelay())
    bench.receive(peer, SendAddrV2())
    bench.receive(peer, Verack())
    assert bench.sent(SendCmpct) == [SendCmpct(False, 2)]
    state = bench.state(peer)
    assert state.role.is_complete
    assert state.wtxid_relay
    assert state.wants_addrv2


def test_inbound_waits_for_their_version(bench: Bench) -> None:
    peer = bench.connect()
    assert not bench.all(fx.Send)
    bench.receive(peer, their_version())
    assert [type(e.message) for e in bench.all(fx.Send)] == [Version, WtxidRelay, SendAddrV2, Verack]


def test_old_versions_are_spared_new_messages(bench: Bench) -> None:
    peer = bench.connect()
    bench.receive(peer, their_version(version=70015))
    assert [type(e.message) for e in bench.all(fx.Send)] == [Version, Verack]
    bench.receive(peer, WtxidRelay())
    assert not bench.state(peer).wtxid_relay
    old = bench.connect()
    bench.receive(old, their_version(version=31800))
    bench.receive(old, Verack())
    assert not bench.sent(SendCmpct)
    bench.receive(old, Ping(5))
    assert not bench.sent(Pong)  # before BIP31 nobody waits for an answer


@pytest.mark.parametrize("version, told", [(70013, 0), (70012, 1), (31800, 1)])
def test_nodes_that_know_alerts_are_told_the_last_one(bench: Bench, version: int, told: int) -> None:
    peer = bench.connect()
    bench.receive(peer, their_version(version=version))
    alerts = bench.sent(FinalAlert)
    assert len(alerts) == told
    assert all(sha256(alert.encode()).hexdigest() == FINAL_ALERT_SHA256 for alert in alerts)


def test_obsolete_version(bench: Bench) -> None:
    peer = bench.connect()
    bench.receive(peer, their_version(version=31799))
    assert (closed := bench.disconnected(peer)) is not None
    assert "31799" in closed.reason
    assert not closed.discourage
    assert not bench.sent(Version)


@pytest.mark.parametrize(
    ("kind", "services", "stays"),
    [
        (ConnectionKind.OUTBOUND_FULL, FULL, True),
        (ConnectionKind.OUTBOUND_FULL, NODE_NETWORK, False),
        (ConnectionKind.BLOCK_RELAY, NODE_WITNESS, False),
        (ConnectionKind.OUTBOUND_FULL, NODE_NETWORK_LIMITED | NODE_WITNESS, False),  # we are far behind
        (ConnectionKind.MANUAL, 0, True),
        (ConnectionKind.INBOUND, 0, True),
    ],
)
def test_services_that_outbound_peers_must_have(bench: Bench, kind: ConnectionKind, services: int, stays: bool) -> None:
    peer = bench.connect(kind)
    bench.receive(peer, their_version(services=services))
    assert (bench.disconnected(peer) is None) is stays


def test_limited_peers_are_welcome_near_the_tip(bench: Bench, blocks: list[bytes]) -> None:
    bench.load(blocks)
    peer = bench.connect(ConnectionKind.OUTBOUND_FULL)
    bench.receive(peer, their_version(services=NODE_NETWORK_LIMITED | NODE_WITNESS))
    assert bench.disconnected(peer) is None


def test_self_connection(bench: Bench) -> None:
    bench.connect(ConnectionKind.OUTBOUND_FULL)
    (ours,) = bench.sent(Version)
    other_end = bench.connect()
    bench.receive(other_end, ours)
    assert (closed := bench.disconnected(other_end)) is not None
    assert "self" in closed.reason
    assert not bench.sent(Version)


def test_nonce_of_an_established_connection_is_no_self_connection(bench: Bench) -> None:
    peer = bench.connect(ConnectionKind.OUTBOUND_FULL)
    (ours,) = bench.sent(Version)
    bench.receive(peer, their_version())
    bench.receive(peer, Verack())
    inbound = bench.connect()
    bench.receive(inbound, ours)
    assert bench.disconnected(inbound) is None


def test_messages_before_version_and_verack_are_ignored(bench: Bench) -> None:
    peer = bench.connect()
    for message in (Verack(), Ping(1), GetAddr(), SendHeaders()):
        bench.receive(peer, message)
        assert not bench.all(fx.Send)
        assert bench.disconnected(peer) is None
    bench.receive(peer, their_version())
    bench.receive(peer, Ping(1))
    assert not bench.sent(Pong)
    bench.receive(peer, Verack())
    bench.receive(peer, Ping(1))
    assert bench.sent(Pong) == [Pong(1)]


@pytest.mark.parametrize("late", [WtxidRelay(), SendAddrV2()])
def test_negotiation_after_verack_disconnects(bench: Bench, late: WtxidRelay | SendAddrV2) -> None:
    peer = bench.peer()
    bench.receive(peer, late)
    assert (closed := bench.disconnected(peer)) is not None
    assert not closed.discourage


def test_redundant_version_and_verack_change_nothing(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, their_version(version=60000, services=0))
    bench.receive(peer, Verack())
    assert not bench.all(fx.Send)
    assert bench.state(peer).version == 70016


def test_handshake_timeout_runs_on_the_monotonic_clock(bench: Bench) -> None:
    silent = bench.connect()
    half = bench.connect()
    bench.receive(half, their_version())
    done = bench.peer()
    bench.wait(59.5)
    assert not bench.all(fx.Disconnect)
    bench.wait(1.5)
    assert {e.peer_id for e in bench.all(fx.Disconnect)} == {silent, half}
    assert done not in {e.peer_id for e in bench.all(fx.Disconnect)}


def test_sendcmpct_of_another_version_is_ignored(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, SendCmpct(True, 1))
    assert not bench.state(peer).provides_compact
    bench.receive(peer, SendCmpct(True, 2))
    assert bench.state(peer).provides_compact
    assert bench.state(peer).high_bandwidth_from


def test_fee_filter_is_understood_within_money_range(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, FeeFilter(1234))
    assert bench.state(peer).fee_filter == 1234
    bench.receive(peer, FeeFilter(-1))
    bench.receive(peer, FeeFilter(21_000_001 * 10**8))
    assert bench.state(peer).fee_filter == 1234


def test_fee_filter_is_announced_when_transactions_are_relayed(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, tx_relay=True))
    peer = bench.peer()
    assert bench.sent(FeeFilter, peer) == [FeeFilter(9936506)]  # with verack; initial download: nothing is wanted
    bench.load(blocks)
    bench.wait(1)
    assert bench.sent(FeeFilter, peer) == [FeeFilter(0)]
    block_relay = bench.peer(ConnectionKind.BLOCK_RELAY)
    bench.wait(1)
    assert not bench.sent(FeeFilter, block_relay)


def test_peer_info_has_cores_fields(bench: Bench) -> None:
    peer = bench.peer(ConnectionKind.MANUAL)
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["connection_type"] == "manual"
    assert info["subver"] == ""
    assert info["version"] == 70016
    assert info["services"] == FULL
    assert info["inflight"] == ()
    assert info["presynced_headers"] == -1
    assert info["network"] == "ipv4"
    bench.step(PeerDisconnected(peer))
    assert bench.protocol.peer_info(peer) is None


def test_malformed_bytes_as_core_deals_with_them(bench: Bench) -> None:
    for kind, stays in (
        (Malformation.CHECKSUM, True),
        (Malformation.COMMAND, True),
        (Malformation.PAYLOAD, True),
        (Malformation.MAGIC, False),
        (Malformation.OVERSIZED, False),
    ):
        peer = bench.peer()
        bench.step(MalformedMessage(peer, kind, "inv", "because"))
        assert (bench.disconnected(peer) is None) is stays
        assert len([line for line in bench.all(fx.Log) if "because" in line.text]) == 1


@pytest.mark.parametrize(
    ("command", "discouraged"), [("inv", True), ("headers", True), ("addrv2", True), ("getheaders", False)]
)
def test_messages_beyond_their_limits(bench: Bench, command: str, discouraged: bool) -> None:
    peer = bench.peer()
    bench.step(MalformedMessage(peer, Malformation.LIMIT, command, "too many"))
    assert (closed := bench.disconnected(peer)) is not None
    assert closed.discourage is discouraged


def test_peer_number_in_use_is_refused(bench: Bench) -> None:
    peer = bench.peer()
    bench.step(PeerConnected(peer, sim_address(99), ConnectionKind.INBOUND))
    assert bench.state(peer).address != sim_address(99)
