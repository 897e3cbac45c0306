"""Where a node listens, which port it tells of, and how proxies get their addresses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.node import proxy_setup
from btcnode.node.proxy_setup import Listening, listen_port, listening, make_dialer, own_addresses
from btcnode.wire.netaddr import NetAddress, Network
from tests.lib.settings import settings_of

ANY = (("0.0.0.0", 8333), ("::", 8333))


def places(**options: Any) -> Listening:
    settings = settings_of(**options)
    return listening(settings.connections)


def test_by_default_everywhere_and_for_tor_one_port_higher() -> None:
    assert places() == Listening(ANY, (("127.0.0.1", 8334),), chosen=False)
    found = places(port=5)
    assert (found.binds, found.onion) == ((("0.0.0.0", 5), ("::", 5)), (("127.0.0.1", 6),))
    assert places(port=0).onion == ()  # nobody knows the port after a port that is yet to be chosen


def test_places_of_the_user() -> None:
    assert places(bind=("127.0.0.1:5",)) == Listening((("127.0.0.1", 5),), (), chosen=True)
    both = places(bind=("127.0.0.1:5", "[::1]=onion"))
    assert (both.binds, both.onion) == ((("127.0.0.1", 5),), (("::1", 8334),))
    only_onion = places(bind=("127.0.0.1:5=onion",))
    assert (only_onion.binds, only_onion.onion) == ((), (("127.0.0.1", 5),))
    assert places(whitebind=("127.0.0.1:5",)).onion == (("127.0.0.1", 8334),)


@pytest.mark.parametrize(
    "options",
    [
        {"bind": ("127.0.0.1:5", "127.0.0.1:5")},
        {"bind": ("127.0.0.1:5", "127.0.0.1:5=onion")},
        {"bind": ("127.0.0.1:5=onion", "127.0.0.1:5=onion")},
        {"bind": ("127.0.0.1:5",), "whitebind": ("noban@127.0.0.1:5",)},
        {"bind": ("[::1]:5", "[0:0::1]:5")},
    ],
    ids=str,
)
def test_a_place_that_is_named_twice(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Duplicate binding configuration for address"):
        places(**options)


@pytest.mark.parametrize(
    ("options", "port"),
    [
        ({}, 8333),
        ({"port": 1}, 1),
        ({"port": 1, "bind": ("1.1.1.1",)}, 1),
        ({"port": 1, "bind": ("1.1.1.1:2", "1.1.1.1:3")}, 2),
        ({"port": 1, "bind": ("1.1.1.1:2=onion",)}, 1),
        ({"port": 1, "whitebind": ("1.1.1.1:3",)}, 3),
        ({"port": 1, "bind": ("1.1.1.1:2",), "whitebind": ("1.1.1.1:3",)}, 2),
        ({"port": 1, "whitebind": ("noban@1.1.1.1:3",)}, 1),
    ],
    ids=str,
)
def test_the_port_of_an_external_address(options: dict[str, Any], port: int) -> None:
    settings = settings_of(externalip=("2.2.2.2", "2.2.2.2:77"), **options)
    assert listen_port(settings.connections) == port
    told = own_addresses(settings)
    assert [(str(item.address), item.source) for item in told] == [(f"2.2.2.2:{port}", "user"), ("2.2.2.2:77", "user")]


ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
I2P = "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, ["2.2.2.2:8333", f"{I2P}:8333"]),
        ({"onion": "127.0.0.1:9050"}, ["2.2.2.2:8333", f"{ONION}:5", f"{I2P}:8333"]),
        ({"onlynet": ("ipv6",)}, []),
        ({"onlynet": ("ipv4", "i2p"), "i2psam": "127.0.0.1:7"}, ["2.2.2.2:8333", f"{I2P}:8333"]),
    ],
)
def test_external_addresses_in_networks_that_are_reached(options: dict[str, Any], told: list[str]) -> None:
    settings = settings_of(externalip=("2.2.2.2", f"{ONION}:5", I2P.upper()), port=8333, **options)
    assert [str(item.address) for item in own_addresses(settings)] == told


def test_interfaces_are_told_of_when_listening_at_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def interfaces(port: int) -> list[NetAddress]:
        return [NetAddress.from_host("1.1.1.1", port), NetAddress.from_host("fc00::1", port)]

    monkeypatch.setattr("btcnode.net.interfaces.interface_addresses", interfaces)

    def told(**options: Any) -> list[str]:
        settings = settings_of(**options)
        return [str(item.address) for item in own_addresses(settings)]

    assert told() == ["1.1.1.1:8333", "[fc00::1]:8333"]
    assert told(bind=("0.0.0.0:5",)) == ["1.1.1.1:5", "[fc00::1]:5"]
    for silent in ({"bind": ("1.1.1.1",)}, {"discover": False}, {"proxy": ("127.0.0.1",)}, {"listen": False}):
        assert told(**silent) == []
    settings = settings_of(cjdnsreachable=True)
    networks = [item.address.network for item in own_addresses(settings)]
    assert networks == [Network.IPV4, Network.CJDNS]


def test_names_of_proxies_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def lookup(host: str, port: int) -> list[NetAddress]:
        asked.append(host)
        return [NetAddress.from_host("10.0.0.1", port)] if host == "tor" else []

    monkeypatch.setattr(proxy_setup, "lookup", lookup)
    dialer = asyncio.run(make_dialer(settings_of(proxy=("tor:9050",), i2psam="127.0.0.1")))
    assert str(dialer.proxy_of(Network.IPV4)) == str(dialer.name_proxy) == "10.0.0.1:9050"
    assert asked == ["tor"]
    with pytest.raises(ConfigError, match="Invalid -onion address or hostname: 'nowhere:9050'"):
        asyncio.run(make_dialer(settings_of(onion="nowhere")))
    with pytest.raises(ConfigError, match="Invalid -proxy address or hostname: 'tor:9050'"):
        asyncio.run(make_dialer(settings_of(proxy=("tor",), dns=False)))


def test_the_key_of_a_lasting_i2p_address(tmp_path: Path) -> None:
    dialer = asyncio.run(make_dialer(settings_of(i2psam="127.0.0.1", datadir=tmp_path)))
    assert dialer.i2p is not None
    assert dialer.i2p.session is not None
    dialer = asyncio.run(make_dialer(settings_of(i2psam="127.0.0.1", i2pacceptincoming=False)))
    assert dialer.i2p is not None
    assert dialer.i2p.session is None


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, []),
        ({"port": 22}, ["-port request to listen on port 22."]),
        ({"bind": ("127.0.0.1:22", "127.0.0.1:23=onion")}, ["-bind request to listen on port 22."]),
        ({"port": 22, "bind": ("127.0.0.1:8333",)}, []),
        ({"bind": ("127.0.0.1:5=onion", "[::1]:6=onion")}, ["Using 127.0.0.1:5 for the automatically created Tor"]),
        ({"bind": ("127.0.0.1:5=onion", "[::1]:6=onion"), "listenonion": False}, []),
    ],
    ids=str,
)
def test_warnings(options: dict[str, Any], texts: list[str]) -> None:
    found = proxy_setup.listening_warnings(settings_of(**options))
    assert len(found) == len(texts)
    assert all(text in line for text, line in zip(texts, found, strict=True))
