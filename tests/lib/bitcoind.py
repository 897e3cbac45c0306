"""A real ``bitcoind`` to compare with: without network, on regtest, with a clock that stands still."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcError
from tests.lib.mempool_lab import START
from tests.lib.process import free_port


def find_bitcoind() -> str | None:
    """``BTCNODE_BITCOIND``, else what the PATH has; None where there is none."""
    return os.environ.get("BTCNODE_BITCOIND") or shutil.which("bitcoind")


class Bitcoind:
    """A running process; use it as a context manager. ``options`` are its own."""

    def __init__(self, daemon: str, directory: Path, *options: str, start: int = START) -> None:
        port = free_port()
        fixed = ["-regtest", f"-datadir={directory}", f"-rpcport={port}", "-listen=0", "-connect=0", "-dnsseed=0"]
        login = ["-rpcuser=u", "-rpcpassword=p", f"-mocktime={start}", "-maxtipage=999999999"]
        self.port = port
        self.process = subprocess.Popen(
            [daemon, *fixed, *login, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.port = port
        self._client = RpcClient("127.0.0.1", port, "u", "p", timeout=60)
        for _ in range(300):
            try:
                self.rpc("getblockcount")
                return
            except (RpcConnectionError, RpcHttpError, RpcError):
                time.sleep(0.1)
        self.kill()
        raise TimeoutError("bitcoind does not answer")

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method; raises RpcError."""
        return self._client.call(method, *params)

    def kill(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait(60)

    def __enter__(self) -> Bitcoind:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
