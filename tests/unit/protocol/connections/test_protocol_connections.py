from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol import limits
from btcnode.protocol.addresses.netgroup import address_key, netgroup
from btcnode.protocol.commands import AddConnection, AddNode, DisconnectNode, SetNetworkActive
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.eviction import Candidate, select_for_eviction
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import ConnectFailed, DnsSeedResult, PeerConnected, PeerDisconnected
from btcnode.protocol.misbehaviour import CONSEQUENCES, DiscouragedAddresses, Offence
from btcnode.settings.permissions import Permission
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.messages import AddrEntry, Headers, Verack, Version
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

FULL, BLOCK_RELAY = ConnectionKind.OUTBOUND_FULL, ConnectionKind.BLOCK_RELAY


def automatic(params: NetworkParams, *, known: int = 200, **options: object) -> Bench:
    """A bench that opens connections by itself, with a book of addresses in different netgroups."""
    config = ProtocolConfig(**{"dns_seed": False, **options})  # type: ignore[arg-type]
    bench = Bench(params, config=config)
    bench.book.add([AddrEntry(UNIX_START, 9, sim_address(100 + i)) for i in range(known)], sim_address(1), UNIX_START)
    return bench


def establish(bench: Bench, effect: fx.Connect, services: int = 9) -> int:
    """Let a Connect effect succeed up to verack."""
    assert isinstance(effect.target, NetAddress)
    peer = bench.connect(effect.kind, address=effect.target, attempt=effect.attempt)
    bench.receive(peer, Version(services=services, time=UNIX_START, nonce=peer))
    bench.receive(peer, Verack())
    return peer


def run(bench: Bench, seconds: float) -> list[int]:
    """Let time pass, every Connect succeeds; returns the peers."""
    peers = []
    for _ in range(int(seconds)):
        bench.wait(1)
        for effect in bench.all(fx.Connect):
            peers.append(establish(bench, effect))
    return peers


def test_eight_full_and_two_block_relay_in_different_groups(params: NetworkParams) -> None:
    bench = automatic(params)
    peers = run(bench, 40)
    lasting = [p for p in peers if bench.state(p).kind is not ConnectionKind.FEELER]
    assert [bench.state(p).kind for p in lasting] == [FULL] * 8 + [BLOCK_RELAY] * 2
    assert len({netgroup(bench.state(p).address) for p in lasting}) == 10
    assert bench.book.tried_count == len(peers)


def test_one_group_gets_one_slot(params: NetworkParams) -> None:
    bench = automatic(params, known=0)
    same = [AddrEntry(UNIX_START, 9, NetAddress(Network.IPV4, bytes((50, 1, i, 1)), 8333)) for i in range(100)]
    bench.book.add(same, sim_address(1), UNIX_START)
    assert len(run(bench, 20)) == 1


def test_feelers_test_new_addresses(params: NetworkParams) -> None:
    bench = automatic(params)
    run(bench, 40)
    tried = bench.book.tried_count
    feelers = 0
    for _ in range(600):
        bench.wait(1)
        for effect in bench.all(fx.Connect):
            assert effect.kind is ConnectionKind.FEELER
            peer = bench.connect(effect.kind, address=effect.target, attempt=effect.attempt)  # type: ignore[arg-type]
            bench.receive(peer, Version(services=9, time=UNIX_START, nonce=peer))
            assert (closed := bench.disconnected(peer)) is not None
            assert "feeler" in closed.reason
            bench.step(PeerDisconnected(peer))
            feelers += 1
    assert 2 <= feelers <= 12
    assert bench.book.tried_count == tried + feelers


def test_failed_attempts_free_their_slot(params: NetworkParams) -> None:
    bench = automatic(params, known=20)
    for _ in range(30):
        bench.wait(1)
        for effect in bench.all(fx.Connect):
            bench.step(ConnectFailed(effect.attempt, "refused"))
    assert not bench.protocol._connections.attempts
    bench.step(ConnectFailed(999, "never asked"))


