"""The reactor: feeds the protocol with what happens on sockets and clocks, and executes the effects.

Everything runs on the loop thread. Inputs that arise while effects are executed (a send buffer fills, a connection
breaks) wait in a queue, so that ``Protocol.step`` is never entered twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from btcnode.counting import Histogram
from btcnode.errors import ConfigError
from btcnode.net.addresses import free_port, from_sockname, lookup
from btcnode.net.common_line import Voice, taken_together
from btcnode.net.connection import Connection, Door, Traffic
from btcnode.net.listener import Listener
from btcnode.net.proxy.dialer import Dialer, Opened
from btcnode.net.proxy.errors import DialError
from btcnode.net.turns import Turns
from btcnode.protocol import effects as fx
from btcnode.protocol.addresses.netgroup import netgroup
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.effects import Effect, LogLevel
from btcnode.protocol.events import (
    ConnectFailed,
    DnsSeedResult,
    LocalAddress,
    PeerConnected,
    PeerDisconnected,
    PeersPressing,
    SendBufferState,
    Tick,
    WorkMeasured,
)
from btcnode.protocol.inputs import Input
from btcnode.protocol.protocol import Protocol
from btcnode.protocol.serving.send_queue import SharedLimits
from btcnode.settings.addresses import ProxyPlan, default_port_of, literal, split_host_port
from btcnode.settings.permissions import AccessRules, Permission
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network
from btcnode.wire.registry import PAYLOAD_LIMITS
from btcnode.wire.transport import Transport, V1Transport

if TYPE_CHECKING:
    from btcnode.net.capture import MessageCapture

MEASURE_INTERVAL = 1.0  # seconds
LAG_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # seconds
UNLIMITED = Permission.NOBAN | Permission.DOWNLOAD | Permission.RELAY  # who has one of these gets what it asks for
TICK_INTERVAL = 0.1  # seconds
PRESSING = 20.0  # seconds for which a peer has more to come than is read, before the protocol hears of it (again)
GONE_SLICE = 0.005  # seconds in one pass of the loop for what follows from connections that have ended
LEFT_BEHIND = 2.0  # seconds that are spent on what a peer that is gone has sent
ENDED = getattr(select, "POLLRDHUP", 0)  # Linux's; elsewhere ends in order are seen when all before them is read
CONNECT_TIMEOUT = 5.0  # Core's -timeout
MAX_SEND_BUFFER = 1_000_000  # bytes: Core's -maxsendbuffer
MAX_RECEIVE_BUFFER = 5_000_000  # bytes: Core's -maxreceivebuffer
LOG_LEVELS = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


class Departures:
    """Connections that have ended: the protocol is told for some milliseconds in a pass of the loop.

    A hundred may go at once, and each can leave thousands of announcements and orphans behind.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, feed: Callable[[Input], None]) -> None:
        self._loop = loop
        self._feed = feed
        self._untold: deque[PeerDisconnected] = deque()
        self._room = GONE_SLICE  # seconds that are left in this pass

    def add(self, event: PeerDisconnected) -> None:
        """Tell of this one, now or in its turn."""
        self._untold.append(event)
        self._tell_of_gone()

    def _tell_of_gone(self) -> None:
        while self._untold and self._room > 0:
            begun = time.perf_counter()
            self._feed(self._untold.popleft())
            self._room -= time.perf_counter() - begun
            if self._room <= 0:
                self._loop.call_soon(self._begin_pass)

    def _begin_pass(self) -> None:
        self._room = GONE_SLICE
        self._tell_of_gone()


