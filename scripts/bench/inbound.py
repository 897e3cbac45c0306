"""Two hundred inbound connections, twenty of them hostile: is the loop in time, are the honest served, the others gone?

    python scripts/bench/inbound.py [--minutes 10] [--peers 200] [--hostile 20] [--plot inbound.png]

One process opens all connections to a node process. Honest peers greet, ping each second and ask for a block, for
headers or for addresses now and then; every answer is awaited, for at most ``PATIENCE`` seconds. Hostile ones are, in
equal parts:

    slow-loris   the version message, one byte in two seconds
    garbage      random bytes, as fast as they are taken
    invs         inv messages with 50,000 random transactions each
    pings        pings without end, their answers read
    oversized    frames that claim more than any message may have, after a good handshake

Who is thrown out comes back with a new connection after ``RETURN`` seconds, and is counted as gone. The loop's lag is
the node's own histogram (``/metrics``); memory is that of the node's process. The plot needs matplotlib (extra
"bench").
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import re
import struct
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from btcnode.sync.process_memory import resident_of
from btcnode.wire.constants import MSG_BLOCK, MSG_TX, MSG_WITNESS_FLAG
from btcnode.wire.framing import FRAME_HEADER_SIZE, encode_frame
from btcnode.wire.messages import GetAddr, GetData, GetHeaders, Inv, InvItem, Ping, Pong, Verack, Version
from btcnode.wire.registry import encode_message
from tests.lib.plots import NO_PLOT, quiet_pyplot
from tests.lib.process import NodeProcess, free_port

PARAMS = params_for("regtest")
BLOCKS = 50
PATIENCE = 10.0  # seconds for an answer
RETURN = 15.0
KINDS = ("slow-loris", "garbage", "invs", "pings", "oversized")
LAG_LIMIT = 0.1


@dataclass
class Tally:
    """What came of all connections."""

    answered: int = 0
    late: int = 0
    lost: int = 0  # honest connections that the node closed
    delays: list[float] = field(default_factory=list)
    begun: Counter[str] = field(default_factory=Counter)  # hostile connections by kind
    gone: Counter[str] = field(default_factory=Counter)  # those that the node closed
    lived: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: list[tuple[float, int]] = field(default_factory=list)


class Line:
    """One connection over version 1 of the transport."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Line:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, message: object) -> None:
        self.writer.write(encode_message(PARAMS.magic, message))  # type: ignore[arg-type]

    async def read(self) -> tuple[str, bytes]:
        """The next frame; raises IncompleteReadError when the node has closed the connection."""
        header = await self.reader.readexactly(FRAME_HEADER_SIZE)
        command = header[4:16].rstrip(b"\0").decode()
        return command, await self.reader.readexactly(struct.unpack_from("<I", header, 16)[0])

    async def greet(self, rng: Random) -> None:
        self.send(Version(services=9, time=int(time.time()), nonce=rng.getrandbits(64), user_agent=b"/bench/"))
        while (await self.read())[0] != "verack":
            pass
        self.send(Verack())

    def close(self) -> None:
        self.writer.close()


async def honest(number: int, port: int, tally: Tally, hashes: list[bytes], stop: asyncio.Event) -> None:
    rng = Random(number)
    line = await Line.open(port)
    await line.greet(rng)
    waiting: dict[str, asyncio.Future[bytes]] = {}

    async def listen() -> None:
        while True:
            command, payload = await line.read()
            if command == "ping":
                line.send(Pong(int.from_bytes(payload, "little")))
            future = waiting.get(command)
            if future is not None and not future.done():
                future.set_result(payload)

    async def ask(message: object, answer: str) -> None:
        waiting[answer] = future = asyncio.get_running_loop().create_future()
        begun = time.monotonic()
        line.send(message)
        try:
            await asyncio.wait_for(future, PATIENCE)
        except TimeoutError:
            tally.late += 1
        else:
            tally.answered += 1
            tally.delays.append(time.monotonic() - begun)

    listener = asyncio.create_task(listen())
    try:
        await asyncio.sleep(rng.random())
        while not stop.is_set() and not listener.done():
            await ask(Ping(rng.getrandbits(64)), "pong")
            what = rng.random()
            if what < 0.1:
                await ask(GetData((InvItem(MSG_BLOCK | MSG_WITNESS_FLAG, rng.choice(hashes)),)), "block")
            elif what < 0.2:
                await ask(GetHeaders((PARAMS.genesis_hash,), bytes(32)), "headers")
            elif what < 0.22:
                line.send(GetAddr())
            await asyncio.sleep(1.0)
        if listener.done() and not stop.is_set():
            tally.lost += 1
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
        line.close()


