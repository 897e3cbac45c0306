from __future__ import annotations

import io
from pathlib import Path

import lmdb
import pytest

from btcnode.errors import DecodeError
from btcnode.networks.parameters import params_for
from btcnode.primitives.coin import coin_prefix, make_txout
from btcnode.primitives.hashes import BlockHash
from btcnode.storage.coin_changes import CoinChanges
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.utxo_snapshot import SnapshotHeader, parse_header, write_coins

PARAMS = params_for("regtest")
BASE = BlockHash(bytes(range(32)))


def key(txid: int, vout: int) -> bytes:
    return bytes([txid]) * 32 + vout.to_bytes(4, "little")


def coin(value: int) -> bytes:
    return coin_prefix(200, False) + make_txout(value, b"\x51" * 5)


def test_header() -> None:
    data = SnapshotHeader(BASE, 298).pack(PARAMS)
    assert data == b"utxo\xff\x02\x00" + PARAMS.magic + BASE + (298).to_bytes(8, "little")
    assert parse_header(data, PARAMS) == SnapshotHeader(BASE, 298)
    for wrong, why in (
        (b"x" + data[1:], "Invalid UTXO set snapshot magic bytes"),
        (data[:5] + b"\x03" + data[6:], "Version of snapshot 3 does not match"),
        (data[:7] + params_for("signet").magic + data[11:], r"network of the snapshot \(signet\) .* node \(regtest\)"),
        (data[:7] + bytes(4) + data[11:], "unrecognized network"),
        (data[:50], "end of file"),
        (data[:4], "end of file"),
        (b"", "end of file"),
    ):
        with pytest.raises(DecodeError, match=why):
            parse_header(wrong, PARAMS)


def test_outputs_come_in_the_order_of_varints() -> None:
    out = io.BytesIO()
    outputs = [(key(1, vout), coin(vout)) for vout in (0, 127, 300, 20000)]
    written = write_coins(out, [outputs], lambda: None)
    assert written.coins == 4
    data = out.getvalue()
    assert data[:33] == bytes([1]) * 32 + b"\x04"
    places = [data.index(mark) for mark in (b"\x00\x82\x10", b"\x7f\x82", b"\xfd\x20\x4e", b"\xfd\x2c\x01")]
    assert places == sorted(places)  # 20000 has a VARINT of three bytes that begins with less than that of 300


@pytest.mark.parametrize("in_memory", [True, False])
def test_changes_over_the_stored_coins(tmp_path: Path, in_memory: bool) -> None:
    database = Database.open(tmp_path)
    stored = {key(n, 0): coin(n) for n in range(1, 200)}
    database.commit(coins_put=stored)
    with CoinsDb(database).snapshot() as txn:
        changes = CoinChanges(txn, None if in_memory else tmp_path / "spill")
        assert changes.count() == len(stored)
        changes.apply({key(7, 3): coin(73), key(9, 0): coin(90)}, [key(1, 0), key(9, 0)])
        changes.apply({key(1, 0): coin(10)}, [key(7, 3), key(2, 0)])
        expected = stored | {key(9, 0): coin(90), key(1, 0): coin(10)}
        del expected[key(2, 0)]
        assert changes.get_many([key(9, 0), key(2, 0), key(7, 3), key(5, 0)]) == [coin(90), None, None, coin(5)]
        assert dict(item for chunk in changes.chunks() for item in chunk) == expected
        assert changes.count() == len(expected)
        changes.close()
    database.close()
    assert not (tmp_path / "spill").exists()


def test_changes_of_a_killed_run_do_not_count(tmp_path: Path) -> None:
    """A file that lies there is not taken for changes, and a kill leaves none: it has no name while it is worked on."""
    old = lmdb.open(str(tmp_path / "spill"), subdir=False, lock=False)
    with old.begin(write=True) as txn:
        txn.put(key(5, 0), coin(55))
    old.close()
    database = Database.open(tmp_path)
    database.commit(coins_put={key(5, 0): coin(5)})
    with CoinsDb(database).snapshot() as txn:
        changes = CoinChanges(txn, tmp_path / "spill")
        assert changes.get_many([key(5, 0)]) == [coin(5)]
        assert not (tmp_path / "spill").exists()
        changes.close()
    database.close()
