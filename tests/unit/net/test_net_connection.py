"""A connection's queues: one write for a turn, what overtakes what, when the send buffer counts as full."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from btcnode.net.connection import (
    LONG_RUN,
    MAX_HELD,
    READ_AHEAD,
    TXS_TOGETHER,
    WRITE_AHEAD,
    Connection,
    Door,
    Traffic,
)
from btcnode.net.large_frames import BUDGET
from btcnode.net.turns import Turns
from btcnode.primitives.hashes import sha256d
from btcnode.protocol.events import MalformedMessage, MessageReceived, TransactionsReceived, TransportReady
from btcnode.protocol.limits import LARGE_TX
from btcnode.protocol.serving.send_queue import SharedLimits
from btcnode.wire.messages import Ping
from btcnode.wire.transport import Transport, V1Transport
from btcnode.wire.v2_transport import V2Transport

MAGIC = b"\xfa\xbf\xb5\xda"
LIMIT = 1_000_000


class Wire(asyncio.Transport):
    """A socket's transport that takes nothing while ``blocked``."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Connection | None = None
        self.writes: list[bytes] = []
        self.held = 0
        self.blocked = False
        self.high = 0
        self.aborted = False
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high = high or 0

    def get_write_buffer_size(self) -> int:
        return self.held

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))
        if self.blocked:
            before, self.held = self.held, self.held + len(data)
            if before <= self.high < self.held and self.protocol is not None:
                self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def drain(self) -> None:
        assert self.protocol is not None
        self.blocked = False
        paused, self.held = self.held > self.high, 0
        if paused:
            self.protocol.resume_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None: ...

    def abort(self) -> None:
        self.aborted = True


