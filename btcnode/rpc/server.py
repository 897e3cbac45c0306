"""The HTTP/1.1 server of JSON-RPC: listening, users, limits over all connections.

The number of requests in work is bounded (503 with Retry-After beyond it). Everything a client can make grow has a
limit here or in ``connection.py``, and one sweep per second ends connections that are too slow (in sending a request,
or in reading the answer) or idle for too long.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from time import monotonic

from btcnode.errors import BtcnodeError
from btcnode.rpc.auth import COOKIE_USER, Authenticator, Whitelist, read_cookie, write_cookie
from btcnode.rpc.connection import RETRY_LATER, SWEEP_S, Connection, overload
from btcnode.rpc.http1 import FORBIDDEN, JSON_TYPE, OK, UNAVAILABLE
from btcnode.rpc.jsonrpc import Reply
from btcnode.rpc.jsonvalue import encode
from btcnode.rpc.table import MethodTable
from btcnode.settings.groups.rpc import Account, Refused
from btcnode.settings.settings import Settings

log = logging.getLogger("btcnode.http")

MAX_CONNECTIONS = 256  # worst case 256 * (8 KiB headers + 256 KiB read buffer) + MAX_BODIES_BYTES
GIVE_UP_S = 0.5  # for the answers of calls that only wait
STOP_GRACE_S = 2.0

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class RpcServer:
    """Listens for JSON-RPC on the configured addresses; ``start`` and ``stop`` are its life."""

    def __init__(self, settings: Settings, table: MethodTable) -> None:
        """Nothing is opened before ``start``."""
        self.settings = settings
        self.table = table
        self.auth = Authenticator()
        self.whitelist = Whitelist(settings.rpc.rpcwhitelist, settings.rpc.rpcwhitelistdefault)
        self.addresses: list[tuple[str, int]] = []
        self.bodies_size = 0
        self.stopping = False
        self.work_limit = settings.rpc.rpcthreads + settings.rpc.rpcworkqueue  # as many as a bitcoind takes at a time
        self._allowed: list[IPv4Network | IPv6Network] = [*_LOOPBACK, *settings.rpc.rpcallowip]
        self._in_work = 0
        self._connections: dict[Connection, None] = {}
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._cookie_password = ""

    async def start(self) -> None:
        """Listen, write the cookie; raises BtcnodeError with a line for the user."""
        log.info("Starting HTTP server")
        await self._listen()
        try:
            self._learn_users()
        except BtcnodeError as error:
            log.error("%s", error)
            await self.stop()
            raise BtcnodeError("Unable to start HTTP server. See debug log for details.") from error
        self._sweep()
        log.info("RPC server listens at %s", ", ".join(f"{host}:{port}" for host, port in self.addresses))

    def _learn_users(self) -> None:
        """Who may call; raises BtcnodeError when an option is wrong or the cookie cannot be written."""
        settings, options = self.settings, self.settings.rpc
        refused = [entry for entry in (*options.rpcauth, options.rpccookieperms) if isinstance(entry, Refused)]
        if refused:
            raise BtcnodeError(refused[0].line)
        self.auth = Authenticator(entry for entry in options.rpcauth if isinstance(entry, Account))
        if options.rpcpassword:
            self.auth.add(options.rpcuser, options.rpcpassword)
        elif settings.cookie_path is not None and isinstance(options.rpccookieperms, int):
            self._cookie_password = write_cookie(settings.cookie_path, options.rpccookieperms)
            self.auth.add(COOKIE_USER, self._cookie_password)

    async def stop(self) -> None:
        """Refuse new requests, let those in work end (those that wait are given up), close, remove the cookie."""
        self.stopping = True
        for server in self._servers:
            server.close()
        tasks: list[asyncio.Task[None]] = []
        waiting: list[asyncio.Task[None]] = []
        for connection in list(self._connections):
            if connection.task is None:
                connection.transport.close()
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
            connection.transport.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._remove_cookie()

    async def _listen(self) -> None:
        options = self.settings.rpc
        binds = options.rpcbind
        if binds and not options.rpcallowip:
            log.warning(
                "Option -rpcbind was ignored because -rpcallowip was not specified,"
                " refusing to allow everyone to connect"
            )
            binds = ()
        if options.rpcallowip and not binds:
            log.warning("Option -rpcallowip was specified without -rpcbind; this doesn't usually make sense")
        targets = [(bind.host, bind.port or options.rpcport) for bind in binds]
        targets = targets or [("127.0.0.1", options.rpcport), ("::1", options.rpcport)]
        optional = () if binds else ("::1",)
        loop = asyncio.get_running_loop()
        for host, port in targets:
            if not binds and self.addresses:
                port = self.addresses[0][1]  # port 0: the same free one on both families
            try:
                server = await loop.create_server(
                    lambda: Connection(self), host, port, backlog=128, reuse_address=True, start_serving=True
                )
            except OSError as error:
                if host in optional and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, socket.EAI_ADDRFAMILY):
                    continue
                if host in optional and options.rpcport == 0:
                    continue
                await self.stop()
                reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
                raise BtcnodeError(f"Cannot listen for RPC at {host}:{port}: {reason}") from error
            self._servers.append(server)
            self.addresses += [sock.getsockname()[:2] for sock in server.sockets]

    def admit(self, connection: Connection, host: str) -> Reply | None:
        """Take a new connection in, or tell what to answer it."""
        if not self._is_allowed(host):
            log.warning("RPC connection from %s refused: not in --rpcallowip", connection.peer)
            return Reply(FORBIDDEN, b"", b"")
        self._connections[connection] = None
        if len(self._connections) > MAX_CONNECTIONS:
            return overload("Too many connections")
        return None

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self._connections.pop(connection, None)

    def take_slot(self) -> bool:
        """Room for one more request in work."""
        if self._in_work >= self.work_limit:
            return False
        self._in_work += 1
        return True

    def free_slot(self) -> None:
        """A request in work has been answered."""
        self._in_work -= 1

    def probe(self, path: bytes) -> Reply:
        """``/health`` is 200 while the process answers at all, ``/ready`` once it has started; neither asks who."""
        status = self.table.control.status if path == b"/ready" else None
        if path == b"/ready" and self.stopping:
            status = "Shutting down"
        body = encode({"status": "ok"} if status is None else {"status": "starting", "message": status}) + b"\n"
        if status is None:
            return Reply(OK, body)
        return Reply(UNAVAILABLE, body, RETRY_LATER + JSON_TYPE)

    def _is_allowed(self, host: str) -> bool:
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allowed)

    def _sweep(self) -> None:
        now, limit = monotonic(), float(self.settings.rpc.rpcservertimeout_s)
        for connection in list(self._connections):
            connection.sweep(now, limit)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _remove_cookie(self) -> None:
        """Delete the cookie when it is still ours."""
        path = self.settings.cookie_path
        if path is None or not self._cookie_password:
            return
        found = read_cookie(path)
        if found is None or found[1] != self._cookie_password:
            return
        try:
            path.unlink()
        except OSError as error:
            log.warning("Cannot remove the RPC cookie %s: %s", path, error.strerror)
