#!/usr/bin/env python3
"""A network under load: three node processes and a miner, transactions through RPC and P2P while blocks are mined.

    python scripts/bench/stress.py [--rate 1000] [--seconds 180] [--shape hold] [--out build/stress]
    python scripts/bench/stress.py --out build/now --before build/stress/stress.json     # and a table of both

``--shape``: ``hold`` sends at the rate all the time; ``ramp`` begins with nothing and ends with twice the rate;
``burst`` sends what is due in 10 seconds in the first two of them. The number of transactions is the same.

Half of the transactions go to the nodes by sendrawtransaction, half as tx messages of a peer; a tenth spend outputs of
earlier ones. When each of them reaches each node's pool, and a block there, is heard over ZMQ (rawtx, rawblock); pool
sizes come from getmempoolinfo. At the end every transaction has to be in the pool or in a block of every node, else the
exit status is 1. ``stress.json``, ``stress.prom`` (for a Prometheus text file collector) and, with matplotlib,
``stress.png`` are written to ``--out``.

The nodes trust each other (noban), so that they relay at once. To strangers a node announces about 35 transactions per
second, as Core does; ``--trickle`` shows what that means.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

import zmq
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.tx import Tx
from btcnode.rpc.client import RpcClient
from btcnode.rpc.errors import RpcError
from btcnode.sync.process_memory import resident_of
from btcnode.testing.blocks import BlockTemplate
from btcnode.wire.messages import Ping, Pong
from tests.lib.chain_generator import ChainGenerator
from tests.lib.node_loads import processor_seconds
from tests.lib.peer import ScriptedPeer
from tests.lib.plots import NO_PLOT, quiet_pyplot
from tests.lib.process import NodeProcess, free_port, wait_until
from tests.lib.tx_stream import KINDS, tx_lanes

PARAMS = params_for("regtest")
NODES = 3
QUANTILES = (0.5, 0.95, 0.99)
SHORTEST = 1e-6  # seconds that figures are divided by at least
UNKNOWN = math.nan
PROGRESS_EVERY = 15  # samples, one a second
DRAIN_INTERVAL = 1.0  # seconds between blocks when all is sent
BURST_PERIOD, BURST_SECONDS = 10.0, 2.0
SHAPES = ("hold", "ramp", "burst")


def share_due(shape: str, passed: float, seconds: float) -> float:
    """How much of the load, from 0 to 1, is due so long after the beginning."""
    if passed >= seconds:
        return 1.0
    if shape == "ramp":
        return (passed / seconds) ** 2
    if shape == "burst":
        begun = passed // BURST_PERIOD * BURST_PERIOD
        length = min(BURST_PERIOD, seconds - begun)
        return (begun + min(1.0, (passed - begun) / min(BURST_SECONDS, length)) * length) / seconds
    return passed / seconds


def has_connections(node: NodeProcess, count: int) -> bool:
    return bool(node.rpc("getconnectioncount") >= count)


def client_of(node: NodeProcess) -> RpcClient:
    user, _, password = (node.net_dir / ".cookie").read_text().partition(":")
    return RpcClient("127.0.0.1", node.rpc_port, user, password)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else UNKNOWN


def processes(root: int) -> list[int]:
    """A process and its descendants."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:  # grows
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(pids: list[int]) -> float:
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            seconds += processor_seconds(pid)
    return seconds


@dataclass
class Sample:
    """What a node was like at a time."""

    time: float
    pool: int
    cpu: float
    memory: int


@dataclass
class Record:
    """Everything that is measured; times are monotonic, by number of the transaction."""

    txs: list[Tx]
    lanes: list[int]
    sent: list[float] = field(default_factory=list)
    pooled: list[list[float]] = field(default_factory=list)
    mined: list[list[float]] = field(default_factory=list)
    samples: list[list[Sample]] = field(default_factory=lambda: [[] for _ in range(NODES)])
    refused: Counter[str] = field(default_factory=Counter)
    missed_messages: int = 0
    blocks: list[tuple[float, int]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.txs)
        self.sent = [UNKNOWN] * count
        self.pooled = [[UNKNOWN] * count for _ in range(NODES)]
        self.mined = [[UNKNOWN] * count for _ in range(NODES)]

    def delays(self, times: list[float]) -> list[float]:
        return [then - sent for sent, then in zip(self.sent, times, strict=True) if not math.isnan(then - sent)]