async def slow_loris(line: Line, rng: Random) -> None:
    message = encode_message(PARAMS.magic, Version(services=9, time=0, nonce=rng.getrandbits(64)))
    for byte in message * 1000:
        line.writer.write(bytes([byte]))
        await line.writer.drain()
        await asyncio.sleep(2.0)


async def garbage(line: Line, rng: Random) -> None:
    while True:
        line.writer.write(rng.randbytes(10_000))
        await line.writer.drain()
        await asyncio.sleep(0.01)


async def invs(line: Line, rng: Random) -> None:
    await line.greet(rng)
    drain = asyncio.create_task(line.reader.read())
    try:
        while not drain.done():
            items = (InvItem(MSG_TX, rng.randbytes(32)) for _ in range(1000))
            line.send(Inv(tuple(items) * 50))
            await line.writer.drain()
            await asyncio.sleep(0.2)
    finally:
        drain.cancel()


async def pings(line: Line, rng: Random) -> None:
    await line.greet(rng)
    batch = encode_message(PARAMS.magic, Ping(1)) * 500

    async def read_away() -> None:
        while await line.reader.read(65536):
            pass

    drain = asyncio.create_task(read_away())
    try:
        while not drain.done():
            line.writer.write(batch)
            await line.writer.drain()
            await asyncio.sleep(0.1)
    finally:
        drain.cancel()


async def oversized(line: Line, rng: Random) -> None:
    await line.greet(rng)
    frame = encode_frame(PARAMS.magic, "block", b"")
    line.writer.write(frame[:16] + struct.pack("<I", 2**31 - 1) + frame[20:])
    while True:
        line.writer.write(bytes(100_000))
        await line.writer.drain()
        await asyncio.sleep(0.05)


ATTACKS = {"slow-loris": slow_loris, "garbage": garbage, "invs": invs, "pings": pings, "oversized": oversized}


async def hostile(number: int, port: int, tally: Tally, stop: asyncio.Event) -> None:
    """Attack, come back when thrown out."""
    kind, rng = KINDS[number % len(KINDS)], Random(-number - 1)
    while not stop.is_set():
        tally.begun[kind] += 1
        begun = time.monotonic()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            line = await Line.open(port)
            attack = asyncio.create_task(ATTACKS[kind](line, rng))
            stopped = asyncio.create_task(stop.wait())
            closed = asyncio.create_task(_closed(line, kind))
            await asyncio.wait({attack, stopped, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                tally.gone[kind] += 1
                tally.lived[kind].append(time.monotonic() - begun)
            for task in (attack, stopped, closed):
                task.cancel()
            await asyncio.gather(attack, stopped, closed, return_exceptions=True)
            line.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RETURN)


async def _closed(line: Line, kind: str) -> None:
    """Until the node has closed the connection; the others read themselves."""
    if kind in ("slow-loris", "garbage"):
        while await line.reader.read(65536):
            pass
    else:
        await asyncio.Event().wait()


def lag_p99(metrics: str) -> tuple[float, int]:
    """The upper bound of the bucket that the 99th of a hundred ticks is in, and the number of ticks."""
    buckets = re.findall(r'loop_lag_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)', metrics)
    counts = [(float(bound), float(count)) for bound, count in buckets]
    total = counts[-1][1]
    return next(bound for bound, count in counts if count >= 0.99 * total), int(total)


async def measure(node: NodeProcess, metrics_port: int, args: argparse.Namespace) -> tuple[Tally, str]:
    tally, stop = Tally(), asyncio.Event()
    hashes = [bytes.fromhex(node.rpc("getblockhash", height))[::-1] for height in range(1, BLOCKS + 1)]
    tasks = [asyncio.create_task(honest(n, node.port, tally, hashes, stop)) for n in range(args.peers - args.hostile)]
    tasks += [asyncio.create_task(hostile(n, node.port, tally, stop)) for n in range(args.hostile)]
    begun = time.monotonic()
    assert node.process is not None
    while (elapsed := time.monotonic() - begun) < args.minutes * 60:
        tally.memory.append((elapsed, resident_of([node.process.pid]).total))
        await asyncio.sleep(min(5.0, args.minutes * 6))
    text = await asyncio.to_thread(
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics").read().decode()
    )
    stop.set()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, BaseException):
            tally.lost += 1
            print(f"a peer failed: {result!r}")
    return tally, text


