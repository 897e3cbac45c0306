"""Two node processes, ours and a bitcoind, with the same options, asked over raw HTTP."""

from __future__ import annotations

import base64
import http.client
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.lib.process import environment, free_port

from .text import Tree, parse

START_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 300.0
CALL_TIMEOUT_S = 600.0
KEPT_S = 15.0  # how long a connection is used again: nodes close it after 30 s without a request
USER, PASSWORD = "fuzz", "fuzz"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
COMMON_OPTIONS = (
    "-server",
    "-rest",
    "-dnsseed=0",
    "-fixedseeds=0",
    "-discover=0",
    "-listenonion=0",
    "-natpmp=0",
    "-connect=0",
    f"-rpcuser={USER}",
    f"-rpcpassword={PASSWORD}",
    "-debug=0",
    "-maxmempool=100",  # which a node does not lower where there is little memory
)
PUBLISHED = ("hashblock", "hashtx", "rawblock", "rawtx", "sequence")
INDEXES = ("-txindex", "-coinstatsindex", "-blockfilterindex", "-txospenderindex")


_OWN_NAME = re.compile(r"\b(btcnoded?|bitcoind?|Bitcoin Core)\b")


def ours() -> list[str]:
    """The command of this project's daemon, without a wallet."""
    return [sys.executable, "-m", "btcnode.cli.daemon", "-disablewallet"]


def theirs(bitcoind: str) -> list[str]:
    """The command of a bitcoind, without a wallet."""
    return [bitcoind, "-disablewallet"]


class Node:
    """A node process with a directory of its own, and one kept HTTP connection to it."""

    def __init__(self, name: str, command: Sequence[str], directory: Path, options: Sequence[str]) -> None:
        self.name = name
        self.command = list(command)
        self.directory = directory
        self.options = list(options)
        self.process: subprocess.Popen[bytes] | None = None
        self.port = self.rpc_port = self.zmq_port = 0
        self.network: tuple[str, ...] = ("-regtest",)
        self.publishes = False  # over ZeroMQ, from its next start on
        self._http: http.client.HTTPConnection | None = None
        self._used = 0.0  # when a request went out last
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def network_dir(self) -> Path:
        """Where a relative path in a call leads."""
        return self.directory / "regtest"

    @property
    def zmq_address(self) -> str:
        """Where it publishes."""
        return f"tcp://127.0.0.1:{self.zmq_port}"

    @property
    def saved(self) -> Path:
        """The copy of the directory that ``restore`` brings back."""
        return self.directory.with_name(self.directory.name + ".saved")

    def start(self) -> None:
        """Start and wait for RPC; raises RuntimeError when the process ends."""
        self.port, self.rpc_port, self.zmq_port = free_port(), free_port(), free_port()
        arguments = [
            f"-datadir={self.directory}",
            f"-port={self.port}",
            f"-bind=127.0.0.1:{self.port}",
            f"-rpcport={self.rpc_port}",
            *self.network,
            *COMMON_OPTIONS,
            *self.options,
        ]
        if self.publishes:
            arguments += [f"-zmqpub{topic}={self.zmq_address}" for topic in PUBLISHED]
        with (self.directory / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                [*self.command, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment()
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not run:\n{self.output()}")
            try:
                if self.call('{"method":"getblockcount"}')[0] == http.client.OK:
                    return
            except OSError:
                pass
            time.sleep(0.05)

    def output(self) -> str:
        """The end of what it has written to its console."""
        return (self.directory / "output.log").read_text(errors="replace")[-2000:]

    def refusal(self) -> str:
        """Start; why it does not run, in its last error's words without its own name, or nothing when it does."""
        try:
            self.start()
        except RuntimeError as error:
            return _OWN_NAME.sub("NODE", _last_error(str(error)))
        return ""

    def stop(self) -> None:
        """Stop the process and wait for its end."""
        if self.process is None:
            return
        self.hang_up()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def save(self) -> None:
        """Keep a copy of the directory; the process must be stopped."""
        shutil.rmtree(self.saved, ignore_errors=True)
        shutil.copytree(self.directory, self.saved)

    def restore(self) -> None:
        """Stop at once, bring the copy back and start."""
        if self.process is not None:
            self.hang_up()
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.directory)
        shutil.copytree(self.saved, self.directory)
        self.start()

    # -- calls ---------------------------------------------------------------------------------------------------

    def hang_up(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def send(self, verb: str, path: str, body: str | None = None, login: str | None = AUTHORIZATION) -> None:
        """Send a request; ``receive`` has its answer. ``login`` is the header's value, None for none."""
        if time.monotonic() - self._used > KEPT_S:
            self.hang_up()
        self._used = time.monotonic()
        if self._http is None:
            self._http = http.client.HTTPConnection("127.0.0.1", self.rpc_port, timeout=CALL_TIMEOUT_S)
        data = None if body is None else body.encode("utf-8", "surrogatepass")
        try:
            self._http.request(verb, path, data, {} if login is None else {"Authorization": login})
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise

    def receive(self) -> tuple[int, bytes, str]:
        """Status, body and content type; raises OSError or HTTPException when the node hangs up."""
        assert self._http is not None
        try:
            response = self._http.getresponse()
            return response.status, response.read(), response.getheader("Content-Type") or ""
        except (OSError, http.client.HTTPException):
            self.hang_up()
            raise

    def call(self, body: str) -> tuple[int, bytes, str]:
        """One JSON-RPC request."""
        self.send("POST", "/", body)
        return self.receive()

    def call_apart(self, body: str) -> tuple[int, bytes, str]:
        """One JSON-RPC request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.rpc_port, timeout=CALL_TIMEOUT_S)
        with closing(connection):
            connection.request("POST", "/", body.encode(), {"Authorization": AUTHORIZATION})
            response = connection.getresponse()
            return response.status, response.read(), response.getheader("Content-Type") or ""

    def result(self, body: str) -> Tree:
        """The result of a call that must succeed; raises RuntimeError."""
        status, data, _ = self.call(body)
        if status != http.client.OK:
            raise RuntimeError(f"{self.name}: {body[:200]} gave {status}: {data[:500]!r}")
        answer = parse(data)
        assert isinstance(answer, dict)
        return answer["result"]


def _last_error(text: str) -> str:
    """The last line that tells an error, else the last."""
    lines = text.splitlines()
    return next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1])
