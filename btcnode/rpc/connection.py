"""One client of the HTTP server: requests are read as they come, answered in order, and bounded in every way.

A request whose method answers at once is answered inside ``data_received``, without a task. Others become tasks, one
at a time for each connection; what comes meanwhile waits unread.
"""

from __future__ import annotations

import asyncio
import logging
import string
from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from btcnode.rpc.auth import Caller
from btcnode.rpc.http1 import (
    CLOSE,
    CONTINUE,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    SERVED,
    UNAUTHORIZED,
    UNAVAILABLE,
    Head,
    HttpFault,
    RequestReader,
    error_page,
    response,
)
from btcnode.rpc.jsonrpc import Pending, Reply, handle
from btcnode.rpc.rest import handle_rest

if TYPE_CHECKING:
    from btcnode.rpc.server import RpcServer

log = logging.getLogger("btcnode.http")

MAX_BODIES_BYTES = 128 * 1024 * 1024  # of all connections together, while they are being received
MAX_DISCARD_BYTES = 1024 * 1024  # of a refused request that are read, so that the client gets to see the refusal
INLINE_REQUESTS = 32  # pipelined requests of one connection answered before others have their turn
BAD_PASSWORD_DELAY_S = 0.25  # against guessing
SWEEP_S = 1.0

_CHALLENGE = b'WWW-Authenticate: Basic realm="jsonrpc"\r\n'
RETRY_LATER = b"Retry-After: 1\r\n"


_URI_CHARS = frozenset(string.ascii_letters + string.digits + "!*'();:@&=+$,/?#[]-_.~%")  # that the log may show


class _Plan(NamedTuple):
    """What the head of a request says about its answer.

    ``page`` is the status of an error page that ends the connection, ``refusal`` an answer that needs no body (given
    ``delay`` seconds later), ``caller`` who calls a method; without any of them it is REST.
    """

    page: int = 0
    refusal: Reply | None = None
    delay: float = 0.0
    caller: Caller | None = None


