#!/usr/bin/env python3
"""Seconds from the start of the daemon on an empty regtest directory to its first RPC answer; and of one btcnode-cli.

    python scripts/bench/start.py [--runs 7]

The first start of each is not counted: it stores Python's bytecode and warms the disk cache, as an installation does.
Where ``BTCNODE_BITCOIND`` names a bitcoind (with bitcoin-cli beside it) it is measured in the same run.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.process import environment, free_port

LIMIT_S = 60.0
POLL_S = 0.002


def answers(port: int, cookie: Path) -> bool:
    """Whether the node answers getblockcount."""
    try:
        authorization = base64.b64encode(cookie.read_bytes()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {"Authorization": f"Basic {authorization}"}
        connection.request("POST", "/", b'{"id":1,"method":"getblockcount","params":[]}', headers)
        return b'"result":0' in connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        return False


def start(daemon: list[str], client: list[str]) -> tuple[float, float]:
    """Seconds to the first answer, and of one command line call afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        common = ["-regtest", f"-datadir={folder}", f"-rpcport={port}"]
        begun = time.perf_counter()
        command = [*daemon, *common, f"-port={free_port()}", "-listen=0", "-dnsseed=0"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
        try:
            cookie = Path(folder, "regtest", ".cookie")
            while not answers(port, cookie):
                if process.poll() is not None or time.perf_counter() - begun > LIMIT_S:
                    raise RuntimeError("the node does not come up")
                time.sleep(POLL_S)
            up = time.perf_counter() - begun
            begun = time.perf_counter()
            subprocess.run(
                [*client, *common, "getblockcount"], stdout=subprocess.DEVNULL, env=environment(), check=True
            )
            return up, time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait()


def measure(name: str, run: Callable[[], tuple[float, float]], runs: int) -> None:
    run()
    found = [run() for _ in range(runs)]
    for what, seconds in zip(("start to first answer", "command line call"), zip(*found, strict=True), strict=True):
        print(f"{name}: {what} {statistics.median(seconds):.3f} s (best {min(seconds):.3f}, worst {max(seconds):.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    python = [sys.executable, "-m"]
    measure("btcnode", lambda: start([*python, "btcnode.cli.daemon"], [*python, "btcnode.cli.client"]), options.runs)
    core = os.environ.get("BTCNODE_BITCOIND")
    if core:
        measure("bitcoind", lambda: start([core], [str(Path(core).with_name("bitcoin-cli"))]), options.runs)


if __name__ == "__main__":
    main()