class Network:
    """The nodes, each with its ZMQ address; all are connected to each other."""

    def __init__(
        self, stack: contextlib.ExitStack, directory: Path, chain: list[bytes], options: argparse.Namespace
    ) -> None:
        archive = directory / "chain.dat"
        archive.write_bytes(b"".join(PARAMS.magic + len(raw).to_bytes(4, "little") + raw for raw in chain))
        self.zmq = [f"tcp://127.0.0.1:{free_port()}" for _ in range(NODES)]
        self.nodes = []
        for n, address in enumerate(self.zmq):
            home = directory / f"node{n}"
            home.mkdir()
            more = [
                "--par", str(options.par), "--maxtipage", str(10**9), "--loadblock", str(archive),
                "--zmqpubrawtx", address, "--zmqpubrawblock", address,
                "--zmqpubrawtxhwm", "0", "--zmqpubrawblockhwm", "0",
            ]  # fmt: skip
            if not options.trickle:
                more += ["--whitelist", "in,out,noban@127.0.0.1"]
            self.nodes.append(NodeProcess(home, "regtest", *more))
        for node in self.nodes:
            stack.enter_context(node).start("--connect", "0")
        for node in self.nodes:
            node.wait_height(len(chain), 600)
            for other in self.nodes:
                if other is not node:
                    node.rpc("addnode", other.address, "onetry")
        for node in self.nodes:
            wait_until(partial(has_connections, node, 2 * (NODES - 1)), 60, "the connections")


