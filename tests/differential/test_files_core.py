"""Small files go both ways between this node and Bitcoin Core, checksums behind their data or not.

Needs a ``bitcoind``: ``BTCNODE_BITCOIND`` names it, else the PATH is searched.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from btcnode.storage.trailer import MARK
from tests.differential.test_fees_core import Core, daemon
from tests.lib.mempool_lab import START
from tests.lib.process import NodeProcess

__all__ = ["daemon"]

FILES = ("mempool.dat", "banlist.json", "fee_estimates.dat")
DELTAS = {f"{number:064x}": 1000 + number for number in range(1, 40)}
BANS = ["10.1.0.0/16", "192.0.2.7/32"]


def hand_over(giver: Path, taker: Path) -> None:
    for name in FILES:
        shutil.copyfile(giver / "regtest" / name, taker / "regtest" / name)


def test_files_go_both_ways(daemon: str, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "core"
    for directory in (ours, theirs):
        (directory / "regtest").mkdir(parents=True)
    with NodeProcess(ours, "regtest", f"--mocktime={START}") as node:
        node.start()
        for txid, delta in DELTAS.items():
            node.rpc("prioritisetransaction", txid, 0, delta)
        for net in BANS:
            node.rpc("setban", net, "add", 10_000)
        assert node.stop() == 0
        for name in FILES:
            data = (ours / "regtest" / name).read_bytes()
            assert b"_crc32_" in data if name.endswith("json") else MARK in data
        hand_over(ours, theirs)
        core = Core(daemon, theirs)
        try:
            found = core.rpc("getprioritisedtransactions")
            assert {txid: entry["fee_delta"] for txid, entry in found.items()} == DELTAS
            assert sorted(entry["address"] for entry in core.rpc("listbanned")) == BANS
            assert core.rpc("savemempool")
            core.rpc("stop")
            core.process.wait(60)
        finally:
            core.process.kill()
            core.process.wait(60)
        said = (theirs / "regtest" / "debug.log").read_text()
        assert "Imported mempool transactions from file: 0 succeeded" in said
        for words in ("Failed to deserialize", "Unable to read policy estimator", "Cannot load banlist"):
            assert words not in said
        hand_over(theirs, ours)
        node.start()
        found = node.rpc("getprioritisedtransactions")
        assert {txid: entry["fee_delta"] for txid, entry in found.items()} == DELTAS
        assert sorted(entry["address"] for entry in node.rpc("listbanned")) == BANS
        assert "damaged" not in node.output()
        assert node.stop() == 0
