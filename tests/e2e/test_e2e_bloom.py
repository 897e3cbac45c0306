"""A light client and a real node (BIP37): what its filter matches comes as a proof with the transactions behind it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from btcnode.networks.parameters import params_for
from btcnode.primitives.merkle_proof import read_proof
from btcnode.primitives.tx import Tx
from btcnode.wire.bloom_filter import BloomFilter, make_filter
from btcnode.wire.constants import MSG_FILTERED_BLOCK, NODE_BLOOM
from btcnode.wire.messages import (
    FilterAdd,
    FilterClear,
    FilterLoad,
    GetData,
    InvItem,
    MerkleBlock,
    Ping,
    Pong,
    TxMessage,
    Version,
)
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess

WATCHED = bytes(range(20))
SCRIPT = f"raw(a914{WATCHED.hex()}87)"


def test_filtered_blocks_and_their_transactions(tmp_path: Path) -> None:
    params = params_for("regtest")
    with NodeProcess(tmp_path, "regtest", "--peerbloomfilters").start() as node:
        (other,) = node.rpc("generatetodescriptor", 1, "raw(51)")
        (mine,) = node.rpc("generatetodescriptor", 1, SCRIPT)
        with closing(ScriptedPeer.connect("127.0.0.1", node.port, params)) as client:
            client.handshake()
            (version,) = [message for message in client.received if isinstance(message, Version)]
            assert version.services & NODE_BLOOM
            data, funcs = make_filter([b"nothing"], 7)
            client.send(FilterLoad(data, funcs, 7, BloomFilter.UPDATE_ALL))
            client.send(FilterAdd(WATCHED))
            wanted = [bytes.fromhex(text)[::-1] for text in (other, mine)]
            client.send(GetData(tuple(InvItem(MSG_FILTERED_BLOCK, block_hash) for block_hash in wanted)))
            empty, full = client.expect(MerkleBlock), client.expect(MerkleBlock)
            tx = client.expect(TxMessage)
            assert isinstance(empty, MerkleBlock)
            assert isinstance(full, MerkleBlock)
            assert isinstance(tx, TxMessage)
            assert read_proof(empty.total_txs, empty.hashes, empty.flags)[1] == []
            root, found = read_proof(full.total_txs, full.hashes, full.flags)
            assert root == full.header[36:68]
            assert found == [Tx.parse(tx.raw).txid]
            client.send(FilterClear())
            client.send(GetData((InvItem(MSG_FILTERED_BLOCK, wanted[1]),)))  # no filter, no answer
            client.send(Ping(99))
            while not isinstance(answer := client.receive(), Pong) or answer.nonce != 99:
                assert not isinstance(answer, MerkleBlock)
