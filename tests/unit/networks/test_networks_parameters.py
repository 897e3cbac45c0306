"""Network parameters against figures that come from elsewhere: real headers, BIPs, checkpoints."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from btcnode.errors import BtcnodeError, ConfigError
from btcnode.networks import parameters as module
from btcnode.networks.parameters import (
    NEVER_ACTIVE,
    NO_TIMEOUT,
    Deployment,
    VersionBits,
    params_for,
)
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE
from btcnode.script.flags import VERIFY_P2SH, VERIFY_WITNESS
from btcnode.settings.groups.chain import parse_activation_height, parse_version_bits

NAMES = ("mainnet", "testnet3", "testnet4", "signet", "regtest")
HEADER_FILES = {
    "mainnet": "floresta/headers_mainnet_0_10236.bin",
    "testnet3": "veriblock/headers_testnet3_0_9999.bin",
    "signet": "floresta/headers_signet_0_2015.bin",
}


@pytest.mark.parametrize("name", NAMES)
def test_genesis_block(name: str) -> None:
    params = params_for(name)
    block = parse_block(params.genesis_block)
    assert block.hash == params.genesis_hash
    assert block.txids == [block.header.merkle_root]
    assert block.header.bits == params.pow_limit_bits
    assert int.from_bytes(params.genesis_hash, "little") <= params.pow_limit


@pytest.mark.parametrize("name", HEADER_FILES)
def test_genesis_begins_the_real_chain(vectors: Path, name: str) -> None:
    real = (vectors / HEADER_FILES[name]).read_bytes()[:HEADER_SIZE]
    assert params_for(name).genesis_block[:HEADER_SIZE] == real


def test_regtest_genesis_is_the_parent_of_the_vectors(vectors: Path) -> None:
    first = bytes.fromhex((vectors / "py-bitcoinkernel/regtest_blocks.txt").read_text().split()[0])
    assert first[4:36] == params_for("regtest").genesis_hash


def test_wrong_genesis_is_refused() -> None:
    with pytest.raises(BtcnodeError, match="genesis block has hash 0f9188f1"):
        module._genesis(1296688602, 2, 0x207FFFFF, "00" * 32)


@pytest.mark.parametrize("name", NAMES)
def test_pow_limit_is_what_its_compact_form_rounds(name: str) -> None:
    params = params_for(name)
    size, mantissa = params.pow_limit_bits >> 24, params.pow_limit_bits & 0x7FFFFF
    assert params.pow_limit >> 8 * (size - 3) == mantissa


def test_distinct_between_networks() -> None:
    every = [params_for(name) for name in NAMES]
    for field in ("magic", "p2p_port", "rpc_port", "genesis_hash", "chain"):
        assert len({getattr(params, field) for params in every}) == len(NAMES), field
    assert [params.chain for params in every] == ["main", "test", "testnet4", "signet", "regtest"]
    assert [params.rpc_port for params in every] == [8332, 18332, 48332, 38332, 18443]
    assert [params.bech32_hrp for params in every] == ["bc", "tb", "tb", "tb", "bcrt"]
    assert [params.is_test_chain for params in every] == [False, True, True, True, True]
    assert [params.mineable for params in every] == [False, False, False, False, True]
    assert [params.enforce_bip94 for params in every] == [False, False, True, False, False]
    assert [params.allow_min_difficulty_blocks for params in every] == [False, True, True, False, True]
    assert [params.difficulty_adjustment_interval for params in every] == [2016, 2016, 2016, 2016, 144]
    assert [params.magic.hex() for params in every] == ["f9beb4d9", "0b110907", "1c163f28", "0a03cf40", "fabfb5da"]


def test_activation_heights() -> None:
    heights = {
        "mainnet": (227931, 363725, 388381, 419328, 481824),
        "testnet3": (21111, 330776, 581885, 770112, 834624),
        "testnet4": (1, 1, 1, 1, 1),
        "signet": (1, 1, 1, 1, 1),
        "regtest": (1, 1, 1, 1, 0),
    }
    for name, expected in heights.items():
        p = params_for(name)
        assert (p.bip34_height, p.bip66_height, p.bip65_height, p.csv_height, p.segwit_height) == expected


def test_exceptions() -> None:
    main = params_for("mainnet")
    assert sorted(main.script_flag_exceptions.values()) == [0, VERIFY_P2SH | VERIFY_WITNESS]
    assert list(params_for("testnet3").script_flag_exceptions.values()) == [0]
    assert [height for height, _ in main.bip30_exceptions] == [91842, 91880]
    for name in NAMES[2:]:
        assert not params_for(name).script_flag_exceptions
        assert not params_for(name).bip30_exceptions


def test_chainwork_lies_behind_known_work(vectors: Path) -> None:
    last = (vectors / "ckb-bitcoin-spv-testdata/chainwork.csv").read_text().split()[-1].split(",")
    assert int(last[0]) > 800_000
    assert int(last[1], 16) < params_for("mainnet").minimum_chain_work < 4 * int(last[1], 16)


def test_assumed_valid_blocks_are_in_the_future_of_checkpoints() -> None:
    for name in NAMES[:4]:
        block_hash = params_for(name).assume_valid
        assert block_hash is not None
        assert int.from_bytes(block_hash, "little") < params_for(name).pow_limit
    assert params_for("regtest").assume_valid is None


def test_halving_of_real_chain_state(vectors: Path) -> None:
    expected = json.loads((vectors / "raito/full_209999.json").read_text())["expected"]
    assert params_for("main").subsidy_halving_interval == expected["block_height"]


def test_signet_challenge_gives_the_magic() -> None:
    custom = params_for("signet", signet_challenge=b"\x51", seed_nodes=["seed.example"])
    assert custom.magic.hex() == "54d26fbd"  # the well-known magic of an OP_TRUE signet
    assert custom.signet_challenge == b"\x51"
    assert custom.dns_seeds == ("seed.example",)
    assert (custom.minimum_chain_work, custom.assume_valid) == (0, None)
    assert custom.genesis_hash == params_for("signet").genesis_hash
    long = params_for("signet", signet_challenge=bytes(300))
    assert len({long.magic, custom.magic, params_for("signet").magic}) == 3


def test_regtest_overrides() -> None:
    bits = VersionBits(1, 2, 288)
    params = params_for(
        "regtest",
        activation_overrides={"segwit": 5, "bip34": 6, "dersig": 7, "cltv": 8, "csv": 9},
        version_bits={"testdummy": bits},
        enforce_bip94=True,
        fast_prune=True,
    )
    heights = (params.segwit_height, params.bip34_height, params.bip66_height, params.bip65_height, params.csv_height)
    assert heights == (5, 6, 7, 8, 9)
    assert params.deployments == (Deployment("testdummy", 28, 1, 2, 288, 144, 108),)
    assert params.enforce_bip94
    assert params.prune_after_height == 100
    assert params_for("regtest").deployments == (Deployment("testdummy", 28, 0, NO_TIMEOUT, 0, 144, 108),)
    assert params_for("mainnet").deployments == (Deployment("testdummy", 28, NEVER_ACTIVE, NO_TIMEOUT, 0, 2016, 1815),)


def test_names() -> None:
    assert params_for("main") == params_for("mainnet")
    assert params_for("test") == params_for("testnet3")
    with pytest.raises(ConfigError):
        params_for("testnet5")


def test_overrides_elsewhere_are_refused() -> None:
    for name in ("mainnet", "testnet3", "testnet4", "signet"):
        with pytest.raises(ConfigError):
            params_for(name, activation_overrides={"segwit": 1})
        with pytest.raises(ConfigError):
            params_for(name, version_bits={"testdummy": VersionBits(0, 0, 0)})
    with pytest.raises(ConfigError):
        params_for("mainnet", signet_challenge=b"\x51")
    with pytest.raises(ConfigError):
        params_for("regtest", activation_overrides={"taproot": 1})
    with pytest.raises(ConfigError):
        params_for("regtest", version_bits={"taproot": VersionBits(0, 0, 0)})


def test_activation_height_option() -> None:
    assert parse_activation_height("testactivationheight", "segwit@0") == ("segwit", 0)
    assert parse_activation_height("testactivationheight", "csv@2147483646") == ("csv", 2147483646)
    for bad in (
        "segwit",
        "segwit@",
        "segwit@-1",
        "segwit@2147483647",
        "segwit@1x",
        "segwit@ 1",
        "bip65@1",
        "@1",
        "a@9@1",
    ):
        with pytest.raises(ConfigError):
            parse_activation_height("testactivationheight", bad)


def test_version_bits_option() -> None:
    assert parse_version_bits("vbparams", "testdummy:-1:9223372036854775807") == (
        "testdummy",
        VersionBits(-1, NO_TIMEOUT, 0),
    )
    assert parse_version_bits("vbparams", "testdummy:0:1:432") == ("testdummy", VersionBits(0, 1, 432))
    for bad in (
        "testdummy",
        "testdummy:0",
        "testdummy:0:1:2:3",
        "taproot:0:1",
        "testdummy:x:1",
        "testdummy:0:9223372036854775808",
    ):
        with pytest.raises(ConfigError):
            parse_version_bits("vbparams", bad)


def test_parameters_can_be_pickled_and_told_apart() -> None:
    params = params_for("regtest")
    assert pickle.loads(pickle.dumps(params)) == params
    assert replace(params, magic=b"abcd") != params
    assert len({hash(params_for(name)) for name in NAMES}) == len(NAMES)
    assert to_display(params.genesis_hash).startswith("0f9188f1")
