"""Coins in order, loaded in one pass: the same set and hash as by any other way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from btcnode.primitives.coin import make_coin
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.survivor_load import RepeatedOutput, load_survivors
from tests.lib.coins import all_coins

Row = tuple[bytes, bytes]


def rows_of(seed: int) -> list[Row]:
    """Coins of transactions, one of them with outputs above 255, in order of the outpoints' bytes."""
    rng = random.Random(seed)
    rows = []
    for outputs in (*(rng.randrange(1, 6) for _ in range(3000)), 700):
        txid = rng.randbytes(32)
        rows += [(txid + n.to_bytes(4, "little"), make_coin(n, False, n, rng.randbytes(22))) for n in range(outputs)]
    return sorted(rows)


def in_batches(rows: list[Row], size: int) -> list[list[Row]]:
    return [rows[at : at + size] for at in range(0, len(rows), size)]


@pytest.mark.parametrize("size", [1, 333, 100_000])
def test_the_set_and_its_hash(tmp_path: Path, size: int) -> None:
    rows = rows_of(1)
    database = Database.open(tmp_path / "one")
    count, utxo_hash = load_survivors(lambda: in_batches(rows, size), database, len(rows))
    assert count == len(rows)
    coins = CoinsDb(database)
    assert sorted(all_coins(coins)) == rows
    assert coins.utxo_stats().hash == utxo_hash
    other = Database.open(tmp_path / "other")
    other.commit(coins_put=dict(rows))
    assert CoinsDb(other).utxo_stats().hash == utxo_hash
    database.close()
    other.close()


def test_an_output_that_is_there_twice(tmp_path: Path) -> None:
    rows = rows_of(2)
    database = Database.open(tmp_path)
    with pytest.raises(RepeatedOutput):
        load_survivors(lambda: in_batches([*rows[:900], rows[899], *rows[900:]], 100), database, len(rows))
    assert all_coins(CoinsDb(database)) == []
    database.close()


def test_no_coins_at_all(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    count, utxo_hash = load_survivors(list, database, 0)
    assert (count, utxo_hash) == (0, CoinsDb(database).utxo_stats().hash)
    database.close()
