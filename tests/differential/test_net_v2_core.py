"""The encrypted transport against Bitcoin Core, in both directions, with Core speaking version 2 and version 1.

Needs a ``bitcoind`` with ``bitcoin-cli`` beside it: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.chain_generator import ChainGenerator
from tests.lib.process import NodeProcess, free_port, wait_until

PARAMS = params_for("regtest")


class Core:
    """A listening bitcoind that connects to nobody by itself, and its bitcoin-cli."""

    def __init__(self, daemon: Path, directory: Path, *options: str) -> None:
        self.port = free_port()
        rpc_port = free_port()
        common = ["-regtest", f"-datadir={directory}", f"-rpcport={rpc_port}"]
        sockets = [f"-bind=127.0.0.1:{self.port}", "-dnsseed=0", "-fixedseeds=0", "-listenonion=0", "-discover=0"]
        self._cli = [str(daemon.with_name("bitcoin-cli")), *common, "-rpcwait", "-rpcwaittimeout=60"]
        self.process = subprocess.Popen(
            [str(daemon), *common, *sockets, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def call(self, *words: str) -> Any:
        done = subprocess.run([*self._cli, *words], capture_output=True, text=True, timeout=120, check=True)
        text = done.stdout.strip()
        return json.loads(text) if text.startswith(("{", "[")) else text

    def peers(self) -> list[dict[str, Any]]:
        return list(self.call("getpeerinfo"))


@contextmanager
def core_node(directory: Path, *options: str) -> Iterator[Core]:
    found = os.environ.get("BTCNODE_BITCOIND") or shutil.which("bitcoind")
    if not found:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    core = Core(Path(found), directory, *options)
    try:
        core.call("getblockcount")
        yield core
    finally:
        core.process.kill()
        core.process.wait(60)


@pytest.fixture(scope="module")
def chain() -> list[bytes]:
    generator = ChainGenerator(PARAMS, 5)
    return [*generator.spread(150), *(generator.busy(50) for _ in range(3))]


def ready(peers: list[dict[str, Any]]) -> bool:
    return len(peers) == 1 and peers[0]["version"] != 0


@pytest.mark.parametrize("core_connects", [False, True], ids=["we-connect", "core-connects"])
@pytest.mark.parametrize(
    ("core_v2", "our_v2"), [(True, True), (False, True), (True, False)], ids=["both", "core-v1", "ours-v1"]
)
def test_bip324_with_core(tmp_path: Path, chain: list[bytes], core_connects: bool, core_v2: bool, our_v2: bool) -> None:
    """The chain goes one way over the transport, a block that the other side mines goes back."""
    ours, theirs = tmp_path / "ours", tmp_path / "core"
    ours.mkdir()
    theirs.mkdir()
    options = [] if our_v2 else ["--no-v2transport"]
    with (
        core_node(theirs, f"-v2transport={int(core_v2)}") as core,
        NodeProcess(ours, "regtest", "--connect", "0", *options) as node,
    ):
        node.start()
        for raw in chain:
            assert node.rpc("submitblock", raw.hex()) is None
        if core_connects:
            core.call("addnode", node.address, "add")
        else:
            node.rpc("addnode", core.address, "add")
        wait_until(lambda: ready(node.rpc("getpeerinfo")) and ready(core.peers()), 120, "the connection")
        core.call("waitforblockheight", str(len(chain)), "60000")
        assert core.call("getbestblockhash") == node.rpc("getbestblockhash")

        info, mirror = node.rpc("getpeerinfo")[0], core.peers()[0]
        transport = "v2" if core_v2 and our_v2 else "v1"
        assert info["transport_protocol_type"] == mirror["transport_protocol_type"] == transport
        assert info["session_id"] == mirror["session_id"]
        assert bool(info["session_id"]) is (transport == "v2")
        assert ("P2P_V2" in info["servicesnames"]) is core_v2
        assert ("P2P_V2" in mirror["servicesnames"]) is our_v2

        core.call("generatetodescriptor", "2", "raw(51)")
        node.wait_height(len(chain) + 2)
        for _ in range(300):  # several changes of keys in both directions
            node.rpc("ping")
        core.call("ping")
        wait_until(lambda: "pingtime" in core.peers()[0], 60, "a pong")
        assert ready(node.rpc("getpeerinfo"))
        sent, received = core.peers()[0]["bytesrecv_per_msg"], core.peers()[0]["bytessent_per_msg"]
        here = node.rpc("getpeerinfo")[0]
        for command in ("version", "verack", "headers"):
            assert here["bytessent_per_msg"][command] == sent[command]
            assert here["bytesrecv_per_msg"][command] == received[command]
