"""The store of an optional index: durable batches, rows by their first bytes."""

from __future__ import annotations

import random
from pathlib import Path

import lmdb
import pytest

from btcnode.errors import CorruptionError
from btcnode.indexes.store import Batch, IndexStore
from btcnode.primitives.hashes import BlockHash

ONE, TWO = BlockHash(b"\x01" * 32), BlockHash(b"\x02" * 32)


def test_records_rows_and_numbers(tmp_path: Path) -> None:
    store = IndexStore(tmp_path / "deep" / "index.mdb")
    assert (store.best(), store.record(ONE), store.block_count(), store.find(b"ab")) == (None, None, 0, [])
    row = b"ab" + (0).to_bytes(4, "big")
    store.put(Batch({ONE: b"first"}, {0: ONE}, [row + b"x", b"ac" + row[2:]]), ONE)
    store.put(Batch({TWO: b"second"}, {1: TWO}, [b"ab" + (1).to_bytes(4, "big") + b"y"]), TWO)
    store.close()
    store = IndexStore(tmp_path / "deep" / "index.mdb")
    assert (store.best(), store.record(ONE), store.record(TWO)) == (TWO, b"first", b"second")
    assert store.block_count() == 2
    assert store.find(b"ab") == [(TWO, b"y"), (ONE, b"x")]
    assert store.find(b"ac") == [(ONE, b"")]
    store.close()


def test_row_of_a_block_without_number(tmp_path: Path) -> None:
    store = IndexStore(tmp_path / "index.mdb")
    store.put(Batch({ONE: b""}, {}, [b"ab" + bytes(4)]), ONE)
    with pytest.raises(CorruptionError):
        store.find(b"ab")
    store.close()


def test_wipe(tmp_path: Path) -> None:
    store = IndexStore(tmp_path / "index.mdb")
    store.put(Batch({ONE: b"record"}), ONE)
    store.close()
    store = IndexStore(tmp_path / "index.mdb", wipe=True)
    assert store.best() is None and store.record(ONE) is None
    store.close()


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_damaged_file(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "index.mdb"
    store = IndexStore(path)
    store.put(Batch({BlockHash(bytes((n,)) * 32): bytes(2000) for n in range(200)}), ONE)
    store.close()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else bytes(len(data)))
    with pytest.raises(CorruptionError, match=r"is damaged|shorter than it says"):
        IndexStore(path)
    IndexStore(path, wipe=True).close()


def test_other_layout(tmp_path: Path) -> None:
    path = tmp_path / "index.mdb"
    store = IndexStore(path)
    with store._env.begin(write=True) as txn:
        txn.put(b"schema", (77).to_bytes(4, "little"))
    store.close()
    with pytest.raises(CorruptionError, match="has layout 77, this version knows"):
        IndexStore(path)


def test_wiped_while_open(tmp_path: Path) -> None:
    store = IndexStore(tmp_path / "index.mdb")
    store.put(Batch({ONE: b"record"}), ONE)
    store.wipe()
    assert store.best() is None
    store.put(Batch({TWO: b"second"}), TWO)
    store.close()
    store = IndexStore(tmp_path / "index.mdb")
    assert (store.best(), store.record(TWO)) == (TWO, b"second")
    store.close()


@pytest.mark.parametrize("kind", ["byte", "page"])
def test_damage_is_noticed_or_without_consequences(tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    path = tmp_path / "index.mdb"
    store = IndexStore(path)
    blocks = [BlockHash(rng.randbytes(32)) for _ in range(60)]
    wanted = []
    for first in range(0, len(blocks), 6):
        batch = Batch()
        for number, block in enumerate(blocks[first : first + 6], first):
            batch.records[block], batch.numbers[number] = rng.randbytes(50), block
            keys = [rng.randbytes(8) for _ in range(20)]
            batch.rows += [key + number.to_bytes(4, "big") + bytes(6) for key in keys]
            wanted += keys
        store.put(batch, blocks[min(first + 5, len(blocks) - 1)])
    store.close()

    def content() -> list[object]:
        opened = IndexStore(path)
        try:
            records = [opened.record(block) for block in blocks]
            return [records, [opened.find(key) for key in wanted], opened.find(b"none"), opened.best()]
        finally:
            opened.close()

    good, whole, noticed = path.read_bytes(), content(), 0
    for _ in range(150):
        bad = bytearray(good)
        if kind == "byte":
            bad[rng.randrange(len(bad))] ^= rng.randrange(1, 256)
        else:
            at = rng.randrange(len(bad) // 4096) * 4096
            bad[at : at + 4096] = rng.randbytes(4096)
        path.write_bytes(bad)
        try:
            found = content()
            # an earlier commit is what a power loss may leave as well
            assert found[:3] == whole[:3] or found[3] != whole[3]
        except CorruptionError as error:
            assert path.name in str(error)
            noticed += 1
    assert noticed > 5


def test_rows_are_proven_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.mdb"
    store, rows = IndexStore(path), [bytes([n]) * 8 + bytes(10) for n in range(1, 40)]
    store.put(Batch({ONE: b"record"}, {0: ONE}, rows), ONE)
    store.close()
    with lmdb.open(str(path), subdir=False, max_dbs=90) as env, env.begin(write=True) as txn:
        txn.delete(rows[5], db=env.open_db(b"run00", txn=txn))
    with pytest.raises(CorruptionError, match="rows"):
        IndexStore(path)
    monkeypatch.setattr("btcnode.indexes.store.check_file", lambda *_, **__: False)  # as if it were large
    store = IndexStore(path)
    assert store.find(rows[4][:8])
    with pytest.raises(CorruptionError, match=r"index\.mdb is damaged.*rows"):
        store.find(rows[5][:8])
    store.close()
