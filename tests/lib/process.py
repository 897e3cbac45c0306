"""Real node processes for end-to-end tests: started from the command line, driven over JSON-RPC."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, Self

START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 60.0
POLL_FIRST, POLL_LONGEST = 0.005, 0.05
FIRST_PORT, LAST_PORT, PORT_SHARES = 20_000, 28_000, 4


class RpcFailure(Exception):
    """The node answered with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


def _all_ports() -> Iterator[int]:
    """Ports below those that systems give to whoever asks for any, each pytest worker's own, over and over."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PORT_SHARES
    share = (LAST_PORT - FIRST_PORT) // PORT_SHARES
    for number in count(os.getpid() * 37):  # another run beside this one begins elsewhere
        yield FIRST_PORT + worker * share + number % share


_ports = _all_ports()


def free_port() -> int:
    """A TCP port on the loopback address that nobody listens on at this moment, and that was not given out lately."""
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections to it do not matter
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], bool], timeout: float = 60.0, what: str = "the condition") -> None:
    """Poll until ``condition()``; raises TimeoutError.

    A pause that becomes long because the machine is busy, or had us stopped, counts twice what was asked for at most.
    """
    left, pause = timeout, POLL_FIRST
    while not condition():
        if left < 0:
            raise TimeoutError(f"{what} did not come true in {timeout} s")
        begun = time.monotonic()
        time.sleep(pause)
        left -= min(time.monotonic() - begun, 2 * pause)
        pause = min(2 * pause, POLL_LONGEST)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop go on until ``condition()``; raises TimeoutError after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true in a minute")
        await asyncio.sleep(0.001)


def environment() -> dict[str, str]:
    """The environment for a node: Python may store bytecode, lest each start compiles everything."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class NodeProcess:
    """A ``btcnode start`` process with a data directory of its own; use it as a context manager.

    ``prefix`` is put before the command line (``prlimit`` and the like).
    """

    def __init__(self, datadir: Path, network: str = "regtest", *options: str, listen: bool = True) -> None:
        self.datadir = datadir
        self.network = network
        self.options = options
        self.port = free_port()
        self.rpc_port = free_port()
        self.listen = listen
        self.prefix: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self._calls = 0

    @property
    def net_dir(self) -> Path:
        """The network's own directory."""
        return self.datadir if self.network == "mainnet" else self.datadir / self.network

    @property
    def address(self) -> str:
        """``host:port`` for ``--connect``."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """The command line."""
        binding = ["--bind", self.address, "--no-listenonion"] if self.listen else ["--no-listen"]
        return [
            sys.executable, "-m", "btcnode", "start", "--network", self.network, "--datadir", str(self.datadir),
            "--rpcport", str(self.rpc_port), "--no-dnsseed", "--no-fixedseeds", *binding, *self.options,
        ]  # fmt: skip

    def start(self, *more: str) -> Self:
        """Start the process and wait for its RPC server; raises RuntimeError with its output when it exits."""
        output = (self.datadir / "output.log").open("ab")
        with output:
            self.process = subprocess.Popen(
                [*self.prefix, *self.command(), *more],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(),
            )
        wait_until(self._is_ready, START_TIMEOUT, "the node's RPC server")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the node ended with status {self.process.returncode}:\n{self.output()}")
        try:
            self.rpc("getblockcount")
        except (OSError, http.client.HTTPException, json.JSONDecodeError):  # a node on its way down answers with a page
            return False
        except RpcFailure as failure:
            return failure.code != -28
        return True

    def output(self) -> str:
        """What the process has printed so far, over all its starts."""
        return (self.datadir / "output.log").read_text(errors="replace")

    def rpc(self, method: str, *params: Any) -> Any:
        """Call an RPC method; raises RpcFailure, OSError when nobody listens."""
        self._calls += 1
        cookie = (self.net_dir / ".cookie").read_text()
        body = json.dumps({"jsonrpc": "1.0", "id": self._calls, "method": method, "params": params})
        connection = http.client.HTTPConnection("127.0.0.1", self.rpc_port, timeout=120)
        try:
            headers = {"Authorization": "Basic " + base64.b64encode(cookie.encode()).decode()}
            connection.request("POST", "/", body, headers)
            response = connection.getresponse()
            data = response.read()
            if response.status == http.client.UNAUTHORIZED:
                raise ConnectionRefusedError("the cookie is not the running node's")
        finally:
            connection.close()
        answer = json.loads(data)
        if answer["error"] is not None:
            raise RpcFailure(answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    def kill(self) -> None:
        """SIGKILL, as a power cut for the process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Ask the process to stop; returns its exit status. Raises TimeoutError when it does not end."""
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, sig)
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise TimeoutError(f"the node did not stop in {STOP_TIMEOUT} s:\n{self.output()[-4000:]}") from None

    def height(self) -> int:
        """The chain's height."""
        return int(self.rpc("getblockcount"))

    def wait_height(self, height: int, timeout: float = 60.0) -> None:
        """Wait until the chain has this height."""
        wait_until(lambda: self.height() == height, timeout, f"height {height} (it is {self.height()})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
