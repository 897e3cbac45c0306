"""Real blocks as tables: figures of ``getblockstats``, the bytes again, and mainnet from its first block verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from btcnode.consensus.connect import block_outputs
from btcnode.data.export import ExportFolder, ExportForm, Partition, export_chain, write_files
from btcnode.data.folder import BlockFolder, SourceBlock
from btcnode.data.schema import TABLES
from btcnode.data.tables import TableChain, TablePlace, TablesSource
from btcnode.data.tasks import TaskRunner
from btcnode.data.verification import TableWork, verify_chain
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.rpc.block_figures import figures
from tests.lib.block_folder import WrittenFolder
from tests.lib.real_blocks import RealBlock, block_with_undo, floresta_block, framed_blocks, raito_block
from tests.vectors.test_consensus_blocks import BCOIN, RAITO

MAINNET = params_for("mainnet")
FORM = ExportForm(TABLES, True, 1)


def real_blocks(vectors: Path) -> Iterator[RealBlock]:
    """All whose spent coins are known."""
    for height in RAITO:
        yield raito_block(vectors / f"raito/full_{height}.json")
    for height in (367891, 866342):
        yield floresta_block(vectors, height)
    for name, height, _ in BCOIN:
        yield block_with_undo(vectors / f"bcoin/{name}.raw", height)
    yield block_with_undo(vectors / "btcd/block277647.raw", 277647)


def as_source(block: RealBlock) -> SourceBlock:
    parsed, coins = parse_block(block.raw), iter(block.spent)
    counts = [parsed.first_in[i + 1] - parsed.first_in[i] for i in range(1, parsed.n_tx)]
    return SourceBlock(block.height, 0, parsed, [[next(coins).coin for _ in range(count)] for count in counts])


def test_real_blocks_have_the_figures_of_getblockstats_and_come_back(vectors: Path, tmp_path: Path) -> None:
    for table in (*TABLES, "manifest"):
        (tmp_path / table).mkdir()
    target, blocks = ExportFolder(tmp_path), list(real_blocks(vectors))
    for real in blocks:
        source = as_source(real)
        assert source.coins is not None
        partition = Partition(real.height, real.height)
        target.name_files(write_files(tmp_path, partition, [source], FORM, MAINNET))
        (row,) = pq.read_table(target.table_path("blocks", partition)).to_pylist()
        told = figures(source.block, source.coins, made=real.height > 0)
        assert (row["fees"], row["input_count"], row["output_count"], row["tx_count"]) == (
            told["totalfee"], told["ins"], told["outs"], told["txs"],
        ), real.name  # fmt: skip
        txs = pq.read_table(target.table_path("transactions", partition)).to_pylist()[1:]
        assert sum(tx["size"] for tx in txs) == told["total_size"]
        assert sum(tx["weight"] for tx in txs) == told["total_weight"]
        assert sum(tx["value_out"] for tx in txs) == told["total_out"]
        block = source.block
        place = TablePlace(partition, 0, real.height, real.height, len(real.raw), block.prev_hash, block.hash)
        (again,) = TablesSource(str(tmp_path), MAINNET).read([place], with_coins=True)
        assert again.block.raw == real.raw and again.coins == source.coins, real.name
    assert len(blocks) == 27


def test_mainnet_from_its_first_block(vectors: Path, tmp_path: Path) -> None:
    raws = [
        raw
        for name in ("blk00000.dat", "blk00001.dat")
        for raw in framed_blocks((vectors / "nbitcoin" / name).read_bytes())
    ]
    folder = WrittenFolder(tmp_path / "blocks", MAINNET)
    made: dict[bytes, bytes] = {}
    blocks = []
    for height, raw in enumerate(raws):
        block = parse_block(raw)
        prevouts = block.prevouts()
        undo = []
        for i in range(block.n_tx if height else 0):
            if i:
                undo.append([made.pop(at) for at in prevouts[block.first_in[i] : block.first_in[i + 1]]])
            made.update(block_outputs(block, i, height))
        blocks.append((raw, undo))
    folder.append(blocks[1:], 1)
    with TaskRunner() as runner:
        form = ExportForm(TABLES, True, 100)
        done = export_chain(BlockFolder(folder.path, MAINNET), tmp_path / "out", form, runner=runner)
        assert (done.last, done.blocks, len(done.written)) == (599, 600, 6)
        report = verify_chain(TableWork(TableChain(tmp_path / "out", MAINNET)), runner, task_bytes=20_000)
    assert report.is_good, report.as_text()
    assert (report.inputs, report.txouts, report.amount) == (25, len(made), 599 * 50 * 10**8)


@pytest.mark.parametrize("name", ["duckdb", "polars"])
def test_others_read_real_blocks(vectors: Path, tmp_path: Path, name: str) -> None:
    library = pytest.importorskip(name)
    for table in (*TABLES, "manifest"):
        (tmp_path / table).mkdir()
    sources = [as_source(raito_block(vectors / f"raito/full_{height}.json")) for height in RAITO[-4:]]
    for source in sources:
        written = write_files(tmp_path, Partition(source.height, source.height), [source], FORM, MAINNET)
        ExportFolder(tmp_path).name_files(written)
    files = f"{tmp_path}/inputs/*.parquet"
    if name == "duckdb":
        found = library.sql(f"select sum(prev_value), count(*) from '{files}'").fetchall()[0]
    else:
        frame = library.read_parquet(files)
        found = (frame["prev_value"].sum(), frame.height)
    values = [
        int.from_bytes(coin[4:12], "little") for source in sources for spent in source.coins or () for coin in spent
    ]
    assert found == (sum(values), sum(len(source.block.in_pos) for source in sources))
