"""What options say about others, and which cannot go together: one row for each of bitcoind's rules, and of ours."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.settings.doors import from_keywords
from tests.lib.settings import loaded_by_daemon, settings_of

FOLLOWS = [
    ({"bind": "127.0.0.1", "connect": "a"}, "listen", True),
    ({"whitebind": "127.0.0.1:1", "connect": "a"}, "listen", True),
    ({"connect": "a"}, "listen", False),
    ({"connect": "a"}, "dnsseed", False),
    ({"connect": False}, "dnsseed", False),
    ({"maxconnections": 0}, "dnsseed", False),
    ({"maxconnections": 1}, "dnsseed", True),
    ({"proxy": "127.0.0.1:9050"}, "listen", False),
    ({"proxy": "127.0.0.1:9050", "listen": True}, "natpmp", False),
    ({"proxy": "127.0.0.1:9050", "listen": True}, "discover", False),
    ({"proxy": "0"}, "listen", True),
    ({"listen": False}, "natpmp", False),
    ({"listen": False}, "discover", False),
    ({"listen": False}, "listenonion", False),
    ({"listen": False}, "i2pacceptincoming", False),
    ({"listen": True}, "discover", True),
    ({"externalip": "1.2.3.4"}, "discover", False),
    ({"blocksonly": True}, "whitelistrelay", False),
    ({"whitelistforcerelay": True}, "whitelistrelay", True),
    ({"whitelistforcerelay": True, "whitelistrelay": False}, "whitelistrelay", False),
    ({"onlynet": "onion"}, "dnsseed", False),
    ({"onlynet": ["onion", "ipv6"]}, "dnsseed", True),
    ({"onlynet": "IPv4"}, "dnsseed", True),
    ({"utreexo_csn": True}, "maxmemory_bytes", 210 << 20),
    ({"utreexo_csn": True, "maxmemory": 900}, "maxmemory_bytes", 900 << 20),
]  # fmt: skip


@pytest.mark.parametrize(("options", "name", "value"), FOLLOWS, ids=str)
def test_what_follows(options: dict[str, Any], name: str, value: bool | int) -> None:
    settings = settings_of(**options)
    groups = (settings.connections, settings.proxies, settings.storage)
    found = [getattr(group, name) for group in groups if hasattr(group, name)]
    assert found == [value]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"network": "regtest", "test": "frob"}, 'Unrecognised option "frob" provided in -test=<option>.'),
        (
            {"privatebroadcast": True, "proxyrandomize": False, "proxy": "127.0.0.1:9050"},
            "-proxyrandomize is disabled",
        ),
    ],
    ids=str,
)
def test_warnings(options: dict[str, Any], line: str) -> None:
    assert [line in text for text in from_keywords(options).warnings] == [True]


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("-checkpoints=1", "checkpoints were removed"),
        ("-limitancestorsize=1", "'-limitancestorsize' is given but ancestor size limits"),
        ("-limitdescendantsize=1", "'-limitdescendantsize' is given but descendant size limits"),
    ],
)
def test_warnings_of_options_that_are_gone(tmp_path: Path, word: str, line: str) -> None:
    loaded = loaded_by_daemon("-regtest", f"-datadir={tmp_path}", "-nosettings", word)
    assert [line in text for text in loaded.warnings] == [True]


def test_no_warnings_without_reason() -> None:
    assert from_keywords({"network": "regtest", "test": "bip94"}).warnings == []
    assert from_keywords({"privatebroadcast": True, "proxy": "127.0.0.1:9050"}).warnings == []
    assert from_keywords({"proxyrandomize": False}).warnings == []


def test_what_is_ignored_is_told() -> None:
    def lines(**options: Any) -> list[str]:
        return [text for level, text in from_keywords(options).lines if level == logging.INFO]

    seeds = "-seednode is ignored when -connect is used"
    assert seeds in lines(connect="a", seednode="b")
    assert seeds not in lines(connect="0", seednode="b")
    assert seeds not in lines(seednode="b")
    dns = "-dnsseed is ignored when -connect is used and -proxy is specified"
    assert dns in lines(connect="a", dnsseed=True, proxy="127.0.0.1:9050")
    assert dns not in lines(connect="a", dnsseed=True)
    assert dns not in lines(connect="a", dnsseed=False, proxy="127.0.0.1:9050")
    assert dns not in lines(dnsseed=True, proxy="127.0.0.1:9050")


SWIFT = {"swiftsync": "hints"}
COMPACT = {"utreexo_csn": True}
PRIVATE = {"privatebroadcast": True}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"blocksdir": "/nonexistent"}, 'Specified blocks directory "/nonexistent" does not exist.'),
        ({"prune": 1000, "txospenderindex": True}, "Prune mode is incompatible with -txospenderindex."),
        ({"prune": 1000, "reindex_chainstate": True}, "Use full -reindex instead."),
        ({"reindex": True, "reindex_chainstate": True}, "-reindex includes -reindex-chainstate"),
        ({**COMPACT, "txindex": True}, "incompatible with -txindex. (-utreexo-csn prunes"),
        ({**COMPACT, **SWIFT}, "excludes -swiftsync"),
        ({**COMPACT, "utreexoindex": True}, "excludes -utreexoindex"),
        ({**COMPACT, "reindex_chainstate": True, "prune": 0}, "excludes -reindex-chainstate"),
        ({**COMPACT, "loadblock": "blk00000.dat"}, "excludes -loadblock"),
        ({**SWIFT, "reindex": True}, "-swiftsync fetches blocks"),
        ({**SWIFT, "reindex_chainstate": True}, "-swiftsync fetches blocks"),
        ({**SWIFT, "coinstatsindex": True}, "-coinstatsindex needs undo data of every block"),
        ({**SWIFT, "utreexoindex": True}, "-utreexoindex needs undo data of every block"),
        ({**SWIFT, "blockfilterindex": True}, "-blockfilterindex needs undo data of every block"),
        ({**SWIFT, "assumevalid": 0}, "-swiftsync verifies no scripts"),
        ({"network": "signet", "test": "addrman"}, "-test=<option> can only be used with regtest"),
        ({"network": "signet", "test": "bip94"}, "-test=<option> can only be used with regtest"),
        ({"network": "mainnet", "acceptnonstdtxn": True}, "acceptnonstdtxn is not currently supported for main chain"),
        ({"onlynet": "onion", "onion": "127.0.0.1", "dnsseed": True}, "-onlynet forbids connections to IPv4/IPv6"),
        ({"cjdnsreachable": True, "rpcallowip": "fc00::/8"}, "RFC4193 is allowed only if"),
        ({"onlynet": "cjdns"}, "(-onlynet=cjdns) but -cjdnsreachable is not provided"),
        ({"onlynet": "onion", "onion": "0"}, "explicitly forbidden: -onion=0"),
        ({"onlynet": "onion", "listenonion": False}, "none of -proxy, -onion or -listenonion is given"),
        ({"onlynet": "i2p"}, "(-onlynet=i2p) but -i2psam is not provided"),
        ({**PRIVATE, "listenonion": False}, "none of Tor or I2P networks is reachable"),
        ({**PRIVATE, "proxy": "127.0.0.1:9050", "onlynet": "ipv4"}, "none of Tor or I2P networks is reachable"),
        ({**PRIVATE, "proxy": "127.0.0.1:9050", "connect": "a"}, "-connect is also configured"),
    ],
    ids=str,
)
def test_contradictions(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(line)):
        settings_of(**options)


@pytest.mark.parametrize(
    "options",
    [
        {**SWIFT, "coinstatsindex": True, "swiftsync_validate": True},
        {**SWIFT, "assumevalid": 0, "swiftsync_full": True},
        {**SWIFT, "assumevalid": 0, "swiftsyncblock": "00ff"},
        {"network": "regtest", "acceptnonstdtxn": True},
        {"cjdnsreachable": True, "rpcallowip": "fd00::/8"},
        {"rpcallowip": "fc00::/8"},
        {"onlynet": "cjdns", "cjdnsreachable": True},
        {"onlynet": "onion", "proxy": "127.0.0.1:9050"},
        {"onlynet": "onion"},
        {"onlynet": "i2p", "i2psam": "127.0.0.1:7656"},
        {**PRIVATE, "proxy": "127.0.0.1:9050"},
        {**PRIVATE, "listenonion": False, "i2psam": "127.0.0.1:7656"},
    ],
    ids=str,
)
def test_what_goes_together(options: dict[str, Any]) -> None:
    settings_of(**options)