class Load:
    """The threads that send, mine, listen and measure."""

    def __init__(self, network: Network, record: Record, options: argparse.Namespace) -> None:
        self.network = network
        self.record = record
        self.options = options
        self.sending_over = threading.Event()
        self.over = threading.Event()
        self.begun = 0.0
        self.numbers = {tx.raw: n for n, tx in enumerate(record.txs)}
        self.threads: list[threading.Thread] = []

    def start(self, work: object, *args: object) -> threading.Thread:
        def run() -> None:
            try:
                work(*args)  # type: ignore[operator]
            except BaseException as error:
                self.record.failures.append(error)
                self.over.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def due(self, lane: int) -> Iterator[list[int]]:
        """Numbers of the lane's transactions, as their times come."""
        mine = [n for n, its in enumerate(self.record.lanes) if its == lane]
        at = 0
        while at < len(mine) and not self.over.is_set():
            options = self.options
            share = share_due(options.shape, time.monotonic() - self.begun, options.seconds)
            due, end = share * len(self.record.txs), at
            while end < len(mine) and mine[end] <= due:
                end += 1
            if end > at:
                yield mine[at:end]
                at = end
            else:
                time.sleep(0.005)

    def send_rpc(self, lane: int) -> None:
        client, record = client_of(self.network.nodes[lane % NODES]), self.record
        for numbers in self.due(lane):
            for n in numbers:
                record.sent[n] = time.monotonic()
                try:
                    client.call("sendrawtransaction", record.txs[n].raw.hex())
                except RpcError as error:
                    record.refused[error.message] += 1

    def send_p2p(self, lane: int) -> None:
        record = self.record
        peer = ScriptedPeer.connect("127.0.0.1", self.network.nodes[lane % NODES].port, PARAMS, timeout=600)
        peer.handshake()
        lock = threading.Lock()

        def drain() -> None:
            while not self.over.is_set():
                message = peer.receive()
                if isinstance(message, Ping):
                    with lock:
                        peer.send(Pong(message.nonce))

        self.start(drain)
        for numbers in self.due(lane):
            frames = b"".join(peer.wire.encode("tx", record.txs[n].raw) for n in numbers)
            now = time.monotonic()
            for n in numbers:
                record.sent[n] = now
            with lock:
                peer.sock.sendall(frames)

    def mine_one(self, client: RpcClient) -> int:
        """Make a block of the first node's template; returns its number of transactions."""
        template = client.call("getblocktemplate", {"rules": ["segwit"]})
        block = BlockTemplate(
            PARAMS, bytes.fromhex(template["previousblockhash"])[::-1], template["height"], template["curtime"],
            int(template["bits"], 16), [Tx.parse(bytes.fromhex(tx["data"])) for tx in template["transactions"]],
            coinbase_value=template["coinbasevalue"], commit=True, version=template["version"],
        )  # fmt: skip
        answer = client.call("submitblock", block.build().hex())
        if answer not in (None, "inconclusive"):
            raise RuntimeError(f"the miner's block was refused: {answer}")
        self.record.blocks.append((time.monotonic(), len(block.txs)))
        return len(block.txs)

    def mine(self) -> None:
        client = client_of(self.network.nodes[0])
        last = time.monotonic()
        while not self.over.wait(0.1):
            # when all is sent only the backlog is left: block after block
            interval = DRAIN_INTERVAL if self.sending_over.is_set() else self.options.block_interval
            if time.monotonic() - last >= interval:
                last = time.monotonic()
                self.mine_one(client)

    def listen(self) -> None:
        record, numbers = self.record, self.numbers
        poller = zmq.Poller()
        context = zmq.Context()
        place: dict[zmq.Socket[bytes], int] = {}
        for n, address in enumerate(self.network.zmq):
            socket = context.socket(zmq.SUB)
            socket.setsockopt(zmq.RCVHWM, 0)
            socket.setsockopt(zmq.LINGER, 0)
            socket.setsockopt(zmq.SUBSCRIBE, b"raw")
            socket.connect(address)
            poller.register(socket, zmq.POLLIN)
            place[socket] = n
        expected: dict[tuple[int, bytes], int] = {}
        while not self.over.is_set():
            for socket, _ in poller.poll(100):
                node = place[socket]
                with contextlib.suppress(zmq.Again):  # all is read
                    while True:
                        topic, body, raw_number = socket.recv_multipart(zmq.NOBLOCK)
                        now = time.monotonic()
                        number = int.from_bytes(raw_number, "little")
                        record.missed_messages += number - expected.get((node, topic), number)
                        expected[node, topic] = number + 1
                        if topic == b"rawblock":
                            block = parse_block(body)
                            for i in range(1, block.n_tx):
                                if (mined := numbers.get(block.tx_raw(i))) is not None:
                                    record.mined[node][mined] = now
                        elif (pooled := numbers.get(body)) is not None and math.isnan(record.pooled[node][pooled]):
                            record.pooled[node][pooled] = now
        context.destroy(0)

    def measure(self) -> None:
        clients = [client_of(node) for node in self.network.nodes]
        while not self.over.wait(1.0):
            if len(self.record.samples[0]) % PROGRESS_EVERY == PROGRESS_EVERY - 1:
                pools = ", ".join(f"{samples[-1].pool:,}" for samples in self.record.samples)
                print(
                    f"{time.monotonic() - self.begun:.0f} s: pools {pools}; {len(self.record.blocks)} blocks",
                    flush=True,
                )
            for n, (node, client) in enumerate(zip(self.network.nodes, clients, strict=True)):
                assert node.process is not None
                info = client.call("getmempoolinfo")
                pids = processes(node.process.pid)
                self.record.samples[n].append(
                    Sample(time.monotonic(), info["size"], cpu_seconds(pids), resident_of(pids).total)
                )

    def run(self) -> None:
        """Everything, until all is sent and known everywhere; then the rest is mined."""
        self.start(self.listen)
        time.sleep(1)  # the subscriptions reach the nodes
        self.start(self.measure)
        self.begun = time.monotonic()
        senders = [self.start(self.send_rpc, lane) for lane in range(NODES)]
        senders += [self.start(self.send_p2p, lane) for lane in range(NODES, 2 * NODES)]
        self.start(self.mine)
        for thread in senders:
            thread.join()
        self.sending_over.set()
        print(f"all sent after {time.monotonic() - self.begun:.1f} s; mining what is left", flush=True)
        deadline = time.monotonic() + self.options.patience
        while time.monotonic() < deadline and not self.over.is_set():
            if not any(math.isnan(then) for times in self.record.mined for then in times):
                break
            time.sleep(0.2)
        self.over.set()
        for thread in self.threads:
            thread.join(10)


def missing(network: Network, record: Record, height: int) -> list[int]:
    """Per node, how many transactions are neither in its pool nor in its chain."""
    wanted = {tx.txid[::-1].hex() for tx in record.txs}
    counts = []
    for node in network.nodes:
        client = client_of(node)
        have = set(client.call("getrawmempool"))
        for at in range(height + 1, client.call("getblockcount") + 1):
            have.update(client.call("getblock", client.call("getblockhash", at))["tx"])
        counts.append(len(wanted - have))
    return counts


def per_second(times: list[float], begun: float) -> Counter[int]:
    return Counter(int(then - begun) for then in times if not math.isnan(then))


def cores_between(earlier: Sample, later: Sample) -> float:
    return (later.cpu - earlier.cpu) / max(SHORTEST, later.time - earlier.time)


