from __future__ import annotations

import logging
from pathlib import Path
from random import Random

import pytest

from btcnode.errors import ConfigError, StorageError
from btcnode.networks.seeds import fixed_seeds
from btcnode.protocol.addresses.address_file import Snapshot
from btcnode.protocol.addresses.netgroup import NetGroups
from btcnode.services.addresses import Addresses
from btcnode.services.clock import Clock
from btcnode.services.peers_file import (
    forget_anchors,
    load_book,
    load_groups,
    read_anchors,
    save_anchors,
    save_book,
    seed_addresses,
)
from btcnode.settings.settings import Settings
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.settings import settings_of

MAGIC = bytes.fromhex("fabfb5da")
ENTRY = AddrEntry(1_700_000_000, 9, NetAddress.from_host("8.8.8.8", 8333))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = settings_of(network="regtest", datadir=tmp_path, test=("addrman",), checkaddrman=1)
    settings.net_dir.mkdir()
    return settings


def test_a_missing_file_is_made(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "btcnode")
    book = load_book(settings, MAGIC, Random(1), NetGroups())
    assert f'Creating peers.dat because the file was not found ("{settings.net_dir / "peers.dat"}")' in caplog.text
    book.add([ENTRY], ENTRY.address, ENTRY.time)
    assert "Added 8.8.8.8:8333 to new[" in caplog.text
    assert "CheckAddrman: new 1, tried 0, total 1 started" in caplog.text
    caplog.clear()
    path = settings.net_dir / "peers.dat"
    Addresses(book, settings.net_dir, MAGIC, Clock(), cjdns=False).sampling(0, None)
    assert "CheckAddrman: new 1, tried 0, total 1 started" in caplog.text  # who only reads has it looked at, too
    save_book(path, Snapshot(book).encode(MAGIC))
    again = load_book(settings, MAGIC, Random(1), NetGroups())
    assert ENTRY.address in again
    assert "Loaded 1 addresses from peers.dat" in caplog.text


def test_a_later_version_is_set_aside(settings: Settings) -> None:
    path = settings.net_dir / "peers.dat"
    load_book(settings, MAGIC, Random(1), NetGroups())
    data = path.read_bytes()
    later = data[:5] + bytes((200,)) + data[6:]
    path.write_bytes(later)
    assert not len(load_book(settings, MAGIC, Random(1), NetGroups()))
    assert (settings.net_dir / "peers.dat.bak").read_bytes() == later
    assert path.read_bytes() != later


def test_a_damaged_file_stops_the_start(settings: Settings) -> None:
    path = settings.net_dir / "peers.dat"
    load_book(settings, MAGIC, Random(1), NetGroups())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"Invalid or corrupt peers\.dat \(AutoFile::read: end of file"):
        load_book(settings, MAGIC, Random(1), NetGroups())


def test_anchors_serve_until_they_are_forgotten(tmp_path: Path) -> None:
    other = AddrEntry(5, 1033, NetAddress(Network.TORV3, bytes(range(32)), 8333))
    save_anchors(tmp_path, (ENTRY, other), MAGIC)
    assert read_anchors(tmp_path, MAGIC) == (ENTRY, other)
    assert read_anchors(tmp_path, MAGIC) == (ENTRY, other)
    forget_anchors(tmp_path)
    assert read_anchors(tmp_path, MAGIC) == ()
    (tmp_path / "anchors.dat").write_bytes(b"nonsense")
    assert read_anchors(tmp_path, MAGIC) == ()


@pytest.mark.parametrize(("name", "text"), [("missing", "Could not find"), ("empty", "Could not parse")])
def test_a_map_that_cannot_be_used_stops_the_start(tmp_path: Path, name: str, text: str) -> None:
    settings = settings_of(network="regtest", datadir=tmp_path, asmap=name)
    settings.net_dir.mkdir()
    (settings.net_dir / "empty").touch()
    with pytest.raises(ConfigError, match=f'{text} asmap file "{settings.net_dir / name}"'):
        load_groups(settings)


def test_fixed_seeds_of_every_network() -> None:
    counts = {name: len(fixed_seeds(name)) for name in ("mainnet", "testnet3", "testnet4", "signet", "regtest")}
    assert counts == {"mainnet": 2059, "testnet3": 181, "testnet4": 230, "signet": 170, "regtest": 0}
    kinds = {seed.network for seed in seed_addresses("mainnet")}
    assert kinds == set(Network)
    assert all(seed.is_routable for seed in seed_addresses("mainnet"))