def test_unanswered_attempts_are_bounded(params: NetworkParams) -> None:
    bench = automatic(params)
    for i in range(40):
        bench.step(AddNode(f"host{i}", "onetry"))
    bench.wait(20)
    assert len(bench.protocol._connections.attempts) == limits.MAX_CONNECTING


def test_connect_option_means_nobody_else(params: NetworkParams) -> None:
    bench = automatic(params, connect=("10.1.1.1:5", "seed.example"))
    bench.wait(1)
    effects = bench.all(fx.Connect)
    assert [e.target for e in effects] == ["10.1.1.1:5", "seed.example"]
    assert all(e.kind is ConnectionKind.MANUAL for e in effects)
    bench.wait(400)
    assert not bench.all(fx.Connect)


def test_named_targets_are_retried_with_growing_delay(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, add_nodes=("1.2.3.4:5",)))
    times = []
    for _ in range(6000):
        bench.wait(0.1, each=0.1)
        for effect in bench.all(fx.Connect):
            times.append(bench.now)
            bench.step(ConnectFailed(effect.attempt, "refused"))
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert 1.4 < gaps[0] < 2.7
    assert gaps[:4] == sorted(gaps[:4])
    assert 44 < gaps[-1] < 76
    info_lines = [line for line in bench.log if line.level is fx.LogLevel.INFO and "connection" in line.text]
    assert len(info_lines) == 1  # not one for every try


def test_lost_named_peer_is_connected_again(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, add_nodes=("1.2.3.4:5",)))
    bench.wait(1)
    (effect,) = bench.all(fx.Connect)
    peer = bench.connect(effect.kind, address=NetAddress.from_host("1.2.3.4", 5), attempt=effect.attempt)
    assert bench.protocol.added_nodes() == [("1.2.3.4:5", peer)]
    bench.wait(30)
    assert not bench.all(fx.Connect)
    bench.step(PeerDisconnected(peer))
    assert bench.protocol.added_nodes() == [("1.2.3.4:5", None)]
    bench.wait(5)
    assert len(bench.all(fx.Connect)) == 1


def test_addnode_commands(bench: Bench) -> None:
    bench.step(AddNode("1.1.1.1:8333", "add"))
    bench.step(AddNode("1.1.1.1:8333", "add"))
    assert bench.protocol.added_nodes() == [("1.1.1.1:8333", None)]
    bench.step(AddNode("1.1.1.1:8333", "remove"))
    bench.step(AddNode("1.1.1.1:8333", "remove"))
    assert bench.protocol.added_nodes() == []
    bench.step(AddNode("2.2.2.2", "onetry"))
    (effect,) = bench.all(fx.Connect)
    bench.step(ConnectFailed(effect.attempt, "no route"))
    bench.wait(200)
    assert not bench.all(fx.Connect)
    for i in range(limits.MAX_ADDED_NODES + 1):
        bench.step(AddNode(f"10.0.{i >> 8}.{i & 255}", "add"))
    assert len(bench.protocol.added_nodes()) == limits.MAX_ADDED_NODES


def test_second_connection_to_the_same_address_is_refused(bench: Bench) -> None:
    bench.peer(ConnectionKind.MANUAL, address=sim_address(50))
    again = bench.connect(ConnectionKind.MANUAL, address=sim_address(50))
    assert bench.disconnected(again) is not None
    assert bench.protocol.peer_info(again) is None
    bench.step(PeerDisconnected(again))


def test_who_is_connected_is_not_connected_to_again(bench: Bench) -> None:
    """An attempt that is refused when it stands would have taken the next peer's number."""
    bench.peer(ConnectionKind.INBOUND, address=NetAddress.from_host("1.2.3.4", 5))
    bench.step(AddNode("1.2.3.4:5", "onetry"))
    bench.step(AddConnection("1.2.3.4:5", ConnectionKind.FEELER, False))
    assert not bench.all(fx.Connect)
    bench.step(AddConnection("1.2.3.4:6", ConnectionKind.FEELER, False))
    assert len(bench.all(fx.Connect)) == 1


