"""The reactor and its ways out: names never reach the resolver behind a proxy, who comes through Tor is marked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.net import reactor as reactor_module
from btcnode.net.connection import NO_DOOR
from btcnode.net.proxy.dialer import Dialer
from btcnode.net.reactor import Reactor
from btcnode.protocol import effects as fx
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.events import (
    ConnectFailed,
    DnsSeedResult,
    LocalAddress,
    MessageReceived,
    PeerConnected,
    PeerDisconnected,
    PeersPressing,
)
from btcnode.settings.addresses import ProxyAddress, ProxyPlan
from btcnode.settings.permissions import AccessRules, parse_whitelist
from btcnode.wire.framing import encode_frame
from btcnode.wire.messages import Ping, Version
from btcnode.wire.netaddr import NetAddress, Network

MAGIC = b"\xfa\xbf\xb5\xda"


class Brain:
    """A protocol that asks for what it is told to and remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.next: list[fx.Effect] = []
        self.arrivals: asyncio.Queue[PeerConnected] = asyncio.Queue()
        self.departures: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
        self.pressing: asyncio.Queue[PeersPressing] = asyncio.Queue()
        self.greetings: asyncio.Queue[MessageReceived] = asyncio.Queue()

    def step_all(self, _: float, happened: Sequence[Any]) -> list[fx.Effect]:
        for event in happened:
            self.heard.append(event)
            if isinstance(event, PeerConnected):
                self.arrivals.put_nowait(event)
            elif isinstance(event, PeersPressing):
                self.pressing.put_nowait(event)
            elif isinstance(event, MessageReceived) and isinstance(event.message, Version):
                self.greetings.put_nowait(event)
            elif isinstance(event, PeerDisconnected):
                self.departures.put_nowait(event)
        effects, self.next = self.next, []
        return effects


async def ask(effects: list[fx.Effect], *, dialer: Dialer | None = None, **options: Any) -> list[Any]:
    """What becomes of effects."""
    brain = Brain()
    reactor = Reactor(brain, MAGIC, 18444, dialer=dialer, **options)  # type: ignore[arg-type]
    brain.next = effects
    await reactor.feed_and_wait(LocalAddress(NetAddress.from_host("1.1.1.1", 1)))
    await reactor.close()
    return brain.heard[1:]


@pytest.fixture
def no_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lookup(host: str, port: int) -> list[NetAddress]:
        raise AssertionError(f"{host} was looked up")

    monkeypatch.setattr(reactor_module, "lookup", lookup)


async def socks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes]) -> None:
    await reader.readexactly(3)
    writer.write(b"\x05\x00")
    head = await reader.readexactly(5)
    asked.append(await reader.readexactly(head[4] + 2))
    writer.write(b"\x05\x00\x00\x01" + bytes(6))
    with contextlib.suppress(asyncio.CancelledError):  # the loop ends with the test
        await reader.read(1)
    writer.close()


def through_proxy(*effects: fx.Effect, **options: Any) -> tuple[list[Any], list[bytes]]:
    """What becomes of effects with a proxy for everything, and what the proxy was asked for."""
    asked: list[bytes] = []

    async def run() -> list[Any]:
        server = await asyncio.start_server(lambda r, w: socks(r, w, asked), "127.0.0.1", 0)
        proxy = ProxyAddress("127.0.0.1", server.sockets[0].getsockname()[1])
        plan = ProxyPlan(ipv4=proxy, ipv6=proxy, onion=proxy, cjdns=proxy, name=proxy)
        heard = await ask(list(effects), dialer=Dialer(plan, connect_timeout=5), **options)
        server.close()
        return heard

    return asyncio.run(run()), asked


def connect(target: NetAddress | str, kind: ConnectionKind = ConnectionKind.MANUAL) -> fx.Connect:
    return fx.Connect(7, target, kind)


