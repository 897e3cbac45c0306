"""One HTTP client, without a network: what is read of it while its requests are answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, cast

import pytest

from btcnode.net.turns import Turns
from btcnode.rpc.bursts import Bursts
from btcnode.rpc.connection import Connection, Plan
from btcnode.rpc.http1 import OK, Head
from btcnode.rpc.places import Places
from btcnode.rpc.reply import Pending, Reply
from btcnode.rpc.room import Room

REQUEST = b"GET /rest/chaininfo.json HTTP/1.1\r\nHost: x\r\n\r\n"
COUNT = 5000
PIECE = 1 << 16  # bytes that the kernel hands over at a time


class Wire:
    """A transport whose client takes every answer."""

    def __init__(self) -> None:
        self.reads = True
        self.written = b""

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def write(self, data: bytes) -> None:
        self.written += data


class Host:
    """A server that answers some requests at once, every tenth later."""

    stopping = False

    def __init__(self) -> None:
        self.room = Room()
        self.places = Places(4, 16)
        self.due: deque[Callable[[], None]] = deque()
        self.turns = Turns(self.due.append, charges=False)
        self.bursts = Bursts(self.due.append, lambda: 0.0)
        self.asked = 0

    def end_turn(self) -> None:
        while self.due:
            self.due.popleft()()

    def admit(self, connection: Connection, host: str) -> Reply | None:
        return None

    def forget(self, connection: Connection) -> None:
        raise NotImplementedError

    def check(self, connection: Connection, head: Head) -> Plan:
        return Plan()

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        self.asked += 1
        reply = Reply(OK, b"1")
        return reply if self.asked % 10 else Pending(asyncio.sleep(0, reply))

    def says_goodbye(self) -> bool:
        return False

    def log_behind(self) -> None:
        pass


def test_what_follows_waits_in_the_kernel() -> None:
    """A client that sends faster than it is answered makes the node hold one piece, not all that it has sent."""

    async def work() -> None:
        host, wire = Host(), Wire()
        connection = Connection(cast(Any, host))
        connection.connection_made(cast(Any, wire))
        stream, most, at = REQUEST * COUNT, 0, 0
        while host.asked < COUNT:
            if wire.reads and at < len(stream):
                connection.data_received(stream[at : at + PIECE])
                at += PIECE
            most = max(most, connection.reader.buffered)
            if host.due:
                host.due.popleft()()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.written.count(b"HTTP/1.1 200 OK") == COUNT
        assert most < 2 * PIECE
        assert wire.reads
        assert not list(host.turns.take_charges())  # which nobody takes: they would be kept for ever

    asyncio.run(work())


class OneHost(Host):
    """A server that answers with given work."""

    def __init__(self, *works: Coroutine[Any, Any, Reply]) -> None:
        super().__init__()
        self.works = deque(works)

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        return Pending(self.works.popleft())


def connected(host: Host) -> tuple[Connection, Wire]:
    wire = Wire()
    connection = Connection(cast(Any, host))
    connection.connection_made(cast(Any, wire))
    return connection, wire


async def reply(text: bytes) -> Reply:
    return Reply(OK, text)


def test_what_waits_for_nothing_is_answered_without_a_task() -> None:
    async def work() -> None:
        host = OneHost(reply(b"one"), reply(b"two"))
        connection, wire = connected(host)
        connection.data_received(REQUEST * 2)
        host.end_turn()
        assert connection.task is None and connection.place is None
        assert wire.written.index(b"one") < wire.written.index(b"two")
        assert host.room.used == 0 and len(asyncio.all_tasks()) == 1

    asyncio.run(work())


@pytest.mark.parametrize("at_once", [True, False])
def test_answers_go_out_when_the_log_has_what_was_done(at_once: bool) -> None:
    """A client may look into the log as soon as it has its answer; nobody else waits for the log meanwhile."""

    async def work() -> None:
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        host = Host() if at_once else OneHost(reply(b"1"))
        host.log_behind = lambda: written  # type: ignore[method-assign, assignment]
        connection, wire = connected(host)
        connection.data_received(REQUEST)
        for _ in range(3):
            await asyncio.sleep(0)
        assert connection.task is not None and not wire.written
        written.set_result(None)
        await connection.task
        host.end_turn()
        assert b"200 OK" in wire.written

    asyncio.run(work())


def test_work_that_waits_goes_on_where_it_stopped() -> None:
    """Values and errors that it waits for reach it, its context is its own, and others are answered in order."""
    marks: ContextVar[str] = ContextVar("marks", default="outside")

    async def work() -> None:
        value: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        wrong: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def first() -> Reply:
            token = marks.set("inside")
            text = await value
            assert marks.get() == "inside"
            try:
                await wrong
            except KeyError as error:
                text += str(error).encode()
            await asyncio.sleep(0)
            marks.reset(token)
            return Reply(OK, text)

        host = OneHost(first(), reply(b"second"))
        connection, wire = connected(host)
        connection.data_received(REQUEST * 2)
        assert marks.get() == "outside" and connection.task is not None
        value.set_result(b"first ")
        await asyncio.sleep(0)
        wrong.set_exception(KeyError("error"))
        await connection.task
        host.end_turn()
        assert wire.written.index(b"first 'error'") < wire.written.index(b"second")
        assert host.room.used == 0 and connection.task is None and host.places.take(trusted=True, only_waits=False)

    asyncio.run(work())


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_work_that_is_given_up_is_closed(steps: int) -> None:
    """Also when its task never came to its first step."""
    closed: list[bool] = []

    async def work() -> None:
        async def waits() -> Reply:
            try:
                for _ in range(100):
                    await asyncio.sleep(0)
                return Reply(OK, b"")
            finally:
                closed.append(True)

        host = OneHost(waits())
        connection, _ = connected(host)
        connection.data_received(REQUEST)
        task = connection.task
        assert task is not None
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)
        assert closed == [True] and host.room.used == 0

    asyncio.run(work())


def test_a_defect_of_what_is_answered_at_once_is_told() -> None:
    told: list[Any] = []

    async def fails() -> Reply:
        raise ZeroDivisionError

    async def work() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        host = OneHost(fails(), reply(b"next"))
        connection, wire = connected(host)
        connection.data_received(REQUEST)
        connection.data_received(REQUEST)
        host.end_turn()
        assert b"next" in wire.written and host.room.used == 0

    asyncio.run(work())
    assert [type(error) for error in told] == [ZeroDivisionError]
