"""Options: defaults, forms, contradictions; each refusal is one line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from btcnode.config import NodeConfig, option_table, split_host_port
from btcnode.debug_options import LOG_CATEGORIES
from btcnode.errors import ConfigError


def test_defaults() -> None:
    config = NodeConfig()
    assert (config.network, config.dbcache, config.maxconnections, config.server) == ("mainnet", 450, 125, True)
    assert config.datadir == Path.home() / ".btcnode"
    assert config.net_dir == config.datadir
    assert config.cookie_path == config.datadir / ".cookie"
    assert config.log_path == config.datadir / "debug.log"
    assert config.listens
    assert config.asks_dns_seeds
    assert config.discovers
    assert config.connect_only is None
    assert config.debug_categories == frozenset()
    assert config.shadow_share == 0


@pytest.mark.parametrize(
    ("name", "network", "folder"),
    [("main", "mainnet", ""), ("test", "testnet3", "testnet3"), ("testnet4", "testnet4", "testnet4"),
     ("signet", "signet", "signet"), ("regtest", "regtest", "regtest")],
)  # fmt: skip
def test_networks_and_their_folders(tmp_path: Path, name: str, network: str, folder: str) -> None:
    config = NodeConfig(network=name, datadir=tmp_path)
    assert config.network == network
    assert config.network_params().name == network
    assert config.net_dir == tmp_path / folder


def test_connect_switches_the_rest_off() -> None:
    config = NodeConfig(connect=("192.0.2.1",))
    assert not config.listens
    assert not config.asks_dns_seeds
    assert config.connect_only == ("192.0.2.1",)
    assert NodeConfig(connect=("0",)).connect_only == ()
    assert NodeConfig(connect=("192.0.2.1",), listen=True, dnsseed=True).listens
    assert NodeConfig(connect=("192.0.2.1",), bind=("127.0.0.1",)).listens
    assert not NodeConfig(maxconnections=0).listens


def test_consensus_overrides_reach_the_parameters() -> None:
    config = NodeConfig(minimumchainwork="ff", assumevalid="0")
    assert config.network_params().minimum_chain_work == 255
    assert config.network_params().assume_valid is None
    assert NodeConfig(assumevalid="ab" * 32).network_params().assume_valid == b"\xab" * 32
    params = NodeConfig(
        network="regtest", testactivationheight=("segwit@7",), vbparams=("testdummy:1:2:3",), test=("bip94",)
    ).network_params()
    assert (params.segwit_height, params.enforce_bip94) == (7, True)
    assert params.deployments[0].start_time == 1
    signet = NodeConfig(network="signet", signetchallenge="51").network_params()
    assert signet.signet_challenge == b"\x51"
    assert NodeConfig(minimumchainwork="0x65").network_params().minimum_chain_work == 0x65
    assert signet.magic != NodeConfig(network="signet").network_params().magic


def test_debug_categories() -> None:
    assert NodeConfig(debug=("net", "rpc"), debugexclude=("rpc",)).debug_categories == {"net"}
    assert NodeConfig(debug=("all",), debugexclude=("net",)).debug_categories == set(LOG_CATEGORIES) - {"net"}


def test_paths(tmp_path: Path) -> None:
    config = NodeConfig(datadir=tmp_path, network="regtest", rpccookiefile=Path("c"), debuglogfile="l")
    assert (config.cookie_path, config.log_path) == (tmp_path / "regtest" / "c", tmp_path / "regtest" / "l")
    config = NodeConfig(datadir=tmp_path, rpccookiefile=tmp_path / "x", debuglogfile="0")
    assert (config.cookie_path, config.log_path) == (tmp_path / "x", None)


def test_shadow_validation() -> None:
    assert NodeConfig(shadow_validation="1/100").shadow_share == Fraction(1, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"network": "lightning"},
        {"dbcache": 3},
        {"port": 65536},
        {"port": -1},
        {"rpcport": 70000},
        {"checklevel": 5},
        {"maxconnections": -1},
        {"peertimeout": 0},
        {"assumevalid": "xyz"},
        {"assumevalid": "a" * 65},
        {"minimumchainwork": "0x" + "5" * 65},
        {"minimumchainwork": "test"},
        {"signetchallenge": "51"},
        {"network": "signet", "signetchallenge": "5"},
        {"network": "signet", "signetchallenge": "zz"},
        {"testactivationheight": ("segwit@1",)},
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
        {"onlynet": ("tor",)},
        {"connect": ("0", "1.2.3.4")},
        {"connect": ("host:",)},
        {"addnode": ("a b",)},
        {"seednode": ("[::1",)},
        {"reindex": True, "reindex_chainstate": True},
    ],
    ids=str,
)
def test_refusals_are_one_line(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        NodeConfig(**options)
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
    "text", ["", ":", ":5", "host:", "host:x", "host:-1", "host:65536", "[::1]x", "[::1]:", "[]", "a b", "host:٣"]
)
def test_split_host_port_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        split_host_port(text, 8333)


def test_every_option_is_described_once() -> None:
    rows = option_table()
    flags = [info.flag for _, info, _, _ in rows]
    assert len(set(flags)) == len(flags)
    for _, info, _, _ in rows:
        assert info.help.endswith(".")
        assert info.group


def test_zmq_addresses_have_a_port_or_a_path() -> None:
    good = ("tcp://127.0.0.1:28332", "tcp://[::1]:28332", "unix:/tmp/socket", "ipc:///tmp/socket", "nonsense")
    assert NodeConfig(zmqpubrawtx=good).zmqpubrawtx == good
    for bad in ("host:", "host:0", "host:65536", "host:x"):
        with pytest.raises(ConfigError, match=f"Invalid port specified in -zmqpubhashtx: '{bad}'"):
            NodeConfig(zmqpubhashtx=(bad,))


def test_block_files_may_lie_elsewhere(tmp_path: Path) -> None:
    config = NodeConfig(network="regtest", datadir=tmp_path, blocksdir=tmp_path)
    assert config.blocks_dir == tmp_path / "regtest" / "blocks"
    assert NodeConfig(datadir=tmp_path).blocks_dir == tmp_path / "blocks"
    with pytest.raises(ConfigError, match=r'Specified blocks directory ".*none" does not exist\.'):
        NodeConfig(blocksdir=tmp_path / "none")


def test_a_mempool_has_room_for_forty_clusters() -> None:
    with pytest.raises(ConfigError, match="-maxmempool must be at least 5 MB"):
        NodeConfig(maxmempool=4)
    with pytest.raises(ConfigError, match="-maxmempool must be at least 40 MB"):
        NodeConfig(maxmempool=39, limitclustersize=1000)
    assert NodeConfig(maxmempool=4, limitclustersize=100).maxmempool == 4
