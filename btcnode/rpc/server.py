"""JSON-RPC and REST over HTTP: addresses, users, what a request's head tells."""

from __future__ import annotations

import errno
import logging
import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from btcnode.errors import BtcnodeError
from btcnode.rpc.auth import Authenticator, Whitelist
from btcnode.rpc.connection import Connection, Plan
from btcnode.rpc.cookie import COOKIE_USER, read_cookie, write_cookie
from btcnode.rpc.dashboard import MOST_VIEWERS, Dashboard, Token, asks_for_password, is_dashboard, not_allowed
from btcnode.rpc.http1 import JSON_TYPE, METHOD_NOT_ALLOWED, NOT_FOUND, OK, UNAUTHORIZED, UNAVAILABLE, Head
from btcnode.rpc.http_server import HttpLimits, HttpServer
from btcnode.rpc.jsonrpc import answer_request
from btcnode.rpc.jsonvalue import encode
from btcnode.rpc.reply import RETRY_LATER, LogBehind, Pending, Reply, resumed
from btcnode.rpc.room import first_step
from btcnode.rpc.wallet_name import WALLET_NAME
from btcnode.settings.groups.rpc import Account, Refused

if TYPE_CHECKING:
    from btcnode.rpc.table import MethodTable
    from btcnode.settings.settings import Settings

log = logging.getLogger("btcnode.http")

BAD_PASSWORD_DELAY_S = 0.25  # against guessing
WALLET_PATH = b"/wallet/"

_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, socket.EAI_ADDRFAMILY)
_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_CHALLENGE = b'WWW-Authenticate: Basic realm="jsonrpc"\r\n'
_REST = Plan()
_FEED = Plan()
SHOWN_METHODS = frozenset({"getblockchaininfo", "getmempoolinfo", "getnetworkinfo", "getpeerinfo", "getsyncstate"})
"""Who may call these may see the dashboard, which tells the same."""


