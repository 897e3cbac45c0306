"""Real blocks as tables: figures of ``getblockstats``, the bytes again, and mainnet from its first block verified."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from btcnode.data.export import ExportFolder, ExportForm, Partition, export_chain
from btcnode.data.folder import BlockFolder, SourceBlock
from btcnode.data.schema import TABLES
from btcnode.data.tables import TableChain, TablePlace, TablesSource
from btcnode.data.tasks import TaskRunner
from btcnode.data.verification import FolderWork, TableWork, verify_chain
from btcnode.networks.parameters import params_for
from btcnode.rpc.block_statistics import block_statistics
from tests.lib.block_folder import WrittenFolder
from tests.lib.real_tables import MAINNET, first_blocks, real_blocks, write_real_blocks

FIGURES = ("totalfee", "txs", "ins", "outs", "total_out", "total_size", "total_weight")
"""Of ``getblockstats``, which leaves the coinbase out of the last three."""


def told_by_rpc(source: SourceBlock) -> tuple[int, ...]:
    """What ``getblockstats`` answers for a block with these coins."""
    assert source.coins is not None
    told: Any = block_statistics(source.block, source.coins, made=source.height > 0)
    return tuple(told[name] for name in FIGURES)


def told_by_duckdb(out: Path) -> dict[int, tuple[int, ...]]:
    """The same figures out of the tables, each counted where it is not just a column of the block's own row."""
    duckdb = pytest.importorskip("duckdb")
    query = f"""
        select height, fees, txs, ins, outs, out, size, weight
        from (select height, fees from '{out}/blocks/*.parquet')
        join (select height, count(*) txs, coalesce(sum(value_out) filter (tx > 0), 0) out,
                     coalesce(sum(size) filter (tx > 0), 0) size, coalesce(sum(weight) filter (tx > 0), 0) weight
              from '{out}/transactions/*.parquet' group by height) using (height)
        join (select height, count(*) filter (tx > 0) ins from '{out}/inputs/*.parquet' group by height) using (height)
        join (select height, count(*) outs from '{out}/outputs/*.parquet' group by height) using (height)"""
    return {row[0]: tuple(map(int, row[1:])) for row in duckdb.sql(query).fetchall()}


def told_by_polars(out: Path) -> dict[int, tuple[int, ...]]:
    """The same by Polars."""
    pl = pytest.importorskip("polars")
    paid = pl.col("tx") > 0
    scan = {table: pl.scan_parquet(f"{out}/{table}/*.parquet") for table in TABLES}
    frame = (
        scan["blocks"].select("height", "fees")
        .join(scan["transactions"].group_by("height").agg(
            pl.len().alias("txs"), *[pl.col(name).filter(paid).sum() for name in ("value_out", "size", "weight")]
        ), on="height")
        .join(scan["inputs"].group_by("height").agg(paid.sum().alias("ins")), on="height")
        .join(scan["outputs"].group_by("height").agg(pl.len().alias("outs")), on="height")
        .select("height", "fees", "txs", "ins", "outs", "value_out", "size", "weight")
        .collect()
    )  # fmt: skip
    return {row[0]: tuple(map(int, row[1:])) for row in frame.rows()}


READERS = {"duckdb": told_by_duckdb, "polars": told_by_polars}


@pytest.mark.parametrize("name", READERS)
def test_others_read_of_real_blocks_what_getblockstats_says(vectors: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip(name)
    sources = write_real_blocks(tmp_path, real_blocks(vectors))
    found = READERS[name](tmp_path)
    assert len(found) == 27
    assert found == {source.height: told_by_rpc(source) for source in sources}


@pytest.mark.parametrize("name", READERS)
def test_others_read_of_mainnet_s_first_blocks_what_getblockstats_says(
    vectors: Path, tmp_path: Path, name: str
) -> None:
    pytest.importorskip(name)
    first_blocks(vectors, tmp_path / "blocks")
    folder = BlockFolder(tmp_path / "blocks", MAINNET)
    with TaskRunner() as runner:
        export_chain(folder, tmp_path / "out", ExportForm(TABLES, True, 100), runner=runner)
    found = READERS[name](tmp_path / "out")
    sources = folder.source.read(folder.chain().places(0, 599), with_coins=True)
    assert found == {source.height: told_by_rpc(source) for source in sources}
    assert sorted(found) == list(range(600))


def test_real_blocks_come_back_byte_for_byte(vectors: Path, tmp_path: Path) -> None:
    for source in write_real_blocks(tmp_path, real_blocks(vectors)):
        partition, block = Partition(source.height, source.height), source.block
        (row,) = pq.read_table(ExportFolder(tmp_path).table_path("blocks", partition)).to_pylist()
        assert (row["size"], row["weight"], row["hash"][::-1]) == (block.size, block.weight, block.hash)
        place = TablePlace(partition, 0, source.height, source.height, block.size, block.prev_hash, block.hash)
        (again,) = TablesSource(str(tmp_path), MAINNET).read([place], with_coins=True)
        assert again.block.raw == block.raw and again.coins == source.coins, source.height


def test_mainnet_from_its_first_block(vectors: Path, tmp_path: Path) -> None:
    made = first_blocks(vectors, tmp_path / "blocks")
    with TaskRunner() as runner:
        form = ExportForm(TABLES, True, 100)
        done = export_chain(BlockFolder(tmp_path / "blocks", MAINNET), tmp_path / "out", form, runner=runner)
        assert (done.last, done.blocks, len(done.written)) == (599, 600, 6)
        report = verify_chain(TableWork(TableChain(tmp_path / "out", MAINNET)), runner, task_bytes=20_000)
    assert report.is_good, report.as_text()
    assert (report.inputs, report.txouts, report.amount) == (25, len(made), 599 * 50 * 10**8)


def test_signet_s_first_blocks_are_verified(vectors: Path, tmp_path: Path) -> None:
    """With their solutions."""
    signet = params_for("signet")
    told = json.loads((vectors / "floresta/signet_blocks_0_120.json").read_text())
    raws = [bytes.fromhex(item["block"]) for item in sorted(told, key=lambda item: int(item["height"]))]
    folder = WrittenFolder(tmp_path / "blocks", signet)
    folder.append([(raw, []) for raw in raws[1:]], 1)
    with TaskRunner() as runner:
        assert verify_chain(FolderWork(BlockFolder(folder.path, signet)), runner).is_good
        other = replace(signet, signet_challenge=b"\x00")
        report = verify_chain(FolderWork(BlockFolder(folder.path, other)), runner)
    assert [item.reason for item in report.failures] == ["bad-signet-blksig"] * (len(raws) - 1)
