"""How long does getblockcount wait while the largest legal requests are worked on?

    python scripts/bench/rpc_large.py [--kinds WORD ...] [--seconds 20]

One connection sends a request of up to 32 MB (``tests/lib/large_requests.py``), another one asks getblockcount all the
time; printed are the longest wait until the answer is there (or ``--seconds`` are over), and how long the request took.
What the machine does beside is in the figures: compare with ``nothing``. Exit status 1 when a wait was more than 50 ms
longer than that.
"""

from __future__ import annotations

import argparse
import base64
import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the checkout

from tests.lib.large_requests import ADDRESS, REQUESTS
from tests.lib.process import NodeProcess

LIMIT = 0.05  # seconds
PAUSE = 0.002
BLOCKS = 110


class Watch:
    """Asks getblockcount in a thread and notes the longest wait."""

    def __init__(self, port: int, login: str) -> None:
        self.worst = 0.0
        self._ended = threading.Event()
        self._sock = socket.create_connection(("127.0.0.1", port), 120)
        self._request = http_post(login, b'{"method": "getblockcount"}')
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._sock as sock:
            while not self._ended.is_set():
                begun = time.perf_counter()
                sock.sendall(self._request)
                if f'"result":{BLOCKS}'.encode() not in sock.recv(65_536):
                    raise RuntimeError("getblockcount was not answered")
                self.worst = max(self.worst, time.perf_counter() - begun)
                time.sleep(PAUSE)

    def stop(self) -> float:
        """Seconds that it waited at worst."""
        self._ended.set()
        self._thread.join()
        return self.worst


def http_post(login: str, body: bytes) -> bytes:
    """A request."""
    secret = base64.b64encode(login.encode()).decode()
    return f"POST / HTTP/1.1\r\nAuthorization: Basic {secret}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def ask(port: int, request: bytes, seconds: float) -> tuple[float, str]:
    """How long a request took, and the beginning of its answer; empty when there is none in time."""
    begun = time.perf_counter()
    answer = b""
    with socket.create_connection(("127.0.0.1", port), seconds) as sock:
        try:
            sock.sendall(request)
            answer = sock.recv(65_536)
        except TimeoutError:
            answer = b""
    return time.perf_counter() - begun, answer.split(b"\r\n\r\n")[-1][:50].decode("utf-8", "replace")


def measure(directory: Path, name: str, seconds: float) -> tuple[float, float]:
    """One request on a fresh node: the longest waits without it and with it."""
    with NodeProcess(directory, "regtest", "--blockfilterindex") as node:
        node.start()
        if not node.rpc("getblockcount"):
            node.rpc("generatetoaddress", BLOCKS, ADDRESS)
        login = (node.net_dir / ".cookie").read_text().strip()
        watch = Watch(node.rpc_port, login)
        time.sleep(0.5)
        usual = watch.stop()
        method, params = REQUESTS[name](str(node.rpc("getbestblockhash")))
        request = http_post(login, json.dumps({"method": method, "params": params}, separators=(",", ":")).encode())
        del params
        watch = Watch(node.rpc_port, login)
        took, answer = ask(node.rpc_port, request, seconds)
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