class Owner:
    """Who opened the connection: notes what it is told."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.full: list[bool] = []
        self.events: list[Any] = []
        self.traffic = Traffic(
            self.loop,
            Turns(self.loop.call_soon),
            SharedLimits(self.loop.time()),
            wall_clock=lambda: 1.0,
            feed=self.events.append,
            opened=lambda _: None,
            lost=lambda *_: None,
            buffer_changed=lambda _, full: self.full.append(full),
            max_send_buffer=LIMIT,
            max_receive_buffer=LIMIT,
        )

    def turn(self) -> None:
        """One turn of the loop."""
        self.loop.run_until_complete(asyncio.sleep(0))


def make(wire: Transport | None = None) -> tuple[Owner, Wire, Connection]:
    owner, transport = Owner(), Wire()
    connection = Connection(owner.traffic, 1, wire or V1Transport(MAGIC))
    transport.protocol = connection
    connection.connection_made(transport)
    return owner, transport, connection


def commands(data: bytes) -> list[str]:
    decoder = V1Transport(MAGIC)
    decoder.feed(data)
    return [command for command, _ in decoder]


def test_a_turn_is_one_write_in_order() -> None:
    owner, transport, connection = make()
    for command in ("verack", "sendcmpct", "getheaders", "ping", "inv"):
        connection.send_raw(command, b"")
    assert transport.writes == []
    owner.turn()
    assert len(transport.writes) == 1
    assert commands(transport.writes[0]) == ["verack", "sendcmpct", "getheaders", "ping", "inv"]
    assert connection.bytes_sent == owner.traffic.bytes_sent == len(transport.writes[0])
    owner.loop.close()


def test_urgent_messages_overtake_what_the_socket_does_not_take() -> None:
    owner, transport, connection = make()
    transport.blocked = True
    for _ in range(4):
        connection.send_raw("block", bytes(WRITE_AHEAD))
    owner.turn()
    assert len(transport.writes) == 1  # the rest waits
    connection.send_raw("pong", bytes(8))
    connection.send_raw("ping", bytes(8))
    connection.send_raw("headers", b"\0")
    owner.turn()
    transport.drain()
    for _ in range(6):
        owner.turn()
    order = commands(b"".join(transport.writes))
    assert order == ["block", "ping", "headers", "block", "block", "block", "pong"]
    owner.loop.close()


def test_full_and_free_are_told_once_each() -> None:
    owner, transport, connection = make()
    transport.blocked = True
    for _ in range(12):
        connection.send_raw("block", bytes(100_000))
        owner.turn()
    assert owner.full == [True]
    transport.drain()
    for _ in range(6):
        owner.turn()
    assert owner.full == [True, False]
    connection.send_raw("block", bytes(1_500_000))  # taken at once: nothing stays behind
    assert owner.full == [True, False, True]
    owner.turn()
    assert owner.full == [True, False, True, False]
    owner.loop.close()


def test_full_is_taken_back_when_the_socket_takes_a_large_message_later() -> None:
    owner, transport, connection = make()
    transport.blocked = True
    connection.send_raw("block", bytes(1_500_000))
    owner.turn()
    assert owner.full == [True]
    transport.drain()
    assert owner.full == [True, False]
    owner.loop.close()


def test_a_peer_that_never_reads_is_cut_off() -> None:
    owner, transport, connection = make()
    transport.blocked = True
    for _ in range(20):
        connection.send_raw("block", bytes(1_000_000))
    assert transport.aborted
    assert "does not read" in connection.close_reason
    owner.loop.close()


def test_what_waits_is_written_before_a_close() -> None:
    owner, transport, connection = make()
    transport.blocked = True
    for _ in range(3):
        connection.send_raw("block", bytes(WRITE_AHEAD))
    owner.turn()
    connection.send_raw("notfound", b"\0")
    connection.close("enough")
    assert commands(b"".join(transport.writes)) == ["block", "block", "block", "notfound"]
    connection.send_raw("ping", bytes(8))
    owner.turn()
    assert len(commands(b"".join(transport.writes))) == 4
    owner.loop.close()


def test_bip324_messages_wait_for_the_keys_and_the_transport_is_told_first() -> None:
    draw = bytes(range(1, 33)).__mul__
    ours = V2Transport(MAGIC, initiator=True, random_bytes=lambda n: draw(200)[:n])
    theirs = V2Transport(MAGIC, initiator=False, random_bytes=lambda n: draw(200)[1 : n + 1])
    owner, transport, connection = make(ours)
    connection.send_raw("version", b"x" * 86)
    owner.turn()
    assert len(transport.writes) == 1  # key and garbage
    theirs.feed(transport.writes[0])
    connection.data_received(theirs.take_output())
    assert owner.events == []  # only put aside
    owner.turn()
    assert [type(event) for event in owner.events] == [TransportReady]
    assert owner.events[0].transport == "v2"
    assert owner.events[0].session_id == ours.session_id
    theirs.feed(b"".join(transport.writes[1:]))
    assert list(theirs) == [("version", b"x" * 86)]
    connection.data_received(theirs.encode("ping", bytes(8)))
    owner.turn()
    assert owner.events[1] == MessageReceived(1, Ping(0), 8)
    assert connection.received_by_command["ping"] == 29
    assert connection.bytes_sent == sum(map(len, transport.writes))
    owner.loop.close()


def test_bip324_transport_is_told_before_a_message_of_the_same_read() -> None:
    ours = V1Transport(MAGIC)
    owner, _, connection = make(V2Transport(MAGIC, initiator=False, random_bytes=bytes))
    connection.data_received(ours.encode("version", bytes(86)) + ours.encode("ping", bytes(8)))
    owner.turn()
    assert isinstance(owner.events[0], TransportReady)
    assert owner.events[0].transport == "v1"
    assert owner.events[0].session_id == b""
    assert isinstance(owner.events[-1], MessageReceived)
    owner.loop.close()


def test_what_is_not_handed_over_is_buffered_up_to_a_limit() -> None:
    """Two nodes that both wait for the other to take a large message: each goes on reading."""
    owner, transport, connection = make()
    frame = V1Transport(MAGIC).encode("ping", bytes(8))
    connection.set_receiving(False)
    connection.data_received(frame)
    assert owner.events == []
    assert transport.reading
    large = V1Transport(MAGIC).encode("tx", bytes(LIMIT))
    connection.data_received(large)
    assert not transport.reading
    owner.turn()
    assert owner.events == []
    connection.set_receiving(True)
    for _ in range(3):
        owner.turn()
    assert [type(event.message).__name__ for event in owner.events if isinstance(event, MessageReceived)] == [
        "Ping",
        "TxMessage",
    ]
    assert transport.reading
    owner.loop.close()


def test_transactions_beyond_the_bucket_are_sent_later() -> None:
    owner, transport, connection = make()
    owner.traffic.shared.rates.buckets[1].rate = 1.0  # the peer's own would fill up while this test runs
    for _ in range(1010):
        connection.send_raw("tx", b"")
    owner.turn()
    assert len(commands(b"".join(transport.writes))) < 1010
    connection.send_raw("ping", bytes(8))
    owner.turn()
    assert commands(b"".join(transport.writes))[-1] == "ping"  # does not wait behind them
    owner.traffic.shared.rates.buckets[1].rate = 1000.0
    while connection.queue.holds:
        owner.loop.run_until_complete(asyncio.sleep(0.01))
    owner.turn()
    assert len(commands(b"".join(transport.writes))) == 1011


def test_what_a_bucket_holds_is_sent_before_the_connection_is_closed() -> None:
    owner, transport, connection = make()
    for _ in range(1010):
        connection.send_raw("tx", b"")
    connection.close("done")
    owner.turn()
    assert len(commands(b"".join(transport.writes))) == 1010


def test_the_line_is_measured_while_it_takes_less_than_there_is() -> None:
    owner, transport, connection = make()
    transport.blocked = True
    for _ in range(8):
        connection.send_raw("block", bytes(100_000))
    owner.turn()
    assert connection.queue.bandwidth.value is None
    owner.loop.run_until_complete(asyncio.sleep(0.05))
    transport.drain()
    assert connection.queue.bandwidth.value is not None
    assert 0 < connection.queue.bandwidth.value < 100e6
    assert connection.take_voice() == (True, connection.bytes_sent)
    assert connection.take_voice() == (False, 0)


def test_what_arrives_in_a_flood_waits_in_the_kernel() -> None:
    """A connection whose turn does not come holds no more than what is read ahead, whatever is sent to it."""
    owner, transport, connection = make()
    flood = V1Transport(MAGIC).encode("ping", bytes(8)) * 10_000
    taken = 0
    while transport.reading:
        connection.data_received(flood)
        taken += len(flood)
    assert taken <= READ_AHEAD + len(flood)
    while not transport.reading:
        owner.turn()
    assert connection.held <= READ_AHEAD
    owner.loop.close()


def test_a_large_message_is_read_to_its_end() -> None:
    owner, transport, connection = make()
    frame = V1Transport(MAGIC).encode("tx", bytes(4_000_000))
    for start in range(0, len(frame), 65_536):
        assert transport.reading
        connection.data_received(frame[start : start + 65_536])
        owner.turn()
    assert [event.size for event in owner.events] == [4_000_000]
    assert connection.held == 0
    owner.loop.close()


def test_all_connections_together_hold_a_bounded_number_of_bytes() -> None:
    """Peers whose messages are not taken fill their buffers only while there is room; then it is the kernel's turn."""
    owner, first, _ = make()
    transport = Wire()
    connection = Connection(owner.traffic, 2, V1Transport(MAGIC))
    connection.connection_made(transport)
    connection.set_receiving(False)
    owner.traffic.held = MAX_HELD
    connection.data_received(bytes(100))
    assert not transport.reading
    owner.traffic.held -= 1000
    connection.hold_back()
    assert transport.reading
    connection.connection_lost(None)
    assert owner.traffic.held == MAX_HELD - 1000
    assert first.reading
    owner.loop.close()


