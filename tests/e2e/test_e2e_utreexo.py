"""A verifier without coins follows a chain from a bridge over TCP, by its blocks and proofs alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_height
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.testing.regtest import RegtestNode
from btcnode.utreexo.blocks import added_leaves
from btcnode.utreexo.compact import script_of_input
from btcnode.utreexo.hashing import EMPTY, leaf_hash
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump
from btcnode.wire.constants import MSG_UTREEXO_PROOF
from btcnode.wire.messages import (
    GetUtreexoProof,
    GetUtreexoRoot,
    InvItem,
    NotFound,
    UtreexoProof,
    UtreexoRoot,
)  # fmt: skip
from btcnode.wire.messages.utreexo import ALL_LEAVES, ALL_TARGETS
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer, ScriptedPeer
from tests.lib.process import NodeProcess, wait_until

PARAMS = params_for("regtest")


def read_leaves(data: bytes, at: int, block: ParsedBlock) -> list[tuple[bytes, bytes]]:
    """Outpoints and packed coins of the compact leaves of a block's proof."""
    own, inputs = set(block.txids), []
    for i in range(1, block.n_tx):
        tx = block.tx(i)
        for n, outpoint in enumerate(tx.prevouts):
            if outpoint[:32] not in own:
                inputs.append((outpoint, tx.script_sigs[n], tx.witnesses[n] if tx.witnesses else []))
    count, at = read_compact_size(data, at)
    assert count == len(inputs)
    found = []
    for outpoint, script_sig, witness in inputs:
        head, kind, at = data[at : at + 12], data[at + 12], at + 13
        if kind:
            script = script_of_input(kind, script_sig, witness)
            assert script is not None
        else:
            size, at = read_compact_size(data, at)
            script, at = data[at : at + size], at + size
        found.append((outpoint, head + bytes([len(script)]) + script))
    assert at == len(data)
    return found


def read_proof(message: UtreexoProof) -> tuple[Proof, int]:
    """The proof in a message, whose lists are in another order, and the place behind it."""
    data = message.proof
    count, at = read_compact_size(data, 0)
    hashes = tuple(data[at + 32 * n : at + 32 * n + 32] for n in range(count))
    count, at = read_compact_size(data, at + 32 * count)
    targets = []
    for _ in range(count):
        target, at = read_compact_size(data, at, 2**64 - 1)
        targets.append(target)
    return Proof(tuple(targets), hashes), at


@pytest.mark.parametrize("v2", [False, True])
def test_a_verifier_without_coins_follows_the_chain(tmp_path: Path, *, v2: bool) -> None:
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(400), *(generator.busy(20) for _ in range(12))]
    bridge = NodeProcess(tmp_path, "regtest", "--utreexoindex", "--peerutreexoproofs")
    with ChainServer.of_blocks(PARAMS, chain) as server, bridge.start("--connect", server.address):
        bridge.wait_height(len(chain))
        wait_until(lambda: bridge.rpc("getindexinfo")["utreexoindex"]["synced"], 30, "the index")
        assert "UTREEXO_ARCHIVE" in bridge.rpc("getnetworkinfo")["localservicesnames"]
        peer = ScriptedPeer.connect("127.0.0.1", bridge.port, PARAMS, v2=v2)
        peer.handshake()
        stump, hashes = Stump(), [BlockHash(PARAMS.genesis_hash)]
        proven = 0
        for height, raw in enumerate(chain, 1):
            block = parse_block(raw)
            hashes.append(block.hash)
            peer.send(GetUtreexoProof(block.hash))
            message = peer.expect(UtreexoProof)
            assert message.block_hash == block.hash
            proof, at = read_proof(message)
            coins = read_leaves(message.proof, at, block)
            leaves = [leaf_hash(hashes[coin_height(coin)], outpoint, coin) for outpoint, coin in coins]
            stump = stump.after(leaves, proof, added_leaves(block, height))
            proven += len(leaves)
        assert proven > 200
        peer.send(GetUtreexoRoot(hashes[-1]))
        roots = tuple(root or EMPTY for root in stump.roots)
        assert peer.expect(UtreexoRoot) == UtreexoRoot(stump.leaves, 0, hashes[-1], roots)
        # parts: the second hash and the first leaf, no positions; then positions and leaves
        peer.send(GetUtreexoProof(hashes[-1], 0, b"\x02", b"\x01"))
        part, at = read_proof(peer.expect(UtreexoProof))
        assert part == Proof((), proof.hashes[1:2])
        peer.send(GetUtreexoProof(hashes[-1], ALL_TARGETS | ALL_LEAVES))
        part, at = read_proof(peer.expect(UtreexoProof))
        assert part == Proof(proof.targets, ())
        peer.send(GetUtreexoProof(b"?" * 32))
        assert peer.expect(NotFound) == NotFound((InvItem(MSG_UTREEXO_PROOF, b"?" * 32),))
        peer.close()
        assert bridge.stop() == 0
        assert "Traceback" not in bridge.output()


def test_a_coin_is_shown_to_somebody_without_a_node(tmp_path: Path) -> None:
    node = RegtestNode(datadir=tmp_path, listen=False, utreexoindex=True)
    try:
        node.fill_purse()
        txid = node.pay("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", 1)
        [block] = node.mine()
        output = {"txid": txid, "vout": 0}
        proof, roots = node.rpc.proveutreexocoins([output]), node.rpc.getutreexoroots(block)
    finally:
        node.close()
    command = [sys.executable, "-m", "btcnode", "utreexo", "verify", proof["hex"], "--roots", roots["hex"]]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    expected = f"{txid}:0 1.00000000 BTC, confirmed at height {roots['height']}, script 0014"
    assert shown.splitlines()[0].startswith(expected)
    assert block in shown.splitlines()[1]
    bent = bytes.fromhex(proof["hex"])
    command[-3] = (bent[:-1] + bytes([bent[-1] ^ 1])).hex()
    failed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)


def test_a_transaction_is_shown_to_somebody_without_a_node(tmp_path: Path) -> None:
    node = RegtestNode(datadir=tmp_path, listen=False)
    try:
        node.fill_purse()
        txid = node.pay("bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", 1)
        [block] = node.mine()
        node.mine(2)
        proof, header = node.rpc.gettxoutproof([txid], block), node.rpc.getblockheader(block)
        headers = [node.rpc.getblockheader(node.rpc.getblockhash(header["height"] + n), False) for n in range(3)]
    finally:
        node.close()
    command = [sys.executable, "-m", "btcnode", "txoutproof", "verify", proof, "--network", "regtest"]
    command += ["--headers", "".join(headers), "--transactions", str(header["nTx"])]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert shown[0] == f"{txid} is transaction 1 of the block"
    assert shown[1].startswith(f"block {block} of 2 transactions")
    assert shown[2].startswith("2 headers on top of it")
    command[-3] = "".join(headers[1:])
    failed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
