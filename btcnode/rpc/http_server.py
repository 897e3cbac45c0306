"""HTTP servers, and the limits that all of a node's have together: connections, turns, room in memory.

Everything that a client can make grow has a limit here, in ``connection.py`` or in ``http1.py``, and one sweep per
second ends connections that are too slow (in sending a request, or in reading the answer) or idle for too long. Where
there are too many, those give way of whom least is lost; what is at work stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from btcnode.net.listener import Listener
from btcnode.net.turns import Turns
from btcnode.rpc.bursts import Bursts
from btcnode.rpc.connection import LEAST, SWEEP_S, Connection, Plan, Standing, overload
from btcnode.rpc.http1 import FORBIDDEN, Head
from btcnode.rpc.reply import LogBehind, Pending, Reply
from btcnode.rpc.room import Room

if TYPE_CHECKING:
    from btcnode.rpc.places import Places

log = logging.getLogger("btcnode.http")

REFUSED_CONNECTIONS = 16  # beyond the others
MAX_CONNECTIONS = 256  # worst case 256 * (8 KiB headers + 256 KiB read buffer + 320 KiB to be sent) + ROOM_BYTES
GIVE_UP_S = 0.5  # for the answers of calls that only wait
STOP_GRACE_S = 2.0
PATIENCE_S = 1.0  # for somebody who waits for room, before an answer that is not read makes some
STALLED_S = 5.0  # without a byte read: such an answer makes room

Networks = list[IPv4Network | IPv6Network]


def _call_soon(work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(work)


class HttpLimits:
    """What all connections of all servers of a node share."""

    def __init__(self, connections: int, places: Places, room: Room | None = None) -> None:
        self.most_connections = connections
        self.places = places
        self.turns = Turns(_call_soon, charges=False)
        self.bursts = Bursts(_call_soon)
        self.room = room if room is not None else Room()
        self.connections: dict[Connection, None] = {}
        self._refused: dict[Connection, None] = {}

    def add(self, connection: Connection) -> bool:
        """Take a connection in, where another gives way if need be; False when every one is at work."""
        while len(self.connections) >= self.most_connections:
            victim = self._victim()
            if victim is None:
                return False
            del self.connections[victim]
            victim.give_way()
        self.connections[connection] = None
        return True

    def _victim(self) -> Connection | None:
        """Who gives way first; the connections are in the order in which they came."""
        found: tuple[Standing, Connection] | None = None
        for other in self.connections:
            standing = other.standing
            if standing is None:
                continue
            if standing < LEAST:
                return other
            if found is None or standing < found[0]:
                found = standing, other
        return None if found is None else found[1]

    def refuse(self, connection: Connection) -> None:
        """A connection that was not taken in may read why, as long as there are few of them."""
        self._refused[connection] = None
        if len(self._refused) > REFUSED_CONNECTIONS:
            next(iter(self._refused)).give_way()
            del self._refused[next(iter(self._refused))]

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.pop(connection, None)
        self._refused.pop(connection, None)

    def make_room(self, now_mono: float, timeout: float) -> None:
        """Answers that are not read give way to requests that wait for room, strangers' and the oldest first.

        One is not read when nothing of it was taken for STALLED_S, or when it is older than ``timeout`` (seconds).
        """
        missing, since = self.room.wanted
        if not missing or now_mono - since < PATIENCE_S:
            return
        found = []
        for connection in self.connections:
            size, age, stalled = connection.unread(now_mono)
            if size and (stalled > STALLED_S or age > timeout):
                found.append((connection.trusted, -age, size, connection))
        for _, _, size, connection in sorted(found, key=lambda item: item[:3]):
            if missing <= 0:
                break
            connection.give_way()
            missing -= size


class Application(Protocol):
    """What a server answers with."""

    def check(self, connection: Connection, head: Head) -> Plan:
        """What the head of a request alone tells about the answer."""

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        """The reply to a complete request, or the work that makes it."""

    def says_goodbye(self) -> bool:
        """Whether answers end their connections, as the node stops."""


class HttpServer:
    """Listens for one application; ``listen`` and ``stop`` are its life."""

    def __init__(
        self,
        application: Application,
        limits: HttpLimits,
        *,
        timeout_s: float,
        allowed: Networks | None = None,
        log_behind: LogBehind = lambda: None,
    ) -> None:
        """``timeout_s``: of a client that does not go on. ``allowed``: whose hosts may connect, None for everybody.

        What ``log_behind`` returns is awaited before an answer goes out.
        """
        self.limits = limits
        self.room = limits.room
        self.places = limits.places
        self.turns = limits.turns
        self.bursts = limits.bursts
        self.stopping = False
        self.check: Callable[[Connection, Head], Plan] = application.check
        self.answer: Callable[[Plan, Head, bytes], Reply | Pending] = application.answer
        self.says_goodbye: Callable[[], bool] = application.says_goodbye
        self.log_behind = log_behind
        self._timeout_s = timeout_s
        self._allowed = allowed
        self._connections: dict[Connection, None] = {}
        self._listeners: list[Listener] = []
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> list[tuple[str, int]]:
        """Listen at a host's addresses, which are returned with the ports (port 0 is any); raises OSError."""
        opened = await Listener.open(host, port, lambda: Connection(self))
        self._listeners += opened
        if self._sweeper is None:
            self._sweep()
        return [listener.socket.getsockname()[:2] for listener in opened]

    async def stop(self) -> None:
        """Refuse new requests, let those in work end (those that wait are given up), close."""
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        tasks: list[asyncio.Task[None]] = []
        waiting: list[asyncio.Task[None]] = []
        for connection in list(self._connections):
            if connection.task is None:
                connection.leave()
                continue
            (waiting if connection.gives_up else tasks).append(connection.task)
        if waiting:  # who waited for the chain has been woken, and answers what there is
            _, late = await asyncio.wait(waiting, timeout=GIVE_UP_S)
            for task in late:
                task.cancel()
        if tasks or waiting:
            _, late = await asyncio.wait(tasks + waiting, timeout=STOP_GRACE_S)
            for task in late:  # nothing may go on working with parts that are closed
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self._connections):
            connection.leave()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def admit(self, connection: Connection, host: str) -> Reply | None:
        """Take a new connection in, or tell what to answer it."""
        self._connections[connection] = None
        if not self._is_allowed(host):
            log.warning("RPC connection from %s refused: not in --rpcallowip", connection.peer)
            refusal = Reply(FORBIDDEN, b"", b"")
        elif self.limits.add(connection):
            return None
        else:
            refusal = overload("Too many connections")
        self.limits.refuse(connection)
        return refusal

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)
        self.limits.forget(connection)

    def _is_allowed(self, host: str) -> bool:
        if self._allowed is None:
            return True
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allowed)

    def _sweep(self) -> None:
        now = monotonic()
        for connection in list(self._connections):
            connection.sweep(now, self._timeout_s)
        self.limits.make_room(now, self._timeout_s)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
