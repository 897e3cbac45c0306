"""Nodes to attack: this project's and bitcoind, each started from a prepared directory with the same chain and pool."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcError
from tests.lib.hostile.kinds import Door
from tests.lib.hostile.observer import Site
from tests.lib.hostile.world import PARAMS, World, pool_file
from tests.lib.process import NodeProcess, free_port, wait_until

START_TIMEOUT = 120.0
QUIET_CALL = 0.1  # seconds: a node that answers within is at rest
QUIET_TIMEOUT = 60.0
QUICK = ("-checkblockindex=0", "-checkmempool=0")  # what regtest checks and other networks do not
SERVES = ("peerbloomfilters", "blockfilterindex", "peerblockfilters", "rest")


class Node(ABC):
    """A running node."""

    def __init__(self) -> None:
        self.port = free_port()
        self.rpc_port = free_port()
        self.metrics_port = free_port()
        self.height = 0

    @property
    @abstractmethod
    def pid(self) -> int:
        """Of the main process."""

    @property
    @abstractmethod
    def cookie(self) -> Path:
        """The file with the login."""

    has_health = False

    @property
    def ports(self) -> dict[Door, int]:
        """Where it can be attacked."""
        return {Door.P2P: self.port, Door.RPC: self.rpc_port, Door.METRICS: self.metrics_port}

    def site(self) -> Site:
        """What an observer has to know."""
        return Site(self.port, self.rpc_port, self.cookie.read_text().strip(), self.has_health)

    def rpc(self, method: str, *params: object) -> object:
        """Call a method; raises RpcError and errors of the connection."""
        user, _, password = self.cookie.read_text().strip().partition(":")
        with contextlib.closing(RpcClient("127.0.0.1", self.rpc_port, user, password, timeout=60)) as client:
            return client.call(method, *params)

    def pool_size(self) -> int:
        """Transactions in the mempool."""
        return _size(self.rpc("getmempoolinfo"))

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            self.rpc("getblockcount")
        except (RpcConnectionError, RpcHttpError, RpcError, OSError):
            return False
        return True

    def is_quiet(self) -> bool:
        """Whether all attackers are gone and three answers come at once."""
        for _ in range(3):
            begun = time.monotonic()
            try:
                if self.rpc("getconnectioncount"):
                    return False
            except (RpcConnectionError, RpcHttpError, RpcError, OSError):
                return False
            if time.monotonic() - begun > QUIET_CALL:
                return False
        return True

    def settle(self) -> bool:
        """Wait until it is quiet; False when that takes too long."""
        try:
            wait_until(self.is_quiet, QUIET_TIMEOUT)
        except TimeoutError:
            return False
        return True

    def peak_memory(self) -> int:
        """Most resident bytes since ``reset_peak``."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(found[1]) * 1024 if found else 0

    def reset_peak(self) -> None:
        """Forget the peak so far."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def reasons(self) -> Counter[str]:
        """Why peers were thrown out since the last question, as far as the log tells."""
        return Counter()

    @abstractmethod
    def kill(self) -> None:
        """End it at once."""

    @abstractmethod
    def stop(self) -> None:
        """End it in order."""


class OurNode(Node):
    """btcnode, with what light clients ask for offered."""

    has_health = True

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__()
        own = ("xthin", "peerblockinputs", "utreexoindex", "peerutreexoproofs", "peerutxosets")
        serves = [f"--{name}" for name in (*SERVES, *own)]
        self.process = NodeProcess(
            directory, "regtest", *serves, "--metrics-port", str(self.metrics_port), "--connect", "0", *options
        )
        self.port, self.rpc_port = self.process.port, self.process.rpc_port
        self._read = 0
        self.process.start()

    @property
    def pid(self) -> int:
        """Of the main process."""
        assert self.process.process is not None
        return self.process.process.pid

    @property
    def cookie(self) -> Path:
        """The file with the login."""
        return self.process.net_dir / ".cookie"

    def reasons(self) -> Counter[str]:
        """Lines that end in ``disconnecting peer=``, without their numbers."""
        text = self.process.output()
        fresh, self._read = text[self._read :], len(text)
        found = re.findall(r"(?:WARNING|INFO)?\s*\S*\s([^\n]*?), disconnecting peer=", fresh)
        return Counter(re.sub(r"[0-9a-f]{16,}|\d+", "#", reason.split("] ")[-1]) for reason in found)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    def stop(self) -> None:
        """End it in order."""
        self.process.stop()


class Bitcoind(Node):
    """Bitcoin Core, on the same chain and with the same services."""

    def __init__(self, daemon: Path, directory: Path, *options: str) -> None:
        super().__init__()
        self.directory = directory
        fixed = ["-regtest", f"-datadir={directory}", f"-rpcport={self.rpc_port}", f"-bind=127.0.0.1:{self.port}"]
        serves = [f"-{name}=1" for name in SERVES]
        self.process = subprocess.Popen(
            [str(daemon), *fixed, *QUICK, "-connect=0", "-listen=1", "-dnsseed=0", "-listenonion=0", *serves, *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(self._started, START_TIMEOUT, "bitcoind's RPC server")

    def _started(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"bitcoind ended with status {self.process.returncode}")
        return self.is_ready()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def cookie(self) -> Path:
        """The file with the login."""
        return self.directory / "regtest" / ".cookie"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        """End it in order."""
        self.process.terminate()
        self.process.wait(60)


class Stable:
    """Starts one sort of node, each from a copy of a directory that was prepared once."""

    def __init__(self, root: Path, world: World, daemon: Path | None, options: tuple[str, ...] = ()) -> None:
        self.root = root
        self.world = world
        self.daemon = daemon
        self.options = options
        self._number = 0
        self._template = root / f"template-{self.name}"

    @property
    def name(self) -> str:
        """Which node this is."""
        return "btcnode" if self.daemon is None else "bitcoind"

    def _make(self, directory: Path, *options: str) -> Node:
        more = (*self.options, *options)
        return OurNode(directory, *more) if self.daemon is None else Bitcoind(self.daemon, directory, *more)

    def prepare(self) -> None:
        """Import the chain."""
        self._template.mkdir()
        archive = self.root / "chain.dat"
        blocks = [PARAMS.genesis_block, *self.world.blocks]
        archive.write_bytes(b"".join(PARAMS.magic + len(raw).to_bytes(4, "little") + raw for raw in blocks))
        dash = "--" if self.daemon is None else "-"
        node = self._make(self._template, f"{dash}loadblock={archive}")
        try:
            wait_until(lambda: node.rpc("getblockcount") == len(self.world.blocks), 300, "the chain")
            wait_until(lambda: bool(_synced(node.rpc("getindexinfo"))), 300, "the filter index")
            node.stop()
        except BaseException:
            node.kill()
            raise
        for name in ("output.log", "mempool.dat"):
            for path in self._template.rglob(name):
                path.unlink()

    @contextlib.contextmanager
    def node(self, *, pool: bool) -> Iterator[Node]:
        """A fresh node, with its mempool loaded if ``pool``."""
        self._number += 1
        directory = self.root / f"{self.name}-{self._number}"
        shutil.copytree(self._template, directory)
        if pool:
            (directory / "regtest" / "mempool.dat").write_bytes(pool_file(self.world))
        node = self._make(directory)
        try:
            node.height = len(self.world.blocks)
            if pool:
                wait_until(lambda: node.pool_size() >= len(self.world.pool), 300, "the mempool")
            yield node
        finally:
            node.kill()
            shutil.rmtree(directory, ignore_errors=True)


def _synced(answer: object) -> bool:
    return isinstance(answer, dict) and all(entry["synced"] for entry in answer.values())


def _size(answer: object) -> int:
    return int(answer["size"]) if isinstance(answer, dict) else 0