def report(record: Record, begun: float, lost: list[int], path: Path) -> dict[str, float]:
    """Print the figures, and write them for Prometheus; returns them by name."""
    registry = CollectorRegistry()
    figures: dict[str, float] = {}

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"btcnode_stress_{name}", text, labels, registry=registry)

    peak = gauge("peak_tx_per_second", "Most transactions into a pool in one second", "node")
    sustained = gauge("sustained_tx_per_second", "Transactions into a pool over the whole run", "node")
    delay = gauge("delay_seconds", "From broadcast to a node's pool or block", "node", "to", "quantile")
    backlog = gauge("backlog_max", "Most transactions in a pool", "node")
    cpu = gauge("cpu_cores", "Processors that a node and its workers used", "node")
    memory = gauge("memory_max_bytes", "Most memory of a node and its workers", "node")
    lost_of = gauge("lost", "Transactions that are in no pool and no block", "node")
    sent = [then for then in record.sent if not math.isnan(then)]
    if not sent:
        print("0 transactions were sent")
        return figures
    span = max(SHORTEST, max(sent) - begun)
    gauge("sent", "Transactions sent").set(len(sent))
    gauge("sent_per_second", "Transactions sent").set(len(sent) / span)
    gauge("blocks", "Blocks mined").set(len(record.blocks))
    gauge("missed_messages", "ZMQ messages that did not arrive").set(record.missed_messages)
    print(f"sent {len(sent):,} transactions, {len(sent) / span:,.0f}/s; {len(record.blocks)} blocks mined")
    errors = record.refused.total() + max(lost)
    gauge("error_ratio", "Transactions refused or lost, of those sent").set(ratio := errors / len(sent))
    print(f"errors: {errors} of {len(sent):,} transactions ({ratio:.2%}) were refused or lost")
    figures |= {"tx/s sent": len(sent) / span, "errors": ratio}
    for n in range(NODES):
        name, samples = f"node{n}", record.samples[n]
        known = [then for then in record.pooled[n] if not math.isnan(then)]
        peak.labels(name).set(best := max(per_second(known, begun).values(), default=0))
        sustained.labels(name).set(mean := len(known) / max(SHORTEST, max(known, default=begun) - begun))
        lines = []
        for to, times in (("pool", record.pooled[n]), ("block", record.mined[n])):
            values = [quantile(record.delays(times), share) for share in QUANTILES]
            for share, value in zip(QUANTILES, values, strict=True):
                delay.labels(name, to, str(share)).set(value)
            lines.append(f"to {to} " + " ".join(f"{value:.2f}" for value in values))
            figures |= {f"{name}: s to {to}, p{share * 100:.0f}": v for share, v in zip(QUANTILES, values, strict=True)}
        backlog.labels(name).set(most := max((s.pool for s in samples), default=0))
        if len(samples) > 1:
            cores = cores_between(samples[0], samples[-1])
            cpu.labels(name).set(cores)
            memory.labels(name).set(highest := max(s.memory for s in samples))
            lines.append(f"CPU {cores:.2f}, {highest / 1e6:,.0f} MB")
            figures |= {f"{name}: cores": cores, f"{name}: MB": highest / 1e6}
        figures |= {f"{name}: tx/s sustained": mean, f"{name}: tx/s at most": best, f"{name}: backlog": most}
        lost_of.labels(name).set(lost[n])
        print(
            f"{name}: peak {best:,} tx/s, sustained {mean:,.0f}; seconds (p50 p95 p99) {'; '.join(lines)};"
            f" backlog at most {most:,}; lost {lost[n]}"
        )
    if record.missed_messages:
        print(f"{record.missed_messages} ZMQ messages did not arrive")
    for text, count in record.refused.most_common(5):
        print(f"refused {count} times: {text}")
    write_to_textfile(str(path), registry)
    return figures


def compare(before: dict[str, float], now: dict[str, float]) -> Iterator[str]:
    """A table of two runs, line by line; a figure that one of them lacks is left out."""
    yield "| figure | before | now | now / before |"
    yield "|---|---|---|---|"
    for name, value in now.items():
        if name in before and not math.isnan(value):
            old = before[name]
            yield f"| {name} | {old:,.2f} | {value:,.2f} | {f'{value / old:.2f}' if old else '-'} |"


def earlier(path: Path) -> dict[str, float]:
    """The figures of an earlier run; raises ValueError with a line for the user."""
    try:
        found = json.loads(path.read_text())
        return {str(name): float(value) for name, value in found.items()}
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"{path} is no stress.json of an earlier run") from None


