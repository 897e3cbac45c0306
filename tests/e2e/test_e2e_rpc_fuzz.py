"""Every RPC method and REST path asked with systematic and random arguments; with a bitcoind, also what it answers.

A short run of ``scripts/fuzz/rpc.py``: see there for longer ones.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from btcnode.rpc.methods import every_method as all_methods
from tests.lib.rpc_diff.asking import Plan, Report
from tests.lib.rpc_diff.assumed import BASE, AssumedWorld, write_set
from tests.lib.rpc_diff.cases import every_method
from tests.lib.rpc_diff.nodes import Node, ours
from tests.lib.rpc_diff.run import EVERY_PASS, run
from tests.lib.rpc_diff.setup import feed_chain, prepare
from tests.lib.rpc_diff.text import parse, request
from tests.lib.rpc_diff.world import World

BITCOIND = os.environ.get("BTCNODE_BITCOIND")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_input_is_an_internal_error(tmp_path: Path) -> None:
    report = Report()
    run(Plan(seed=7, cases=4, passes=("indexed",)), tmp_path, None, report)
    assert not report.kinds, report.text()
    assert report.calls > 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(BITCOIND is None, reason="BTCNODE_BITCOIND names no bitcoind")
@pytest.mark.parametrize(  # peers' numbers still differ, and the order of some checks in wallets
    "name", [name for name in EVERY_PASS if name not in ("connections", "wallets")]
)
def test_a_bitcoind_answers_the_same(tmp_path: Path, name: str) -> None:
    report = Report()
    run(Plan(seed=8, cases=4, passes=(name,)), tmp_path, BITCOIND, report)
    assert not report.kinds, report.text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_input_of_a_wallet_is_an_internal_error(tmp_path: Path) -> None:
    report = Report()
    run(Plan(seed=7, cases=1, passes=("wallets",), systematic=False), tmp_path, None, report)
    assert not report.kinds, report.text()
    assert report.calls > 3_000


def test_a_chain_of_transactions_survives_a_restart(tmp_path: Path) -> None:
    world = World(1)
    node = Node("ours", ours(), tmp_path / "node", [f"-mocktime={world.now}"])
    try:
        prepare(node, world)
        # the parent without a fee cannot come back alone, nor its child; the replaced one was gone
        kept = [txs[0].txid[::-1].hex() for n, txs in enumerate(world.mempool) if len(txs) == 1 and n != 7]
        assert sorted(node.result(request("getrawmempool", []))) == sorted(kept)
    finally:
        node.stop()


ANSWERS: list[tuple[str, list[Any], int, str]] = [
    ("loadtxoutset", [""], -8, "Couldn't open file  for reading."),
    ("loadtxoutset", ["missing"], -8, "Couldn't open file {net_dir}/missing for reading."),
    ("loadtxoutset", ["/dev/null"], -8, "Couldn't open file /dev/null for reading."),  # no regular file
    ("loadtxoutset", ["empty"], -22, "Unable to parse metadata: AutoFile::read: end of file: iostream error"),
    ("loadtxoutset", ["/proc/self/mem"], -22, "Unable to parse metadata: AutoFile::read: fread failed: iostream error"),
    ("loadtxoutset", ["."], -22, "Unable to parse metadata: AutoFile::read: fread failed: iostream error"),
    ("loadtxoutset", ["\0"], -22, "Unable to parse metadata: AutoFile::read: fread failed: iostream error"),
    (
        "loadtxoutset",
        ["debug.log"],
        -22,
        "Unable to parse metadata: Invalid UTXO set snapshot magic bytes. Please check if this is indeed a snapshot"
        " file or if you are using an outdated snapshot format.: iostream error",
    ),
    ("importmempool", ["/no\0where"], -1, "Unable to import mempool file, see debug log for details."),
    ("importmempool", ["/"], -1, "Unable to import mempool file, see debug log for details."),
    (
        "dumptxoutset",
        [".", "latest"],
        -8,
        "{net_dir}/. already exists. If you are sure this is what you want, move it out of the way first",
    ),
    ("dumptxoutset", ["a/b", "latest"], -8, "Couldn't open file {net_dir}/a/b.incomplete for writing."),
    ("dumptxoutset", ["a/", "latest"], -8, "Couldn't open file {net_dir}/a/.incomplete for writing."),
    (
        "dumptxoutset",
        ["x" * 300, "latest"],
        -1,
        "filesystem error: status: File name too long [{net_dir}/" + "x" * 300 + "]",
    ),
]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    node, world = Node("ours", ours(), tmp_path / "node", []), World(1)
    try:
        node.options.append(f"-mocktime={world.now}")
        node.start()
        feed_chain(node, world)
        (node.network_dir / "empty").touch()
        for method, params, code, message in ANSWERS:
            answer = parse(node.call(request(method, params))[1])["error"]
            expected = message.replace("{net_dir}", str(node.network_dir))
            assert (answer["code"], answer["message"]) == (str(code), expected), (method, params)
        written = node.result(request("dumptxoutset", ["a\0b", "latest"]))
        assert written["path"] == f"{node.network_dir}/a\0b"
        assert (node.network_dir / "a").is_file()
    finally:
        node.stop()


def test_a_set_below_a_loaded_one_cannot_be_written(tmp_path: Path) -> None:
    world, utxo_set = AssumedWorld(1), tmp_path / "utxo.dat"
    write_set(Node("maker", ours(), tmp_path / "maker", ()), world, utxo_set)
    node = Node("ours", ours(), tmp_path / "node", [f"-mocktime={world.now}"])
    try:
        node.start()
        feed_chain(node, world, utxo_set)
        for options in ({"rollback": 1}, {"rollback": 1, "in_memory": True}):
            error = parse(node.call(request("dumptxoutset", ["old.dat", "rollback", options]))[1])["error"]
            assert error["code"] == "-32603"  # as of bitcoind
            assert error["message"] == f"Failed to read block at height {BASE}"
        assert not list(node.network_dir.glob("old.dat*"))
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
    own = {method.name for method in all_methods() if method.own}
    assert known - own <= set(every_method()), known - own - set(every_method())
