"""What do viewers of the dashboard cost a node?

    python scripts/bench/dashboard.py [--viewers 10] [--seconds 10] [--peers 8]

A node on regtest with some peers is watched by so many viewers for so long, and before that by none. Printed are the
processor seconds that it took in either time, their difference as a share of one core, and how late its loop came to
its ticks (p99 of those in the time). Exit status 1 when viewers took more than 2 % of a core or p99 was above 50 ms.
"""

from __future__ import annotations

import argparse
import base64
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from btcnode.networks.parameters import params_for
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess, free_port

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
BLOCKS = 110
MOST_SHARE = 0.02  # of a core
MOST_LAG = 0.05  # seconds


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lags(port: int) -> dict[float, int]:
    """Ticks of the loop that were at most so late, in seconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        lines = reply.read().decode().splitlines()
    found = [line for line in lines if line.startswith("loop_lag_seconds_bucket")]
    return {float(line.split('"')[1]): int(line.rpartition(" ")[2]) for line in found}


def p99(before: Mapping[float, int], after: Mapping[float, int]) -> float:
    """The bound below which 99 of 100 ticks between two looks were."""
    counts = {bound: after[bound] - before[bound] for bound in after}
    return min((bound for bound, count in counts.items() if count >= 0.99 * counts[float("inf")]), default=float("inf"))


def view(port: int, login: str, ended: threading.Event, sizes: list[int]) -> None:
    """Read the feed until the end."""
    size = 0
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(f"GET /dashboard/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {login}\r\n\r\n".encode())
        while not ended.is_set():
            size += len(sock.recv(1 << 20))
    sizes.append(size)


def measured(node: NodeProcess, metrics: int, seconds: float) -> tuple[float, float]:
    """Processor seconds in so many, and p99 of the loop's lag."""
    assert node.process is not None
    before, begun = lags(metrics), processor_seconds(node.process.pid)
    time.sleep(seconds)
    spent = processor_seconds(node.process.pid) - begun
    return spent, p99(before, lags(metrics))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--peers", type=int, default=8)
    words = parser.parse_args()
    metrics = free_port()
    with (
        tempfile.TemporaryDirectory() as directory,
        NodeProcess(Path(directory), "regtest", f"-metrics-port={metrics}") as node,
    ):
        node.start()
        node.rpc("generatetoaddress", BLOCKS, ADDRESS)
        host, _, port = node.address.rpartition(":")
        peers = []
        for _ in range(words.peers):
            peer = ScriptedPeer(socket.create_connection((host, int(port)), timeout=30), params_for("regtest"), 30)
            peer.handshake()
            peers.append(peer)
        alone, lag_alone = measured(node, metrics, words.seconds)
        login = "Basic " + base64.b64encode((node.net_dir / ".cookie").read_bytes()).decode()
        ended, sizes = threading.Event(), list[int]()
        threads = [
            threading.Thread(target=view, args=(node.rpc_port, login, ended, sizes)) for _ in range(words.viewers)
        ]
        for thread in threads:
            thread.start()
        time.sleep(1)
        watched, lag = measured(node, metrics, words.seconds)
        ended.set()
        for thread in threads:
            thread.join()
        for peer in peers:
            peer.close()
    share = (watched - alone) / words.seconds
    for title, spent, late in (("without viewers", alone, lag_alone), (f"{words.viewers} viewers", watched, lag)):
        print(f"{title:16} {spent:6.2f} s of processor in {words.seconds:.0f} s, loop p99 {1000 * late:.0f} ms")
    print(f"viewers cost      {share:.2%} of a core; {sum(sizes) / len(sizes) / words.seconds / 1000:.1f} kB/s each")
    return int(share > MOST_SHARE or lag > MOST_LAG)


if __name__ == "__main__":
    sys.exit(main())