def test_messages_that_never_end_are_held_of_a_few_who_connected() -> None:
    """110 peers announce 4 MB and send nearly all of it: what is held stays within the budget, and they give way."""
    owner = Owner()
    wires = []
    chunk = bytes(65_536)
    for number in range(110):
        wire = Wire()
        connection = Connection(owner.traffic, number, V1Transport(MAGIC), Door("127.0.0.1", 8333))
        wire.protocol = connection
        connection.connection_made(wire)
        connection.data_received(V1Transport(MAGIC).encode("block", bytes(4_000_000))[:65_536])
        wires.append((wire, connection))
    for _ in range(60):
        owner.turn()
        for wire, connection in wires:
            if wire.reading and connection.held < 3_900_000:
                connection.data_received(chunk)
    assert 0 < sum(not wire.reading for wire, _ in wires) < len(wires)
    assert owner.traffic.held <= BUDGET + len(wires) * 2 * len(chunk)
    outbound = Connection(owner.traffic, 200, V1Transport(MAGIC))
    wire = Wire()
    outbound.connection_made(wire)
    outbound.data_received(V1Transport(MAGIC).encode("block", bytes(4_000_000))[:65_536])
    owner.turn()
    assert wire.reading  # whom we have chosen brings what we asked for
    for _, connection in wires:
        connection.connection_lost(None)
    owner.loop.close()