def draw(record: Record, begun: float, path: Path) -> str:
    """Draw rates, pools, delays and load over time; returns a line about it."""
    pyplot = quiet_pyplot()
    if pyplot is None:
        return NO_PLOT
    figure, axes = pyplot.subplots(2, 2, figsize=(14, 9), constrained_layout=True)
    rates, pools, delays, load = axes.flat
    counts = per_second(record.sent, begun)
    rates.plot(sorted(counts), [counts[s] for s in sorted(counts)], "k--", label="sent")
    for n in range(NODES):
        counts = per_second(record.pooled[n], begun)
        rates.plot(sorted(counts), [counts[s] for s in sorted(counts)], label=f"into the pool of node {n}")
        samples = record.samples[n]
        pools.plot([s.time - begun for s in samples], [s.pool for s in samples], label=f"node {n}")
        cores = [(b.time - begun, cores_between(a, b)) for a, b in pairwise(samples)]
        load.plot([at for at, _ in cores], [value for _, value in cores], label=f"CPU of node {n}")
    memory = load.twinx()
    for n in range(NODES):
        samples = record.samples[n]
        memory.plot(
            [s.time - begun for s in samples], [s.memory / 1e6 for s in samples], ":", label=f"memory of node {n}"
        )
    for to, tables, style in (("pool", record.pooled, "-"), ("block", record.mined, "--")):
        for share in QUANTILES:
            rows: dict[int, list[float]] = {}
            for times in tables:
                for sent, then in zip(record.sent, times, strict=True):
                    if not math.isnan(then - sent):
                        rows.setdefault(int(sent - begun), []).append(then - sent)
            line = [quantile(rows[s], share) for s in sorted(rows)]
            delays.plot(sorted(rows), line, style, label=f"to {to}, p{share * 100:.0f}")
    for axis, title, unit in (
        (rates, "Transactions per second", "tx/s"), (pools, "In the pool", "transactions"),
        (delays, "From broadcast to pool and block, all nodes, by time of broadcast", "s"), (load, "Load", "cores"),
    ):  # fmt: skip
        axis.set(title=title, ylabel=unit, xlabel="s", ylim=(0, None))
        axis.legend(fontsize="small")
        for at, _ in record.blocks:
            axis.axvline(at - begun, color="0.9", zorder=0)
    memory.set(ylabel="MB", ylim=(0, None))
    figure.savefig(path, dpi=110)
    return f"plot: {path}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000, help="transactions per second")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument(
        "--block-interval", type=float, default=5, help="seconds between blocks; a block holds about 6,000"
    )
    parser.add_argument("--patience", type=float, default=300, help="seconds to wait at the end for what is under way")
    parser.add_argument("--children", type=float, default=0.1, help="share that spends unconfirmed outputs")
    parser.add_argument("--trickle", action="store_true", help="nodes relay as to strangers, not as to each other")
    parser.add_argument("--par", type=int, default=0, help="processes of each node")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", choices=SHAPES, default="hold", help="how the rate changes")
    parser.add_argument("--out", type=Path, default=Path("build/stress"))
    parser.add_argument("--before", type=Path, help="stress.json of an earlier run, to be compared with")
    options = parser.parse_args()
    try:
        before = None if options.before is None else earlier(options.before)
    except ValueError as problem:
        parser.error(str(problem))
    count = int(options.rate * options.seconds)
    print(f"building a chain and {count:,} transactions ...", flush=True)
    generator = ChainGenerator(PARAMS, options.seed, dict.fromkeys(KINDS, 1))
    chain = list(generator.spread(count))
    stream = list(tx_lanes(generator, count, 2 * NODES, options.children, random.Random(options.seed)))
    record = Record([tx for _, tx in stream], [lane for lane, _ in stream])
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        network = Network(stack, Path(directory), chain, options)
        load = Load(network, record, options)
        load.run()
        for error in record.failures:
            print(f"failed: {error!r}", file=sys.stderr)
        lost = missing(network, record, len(chain))
    options.out.mkdir(parents=True, exist_ok=True)
    figures = report(record, load.begun, lost, options.out / "stress.prom")
    kept = {name: value for name, value in figures.items() if not math.isnan(value)}
    (options.out / "stress.json").write_text(json.dumps(kept, indent=1) + "\n")
    if before is not None:
        print("\n".join(compare(before, figures)))
    print(f"figures: {options.out / 'stress.prom'}")
    print(draw(record, load.begun, options.out / "stress.png"))
    return int(any(lost) or bool(record.failures))


if __name__ == "__main__":
    sys.exit(main())
