"""A bridge over TCP: what it tells once it has pruned, and while its chain is reorganised."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.compactsize import read_compact_size
from btcnode.rpc.errors import RpcError
from btcnode.testing.regtest import RegtestNode
from btcnode.utreexo.coin_proof import CoinProof, decode_roots
from btcnode.wire.messages import GetUtreexoProof, GetUtreexoRoot, NotFound, UtreexoProof, UtreexoRoot
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess, wait_until

PARAMS = params_for("regtest")
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def name(text: str) -> bytes:
    return bytes.fromhex(text)[::-1]


def test_a_bridge_that_has_pruned_tells_what_its_index_has(tmp_path: Path) -> None:
    """Roots, proofs of old coins and of recent blocks; not what old blocks spend, whose leaves went with them."""
    options = {"utreexoindex": True, "peerutreexoproofs": True, "prune": 1, "fastprune": True, "port": 0}
    with RegtestNode(datadir=tmp_path, listen=True, **options) as node:
        node.fill_purse()
        txid = node.pay(ADDRESS, 1)
        [old] = node.mine()
        height = node.rpc.getblockcount()
        before = node.rpc.getutreexoroots(old)
        assert node.rpc.getutreexoproof(old)
        node.mine(480)  # a file of 64 KiB, and 288 blocks above it
        assert node.rpc.pruneblockchain(node.rpc.getblockcount() - 288) >= height
        assert node.rpc.getutreexoroots(old) == before
        with pytest.raises(RpcError, match="pruned data"):
            node.rpc.getutreexoproof(old)
        proof, roots = node.rpc.proveutreexocoins([{"txid": txid, "vout": 0}]), node.rpc.getutreexoroots()
        CoinProof.decode(bytes.fromhex(proof["hex"])).verify(decode_roots(bytes.fromhex(roots["hex"]))[1])
        host, port = node.node.p2p_address
        peer = ScriptedPeer.connect(host, port, PARAMS)
        peer.handshake()
        tip = name(node.rpc.getbestblockhash())
        for request in (GetUtreexoProof(name(old)), GetUtreexoRoot(name(old)), GetUtreexoProof(name(old), 0, b"\1")):
            peer.send(request)
            assert peer.expect(NotFound).items[0].hash == name(old)
        peer.send(GetUtreexoProof(tip))
        assert peer.expect(UtreexoProof).block_hash == tip
        peer.send(GetUtreexoRoot(tip))
        assert peer.expect(UtreexoRoot).leaves == roots["numleaves"]
        peer.close()


def test_proofs_are_served_while_the_chain_is_reorganised(tmp_path: Path) -> None:
    """Every answer is about the block that was asked for, and says the same of it each time; or that it is not here."""
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(200), *(generator.busy(12) for _ in range(8))]
    bridge = NodeProcess(tmp_path, "regtest", "--utreexoindex", "--peerutreexoproofs")
    with ChainServer.of_blocks(PARAMS, chain) as server, bridge.start("--connect", server.address):
        bridge.wait_height(len(chain))
        wait_until(lambda: bridge.rpc("getindexinfo")["utreexoindex"]["synced"], 60, "the index")
        peer = ScriptedPeer.connect("127.0.0.1", bridge.port, PARAMS)
        peer.handshake()
        moved = parse_block(chain[-5])
        wanted = [parse_block(raw).hash for raw in chain[-7:]]
        told: dict[bytes, set[bytes]] = {block_hash: set() for block_hash in wanted}
        missing = 0
        for _ in range(6):
            for step in ("invalidateblock", "reconsiderblock"):
                for block_hash in wanted:
                    peer.send(GetUtreexoProof(block_hash))
                bridge.rpc(step, moved.hash[::-1].hex())
                for block_hash in wanted:
                    answer = peer.receive()
                    while not isinstance(answer, UtreexoProof | NotFound):
                        answer = peer.receive()
                    if isinstance(answer, UtreexoProof):
                        assert answer.block_hash == block_hash
                        told[block_hash].add(answer.proof)
                    else:
                        assert answer.items[0].hash == block_hash
                        missing += 1
        assert all(len(proofs) == 1 for proofs in told.values())
        [proof] = told[wanted[-1]]
        assert read_compact_size(proof, 0)[0] > 0
        with contextlib.suppress(TimeoutError):
            bridge.wait_height(len(chain))
        assert bridge.rpc("getutreexoroots")["height"] == len(chain)
        peer.close()
        assert bridge.stop() == 0
        assert "Traceback" not in bridge.output()
