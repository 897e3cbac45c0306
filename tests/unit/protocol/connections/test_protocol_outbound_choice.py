from __future__ import annotations

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

ONION = NetAddress(Network.TORV3, bytes(range(32)), 8333)


@pytest.fixture
def quiet(params: NetworkParams) -> Bench:
    config = ProtocolConfig(dns_seed=False, no_automatic=True, networks=("ipv4", "onion"))
    return Bench(params, config=config)


def know(bench: Bench, *addresses: NetAddress, services: int = 9) -> None:
    for address in addresses:
        bench.book.add([AddrEntry(UNIX_START, services, address)], address, UNIX_START)


def test_ports_of_other_services_are_avoided_while_there_are_others(quiet: Bench) -> None:
    choice = quiet.protocol._connections.choice
    bad = NetAddress.from_host("30.1.1.1", 22)
    know(quiet, bad, *(sim_address(i) for i in range(20)))
    chosen = [choice.choose(()) for _ in range(50)]
    assert all(entry is not None and entry.address != bad for entry in chosen)


def test_a_group_in_use_and_missing_services_are_left_out(quiet: Bench) -> None:
    choice = quiet.protocol._connections.choice
    know(quiet, sim_address(1), services=9)
    know(quiet, sim_address(2), services=0)
    assert {entry.address for entry in (choice.choose(()) for _ in range(20)) if entry} == {sim_address(1)}
    assert choice.choose({quiet.book.groups.group(sim_address(1))}) is None


def test_a_network_without_a_peer_is_preferred(quiet: Bench) -> None:
    choice = quiet.protocol._connections.choice
    know(quiet, sim_address(1))
    quiet.peer(ConnectionKind.OUTBOUND_FULL)
    assert choice.preferred_network() is None
    know(quiet, ONION)
    assert choice.preferred_network() is Network.TORV3
    entry = choice.choose((), Network.TORV3)
    assert entry is not None and entry.address == ONION


def test_feelers_test_who_may_lose_a_place_first(quiet: Bench) -> None:
    choice, book = quiet.protocol._connections.choice, quiet.book
    book.key = (1).to_bytes(32, "little")
    old, new = NetAddress.from_host("1.2.3.4", 8333), NetAddress.from_host("1.2.5.45", 8333)
    know(quiet, old, new, sim_address(9))
    book.good(old, UNIX_START - 10_000)
    assert not book.good(new, UNIX_START - 5000)
    entry = choice.choose_for_feeler()
    assert entry is not None and entry.address == old
    quiet.connect(ConnectionKind.OUTBOUND_FULL, address=old)  # in use: it need not be tested
    entry = choice.choose_for_feeler()
    assert entry is not None and entry.address != old
    assert book.entries[next(e.key for _, e in book.tried.slots())].last_success == UNIX_START


def test_an_anchor_without_wanted_services_is_passed_over(params: NetworkParams) -> None:
    anchors = (AddrEntry(UNIX_START, 9, sim_address(1)), AddrEntry(UNIX_START, 0, sim_address(300)))
    bench = Bench(params, config=ProtocolConfig(dns_seed=False), anchors=anchors)
    bench.wait(2)
    assert [effect.target for effect in bench.all(fx.Connect)] == [sim_address(1)]
