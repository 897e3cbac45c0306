from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.consensus.pow import block_work
from btcnode.errors import CorruptionError, StorageError
from btcnode.primitives.hashes import sha256d
from btcnode.storage import block_index as module
from btcnode.storage.block_index import BlockIndexStore, IndexColumns
from btcnode.storage.database import Database
from btcnode.storage.header_rests import CHUNK_ROWS, READ_CHUNKS, REST_SIZE
from btcnode.storage.layout import DB_INDEX, INDEX_RECORD_SIZE, index_key

NAMES = (
    "fields",
    "hashes",
    "chain_tx",
    "prev",
    "height",
    "status",
    "n_tx",
    "file",
    "data_pos",
    "undo_pos",
    "block_crc",
)


def make_columns(count: int, forks: bool, seed: int = 1) -> tuple[IndexColumns, list[bytes]]:
    rng = random.Random(seed)
    columns = IndexColumns()
    raws: list[bytes] = []
    for i in range(count):
        prev = i - 1
        if forks and i > 5 and rng.random() < 0.2:
            prev = rng.randrange(i - 5, i)
        parent = columns.hash(prev) if prev >= 0 else bytes(32)
        bits = (rng.randrange(0x18, 0x21) << 24 | rng.randrange(1, 1 << 23)).to_bytes(4, "little")
        raw = rng.randbytes(4) + parent + rng.randbytes(36) + bits + rng.randbytes(4)
        height = columns.height[prev] + 1 if prev >= 0 else 0
        work = (columns.chainwork(prev) if prev >= 0 else 0) + block_work(int.from_bytes(raw[72:76], "little"))
        assert columns.append(raw, sha256d(raw), prev, height, rng.randrange(256), work) == i
        if rng.random() < 0.7:
            columns.n_tx[i] = rng.randrange(1 << 32)
            columns.chain_tx[i] = rng.randrange(1 << 64)
            columns.file[i] = rng.randrange(1 << 31)
            columns.data_pos[i] = rng.randrange(1 << 32)
            columns.undo_pos[i] = rng.randrange(1 << 32)
        raws.append(raw)
    return columns, raws


def same(one: IndexColumns, two: IndexColumns) -> bool:
    rows = range(len(one))
    if [one.chainwork(i) for i in rows] != [two.chainwork(i) for i in rows]:
        return False
    return all(getattr(one, name) == getattr(two, name) for name in NAMES) and one.rests.span(
        0, len(one)
    ) == two.rests.span(0, len(two))


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("chunks", [(7, 21, 10), (8192, 131072, 8192)])
def test_columns_there_and_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: bool, chunks: tuple[int, int, int]
) -> None:
    for name, value in zip(("LOAD_CHUNK", "LOAD_SPAN", "CHECK_CHUNK"), chunks, strict=True):
        monkeypatch.setattr(module, name, value)
    columns, raws = make_columns(300, forks)
    database = Database.open(tmp_path)
    database.commit(index_puts={i: columns.record(i) for i in range(len(columns))})
    store = BlockIndexStore(database)
    loaded = store.load()
    assert len(loaded) == len(store) == 300
    assert same(loaded, columns)
    assert [loaded.raw(i) for i in range(300)] == raws
    assert [loaded.hash(i) for i in range(300)] == [sha256d(raw) for raw in raws]
    # the loaded columns can grow and be stored again
    raw = bytes(4) + loaded.hash(299) + bytes(44)
    loaded.append(raw, sha256d(raw), 299, loaded.height[299] + 1, 0, loaded.chainwork(299))
    database.commit(index_puts=[(300, loaded.record(300))])
    assert same(store.load(), loaded)
    database.close()


@pytest.mark.parametrize("forks", [False, True])
def test_a_lean_index_reads_the_rest_of_a_header_when_it_is_asked_for(tmp_path: Path, forks: bool) -> None:
    columns, raws = make_columns(2000, forks)
    database = Database.open(tmp_path)
    database.commit(index_puts={i: columns.record(i) for i in range(1900)})
    store = BlockIndexStore(database)
    lean, full = store.load(lean=True), store.load()
    assert full.rests.kept_bytes == REST_SIZE * 1900
    assert lean.rests.kept_bytes == REST_SIZE * (1900 % CHUNK_ROWS)
    assert same(lean, full) and lean.rests.kept_bytes <= REST_SIZE * CHUNK_ROWS * (READ_CHUNKS + 1)
    for raw in raws[1900:]:
        prev = next(i for i in range(len(lean)) if lean.hash(i) == raw[4:36])
        work = lean.chainwork(prev) + block_work(int.from_bytes(raw[72:76], "little"))
        lean.append(raw, sha256d(raw), prev, lean.height[prev] + 1, 2, work)
    assert [lean.raw(i) for i in range(2000)] == raws
    assert [lean.record(i) for i in range(1900)] == [columns.record(i) for i in range(1900)]
    database.commit(index_puts={i: lean.record(i) for i in range(1800, 2000)})
    lean.rests.note_stored(range(1899, 2000))
    assert lean.rests.kept_bytes <= REST_SIZE * CHUNK_ROWS * (READ_CHUNKS + 1), "rows 1792 to 1898 were stored at first"
    assert [lean.raw(i) for i in range(2000)] == raws and same(store.load(lean=True), lean)
    database.close()
    with pytest.raises(StorageError):
        lean.raw(300)


