"""The store of an optional index: durable batches, rows by their first bytes."""

from __future__ import annotations

from pathlib import Path

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
    with pytest.raises(CorruptionError, match=r"damaged or foreign|shorter than it says"):
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
