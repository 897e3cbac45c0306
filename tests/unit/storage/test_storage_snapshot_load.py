"""UTXO sets read from files: in one pass, in any order, and what is wrong with them in Core's words."""

from __future__ import annotations

import errno
import io
import random
from pathlib import Path
from typing import BinaryIO

import pytest

from btcnode.errors import StorageError
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import make_coin
from btcnode.primitives.hashes import BlockHash
from btcnode.storage import snapshot_load
from btcnode.storage.coins import CoinItem, CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.snapshot_load import SnapshotRefused, load_coins
from btcnode.storage.utxo_snapshot import HEADER, SnapshotHeader, write_coins
from tests.lib.coins import all_coins

HEIGHT = 500
BASE = BlockHash(bytes(32))
Transaction = list[CoinItem]


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_load, "TOGETHER", 100)
    monkeypatch.setattr(snapshot_load, "BATCH", 700)
    monkeypatch.setattr(snapshot_load, "READ_SIZE", 1000)


def transactions(seed: int) -> list[Transaction]:
    """Of which one has outputs whose order by VARINT is not that of their bytes, in the order of txids."""
    rng = random.Random(seed)
    found = []
    for outputs in (*(range(rng.randrange(1, 5)) for _ in range(900)), range(16_000, 17_000), range(300)):
        txid = rng.randbytes(32)
        rows = [(txid + n.to_bytes(4, "little"), make_coin(n % HEIGHT, False, n, rng.randbytes(22))) for n in outputs]
        found.append(rows)
    return sorted(found)


def file_of(txs: list[Transaction], coins: int | None = None) -> tuple[BinaryIO, SnapshotHeader]:
    header = SnapshotHeader(BASE, sum(map(len, txs)) if coins is None else coins)
    file = io.BytesIO()
    file.write(header.pack(params_for("regtest")))
    write_coins(file, txs, lambda: None)
    file.seek(HEADER.size)
    return file, header


def load(folder: Path, txs: list[Transaction], coins: int | None = None) -> tuple[list[CoinItem], bytes, bytes | None]:
    """The coins that are stored then, the hash that was told, and the hash of what is stored."""
    database = Database.open(folder)
    try:
        told = load_coins(*file_of(txs, coins), HEIGHT, database, lambda: None)
        stored = CoinsDb(database)
        return sorted(all_coins(stored)), told, stored.utxo_stats().hash
    finally:
        database.close()


def test_in_order_they_become_one_file_and_are_hashed_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    txs = transactions(1)
    with monkeypatch.context() as patched:
        patched.setattr(CoinsDb, "utxo_stats", None)  # a second pass
        database = Database.open(tmp_path)
        told = load_coins(*file_of(txs), HEIGHT, database, lambda: None)
        assert len(database.coin_runs.runs) == 1
    assert CoinsDb(database).utxo_stats().hash == told
    assert sorted(all_coins(CoinsDb(database))) == sorted(row for tx in txs for row in tx)
    database.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_any_other_order_gives_the_same_set(tmp_path: Path, seed: int) -> None:
    txs = transactions(3)
    whole = load(tmp_path / "ordered", txs)
    random.Random(seed).shuffle(txs)
    assert load(tmp_path / "shuffled", txs) == whole
    assert whole[1] == whole[2]


def test_a_transaction_in_two_pieces_and_an_output_that_is_there_twice(tmp_path: Path) -> None:
    txs = transactions(4)
    whole = load(tmp_path / "whole", txs)
    big = max(range(len(txs)), key=lambda at: len(txs[at]))
    pieces = [*txs[:big], txs[big][:400], txs[big][400:], *txs[big + 1 :]]
    assert load(tmp_path / "pieces", pieces) == whole
    twice = [*txs[:50], [txs[50][0]], *txs[50:]]
    assert load(tmp_path / "twice", twice) == whole


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("height", "Bad snapshot data after deserializing"),
        ("amount", "bad tx out value"),
        ("cut", "Bad snapshot format or truncated snapshot after deserializing"),
        ("more", "coins left over after deserializing"),
        ("fewer", "Mismatch in coins count"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_of_it_counts_as_loaded(
    tmp_path: Path, fault: str, text: str, ordered: bool
) -> None:
    txs = transactions(5)
    if not ordered:
        txs.reverse()
    count = sum(map(len, txs))
    if fault == "height":
        txs[800][0] = (txs[800][0][0], make_coin(HEIGHT + 1, False, 1, b"x"))
    if fault == "amount":
        txs[800][0] = (txs[800][0][0], make_coin(HEIGHT, False, 21_000_001 * 10**8, b"x"))
    if fault == "fewer":  # than the last transaction says
        txs.append(txs.pop(max(range(len(txs)), key=lambda at: len(txs[at]))))
    coins = count - 1 if fault == "fewer" else count - len(txs[-1]) if fault == "more" else count
    file, header = file_of(txs, coins)
    if fault == "cut":
        data = file.read()
        file = io.BytesIO(bytes(HEADER.size) + data[: len(data) * 3 // 4])
        file.seek(HEADER.size)
    database = Database.open(tmp_path)
    with pytest.raises(SnapshotRefused, match=text):
        load_coins(file, header, HEIGHT, database, lambda: None)
    if ordered and fault != "fewer":
        assert database.coin_runs.runs == ()
    database.close()


def test_a_request_to_stop_ends_it(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked == 4:
            raise Stopped

    with pytest.raises(Stopped):
        load_coins(*file_of(transactions(6)), HEIGHT, database, stop)
    assert database.coin_runs.runs == ()
    database.close()


def test_a_file_that_cannot_be_read_is_named_as_such(tmp_path: Path) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    database = Database.open(tmp_path)
    with pytest.raises(StorageError, match="cannot read the UTXO set: Input/output error"):
        load_coins(Broken(), SnapshotHeader(BASE, 5), HEIGHT, database, lambda: None)
    database.close()