def plot(memory: list[tuple[float, int]], path: Path) -> str:
    """Draw memory over time; returns a line about it."""
    pyplot = quiet_pyplot()
    if pyplot is None:
        return NO_PLOT
    figure, axes = pyplot.subplots(figsize=(9, 4))
    axes.plot([seconds / 60 for seconds, _ in memory], [size / 2**20 for _, size in memory])
    axes.set(xlabel="minutes", ylabel="resident MiB", title="A node with 200 inbound connections, 20 of them hostile")
    axes.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path)
    return f"plot: {path}"


def report(tally: Tally, metrics: str, args: argparse.Namespace) -> bool:
    lag, ticks = lag_p99(metrics)
    delays = sorted(tally.delays) or [math.nan]
    print(f"loop lag p99: at most {lag * 1000:.0f} ms ({ticks:,} ticks; asked: below {LAG_LIMIT * 1000:.0f} ms)")
    print(
        f"honest peers: {tally.answered:,} answers, {tally.late} not within {PATIENCE:.0f} s, {tally.lost} lost;"
        f" median {delays[len(delays) // 2] * 1000:.0f} ms, p99 {delays[len(delays) * 99 // 100] * 1000:.0f} ms"
    )
    for kind in KINDS:
        lived = sorted(tally.lived[kind])
        longest = f", the longest after {lived[-1]:.0f} s" if lived else ""
        print(f"{kind}: {tally.begun[kind]} connections, {tally.gone[kind]} thrown out{longest}")
    third = max(1, len(tally.memory) // 3)
    early, late = (max(size for _, size in part) / 2**20 for part in (tally.memory[: 2 * third], tally.memory[-third:]))
    print(f"memory: at most {early:.0f} MiB in the first two thirds, {late:.0f} MiB in the last")
    print(plot(tally.memory, args.plot))
    dealt_with = all(tally.gone[kind] for kind in KINDS)
    return lag <= LAG_LIMIT and not tally.late and not tally.lost and dealt_with and late <= 1.1 * early


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--hostile", type=int, default=20)
    parser.add_argument("--plot", type=Path, default=Path("inbound.png"))
    args = parser.parse_args()
    metrics_port = free_port()
    options = (
        "--metrics-port", str(metrics_port), "--maxconnections", str(args.peers + 60), "--connect", "0",
        "--no-v2transport", "--whitelist", "relay@127.0.0.2",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as directory, NodeProcess(Path(directory), "regtest", *options).start() as node:
        node.rpc("generatetodescriptor", BLOCKS, "raw(51)")
        tally, metrics = asyncio.run(measure(node, metrics_port, args))
    fine = report(tally, metrics, args)
    print("as asked" if fine else "NOT as asked")
    return 0 if fine else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
