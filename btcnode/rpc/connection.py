"""One client of an HTTP server: requests are read as they come, answered in order, and bounded in every way.

A request that is answered at once is answered inside ``data_received``, without a task. Others become tasks, one at a
time for each connection. What comes meanwhile waits unread, and so it does while an answer waits to be read: nothing is
begun for a client that does not take what is ready.
"""

from __future__ import annotations

import asyncio
import logging
import string
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from contextvars import copy_context
from functools import partial
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, cast

from btcnode.net.turns import Turn, Turns
from btcnode.rpc.http1 import (
    CLOSE,
    CONTINUE,
    METHOD_NOT_ALLOWED,
    NOT_IMPLEMENTED,
    SERVED,
    UNAVAILABLE,
    Head,
    HttpFault,
    RequestReader,
    chunk,
    error_page,
    in_chunks,
    response,
    response_head,
)
from btcnode.rpc.reply import RETRY_LATER, Pending, Reply, resumed
from btcnode.rpc.room import Room, Ticket, working
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.rpc.auth import Caller
    from btcnode.rpc.bursts import Bursts
    from btcnode.rpc.places import Place, Places

log = logging.getLogger("btcnode.http")

MAX_DISCARD_BYTES = 1024 * 1024  # of a refused request that are read, so that the client gets to see the refusal
PIECE_BYTES = 256 * 1024  # of an answer that are given to the transport at a time
PARSED_FACTOR = 8  # memory of a request as Python objects, to its bytes
SWEEP_S = 1.0
REJECTED_DELAY_S = 0.25

_URI_CHARS = frozenset(string.ascii_letters + string.digits + "!*'();:@&=+$,/?#[]-_.~%")  # that the log may show


class Plan(NamedTuple):
    """What the head of a request says about its answer.

    ``page`` is the status of an error page that ends the connection, ``refusal`` an answer that needs no body (given
    ``delay`` seconds later), ``caller`` who calls a method; without any of them the application knows what to do.
    """

    page: int = 0
    refusal: Reply | None = None
    delay: float = 0.0
    caller: Caller | None = None


class Host(Protocol):
    """What a connection belongs to: an HTTP server and the limits of all connections."""

    room: Room
    places: Places
    turns: Turns
    bursts: Bursts
    stopping: bool

    def admit(self, connection: Connection, host: str) -> Reply | None:
        """Take a new connection in, or tell what to answer it."""

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""

    def check(self, connection: Connection, head: Head) -> Plan:
        """What the head of a request alone tells about the answer."""

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        """The reply to a complete request, or the work that makes it."""

    def says_goodbye(self) -> bool:
        """Whether answers end their connections, as the node stops."""

    def log_behind(self) -> Awaitable[None] | None:
        """What is to be awaited before answers go out, so that the log has lines of what was done; None: nothing."""


_NOTHING = Plan()

