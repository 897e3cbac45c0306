"""One HTTP client, without a network: what is read of it while its requests are answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from btcnode.net.turns import Turns
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
        self.asked = 0

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
