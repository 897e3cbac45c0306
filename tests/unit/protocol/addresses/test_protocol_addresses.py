from __future__ import annotations

from btcnode.networks.parameters import NetworkParams
from btcnode.protocol import effects as fx
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.effects import Log
from btcnode.protocol.events import LocalAddress, Tick
from btcnode.protocol.serving.bloom import RollingBloom
from btcnode.settings.permissions import Permission
from btcnode.testing.simulator import UNIX_START, sim_address
from btcnode.wire.messages import Addr, AddrEntry, AddrV2, GetAddr, Ping, Pong, SendAddrV2, Verack, Version
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.protocol_bench import Bench

OUTBOUND = ConnectionKind.OUTBOUND_FULL
OWN = NetAddress.from_host("5.6.7.8", 18444)


def entries(count: int, *, first: int = 1000, time: int = UNIX_START) -> tuple[AddrEntry, ...]:
    return tuple(AddrEntry(time, 9, sim_address(first + i)) for i in range(count))


def told(bench: Bench, peer: int) -> list[AddrEntry]:
    messages: list[Addr | AddrV2] = [*bench.sent(Addr, peer), *bench.sent(AddrV2, peer)]
    return [entry for message in messages for entry in message.entries]


def answer_to_getaddr(bench: Bench, peer: int) -> list[AddrEntry]:
    """What the peer is told after it asked, at once or within five minutes."""
    bench.receive(peer, GetAddr())
    at_once = told(bench, peer)
    bench.wait(300)
    return at_once + told(bench, peer)


def test_getaddr_goes_to_outbound_peers_only(bench: Bench) -> None:
    for kind, asked in (
        (OUTBOUND, True),
        (ConnectionKind.MANUAL, True),
        (ConnectionKind.ADDR_FETCH, True),
        (ConnectionKind.BLOCK_RELAY, False),
        (ConnectionKind.INBOUND, False),
    ):
        peer = bench.connect(kind)
        bench.receive(peer, Version(services=9, time=UNIX_START, nonce=peer))
        assert bool(bench.sent(GetAddr, peer)) is asked


def test_answer_to_getaddr_is_taken_beyond_the_rate(bench: Bench) -> None:
    peer = bench.peer(OUTBOUND)
    bench.receive(peer, Addr(entries(1000)))
    assert 850 < len(bench.book) <= 1000, "some want the same place"
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["addr_processed"] == 1000


def test_addr_flood_is_rate_limited(bench: Bench) -> None:
    """CVE-2024-52919: a token bucket of 0.1 per second."""
    peer = bench.peer()
    for i in range(50):
        bench.receive(peer, Addr(entries(1000, first=100 + 1000 * i)))
    assert len(bench.book) == 1
    bench.wait(100)
    bench.receive(peer, Addr(entries(1000, first=52_000)))
    assert 9 <= len(bench.book) <= 11, "some want the same place"
    info = bench.protocol.peer_info(peer)
    assert info is not None
    assert info["addr_processed"] == 11
    assert info["addr_rate_limited"] == 51_000 - 11
    trusted = bench.peer(permissions=Permission.ADDR)
    bench.receive(trusted, Addr(entries(500, first=2000)))
    assert len(bench.book) > 450


def test_tokens_are_exact_wherever_the_clock_has_begun(bench: Bench) -> None:
    """As in Core, which counts microseconds: a hundred seconds are ten addresses, not nine and almost another."""
    for start in (16360.138, 524271.021):
        bench.now = start
        peer = bench.peer()
        bench.receive(peer, Addr(entries(1)))
        bench.now = start + 100
        bench.receive(peer, Addr(entries(20)))
        info = bench.protocol.peer_info(peer)
        assert info is not None
        assert info["addr_processed"] == 11


def test_too_many_addresses(bench: Bench) -> None:
    peer = bench.peer()
    bench.receive(peer, Addr(entries(1001)))
    assert (closed := bench.disconnected(peer)) is not None
    assert closed.discourage