@pytest.mark.usefixtures("no_lookups")
@pytest.mark.parametrize(
    ("target", "asked", "network"),
    [
        ("example.org", b"example.org\x48\x0c", Network.IPV6),  # nobody tells its address: the unspecified one
        ("example.org:1", b"example.org\x00\x01", Network.IPV6),
        ("20.0.0.1:1", b"20.0.0.1\x00\x01", Network.IPV4),
        ("[2600::1]:1", b"2600::1\x00\x01", Network.IPV6),
        ("[fc00::1]:1", b"fc00::1\x00\x01", Network.CJDNS),
        (NetAddress.from_host("20.0.0.1", 1), b"20.0.0.1\x00\x01", Network.IPV4),
    ],
)
def test_the_proxy_is_asked_by_name(target: NetAddress | str, asked: bytes, network: Network) -> None:
    heard, said = through_proxy(connect(target), cjdns=True)
    assert said == [asked]
    (opened,) = heard
    assert isinstance(opened, PeerConnected)
    assert (opened.attempt, opened.kind, opened.address.network) == (7, ConnectionKind.MANUAL, network)
    assert opened.address.is_valid == (target not in ("example.org", "example.org:1"))


@pytest.mark.usefixtures("no_lookups")
def test_dns_seeds_are_not_looked_up_behind_a_proxy() -> None:
    heard, said = through_proxy(fx.ResolveSeeds(("x9.seed.example.org",)))
    assert heard == [DnsSeedResult("x9.seed.example.org", ())]
    assert said == []


@pytest.mark.usefixtures("no_lookups")
def test_names_are_nobodys_without_look_ups() -> None:
    heard = asyncio.run(ask([connect("example.org")], look_up_names=False))
    assert heard == [ConnectFailed(7, "the name does not resolve")]


def test_hosts_that_only_we_reach_are_reached_straight() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard, said = through_proxy(connect(f"127.0.0.1:{listener.getsockname()[1]}"))
    assert isinstance(heard[0], PeerConnected)
    assert said == []


def test_a_private_broadcast_goes_through_tor_or_not_at_all() -> None:
    clear = NetAddress.from_host("20.0.0.1", 1)
    private = connect(clear, ConnectionKind.PRIVATE_BROADCAST)
    _, said = through_proxy(private)
    assert said == [b"20.0.0.1\x00\x01"]
    dialer = Dialer(ProxyPlan(ipv4=ProxyAddress("127.0.0.1", 1)), connect_timeout=1)

    async def alone() -> list[Any]:
        return await ask([private], dialer=dialer)

    assert asyncio.run(alone()) == [ConnectFailed(7, "no proxy leads to 20.0.0.1:1", proxy_failed=True)]


def test_a_door_for_tor_is_not_enough() -> None:
    async def run(taken: bool) -> int:
        reactor = Reactor(Brain(), MAGIC, 18444)  # type: ignore[arg-type]
        with socket.create_server(("127.0.0.1", 0)) as other:
            used, free = ("127.0.0.1", other.getsockname()[1]), ("127.0.0.1", 0)
            try:
                await reactor.listen([used if taken else free], required=False, onion=[free if taken else used])
            finally:
                await reactor.close()
        return len(reactor.bound)

    with pytest.raises(ConfigError, match="unable to bind"):
        asyncio.run(run(taken=True))
    assert asyncio.run(run(taken=False)) == 1  # the other way round the node goes on


def test_an_end_behind_bytes_that_nobody_reads_is_seen() -> None:
    async def run() -> None:
        brain = Brain()
        reactor = Reactor(brain, MAGIC, 18444)  # type: ignore[arg-type]
        await reactor.listen([("127.0.0.1", 0)], required=True)
        reactor.start()
        writers = []
        for _ in range(2):
            writers.append((await asyncio.open_connection(reactor.bound[0].host, reactor.bound[0].port))[1])
            peer = (await brain.arrivals.get()).peer_id
            reactor.connections[peer].set_receiving(False)
            writers[-1].write(bytes(60_000))  # so much the kernel takes without anybody who reads
            await writers[-1].drain()
        writers[0].close()
        async with asyncio.timeout(20):
            assert (await brain.departures.get()).peer_id == 0
        assert list(reactor.connections) == [1]  # who is still there keeps waiting
        writers[1].close()
        await reactor.close()

    asyncio.run(run())


