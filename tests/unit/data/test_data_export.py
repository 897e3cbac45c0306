"""Exports: what is in the files, what stays and what changes when they are brought up to date."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import btcnode.data as data
from btcnode.data.export import Exported, ExportFolder, ExportForm, Partition, export_chain
from btcnode.data.folder import BlockFolder, DataError, SourceBlock
from btcnode.data.rows import GROUP_BYTES, batches_of
from btcnode.data.schema import ORDER, TABLES, schema_of
from btcnode.data.tables import TableChain
from btcnode.data.tasks import TaskRunner
from btcnode.errors import ConfigError, DatadirLockedError, DiskFullError, StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_coin
from btcnode.storage.locking import DirectoryLock
from tests.lib.block_folder import UncheckedChain, WrittenFolder, busy_chain, folder_of, stored
from tests.lib.full_disk import no_room
from tests.lib.mini_chain import REGTEST, MiniChain

WHOLE = ExportForm(TABLES, True, 10)


@pytest.fixture(scope="module")
def chain() -> UncheckedChain:
    return busy_chain()


def run(folder: Path, out: Path, form: ExportForm = WHOLE, last: int | None = None) -> Exported:
    with TaskRunner() as runner:
        return export_chain(BlockFolder(folder, REGTEST), out, form, runner=runner, last=last)


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.*")) if path.is_file()}


def test_blocks_come_back_byte_for_byte(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    done = run(tmp_path / "blocks", tmp_path / "out")
    assert (done.first, done.last, done.blocks) == (0, chain.tip, chain.tip + 1)
    tables = TableChain(tmp_path / "out", REGTEST)
    read = list(tables.source.read(tables.groups, with_coins=True))
    assert [item.block.raw for item in read] == [REGTEST.genesis_block, *[block.raw for block, _ in chain.history]]
    assert [item.coins for item in read][1:] == [delta.undo for _, delta in chain.history]


def test_every_table_is_sorted_and_has_its_schema(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    run(tmp_path / "blocks", tmp_path / "out")
    for table in TABLES:
        rows = []
        for path in sorted((tmp_path / "out" / table).iterdir()):
            found = pq.read_table(path)
            assert found.schema.equals(schema_of(table, with_prevouts=True)), table
            rows += found.select(list(ORDER[table])).to_pylist()
        keys = [tuple(row.values()) for row in rows]
        assert keys == sorted(set(keys)), table


def test_figures_of_blocks_are_those_that_connecting_gives(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    rows = [
        row
        for batch in data.blocks(tmp_path / "blocks", network=REGTEST, with_prevouts=True)
        for row in batch.to_pylist()
    ]
    for row, (block, delta) in zip(rows[1:], chain.history, strict=True):
        assert (row["hash"][::-1], row["size"], row["weight"], row["fees"], row["tx_count"]) == (
            block.hash, block.size, block.weight, delta.fees, block.n_tx,
        )  # fmt: skip
    txs = [
        row
        for batch in data.transactions(tmp_path / "blocks", 100, network=REGTEST, with_prevouts=True)
        for row in batch.to_pylist()
    ]
    for row in txs:
        tx = chain.history[row["height"] - 1][0].tx(row["tx"])
        assert (row["txid"][::-1], row["wtxid"][::-1], row["weight"]) == (tx.txid, tx.wtxid, tx.weight)
    assert {row["fee"] for row in txs if not row["tx"]} == {None}
    assert sum(row["fee"] or 0 for row in txs) == sum(delta.fees for _, delta in chain.history[99:])


def test_without_prevouts_nothing_is_said_of_fees(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    for path in (tmp_path / "blocks").glob("rev*.dat"):
        path.unlink()
    run(tmp_path / "blocks", tmp_path / "out", ExportForm(("blocks", "inputs"), False, 1000))
    (blocks,) = (pq.read_table(tmp_path / "out/blocks")["fees"].unique().to_pylist(),)
    assert blocks == [None]
    assert "prev_value" not in pq.read_schema(next((tmp_path / "out/inputs").iterdir())).names
    assert not (tmp_path / "out/outputs").exists()


def test_the_second_time_nothing_is_written(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    first = run(tmp_path / "blocks", tmp_path / "out")
    before = contents(tmp_path / "out")
    again = run(tmp_path / "blocks", tmp_path / "out")
    assert not again.written and again.kept == len(first.written) and contents(tmp_path / "out") == before


def test_an_interrupted_export_goes_on_and_ends_with_the_same_files(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    run(tmp_path / "blocks", tmp_path / "whole")
    run(tmp_path / "blocks", tmp_path / "out", last=49)
    target = ExportFolder(tmp_path / "out")
    # as a kill leaves them: files that were not renamed, and a partition without its manifest
    target.table_path("outputs", Partition(50, 59)).with_name(
        ".0000000050-0000000059.0123456789abcdef.new"
    ).write_bytes(b"half")
    target.manifest_path(Partition(20, 29)).unlink()
    done = run(tmp_path / "blocks", tmp_path / "out")
    assert done.kept == 4 and Partition(20, 29) in {item.partition for item in done.written}
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_reorganisation_changes_only_what_it_touches(tmp_path: Path) -> None:
    chain = MiniChain(blocks=57)
    folder = folder_of(chain, tmp_path / "blocks")
    run(folder.path, tmp_path / "out")
    before = contents(tmp_path / "out")
    other = MiniChain()
    for block, _ in chain.history[:54]:
        other.accept(block.raw)
    for _ in range(5):
        other.accept(other.template(extra=b"other").build())
    folder.append(stored(other.history[54:]), 55)
    done = run(folder.path, tmp_path / "out")
    assert done.last == 59 and done.removed == 3  # 55, 56, 57
    # 50 to 59 are whole now: one partition in the place of ten
    assert [item.partition for item in done.written] == [Partition(50, 59)]
    after = contents(tmp_path / "out")
    assert {name for name, was in before.items() if after.get(name) == was} == {
        name for name in before if "/000000005" not in name
    }
    hashes = json.loads((tmp_path / "out/manifest/0000000050-0000000059.json").read_text())["hashes"]
    assert hashes == [block.hash[::-1].hex() for block, _ in other.history[49:]]
    assert sorted(path.name for path in (tmp_path / "out/manifest").iterdir())[-1].startswith("0000000050")


def test_a_chain_that_ends_earlier_takes_nothing_away(tmp_path: Path) -> None:
    chain = MiniChain(blocks=25)
    folder_of(chain, tmp_path / "long")
    run(tmp_path / "long", tmp_path / "out")
    before = contents(tmp_path / "out")
    shorter = WrittenFolder(tmp_path / "short")
    shorter.append(stored(chain.history[:12]), 1)
    assert run(tmp_path / "short", tmp_path / "out").removed == 0
    assert contents(tmp_path / "out") == before


def test_a_shorter_chain_of_other_blocks_leaves_nothing_of_the_longer_one(tmp_path: Path) -> None:
    chain = MiniChain(blocks=25)
    folder_of(chain, tmp_path / "long")
    run(tmp_path / "long", tmp_path / "out")
    other = MiniChain()
    for block, _ in chain.history[:12]:
        other.accept(block.raw)
    other.accept(other.template(extra=b"other").build())
    folder_of(other, tmp_path / "short")
    run(tmp_path / "short", tmp_path / "out")
    run(tmp_path / "short", tmp_path / "anew")
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def test_what_a_larger_partition_has_made_needless_goes_after_a_kill(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    run(tmp_path / "blocks", tmp_path / "out", last=25)
    small = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*0025-*")}
    assert small
    run(tmp_path / "blocks", tmp_path / "out", last=29)
    whole = contents(tmp_path / "out")
    for path, was in small.items():
        (tmp_path / "out" / path).write_bytes(was)
    run(tmp_path / "blocks", tmp_path / "out", last=29)
    assert contents(tmp_path / "out") == whole


def test_a_folder_has_one_export(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    run(tmp_path / "blocks", tmp_path / "out", last=9)
    with pytest.raises(ConfigError, match="choose another folder"):
        run(tmp_path / "blocks", tmp_path / "out", ExportForm(("blocks",), True, 10))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="has other files"):
        run(tmp_path / "blocks", tmp_path / "other")
    lock = DirectoryLock(tmp_path / "out")
    with pytest.raises(DatadirLockedError):
        run(tmp_path / "blocks", tmp_path / "out")
    lock.release()
    with pytest.raises(ConfigError, match="no table wallets"):
        ExportForm.checked(("blocks", "wallets"), False, 10)


def test_batches_are_cut_between_blocks_and_bounded(chain: UncheckedChain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.data.rows.GROUP_BYTES", 5000)

    def sources() -> Iterator[SourceBlock]:
        for height, (block, delta) in enumerate(chain.history, 1):
            yield SourceBlock(height, 0, parse_block(block.raw), delta.undo)

    found = list(batches_of(sources(), REGTEST, with_prevouts=True))
    assert len(found) > 3
    for batches in found:
        heights = set(batches["blocks"]["height"].to_pylist())
        for table in TABLES:
            assert set(batches[table]["height"].to_pylist()) == heights
        assert sum(batches["blocks"]["size"].to_pylist()[:-1]) < 5000


def test_what_the_system_refuses_is_one_line_and_the_export_goes_on(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    run(tmp_path / "blocks", tmp_path / "whole")
    run(tmp_path / "blocks", tmp_path / "out", last=39)
    with no_room(6000), pytest.raises(DiskFullError, match=r"cannot write to .*/out: no room left"):
        run(tmp_path / "blocks", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.new"))
    assert len(ExportFolder(tmp_path / "out").partitions()) >= 4
    run(tmp_path / "blocks", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_folders_that_cannot_be_are_told(chain: UncheckedChain, tmp_path: Path) -> None:
    folder_of(chain, tmp_path / "blocks")
    (tmp_path / "file").write_bytes(b"")
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(StorageError, match=r"cannot make .*/file"):
            run(tmp_path / "blocks", out)
    run(tmp_path / "blocks", tmp_path / "out", last=9)
    (tmp_path / "out/inputs/.0000000000-0000000009.0123456789abcdef.new").mkdir()
    with pytest.raises(StorageError, match=r"cannot clear away in .*/out"):
        run(tmp_path / "blocks", tmp_path / "out")


def test_files_that_vanish_meanwhile_are_told_and_the_export_goes_on(chain: UncheckedChain, tmp_path: Path) -> None:
    folder = folder_of(chain, tmp_path / "blocks")
    opened = BlockFolder(folder.path, REGTEST)
    path = folder.files.block_path(1)
    path.rename(tmp_path / "away")
    with TaskRunner() as runner:
        with pytest.raises(DataError, match=r"block [0-9a-f]{64} at height \d+ cannot be read from blk00001.dat"):
            export_chain(opened, tmp_path / "out", WHOLE, runner=runner)
        assert not list((tmp_path / "out").rglob("*.new"))
        (tmp_path / "away").rename(path)
        export_chain(opened, tmp_path / "out", WHOLE, runner=runner)
        export_chain(opened, tmp_path / "whole", WHOLE, runner=runner)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_amounts_that_no_column_holds_are_told(chain: UncheckedChain) -> None:
    block, delta = chain.history[-1]
    most = (2**63 - 1).to_bytes(8, "little")
    coins = [[coin[:4] + most + coin[12:] for coin in spent] for spent in delta.undo]
    assert sum(map(len, coins)) > 3
    with pytest.raises(DataError, match=f"blocks {chain.tip} to {chain.tip} have values that no valid block has"):
        list(batches_of([SourceBlock(chain.tip, 0, block, coins)], REGTEST, with_prevouts=True))


def test_large_coins_count_for_the_size_of_a_batch(chain: UncheckedChain) -> None:
    block, delta = chain.history[-1]
    coins = [[make_coin(1, False, 1000, bytes(100_000)) for _ in spent] for spent in delta.undo]
    spending = sum(map(len, coins))
    sources = [SourceBlock(chain.tip, 0, block, coins)] * (2 * GROUP_BYTES // (100_000 * spending) + 2)
    assert len(list(batches_of(sources, REGTEST, with_prevouts=True))) > 1
