"""Answers that go out together: to whom at once, to whom at the end of a turn of the loop, and in which order."""

from __future__ import annotations

import asyncio
import gc
import re
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from btcnode.net.turns import Turns
from btcnode.rpc.bursts import LONG_S, MOST_BYTES, MOST_S, PAUSE_S, Bursts
from btcnode.rpc.connection import PIECE_BYTES, Connection, Plan
from btcnode.rpc.http1 import OK, Head
from btcnode.rpc.places import Places
from btcnode.rpc.reply import Pending, Reply
from btcnode.rpc.room import Room


class Clients:
    """What each client has been sent, in the order of all."""

    def __init__(self) -> None:
        self.due: deque[Callable[[], None]] = deque()
        self.now = 0.0
        self.bursts = Bursts(self.due.append, lambda: self.now)
        self.sent: list[tuple[str, bytes]] = []

    def client(self, name: str) -> Any:
        sent = self.sent

        class Client:
            def put(self, answer: bytes) -> None:
                sent.append((name, answer))

        return Client()

    def end_turn(self) -> None:
        for _ in range(len(self.due)):
            self.due.popleft()()


def test_who_asks_alone_is_answered_at_once() -> None:
    clients = Clients()
    one = clients.client("one")
    clients.bursts.give(one, b"1")
    clients.end_turn()
    for answer in (b"2", b"3"):
        clients.bursts.give(one, answer)
        assert clients.sent[-1] == ("one", answer) and not clients.due


def test_several_are_answered_at_the_end_of_the_turn_in_their_order() -> None:
    clients = Clients()
    three = [clients.client(name) for name in "abc"]
    for turn in range(3):
        for client in three:
            clients.bursts.give(client, b"%d" % turn)
        assert len(clients.sent) == 3 * turn and len(clients.due) == 1
        clients.end_turn()
        assert clients.sent[3 * turn :] == [(name, b"%d" % turn) for name in "abc"]


def test_what_is_large_takes_with_it_what_was_kept() -> None:
    clients = Clients()
    one, other = clients.client("one"), clients.client("other")
    clients.bursts.give(one, b"1")
    clients.bursts.give(other, bytes(MOST_BYTES + 1))
    assert [name for name, _ in clients.sent] == ["one", "other"]
    clients.bursts.give(other, bytes(MOST_BYTES))
    assert [name for name, _ in clients.sent] == ["one", "other", "other"]  # who had the last one, too
    clients.bursts.give(one, b"3")
    clients.bursts.give(one, b"4")  # before the end of the turn
    assert [answer for name, answer in clients.sent if name == "one"] == [b"1", b"3", b"4"]


def test_a_client_has_its_answers_in_their_order() -> None:
    """Also when others were answered between."""
    clients = Clients()
    one, other = clients.client("one"), clients.client("other")
    for number in range(3):
        clients.bursts.give(one, b"%d" % number)
        clients.bursts.give(other, b"%d" % number)
    clients.end_turn()
    for name in ("one", "other"):
        assert [answer for who, answer in clients.sent if who == name] == [b"0", b"1", b"2"]


def test_nobody_is_kept_waiting_for_the_answers_of_others() -> None:
    clients = Clients()
    clients.bursts.give(clients.client("a"), b"1")
    clients.now += 0.9 * MOST_S
    clients.bursts.give(clients.client("b"), b"1")
    assert not clients.sent
    clients.now += 0.2 * MOST_S
    clients.bursts.give(clients.client("c"), b"1")
    assert [name for name, _ in clients.sent] == ["a", "b", "c"]
    clients.bursts.give(clients.client("d"), b"1")
    clients.now += 0.9 * MOST_S  # of a new burst
    clients.bursts.give(clients.client("e"), b"1")
    assert len(clients.sent) == 3
    clients.end_turn()
    assert len(clients.sent) == 5


