"""Fee estimation beside Bitcoin Core: the same transactions and blocks give the same estimates and the same file.

Needs a ``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from btcnode.primitives.tx import Tx
from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.errors import RpcError
from btcnode.storage.trailer import without_trailer
from tests.lib.mempool_lab import START, MempoolLab, coins_of, pay
from tests.lib.process import NodeProcess, free_port

BLOCKS = 40
PER_BLOCK = 20
TARGETS = (1, 2, 3, 5, 8, 12, 13, 20, 48, 49, 300, 1008)
THRESHOLDS = (0.2, 0.5, 0.6, 0.85, 0.95)


@pytest.fixture
def daemon() -> str:
    found = os.environ.get("BTCNODE_BITCOIND") or shutil.which("bitcoind")
    if not found:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    return found


class Core:
    """A bitcoind without network."""

    def __init__(self, daemon: str, directory: Path) -> None:
        port = free_port()
        command = [daemon, "-regtest", f"-datadir={directory}", f"-rpcport={port}", "-listen=0", "-connect=0"]
        login = ["-rpcuser=u", "-rpcpassword=p", f"-mocktime={START}", "-maxtipage=999999999"]
        self.process = subprocess.Popen([*command, *login], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._client = RpcClient("127.0.0.1", port, "u", "p", timeout=60)
        for _ in range(300):
            try:
                self.rpc("getblockcount")
                return
            except (RpcConnectionError, RpcHttpError, RpcError):
                time.sleep(0.1)
        raise TimeoutError("bitcoind does not answer")

    def rpc(self, method: str, *params: Any) -> Any:
        return json.loads(json.dumps(self._client.call(method, *params), default=float))


class Market:
    """Transactions, children and replacements on a lab's chain, of which each block takes about half."""

    def __init__(self, lab: MempoolLab, rng: Random, send: Callable[[str, Any], None]) -> None:
        self._lab, self._rng, self._send = lab, rng, send
        self._waiting: list[Tx] = []

    def trade(self) -> None:
        lab, rng = self._lab, self._rng
        for _ in range(PER_BLOCK):
            coin = lab.coin()
            tx = pay([coin], rng.choice((200, 500, 1000, 3000, 9000)) + rng.randrange(100), 2)
            self._send("sendrawtransaction", tx.raw.hex())
            if rng.random() < 0.2:
                self._send("sendrawtransaction", pay(coins_of(tx)[:1], 2000).raw.hex())
            if rng.random() < 0.1:
                tx = pay([coin], 20_000)
                self._send("sendrawtransaction", tx.raw.hex())
            self._waiting.append(tx)

    def block(self) -> bytes:
        taken = [tx for tx in self._waiting if self._rng.random() < 0.5]
        self._waiting = [tx for tx in self._waiting if tx not in taken]
        return self._lab.mine(*taken)


def compare(core: Core, node: NodeProcess) -> int:
    """All estimates are equal; returns how many of them say something."""
    found = 0
    for target in TARGETS:
        for threshold in THRESHOLDS:
            ours = node.rpc("estimaterawfee", target, threshold)
            assert ours == core.rpc("estimaterawfee", target, threshold), (target, threshold)
        for mode in ("economical", "conservative"):
            ours = node.rpc("estimatesmartfee", target, mode)
            assert ours == core.rpc("estimatesmartfee", target, mode), (target, mode)
            found += "feerate" in ours
    return found


def test_the_same_estimates_and_the_same_file(daemon: str, tmp_path: Path) -> None:
    lab = MempoolLab(free=BLOCKS * PER_BLOCK, each=1)
    for name in ("core", "ours"):
        (tmp_path / name).mkdir()
    core = Core(daemon, tmp_path / "core")
    try:
        with NodeProcess(tmp_path / "ours", "regtest", f"--mocktime={START}", "--maxtipage=999999999") as node:
            node.start()

            def both(method: str, *params: Any) -> None:
                assert core.rpc(method, *params) == node.rpc(method, *params)

            market = Market(lab, Random(1), both)
            for raw in lab.raws:
                both("submitblock", raw.hex())
            found = 0
            for number in range(BLOCKS):
                both("setmocktime", lab.tree.time(lab.tip) + 60)
                market.trade()
                both("submitblock", market.block().hex())
                if number % 8 == 7:
                    found += compare(core, node)
            assert found > 50
            assert node.stop() == 0
        core.rpc("stop")
        core.process.wait(60)
    finally:
        core.process.kill()
        core.process.wait(60)
    ours, theirs = (tmp_path / name / "regtest" / "fee_estimates.dat" for name in ("ours", "core"))
    assert without_trailer(ours.read_bytes()) == theirs.read_bytes()
