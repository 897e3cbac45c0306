"""``/metrics`` for Prometheus at a port of its own, by the same HTTP server and under the same limits as JSON-RPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from btcnode.errors import ConfigError
from btcnode.observe.metrics import CONTENT_TYPE
from btcnode.rpc.connection import Connection, Plan
from btcnode.rpc.http1 import METHOD_NOT_ALLOWED, NOT_FOUND, OK, Head
from btcnode.rpc.http_server import HttpLimits, HttpServer
from btcnode.rpc.reply import Pending, Reply

PATHS = (b"/metrics", b"/")


class MetricsServer:
    """``render`` makes the text."""

    def __init__(self, render: Callable[[], Awaitable[bytes]], limits: HttpLimits, *, timeout_s: float) -> None:
        self._render = render
        self._http = HttpServer(self, limits, timeout_s=timeout_s)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (that of the system's choice for 0). Raises ConfigError."""
        try:
            return (await self._http.listen(host, port))[0][1]
        except OSError as error:
            text = f"cannot serve metrics at {host}:{port} ({error.strerror or error}): choose another --metrics-port"
            raise ConfigError(text) from None

    async def stop(self) -> None:
        """Stop listening, end all connections."""
        await self._http.stop()

    def check(self, connection: Connection, head: Head) -> Plan:
        """What is refused; no scrape has a body."""
        if head.method not in (b"GET", b"HEAD"):
            return Plan(refusal=Reply(METHOD_NOT_ALLOWED, b"", b""))
        if head.target.partition(b"?")[0] not in PATHS:
            return Plan(refusal=Reply(NOT_FOUND, b"", b""))
        return Plan()

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        """All metrics."""
        return Pending(self._scrape(), waits=True)

    async def _scrape(self) -> Reply:
        return Reply(OK, await self._render(), b"Content-Type: %s\r\n" % CONTENT_TYPE.encode())

    def says_goodbye(self) -> bool:
        """Scrapes go on until the port is closed."""
        return False
