"""A node without coins: synced from a bridge over TCP, reorganised, killed, lied to."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, RpcFailure, wait_until
from tests.lib.utreexo_bridge import MemoryBridge

PARAMS = params_for("regtest")


def chain_of(busy: int = 12) -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(400), *(generator.busy(20) for _ in range(busy))]


def bridge_of(folder: Path, chain: list[bytes], server: ChainServer) -> NodeProcess:
    folder.mkdir()
    bridge = NodeProcess(folder, "regtest", "--utreexoindex", "--peerutreexoproofs")
    bridge.start("--connect", server.address)
    bridge.wait_height(len(chain))
    wait_until(lambda: bridge.rpc("getindexinfo")["utreexoindex"]["synced"], 60, "the index")
    return bridge


def roots(node: NodeProcess, height: int) -> dict[str, Any]:
    found: dict[str, Any] = node.rpc("getutreexoroots", node.rpc("getblockhash", height))
    return found


@pytest.mark.parametrize("v2", [False, True])
def test_synced_from_a_bridge(tmp_path: Path, *, v2: bool) -> None:
    chain = chain_of()
    with ChainServer.of_blocks(PARAMS, chain) as server, bridge_of(tmp_path / "bridge", chain, server) as bridge:
        (tmp_path / "compact").mkdir()
        words = ("--connect", bridge.address, f"--v2transport={int(v2)}")
        node = NodeProcess(tmp_path / "compact", "regtest", "--utreexo-csn")
        with node.start(*words):
            node.wait_height(len(chain))
            assert node.rpc("getbestblockhash") == bridge.rpc("getbestblockhash")
            for height in range(1, len(chain) + 1):
                assert roots(node, height) == roots(bridge, height)
            info = node.rpc("getblockchaininfo")
            assert info["pruned"] is True
            services = node.rpc("getnetworkinfo")["localservicesnames"]
            assert "NETWORK_LIMITED" in services and "NETWORK" not in services
            assert node.stop() == 0
            node.start(*words)
            assert roots(node, len(chain)) == roots(bridge, len(chain))
            assert "Traceback" not in node.output() + bridge.output()
            assert node.stop() == 0


def name(raw: bytes) -> str:
    return header_hash(raw[:HEADER_SIZE])[::-1].hex()


def proofs_of(chain: list[bytes]) -> tuple[dict[BlockHash, bytes], MemoryBridge]:
    """What a bridge tells of each block, and the bridge after the last."""
    bridge, proofs = MemoryBridge(), {}
    for raw in chain:
        proofs[header_hash(raw[:HEADER_SIZE])] = bridge.prove(raw)
        bridge.adopt(raw)
    return proofs, bridge


@pytest.fixture(scope="module")
def world() -> tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge]:
    chain = chain_of()
    return chain, *proofs_of(chain)


@contextmanager
def scripted(chain: list[bytes], proofs: dict[BlockHash, bytes] | None) -> Iterator[ChainServer]:
    with ChainServer.of_blocks(PARAMS, chain) as server:
        server.proofs = proofs
        yield server


def compact(folder: Path, *words: str) -> NodeProcess:
    folder.mkdir()
    return NodeProcess(folder, "regtest", "--utreexo-csn", *words)


LIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"\0\0\0",
    "truncated": lambda proof: proof[:-1],
    "longer": lambda proof: proof + b"\0",
    "a bit": lambda proof: proof[:40] + bytes([proof[40] ^ 1]) + proof[41:],
    "random": lambda _: b"\0" + random.Random(5).randbytes(500),
    "too many hashes": lambda _: b"\xfe\xff\xff\xff\x00" + bytes(1000),
    "millions of positions": lambda _: b"\0\xfe\xff\xff\xff\x00" + bytes(1000),
}


@pytest.mark.parametrize("how", LIES)
def test_who_forges_a_proof_is_dealt_with(
    tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge], how: str
) -> None:
    chain, proofs, memory = world
    lies: list[bytes] = []

    def lie(block_hash: bytes, proof: bytes) -> bytes:
        if len(proof) < 100:
            return proof
        lies.append(block_hash)
        return LIES[how](proof)

    with scripted(chain, proofs) as good, scripted(chain, proofs) as bad:
        bad.on_proof = lie
        with compact(tmp_path / "node", "--connect", bad.address).start() as node:
            wait_until(lambda: "wrong Utreexo proof" in node.output(), 60, "the lie")
            node.rpc("addnode", good.address, "onetry")
            node.wait_height(len(chain))
            assert node.rpc("getutreexoroots")["numleaves"] == memory.stump.leaves
            assert node.rpc("getchaintips") == [
                {"height": len(chain), "hash": name(chain[-1]), "branchlen": 0, "status": "active"}
            ]
            assert "Traceback" not in node.output()
        assert lies


def test_proofs_of_one_and_blocks_of_another(
    tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge]
) -> None:
    chain, proofs, _ = world
    with scripted(chain, None) as plain, scripted(chain, proofs) as teller:
        teller.on_block = lambda _hash, _raw: None
        words = ("--connect", plain.address, "--connect", teller.address)
        with compact(tmp_path / "node", *words).start() as node:
            node.wait_height(len(chain))
        assert set(plain.requests) >= {header_hash(raw[:HEADER_SIZE]) for raw in chain}


def test_without_a_bridge_it_waits(
    tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge]
) -> None:
    chain, proofs, _ = world
    with (
        scripted(chain, None) as plain,
        scripted(chain, proofs) as bridge,
        compact(tmp_path / "node", "--connect", plain.address).start() as node,
    ):
        wait_until(lambda: node.rpc("getblockchaininfo")["headers"] == len(chain), 30, "the headers")
        assert node.rpc("getblockcount") == 0 and not plain.requests
        node.rpc("addnode", bridge.address, "onetry")
        node.wait_height(len(chain))
        assert "Traceback" not in node.output()


def test_killed_at_any_moment(tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge]) -> None:
    chain, proofs, memory = world
    with scripted(chain, proofs) as bridge, compact(tmp_path / "node", "--connect", bridge.address) as node:
        rng = random.Random(7)
        for _ in range(4):
            node.start()
            target = rng.randrange(len(chain))
            wait_until(lambda least=target: node.rpc("getblockcount") >= least, 60, "some blocks")  # type: ignore[misc]
            node.kill()
        node.start()
        node.wait_height(len(chain))
        stump = memory.stump
        told = node.rpc("getutreexoroots")
        assert told["numleaves"] == stump.leaves and told["roots"] == [
            (root or bytes(32)).hex() for root in stump.roots
        ]
        assert node.stop() == 0
        node.start()
        assert node.rpc("getutreexoroots") == told
        assert "Traceback" not in node.output()


def test_reindexed_without_its_proofs(
    tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge]
) -> None:
    """Blocks that cannot be connected from the disk are fetched again, with proofs."""
    chain, proofs, memory = world
    with scripted(chain, proofs) as bridge, compact(tmp_path / "node", "--connect", bridge.address) as node:
        node.start()
        node.wait_height(len(chain))
        assert node.stop() == 0
        shutil.rmtree(node.net_dir / "proofs")
        node.start("--reindex")
        node.wait_height(len(chain))
        assert node.rpc("getutreexoroots")["numleaves"] == memory.stump.leaves
        assert "Traceback" not in node.output()


def test_it_follows_a_reorganisation(tmp_path: Path) -> None:
    chain = chain_of()
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        bridge_of(tmp_path / "bridge", chain, server) as bridge,
        compact(tmp_path / "node", "--connect", bridge.address).start() as node,
    ):
        node.wait_height(len(chain))
        fork = len(chain) - 6
        bridge.rpc("setnetworkactive", False)
        bridge.rpc("invalidateblock", name(chain[fork]))
        bridge.rpc("generatetoaddress", 8, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        bridge.rpc("setnetworkactive", True)
        wait_until(lambda: node.rpc("getbestblockhash") == bridge.rpc("getbestblockhash"), 60, "the other chain")
        for height in range(fork - 3, fork + 8):
            assert roots(node, height) == roots(bridge, height)
        bridge.rpc("reconsiderblock", name(chain[fork]))
        bridge.rpc("invalidateblock", bridge.rpc("getblockhash", fork + 1))
        bridge.rpc("generatetoaddress", 4, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        wait_until(lambda: node.rpc("getbestblockhash") == bridge.rpc("getbestblockhash"), 60, "the old chain")
        assert node.rpc("getblockcount") == len(chain) + 4
        assert roots(node, len(chain) + 4) == roots(bridge, len(chain) + 4)
        assert "Traceback" not in node.output() + bridge.output()


def test_what_needs_the_set_says_so(
    tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge]
) -> None:
    chain, proofs, _ = world
    with scripted(chain, proofs) as bridge, compact(tmp_path / "node", "--connect", bridge.address).start() as node:
        node.wait_height(len(chain))
        calls: list[tuple[Any, ...]] = [
            ("gettxout", "00" * 32, 0),
            ("gettxoutsetinfo",),
            ("scantxoutset", "start", ["raw(51)"]),
            ("dumptxoutset", "utxo.dat", "latest"),
            ("loadtxoutset", "utxo.dat"),
        ]
        for method, *arguments in calls:
            with pytest.raises(RpcFailure, match="keeps no UTXO set"):
                node.rpc(method, *arguments)
        assert node.rpc("verifychain", 4, 0) is True
        assert node.rpc("getblock", name(chain[-1]), 3)["height"] == len(chain)
        # a block that spends nothing needs no proof
        [made] = node.rpc("generatetoaddress", 1, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        assert node.rpc("getbestblockhash") == made
        assert node.stop() == 0
        node.options = ()
        with pytest.raises(RuntimeError, match="has no coins"):
            node.start()


def test_a_transaction_with_its_proof(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(400), *(generator.busy(20) for _ in range(4))]
    tx, _, _ = generator._pay([generator.take()], 2)
    [outpoint] = tx.prevouts
    output = {"txid": outpoint[:32][::-1].hex(), "vout": int.from_bytes(outpoint[32:], "little")}
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        bridge_of(tmp_path / "bridge", chain, server) as bridge,
        compact(tmp_path / "node", "--connect", bridge.address).start() as node,
    ):
        bridge.rpc(
            "generatetoaddress", 1, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
        )  # of today: no initial download
        node.wait_height(len(chain) + 1)
        assert node.stop() == 0
        node.start()  # what it saw of recent blocks is forgotten
        with pytest.raises(RpcFailure, match="missing"):
            node.rpc("sendrawtransaction", tx.raw.hex())
        old = bridge.rpc("proveutreexocoins", [output], name(chain[-2]))["hex"]
        with pytest.raises(RpcFailure, match="the tip is"):
            node.rpc("sendutreexotransaction", tx.raw.hex(), old)
        proof = bridge.rpc("proveutreexocoins", [output])["hex"]
        forged = proof[:-2] + ("00" if proof[-2:] != "00" else "01")
        for bad in (forged, proof[:-2], proof + "00", "00"):
            with pytest.raises(RpcFailure):
                node.rpc("sendutreexotransaction", tx.raw.hex(), bad)
        with pytest.raises(RpcFailure, match="keeps all coins"):
            bridge.rpc("showutreexocoins", proof)
        [shown] = node.rpc("showutreexocoins", proof)
        assert shown["txid"] == output["txid"]
        [tested] = node.rpc("testmempoolaccept", [tx.raw.hex()])
        assert tested["allowed"] is True
        assert node.rpc("sendutreexotransaction", tx.raw.hex(), proof) == tx.txid[::-1].hex()
        wait_until(lambda: bridge.rpc("getrawmempool") == [tx.txid[::-1].hex()], 60, "the announcement")
        [made] = bridge.rpc("generatetoaddress", 1, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        wait_until(lambda: node.rpc("getbestblockhash") == made, 60, "the block")
        assert node.rpc("getrawmempool") == []
        node.rpc("invalidateblock", made)  # its coin is known again, so that it comes back
        assert node.rpc("getrawmempool") == [tx.txid[::-1].hex()]
        node.rpc("reconsiderblock", made)
        assert node.rpc("getrawmempool") == [] and node.rpc("getbestblockhash") == made
        assert roots(node, len(chain) + 2) == roots(bridge, len(chain) + 2)
        assert "Traceback" not in node.output() + bridge.output()


@pytest.mark.parametrize("place", ["the first root", "the last root", "the number of leaves"])
def test_a_flipped_bit_in_the_roots_is_told_and_repaired(
    tmp_path: Path, world: tuple[list[bytes], dict[BlockHash, bytes], MemoryBridge], place: str
) -> None:
    """Roots are all that stands for the coins: wrong ones would refuse every right proof, and blame who told it."""
    chain, proofs, memory = world
    with scripted(chain, proofs) as bridge, compact(tmp_path / "node", "--connect", bridge.address) as node:
        node.start()
        node.wait_height(len(chain))
        assert node.stop() == 0
        packed = memory.stump.pack()
        at = {"the first root": 8, "the last root": len(packed) - 1, "the number of leaves": 0}[place]
        path = node.net_dir / "chainstate" / "btcnode.mdb"
        data = bytearray(path.read_bytes())
        found, begin = 0, -1
        while (begin := data.find(packed, begin + 1)) >= 0:
            data[begin + at] ^= 1
            found += 1
        assert found
        path.write_bytes(data)
        with pytest.raises(RuntimeError, match=r"is damaged .* start with --reindex"):
            node.start()
        node.start("--reindex")
        node.wait_height(len(chain))
        assert node.rpc("getutreexoroots")["numleaves"] == memory.stump.leaves
        assert "Traceback" not in node.output()