@pytest.mark.parametrize("text", ["1.2.3.4:5", "[::ffff:1.2.3.4]:5", "[1.2.3.4]:5"])
def test_an_added_node_is_known_by_its_address_however_it_is_written(bench: Bench, text: str) -> None:
    peer = bench.peer(ConnectionKind.INBOUND, address=NetAddress.from_host("1.2.3.4", 5))
    bench.step(AddNode(text, "add"))
    bench.wait(5)
    assert bench.protocol.added_nodes() == [(text, peer)]
    assert not bench.all(fx.Connect)


def test_disconnect_command(bench: Bench) -> None:
    peer = bench.peer()
    bench.step(DisconnectNode(peer))
    assert bench.disconnected(peer) is not None
    bench.step(DisconnectNode(12345))


def test_network_off_and_on(params: NetworkParams) -> None:
    bench = automatic(params)
    peers = run(bench, 10)
    bench.step(SetNetworkActive(False))
    assert {e.peer_id for e in bench.all(fx.Disconnect)} == set(peers)
    for peer in peers:
        bench.step(PeerDisconnected(peer))
    bench.wait(60)
    assert not bench.all(fx.Connect)
    refused = bench.connect()
    assert bench.disconnected(refused) is not None
    bench.step(SetNetworkActive(True))
    bench.wait(5)
    assert bench.all(fx.Connect)


# -- seeds ---------------------------------------------------------------------------------------------------------


def test_dns_seeds_at_once_with_an_empty_book() -> None:
    from btcnode.networks.parameters import params_for

    bench = Bench(params_for("testnet4"), config=ProtocolConfig())
    bench.wait(1)
    (effect,) = bench.all(fx.ResolveSeeds)
    assert all(name.startswith("x9.") for name in effect.names)
    found = tuple(sim_address(300 + i, 48333) for i in range(400))
    bench.step(DnsSeedResult(effect.names[0], found))
    assert limits.MAX_DNS_RESULTS - 5 < len(bench.book) <= limits.MAX_DNS_RESULTS, "some want the same place"
    bench.wait(2)
    assert bench.all(fx.Connect)


def test_dns_seeds_are_spared_while_the_book_leads_to_peers() -> None:
    from btcnode.networks.parameters import params_for

    bench = automatic(params_for("mainnet"), dns_seed=True)
    bench.wait(5)
    assert not bench.all(fx.ResolveSeeds)
    run(bench, 20)
    bench.wait(600)
    assert not bench.all(fx.ResolveSeeds)


def test_dns_seeds_when_the_book_leads_nowhere() -> None:
    from btcnode.networks.parameters import params_for

    bench = automatic(params_for("mainnet"), dns_seed=True, known=5)
    asked: list[str] = []
    for _ in range(120):
        bench.wait(1)
        names = [name for e in bench.all(fx.ResolveSeeds) for name in e.names]
        asked += names
        for name in names:
            bench.step(DnsSeedResult(name, ()))
        for effect in bench.all(fx.Connect):
            bench.step(ConnectFailed(effect.attempt, "refused"))
    assert len(asked) == len(set(asked)) == len(params_for("mainnet").dns_seeds)


def test_silent_seed_is_asked_as_a_node() -> None:
    from btcnode.networks.parameters import params_for

    bench = Bench(params_for("mainnet"), config=ProtocolConfig())
    bench.step(DnsSeedResult("x9.seed.example.org", ()))
    (effect,) = bench.all(fx.Connect)
    assert effect.target == "seed.example.org"
    assert effect.kind is ConnectionKind.ADDR_FETCH


# -- outbound peers beyond the limit ---------------------------------------------------------------------------------


