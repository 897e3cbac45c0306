"""Starts under odd circumstances: another clock, another place, the folder of the blocks gone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from btcnode.errors import RebuildError
from tests.lib.damage.homes import answer, make_chain, settle
from tests.lib.mini_chain import MiniChain, spend
from tests.lib.node_parts import START, NodeLab, regtest_config

DAY = 86_400
NAMES = [b"a name with spaces", "Ünïcödé ☃".encode(), b"per%cent {braces} 'quotes'", b"no text \xff\xfe"]


@pytest.fixture(scope="module")
def chain() -> MiniChain:
    return make_chain(110)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, chain: MiniChain) -> Path:
    """A stopped node with a transaction in its pool, a ban and an index."""
    directory = tmp_path_factory.mktemp("whole")
    node = open_node(directory)
    for block, _ in chain.history:
        answer(node, "submitblock", [block.raw.hex()])
    tx = spend(chain.coinbases[10], value=49 * 10**8, script_pubkey=b"\x51" * 40)
    answer(node, "sendrawtransaction", [tx.raw.hex(), 0])
    answer(node, "setban", ["10.1.2.3", "add", 1000 * DAY])
    settle(node)
    node.close()
    return directory


def open_node(directory: Path, **options: object) -> NodeLab:
    return NodeLab(regtest_config(directory, acceptnonstdtxn=True, blockfilterindex=True, **options))


def works(node: NodeLab, chain: MiniChain) -> None:
    """Nothing is lost, and the next block is taken."""
    settle(node)
    assert len(answer(node, "getrawmempool", ())) == len(answer(node, "listbanned", ())) == 1
    assert answer(node, "getblockcount", ()) == chain.tip
    assert answer(node, "verifychain", [4, 0]) is True
    assert answer(node, "submitblock", [chain.template(fees=0).build().hex()]) is None
    settle(node)
    node.close()


@pytest.mark.parametrize("seconds", [-365 * DAY, -DAY, DAY, 365 * DAY])
def test_another_clock(tmp_path: Path, whole: Path, chain: MiniChain, seconds: int) -> None:
    shutil.copytree(whole, tmp_path / "node")
    options = {"mocktime": START + seconds, "mempoolexpiry": 24 * 1000}
    works(open_node(tmp_path / "node", **options), chain)


@pytest.mark.parametrize("name", NAMES)
def test_another_place(tmp_path: Path, whole: Path, chain: MiniChain, name: bytes) -> None:
    shutil.copytree(whole, tmp_path / os.fsdecode(name))
    works(open_node(tmp_path / os.fsdecode(name)), chain)
    (tmp_path / os.fsdecode(name)).rename(tmp_path / "moved")
    node = open_node(tmp_path / "moved")
    assert answer(node, "getblockcount", ()) == chain.tip + 1
    node.close()


def test_the_folder_of_the_blocks_is_gone(tmp_path: Path, whole: Path, chain: MiniChain) -> None:
    """As when a disk is not mounted: nothing is begun anew, and with the disk back all is as it was."""
    shutil.copytree(whole, tmp_path / "node")
    blocks, away = tmp_path / "node" / "regtest" / "blocks", tmp_path / "away"
    blocks.rename(away)
    with pytest.raises(RebuildError):
        open_node(tmp_path / "node")
    blocks.mkdir(exist_ok=True)
    (blocks / "index").mkdir(exist_ok=True)
    with pytest.raises(RebuildError) as refused:
        open_node(tmp_path / "node")
    assert "blk00000.dat is missing: restore it" in refused.value.detail
    shutil.rmtree(blocks)
    away.rename(blocks)
    works(open_node(tmp_path / "node"), chain)
