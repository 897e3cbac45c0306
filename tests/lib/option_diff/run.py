"""One case on either program, in the same folder one after the other: exit status, output, what the node tells then."""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from btcnode.cli import daemon
from btcnode.networks.names import NETWORKS
from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcError
from tests.lib.process import environment, free_port

LIMIT_S = 60.0
METHODS = (
    "getnetworkinfo", "getmempoolinfo", "getblockchaininfo", "getindexinfo", "logging", "getzmqnotifications",
    "getmininginfo", "getdeploymentinfo", "getaddednodeinfo", "listbanned", "getchainstates",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """Words of a command line and files of the data directory (by path, {dir} being that directory).

    ``starts``: the nodes come up, if they do, and are asked what they make of it; else their directory is locked, so
    that both end where the options are read.
    """

    words: tuple[str, ...] = ()
    files: dict[str, bytes] = field(default_factory=dict)
    starts: bool = False

    def __str__(self) -> str:
        parts = [" ".join(map(repr, self.words)), *(f"{name}: {text!r}" for name, text in self.files.items())]
        return "; ".join(filter(None, parts))


@dataclass
class Outcome:
    """What came of a case. ``told``: answers by method, of a node that came up."""

    status: int
    out: list[str]
    err: list[str]
    log: list[str]
    told: dict[str, Any]


class Bench:
    """A folder in which both programs are tried."""

    def __init__(self, root: Path, bitcoind: str) -> None:
        self._root = root
        self._bitcoind = bitcoind
        self._dir = root / "d"
        self._locks: list[int] = []

    def theirs(self, case: Case) -> Outcome:
        """What bitcoind makes of it."""
        return self._try(case, [self._bitcoind])

    def ours(self, case: Case) -> Outcome:
        """What btcnoded makes of it."""
        return self._try(case, [sys.executable, "-m", "btcnode.cli.daemon"])

    def _try(self, case: Case, program: list[str]) -> Outcome:
        port = free_port()
        names = {"{dir}": str(self._dir), "{port}": str(port), "{p2p}": str(free_port())}
        words = [re.sub(r"{\w+}", lambda found: names[found[0]], word) for word in case.words]
        self._furnish(case)
        try:
            with (self._root / "out").open("wb") as out, (self._root / "err").open("wb") as err:
                if case.starts:
                    status, told = self._start([*program, *words], port, out.fileno(), err.fileno())
                elif program[0] == self._bitcoind:
                    status, told = self._wait_for([*program, *words], out.fileno(), err.fileno()), {}
                else:
                    status, told = self._in_fork(words, out.fileno(), err.fileno()), {}
        finally:
            self._unlock()
        log = [line for path in sorted(self._dir.rglob("debug.log")) for line in _lines(path)]
        return Outcome(status, _lines(self._root / "out"), _lines(self._root / "err"), log, told)

    def _furnish(self, case: Case) -> None:
        shutil.rmtree(self._dir, ignore_errors=True)
        self._dir.mkdir()
        for name, content in case.files.items():
            path = self._dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_bytes(content.replace(b"{dir}", os.fsencode(self._dir)))
        if not case.starts:
            for network in NETWORKS:
                folder = self._dir / network.subdir
                folder.mkdir(exist_ok=True)
                lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.lockf(lock, fcntl.LOCK_EX)
                self._locks.append(lock)

    def _unlock(self) -> None:
        while self._locks:
            os.close(self._locks.pop())

    def _wait_for(self, command: list[str], out: int, err: int) -> int:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=LIMIT_S, cwd=self._root,
            env=self._environment(), check=False,
        ).returncode  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {**environment(), "HOME": str(self._root), "PYTHONPATH": str(Path(__file__).resolve().parents[3])}

    def _in_fork(self, words: list[str], out: int, err: int) -> int:
        """Our program in a fork of this process, which has imported it: thirty times as fast as a new one."""
        child = os.fork()
        if not child:
            status = 99
            try:
                os.dup2(out, 1)
                os.dup2(err, 2)
                os.chdir(self._root)
                os.environ["HOME"] = str(self._root)
                sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8", "surrogateescape", write_through=True)
                sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), "utf-8", "surrogateescape", write_through=True)
                status = daemon.run(words)
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _start(self, command: list[str], port: int, out: int, err: int) -> tuple[int, dict[str, Any]]:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self._root, env=self._environment()
        )
        client = RpcClient("127.0.0.1", port, "u", "p", timeout=LIMIT_S)
        told: dict[str, Any] = {}
        deadline = time.monotonic() + LIMIT_S
        try:
            while process.poll() is None and time.monotonic() < deadline and not told:
                try:
                    client.call("getblockcount")
                    told = {method: _ask(client, method) for method in METHODS}
                except (RpcConnectionError, RpcHttpError, RpcError):
                    time.sleep(0.05)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            return process.wait(LIMIT_S), told
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()


def _ask(client: RpcClient, method: str) -> Any:
    try:
        return client.call(method)
    except RpcError as error:
        return f"error {error.code}: {error}"


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8", "surrogateescape").splitlines()
