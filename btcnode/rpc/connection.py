"""One client of the HTTP server: requests are parsed as they come, answered in order, and bounded in every way.

A request whose method answers at once is answered inside ``data_received``, without a task. Others become tasks, one
at a time for each connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING, cast

import httptools

from btcnode.rpc.jsonrpc import Pending, Reply, handle
from btcnode.rpc.rest import handle_rest

if TYPE_CHECKING:
    from btcnode.rpc.server import RpcServer

log = logging.getLogger("btcnode.http")

MAX_HEADERS_BYTES = 8192
MAX_BODY_BYTES = 0x02000000  # 32 MiB, as Core's
MAX_BODIES_BYTES = 128 * 1024 * 1024  # of all connections together, while they are being received
MAX_DISCARD_BYTES = 1024 * 1024  # of a refused request that are read, so that the client gets to see the refusal
INLINE_REQUESTS = 32  # pipelined requests of one connection answered before others have their turn
BAD_PASSWORD_DELAY_S = 0.25  # against guessing
SWEEP_S = 1.0

JSON_TYPE = b"Content-Type: application/json\r\n"
TEXT_TYPE = b"Content-Type: text/plain; charset=utf-8\r\n"
_CHALLENGE = b'WWW-Authenticate: Basic realm="jsonrpc"\r\n'
_STATUS_LINES = {
    status: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
    if status.value in (200, 204, 400, 401, 403, 404, 405, 413, 431, 500, 503)
}


def http_message(status: int, body: bytes, extra: bytes = b"", *, keep_alive: bool = True) -> bytes:
    """A whole HTTP response."""
    length = b"" if status == HTTPStatus.NO_CONTENT else b"Content-Length: %d\r\n" % len(body)
    connection = b"" if keep_alive else b"Connection: close\r\n"
    return b"".join((_STATUS_LINES[HTTPStatus(status)], extra, length, connection, b"\r\n", body))


@dataclass(slots=True)
class _Head:
    """What is kept of a request's headers; ``refusal`` is a finished answer that needs no body."""

    keep_alive: bool
    user: str = ""
    refusal: bytes | None = None
    delay: float = 0.0
    body: bytes = b""
    rest: str = ""  # the target of a REST request


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: RpcServer) -> None:
        self.server = server
        self.transport: asyncio.Transport
        self.peer = "?"
        self.parser = httptools.HttpRequestParser(self)
        self.queue: deque[_Head] = deque()  # complete requests
        self.task: asyncio.Task[None] | None = None
        self.scheduled = False
        self.gives_up = False  # the task may be cancelled when the client leaves
        self.closing = False
        self.eof = False
        self.since_mono = monotonic()  # of the state the sweep looks at
        self.receiving = False
        self.write_blocked = False
        self._reset()

    def _reset(self) -> None:
        self.url = b""
        self.headers_size = 0  # of complete lines
        self.partial_size = 0  # of chunks that came after the first and before the headers' end
        self.authorization: str | None = None
        self.expects_continue = False
        self.content_length = 0
        self.head: _Head | None = None
        self.parts: list[bytes] = []
        self.body_size = 0

    # --- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept or refuse a client."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else "?"
        refusal = self.server.admit(self, address[0] if address else "")
        if refusal is not None:
            self._close_with(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client; work that only waits for an event is given up."""
        self.server.forget(self)
        self.closing = True
        self.queue.clear()
        self._drop_body()
        if self.task is not None and self.gives_up:
            self.task.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than it is answered."""
        self.write_blocked = True
        self.since_mono = monotonic()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_blocked = False
        self.since_mono = monotonic()

    def data_received(self, data: bytes) -> None:
        """Parse, and answer what is complete."""
        if self.closing:
            self.body_size += len(data)
            if self.body_size > MAX_DISCARD_BYTES:
                self.transport.close()
            return
        if not self.receiving:
            self.receiving = True
            self.since_mono = monotonic()
        elif self.head is None:
            self.partial_size += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse_and_close(HTTPStatus.BAD_REQUEST)
            return
        except httptools.HttpParserError as error:
            if not self.closing:
                log.debug("Malformed HTTP from %s: %s", self.peer, error)
                self._refuse_and_close(HTTPStatus.BAD_REQUEST)
            return
        if self.head is None and self.partial_size > MAX_HEADERS_BYTES and not self.closing:
            self._refuse_and_close(HTTPStatus.BAD_REQUEST)
        elif self.queue:
            self._work()
            if self.task is not None and self.queue:
                self.transport.pause_reading()  # enough is waiting; until then the client's leaving is noticed

    def eof_received(self) -> bool:
        """The client sends no more: what it has asked is answered still, unless that only waits for an event."""
        self.eof = True
        return bool((self.task is not None and not self.gives_up) or self.queue)

    # --- parser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._reset()
        self.receiving = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line."""
        self.headers_size += len(name) + len(value) + 4
        lower = name.lower()
        if lower == b"authorization":
            self.authorization = value.decode("latin-1")
        elif lower == b"expect":
            self.expects_continue = value.lower() == b"100-continue"
        elif lower == b"content-length":
            self.content_length = int(value)

    def on_headers_complete(self) -> None:
        """Decide whether the body is wanted at all."""
        self.headers_size += len(self.url)
        head = self.head = _Head(self.parser.should_keep_alive())
        self._check_head(head)
        if head.refusal is not None:
            if self.content_length > MAX_DISCARD_BYTES:
                self.queue.append(head)
                head.keep_alive = False
                self.receiving = False
                self.closing = True
        elif self.expects_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        head = self.head
        if head is None or head.refusal is not None:
            return
        self.body_size += len(body)
        self.server.bodies_size += len(body)
        self.parts.append(body)
        if self.body_size > MAX_BODY_BYTES:
            head.refusal = http_message(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"", keep_alive=False)
        elif self.server.bodies_size > MAX_BODIES_BYTES:
            head.refusal = self.server.overload("Too many large requests at once", keep_alive=False)
        else:
            return
        head.keep_alive = False
        self._drop_body()

    def on_message_complete(self) -> None:
        """A request is complete."""
        head = self.head
        if head is None or self.closing:
            return
        head.body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self._drop_body()
        self.queue.append(head)
        self.receiving = False
        self.head = None
        self.partial_size = 0

    # --- answers

    def _check_head(self, head: _Head) -> None:
        """Set ``refusal`` where the headers alone tell the answer."""
        keep = head.keep_alive
        if self.headers_size > MAX_HEADERS_BYTES:
            head.refusal = http_message(HTTPStatus.BAD_REQUEST, b"", keep_alive=False)
            head.keep_alive = False
        elif self.content_length > MAX_BODY_BYTES:
            head.refusal = http_message(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"", keep_alive=False)
            head.keep_alive = False
        elif self.server.config.rest and self.url.startswith(b"/rest/") and not self.server.stopping:
            if self.parser.get_method() in (b"GET", b"POST"):
                head.rest = self.url.decode("latin-1")
            else:
                head.refusal = http_message(HTTPStatus.METHOD_NOT_ALLOWED, b"", keep_alive=keep)
        elif self.url in (b"/health", b"/ready") and self.parser.get_method() == b"GET":
            head.refusal = self.server.probe(self.url, keep_alive=keep)
        elif self.url != b"/":
            head.refusal = http_message(HTTPStatus.NOT_FOUND, b"", keep_alive=keep)
        elif self.parser.get_method() != b"POST":
            text = b"JSONRPC server handles only POST requests"
            head.refusal = http_message(HTTPStatus.METHOD_NOT_ALLOWED, text, TEXT_TYPE, keep_alive=keep)
        elif self.server.stopping:
            head.refusal = http_message(
                HTTPStatus.SERVICE_UNAVAILABLE, b"Request rejected during server shutdown", TEXT_TYPE, keep_alive=False
            )
            head.keep_alive = False
        else:
            user = self.server.auth.user(self.authorization) if self.authorization is not None else None
            if user is not None:
                head.user = user
                return
            head.refusal = http_message(HTTPStatus.UNAUTHORIZED, b"", _CHALLENGE, keep_alive=keep)
            if self.authorization is not None:
                log.warning("RPC: incorrect password attempt from %s", self.peer)
                head.delay = BAD_PASSWORD_DELAY_S

    def _work(self) -> None:
        """Answer complete requests in order until one takes a while."""
        self.scheduled = False
        for _ in range(INLINE_REQUESTS):
            if self.task is not None or not self.queue:
                return
            head = self.queue.popleft()
            if head.refusal is not None:
                if head.delay:
                    self._start(self._delayed(head))
                    return
                self._send(head.refusal, head.keep_alive)
                continue
            answer = self._answer(head)
            if isinstance(answer, Reply):
                self._send_reply(answer, head)
            elif self.server.take_slot():
                self.gives_up = answer.waits
                self._start(self._pending(answer, head))
                return
            else:
                answer.work.close()
                log.warning(
                    "Request rejected because http work queue depth exceeded (%d requests in work or waiting), it can"
                    " be increased with the -rpcworkqueue= setting", self.server.work_limit,
                )  # fmt: skip
                self._send(
                    self.server.overload("Work queue depth exceeded", keep_alive=head.keep_alive), head.keep_alive
                )
        if self.queue and not self.scheduled:
            self.scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _answer(self, head: _Head) -> Reply | Pending:
        """The reply to a complete request, or the work that makes it."""
        if head.rest:
            return Pending(handle_rest(self.server.table, head.rest, head.body), waits=False)
        return handle(self.server.table, head.body, self.server.whitelist.methods(head.user), head.user)

    def _start(self, work: object) -> None:
        self.task = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]

    async def _pending(self, answer: Pending, head: _Head) -> None:
        """Await work, answer, go on with the queue."""
        try:
            self._send_reply(await answer.work, head)
        finally:
            self.server.free_slot()
            self._finish_task()

    async def _delayed(self, head: _Head) -> None:
        try:
            await asyncio.sleep(head.delay)
            self._send(head.refusal or b"", head.keep_alive)
        finally:
            self._finish_task()

    def _finish_task(self) -> None:
        self.task = None
        self.gives_up = False
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        self._work()
        if self.eof and self.task is None and not self.queue:
            self.transport.close()

    def _send_reply(self, reply: Reply, head: _Head) -> None:
        self._send(http_message(reply.status, reply.body, reply.headers, keep_alive=head.keep_alive), head.keep_alive)

    def _send(self, message: bytes, keep_alive: bool) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(message)
        if not self.write_blocked:
            self.since_mono = monotonic()
        if not keep_alive:
            self._end()

    def _refuse_and_close(self, status: HTTPStatus) -> None:
        self._close_with(http_message(status, b"", keep_alive=False))

    def _close_with(self, message: bytes) -> None:
        self.transport.write(message)
        self._end()

    def _end(self) -> None:
        """Close once the answer is out; what still comes in is read for a moment, lest a reset destroys the answer."""
        self.closing = True
        self.queue.clear()
        self._drop_body()
        self.body_size = 0
        self.since_mono = monotonic()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _drop_body(self) -> None:
        self.server.bodies_size -= sum(map(len, self.parts))
        self.parts = []

    def sweep(self, now_mono: float, limit: float) -> None:
        """End the connection when its state lasts too long."""
        age = now_mono - self.since_mono
        if self.closing:
            if age > SWEEP_S:
                self.transport.abort() if self.write_blocked else self.transport.close()
            if age > limit:
                self.transport.abort()
        elif self.write_blocked:
            if age > limit:
                log.debug("RPC client %s does not read its answer", self.peer)
                self.transport.abort()
        elif self.task is None and age > limit:
            self.transport.close()
