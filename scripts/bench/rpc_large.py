"""How long does getblockcount wait while the largest legal requests are worked on?

    python scripts/bench/rpc_large.py [--kinds WORD ...] [--seconds 20]

One connection sends a request of up to 32 MB (``tests/lib/large_requests.py``), another one asks getblockcount all the
time; printed are the longest wait until the answer is there (or ``--seconds`` are over), and how long the request took.
What the machine does beside is in the figures: compare with ``nothing``. Exit status 1 when a wait was more than 50 ms
longer than that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.large_requests import ADDRESS, REQUESTS
from tests.lib.process import NodeProcess
from tests.lib.rpc_watch import Watch, ask, http_post

LIMIT = 0.05  # seconds
BLOCKS = 110


def measure(directory: Path, name: str, seconds: float) -> tuple[float, float]:
    """One request on a fresh node: the longest waits without it and with it."""
    with NodeProcess(directory, "regtest", "--blockfilterindex") as node:
        node.start()
        if not node.rpc("getblockcount"):
            node.rpc("generatetoaddress", BLOCKS, ADDRESS)
        login = (node.net_dir / ".cookie").read_text().strip()
        watch = Watch(node.rpc_port, login, BLOCKS)
        time.sleep(0.5)
        usual = watch.stop()
        method, params = REQUESTS[name](str(node.rpc("getbestblockhash")))
        request = http_post(login, json.dumps({"method": method, "params": params}, separators=(",", ":")).encode())
        del params
        watch = Watch(node.rpc_port, login, BLOCKS)
        took, body = ask(node.rpc_port, request, seconds)
        answer = body[:50].decode("utf-8", "replace")
        worst = watch.stop()
        node.kill()
    waits = f"{worst * 1000:6.0f} ms (nothing: {usual * 1000:3.0f})"
    print(f"{name:40} {waits} of {took:5.1f} s, {len(request) >> 20} MB: {answer}", flush=True)
    return usual, worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=[], help="words of names")
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    chosen = [name for name in REQUESTS if not options.kinds or any(word in name for word in options.kinds)]
    with tempfile.TemporaryDirectory() as directory:
        waits = [measure(Path(directory), name, options.seconds) for name in chosen]
    beyond = sum(worst > usual + LIMIT for usual, worst in waits)
    print(f"{beyond} of {len(chosen)} requests kept others waiting for more than {LIMIT} s")
    return 1 if beyond else 0


if __name__ == "__main__":
    raise SystemExit(main())