def test_what_a_gone_peer_has_left_is_not_worked_on_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reactor_module, "LEFT_BEHIND", 0.2)
    monkeypatch.setattr(Brain, "step_all", slow_step(Brain.step_all))

    async def run() -> int:
        brain = Brain()
        reactor = Reactor(brain, MAGIC, 18444)  # type: ignore[arg-type]
        await reactor.listen([("127.0.0.1", 0)], required=True)
        reactor.start()
        _, writer = await asyncio.open_connection(reactor.bound[0].host, reactor.bound[0].port)
        await brain.arrivals.get()
        writer.write(encode_frame(MAGIC, "version", Version(services=9, time=0, nonce=5).encode()))
        writer.write(encode_frame(MAGIC, "ping", bytes(8)) * 20_000)  # a minute's work
        await asyncio.sleep(0.1)
        writer.close()
        async with asyncio.timeout(30):
            assert (await brain.departures.get()).reason == "remote end closed"
        await reactor.close()
        return sum(isinstance(event, MessageReceived) for event in brain.heard)

    assert 0 < asyncio.run(run()) < 5_000


def test_who_presses_on_while_nobody_reads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once no buffer has room left the end of a connection cannot be seen, but that what is sent is refused."""
    monkeypatch.setattr(reactor_module, "PRESSING", 0.3)

    async def run() -> None:
        brain = Brain()
        reactor = Reactor(brain, MAGIC, 18444, max_receive_buffer=100_000)  # type: ignore[arg-type]
        await reactor.listen([("127.0.0.1", 0)], required=True)
        reactor.start()
        writers = []
        for _ in range(3):
            writers.append((await asyncio.open_connection(reactor.bound[0].host, reactor.bound[0].port))[1])
            await brain.arrivals.get()
            writers[-1].write(encode_frame(MAGIC, "version", Version(services=9, time=0, nonce=5).encode()))
            await brain.greetings.get()
        for peer_id in (0, 1):
            reactor.connections[peer_id].set_receiving(False)
        frames = encode_frame(MAGIC, "ping", bytes(8)) * 200_000
        writers[0].write(frames)
        writers[1].write(frames[:50_000])  # there is room for that, and who is read from may send as much as it likes
        async with asyncio.timeout(30):
            assert (await brain.pressing.get()).peer_ids == (0,)
        assert brain.pressing.empty()
        writers[0].transport.abort()  # its end lies behind what waits
        brain.next = [fx.Send(0, Ping(1))]
        async with asyncio.timeout(30):
            while (gone := await brain.departures.get()).peer_id:
                pass
        assert gone.reason == "remote end closed"
        for writer in writers[1:]:
            writer.transport.abort()
        await reactor.close()

    asyncio.run(run())


def test_others_have_turns_while_many_peers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one leaves behind can take some milliseconds to be cleared away."""
    told = Brain.step_all

    def slowed(self: Brain, now: float, happened: Sequence[Any]) -> list[fx.Effect]:
        if isinstance(happened[0], PeerDisconnected):
            time.sleep(2 * reactor_module.GONE_SLICE)
        return told(self, now, happened)

    monkeypatch.setattr(Brain, "step_all", slowed)

    async def run() -> list[int]:
        brain = Brain()
        reactor = Reactor(brain, MAGIC, 18444)  # type: ignore[arg-type]
        await reactor.listen([("127.0.0.1", 0)], required=True)
        writers = []
        for _ in range(20):
            writers.append((await asyncio.open_connection(reactor.bound[0].host, reactor.bound[0].port))[1])
            await brain.arrivals.get()
        for writer in writers:
            writer.transport.abort()
        gone = [0]
        async with asyncio.timeout(30):
            while gone[-1] < 20:
                await asyncio.sleep(0)
                gone.append(brain.departures.qsize())
        assert not reactor.connections
        await reactor.close()
        return gone

    gone = asyncio.run(run())
    assert max(after - before for before, after in pairwise(gone)) == 1


