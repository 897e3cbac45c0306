"""What do viewers of the dashboard cost a node that is busy?

    python scripts/bench/dashboard.py [--viewers 10] [--runs 3] [--only sync,flood]

A new node syncs a chain, and another one is given a flood of transactions: in turn without viewers and with so many of
them, who read the feed all the time. Printed are the processor seconds of the node's own process, the ratio of both
(of the means, with its standard error), and how late its loop came to its ticks (p99). Viewers cost by the second, so
that on a machine that is busy with other things, where the work takes longer, they seem to cost more: the share of a
core is told as well. The aim: at most 2 % of the processor time, and p99 at most 50 ms.
"""

from __future__ import annotations

import argparse
import base64
import socket
import statistics
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.node_loads import Beside, Cost, Flood, Sync
from tests.lib.process import NodeProcess

MOST_SHARE = 0.02
MOST_LAG = 0.05  # seconds


def view(port: int, login: str, ended: threading.Event) -> None:
    """Read the feed until the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(f"GET /dashboard/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {login}\r\n\r\n".encode())
        while not ended.is_set() and sock.recv(1 << 20):
            pass


def watched_by(count: int) -> Beside:
    """What makes so many look at a node."""

    @contextmanager
    def watched(node: NodeProcess) -> Iterator[None]:
        login = "Basic " + base64.b64encode((node.net_dir / ".cookie").read_bytes()).decode()
        ended = threading.Event()
        threads = [threading.Thread(target=view, args=(node.rpc_port, login, ended)) for _ in range(count)]
        for thread in threads:
            thread.start()
        yield
        ended.set()
        for thread in threads:
            thread.join()

    return watched


def told(title: str, costs: list[Cost]) -> tuple[float, float]:
    """Print a line; returns the mean of the processor seconds and its standard error."""
    own = statistics.mean(cost.own for cost in costs)
    error = statistics.stdev(cost.own for cost in costs) / len(costs) ** 0.5 if len(costs) > 1 else 0.0
    seconds = statistics.median(cost.seconds for cost in costs)
    lag = statistics.median(cost.lag for cost in costs)
    each = " ".join(f"{cost.own:.2f}" for cost in costs)
    print(f"{title:24} {own:6.2f} s of processor ({each}) in {seconds:.1f} s, loop p99 {1000 * lag:.0f} ms")
    return own, error


def compare(name: str, load: Sync | Flood, viewers: int, runs: int) -> None:
    """Print what viewers cost, and whether that is more than they may."""
    alone: list[Cost] = []
    watched: list[Cost] = []
    for _ in range(runs):
        alone.append(load.run())
        watched.append(load.run(beside=watched_by(viewers)))
    before, error = told(f"{name}, nobody looks", alone)
    after, error_after = told(f"{name}, {viewers} viewers", watched)
    scatter = after / before * ((error / before) ** 2 + (error_after / after) ** 2) ** 0.5
    share = (after - before) / statistics.mean(cost.seconds for cost in watched)
    lag = statistics.median(cost.lag for cost in watched)
    over = after / before - 1 - MOST_SHARE
    verdict = "within" if over <= 0 else "not to be told from the scatter beyond" if over <= 2 * scatter else "BEYOND"
    if lag > MOST_LAG:
        verdict = "BEYOND"
    aim = f"{MOST_SHARE:.0%} and {1000 * MOST_LAG:.0f} ms"
    print(f"{name}: ratio {after / before:.3f} +- {scatter:.3f}; {share:.2%} of a core: {verdict} the aim of {aim}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="sync,flood")
    parser.add_argument("--blocks", type=int, default=40, help="large ones of the chain")
    parser.add_argument("--txs", type=int, default=2000, help="transactions of each")
    parser.add_argument("--loose", type=int, default=40_000, help="transactions of the flood")
    words = parser.parse_args()
    for name in words.only.split(","):
        load = Sync(words.blocks, words.txs, 200) if name == "sync" else Flood(words.loose)
        compare(name, load, words.viewers, words.runs)


if __name__ == "__main__":
    main()
