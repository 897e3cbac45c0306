from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.errors import CorruptionError
from btcnode.primitives.hashes import sha256d
from btcnode.storage import block_index as module
from btcnode.storage.block_index import BlockIndexStore, IndexColumns
from btcnode.storage.database import Database
from btcnode.storage.layout import INDEX_RECORD_SIZE

NAMES = (
    "headers",
    "hashes",
    "chainwork",
    "chain_tx",
    "prev",
    "height",
    "status",
    "n_tx",
    "file",
    "data_pos",
    "undo_pos",
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
        raw = rng.randbytes(4) + parent + rng.randbytes(44)
        height = columns.height[prev] + 1 if prev >= 0 else 0
        assert (
            columns.append(raw[:4] + raw[36:], sha256d(raw), prev, height, rng.randrange(256), rng.randrange(1 << 96))
            == i
        )
        if rng.random() < 0.7:
            columns.n_tx[i] = rng.randrange(1 << 32)
            columns.chain_tx[i] = rng.randrange(1 << 64)
            columns.file[i] = rng.randrange(1 << 31)
            columns.data_pos[i] = rng.randrange(1 << 32)
            columns.undo_pos[i] = rng.randrange(1 << 32)
        raws.append(raw)
    return columns, raws


def same(one: IndexColumns, two: IndexColumns) -> bool:
    return all(getattr(one, name) == getattr(two, name) for name in NAMES)


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
    loaded.append(raw[:4] + raw[36:], sha256d(raw), 299, loaded.height[299] + 1, 0, 5)
    database.commit(index_puts=[(300, loaded.record(300))])
    assert same(store.load(), loaded)
    database.close()


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
    assert int.from_bytes(record[80:96], "big") == int.from_bytes(columns.chainwork[32:48], "big")
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
        columns.headers[48 * at + 5] ^= 1
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