def test_stale_tip_brings_one_more_peer_and_the_worst_goes(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = automatic(params)
    bench.load(blocks)
    first = run(bench, 40)
    opened: list[int] = []
    gone: list[int] = []
    for _ in range(3000):
        bench.wait(2, each=2)
        gone += [e.peer_id for e in bench.all(fx.Disconnect) if "extra outbound" in e.reason]
        for effect in bench.all(fx.Connect):
            peer = establish(bench, effect)
            if effect.kind is FULL:
                opened.append(peer)
        if gone:
            break
    assert opened
    assert gone
    assert gone[0] in first + opened


def test_anchors_are_connected_to_first(params: NetworkParams) -> None:
    anchors = tuple(AddrEntry(int(UNIX_START), 9, sim_address(number)) for number in (500, 501))
    bench = Bench(params, config=ProtocolConfig(dns_seed=False), anchors=anchors)
    bench.wait(2)
    effects = bench.all(fx.Connect)
    assert [e.kind for e in effects] == [BLOCK_RELAY] * 2
    assert {e.target for e in effects} == {anchor.address for anchor in anchors}
    for effect in effects:
        establish(bench, effect)
    assert {anchor.address for anchor in bench.protocol.anchors()} == {anchor.address for anchor in anchors}


# -- inbound -------------------------------------------------------------------------------------------------------


def test_full_inbound_slots_evict_the_least_valuable(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, max_connections=61))
    limit = bench.protocol._ctx.config.max_inbound
    for i in range(limit):
        bench.now += 1
        bench.peer(address=NetAddress(Network.IPV4, bytes((80, 1, i, 1)), 1000))
    newcomer = bench.connect(address=NetAddress.from_host("81.1.1.1", 1000))
    evicted = [e.peer_id for e in bench.all(fx.Disconnect)]
    assert len(evicted) == 1
    assert evicted[0] != newcomer
    assert bench.protocol.peer_info(newcomer) is not None


def test_no_slot_when_all_are_protected(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, max_connections=14))
    for i in range(3):
        bench.peer(address=sim_address(600 + i))
    newcomer = bench.connect()
    assert bench.disconnected(newcomer) is not None
    assert bench.protocol.peer_info(newcomer) is None


def test_discouraged_addresses_are_last_in_line(params: NetworkParams, blocks: list[bytes]) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, max_connections=14))
    villain = NetAddress.from_host("66.6.6.6", 6666)
    peer = bench.peer(address=villain)
    bench.receive(peer, Headers((blocks[0][:80], blocks[2][:80])))
    assert bench.disconnected(peer) is not None
    bench.step(PeerDisconnected(peer))
    back = bench.connect(address=villain)
    assert bench.disconnected(back) is None  # there is room
    assert bench.state(back).prefer_evict
    bench.peer(address=sim_address(700))
    again = bench.connect(address=NetAddress.from_host("66.6.6.6", 7777))
    assert bench.disconnected(again) is not None
    friend = bench.connect(address=NetAddress.from_host("66.6.6.6", 8888), permissions=Permission.NOBAN)
    assert bench.disconnected(friend) is None


def candidate(i: int, **fields: object) -> Candidate:
    defaults: dict[str, object] = {
        "peer_id": i, "connected": float(i), "ping": 1.0, "last_block": 0, "last_tx": 0, "relevant_services": True,
        "relays_txs": True, "has_bloom_filter": False, "group": bytes([i]), "network": Network.IPV4, "is_local": False,
    }  # fmt: skip
    return Candidate(**{**defaults, **fields})  # type: ignore[arg-type]


def test_eviction_takes_the_youngest_of_the_largest_group() -> None:
    crowd = [candidate(i, group=b"crowd" if i >= 40 else bytes([i])) for i in range(80)]
    assert select_for_eviction(crowd) == 79
    shuffled = list(crowd)
    Random(3).shuffle(shuffled)
    assert select_for_eviction(shuffled) == 79


def test_eviction_protects_merit() -> None:
    merit = {"ping": 0.001, "last_block": 10, "last_tx": 10}
    for name, value in merit.items():
        peers = [candidate(i, group=b"g") for i in range(60)] + [candidate(99, group=b"g", **{name: value})]
        assert select_for_eviction(peers) not in (99, None)


