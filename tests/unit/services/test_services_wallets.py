"""How wallets follow a real node's chain and mempool, and what they do beside the loop."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import StorageError
from btcnode.services import wallet_chain
from btcnode.services.chain import Chain
from btcnode.services.wallet_commands import MAX_COMMANDS
from tests.lib.node_parts import regtest_config
from tests.unit.conftest import Running

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    nodes: list[Running] = []

    def begin(**options: Any) -> Running:
        settings = regtest_config(tmp_path, keypool=3, fallbackfee="0.0001", **options)
        (settings.net_dir / "wallets").mkdir(exist_ok=True)
        nodes.append(Running(settings))
        return nodes[-1]

    yield begin
    for node in nodes:
        node.close()


def test_a_wallet_that_cannot_catch_up_tries_again(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lab = start()
    lab.call("createwallet", "w")
    lab.call("generatetoaddress", 5, lab.call("getnewaddress"))
    assert lab.parts.wallets is not None
    wallet, tree = lab.parts.wallets.loaded["w"], lab.parts.chain.tree
    monkeypatch.setattr(wallet_chain, "RETRY_SECONDS", 0.0)

    def forget_three_blocks() -> None:
        for entry in wallet.ledger.in_order()[2:]:
            wallet.ledger.remove([entry.txid])
        wallet.ledger.tip_height, wallet.ledger.tip_hash = 2, tree.hash(lab.parts.chain.driver.chainstate.active.at(2))

    def unreadable(self: Chain, index: int) -> bytes:
        raise StorageError("nothing but dust")

    lab.thread.call(forget_three_blocks)
    with monkeypatch.context() as broken:
        broken.setattr(Chain, "read_block_now", unreadable)
        lab.call("generatetoaddress", 1, ADDRESS)
        lab.until(lambda: "Failed to rescan the wallet" in caplog.text)
    assert lab.call("getwalletinfo")["txcount"] == 2
    lab.call("generatetoaddress", 1, ADDRESS)
    lab.until(lambda: lab.call("getwalletinfo")["txcount"] == 5)
    lab.call("generatetoaddress", 1, ADDRESS)
    lab.until(lambda: lab.call("getwalletinfo")["lastprocessedblock"]["height"] == 8)
    assert lab.call("getbalances")["mine"]["immature"] == 250


def test_the_users_command_runs_for_each_transaction_some_at_a_time(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start(walletnotify="tell %w %s %h %b")
    told, at_work, most, go = list[str](), list[int](), list[int](), threading.Event()

    def run(command: str, **_: Any) -> Any:
        at_work.append(1)
        most.append(len(at_work))
        go.wait(20)
        at_work.pop()
        told.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("btcnode.services.wallet_commands.subprocess.run", run)
    lab.call("createwallet", "a b")
    hashes = lab.call("generatetoaddress", 40, lab.call("getnewaddress"))
    lab.call("rescanblockchain")
    threads = [thread for thread in threading.enumerate() if thread.name == "walletnotify"]
    assert len(threads) == MAX_COMMANDS
    go.set()
    lab.until(lambda: len(told) >= 80)
    txids = {entry["txid"]: entry["blockhash"] for entry in lab.call("listtransactions", "*", 100)}
    assert {*told} == {f"tell 'a b' {txid} {hashes.index(block) + 1} {block}" for txid, block in txids.items()}
    assert max(most) <= MAX_COMMANDS


def test_a_hanging_command_does_not_keep_the_node(
    start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, go = start(walletnotify="hang"), threading.Event()

    def hang(command: str, **_: Any) -> Any:
        go.wait()
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("btcnode.services.wallet_commands.subprocess.run", hang)
    lab.call("createwallet", "w")
    lab.call("generatetoaddress", 20, lab.call("getnewaddress"))
    lab.close()
    go.set()