class RpcServer:
    """Answers JSON-RPC on the configured addresses; ``start`` and ``stop`` are its life."""

    def __init__(
        self,
        settings: Settings,
        table: MethodTable,
        limits: HttpLimits,
        *,
        log_behind: LogBehind = lambda: None,
    ) -> None:
        """Nothing is opened before ``start``. What ``log_behind`` returns is awaited before answers go out."""
        self.settings = settings
        self.table = table
        self.auth = Authenticator()
        self.whitelist = Whitelist(settings.rpc.rpcwhitelist, settings.rpc.rpcwhitelistdefault)
        self.addresses: list[tuple[str, int]] = []
        self.http = HttpServer(
            self,
            limits,
            timeout_s=float(settings.rpc.rpcservertimeout_s),
            allowed=[*_LOOPBACK, *settings.rpc.rpcallowip],
            log_behind=log_behind,
        )
        self._cookie_password = ""
        self._token = Token(settings.rpc.dashboardtoken)
        most = min(MOST_VIEWERS, limits.places.limit * 3 // 4, limits.most_connections // 2)
        self.dashboard = Dashboard(lambda: table.control.status, max(1, most))

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
        log.info("RPC server listens at %s", ", ".join(f"{host}:{port}" for host, port in self.addresses))

    def _learn_users(self) -> None:
        """Who may call; raises BtcnodeError when an option is wrong or the cookie cannot be written."""
        settings, options = self.settings, self.settings.rpc
        of_cookie = () if options.rpcpassword else (options.rpccookieperms,)  # with a password no cookie is made
        refused = [entry for entry in (*of_cookie, *options.rpcauth) if isinstance(entry, Refused)]
        if refused:
            raise BtcnodeError(refused[0].line)
        self.auth = Authenticator(entry for entry in options.rpcauth if isinstance(entry, Account))
        if options.rpcpassword:
            self.auth.add(options.rpcuser, options.rpcpassword)
        elif settings.cookie_path is not None and isinstance(options.rpccookieperms, int):
            self._cookie_password = write_cookie(settings.cookie_path, options.rpccookieperms)
            self.auth.add(COOKIE_USER, self._cookie_password)

    async def stop(self) -> None:
        """Let what is in work end, close, remove the cookie."""
        self.dashboard.feed.stop()
        await self.http.stop()
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
        problem: BtcnodeError | None = None
        for host, port in targets:
            if not binds and self.addresses:
                port = self.addresses[0][1]  # port 0: the same free one on both families
            log.info("Binding RPC on address %s port %d", host, port)
            try:
                self.addresses += await self.http.listen(host, port)
            except OSError as error:
                log.warning("Binding RPC on address %s port %d failed.", host, port)
                if not binds and host == "::1" and (options.rpcport == 0 or error.errno in _NO_IPV6):
                    continue
                reason = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
                problem = problem or BtcnodeError(f"Cannot listen for RPC at {host}:{port}: {reason}")
        if problem is not None and not (binds and self.addresses):  # of the addresses that were named one will do
            await self.stop()
            raise problem

    def check(self, connection: Connection, head: Head) -> Plan:
        """What the head of a request alone tells about the answer."""
        target = head.target
        if target == b"/" or target.startswith(WALLET_PATH):
            return self._check_caller(connection, head)
        if self.settings.rpc.rest and target.startswith(b"/rest/"):
            return _REST
        if target in (b"/health", b"/ready") and head.method == b"GET":
            return Plan(refusal=self.probe(target))
        if self.settings.rpc.dashboard is not False and is_dashboard(target):
            return self._check_viewer(connection, head)
        return Plan(refusal=Reply(NOT_FOUND, b"", b""))

    def _check_viewer(self, connection: Connection, head: Head) -> Plan:
        """Who looks at the dashboard, or why nobody does."""
        for_all = self.settings.rpc.dashboard is True
        refusal = self.dashboard.refusal(head, is_local=connection.is_local, for_all=for_all)
        if refusal is not None:
            return Plan(refusal=refusal)
        if not self._token.opens(head.headers.get(b"authorization", b"")):
            plan = self._identify(connection, head)
            if plan.caller is None:
                return plan._replace(refusal=asks_for_password(_CHALLENGE))
            methods = plan.caller.methods
            if plan.caller.is_refused or (methods is not None and not methods >= SHOWN_METHODS):
                return Plan(refusal=not_allowed())
        file = self.dashboard.file(head)
        return _FEED if file is None else Plan(refusal=file)

    def _check_caller(self, connection: Connection, head: Head) -> Plan:
        """Who calls a method, or why nobody does."""
        if head.method != b"POST":
            return Plan(refusal=Reply(METHOD_NOT_ALLOWED, b"JSONRPC server handles only POST requests", b""))
        return self._identify(connection, head)

    def _identify(self, connection: Connection, head: Head) -> Plan:
        """Which user asks, or why he is none."""
        authorization = head.headers.get(b"authorization")
        if authorization is None:
            return Plan(refusal=Reply(UNAUTHORIZED, b"", _CHALLENGE))
        if authorization != connection.proven[0]:  # else the client has shown before that it is right
            user = self.auth.user(authorization)
            if user is None:
                log.warning("ThreadRPCServer incorrect password attempt from %s", connection.peer)
                return Plan(refusal=Reply(UNAUTHORIZED, b"", _CHALLENGE), delay=BAD_PASSWORD_DELAY_S)
            connection.proven = authorization, Plan(caller=self.whitelist.caller(user))
            connection.trust()
        return connection.proven[1]

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        """The reply to a complete request, or the work that makes it."""
        if plan is _FEED:
            return Pending(self.dashboard.watch(), waits=True)
        if plan.caller is None:
            from btcnode.rpc.rest import answer_rest  # all that makes JSON of transactions: when somebody asks

            work = answer_rest(self.table, head.target, body)
            if not self.http.places.is_free(trusted=False):
                return Pending(work)
            try:
                awaited = first_step(work)  # many have no other
            except StopIteration as end:
                return cast(Reply, end.value)
            return Pending(resumed(work, awaited))
        target = head.target
        name = unquote(target[len(WALLET_PATH) :]) if target.startswith(WALLET_PATH) else None
        WALLET_NAME.set(name)  # the task that answers begins with a copy of this context
        return answer_request(self.table, body, plan.caller)

    def says_goodbye(self) -> bool:
        """Whether answers end their connections, as the node stops."""
        return self.table.control.stop_requested.is_set()

    def probe(self, path: bytes) -> Reply:
        """``/health`` is 200 while the process answers at all, ``/ready`` once it has started; neither asks who."""
        status = self.table.control.status if path == b"/ready" else None
        if path == b"/ready" and self.http.stopping:
            status = "Shutting down"
        body = encode({"status": "ok"} if status is None else {"status": "starting", "message": status}) + b"\n"
        if status is None:
            return Reply(OK, body)
        return Reply(UNAVAILABLE, body, RETRY_LATER + JSON_TYPE)

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
