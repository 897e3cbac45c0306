"""Methods over the optional indexes, with indexes that hold what a test put in."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.errors import StorageError
from btcnode.indexes.coinstats import CoinStats
from btcnode.primitives.block import parse_block
from btcnode.services.index_builder import IndexState
from btcnode.services.indexes import IndexedTx

Running = Any

ABSENT = "11" * 32
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


class FakeIndex:
    """Every kind of index at once."""

    def __init__(self) -> None:
        self.ready = True
        self.broken = False
        self.found: dict[bytes, Any] = {}

    def state(self) -> IndexState:
        return IndexState("fake", self.ready, 1)

    async def until_synced(self) -> bool:
        return self.ready

    async def find(self, key: bytes) -> IndexedTx | None:
        if self.broken:
            raise StorageError("broken")
        return self.found.get(key)

    def get(self, key: bytes) -> Any:
        if self.broken:
            raise StorageError("broken")
        return self.found.get(key)


@pytest.fixture
def index(running: Running) -> FakeIndex:
    index = FakeIndex()
    node: Any = running.node
    node.tx_index = node.spender_index = node.coinstats_index = index
    return index


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def test_transactions(running: Running, index: FakeIndex) -> None:
    why = "No such mempool or blockchain transaction. Use gettransaction for wallet transactions."
    assert running.call("getrawtransaction", ABSENT) == error(-5, why)
    index.ready = False
    why = "No such mempool transaction. Blockchain transactions are still in the process of being indexed"
    assert running.call("getrawtransaction", ABSENT) == error(-5, f"{why}. Use gettransaction for wallet transactions.")
    assert running.call("gettxoutproof", [ABSENT]) == error(-5, "Transaction not yet in block")

    [block_hash] = running.call("generatetoaddress", 1, ADDRESS)
    at = running.node.tree.find(bytes.fromhex(block_hash)[::-1])
    tx = parse_block(running.node.raw[at]).tx(0)
    running.node.coins.clear()
    index.found[tx.txid] = IndexedTx(tx, at)
    txid = tx.txid[::-1].hex()
    shown = running.call("getrawtransaction", txid, 2)
    assert (shown["blockhash"], shown["confirmations"]) == (block_hash, 1)
    assert "in_active_chain" not in shown
    assert running.call("verifytxoutproof", running.call("gettxoutproof", [txid])) == [txid]


def test_spenders(running: Running, index: FakeIndex) -> None:
    output = {"txid": ABSENT, "vout": 1}
    assert running.call("gettxspendingprevout", [output]) == [output]
    tx = parse_block(running.node.params.genesis_block).tx(0)
    index.found[bytes.fromhex(ABSENT) + b"\x01\x00\x00\x00"] = IndexedTx(tx, 0)
    [found] = running.call("gettxspendingprevout", [output], {"return_spending_tx": True})
    genesis = running.call("getblockhash", 0)
    spent = output | {"spendingtxid": tx.txid[::-1].hex(), "spendingtx": tx.raw.hex(), "blockhash": genesis}
    assert found == spent
    assert running.call("gettxspendingprevout", [output], {"mempool_only": True}) == [output]
    index.broken = True
    why = f"IO error finding spending tx for outpoint {ABSENT}:1."
    assert running.call("gettxspendingprevout", [output]) == error(-1, why)
    index.ready = False
    why = "Mempool lacks a relevant spend, and txospenderindex is unavailable."
    assert running.call("gettxspendingprevout", [output]) == error(-1, why)


def test_statistics(running: Running, index: FakeIndex) -> None:
    def ask(*params: Any) -> Any:
        return running.call("gettxoutsetinfo", *params)

    genesis = bytes.fromhex(running.call("getblockhash", 0))[::-1]
    assert ask("none") == error(-32603, "Unable to read UTXO set")
    index.found[genesis] = CoinStats(subsidy=5, genesis_block=5)
    assert ask("muhash", 0) == ask("muhash")
    assert ask("muhash")["total_unspendable_amount"] == 0.00000005
    assert "muhash" not in ask("none")
    assert "block_info" not in ask("none", None, False)
    assert "transactions" in ask("hash_serialized_3")
    why = "Cannot set use_index to false when querying for a specific block"
    assert ask("none", 0, False) == error(-8, why)
    why = "hash_serialized_3 hash type cannot be queried for a specific block"
    assert ask("hash_serialized_3", 0) == error(-8, why)
    assert ask("none", True) == error(-3, "JSON value of type bool is not of expected type string")
    hashes = running.call("generatetoaddress", 2, ADDRESS)
    index.ready = False
    why = "Unable to get data because coinstatsindex is still syncing. Current height: 1"
    assert ask("none", hashes[1]) == error(-32603, why)
    index.broken = True
    assert ask("none", 0) == error(-32603, "Unable to read UTXO set")