def slow_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """A protocol to which a message is three milliseconds of work."""

    def slowed(self: Brain, now: float, happened: Sequence[Any]) -> Any:
        if isinstance(happened[0], MessageReceived):
            time.sleep(0.003)
        return step(self, now, happened)

    return slowed


def test_who_comes_through_tor_is_marked_and_has_no_permissions_of_its_address() -> None:
    async def run() -> list[PeerConnected]:
        brain = Brain()
        access = AccessRules((parse_whitelist("whitelist", "noban@127.0.0.1"),))
        reactor = Reactor(brain, MAGIC, 18444, access=access)  # type: ignore[arg-type]
        await reactor.listen([("127.0.0.1", 0)], required=True, onion=[("127.0.0.1", 0)])
        told = [event.address for event in brain.heard if isinstance(event, LocalAddress)]
        assert told == [reactor.bound[0]]  # nobody is told where Tor hands over
        peers = []
        for place in (reactor.bound[0], reactor.onion_bound[0]):
            _, writer = await asyncio.open_connection(place.host, place.port)
            peers.append(await brain.arrivals.get())
            writer.close()
        await reactor.close()
        return peers

    plain, through_tor = asyncio.run(run())
    assert (plain.through_tor, bool(plain.permissions)) == (False, True)
    assert (through_tor.through_tor, bool(through_tor.permissions)) == (True, False)


def test_a_router_that_makes_peers_up_gets_as_many_sockets_as_others() -> None:
    async def run() -> tuple[int, int]:
        brain = Brain()
        reactor = Reactor(brain, MAGIC, 18444, most_incoming=3)  # type: ignore[arg-type]
        ours = []
        for n in range(10):
            near, far = socket.socketpair()
            near.setblocking(False)
            ours.append(far)
            reactor.accept_through(near, *(NetAddress(Network.I2P, bytes([part] * 32), 0) for part in (99, n)))
        arrived = [await brain.arrivals.get() for _ in range(3)]
        # what they send counts with that of others who came: only what we opened has no door
        assert all(connection.door is not NO_DOOR for connection in reactor.connections.values())
        ended = sum(far.recv(1, socket.MSG_DONTWAIT) == b"" for far in ours[3:])
        await reactor.close()
        for far in ours:
            far.close()
        return len(arrived), ended

    assert asyncio.run(run()) == (3, 7)


def test_an_attempt_that_fails_takes_no_number() -> None:
    """As in Core: numbers of peers that were connected follow one another."""

    async def body() -> None:
        async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await reader.read(1)
            writer.close()

        nobody = socket.socket()
        nobody.bind(("127.0.0.1", 0))  # does not listen
        server = await asyncio.start_server(stay, "127.0.0.1", 0)
        ports = [nobody.getsockname()[1]] * 2 + [server.sockets[0].getsockname()[1]]
        brain = Brain()
        reactor = Reactor(brain, MAGIC, 18444)  # type: ignore[arg-type]
        for attempt, port in enumerate(ports):
            brain.next = [fx.Connect(attempt, NetAddress.from_host("127.0.0.1", port), ConnectionKind.MANUAL)]
            await reactor.feed_and_wait(LocalAddress(NetAddress.from_host("1.1.1.1", 1)))
        assert sum(isinstance(event, ConnectFailed) for event in brain.heard) == 2
        arrival = brain.arrivals.get_nowait()
        assert (arrival.peer_id, arrival.attempt) == (0, 2)
        await reactor.close()
        server.close()
        nobody.close()

    asyncio.run(body())