@pytest.mark.parametrize("by", ["an answer", "something else"])
def test_after_a_long_turn_none_is_kept_for_a_while(by: str) -> None:
    """The loop may be busy with other things for longer than it takes to wake everybody."""
    clients = Clients()
    clients.bursts.give(clients.client("a"), b"1")
    clients.now += 1.1 * LONG_S
    if by == "an answer":
        clients.bursts.give(clients.client("b"), b"1")
    else:
        clients.end_turn()
    count = len(clients.sent)
    assert count
    for _ in range(3):
        clients.now += 0.3 * PAUSE_S
        for name in "cd":
            count += 1
            clients.bursts.give(clients.client(name), b"2")
            assert len(clients.sent) == count
    clients.end_turn()
    clients.now += 0.2 * PAUSE_S
    for name in "ef":
        clients.bursts.give(clients.client(name), b"3")
    clients.now += 0.9 * LONG_S
    assert len(clients.sent) == count
    clients.end_turn()
    assert len(clients.sent) == count + 2
    clients.bursts.give(clients.client("g"), b"4")
    assert len(clients.sent) == count + 2  # it has not been long


def test_who_has_gone_is_sent_nothing() -> None:
    clients = Clients()
    one, other = clients.client("one"), clients.client("other")
    clients.bursts.give(one, b"1")
    clients.bursts.give(other, b"1")
    clients.bursts.forget(one)
    clients.bursts.forget(other)
    clients.end_turn()
    assert not clients.sent
    clients.bursts.give(other, b"2")
    assert not clients.sent  # it is another client that may have come in its place


# -- with connections --------------------------------------------------------------------------------------------------


