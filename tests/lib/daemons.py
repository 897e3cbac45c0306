"""Either program as a process, with the same words: btcnoded and bitcoind on regtest, to be measured side by side."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcError
from tests.lib.process import environment, free_port

POLL_S = 0.01
LIMIT_S = 1200.0
STARTING = -28  # the RPC error of a node that is not ready


class Daemon:
    """A process in a directory of its own; ``p2p`` is its port on the loopback address unless it has ``-listen=0``."""

    def __init__(self, program: list[str], folder: Path, *options: str) -> None:
        self._port, self.p2p = free_port(), free_port()
        login = ["-rpcuser=u", "-rpcpassword=p", f"-rpcport={self._port}"]
        quiet = ["-dnsseed=0", "-printtoconsole=0", "-maxtipage=999999999", "-checkblockindex=0", "-checkmempool=0"]
        listen = [] if "-listen=0" in options else [f"-bind=127.0.0.1:{self.p2p}"]
        command = [*program, "-regtest", f"-datadir={folder}", "-server=1", *login, *quiet, *listen, *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment()
        )
        self._client = self.connect()

    def connect(self) -> RpcClient:
        """A client of its own."""
        return RpcClient("127.0.0.1", self._port, "u", "p", timeout=LIMIT_S)

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method, waiting until the process answers."""
        while True:
            try:
                return self._client.call(method, *params)
            except RpcError as error:
                if error.code != STARTING:
                    raise
            except (RpcConnectionError, RpcHttpError):
                if self.process.poll() is not None:
                    raise
            time.sleep(POLL_S)

    def wait(self, method: str, key: str, value: int) -> float:
        """Poll until an answer (or its field ``key``) is at least ``value``; returns the time when it was."""
        deadline = time.perf_counter() + LIMIT_S
        while True:
            answer = self.rpc(method)
            now = time.perf_counter()
            if (answer[key] if key else answer) >= value:
                return now
            if now > deadline:
                raise TimeoutError(f"{method}: {answer} after {LIMIT_S:.0f} s")
            time.sleep(POLL_S)

    def close(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait(120)
