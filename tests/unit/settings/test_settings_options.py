"""Options: defaults, forms, contradictions; each refusal is one line."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.settings.addresses import split_host_port
from btcnode.settings.doors import BY_KEYWORD
from btcnode.settings.groups.log import LOG_CATEGORIES
from btcnode.settings.interactions import soften
from btcnode.settings.kinds import INT64_MAX, MB, MIB, Number
from btcnode.settings.sources import Sources
from btcnode.settings.table import OPTIONS, grouped
from tests.lib.settings import settings_of


def test_defaults() -> None:
    settings = settings_of()
    assert settings.network.name == "mainnet"
    assert settings.storage.dbcache_bytes == 450 * MIB
    assert (settings.connections.maxconnections, settings.rpc.server) == (125, True)
    assert (settings.connections.port, settings.rpc.rpcport) == (8333, 8332)
    assert settings.datadir == settings.net_dir == Path.home() / ".btcnode"
    assert settings.cookie_path == settings.datadir / ".cookie"
    assert settings.log_path == settings.datadir / "debug.log"
    assert settings.connections.listen
    assert settings.connections.dnsseed
    assert settings.connections.discover
    assert settings.connections.connect is None
    assert settings.log.categories == frozenset()
    assert settings.chain.shadow_validation == 0
    assert settings.mempool.min_relay_feerate == settings.mempool.incrementalrelayfee == 100


@pytest.mark.parametrize(
    ("name", "network", "folder"),
    [("main", "mainnet", ""), ("test", "testnet3", "testnet3"), ("testnet4", "testnet4", "testnet4"),
     ("signet", "signet", "signet"), ("regtest", "regtest", "regtest")],
)  # fmt: skip
def test_networks_and_their_folders(tmp_path: Path, name: str, network: str, folder: str) -> None:
    settings = settings_of(network=name, datadir=tmp_path)
    assert settings.network.name == settings.params.name == network
    assert settings.net_dir == tmp_path / folder


def test_connect_switches_the_rest_off() -> None:
    connections = settings_of(connect=("192.0.2.1",)).connections
    assert (connections.listen, connections.dnsseed, connections.connect) == (False, False, ("192.0.2.1",))
    assert settings_of(connect="0").connections.connect == ()
    assert settings_of(connect=False).connections.connect == ()
    assert settings_of(connect=("0", "1.2.3.4")).connections.connect == ("1.2.3.4",)
    assert settings_of(connect=("192.0.2.1",), listen=True, dnsseed=True).connections.listen
    assert settings_of(connect=("192.0.2.1",), bind="127.0.0.1").connections.listen
    assert not settings_of(maxconnections=0).connections.listen


def test_consensus_overrides_reach_the_parameters() -> None:
    params = settings_of(minimumchainwork="ff", assumevalid="0").params
    assert (params.minimum_chain_work, params.assume_valid) == (255, None)
    assert settings_of(assumevalid="ab" * 32).params.assume_valid == b"\xab" * 32
    params = settings_of(
        network="regtest", testactivationheight="segwit@7", vbparams=("testdummy:1:2:3",), test=("bip94",)
    ).params
    assert (params.segwit_height, params.enforce_bip94) == (7, True)
    assert params.deployments[0].start_time == 1
    signet = settings_of(network="signet", signetchallenge="51").params
    assert signet.signet_challenge == b"\x51"
    assert settings_of(minimumchainwork="0x65").params.minimum_chain_work == 0x65
    assert signet.magic != settings_of(network="signet").params.magic


@pytest.mark.parametrize(
    "options",
    [
        {"signetchallenge": "51"},
        {"signetchallenge": "not hex"},
        {"testactivationheight": "segwit@1"},
        {"testactivationheight": "frob"},
        {"vbparams": "testdummy:1:2"},
        {"vbparams": "x"},
    ],
    ids=str,
)
def test_what_is_of_another_network_is_not_read(options: dict[str, Any]) -> None:
    assert settings_of(**options).params == settings_of().params


def test_debug_categories() -> None:
    assert settings_of(debug=("net", "rpc"), debugexclude=("rpc",)).log.categories == {"net"}
    assert settings_of(debug="all", debugexclude="net").log.categories == set(LOG_CATEGORIES) - {"net"}
    for text in ("0", "none"):  # means something to -debug alone
        with pytest.raises(ConfigError, match=f"Unsupported logging category -debugexclude={text}\\."):
            settings_of(debug="all", debugexclude=text)
    assert settings_of(debug=("http", "abc", "none", "rpc")).log.categories == {"rpc"}
    assert settings_of(loglevel=("info", "net:trace")).log.loglevel["net"] == "trace"


def test_paths(tmp_path: Path) -> None:
    settings = settings_of(datadir=tmp_path, network="regtest", rpccookiefile=Path("c"), debuglogfile="l")
    assert (settings.cookie_path, settings.log_path) == (tmp_path / "regtest" / "c", tmp_path / "regtest" / "l")
    settings = settings_of(datadir=tmp_path, rpccookiefile=tmp_path / "x", debuglogfile=False)
    assert (settings.cookie_path, settings.log_path) == (tmp_path / "x", None)
    assert settings_of(rpccookiefile=False).cookie_path is None


def test_shadow_validation() -> None:
    assert settings_of(shadow_validation="1/100").chain.shadow_validation == Fraction(1, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"network": "lightning"},
        {"port": 65536},
        {"port": -1},
        {"rpcport": 70000},
        {"rpcport": "x"},
        {"maxconnections": -1},
        {"peertimeout": 0},
        {"prune": 2},
        {"prune": -1},
        {"assumevalid": "xyz"},
        {"assumevalid": "a" * 65},
        {"minimumchainwork": "0x" + "5" * 65},
        {"minimumchainwork": "test"},
        {"network": "signet", "signetchallenge": "5"},
        {"network": "signet", "signetchallenge": "zz"},
        {"network": "regtest", "testactivationheight": ("segwit",)},
        {"network": "regtest", "testactivationheight": ("frob@1",)},
        {"network": "regtest", "vbparams": ("testdummy:1",)},
        {"test": ("bip94",)},
        {"loglevel": ("frob",)},
        {"loglevel": ("net:frob",)},
        {"loglevel": ("net:info:debug",)},
        {"debug": ("frob",)},
        {"shadow_validation": "2"},
        {"shadow_validation": "1/0"},
        {"shadow_validation": "x"},
        {"uacomment": ("a/b",)},
        {"uacomment": ("<b>",)},
        {"uacomment": ("a" * 250,)},
        {"rpcuser": "a:b"},
        {"rpcallowip": ("300.1.1.1",)},
        {"rpcallowip": ("10.0.0.0/33",)},
        {"bind": ("localhost",)},
        {"bind": ("1.2.3.4:99999",)},
        {"bind": ("1.2.3.4",), "listen": False},
        {"externalip": ("nowhere",)},
        {"externalip": ("0.0.0.0",)},
        {"externalip": ("2001:db8::1",)},
        {"externalip": ("x.onion",)},
        {"externalip": ("",)},
        {"onlynet": ("tor",)},
        {"reindex": True, "reindex_chainstate": True},
        {"swiftsync": "hints", "reindex": True},
        {"swiftsync": "hints", "reindex_chainstate": True},
        {"swiftsync": "hints", "coinstatsindex": True},
        {"swiftsync": "hints", "assumevalid": "0"},
        {"debuglogfile": "a\0b"},
        {"loadblock": ["a\0b"]},
        {"maxuploadtarget": "\u0663"},
        {"minrelaytxfee": "1e-5"},
        {"maxmempool": 4},
        {"zmqpubhashtx": "host:0"},
        {"no_such_option": 1},
        {"dbcache": 1.5},
        {"dbcache": [450]},
        {"datadir": b"/tmp"},
        {"bind": [1.5]},
    ],
    ids=str,
)
def test_refusals_are_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        settings_of(**options)
    assert str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("host", 8333)),
        ("host:1", ("host", 1)),
        ("1.2.3.4:65535", ("1.2.3.4", 65535)),
        ("::1", ("::1", 8333)),
        ("[::1]", ("::1", 8333)),
        ("[::1]:7", ("::1", 7)),
        ("[2001:db8::1]:0", ("2001:db8::1", 0)),
    ],
)
def test_split_host_port(text: str, expected: tuple[str, int]) -> None:
    assert split_host_port(text, 8333) == expected


@pytest.mark.parametrize(
    "text",
    ["", ":", ":5", "host:", "host:x", "host:-1", "host:65536", "[::1]x", "[::1]:", "[]", "a b", "host:\u0663", "a\0"],
)
def test_split_host_port_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        split_host_port(text, 8333)


def test_every_option_is_described_once() -> None:
    flags = [option.flag for _, options in grouped() for option in options]
    assert len(set(flags)) == len(flags) == len(OPTIONS)
    for heading, options in grouped():
        for option in options:
            assert heading
            assert option.help.endswith(".")


def test_a_default_that_follows_from_other_options_is_told() -> None:
    """Whatever ``soften`` may set has words for it, and what such words name is there."""
    options = {"utreexo_csn": True, "bind": "127.0.0.1", "connect": "0", "proxy": "127.0.0.1", "externalip": "1.2.3.4"}
    sources = Sources(command_line={BY_KEYWORD[name].flag: [value] for name, value in options.items()})
    soften(sources)
    sources.command_line["listen"] = [False]
    soften(sources)
    sources.command_line["whitelistforcerelay"] = ["1"]
    soften(sources)
    assert len(sources.soft) > 12
    assert [flag for flag in sources.soft if not OPTIONS[flag].usual] == []
    for option in OPTIONS.values():
        assert "default:" not in option.help, option.flag
        named = re.findall(r"(?<![\w-])-([a-z][a-z-]+)", f"{option.help} {option.usual}")
        assert set(named) <= OPTIONS.keys(), option.flag


def test_the_page_of_options_tells_their_ranges() -> None:
    assert Number(4, 64).limits == "4 to 64"
    assert Number(4, 64, clamp=True).limits == "(4 to 64)"
    assert Number(4, 64, clamp=True, too_low="low").limits == "4 (to 64)"
    assert Number(4, clamp=True).limits == "(from 4)"
    assert Number(4).limits == "from 4"
    page = (Path(__file__).parents[3] / "docs/configuration.md").read_text()
    for option in OPTIONS.values():
        kind = option.kind
        if isinstance(kind, Number):
            row = next(line for line in page.splitlines() if line.startswith(f"| `{option.flag}` |"))
            assert kind.limits
            assert kind.limits in row


@pytest.mark.parametrize("flag", [flag for flag, option in OPTIONS.items() if type(option.kind) is Number])
def test_a_number_is_moved_into_its_range_where_the_page_has_brackets(flag: str) -> None:
    kind = OPTIONS[flag].kind
    assert isinstance(kind, Number)
    low_moves = kind.limits.startswith("(")
    high_moves = kind.limits.endswith(")")  # "(0 to 64)", "0 (to 64)", "(from 0)"
    for beyond, moves, limit in ((kind.low - 1, low_moves, kind.low), (kind.high + 1, high_moves, kind.high)):
        if abs(beyond) > INT64_MAX:
            continue
        if moves:
            assert kind.read(flag, str(beyond)) == limit * kind.unit
        else:
            with pytest.raises(ConfigError):
                kind.read(flag, str(beyond))


def test_zmq_addresses_have_a_port_or_a_path() -> None:
    good = ("tcp://127.0.0.1:28332", "tcp://[::1]:28332", "unix:/tmp/socket", "nonsense", "[::1]:7")
    assert settings_of(zmqpubrawtx=good).notifications.published("rawtx") == (good, 1000)
    for bad in ("host:", "host:0", "host:65536", "host:x", "[::1]:x", "ipc:///tmp/socket"):
        with pytest.raises(ConfigError, match=f"Invalid port specified in -zmqpubhashtx: '{re.escape(bad)}'"):
            settings_of(zmqpubhashtx=(bad,))


def test_block_files_may_lie_elsewhere(tmp_path: Path) -> None:
    settings = settings_of(network="regtest", datadir=tmp_path, blocksdir=tmp_path)
    assert settings.blocks_dir == tmp_path / "regtest" / "blocks"
    assert settings_of(datadir=tmp_path).blocks_dir == tmp_path / "blocks"
    with pytest.raises(ConfigError, match=r'Specified blocks directory ".*none" does not exist\.'):
        settings_of(blocksdir=tmp_path / "none")


def test_a_mempool_has_room_for_forty_clusters() -> None:
    with pytest.raises(ConfigError, match="-maxmempool must be at least 5 MB"):
        settings_of(maxmempool=4)
    with pytest.raises(ConfigError, match="-maxmempool must be at least 40 MB"):
        settings_of(maxmempool=39, limitclustersize=1000)
    assert settings_of(maxmempool=4, limitclustersize=100).mempool.maxmempool_bytes == 4 * MB


def test_the_least_feerate_follows_the_incremental_one_unless_it_was_chosen() -> None:
    assert settings_of(incrementalrelayfee="0.00001").mempool.min_relay_feerate == 1000
    chosen = settings_of(incrementalrelayfee="0.00001", minrelaytxfee="0.000001")
    assert chosen.mempool.min_relay_feerate == 100


@pytest.mark.parametrize("network", ["mainnet", "testnet3", "testnet4", "signet", "regtest"])
def test_a_pool_without_transactions_of_peers_is_small_through_every_door(network: str) -> None:
    assert settings_of(network=network, blocksonly=True).mempool.maxmempool_bytes == 5 * MB
    assert not settings_of(blocksonly="1").connections.whitelistrelay
    assert settings_of(blocksonly=True, maxmempool=50).mempool.maxmempool_bytes == 50 * MB


@pytest.mark.parametrize(
    ("told", "later"),
    [
        ({"debug": ("foo",)}, {"incrementalrelayfee": "x"}),
        ({"loglevel": "x"}, {"i2psam": "x y"}),
        ({"maxconnections": "-1"}, {"prune": "-1"}),
        ({"blockmintxfee": "x"}, {"blockreservedweight": "1"}),
        ({"blockmaxweight": "5000000"}, {"assumevalid": "zz"}),
        ({"incrementalrelayfee": "x"}, {"minrelaytxfee": "x"}),
        ({"minrelaytxfee": "x"}, {"bind": ("x y",)}),
    ],
)
def test_of_two_mistakes_the_one_that_bitcoind_finds_first_is_told(told: dict[str, Any], later: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as alone:
        settings_of(network="regtest", **told)
    with pytest.raises(ConfigError):
        settings_of(network="regtest", **later)
    with pytest.raises(ConfigError) as both:
        settings_of(network="regtest", **later, **told)
    assert str(both.value) == str(alone.value)