def test_nonsense_is_not_stored(bench: Bench) -> None:
    peer = bench.peer(OUTBOUND)
    bad = (
        AddrEntry(UNIX_START, 9, NetAddress.from_host("10.0.0.1", 8333)),
        AddrEntry(UNIX_START, 9, NetAddress.from_host("127.0.0.1", 8333)),
        AddrEntry(UNIX_START, 9, NetAddress.from_host("::", 8333)),
        AddrEntry(UNIX_START, 9, NetAddress.from_host("3.3.3.3", 0)),
        AddrEntry(UNIX_START, 0, NetAddress.from_host("3.3.3.4", 8333)),
        AddrEntry(UNIX_START, 9, NetAddress(Network.TORV3, bytes(32), 8333)),  # not among our networks
    )
    bench.receive(peer, AddrV2(bad))
    assert len(bench.book) == 0
    bench.receive(peer, Addr((AddrEntry(UNIX_START + 10**8, 9, sim_address(5)), AddrEntry(3, 9, sim_address(6)))))
    assert len(bench.book) == 2
    assert all(e.time == UNIX_START - 5 * 86400 - 7200 for e in bench.book.order)


def test_fresh_addresses_are_relayed_to_two_peers(bench: Bench) -> None:
    origin = bench.peer()
    others = [bench.peer() for _ in range(10)]
    for peer in others:
        bench.receive(peer, Addr(()))  # takes part in gossip
    bench.receive(origin, Addr(entries(1)))
    bench.wait(300)
    receivers = [peer for peer in others if told(bench, peer)]
    assert len(receivers) == 2
    assert told(bench, receivers[0]) == list(entries(1))
    assert not told(bench, origin)


def test_old_addresses_and_long_messages_are_not_relayed(bench: Bench) -> None:
    origin = bench.peer(permissions=Permission.ADDR)
    others = [bench.peer() for _ in range(5)]
    for peer in others:
        bench.receive(peer, Addr(()))
    bench.receive(origin, Addr(entries(1, time=UNIX_START - 3600)))
    bench.receive(origin, Addr(entries(11, first=3000)))
    bench.wait(300)
    assert not any(told(bench, peer) for peer in others)


def test_relay_respects_what_a_peer_can_read(params: NetworkParams) -> None:
    bench = Bench(params, config=ProtocolConfig(dns_seed=False, no_automatic=True, networks=("ipv4", "onion")))
    onion = AddrEntry(UNIX_START, 9, NetAddress(Network.TORV3, bytes(range(32)), 8333))
    origin, plain = bench.peer(), bench.peer()
    bench.receive(plain, Addr(()))
    modern = bench.connect()
    bench.receive(modern, Version(services=9, time=UNIX_START, nonce=5))
    bench.receive(modern, SendAddrV2())
    bench.receive(modern, Verack())
    bench.receive(modern, AddrV2(()))
    bench.receive(origin, AddrV2((onion,)))
    bench.wait(300)
    assert told(bench, modern) == [onion]
    assert not told(bench, plain)


def test_getaddr_is_answered_once_to_inbound_peers_with_a_share(bench: Bench) -> None:
    bench.book.add(entries(1000), sim_address(1), UNIX_START)
    peer = bench.peer()
    answer = answer_to_getaddr(bench, peer)
    assert len(answer) == len(bench.book) * 23 // 100
    assert not answer_to_getaddr(bench, peer)
    assert set(answer_to_getaddr(bench, bench.peer())) == set(answer)  # cached: asking often tells nothing new
    assert not answer_to_getaddr(bench, bench.peer(OUTBOUND))


def test_cached_answer_changes_after_a_day(bench: Bench) -> None:
    bench.book.add(entries(1000), sim_address(1), UNIX_START)
    answer = set(answer_to_getaddr(bench, bench.peer()))
    bench.wait(28 * 3600, each=100)
    assert set(answer_to_getaddr(bench, bench.peer())) != answer


