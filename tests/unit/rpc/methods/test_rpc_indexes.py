"""Methods over the optional indexes: in step with the chain, behind it, and broken."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.errors import StorageError
from btcnode.indexes.store import IndexStore
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.services.index_builder import IndexBuilder
from tests.lib.process import wait_until

Running = Any

ABSENT = "11" * 32
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture
def running(run_server: Any) -> Running:
    return run_server(txindex=True, txospenderindex=True, coinstatsindex=True)


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


def fall_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no index learns of new blocks, and nobody waits for one."""
    monkeypatch.setattr(IndexBuilder, "_plan", lambda self: ())
    monkeypatch.setattr("btcnode.services.index_builder.NEAR_BLOCKS", 0)


def break_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StorageError("broken")

    monkeypatch.setattr(IndexStore, "find", broken)
    monkeypatch.setattr(IndexStore, "record", broken)


def spend(running: Running) -> Tx:
    """Mine a transaction that spends the first coinbase; the tip is its block."""
    first, *_ = running.call("generatetodescriptor", COINBASE_MATURITY, "raw(52)")
    coinbase = bytes.fromhex(running.call("getblock", first)["tx"][0])[::-1]
    tx = Tx(2, [coinbase + bytes(4)], [b""], [0xFFFFFFFF], [make_txout(50 * COIN, b"\x51")])
    running.call("generateblock", ADDRESS, [tx.raw.hex()])
    return tx


def test_transactions(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "No such mempool or blockchain transaction. Use gettransaction for wallet transactions."
    assert running.call("getrawtransaction", ABSENT) == error(-5, why)
    tx = spend(running)
    spent = tx.prevouts[0][:32][::-1].hex()  # of which no coin is left
    shown = running.call("getrawtransaction", spent, 2)
    assert (shown["blockhash"], shown["confirmations"]) == (running.call("getblockhash", 1), 101)
    assert "in_active_chain" not in shown
    assert running.call("verifytxoutproof", running.call("gettxoutproof", [spent])) == [spent]
    assert [name for name, state in running.call("getindexinfo").items() if state["synced"]] == [
        "txindex", "coinstatsindex", "txospenderindex",
    ]  # fmt: skip
    fall_behind(monkeypatch)
    running.call("generatetoaddress", 2, ADDRESS)
    why = "No such mempool transaction. Blockchain transactions are still in the process of being indexed"
    assert running.call("getrawtransaction", ABSENT) == error(-5, f"{why}. Use gettransaction for wallet transactions.")
    assert running.call("gettxoutproof", [ABSENT]) == error(-5, "Transaction not yet in block")


def all_indexes_are_at_the_tip(running: Running) -> bool:
    height = running.call("getblockcount")
    return all(index["best_block_height"] == height for index in running.call("getindexinfo").values())


def test_spenders(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    output = {"txid": ABSENT, "vout": 1}
    assert running.call("gettxspendingprevout", [output]) == [output]
    tx = spend(running)
    output = {"txid": tx.prevouts[0][:32][::-1].hex(), "vout": 0}
    [found] = running.call("gettxspendingprevout", [output], {"return_spending_tx": True})
    tip = running.call("getbestblockhash")
    spent = output | {"spendingtxid": tx.txid[::-1].hex(), "spendingtx": tx.raw.hex(), "blockhash": tip}
    assert found == spent
    assert running.call("gettxspendingprevout", [output], {"mempool_only": True}) == [output]
    wait_until(lambda: all_indexes_are_at_the_tip(running))  # what is still at work on the block would break, too
    break_reading(monkeypatch)
    why = f"IO error finding spending tx for outpoint {output['txid']}:0."
    assert running.call("gettxspendingprevout", [output]) == error(-1, why)
    fall_behind(monkeypatch)
    running.call("generatetoaddress", 2, ADDRESS)
    why = "Mempool lacks a relevant spend, and txospenderindex is unavailable."
    assert running.call("gettxspendingprevout", [output]) == error(-1, why)


def test_statistics(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*params: Any) -> Any:
        return running.call("gettxoutsetinfo", *params)

    assert ask("muhash", 0) == ask("muhash")
    assert ask("muhash")["total_unspendable_amount"] == 50
    assert "muhash" not in ask("none")
    assert "block_info" not in ask("none", None, False)
    assert "transactions" in ask("hash_serialized_3")
    why = "Cannot set use_index to false when querying for a specific block"
    assert ask("none", 0, False) == error(-8, why)
    why = "hash_serialized_3 hash type cannot be queried for a specific block"
    assert ask("hash_serialized_3", 0) == error(-8, why)
    assert ask("none", True) == error(-3, "JSON value of type bool is not of expected type string")
    running.call("generatetoaddress", 1, ADDRESS)
    assert (ask("none")["height"], ask("none")["block_info"]["coinbase"]) == (1, 50)
    fall_behind(monkeypatch)
    hashes = running.call("generatetoaddress", 2, ADDRESS)
    why = "Unable to get data because coinstatsindex is still syncing. Current height: 1"
    assert ask("none", hashes[1]) == error(-32603, why)
    break_reading(monkeypatch)
    assert ask("none", 0) == error(-32603, "Unable to read UTXO set")


def test_a_block_that_was_made_invalid_does_not_count_as_connected(
    run_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an index lacks of it is no damage, and a proposal of it is none of a valid one."""
    running = run_server(blockfilterindex=True)
    fall_behind(monkeypatch)
    *_, mined = running.call("generatetodescriptor", 2, "raw(52)")
    proposal = {"mode": "proposal", "rules": ["segwit"], "data": running.call("getblock", mined, 0)}
    why = "Filter not found. Block filters are still in the process of being indexed."
    assert running.call("getblockfilter", mined) == error(-1, why)
    assert running.call("getblocktemplate", proposal) == "duplicate"
    running.call("invalidateblock", running.call("getblockhash", 1))
    why = "Filter not found. Block was not connected to active chain."
    assert running.call("getblockfilter", mined) == error(-5, why)
    assert running.call("getblocktemplate", proposal) == "duplicate-invalid"
    running.call("reconsiderblock", mined)
    assert running.call("getblocktemplate", proposal) == "duplicate"
