"""Every RPC method and REST path asked with systematic and random arguments; with a bitcoind, also what it answers.

A short run of ``scripts/fuzz/rpc.py``: see there for longer ones.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.lib.rpc_diff.cases import every_method
from tests.lib.rpc_diff.nodes import Node, ours
from tests.lib.rpc_diff.run import Plan, run
from tests.lib.rpc_diff.setup import prepare
from tests.lib.rpc_diff.text import request
from tests.lib.rpc_diff.world import World

BITCOIND = os.environ.get("BTCNODE_BITCOIND")


@pytest.mark.slow
def test_no_input_is_an_internal_error(tmp_path: Path) -> None:
    report = run(Plan(seed=7, cases=4, passes=("indexed",)), tmp_path, None)
    assert not report.kinds, report.text()
    assert report.calls > 10_000


@pytest.mark.slow
@pytest.mark.skipif(BITCOIND is None, reason="BTCNODE_BITCOIND names no bitcoind")
def test_a_bitcoind_answers_the_same(tmp_path: Path) -> None:
    report = run(Plan(seed=8, cases=4), tmp_path, BITCOIND)
    assert not report.kinds, report.text()


def test_a_chain_of_transactions_survives_a_restart(tmp_path: Path) -> None:
    node = Node("ours", ours(), tmp_path / "node", [])
    world = World(1)
    try:
        prepare(node, world)
        # the parent without a fee cannot come back alone, nor its child; the replaced one was gone
        kept = [txs[0].txid[::-1].hex() for n, txs in enumerate(world.mempool) if len(txs) == 1 and n != 7]
        assert sorted(node.result(request("getrawmempool", []))) == sorted(kept)
    finally:
        node.stop()


def test_every_method_is_asked(tmp_path: Path) -> None:
    node = Node("ours", ours(), tmp_path / "node", [])
    try:
        node.start()
        rows = node.result(request("help", ["dump_all_command_conversions"]))
        usage = node.result(request("help", []))
    finally:
        node.stop()
    known = {row[0] for row in rows} | {line.split()[0] for line in usage.splitlines() if line and line[0].islower()}
    own = {"getpeerscores", "getsyncstate", "getsyncprofile", "getopenrpcinfo"}  # no bitcoind has these
    assert known - own <= set(every_method()), known - own - set(every_method())