Standing = tuple[bool, int, float]
LEAST: Standing = (False, 1, 0.0)  # what is less is a stranger who has not had any answer yet


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.transport: asyncio.Transport
        self.peer = "?"
        self.is_local = False  # the client is on this machine
        self.reader = RequestReader()
        self.task: asyncio.Task[None] | None = None
        self.place: Place | None = None  # of the request that the task answers
        self.since_mono = monotonic()  # of the state the sweep looks at
        self.useful_mono = self.since_mono  # of the last answer
        self.answered = False
        self.trusted = False  # a user's, who has shown a password
        self.proven: tuple[bytes | None, Plan] = (
            None,
            _NOTHING,
        )  # the Authorization header that was right, and its plan
        self._head: Head | None = None  # of the request whose body is awaited
        self._plan = _NOTHING
        self.turn = Turn(id(self), self._piece, self._end_turn)  # of the loop's time
        self._full = False  # nothing is read while there are requests to be answered
        self._more = False  # the last request may have others behind it
        self._closing = False
        self._ending = False  # once the answer is out
        self._eof = False
        self._buffered = 0  # bytes of requests that are counted for this connection
        self._discarded = 0
        self._write_blocked = False
        self._rest: deque[memoryview] = deque()  # of the answer, what the transport has not got yet
        self._unsent = 0  # bytes of answers that are counted for this connection
        self._unsent_mono = 0.0  # since when
        self._drained: asyncio.Future[None] | None = None

    # ---- transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept or refuse a client."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        address = transport.get_extra_info("peername")
        self.peer = f"{address[0]}:{address[1]}" if address else "?"
        self.is_local = bool(address) and _is_loopback(address[0])
        refusal = self.host.admit(self, address[0] if address else "")
        if refusal is not None:
            self._refuse(refusal)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a client; work that only waits, for an event or for its turn, is given up."""
        self.host.forget(self)
        self.host.bursts.forget(self)
        self._closing = True
        self._rest.clear()
        self._write_blocked = False
        self._on_drained()
        self._drop()
        if self.task is not None and self.gives_up:
            self.task.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than it is answered."""
        self._write_blocked = True
        self.since_mono = monotonic()

    def resume_writing(self) -> None:
        """The client has caught up: the rest of the answer goes out, then its next request has its turn."""
        self._write_blocked = False
        self.since_mono = monotonic()
        self._pump()
        if not self.is_unread and self.task is None and not self._closing and not self.transport.is_closing():
            self._answer_on()

    def data_received(self, data: bytes) -> None:
        """Read, and answer what is complete."""
        if self._closing:
            self._discarded += len(data)
            if self._discarded > MAX_DISCARD_BYTES:
                self.transport.close()
            return
        if not self.reader.in_request or (self._head is not None and self.trusted):
            self.since_mono = monotonic()  # a request begins, or the body of a user's goes on
        self.reader.feed(data)
        if self.task is not None or self.is_unread:
            self._stop_reading()  # enough is waiting; until then the client's leaving is noticed
            self._count()
        else:
            self.turn.held = self.reader.buffered
            self._answer_on()

    def eof_received(self) -> bool:
        """The client sends no more: what it has asked is answered still, unless that only waits for an event."""
        self._eof = True
        self.host.bursts.flush()
        at_work = self.task is not None and not (self.place is not None and self.place.only_waits)
        return at_work or self._more or self.turn.waiting or self.is_unread

    @property
    def is_unread(self) -> bool:
        """Whether an answer waits for the client to read it."""
        return self._write_blocked or bool(self._rest)

    @property
    def gives_up(self) -> bool:
        """Whether the task may be cancelled when the client leaves."""
        return self.place is not None and (self.place.only_waits or not self.place.running or self._drained is not None)

    # ---- requests

    def _answer_on(self) -> None:
        """Answer what has come: at once where nobody waits for a slice of the loop's time, else in turn."""
        turns = self.host.turns
        if not turns.is_busy:
            more = self._piece()
            self._end_turn()
            if not more:
                return
        turns.add(self.turn)
        self._stop_reading()

    def _stop_reading(self) -> None:
        """Requests are here already: what follows waits in the kernel until all of these are answered."""
        if not self._full:
            self._full = True
            self.transport.pause_reading()

    def _piece(self) -> bool:
        """Answer one complete request; tells whether there may be more to do at once."""
        self._more = False
        if self.task is not None or self._closing or self.is_unread:
            return False
        try:
            body = self._next_body()
        except HttpFault as fault:
            log.debug("Malformed HTTP from %s", self.peer)
            self._end(error_page(fault.head, fault.status))
            return False
        if body is None:
            self._more = self.reader.has_more_body
            return self._more
        head, self._head = cast(Head, self._head), None
        self._answer(head, body)
        self._more = self.reader.in_request and self.task is None and not self._closing and not self.is_unread
        return self._more

    def _end_turn(self) -> None:
        """What follows when requests were answered, for now."""
        self._count()
        self.turn.held = self.reader.buffered
        if self._more or self.task is not None or self.is_unread:
            return
        if self._eof:
            self._close()
        elif self._full and not self.transport.is_closing():
            self._full = False
            self.transport.resume_reading()

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
                self.host.bursts.flush()
                self.transport.write(CONTINUE)
        return self.reader.read_body()

    def _check(self, head: Head) -> Plan:
        """What the head alone tells about the answer."""
        if self.host.stopping:
            return Plan(page=UNAVAILABLE)
        if head.method not in SERVED:
            return Plan(page=NOT_IMPLEMENTED)
        if head.method == b"DELETE":
            return Plan(refusal=Reply(METHOD_NOT_ALLOWED, b"", b""))
        if log.isEnabledFor(logging.DEBUG):
            path = head.target.partition(b"?")[0]
            told = path if b"/dashboard" in path else head.target  # its password may have been put there
            shown = "".join(char for char in told.decode("latin-1") if char in _URI_CHARS)[:100]
            log.debug("Received a %s request for %s from %s", head.method.decode(), shown, self.peer)
        return self.host.check(self, head)

    # ---- answers

    def _answer(self, head: Head, body: bytes) -> None:
        """Answer a complete request, or begin to."""
        plan = self._plan
        if plan.page:
            self._end(error_page(head, plan.page))
        elif plan.delay:
            self._delay(head, plan)
        elif plan.refusal is not None:
            self._send(head, plan.refusal)
        else:
            answer = self.host.answer(plan, head, body)
            if isinstance(answer, Reply):
                self._send_logged(head, answer)
            else:
                self._carry_out(head, answer, len(body))

    def _carry_out(self, head: Head, answer: Pending, size: int) -> None:
        places = self.host.places
        if not answer.urgent:
            self.place = places.take(trusted=self.trusted, only_waits=answer.waits)
            if self.place is None:
                answer.work.close()
                self._reject(head)
                return
        ticket = Ticket(self.host.room, trusted=self.trusted, place=self.place)
        ticket.hold(size * PARSED_FACTOR)
        work = self._pending(answer, head, self.place, ticket)
        context = copy_context()
        if answer.waits or answer.in_task or (self.place is not None and not self.place.running):
            rest: Coroutine[Any, Any, None] | None = self._in_task(work)
        else:  # the first step is done here and now: many have no other, and need no task
            rest = context.run(self._begun, work)
        if rest is None:
            self.place = None
            return
        self.task = asyncio.get_running_loop().create_task(rest, context=context)
        self.task.add_done_callback(partial(_give_back, answer, self.place, ticket, work), context=context)

    def _begun(self, work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None] | None:
        """Do the first step of some work, outside a task (it may not look for one); returns the rest, None for none."""
        try:
            awaited = work.send(None)
        except StopIteration:
            return None
        except Exception as error:
            told = {"message": f"RPC work for {self.peer} failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
            return None
        return self._in_task(resumed(work, awaited))

    async def _in_task(self, work: Awaitable[None]) -> None:
        """Do work, then go on with what has come meanwhile."""
        try:
            await work
        finally:
            self._finish_task()

    def _reject(self, head: Head) -> None:
        """There are too many: a stranger is told after a while, lest the loop has to do with nothing else."""
        places = self.host.places
        if places.tells_rejection(monotonic()):
            log.warning(
                "Request rejected because http work queue depth exceeded (%d requests in work or waiting), it can"
                " be increased with the -rpcworkqueue= setting", places.limit,
            )  # fmt: skip
        refusal = overload("Work queue depth exceeded")
        if self.trusted:
            self._send(head, refusal)
        else:
            self._delay(head, Plan(refusal=refusal, delay=REJECTED_DELAY_S))

    def _delay(self, head: Head, plan: Plan) -> None:
        self.task = asyncio.get_running_loop().create_task(self._in_task(self._delayed(head, plan)))

    async def _pending(self, answer: Pending, head: Head, place: Place | None, ticket: Ticket) -> None:
        """Await the turn, await work, answer."""
        try:
            with working(ticket):
                if place is not None:
                    await place.begun()
                reply = await answer.work
                if (behind := self.host.log_behind()) is not None:
                    await behind
                if reply.rest is not None:
                    await self._stream(head, reply, reply.rest)
            if reply.rest is None:
                self._send(head, reply)
        finally:
            _give_back(answer, place, ticket)

    def _send_logged(self, head: Head, reply: Reply) -> None:
        """Send an answer when the log has what was done: the client may look there."""
        behind = self.host.log_behind()
        if behind is None:
            self._send(head, reply)
        else:
            work = self._send_after(behind, head, reply)
            self.task = asyncio.get_running_loop().create_task(self._in_task(work))

    async def _send_after(self, behind: Awaitable[None], head: Head, reply: Reply) -> None:
        await behind
        self._send(head, reply)

    async def _delayed(self, head: Head, plan: Plan) -> None:
        await asyncio.sleep(plan.delay)
        self._send(head, cast(Reply, plan.refusal))

    def _finish_task(self) -> None:
        self.task = self.place = None
        if not self.transport.is_closing() and not self.is_unread:
            self._answer_on()

    def _send(self, head: Head, reply: Reply) -> None:
        if self.transport.is_closing():
            return
        stopping = self.host.says_goodbye()
        headers = reply.headers + CLOSE if stopping and not head.asks_close else reply.headers
        self.useful_mono = monotonic()
        self.answered = True
        if not self._write_blocked:
            self.since_mono = self.useful_mono
        size = reply.size if reply.tail else len(reply.body)
        if head.method == b"HEAD":
            self._write(response_head(head, reply.status, size, headers))
        elif size <= PIECE_BYTES:
            body = b"".join((reply.body, *reply.tail)) if reply.tail else reply.body
            self._write(response(head, reply.status, body, headers))
        else:
            self._write(response_head(head, reply.status, size, headers), reply.body, *reply.tail)
        if stopping or not head.stays_open:
            self._end(b"")

    async def _stream(self, head: Head, reply: Reply, rest: AsyncGenerator[bytes, None]) -> None:
        """Send an answer while it is made, as fast as the client reads it."""
        chunked = in_chunks(head)
        self._write(response_head(head, reply.status, None, reply.headers))
        piece: bytes | None = reply.body
        try:
            while piece is not None and not self.transport.is_closing():
                self._write(b"", chunk(piece) if chunked else piece)
                await self._taken()
                self.useful_mono = self.since_mono = monotonic()
                piece = await anext(rest, None)
        except BaseException:
            self.transport.abort()  # no answer can be told from half of one in another way
            raise
        finally:
            await rest.aclose()
        if self.transport.is_closing():
            return
        if chunked:
            self._write(chunk(b""))
        if not chunked or not head.stays_open or self.host.says_goodbye():
            self._end(b"")

    async def _taken(self) -> None:
        """Wait until the client has read what there is."""
        if self.is_unread:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
            self._drained = None

    def _write(self, start: bytes, *body: bytes) -> None:
        """Send ``start``, and ``body`` in pieces as the client takes them."""
        bursts = self.host.bursts
        if not body:
            if start:
                bursts.give(self, start)
            return
        bursts.flush()
        if start:
            self.transport.write(start)
        self._rest.extend(map(memoryview, body))
        self._pump()
        self._count_unread(len(start) + sum(map(len, body)))

    def put(self, answer: bytes) -> None:
        """Give the transport an answer, or the start of one."""
        if not self.transport.is_closing():
            self.transport.write(answer)
            self._count_unread(len(answer))

    def _count_unread(self, size: int) -> None:
        """Count an answer of so many bytes, where it waits for the client to read it."""
        if self.is_unread and not self.transport.is_closing():
            self._stop_reading()
            self._unsent_mono = self._unsent_mono or monotonic()
            self._unsent += size
            self.host.room.change(size, trusted=self.trusted, unsent=True)

    def _pump(self) -> None:
        """Give the transport pieces of the answer until it has enough, or all."""
        while self._rest and not self._write_blocked:
            part = self._rest[0]
            piece = part[:PIECE_BYTES]
            if len(part) > PIECE_BYTES:
                self._rest[0] = part[PIECE_BYTES:]
            else:
                self._rest.popleft()
            self.since_mono = monotonic()
            self.transport.write(piece)
        if not self.is_unread:
            self._on_drained()

    def _on_drained(self) -> None:
        """Nothing waits to be read any more."""
        if self._unsent:
            size, self._unsent, self._unsent_mono = self._unsent, 0, 0.0
            self.host.room.change(-size, trusted=self.trusted, unsent=True)
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._ending and not self.transport.is_closing():
            self._ending = False
            self._say_end()

    def _end(self, message: bytes) -> None:
        """Close once a last message is out; what still comes is read for a moment, lest a reset destroys the answer."""
        self._write(message)
        self._closing = True
        self._drop()
        self.since_mono = monotonic()
        if self._rest:
            self._ending = True
        else:
            self._say_end()

    def _say_end(self) -> None:
        self.host.bursts.flush()
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _close(self) -> None:
        self.host.bursts.flush()
        self.transport.close()

    def _refuse(self, reply: Reply) -> None:
        """Answer before any request, or in the middle of one, and close."""
        head = Head(b"POST", b"/", 1, 1)
        head.headers[b"connection"] = b"close"
        self._end(response(head, reply.status, reply.body, reply.headers))

    # ---- bounds

    def _count(self) -> None:
        """Count what is kept of requests; too much over all connections, or for the memory there is, ends this one."""
        buffered = self.reader.buffered
        if buffered == self._buffered:
            return
        room = self.host.room
        room.change(buffered - self._buffered, trusted=self.trusted)
        self._buffered = buffered
        at_rest = self.task is None and not self.is_unread and not self._closing
        if at_rest and buffered > PIECE_BYTES and room.refuses(buffered, trusted=self.trusted):
            self._refuse(overload("Too many large requests at once"))

    def _drop(self) -> None:
        self.reader = RequestReader()
        self._head = None
        self.host.room.change(-self._buffered, trusted=self.trusted)
        self._buffered = 0

    def trust(self) -> None:
        """The client has shown a password: what it holds is a user's."""
        if not self.trusted:
            held = self._buffered + self._unsent
            self.host.room.change(-held, trusted=False)
            self.trusted = True
            self.host.room.change(held, trusted=True)

    @property
    def standing(self) -> Standing | None:
        """Who gives way before whom where there are too many, the least first; None: who is at work stays.

        Strangers before users; who is idle, or slow in asking, before who does not read, who waits for his turn, and
        who waits for an event; then whose last answer is longest ago.
        """
        place = self.place
        if place is not None:
            if place.running and not place.only_waits:
                return None
            return (self.trusted, 4 if place.only_waits else 3, self.useful_mono)
        if self.task is not None and self.trusted:
            return None
        stage = 2 if self.is_unread else int(self.answered)
        return (self.trusted, stage, self.useful_mono)

    def leave(self) -> None:
        """End as soon as the answer is out that is being sent."""
        if not self._rest:
            self._close()
        else:
            self._closing = self._ending = True

    def give_way(self) -> None:
        """End at once: somebody else needs the place."""
        log.debug("RPC client %s gives way to another", self.peer)
        self.host.bursts.flush()
        self.transport.abort()

    def unread(self, now_mono: float) -> tuple[int, float, float]:
        """Bytes of an answer that are not read, seconds since it was ready, and since any of it was taken."""
        if not self._unsent:
            return 0, 0.0, 0.0
        return self._unsent, now_mono - self._unsent_mono, now_mono - self.since_mono

    def sweep(self, now_mono: float, limit: float) -> None:
        """End the connection when its state lasts too long."""
        age = now_mono - self.since_mono
        if self.is_unread:
            if age > limit:
                log.debug("RPC client %s does not read its answer", self.peer)
                self.transport.abort()
        elif self._closing:
            if age > SWEEP_S:
                self._close()
            if age > limit:
                self.transport.abort()
        elif self.task is None and age > limit:
            self._close()


def _is_loopback(host: str) -> bool:
    address = ip_address(host.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _give_back(
    answer: Pending,
    place: Place | None,
    ticket: Ticket,
    work: Coroutine[Any, Any, None] | None = None,
    _task: object = None,
) -> None:
    """What a request held is free, also when its task was cancelled before it had begun."""
    if work is not None:
        work.close()
    answer.work.close()
    ticket.close()
    if place is not None:
        place.leave()


def overload(text: str) -> Reply:
    """A 503 that says when to come back."""
    return Reply(UNAVAILABLE, text.encode(), RETRY_LATER)