_REST = _Plan()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: RpcServer) -> None:
        self.server = server
        self.transport: asyncio.Transport
        self.peer = "?"
        self.reader = RequestReader()
        self.task: asyncio.Task[None] | None = None
        self.gives_up = False  # the task may be cancelled when the client leaves
        self.since_mono = monotonic()  # of the state the sweep looks at
        self._head: Head | None = None  # of the request whose body is awaited
        self._plan = _REST
        self._authorization: bytes | None = None  # with which this client may call
        self._call = _REST
        self._scheduled = False
        self._closing = False
        self._eof = False
        self._buffered = 0  # bytes that the server counts for this connection
        self._discarded = 0
        self._write_blocked = False

    # ---- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept or refuse a client."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else "?"
        refusal = self.server.admit(self, address[0] if address else "")
        if refusal is not None:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client; work that only waits for an event is given up."""
        self.server.forget(self)
        self._closing = True
        self._drop()
        if self.task is not None and self.gives_up:
            self.task.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than it is answered."""
        self._write_blocked = True
        self.since_mono = monotonic()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._write_blocked = False
        self.since_mono = monotonic()

    def data_received(self, data: bytes) -> None:
        """Read, and answer what is complete."""
        if self._closing:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARD_BYTES:
                self.transport.close()
            return
        if not self.reader.in_request or (self._head is not None and self.reader.keeps_body):
            self.since_mono = monotonic()  # a request begins, or the body of a welcome one goes on
        self.reader.feed(data)
        if self.task is not None:
            self.transport.pause_reading()  # enough is waiting; until then the client's leaving is noticed
        else:
            self._work()
        self._count()

    def eof_received(self) -> bool:
        """The client sends no more: what it has asked is answered still, unless that only waits for an event."""
        self._eof = True
        return bool((self.task is not None and not self.gives_up) or self._scheduled)

    # ---- requests

    def _work(self) -> None:
        """Answer complete requests in order until one takes a while."""
        self._scheduled = False
        for _ in range(INLINE_REQUESTS):
            if self.task is not None or self._closing:
                return
            try:
                body = self._next_body()
            except HttpFault as fault:
                log.debug("Malformed HTTP from %s", self.peer)
                self._end(error_page(fault.head, fault.status))
                return
            if body is None:
                return
            head, self._head = cast(Head, self._head), None
            self._answer(head, body)
        if self.reader.in_request:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._answer_buffered)

    def _next_body(self) -> bytes | None:
        """The body of the next complete request, whose head is ``_head``; raises HttpFault."""
        if self._head is None:
            head = self.reader.read_head()
            if head is None:
                return None
            self._head = head
            self._plan = self._check(head)
            self.reader.keeps_body = self._plan.refusal is None and not self._plan.page
            if self.reader.wants_continue():
                self.transport.write(CONTINUE)
        return self.reader.read_body()

    def _check(self, head: Head) -> _Plan:
        """What the head alone tells about the answer."""
        server, target, method = self.server, head.target, head.method
        if server.stopping:
            return _Plan(page=UNAVAILABLE)
        if method not in SERVED:
            return _Plan(page=NOT_IMPLEMENTED)
        if method == b"DELETE":
            return _Plan(refusal=Reply(METHOD_NOT_ALLOWED, b"", b""))
        if log.isEnabledFor(logging.DEBUG):
            shown = "".join(char for char in target.decode("latin-1") if char in _URI_CHARS)[:100]
            log.debug("Received a %s request for %s from %s", method.decode(), shown, self.peer)
        if target == b"/":
            return self._check_caller(head)
        if server.settings.rpc.rest and target.startswith(b"/rest/"):
            return _REST
        if target in (b"/health", b"/ready") and method == b"GET":
            return _Plan(refusal=server.probe(target))
        return _Plan(refusal=Reply(NOT_FOUND, b"", b""))

    def _check_caller(self, head: Head) -> _Plan:
        """Who calls a method, or why nobody does."""
        if head.method != b"POST":
            return _Plan(refusal=Reply(METHOD_NOT_ALLOWED, b"JSONRPC server handles only POST requests", b""))
        authorization = head.headers.get(b"authorization")
        if authorization is None:
            return _Plan(refusal=Reply(UNAUTHORIZED, b"", _CHALLENGE))
        if authorization != self._authorization:  # else the client has shown before that it is right
            user = self.server.auth.user(authorization)
            if user is None:
                log.warning("ThreadRPCServer incorrect password attempt from %s", self.peer)
                return _Plan(refusal=Reply(UNAUTHORIZED, b"", _CHALLENGE), delay=BAD_PASSWORD_DELAY_S)
            self._authorization = authorization
            self._call = _Plan(caller=self.server.whitelist.caller(user))
        return self._call

    # ---- answers

    def _answer(self, head: Head, body: bytes) -> None:
        """Answer a complete request, or begin to."""
        plan = self._plan
        if plan.page:
            self._end(error_page(head, plan.page))
        elif plan.delay:
            self._start(self._delayed(head, plan))
        elif plan.refusal is not None:
            self._send(head, plan.refusal)
        else:
            self._carry_out(head, self._reply_or_work(head, body))

    def _reply_or_work(self, head: Head, body: bytes) -> Reply | Pending:
        """The reply to a complete request, or the work that makes it."""
        caller = self._plan.caller
        if caller is None:
            return Pending(handle_rest(self.server.table, head.target, body), waits=False)
        return handle(self.server.table, body, caller)

    def _carry_out(self, head: Head, answer: Reply | Pending) -> None:
        if isinstance(answer, Reply):
            self._send(head, answer)
        elif self.server.take_slot():
            self.gives_up = answer.waits
            self._start(self._pending(answer, head))
        else:
            answer.work.close()
            log.warning(
                "Request rejected because http work queue depth exceeded (%d requests in work or waiting), it can"
                " be increased with the -rpcworkqueue= setting", self.server.work_limit,
            )  # fmt: skip
            self._send(head, overload("Work queue depth exceeded"))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.task = asyncio.get_running_loop().create_task(work)

    async def _pending(self, answer: Pending, head: Head) -> None:
        """Await work, answer, go on with what has come meanwhile."""
        try:
            self._send(head, await answer.work)
        finally:
            self.server.free_slot()
            self._finish_task()

    async def _delayed(self, head: Head, plan: _Plan) -> None:
        try:
            await asyncio.sleep(plan.delay)
            self._send(head, cast(Reply, plan.refusal))
        finally:
            self._finish_task()

    def _finish_task(self) -> None:
        self.task = None
        self.gives_up = False
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        self._answer_buffered()

    def _answer_buffered(self) -> None:
        """Answer what has been read already."""
        self._work()
        self._count()
        if self._eof and self.task is None and not self._scheduled:
            self.transport.close()

    def _send(self, head: Head, reply: Reply) -> None:
        if self.transport.is_closing():
            return
        stopping = self.server.table.control.stop_requested.is_set()
        headers = reply.headers + CLOSE if stopping and not head.asks_close else reply.headers
        message = response(head, reply.status, reply.body, headers)
        if not self._write_blocked:
            self.since_mono = monotonic()
        if head.stays_open and not stopping:
            self.transport.write(message)
        else:
            self._end(message)

    def _end(self, message: bytes) -> None:
        """Close once a last message is out; what still comes is read for a moment, lest a reset destroys the answer."""
        self.transport.write(message)
        self._closing = True
        self._drop()
        self.since_mono = monotonic()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _refuse(self, reply: Reply) -> None:
        """Answer before any request, or in the middle of one, and close."""
        head = Head(b"POST", b"/", 1, 1)
        head.headers[b"connection"] = b"close"
        self._end(response(head, reply.status, reply.body, reply.headers))

    # ---- bounds

    def _count(self) -> None:
        """Tell the server how much is kept here; too much over all connections ends this one."""
        buffered = self.reader.buffered
        self.server.bodies_size += buffered - self._buffered
        self._buffered = buffered
        if self.server.bodies_size > MAX_BODIES_BYTES and buffered and not self._closing:
            self._refuse(overload("Too many large requests at once"))

    def _drop(self) -> None:
        self.reader = RequestReader()
        self._head = None
        self.server.bodies_size -= self._buffered
        self._buffered = 0

    def sweep(self, now_mono: float, limit: float) -> None:
        """End the connection when its state lasts too long."""
        age = now_mono - self.since_mono
        if self._closing:
            if age > SWEEP_S:
                self.transport.abort() if self._write_blocked else self.transport.close()
            if age > limit:
                self.transport.abort()
        elif self._write_blocked:
            if age > limit:
                log.debug("RPC client %s does not read its answer", self.peer)
                self.transport.abort()
        elif self.task is None and age > limit:
            self.transport.close()


def overload(text: str) -> Reply:
    """A 503 that says when to come back."""
    return Reply(UNAVAILABLE, text.encode(), RETRY_LATER)
