"""UTXO sets in files, where the disk is full or the file cannot be read: said with its name, and nothing stays."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from btcnode.chain.snapshot_store import new_snapshot
from btcnode.errors import DiskFullError
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.primitives.hashes import BlockHash
from btcnode.rpc.errors import RpcError
from btcnode.services.snapshot_files import output_file
from btcnode.storage.coin_changes import CoinChanges
from tests.lib.damage.homes import answer, make_chain
from tests.lib.full_disk import no_room
from tests.lib.node_parts import NodeLab, regtest_config

KNOWN = AssumeUtxo(5, BlockHash(bytes(32)), bytes(32), 6)


@pytest.fixture
def node(tmp_path: Path) -> NodeLab:
    lab = NodeLab(regtest_config(tmp_path))
    for block, _ in make_chain(60).history:
        answer(lab, "submitblock", [block.raw.hex()])
    return lab


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_dumps_without_room_leave_nothing(tmp_path: Path, node: NodeLab) -> None:
    before = names(tmp_path / "regtest")
    for more in (["latest"], ["rollback", {"rollback": 50}], ["rollback", {"rollback": 50, "in_memory": True}]):
        (tmp_path / "regtest" / "set.dat.incomplete").symlink_to("/dev/full")
        with pytest.raises(RpcError, match=r"cannot write the UTXO set to .*set\.dat: no room left"):
            answer(node, "dumptxoutset", ["set.dat", *more])
        assert names(tmp_path / "regtest") == before
    with pytest.raises(RpcError, match=r"set\.dat\.incomplete for writing"):
        answer(node, "dumptxoutset", ["none/set.dat", "latest"])
    assert answer(node, "dumptxoutset", ["set.dat", "latest"])["coins_written"] == 60
    node.close()


def test_a_name_that_is_taken_meanwhile_is_said(tmp_path: Path) -> None:
    def write() -> None:
        with output_file(str(tmp_path / "set.dat")):
            (tmp_path / "set.dat").mkdir()

    with pytest.raises(Exception, match=r"cannot write .*set\.dat"):
        write()
    assert names(tmp_path) == {"set.dat"}


def test_a_file_of_changes_without_room_goes(tmp_path: Path, node: NodeLab) -> None:
    with node.opened.store.coins.snapshot() as rows, no_room(100), pytest.raises(DiskFullError, match="changes"):
        CoinChanges(rows, tmp_path / "changes")
    assert "changes" not in names(tmp_path)
    node.close()


def test_a_set_that_has_no_room_leaves_nothing(tmp_path: Path) -> None:
    for room in (100, 20_000):
        with no_room(room), pytest.raises(DiskFullError, match="chainstate_snapshot"):
            new_snapshot(tmp_path, KNOWN)
        assert not names(tmp_path)
    (tmp_path / "chainstate_snapshot").mkdir()
    (tmp_path / "chainstate_snapshot" / "btcnode.mdb").write_bytes(b"of a load that failed")
    new_snapshot(tmp_path, KNOWN).discard()
    assert not names(tmp_path)


@pytest.mark.parametrize("data", [b"", b"utxo\xff", bytes(60)])
def test_a_file_that_is_none_is_named_in_the_log(
    tmp_path: Path, node: NodeLab, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "regtest" / "set.dat").write_bytes(data)
    caplog.set_level(logging.WARNING)
    with pytest.raises(RpcError, match="Unable to parse metadata"):
        answer(node, "loadtxoutset", ["set.dat"])
    assert f"{tmp_path / 'regtest' / 'set.dat'} cannot be loaded" in caplog.text
    node.close()