def test_damage_is_noticed_by_whoever_reads_the_rest_of_a_header(tmp_path: Path) -> None:
    columns, _ = make_columns(300, False)
    database = Database.open(tmp_path)
    database.commit(index_puts={i: columns.record(i) for i in range(300)})
    lean = BlockIndexStore(database).load(lean=True)
    with database._env.begin(write=True, db=database._dbs[DB_INDEX]) as txn:
        stored = bytearray(txn.get(index_key(77)))
        stored[20] ^= 1
        txn.put(index_key(77), bytes(stored))
    with pytest.raises(CorruptionError, match="a record of the block index"):
        lean.raw(5)
    assert lean.raw(200) == columns.raw(200)
    database.close()


def test_chainwork_of_every_header_of_a_tree_with_forks() -> None:
    """Added up from a header in eight, whatever was asked before."""
    columns, _ = make_columns(3000, True)
    works = [block_work(int.from_bytes(columns.raw(0)[72:76], "little"))]
    for i in range(1, 3000):
        works.append(works[columns.prev[i]] + block_work(int.from_bytes(columns.raw(i)[72:76], "little")))
    for order in (range(3000), range(2999, -1, -1), random.Random(1).choices(range(3000), k=5000)):
        columns._known_works.clear()
        assert [columns.chainwork(i) for i in order] == [works[i] for i in order]


def test_status_that_is_none_is_noticed() -> None:
    columns, _ = make_columns(1, False)
    with pytest.raises(CorruptionError, match="status"):
        IndexColumns().extend_records(columns.record(0, 256))


def test_new_database_has_empty_columns(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    assert len(BlockIndexStore(database).load()) == 0
    database.close()


def test_record_is_of_one_size_and_its_parts_are_where_the_layout_says() -> None:
    columns, raws = make_columns(3, False)
    record = columns.record(2)
    assert len(record) == INDEX_RECORD_SIZE == 136
    assert record[:48] == raws[2][:4] + raws[2][36:]
    assert record[48:80] == sha256d(raws[2])
    assert int.from_bytes(record[80:96], "big") == columns.chainwork(2)
    assert int.from_bytes(record[104:108], "little", signed=True) == 1


@pytest.mark.parametrize("forks", [False, True])
@pytest.mark.parametrize("damage", ["header", "hash", "prev", "height"])
@pytest.mark.parametrize("at", [0, 25, 57, 99])
def test_damaged_record_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: bool, damage: str, at: int
) -> None:
    monkeypatch.setattr(module, "CHECK_CHUNK", 10)
    columns, _ = make_columns(100, forks)
    columns.check()
    if damage == "header":
        columns.fields[12 * at + 5] ^= 1
    elif damage == "hash":
        columns.hashes[32 * at + 31] ^= 0x80
    elif damage == "prev":
        columns.prev[at] += 1
    else:
        columns.height[at] += 1
    database = Database.open(tmp_path)
    database.commit(index_puts={i: columns.record(i) for i in range(len(columns))})
    with pytest.raises(CorruptionError, match="--reindex"):
        BlockIndexStore(database).load()
    database.close()


@pytest.mark.parametrize("missing", [0, 50, 8191, 8192])
def test_gap_is_noticed(tmp_path: Path, missing: int) -> None:
    record = make_columns(1, False)[0].record(0)
    database = Database.open(tmp_path)
    database.commit(index_puts={i: record for i in range(9000) if i != missing})
    with pytest.raises(CorruptionError, match="gaps"):
        BlockIndexStore(database).load(check=False)
    database.close()


def test_record_of_a_wrong_size_is_noticed(tmp_path: Path) -> None:
    columns, _ = make_columns(4, False)
    database = Database.open(tmp_path)
    database.commit(index_puts={i: columns.record(i) + b"x" * (i == 2) for i in range(4)})
    with pytest.raises(CorruptionError, match="wrong size"):
        BlockIndexStore(database).load()
    database.close()
