"""Real processes, real TCP: real chains from a scripted server and from another node."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.script.signatures import pubkey_create
from btcnode.storage.block_import import iter_blocks
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, wait_until

MAINNET = params_for("mainnet")
SIGNET = params_for("signet")
TESTNET3 = params_for("testnet3")
NO_MINIMUM = ("--minimumchainwork", "0")


@pytest.fixture
def datadirs(tmp_path: Path) -> Iterator[Iterator[Path]]:
    def make() -> Iterator[Path]:
        number = 0
        while True:
            path = tmp_path / f"node{number}"
            path.mkdir()
            yield path
            number += 1

    yield make()


def mainnet_files(vectors: Path) -> list[Path]:
    return [vectors / "nbitcoin/blk00000.dat", vectors / "nbitcoin/blk00001.dat"]


def signet_blocks(vectors: Path) -> list[bytes]:
    rows = json.loads((vectors / "floresta/signet_blocks_0_120.json").read_text())
    assert [int(row["height"]) for row in rows] == list(range(121))
    return [bytes.fromhex(row["block"]) for row in rows]


def still_there(node: NodeProcess) -> bool:
    """A moment later the peer is connected: what it sent was honest, only not enough."""
    time.sleep(0.5)
    return len(node.rpc("getpeerinfo")) == 1


def split_headers(path: Path) -> list[bytes]:
    data = path.read_bytes()
    return [data[at : at + HEADER_SIZE] for at in range(0, len(data), HEADER_SIZE)]


def test_mainnet_0_to_599_from_another_process(vectors: Path, datadirs: Iterator[Path]) -> None:
    """One node imports the block files, a second one syncs from it; the UTXO sets are equal."""
    imports = [option for path in mainnet_files(vectors) for option in ("--loadblock", str(path))]
    with (
        NodeProcess(next(datadirs), "mainnet", *NO_MINIMUM, "--connect", "0", *imports) as source,
        NodeProcess(next(datadirs), "mainnet", *NO_MINIMUM, listen=False) as node,
    ):
        source.start()
        source.wait_height(599)
        node.start("--connect", source.address)
        node.wait_height(599)
        blocks = [raw for path in mainnet_files(vectors) for _, raw in iter_blocks(path, MAINNET.magic)]
        tip = header_hash(blocks[-1][:HEADER_SIZE])[::-1].hex()
        assert node.rpc("getbestblockhash") == source.rpc("getbestblockhash") == tip
        ours, theirs = node.rpc("gettxoutsetinfo"), source.rpc("gettxoutsetinfo")
        assert ours["hash_serialized_3"] == theirs["hash_serialized_3"]
        assert ours["height"] == 599
        # 599 subsidies: the genesis block's is not spendable, and every fee went to a miner
        assert ours["total_amount"] == 599 * 50
        assert node.stop() == 0
        assert source.stop() == 0


def test_mainnet_blocks_from_a_scripted_server(vectors: Path, datadirs: Iterator[Path]) -> None:
    blocks = [raw for path in mainnet_files(vectors) for _, raw in iter_blocks(path, MAINNET.magic)][1:]
    with (
        ChainServer.of_blocks(MAINNET, blocks) as server,
        NodeProcess(next(datadirs), "mainnet", *NO_MINIMUM, "--connect", server.address, listen=False) as node,
    ):
        node.start()
        node.wait_height(599)
        assert sorted(server.requests) == sorted(set(server.requests))  # nothing was asked for twice


def test_signet_0_to_120_with_block_signatures(vectors: Path, datadirs: Iterator[Path]) -> None:
    blocks = signet_blocks(vectors)
    with (
        ChainServer.of_blocks(SIGNET, blocks[1:]) as server,
        NodeProcess(next(datadirs), "signet", *NO_MINIMUM, "--connect", server.address, listen=False) as node,
    ):
        node.start()
        node.wait_height(120)
        assert node.rpc("getbestblockhash") == header_hash(blocks[120][:HEADER_SIZE])[::-1].hex()


def test_signet_block_with_a_broken_signature_is_refused(vectors: Path, datadirs: Iterator[Path]) -> None:
    """Under the challenge of another key every signature of the default signet is wrong."""
    blocks = signet_blocks(vectors)
    challenge = b"\x21" + pubkey_create(bytes(31) + b"\x07") + b"\xac"
    other = params_for("signet", signet_challenge=challenge)
    with (
        ChainServer.of_blocks(other, blocks[1:]) as server,
        NodeProcess(
            next(datadirs),
            "signet",
            *NO_MINIMUM,
            "--signetchallenge",
            challenge.hex(),
            "--connect",
            server.address,
            listen=False,
        ) as node,
    ):
        node.start()
        wait_until(lambda: "bad-signet-blksig" in node.output(), 30, "the rejection in the log")
        assert node.height() == 0


@pytest.mark.parametrize(
    ("network", "name", "count"),
    [
        ("testnet3", "veriblock/headers_testnet3_0_9999.bin", 10_000),
        ("mainnet", "floresta/headers_mainnet_0_10236.bin", 10_237),
    ],
)
@pytest.mark.parametrize("presync", [False, True])
def test_headers_through_real_messages(
    vectors: Path, datadirs: Iterator[Path], network: str, name: str, count: int, presync: bool
) -> None:
    """Directly, and through presync and redownload when a minimum of work is asked for."""
    headers = split_headers(vectors / name)
    assert len(headers) == count
    minimum = hex(9000 << 32)[2:] if presync else "0"
    with (
        ChainServer(params_for(network), headers) as server,
        NodeProcess(
            next(datadirs), network, "--minimumchainwork", minimum, "--connect", server.address, listen=False
        ) as node,
    ):
        node.start()
        wait_until(lambda: node.rpc("getblockchaininfo")["headers"] == count - 1, 60, "all headers")
        tips = node.rpc("getchaintips")
        assert tips[0]["hash"] == header_hash(headers[-1])[::-1].hex()
        assert tips[0]["status"] == "headers-only"


def test_low_work_headers_are_not_stored(vectors: Path, datadirs: Iterator[Path]) -> None:
    """Against the real minimum chain work ten thousand old headers are worth nothing."""
    headers = split_headers(vectors / "floresta/headers_mainnet_0_10236.bin")
    with (
        ChainServer(MAINNET, headers) as server,
        NodeProcess(next(datadirs), "mainnet", "--connect", server.address, listen=False) as node,
    ):
        node.start()
        wait_until(lambda: server.header_requests >= 6, 30, "the last of six getheaders")
        assert still_there(node)
        assert node.rpc("getblockchaininfo")["headers"] == 0
