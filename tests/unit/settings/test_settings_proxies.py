"""Proxies and networks: what the options mean together, in Core's words where they contradict each other."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.settings.addresses import Bind, parse_bind, split_port
from tests.lib.settings import settings_of


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a", ("a", 0)), ("a:1", ("a", 1)), ("[::1]:9", ("::1", 9)), ("[::1]", ("::1", 0)), ("::1", ("::1", 0)),
        ("a:0", None), ("a:65536", None), ("a:-1", None), ("a:b", None), (":5", ("", 5)), ("", ("", 0)), ("a:", None),
    ],
)  # fmt: skip
def test_hosts_and_ports(text: str, parts: tuple[str, int] | None) -> None:
    assert split_port(text) == parts


def plan(**options: Any) -> dict[str, str]:
    found = settings_of(**options).proxies.plan
    names = ("ipv4", "ipv6", "onion", "cjdns", "i2p", "name")
    return {name: str(proxy) for name in names if (proxy := getattr(found, name)) is not None}


def test_one_proxy_for_everything_but_i2p() -> None:
    assert plan() == {}
    assert plan(proxy=("127.0.0.1",)) == dict.fromkeys(("ipv4", "ipv6", "onion", "cjdns", "name"), "127.0.0.1:9050")
    assert plan(proxy=("127.0.0.1", "0")) == {}
    assert plan(proxy=("unix:/tmp/tor",))["onion"] == "unix:/tmp/tor"
    assert plan(proxy=("[::1]:1",))["ipv4"] == "[::1]:1"
    assert plan(proxy=("[::1]:1",), onion="0").keys() == {"ipv4", "ipv6", "cjdns", "name"}
    assert plan(onion="1.1.1.1:5", i2psam="127.0.0.1") == {"onion": "1.1.1.1:5", "i2p": "127.0.0.1:7656"}


def test_proxies_by_network() -> None:
    assert plan(proxy=("1.1.1.1:4=ipv4", "1.1.1.1:6=ipv6")) == {
        "ipv4": "1.1.1.1:4", "ipv6": "1.1.1.1:6", "name": "1.1.1.1:6",
    }  # fmt: skip
    assert plan(proxy=("1.1.1.1:1", "1.1.1.1:2=onion", "0=cjdns")) == {
        "ipv4": "1.1.1.1:1", "ipv6": "1.1.1.1:1", "onion": "1.1.1.1:2", "name": "1.1.1.1:1",
    }  # fmt: skip


def test_a_proxy_makes_the_node_keep_to_itself() -> None:
    settings = settings_of(proxy=("127.0.0.1",))
    assert not settings.connections.listen
    assert not settings.connections.discover
    assert not settings.proxies.listenonion
    assert not settings.proxies.i2pacceptincoming
    assert settings.proxies.reachable_networks == ("ipv4", "ipv6", "onion")
    assert settings_of(proxy=("127.0.0.1",), listen=True).connections.listen
    assert settings_of(proxy=("0",)).connections.listen
    assert settings_of().proxies.listenonion
    assert settings_of().proxies.reachable_networks == ("ipv4", "ipv6")


def test_networks_that_may_be_used() -> None:
    settings = settings_of(onlynet=("Onion", "i2p"), onion="127.0.0.1", i2psam="127.0.0.1")
    assert settings.proxies.reachable_networks == ("onion", "i2p")
    assert not settings.connections.dnsseed
    assert settings_of(onlynet=("onion",)).proxies.reachable_networks == ()  # until Tor has told its proxy
    assert settings_of(cjdnsreachable=True).proxies.reachable_networks == ("ipv4", "ipv6", "cjdns")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"proxy": ("abc..abc:23456",)}, "Invalid -proxy address or hostname: 'abc..abc:23456'"),
        ({"proxy": ("192.0.0.1:def",)}, "Invalid port specified in -proxy: '192.0.0.1:def'"),
        ({"proxy": ("unix:" + "x" * 200,)}, f"Invalid -proxy address or hostname: 'unix:{'x' * 200}'"),
        ({"proxy": ("127.0.0.1:9050=",)}, "Invalid -proxy address or hostname, ends with '=': '127.0.0.1:9050='"),
        ({"proxy": ("127.0.0.1:9050=foo",)}, "Unrecognized network in -proxy='127.0.0.1:9050=foo': 'foo'"),
        ({"onion": "xyz..xyz:23456"}, "Invalid -onion address or hostname: 'xyz..xyz:23456'"),
        ({"i2psam": "192.0.0.1:def"}, "Invalid port specified in -i2psam: '192.0.0.1:def'"),
        ({"torcontrol": "192.0.0.1:0"}, "Invalid port specified in -torcontrol: '192.0.0.1:0'"),
        ({"onlynet": ("abc",)}, "Unknown network specified in -onlynet: 'abc'"),
        ({"onlynet": ("onion",), "dnsseed": True}, "Incompatible options: -dnsseed=1 was explicitly specified"),
        ({"onlynet": ("i2p",)}, "-i2psam is not provided"),
        ({"onlynet": ("cjdns",)}, "-cjdnsreachable is not provided"),
        ({"onlynet": ("onion",), "onion": "0"}, "explicitly forbidden: -onion=0"),
        ({"onlynet": ("onion",), "listenonion": False}, "none of -proxy, -onion or -listenonion is given"),
        ({"listen": False, "listenonion": True}, "Cannot set -listen=0 together with -listenonion=1"),
        ({"privatebroadcast": True, "listen": False}, "but none of Tor or I2P networks is reachable"),
        ({"privatebroadcast": True, "onion": "127.0.0.1", "connect": ("a",)}, "but -connect is also configured"),
        ({"bind": ("127.0.0.1=tor",)}, "Cannot resolve -bind address: '127.0.0.1=tor'"),
        ({"bind": ("127.0.0.1:x=onion",)}, "Invalid port specified in -bind: '127.0.0.1:x=onion'"),
        ({"bind": ("localhost",)}, "Cannot resolve -bind address: 'localhost'"),
    ],
    ids=str,
)
def test_refusals(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings_of(**options)
    assert text in str(refused.value)


def test_places_to_listen_at() -> None:
    assert parse_bind("bind", "127.0.0.1") == Bind("127.0.0.1", None, False)
    assert parse_bind("bind", "[::1]:5") == Bind("::1", 5, False)
    assert parse_bind("bind", "127.0.0.1=onion").port_or(8333) == 8334
    assert parse_bind("bind", "127.0.0.1:7=onion").port_or(8333) == 7
    assert parse_bind("bind", "127.0.0.1=onion").port_or(0) == 0
