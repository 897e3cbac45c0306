#!/usr/bin/env python3
"""Throughput and latency of the encrypted transport (version 2) against the plain one (version 1).

    python scripts/bench/transport.py [--megabytes 200] [--repeat 3]

First without sockets, by processor time: messages of several sizes encoded by one side and decoded by the other, in
MB/s of payload and microseconds each, with the ratio of the two versions. Then over loopback TCP between two event
loops' worth of connections in one process: bulk throughput, small messages with and without batching, and how long a
ping takes while blocks are being sent to a reader that cannot keep up.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import uvloop

from btcnode.net.connection import Connection, Traffic
from btcnode.net.turns import Turns
from btcnode.protocol.events import TransactionsReceived, TransportReady
from btcnode.protocol.serving.send_queue import SharedLimits
from btcnode.wire.messages import Ping
from btcnode.wire.registry import PAYLOAD_LIMITS
from btcnode.wire.transport import Transport, V1Transport
from btcnode.wire.v2_transport import V2Transport

MAGIC = b"\xfa\xbf\xb5\xda"
SIZES = ((8, "ping"), (250, "tx"), (10_000, "inv"), (1_000_000, "block"), (3_900_000, "block"))
READ = 256 * 1024  # bytes of a read, as uvloop does


def make(version: int, *, initiator: bool) -> Transport:
    if version == 1:
        return V1Transport(MAGIC, PAYLOAD_LIMITS)
    return V2Transport(MAGIC, initiator=initiator, random_bytes=os.urandom, limits=PAYLOAD_LIMITS)


def joined(version: int) -> tuple[Transport, Transport]:
    """Two ends with the handshake behind them."""
    a, b = make(version, initiator=True), make(version, initiator=False)
    for one, other in ((a, b), (b, a), (a, b)):
        other.feed(one.take_output())
        list(other)
    return a, b


def codec(version: int, command: str, size: int, total: int) -> tuple[float, float]:
    """Processor seconds to encode and to decode ``total`` bytes of messages."""
    a, b = joined(version)
    payload = os.urandom(size)
    encoding = decoding = 0.0
    batch = max(1, min(2000, 8_000_000 // size))
    left = max(batch, min(total // size, 200_000))
    while left > 0:
        began = time.process_time()
        stream = b"".join([a.encode(command, payload) for _ in range(batch)])
        middle = time.process_time()
        got = 0
        for pos in range(0, len(stream), READ):
            b.feed(stream[pos : pos + READ])
            for _ in b:
                got += 1
        decoding += time.process_time() - middle
        encoding += middle - began
        assert got == batch
        left -= batch
    return encoding, decoding


def bench_codec(total: int, repeat: int) -> None:
    print(f"{'size':>9} {'':8} {'v1 MB/s':>9} {'v2 MB/s':>9} {'v1 us':>8} {'v2 us':>8} {'v2/v1 speed':>12}")
    for size, command in SIZES:
        batch = max(1, min(2000, 8_000_000 // size))
        count = -(-max(batch, min(total // size, 200_000)) // batch) * batch
        results = {v: [codec(v, command, size, total) for _ in range(repeat)] for v in (1, 2)}
        for which, name in enumerate(("encode", "decode")):
            best = {v: min(r[which] for r in results[v]) / count for v in (1, 2)}
            print(
                f"{size:>9} {name:8} {size / best[1] / 1e6:>9.0f} {size / best[2] / 1e6:>9.0f}"
                f" {best[1] * 1e6:>8.1f} {best[2] * 1e6:>8.1f} {best[1] / best[2]:>12.2f}"
            )


# -- over sockets ----------------------------------------------------------------------------------------------------


class Side:
    """As much of a reactor as a connection needs; counts what arrives."""

    magic = MAGIC

    def __init__(self, on_message: Callable[[Any], None]) -> None:
        loop = asyncio.get_running_loop()
        self.traffic = Traffic(
            loop,
            Turns(loop.call_soon),
            SharedLimits(loop.time()),
            time.time,
            self.feed,
            self._opened,
            lambda *_: self.drained.set(),
            self._buffer_changed,
            max_send_buffer=1_000_000,
            max_receive_buffer=5_000_000,
        )
        self.opened = asyncio.Event()
        self.full = False
        self.drained = asyncio.Event()
        self.drained.set()
        self._on_message = on_message

    def _opened(self, connection: Connection) -> None:
        connection.opened = True
        connection.queue.limited = False
        self.opened.set()

    def _buffer_changed(self, _: Connection, full: bool) -> None:
        self.full = full
        if full:
            self.drained.clear()
        else:
            self.drained.set()

    def feed(self, event: Any) -> None:
        if isinstance(event, TransactionsReceived):
            for _ in event.txs:
                self._on_message(None)
        elif not isinstance(event, TransportReady):  # random payloads are malformed messages, which count as well
            self._on_message(getattr(event, "message", None))


async def connect(version: int, on_message: Callable[[Any], None]) -> tuple[Side, Connection, Connection, Any]:
    """Sender's side and connection, the receiver's connection, and the server."""
    loop = asyncio.get_running_loop()
    sender, receiver = Side(lambda _: None), Side(on_message)
    ends: list[Connection] = []

    def accept() -> Connection:
        ends.append(Connection(receiver.traffic, 1, make(version, initiator=False)))
        return ends[0]

    server = await loop.create_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, out = await loop.create_connection(
        lambda: Connection(sender.traffic, 1, make(version, initiator=True)),
        "127.0.0.1",
        port,
    )
    await receiver.opened.wait()
    return sender, out, ends[0], server


async def bulk(version: int, command: str, size: int, total: int) -> tuple[float, float]:
    """Seconds, and processor seconds of both ends, for each of ``total`` bytes of messages over loopback."""
    done = asyncio.Event()
    count = max(1, min(total // size, 200_000))
    got = 0

    def on_message(_: Any) -> None:
        nonlocal got
        got += 1
        if got == count:
            done.set()

    sender, out, end, server = await connect(version, on_message)
    payload = os.urandom(size)
    began, spent = time.perf_counter(), time.process_time()
    for i in range(count):
        out.send_raw(command, payload)
        if sender.full:
            await sender.drained.wait()
        elif i % 64 == 63:
            await asyncio.sleep(0)
    await done.wait()
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    for connection in (out, end):
        connection.close("done", grace=0.0)
    server.close()
    return seconds / count, spent / count


async def pings_under_load(version: int, seconds: float) -> list[float]:
    """Seconds from sending a ping to its arrival, while 1 MB messages wait; the reader takes 20 MB/s."""
    sent: dict[int, float] = {}
    delays: list[float] = []

    def on_message(message: Any) -> None:
        if isinstance(message, Ping):
            delays.append(time.perf_counter() - sent.pop(message.nonce))

    sender, out, end, server = await connect(version, on_message)
    payload = os.urandom(1_000_000)
    ends_at = time.perf_counter() + seconds
    nonce = 0

    async def slow_reader() -> None:
        while time.perf_counter() < ends_at:
            end.set_receiving(False)
            await asyncio.sleep(0.02)
            end.set_receiving(True)
            await asyncio.sleep(0.002)

    reader = asyncio.create_task(slow_reader())
    while time.perf_counter() < ends_at:
        while not sender.full:
            out.send_raw("tx", payload[:400_000])
        nonce += 1
        sent[nonce] = time.perf_counter()
        out.send(Ping(nonce))
        await asyncio.sleep(0.05)
    await reader
    end.set_receiving(True)
    await asyncio.sleep(1)
    for connection in (out, end):
        connection.close("done", grace=0.0)
    server.close()
    return delays


async def bench_sockets(total: int, repeat: int) -> None:
    print("\nover loopback, one process for both ends; the last two: microseconds of processor for each message")
    for size, command in SIZES:
        runs = {v: [await bulk(v, command, size, total) for _ in range(repeat)] for v in (1, 2)}
        best = {v: min(seconds for seconds, _ in runs[v]) for v in (1, 2)}
        spent = {v: 1e6 * min(processor for _, processor in runs[v]) for v in (1, 2)}
        print(
            f"{size:>9} {'':8} {size / best[1] / 1e6:>9.1f} {size / best[2] / 1e6:>9.1f}"
            f" {best[1] * 1e6:>8.1f} {best[2] * 1e6:>8.1f} {best[1] / best[2]:>12.2f}"
            f" {spent[1]:>9.1f} {spent[2]:>9.1f}"
        )
    for version in (1, 2):
        delays = sorted(await pings_under_load(version, 4.0)) or [math.nan]
        print(
            f"v{version}: {len(delays)} pings while bulk waits: median {statistics.median(delays) * 1e3:.1f} ms,"
            f" worst {delays[-1] * 1e3:.1f} ms"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    bench_codec(options.megabytes * 1_000_000, options.repeat)
    uvloop.run(bench_sockets(options.megabytes * 1_000_000, options.repeat))


if __name__ == "__main__":
    main()