def test_frames_that_are_dropped_are_work_like_any_other() -> None:
    """A read full of bad checksums is worked off in slices: the time of each frame is looked at."""
    owner, _, connection = make()
    good = V1Transport(MAGIC).encode("ping", b"")
    connection.data_received((good[:20] + b"\0\0\0\0") * 1000)
    pieces = 0
    while connection.turn.work():
        pieces += 1
        assert len(owner.events) == pieces
    assert pieces == 1000
    owner.loop.close()


def pair() -> tuple[V2Transport, V2Transport]:
    """Both ends of version 2, through with the handshake."""
    draw = bytes(range(1, 33)).__mul__
    ours = V2Transport(MAGIC, initiator=False, random_bytes=lambda n: draw(200)[:n])
    theirs = V2Transport(MAGIC, initiator=True, random_bytes=lambda n: draw(200)[1 : n + 1])
    for _ in range(3):
        ours.feed(theirs.take_output())
        theirs.feed(ours.take_output())
        assert not list(ours) and not list(theirs)
    return ours, theirs


@pytest.mark.parametrize("v2", [False, True])
def test_transactions_that_come_in_a_row_are_handed_over_together(v2: bool) -> None:
    """At most so many, with so many bytes; each piece of work is one run, and nothing changes its order."""
    ours, sender = pair() if v2 else (V1Transport(MAGIC), V1Transport(MAGIC))
    owner, _, connection = make(ours)
    small = [bytes([n]) * 100 for n in range(TXS_TOGETHER + 3)]
    middle, large = b"m" * (LARGE_TX // 2), b"l" * LARGE_TX
    sent = [
        *(("tx", raw) for raw in small),
        ("ping", bytes(8)),
        *[("tx", middle)] * 3,
        ("tx", large),
        ("tx", b"s" * 60),
    ]
    connection.data_received(b"".join(sender.encode(*message) for message in sent))
    pieces = 0
    while connection.turn.work():
        pieces += 1
        assert len(owner.events) == pieces
    sizes = [len(event.txs) if isinstance(event, TransactionsReceived) else 0 for event in owner.events]
    assert sizes == [TXS_TOGETHER, 3, 0, 1, 1, 1, 0, 1]
    together = [event for event in owner.events if isinstance(event, TransactionsReceived)]
    came = [payload for event in together for payload, _ in event.txs]
    assert came == [*small, middle, middle, middle, b"s" * 60]
    for payload, digest in (pair for event in together for pair in event.txs):
        assert digest == (b"" if v2 else sha256d(payload))
    assert owner.traffic.messages_received == {"tx": len(sent) - 1, "ping": 1}
    plain = sum(len(payload) for command, payload in sent if command == "tx")
    assert connection.received_by_command["tx"] == plain + (len(sent) - 1) * (21 if v2 else 24)
    assert connection.held == 0
    owner.loop.close()


def test_runs_of_dear_transactions_are_short() -> None:
    owner, _, connection = make()
    traffic, now = owner.traffic, 0.0
    cost = [LONG_RUN / 4]  # of each

    def feed(event: Any) -> None:
        nonlocal now
        now += cost[0] * len(event.txs)
        owner.events.append(event)

    traffic.feed, traffic.cpu = feed, lambda: now

    def runs(count: int) -> list[int]:
        owner.events.clear()
        connection.data_received(V1Transport(MAGIC).encode("tx", b"t" * 100) * count)
        while connection.turn.work():
            pass
        return [len(event.txs) for event in owner.events if isinstance(event, TransactionsReceived)]

    assert runs(48) == [16, 8, *[4] * 6]  # as long as is allowed, from then on
    cost[0] = LONG_RUN * 3
    assert runs(8) == [4, 2, 1, 1]
    cost[0] = LONG_RUN / 100
    assert runs(47) == [1, 2, 4, 8, 16, 16]
    owner.loop.close()


def test_what_ends_a_run_of_transactions_waits_its_turn() -> None:
    """A message taken with them counts as held, bad frames are told behind them, and the stream's end last."""
    owner, _, connection = make()
    encode = V1Transport(MAGIC).encode
    tx = encode("tx", b"t" * 100)
    connection.data_received(tx * 2 + encode("block", b"b" * 500) + tx + tx[:20] + b"\0" * 104 + tx + b"\1" * 24)
    assert connection.turn.work()
    assert [type(event) for event in owner.events] == [TransactionsReceived]
    connection.set_receiving(False)
    assert not connection.turn.work() and connection.held >= 500
    connection.set_receiving(True)
    while connection.turn.work():
        pass
    kinds = [TransactionsReceived, MessageReceived, TransactionsReceived, MalformedMessage, TransactionsReceived]
    assert [type(event) for event in owner.events] == [*kinds, MalformedMessage]
    owner.loop.close()


class SlowWire(Wire):
    """A line that takes ``rate`` bytes a second; ``taken`` is what has arrived at the other end."""

    rate = 1_000_000.0

    def __init__(self) -> None:
        super().__init__()
        self.blocked = True
        self.taken = 0

    def pass_time(self, seconds: float) -> None:
        assert self.protocol is not None
        size = min(self.held, int(self.rate * seconds))
        low, before = self.high // 4, self.held
        self.held -= size
        self.taken += size
        if self.held <= low < before:
            self.protocol.resume_writing()


def test_a_slow_reader_gets_the_classes_in_their_shares() -> None:
    """1 MB/s, and always more to be sent of all classes: 75 : 50 : 15 messages a second beside whole blocks."""
    owner, line = Owner(), SlowWire()
    clock = [0.0]
    owner.loop.time = lambda: clock[0]  # type: ignore[method-assign]
    owner.traffic.shared = SharedLimits(0.0)
    connection = Connection(owner.traffic, 1, V1Transport(MAGIC))
    line.protocol = connection
    connection.connection_made(line)
    counts: list[Counter[str]] = []
    for second in range(61):
        for _ in range(50):
            clock[0] += 0.02
            line.pass_time(0.02)
            while connection.queue.size < 200_000:
                connection.send_raw("block", bytes(20_000))
            for command, kind in (("inv", 0), ("tx", 1), ("addr", 2)):
                for _ in range(20 - len(connection.queue._held[kind])):
                    connection.send_raw(command, bytes(30))
            owner.turn()
        if second in (20, 60):
            counts.append(Counter(commands(b"".join(line.writes)[: line.taken])))
    sent = counts[1] - counts[0]
    assert abs(sent["inv"] - 75 * 40) < 150
    assert abs(sent["tx"] - 50 * 40) < 100
    assert abs(sent["addr"] - 15 * 40) < 30
    assert sent["block"] > 1800  # nearly the whole line
