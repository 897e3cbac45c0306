from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import LocalAddress, LocalAddressGone
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

V4 = NetAddress.from_host("5.6.7.8", 8333)
V6 = NetAddress.from_host("2a00:1450::5", 8333)
ONION = NetAddress(Network.TORV3, bytes(range(32)), 8333)


@pytest.fixture
def open_bench(params: NetworkParams) -> Bench:
    networks = ("ipv4", "ipv6", "onion")
    return Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, networks=networks))


def told(bench: Bench, host: str | NetAddress, seen: str = "") -> NetAddress | None:
    address = NetAddress.from_host(host, 8333) if isinstance(host, str) else host
    peer = bench.state(bench.connect(ConnectionKind.OUTBOUND_FULL, address=address))
    peer.seen_us_as = NetAddress.from_host(seen, 4444) if seen else None
    return bench.protocol._gossip.local.choose(peer)


def test_a_peer_is_told_what_it_reaches_best(open_bench: Bench) -> None:
    for address in (V4, V6, ONION):
        open_bench.step(LocalAddress(address, "user"))
    assert told(open_bench, "9.9.9.9") == V4
    assert told(open_bench, "2a00:1450:2::1") == V6
    assert told(open_bench, NetAddress(Network.TORV3, bytes(32), 8333)) == ONION


def test_networks_that_hide_us_and_others_learn_nothing_of_each_other(open_bench: Bench) -> None:
    open_bench.step(LocalAddress(ONION, "user"))
    assert told(open_bench, "9.9.9.9") is None
    open_bench.step(LocalAddressGone(ONION))
    open_bench.step(LocalAddress(V4, "user"))
    assert told(open_bench, NetAddress(Network.TORV3, bytes(32), 8333)) is None


def test_what_peers_see_counts_when_nothing_is_known(open_bench: Bench) -> None:
    assert told(open_bench, "9.9.9.9", "7.7.7.7") == NetAddress.from_host("7.7.7.7", 18444)
    open_bench.step(LocalAddress(NetAddress.from_host("127.0.0.1", 555), "bind"))
    assert told(open_bench, "9.9.9.10", "7.7.7.7") == NetAddress.from_host("7.7.7.7", 555)
    assert told(open_bench, "9.9.9.11", "10.7.7.7") is None


def test_now_and_then_a_peer_is_told_what_it_sees(open_bench: Bench) -> None:
    open_bench.step(LocalAddress(V4, "user"))
    answers = {told(open_bench, f"9.9.{i}.9", "7.7.7.7") for i in range(40)}
    assert answers == {V4, NetAddress.from_host("7.7.7.7", 8333)}


def test_without_discovery_only_the_users_addresses_count(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, discover=False))
    bench.step(LocalAddress(V4, "bind"))
    bench.step(LocalAddress(V6, "user"))
    assert set(bench.protocol.local_addresses) == {V6}
    assert told(bench, "9.9.9.9", "7.7.7.7") == V6


def test_an_address_gains_by_being_seen_and_named_again(open_bench: Bench) -> None:
    open_bench.step(LocalAddress(V4, "bind"))
    open_bench.step(LocalAddress(V4, "user"))
    before = open_bench.protocol.local_addresses[V4]
    open_bench.protocol._gossip.local.seen(V4)
    assert open_bench.protocol.local_addresses[V4] == before + 1