def test_eviction_prefers_the_discouraged() -> None:
    peers = [candidate(i, group=b"g", prefer_evict=i == 45) for i in range(60)]
    assert select_for_eviction(peers) == 45


def test_eviction_needs_candidates() -> None:
    assert select_for_eviction([]) is None
    assert select_for_eviction([candidate(i) for i in range(10)]) is None


def test_eviction_keeps_places_for_slow_networks() -> None:
    peers = [candidate(i, group=b"g") for i in range(60)]
    peers += [candidate(100 + i, network=Network.TORV3, ping=9.0, group=b"t") for i in range(4)]
    left = list(peers)
    for _ in range(15):
        chosen = select_for_eviction(left)
        assert chosen is not None
        left = [c for c in left if c.peer_id != chosen]
    assert sum(1 for c in left if c.network is Network.TORV3) == 4


# -- misbehaviour ----------------------------------------------------------------------------------------------------


def test_every_offence_has_a_consequence() -> None:
    assert set(CONSEQUENCES) == set(Offence)


def test_a_million_discouraged_addresses_are_bounded() -> None:
    """CVE-2020-14198."""
    discouraged = DiscouragedAddresses(1000)
    for i in range(1_000_000):
        discouraged.add(i.to_bytes(4, "big"))
    assert len(discouraged) == 1000
    assert (999_999).to_bytes(4, "big") in discouraged
    assert (0).to_bytes(4, "big") not in discouraged


def test_log_filling_is_limited(bench: Bench, blocks: list[bytes]) -> None:
    """CVE-2025-54604, CVE-2025-54605: neither one peer nor many new ones can fill the log."""
    gap = Headers((blocks[0][:80], blocks[2][:80]))
    peer = bench.peer(permissions=Permission.NOBAN)
    for _ in range(1000):
        bench.receive(peer, gap)
    loud = [line for line in bench.log if line.level is not fx.LogLevel.DEBUG]
    assert len(loud) == limits.LOG_LINES_PER_PEER
    for i in range(2000):
        other = bench.peer(address=sim_address(1000 + i))
        bench.receive(other, gap)
        bench.step(PeerDisconnected(other))
    loud = [line for line in bench.log if line.level is not fx.LogLevel.DEBUG]
    assert len(loud) <= limits.LOG_LINES_FROM_PEERS
    bench.now += limits.LOG_INTERVAL
    bench.receive(peer, gap)
    assert bench.all(fx.Log)


@pytest.mark.parametrize("text", ["\x1b[31mred", "line\nbreak", "x" * 10_000])
def test_what_peers_say_is_printable_in_the_log(bench: Bench, text: str) -> None:
    from btcnode.protocol.events import Malformation, MalformedMessage

    peer = bench.peer()
    bench.step(MalformedMessage(peer, Malformation.MAGIC, text, text))
    for line in bench.all(fx.Log):
        assert line.text.isprintable()
        assert len(line.text) < 400
    bench.step(PeerConnected(77, sim_address(77), ConnectionKind.MANUAL))
    bench.step(PeerDisconnected(77, text))
    for line in bench.all(fx.Log):
        assert line.text.isprintable()


def test_what_a_proxy_fails_at_does_not_count_against_the_node(params: NetworkParams) -> None:
    bench = automatic(params)

    def tried(proxy_failed: bool) -> bool:
        """Whether the book knows of an attempt that came to nothing."""
        while not (effects := [e for e in bench.wait(1) if isinstance(e, fx.Connect)]):
            pass
        target = effects[0].target
        assert isinstance(target, NetAddress)
        for effect in effects:
            bench.step(ConnectFailed(effect.attempt, "no way", proxy_failed))
        entry = bench.book.entries[address_key(target)]
        return entry.last_try > 0

    assert not tried(proxy_failed=True)
    assert tried(proxy_failed=False)
