"""Requests per second of the JSON-RPC server: sequential calls over one connection, and a batch.

python scripts/bench/rpc_server.py [seconds]
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import cast

from btcnode.config import NodeConfig
from btcnode.rpc.auth import read_cookie
from btcnode.rpc.client import RpcClient
from btcnode.rpc.context import NodeApi
from btcnode.rpc.methods import make_table
from btcnode.rpc.server import RpcServer

BATCH = 1000


class Node:
    """As much of a node as ``getblockcount`` asks for."""

    def __init__(self) -> None:
        self.tree = self

    def warmup_status(self) -> None:
        return None

    def tip(self) -> int:
        return 0

    def height(self, index: int) -> int:
        return 840_000 + index


def serve(config: NodeConfig, ready: threading.Event, ports: list[int], uvloop_too: bool) -> asyncio.AbstractEventLoop:
    """Run a server in a thread; its port is put into ``ports``."""
    factory = None
    if uvloop_too:
        import uvloop

        factory = uvloop.new_event_loop
    loop = factory() if factory else asyncio.new_event_loop()

    async def start() -> None:
        server = RpcServer(config, make_table(cast(NodeApi, Node())), 18443)
        await server.start()
        ports.append(server.addresses[0][1])
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.create_task(start())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    return loop


def measure(config: NodeConfig, seconds: float, uvloop_too: bool) -> None:
    ready, ports = threading.Event(), list[int]()
    loop = serve(config, ready, ports, uvloop_too)
    ready.wait(10)
    user, password = read_cookie(config.cookie_path) or ("", "")
    with RpcClient("127.0.0.1", ports[0], user, password) as client:
        count, begun = 0, perf_counter()
        while perf_counter() - begun < seconds:
            client.call("getblockcount")
            count += 1
        rate = count / (perf_counter() - begun)
        calls = [("getblockcount", [])] * BATCH
        count, begun = 0, perf_counter()
        while perf_counter() - begun < seconds:
            client.batch(calls)
            count += BATCH
        batch_rate = count / (perf_counter() - begun)
    name = "uvloop" if uvloop_too else "asyncio"
    print(f"{name}: {rate:,.0f} sequential getblockcount/s (own client, same process), {batch_rate:,.0f}/s in batches")
    loop.call_soon_threadsafe(loop.stop)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with tempfile.TemporaryDirectory() as folder:
        config = NodeConfig(network="regtest", datadir=Path(folder), rpcport=0)
        measure(config, seconds, False)
        with contextlib.suppress(ImportError):
            measure(config, seconds, True)


if __name__ == "__main__":
    main()
