"""Files in Bitcoin Core's formats that were damaged on the disk: said, kept aside, and nothing of them is used."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from random import Random

import pytest

from btcnode.mempool.fee_file import encode_estimates
from btcnode.mempool.persistence import StoredTx, encode_dump
from btcnode.primitives.tx import Tx
from btcnode.protocol.connections.bans import MAX_BANS
from btcnode.services.ban_file import MAX_BYTES, BanFile
from btcnode.services.fees import load_estimator
from btcnode.storage.trailer import TRAILER_SIZE, with_trailer
from btcnode.testing.blocks import coinbase_tx
from btcnode.wire.subnet import SubNet
from tests.lib.node_parts import NodeLab, regtest_config
from tests.lib.process import until
from tests.unit.mempool.test_mempool_fee_estimator import trained

NOW = 1_700_000_000


def flipped(data: bytes, at: int, rng: Random) -> bytes:
    return data[:at] + bytes((data[at] ^ rng.randrange(1, 256),)) + data[at + 1 :]


def banned(directory: Path) -> bytes:
    """A file with two bans."""

    async def write() -> None:
        file = BanFile(directory, NOW)
        file.bans.add(SubNet.parse("10.1.0.0/16"), NOW, NOW + 1000)
        file.bans.add(SubNet.parse("2001:db8::1"), NOW, NOW + 2000)
        file.changed()
        await file.close(NOW)

    asyncio.run(write())
    return (directory / "banlist.json").read_bytes()


def test_as_many_bans_as_there_may_be_are_read_again(tmp_path: Path) -> None:
    """A file that is too large to be read is put aside, and nobody is banned: none that was written may be."""
    long = [SubNet.parse(f"ffff:ffff:ffff:ffff:ffff:ffff:ffff:{n:x}/127") for n in range(0x8000, 0x8040, 2)]

    async def write() -> None:
        file = BanFile(tmp_path, NOW)
        for net in long:
            file.bans.add(net, 9_999_999_999, 99_999_999_999)
        file.changed()
        await file.close(NOW)

    asyncio.run(write())
    assert (tmp_path / "banlist.json").stat().st_size / len(long) * MAX_BANS < MAX_BYTES
    assert {net for net, _ in BanFile(tmp_path, NOW).bans.all()} == set(long)


def test_a_changed_ban_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, rng = tmp_path / "banlist.json", Random(1)
    data = banned(tmp_path)
    assert [str(net) for net, _ in BanFile(tmp_path, NOW).bans.all()] == ["10.1.0.0/16", "2001:db8::1/128"]
    body = data.index(b"_crc32_")
    for at in {
        data.index(b"10.1") + 3,
        data.index(str(NOW + 1000).encode()),
        *(rng.randrange(body - 1) for _ in range(60)),
    }:
        spoiled = flipped(data, at, rng)
        path.write_bytes(spoiled)
        caplog.clear()
        assert not len(BanFile(tmp_path, NOW).bans), spoiled
        assert f"Cannot load banlist {path}" in caplog.text
        assert "it is kept as banlist.json.damaged, and nobody is banned" in caplog.text
        assert path.with_name("banlist.json.damaged").read_bytes() == spoiled
    for at in range(body, len(data)):
        path.write_bytes(flipped(data, at, rng))
        found = [(str(net), ban.created, ban.until) for net, ban in BanFile(tmp_path, NOW).bans.all()]
        assert found in ([], [("10.1.0.0/16", NOW, NOW + 1000), ("2001:db8::1/128", NOW, NOW + 2000)])


def test_a_list_that_was_not_here_is_written_beside_what_else_begins(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def begin() -> None:
        file = BanFile(tmp_path, NOW)
        file.begin()
        assert not (tmp_path / "banlist.json").exists()
        await until((tmp_path / "banlist.json").exists)
        await file.close(NOW)

    caplog.set_level("INFO")
    asyncio.run(asyncio.wait_for(begin(), 60))
    assert "Recreating the banlist database" in caplog.messages
    caplog.clear()
    assert not BanFile(tmp_path, NOW).bans.all()
    assert not caplog.messages


def test_bans_of_core_and_of_an_editor_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "banlist.json"
    found = json.loads(banned(tmp_path))
    del found["_crc32_"]
    found["banned_nets"][0]["address"] = "10.2.0.0/16"
    path.write_text(json.dumps({"_warning_": "written by another program", **found}))
    assert [str(net) for net, _ in BanFile(tmp_path, NOW).bans.all()] == ["10.2.0.0/16", "2001:db8::1/128"]


def test_changed_fee_statistics_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, rng = tmp_path / "fee_estimates.dat", Random(2)
    core = encode_estimates(trained(30))
    ours = with_trailer(core)
    for whole in (core, ours):
        path.write_bytes(whole)
        assert encode_estimates(load_estimator(path, accept_stale=False)) == core
    cut = [ours[:-1], core[:-1], ours[: len(ours) // 2]]
    for spoiled in [*cut, *(flipped(ours, rng.randrange(len(ours)), rng) for _ in range(100))]:
        path.write_bytes(spoiled)
        caplog.clear()
        assert load_estimator(path, accept_stale=False).best_height == 0
        assert f"Failed to read fee estimates from {path}" in caplog.text
        assert "it is kept as fee_estimates.dat.damaged" in caplog.text
        assert path.with_name("fee_estimates.dat.damaged").read_bytes() == spoiled
        assert not path.exists()


def test_a_changed_fee_delta_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    net_dir, txid = tmp_path / "regtest", bytes(range(32))
    net_dir.mkdir()
    path = net_dir / "mempool.dat"
    stored = [StoredTx(Tx.parse(coinbase_tx(1, 1).raw), NOW, 7)]
    data = encode_dump(stored, {txid: 5000}, [], None)
    place = data.index((5000).to_bytes(8, "little"))
    path.write_bytes(flipped(data, place, Random(3)))
    node = NodeLab(regtest_config(tmp_path))
    assert not node.assembled.machinery.transactions.pool.deltas
    node.close()
    assert f"{path} is damaged" in caplog.text
    assert "it is kept as mempool.dat.damaged, and the mempool begins empty" in caplog.text
    for whole in (data, data[:-TRAILER_SIZE]):
        path.write_bytes(whole)
        node = NodeLab(regtest_config(tmp_path))
        assert node.assembled.machinery.transactions.pool.deltas[txid] == 5000
        node.close()


def test_a_damaged_file_that_cannot_be_renamed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "fee_estimates.dat"
    path.write_bytes(b"nothing")
    (tmp_path / "fee_estimates.dat.damaged").mkdir()
    caplog.set_level(logging.WARNING)
    assert load_estimator(path, accept_stale=False).best_height == 0
    assert "it cannot be renamed: Is a directory" in caplog.text


def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its owner may mend what keeps the node from it: rights, or the disk below."""
    directory = tmp_path / "regtest"
    directory.mkdir()
    small = ("banlist.json", "mempool.dat", "fee_estimates.dat")
    for name in small:
        (directory / name).mkdir()  # to open it is an error, whoever asks
    caplog.set_level(logging.WARNING)
    NodeLab(regtest_config(tmp_path)).close()
    for name in small:
        assert (directory / f"{name}.damaged").is_dir()
        assert f"it is kept as {name}.damaged" in caplog.text
    assert (directory / "banlist.json").is_file() and (directory / "mempool.dat").is_file()
