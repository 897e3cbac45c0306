"""Two loads for a node process, and what they cost it: a sync from a peer, and a flood of transactions."""

from __future__ import annotations

import random
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator, benchmark_chain
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess, free_port, wait_until
from tests.lib.tx_stream import KINDS, loose_tx

PARAMS = params_for("regtest")
OLD_TIP = ("--maxtipage", str(10**9), "--assumevalid", "0")
TIMEOUT = 300.0  # seconds
PROCESS_CLOCK = 2  # CPUCLOCK_SCHED of Linux: what clock_getcpuclockid(3) makes of a process
Beside = Callable[[NodeProcess], AbstractContextManager[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: seconds on the clock, processor seconds of the node's own process, p99 of its loop's lag in seconds,
    and how often its processes were put aside for others."""

    seconds: float
    own: float
    lag: float
    switches: int


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far, to the nanosecond: ticks of /proc/PID/stat are 10 ms, and a short run
    may have none."""
    return time.clock_gettime(~pid << 3 | PROCESS_CLOCK)


def put_aside(pid: int) -> int:
    """How often the threads of a process had to give way so far."""
    lines = []
    for path in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):  # the thread has ended meanwhile
            lines.append(path.read_text())
    return sum(int(text.rpartition("nonvoluntary_ctxt_switches:")[2]) for text in lines)


def lags(port: int) -> dict[float, int]:
    """Ticks of the loop that were at most so late, in seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT) as reply:
        lines = reply.read().decode().splitlines()
    found = [line for line in lines if line.startswith("loop_lag_seconds_bucket")]
    return {float(line.split('"')[1]): int(line.rpartition(" ")[2]) for line in found}


def p99(before: Mapping[float, int], after: Mapping[float, int]) -> float:
    """The bound below which 99 of 100 ticks between two looks were."""
    counts = {bound: after[bound] - before[bound] for bound in after}
    return min((bound for bound, count in counts.items() if count >= 0.99 * counts[float("inf")]), default=float("inf"))


def cost_of(node: NodeProcess, metrics: int, work: Callable[[], None]) -> Cost:
    """Do ``work`` and see what it costs a running node."""
    assert node.process is not None
    pid = node.process.pid
    before, own, aside, begun = lags(metrics), processor_seconds(pid), put_aside(pid), time.monotonic()
    work()
    seconds = time.monotonic() - begun
    spent = processor_seconds(pid) - own
    return Cost(seconds, spent, p99(before, lags(metrics)), put_aside(pid) - aside)


@contextmanager
def new_node(blocks: Sequence[bytes], options: Iterable[str]) -> Iterator[tuple[ChainServer, NodeProcess, int]]:
    """A server of the blocks, a node that is about to start and to connect to it, and the port of its metrics."""
    metrics = free_port()
    with ChainServer.of_blocks(PARAMS, blocks) as server, tempfile.TemporaryDirectory() as directory:
        own = ("--connect", server.address, f"-metrics-port={metrics}", *OLD_TIP)
        with NodeProcess(Path(directory), "regtest", *own, *options) as node:
            yield server, node, metrics


class Sync:
    """A chain whose blocks come when they are let go."""

    def __init__(self, blocks: int, txs: int, small: int) -> None:
        self.blocks = list(benchmark_chain(PARAMS, big_blocks=blocks, big_txs=txs, small_blocks=small))

    def run(self, *options: str, beside: Beside = nullcontext) -> Cost:
        """One sync by a new node; ``beside`` is entered with the node before it begins."""
        go = threading.Event()

        def gate(_: bytes, raw: bytes) -> bytes:
            go.wait()
            return raw

        with new_node(self.blocks, options) as (server, node, metrics):
            server.on_block = gate
            node.start()
            headers = len(self.blocks)
            wait_until(lambda: node.rpc("getblockchaininfo")["headers"] == headers, TIMEOUT, "the headers")

            def work() -> None:
                go.set()
                wait_until(lambda: node.height() == headers, TIMEOUT, "the blocks")

            with beside(node):
                return cost_of(node, metrics, work)


class Flood:
    """Loose transactions of one peer."""

    def __init__(self, txs: int) -> None:
        rng = random.Random(1)
        generator = ChainGenerator(PARAMS, 1, dict.fromkeys(KINDS, 1))
        self.blocks = list(generator.spread(int(txs * 2.1) + 2000))
        self.raws = [
            loose_tx([generator.take() for _ in range(rng.choices((1, 2, 3, 4), (46, 30, 14, 10))[0])])[0].raw
            for _ in range(txs)
        ]

    def run(self, *options: str, beside: Beside = nullcontext) -> Cost:
        """All of them to a new node that has the chain; ``beside`` is entered with the node before they come."""
        with new_node(self.blocks, options) as (_, node, metrics):
            node.start()
            node.wait_height(len(self.blocks), TIMEOUT)
            peer = ScriptedPeer.connect("127.0.0.1", node.port, PARAMS)
            peer.handshake()
            peer.sock.settimeout(TIMEOUT)
            frames = b"".join(peer.wire.encode("tx", raw) for raw in self.raws)

            def work() -> None:
                peer.sock.sendall(frames)
                wait_until(lambda: node.rpc("getmempoolinfo")["size"] == len(self.raws), TIMEOUT, "the transactions")

            with beside(node):
                cost = cost_of(node, metrics, work)
            peer.close()
            return cost