def test_own_address_is_announced_after_initial_download(bench: Bench, blocks: list[bytes]) -> None:
    bench.step(LocalAddress(OWN, "user"))
    peer = bench.peer(OUTBOUND)
    bench.wait(5)
    assert not told(bench, peer)
    bench.load(blocks)
    bench.wait(5)
    (own,) = told(bench, peer)
    assert own.address == OWN
    assert own.services == ProtocolConfig().services


def test_own_address_does_not_wait_for_a_timer_that_has_run_out(bench: Bench, blocks: list[bytes]) -> None:
    """The user moves the clock; nothing was queued for long."""
    bench.step(LocalAddress(OWN, "user"))
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, GetAddr())
    times = 0
    for step in range(1, 1000):
        bench.now += 0.1
        bench.step(Tick(bench.unix_start + step * 600, held=True))
        if any(isinstance(one, Log) and one.text.startswith("Advertising") for one in bench.effects):
            times += 1
            (own,) = told(bench, peer)
            assert own.address == OWN
        for ping in bench.sent(Ping, peer):
            bench.receive(peer, Pong(ping.nonce))
    assert times >= 3


def test_unroutable_own_addresses_are_not_announced(bench: Bench, blocks: list[bytes]) -> None:
    bench.step(LocalAddress(NetAddress.from_host("192.168.1.1", 18444)))
    bench.load(blocks)
    peer = bench.peer()
    bench.receive(peer, Addr(()))
    bench.wait(5)
    assert not told(bench, peer)
    outbound = bench.connect(OUTBOUND)
    bench.receive(
        outbound, Version(services=9, time=UNIX_START, nonce=5, receiver=NetAddress.from_host("5.5.5.5", 40000))
    )
    bench.receive(outbound, Verack())
    (own,) = told(bench, outbound)  # what the peer sees of us, with the port that we listen on
    assert own.address == NetAddress.from_host("5.5.5.5", 18444)


def test_address_fetch_ends_with_the_answer_or_in_time(bench: Bench) -> None:
    peer = bench.peer(ConnectionKind.ADDR_FETCH)
    bench.receive(peer, Addr(entries(1)))
    assert bench.disconnected(peer) is None  # its own address only
    bench.receive(peer, Addr(entries(5)))
    assert bench.disconnected(peer) is not None
    slow = bench.peer(ConnectionKind.ADDR_FETCH)
    bench.wait(305)
    assert bench.disconnected(slow) is not None


def test_block_relay_peers_take_no_part(bench: Bench) -> None:
    peer = bench.peer(ConnectionKind.BLOCK_RELAY)
    bench.receive(peer, Addr(entries(5)))
    assert len(bench.book) == 0


def test_book_is_saved_when_it_changed(bench: Bench) -> None:
    bench.wait(901, each=1)
    assert not bench.all(fx.AddressBookDirty)
    peer = bench.peer(OUTBOUND)
    bench.receive(peer, Addr(entries(5)))
    bench.wait(901, each=1)
    assert len(bench.all(fx.AddressBookDirty)) == 1


def test_bloom_remembers_and_forgets() -> None:
    bloom = RollingBloom(b"key", 1000)
    for i in range(1000):
        bloom.add(i.to_bytes(4, "big"))
    assert all(i.to_bytes(4, "big") in bloom for i in range(1000))
    assert sum(i.to_bytes(4, "big") in bloom for i in range(10_000, 20_000)) < 10
    for i in range(1000, 3100):
        bloom.add(i.to_bytes(4, "big"))
    assert sum(i.to_bytes(4, "big") in bloom for i in range(1000)) < 10
    bloom.clear()
    assert (3099).to_bytes(4, "big") not in bloom


def test_the_answer_to_getaddr_does_not_wait_for_the_timer(bench: Bench) -> None:
    """Who asks first thing is answered at once, as in Core: gossip with an inbound peer begins by it."""
    bench.receive(bench.peer(OUTBOUND), Addr(entries(1000)))
    peer = bench.peer()
    bench.wait(120)
    bench.receive(peer, GetAddr())
    assert len(bench.sent(Addr, peer)) == 1