class Reactor:
    """Owns listeners, connections and the tick; ``protocol`` decides everything."""

    def __init__(
        self,
        protocol: Protocol,
        magic: bytes,
        default_port: int,
        *,
        wall_clock: Callable[[], float] = time.time,
        clock_held: Callable[[], bool] = lambda: False,
        connect_timeout: float = CONNECT_TIMEOUT,
        max_send_buffer: int = MAX_SEND_BUFFER,
        max_receive_buffer: int = MAX_RECEIVE_BUFFER,
        look_up_names: bool = True,
        v2: bool = True,
        access: AccessRules | None = None,
        dialer: Dialer | None = None,
        cjdns: bool = False,
        capture: MessageCapture | None = None,
        most_incoming: int = sys.maxsize,
        gives_way: Callable[[], bool] = lambda: False,
    ) -> None:
        """``max_send_buffer`` is in bytes: above it the protocol makes no bulk answers to a peer.
        ``max_receive_buffer``: bytes that are held of a peer whose messages are not taken.
        ``clock_held``: whether the user has set the wall clock. ``v2``: peers that connect may speak BIP324 as well.
        ``access``: which permissions peers have by their address. ``dialer``: the way out, straight by default.
        ``cjdns``: addresses of fc00::/8 are CJDNS's. ``capture``: where every message is written down.
        ``most_incoming``: sockets of peers that connected, those being closed among them.
        ``gives_way``: whether a thread has work now that comes before that of peers.
        """
        self.protocol = protocol
        self.magic = magic
        self.default_port = default_port
        self._clock_held = clock_held
        self.loop = asyncio.get_running_loop()
        self.traffic = Traffic(
            self.loop,
            Turns(self.loop.call_soon, call_later=self.loop.call_later, gives_way=gives_way),
            SharedLimits(self.loop.time()),
            wall_clock,
            self.feed,
            self._connection_opened,
            self._connection_lost,
            self._send_buffer_changed,
            max_send_buffer,
            max_receive_buffer,
            capture,
        )
        self.lag = Histogram(LAG_BOUNDS)  # how late the loop comes to its ticks
        self._tick_due, self._measured = 0.0, self.loop.time()
        self.connections: dict[int, Connection] = {}
        self.bound: list[NetAddress] = []
        self.onion_bound: list[NetAddress] = []  # where Tor hands connections over
        self._executors: dict[type[Effect], Callable[[Any], None]] = {}
        self._together: dict[type[Effect], Callable[[list[Any]], None]] = {}
        self._connect_timeout = connect_timeout
        self._look_up_names = look_up_names
        self._v2, self._cjdns = v2, cjdns
        self._access = access if access is not None else AccessRules()
        self.dialer = dialer if dialer is not None else Dialer(ProxyPlan(), connect_timeout=connect_timeout)
        self._inputs: deque[Sequence[Input]] = deque()
        self._listeners: list[Callable[[Input], None]] = []
        self._stepping = self._closed = False
        self._next_peer = 0  # as Core counts
        self._listeners_open: list[Listener] = []
        self._departures = Departures(self.loop, self.feed)
        self._incoming: set[int] = set()  # peers whose sockets were accepted, and are open
        self._most_incoming = most_incoming
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._attempts: dict[int, fx.Connect] = {}  # peer_id -> what its outbound connection answers
        self._log = {name: logging.getLogger(f"btcnode.{name}") for name in ("net", "validation", "addrman")}

    # -- life ----------------------------------------------------------------------------------------------------

    async def listen(
        self, binds: list[tuple[str, int]], *, required: bool, onion: Sequence[tuple[str, int]] = ()
    ) -> None:
        """Listen on each (host, port), where the access rules say, and for what comes through Tor (``onion``).

        Port 0 is a free one, the same for all of ``binds``. Raises ConfigError when one (``required``) or all of them
        fail.
        """
        problems: list[str] = []
        free = free_port([host for host, port in binds if not port])
        unsaid: list[NetAddress] = []  # doors for friends: Core tells nobody of them
        doors = [Door(host, port or free) for host, port in dict.fromkeys(binds)]
        doors += [Door(bind.address.host, bind.address.port, bind) for bind in self._access.binds]
        doors += [Door(host, port, onion=True) for host, port in onion]
        for door in doors:
            host, port = door.host, door.port
            try:
                accept = partial(self._accept, door)
                opened = await Listener.open(host, port, accept, lambda: len(self._incoming) < self._most_incoming)
            except OSError as error:
                problems.append(f"unable to bind to {_show(host, port)} on this computer: {error.strerror or error}")
                if required:
                    break
                continue
            self._listeners_open += opened
            for listener in opened:
                address = from_sockname(listener.socket.getsockname())
                if address is not None:
                    self._log["net"].info("Bound to %s", address)
                    (self.onion_bound if door.onion else self.bound).append(address)
                    if door.white is not None and door.white.permissions & Permission.NOBAN:
                        unsaid.append(address)
        if problems and (required or not self.bound):
            raise ConfigError(problems[0])
        for problem in problems:
            self._log["net"].warning("%s", problem)
        for address in self.bound:
            if address not in unsaid:
                self.feed(LocalAddress(address, "bind"))

    def start(self) -> None:
        """Begin to tick."""
        self._tick()

    def limit_held(self, size: int) -> None:
        """So many bytes may have arrived of all peers and wait, and as many may be announced by large messages."""
        self.traffic.max_held = self.traffic.large.budget = size

    async def close(self) -> None:
        """Stop listening, close every connection and wait for what is under way."""
        self._closed = True
        if self._ticker is not None:
            self._ticker.cancel()
        for listener in self._listeners_open:
            listener.close()
        for connection in list(self.connections.values()):
            connection.close("shutting down", grace=0.0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.dialer.close()
        await asyncio.sleep(0)

    def _tick(self) -> None:
        if self._closed:
            return
        now = self.loop.time()
        if self._tick_due:
            self.lag.add(max(0.0, now - self._tick_due))
        self._tick_due = now + TICK_INTERVAL
        self._ticker = self.loop.call_at(self._tick_due, self._tick)
        self._measure()
        for connection in self.connections.values():
            connection.hold_back()  # others may have made room
        for peer_id in self.traffic.large.stalled():
            self.connections[peer_id].close("a large message does not go on while others wait", grace=0.0)
        self._look_at_unread()
        if spent := tuple(self.traffic.turns.take_charges()):
            self.feed(WorkMeasured(spent))
        self.feed_tick()

    def _look_at_unread(self) -> None:
        """Close what its other end has closed while nobody reads from it: its end lies behind what it has sent.

        If only its turn has not come to what it sent before, that is looked at for ``LEFT_BEHIND`` seconds. Where the
        kernel's buffer is full no end is sent, but that something waits is seen: the protocol is told of those.
        """
        unread = {c.fileno: c for c in self.connections.values() if not c.reading and c.fileno >= 0}
        if not unread:
            return
        now, poll = self.loop.time(), select.poll()
        for fileno in unread:
            poll.register(fileno, select.POLLIN | ENDED)
        pressing: list[int] = []
        for fileno, seen in poll.poll(0):
            connection = unread[fileno]
            if seen == select.POLLIN:
                if now >= max(connection.unread_since, connection.pressed_at) + PRESSING:
                    connection.pressed_at = now
                    pressing.append(connection.peer_id)
                continue
            connection.ended_at = min(connection.ended_at, now)
            if not connection.receiving or now >= connection.ended_at + LEFT_BEHIND:
                connection.close("remote end closed", grace=0.0)
        if pressing:
            self.feed(PeersPressing(tuple(pressing)))

    def _measure(self) -> None:
        """Once a second: how much all peers together have taken, if that was all that they could.

        Links that have no buckets say nothing of our line.
        """
        now = self.loop.time()
        seconds = now - self._measured
        if seconds >= MEASURE_INTERVAL:
            limited = [connection for connection in self.connections.values() if connection.queue.limited]
            size = taken_together(Voice(connection.group, *connection.take_voice()) for connection in limited)
            if size is not None:
                self.traffic.shared.measure(now, size, seconds)
            self._measured = now

    def feed_tick(self) -> None:
        """Let the protocol look at the clocks."""
        self.feed(Tick(self.traffic.wall_clock(), self._clock_held()))

    def execute_with(
        self,
        executors: Mapping[type[Effect], Callable[[Any], None]],
        together: Mapping[type[Effect], Callable[[list[Any]], None]],
    ) -> None:
        """Have effects of these types executed by others, who begin the work and answer through ``feed``.

        Those of ``together`` are given all effects of the type that stand one behind the other.
        """
        self._executors |= executors
        self._together |= together

    # -- inputs --------------------------------------------------------------------------------------------------

    def watch(self, listener: Callable[[Input], None]) -> None:
        """Call ``listener`` with every input before the protocol gets it."""
        self._listeners.append(listener)

    def feed(self, event: Input) -> None:
        """Hand an input to the protocol and execute what follows; nothing any more once the reactor is closed."""
        self.feed_all((event,))

    def feed_all(self, happened: Sequence[Input]) -> None:
        """Hand over inputs of the same moment, then execute what follows from all of them."""
        if self._closed:
            return
        for listener in self._listeners:
            for event in happened:
                listener(event)
        if self._stepping or self._inputs:
            self._inputs.append(happened)
        if self._stepping:
            return
        self._stepping = True
        try:
            if not self._inputs:
                self._step(happened)
            while self._inputs:
                self._step(self._inputs.popleft())
        finally:
            self._stepping = False

    def _step(self, happened: Sequence[Input]) -> None:
        run: list[Effect] = []  # of the same type, for one of ``_together``
        for effect in self.protocol.step_all(self.loop.time(), happened):
            kind = type(effect)
            if run and type(run[0]) is not kind:
                self._together[type(run[0])](run)
                run = []
            if kind in self._together:
                run.append(effect)
            else:
                self._execute(effect)
        if run:
            self._together[type(run[0])](run)

    async def feed_and_wait(self, event: Input) -> None:
        """Hand an input over and wait until the connections that it asks for stand or have failed."""
        known = set(self._tasks)
        self.feed(event)
        begun = self._tasks - known
        if begun:
            await asyncio.wait(begun)

    def _accept(self, door: Door) -> Connection:
        peer_id = self._new_peer_id()
        self._incoming.add(peer_id)
        return Connection(self.traffic, peer_id, self._transport(self._v2, initiator=False), door)

    def _permissions(self, address: NetAddress, connection: Connection, attempt: fx.Connect | None) -> Permission:
        if attempt is None:
            door = connection.door
            # who comes through Tor has the address of Tor, not its own
            return self._access.inbound(None if door.onion else address, door.white)
        return self._access.outbound(address) if attempt.kind is ConnectionKind.MANUAL else Permission.NONE

    def _transport(self, v2: bool, *, initiator: bool) -> Transport:
        if not v2:
            return V1Transport(self.magic, PAYLOAD_LIMITS)
        from btcnode.wire.v2_transport import V2Transport  # OpenSSL for a second time: not before the node is up

        return V2Transport(self.magic, initiator=initiator, random_bytes=os.urandom, limits=PAYLOAD_LIMITS)

    def _new_peer_id(self) -> int:
        peer_id = self._next_peer
        self._next_peer += 1
        return peer_id

    def _connection_opened(self, connection: Connection) -> None:
        """A socket is open, inbound or outbound."""
        attempt = self._attempts.pop(connection.peer_id, None)
        address = connection.remote or from_sockname(connection.socket_address("peername"))
        if address is not None and self._cjdns:
            address = address.as_cjdns()
        if self._closed or address is None:
            connection.close("shutting down" if self._closed else "unknown kind of address", grace=0.0)
            if attempt is not None:
                self.feed(ConnectFailed(attempt.attempt, "no usable address"))
            return
        permissions = self._permissions(address, connection, attempt)
        connection.queue.limited = connection.door.onion or not (address.is_local or permissions & UNLIMITED)
        connection.opened = True
        connection.group = netgroup(address)
        self.traffic.made["in" if attempt is None else "out", NETWORK_NAMES.get(address.network, "other")] += 1
        connection.peer_name = str(address)
        self.connections[connection.peer_id] = connection
        self.feed(
            PeerConnected(
                connection.peer_id,
                address,
                attempt.kind if attempt else ConnectionKind.INBOUND,
                attempt=attempt.attempt if attempt is not None else None,
                permissions=permissions,
                local_address=connection.local or from_sockname(connection.socket_address("sockname")),
                transport=connection.wire.kind.value,
                through_tor=connection.door.onion,
            )
        )

    def _connection_lost(self, connection: Connection, reason: str) -> None:
        """A socket is closed."""
        self._incoming.discard(connection.peer_id)
        self.traffic.keep_counts(connection)
        if self.connections.pop(connection.peer_id, None) is not None and not self._closed:
            self._departures.add(PeerDisconnected(connection.peer_id, reason, connection.wire.should_retry_v1))

    def _send_buffer_changed(self, connection: Connection, full: bool) -> None:
        """A send buffer crossed its limits."""
        if connection.peer_id in self.connections:
            self.feed(SendBufferState(connection.peer_id, full))

    # -- effects -------------------------------------------------------------------------------------------------

    def _execute(self, effect: Effect) -> None:
        if isinstance(effect, fx.Send):
            if (connection := self.connections.get(effect.peer_id)) is not None:
                connection.send(effect.message, droppable=effect.droppable)
        elif isinstance(effect, fx.SendRaw):
            if (connection := self.connections.get(effect.peer_id)) is not None:
                connection.send_raw(effect.command, effect.payload)
        elif (execute := self._executors.get(type(effect))) is not None:
            execute(effect)
        elif isinstance(effect, fx.SetReceiving):
            if (connection := self.connections.get(effect.peer_id)) is not None:
                connection.set_receiving(effect.enabled)
        elif isinstance(effect, fx.AskForTurn):
            if (connection := self.connections.get(effect.peer_id)) is not None:
                connection.ask_for_turn(first=effect.first)
        elif isinstance(effect, fx.Excuse):
            if (connection := self.connections.get(effect.peer_id)) is not None:
                connection.turn.excused = effect.share
        elif isinstance(effect, fx.Disconnect):
            if (connection := self.connections.get(effect.peer_id)) is not None:
                connection.close(effect.reason)
        elif isinstance(effect, fx.Connect):
            self._spawn(self._connect(effect))
        elif isinstance(effect, fx.ResolveSeeds):
            for name in effect.names:
                self._spawn(self._resolve(name))
        elif isinstance(effect, fx.Log):
            self.log(effect)
        else:
            raise TypeError(f"nobody executes {type(effect).__name__}")

    def log(self, effect: fx.Log) -> None:
        """Write a line of the protocol to the log of its category."""
        logger = self._log.get(effect.category) or logging.getLogger(f"btcnode.{effect.category}")
        logger.log(LOG_LEVELS[effect.level], "%s", effect.text)

    def _spawn(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = self.loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self, name: str) -> None:
        # the proxy does not tell addresses: without an answer the seed itself is asked, as a node, through the proxy
        found = [] if self.dialer.name_proxy is not None else await lookup(name, self.default_port)
        self.feed(DnsSeedResult(name, tuple(found)))

    async def _connect(self, effect: fx.Connect) -> None:
        proxy_failed = False
        try:
            problem = await self._connect_target(effect)
        except (ConfigError, DialError) as error:
            problem = str(error)
            proxy_failed = isinstance(error, DialError) and error.proxy_failed
        if problem:
            self.feed(ConnectFailed(effect.attempt, problem, proxy_failed))

    async def _connect_target(self, effect: fx.Connect) -> str:
        """What went wrong, or "" when a connection stands (and was answered); raises DialError and ConfigError."""
        if isinstance(effect.target, NetAddress):
            return await self._connect_to(effect.target, effect)
        host, port = split_host_port(effect.target, default_port_of(effect.target, self.default_port))
        address = literal(host, port)
        if address is not None:
            return await self._connect_to(address.as_cjdns() if self._cjdns else address, effect)
        if self.dialer.name_proxy is not None:
            nowhere = NetAddress(Network.IPV6, bytes(16), port)
            return await self._take_over(await self.dialer.open_name(host, port), nowhere, effect)
        problem = "the name does not resolve"
        for found in await lookup(host, port) if self._look_up_names else []:
            problem = await self._connect_to(found, effect)
            if not problem:
                break
        return problem

    async def _connect_to(self, address: NetAddress, effect: fx.Connect) -> str:
        """Open a connection to one address; returns what went wrong, or "" when it stands (and was answered)."""
        opened = await self.dialer.open(address, private=effect.kind is ConnectionKind.PRIVATE_BROADCAST)
        if opened is not None:
            return await self._take_over(opened, address, effect)
        made: list[int] = []  # the number of the peer, which it gets once the socket is open, as in Core

        def make() -> Connection:
            made.append(self._new_peer_id())
            self._attempts[made[0]] = effect
            return Connection(self.traffic, made[0], self._transport(effect.v2, initiator=True))

        try:
            async with asyncio.timeout(self._connect_timeout):
                await self.loop.create_connection(make, address.host, address.port)
        except TimeoutError:
            problem = "connection timed out"
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            return ""
        # a connection that opened in the very moment of the time-out has been answered already
        return problem if not made or self._attempts.pop(made[0], None) is not None else ""

    def accept_through(self, sock: socket.socket, local: NetAddress, remote: NetAddress) -> None:
        """A connection came in through a router: ``sock`` leads to ``remote``, whom we are ``local`` to.

        It counts as one that was accepted: a router that makes thousands up gets as many sockets as others.
        """
        if len(self._incoming) >= self._most_incoming:
            sock.close()
            return
        peer_id = self._new_peer_id()
        self._incoming.add(peer_id)
        transport = self._transport(self._v2, initiator=False)
        # a door of its own: it came to us, whatever socket that takes
        connection = Connection(self.traffic, peer_id, transport, Door(), remote=remote, local=local)

        async def adopt() -> None:
            try:
                await self.loop.create_connection(lambda: connection, sock=sock)
            except OSError:
                self._incoming.discard(peer_id)
                sock.close()

        self._spawn(adopt())

    async def _take_over(self, opened: Opened, address: NetAddress, effect: fx.Connect) -> str:
        """Make a connection of what a proxy opened; returns as ``_connect_to`` does."""
        peer_id = self._new_peer_id()
        self._attempts[peer_id] = effect
        connection = Connection(
            self.traffic, peer_id, self._transport(effect.v2, initiator=True), remote=address, local=opened.local
        )
        connection.companion = opened.companion
        try:
            await self.loop.create_connection(lambda: connection, sock=opened.sock)
        except OSError as error:
            opened.sock.close()
            connection.end_companion()
            if self._attempts.pop(peer_id, None) is not None:
                return error.strerror or str(error)
        return ""


def _show(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
