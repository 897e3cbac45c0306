from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from btcnode.protocol.addresses.seeding import named_source
from btcnode.services.addresses import Addresses
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress
from tests.lib.asmap_maker import random_map

Running = Any
NOW = 1_700_000_000


@pytest.fixture
def running(run_server: Any, tmp_path: Path) -> Running:
    (tmp_path / "regtest").mkdir()
    (tmp_path / "regtest" / "one.dat").write_bytes(bytes(3))  # everything belongs to AS 1
    return run_server(asmap="one.dat", test=("addrman",), cjdnsreachable=True, mocktime=NOW)


@pytest.fixture
def addresses(running: Running) -> Addresses:
    found: Addresses = running.parts.addresses
    return found


def test_addresses_are_added_and_told(running: Running, addresses: Addresses) -> None:
    assert running.call("addpeeraddress", "1.2.3.4", 8333) == {"success": True}
    assert running.call("addpeeraddress", "1.2.3.4", 8333, True) == {"error": "failed-adding-to-new", "success": False}
    assert running.call("addpeeraddress", "fc00::1", 8333, True) == {"success": True}
    assert running.call("getnodeaddresses", 0, "cjdns") == [
        {"time": NOW, "services": 9, "address": "fc00::1", "port": 8333, "network": "cjdns"}
    ]
    assert len(running.call("getnodeaddresses")) == 1
    assert len(running.call("getnodeaddresses", 0)) == 2
    info = running.call("getaddrmaninfo")
    assert info["ipv4"] == {"new": 1, "tried": 0, "total": 1}
    assert info["cjdns"] == {"new": 0, "tried": 1, "total": 1}
    assert info["all_networks"] == {"new": 1, "tried": 1, "total": 2}


def test_tables_are_shown_place_by_place(running: Running, addresses: Addresses) -> None:
    seed = named_source("x9.seed.example")
    addresses.book.add([AddrEntry(NOW, 1033, NetAddress.from_host("5.6.7.8", 18444))], seed, NOW)
    running.call("addpeeraddress", "9.9.9.9", 1, True)
    tables = running.call("getrawaddrman")
    ((place, entry),) = tables["new"].items()
    bucket, _, position = place.partition("/")
    assert 0 <= int(bucket) < 1024 and 0 <= int(position) < 64
    assert entry.pop("source").endswith(".internal")
    assert entry == {
        "address": "5.6.7.8",
        "mapped_as": 1,
        "port": 18444,
        "services": 1033,
        "time": NOW,
        "network": "ipv4",
        "source_network": "internal",
    }
    (tried,) = tables["tried"].values()
    assert (tried["address"], tried["source"], tried["source_mapped_as"]) == ("9.9.9.9", "9.9.9.9", 1)


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("getnodeaddresses", (-1,), -8, "Address count out of range"),
        ("getnodeaddresses", (1, "Foo"), -8, "Network not recognized: Foo"),
        ("addpeeraddress", ("not_an_ip", 1), -30, "Invalid IP address"),
        ("addpeeraddress", ("1.2.3.4", 65536), -1, "JSON integer out of range"),
        ("addpeeraddress", ("1.2.3.4", -1), -1, "JSON integer out of range"),
    ],
)
def test_wrong_arguments(
    running: Running, addresses: Addresses, method: str, params: tuple[Any, ...], code: int, message: str
) -> None:
    assert running.call(method, *params) == {"code": code, "message": message}


def test_the_map_is_exported(
    running: Running, addresses: Addresses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"code": -1, "message": "No embedded ASMap data available"}
    assert running.call("exportasmap", "asmap.dat") == missing
    monkeypatch.setattr("btcnode.services.addresses.embedded_asmap", lambda: random_map(1))
    result = running.call("exportasmap", "asmap.dat")
    written = tmp_path / "regtest" / "asmap.dat"
    assert result["path"] == str(written)
    assert result["bytes_written"] == written.stat().st_size
    assert running.call("exportasmap", str(tmp_path))["code"] == -1