class Wire:
    """A transport; nothing may be written once it was closed, and what is written is there in its order."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False
        self.reads = True
        self.on_full: Callable[[], None] | None = None  # called when something was written

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closing = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written += data
        if self.on_full is not None:
            self.on_full()


class NumberedHost:
    """Answers with the number that was asked for, and as many bytes as were asked for."""

    stopping = False

    def __init__(self) -> None:
        self.room = Room()
        self.places = Places(4, 64)
        self.due: deque[Callable[[], None]] = deque()
        self.now = 0.0
        self.turns = Turns(self.due.append, charges=False)
        self.bursts = Bursts(self.due.append, lambda: self.now)

    def admit(self, connection: Connection, host: str) -> Reply | None:
        return None

    def forget(self, connection: Connection) -> None:
        pass

    def check(self, connection: Connection, head: Head) -> Plan:
        return Plan()

    def answer(self, plan: Plan, head: Head, body: bytes) -> Reply | Pending:
        _, number, size, way = head.target.split(b"/")
        text = b"<%s>" % number + b" " * int(size)
        if way == b"later":
            return Pending(asyncio.sleep(0, Reply(OK, text)))
        if way == b"streamed":
            return Pending(asyncio.sleep(0, Reply(OK, text, rest=self.rest())))
        return Reply(OK, text)

    async def rest(self) -> Any:
        for _ in range(2):
            yield b"-" * 10

    def says_goodbye(self) -> bool:
        return False

    def log_behind(self) -> None:
        pass


EXPECT = b"Expect: 100-continue\r\nContent-Length: 1\r\n"
CLOSE = b"Connection: close\r\n"
SMALL = (0, 1, b"now", b"")
REQUESTS = st.tuples(
    st.integers(0, 2),
    st.sampled_from([1, 1, 1, MOST_BYTES + 1, PIECE_BYTES + 1]),
    st.sampled_from([b"now", b"now", b"later", b"streamed"]),
    st.sampled_from([b"", b"", EXPECT, CLOSE]),
)
STEPS = st.lists(
    st.one_of(
        REQUESTS,
        st.sampled_from(["turn", "step", "time"]),
        st.tuples(st.integers(0, 2), st.sampled_from(["pause", "resume", "eof", "leave", "sweep", "give way"])),
    ),
    max_size=20,
)


@settings(max_examples=300)
@given(STEPS)
@example([SMALL, (0, "eof")])
@example([SMALL, (0, "leave")])
@example([SMALL, (0, "give way")])
@example([SMALL, (0, "sweep")])
@example([SMALL, (0, 1, b"now", EXPECT)])
@example([SMALL, (0, PIECE_BYTES + 1, b"now", b"")])
@example([SMALL, (1, 1, b"now", b""), "turn", SMALL, (1, 1, b"streamed", b""), SMALL, (0, 1, b"streamed", CLOSE)])
def test_answers_of_any_kind_keep_their_order_and_none_is_lost(steps: list[Any]) -> None:
    """Whatever closes a connection in the same turn of the loop; a client that is closed has all that was ready."""

    async def work() -> None:
        host = NumberedHost()
        wires = [Wire() for _ in range(3)]
        connections = []
        for wire in wires:
            connections.append(Connection(cast(Any, host)))
            connections[-1].connection_made(cast(Any, wire))
        asked: list[list[int]] = [[], [], []]
        expects: dict[int, bool] = {}
        ready: list[set[int]] = [set(), set(), set()]  # what was answered before the connection was told to end
        ended = [False] * 3

        async def end_turn() -> None:
            for _ in range(40):
                while host.due:
                    host.due.popleft()()
                await asyncio.sleep(0)

        for number, step in enumerate(steps):
            if step == "turn":
                await end_turn()
            elif step == "step":
                await asyncio.sleep(0)
            elif step == "time":
                host.now += 0.7 * PAUSE_S
            elif len(step) == 4:
                who, size, way, header = step
                if ended[who] or wires[who].closing:
                    continue
                asked[who].append(number)
                expects[number] = header == EXPECT
                head = b"POST /%d/%d/%s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (number, size, way, header)
                alone = connections[who].task is None and not connections[who].is_unread and not host.turns.is_busy
                connections[who].data_received(head)
                if header == EXPECT:
                    connections[who].data_received(b"x")
                if alone and way == b"now" and size == 1 and not connections[who].is_unread:
                    ready[who].add(number)
                ended[who] = header == CLOSE
            else:
                who, act = step
                connection = connections[who]
                if wires[who].closing:
                    continue
                if act == "pause":
                    wires[who].on_full = connection.pause_writing
                elif act == "resume":
                    wires[who].on_full = None
                    connection.resume_writing()
                elif act == "eof":
                    ended[who] = True
                    if not connection.eof_received():
                        wires[who].close()
                elif act == "sweep":
                    connection.sweep(connection.since_mono + 1e6, 30.0)
                else:
                    ended[who] = True
                    connection.leave() if act == "leave" else connection.give_way()
        for connection, wire in zip(connections, wires, strict=True):
            wire.on_full = None
            if not wire.closing:
                connection.resume_writing()
        await end_turn()
        for who, wire in enumerate(wires):
            found = [int(text) for text in re.findall(rb"<(\d+)>", wire.written)]
            assert all(expects[int(text)] for text in re.findall(rb" 100 Continue[^<]*<(\d+)>", wire.written))
            assert found == asked[who][: len(found)]
            assert ready[who] <= set(found)
            if not wire.closing:
                assert found == asked[who]
        for connection in connections:
            connection.connection_lost(None)
        await end_turn()
        assert host.room.used == 0

    asyncio.run(work())


def test_an_answer_that_was_kept_is_counted_when_it_is_not_read() -> None:
    """As one that was sent at once is: nothing more is read of its client, and its bytes are of the room's."""
    host, wire = NumberedHost(), Wire()
    connection = Connection(cast(Any, host))
    connection.connection_made(cast(Any, wire))
    wire.on_full = connection.pause_writing
    connection.data_received(b"GET /1/1000/now HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not wire.written and host.room.used == 0
    host.due.popleft()()
    assert host.room.used == len(wire.written) > 1000
    assert connection.unread(connection.since_mono)[0] == len(wire.written)
    assert not wire.reads
    connection.resume_writing()
    assert host.room.used == 0 and wire.reads


def test_a_client_that_has_gone_leaves_nothing() -> None:
    host, wire = NumberedHost(), Wire()
    connection = Connection(cast(Any, host))
    connection.connection_made(cast(Any, wire))
    connection.data_received(b"GET /1/1000/now HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.connection_lost(None)
    host.due.popleft()()
    assert not wire.written
    gone = weakref.ref(connection)
    del connection
    wire.on_full = None
    gc.collect()
    assert gone() is None
