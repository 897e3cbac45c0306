"""Pruning with real processes: by RPC, killed in between, and what is answered about blocks that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.process import NodeProcess, RpcFailure, wait_until

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
OPTIONS = ("--fastprune", "--prune", "1", "--blockfilterindex")


def refused(node: NodeProcess, method: str, *params: object) -> str:
    with pytest.raises(RpcFailure) as caught:
        node.rpc(method, *params)
    return caught.value.message


def indexes_synced(node: NodeProcess) -> bool:
    return all(one["synced"] for one in node.rpc("getindexinfo").values())


def test_pruning_by_hand(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start(*OPTIONS)
        for _ in range(4):
            node.rpc("generatetoaddress", 200, ADDRESS)
        info = node.rpc("getblockchaininfo")
        assert (info["pruned"], info["pruneheight"], info["automatic_pruning"]) == (True, 0, False)
        assert node.rpc("getnetworkinfo")["localservicesnames"] == ["WITNESS", "NETWORK_LIMITED", "P2P_V2"]
        raw = node.rpc("getblock", node.rpc("getblockhash", 2), 0)
        last = node.rpc("pruneblockchain", 400)
        assert 0 < last < 400 and node.rpc("getblockchaininfo")["pruneheight"] == last + 1
        gone, kept = node.rpc("getblockhash", last), node.rpc("getblockhash", last + 1)
        assert refused(node, "getblock", gone) == "Block not available (pruned data)"
        assert refused(node, "getblockstats", last) == "Block not available (pruned data)"
        assert node.rpc("getblock", kept, 2)["height"] == last + 1
        assert node.rpc("getblockfilter", gone)["filter"]
        assert node.rpc("getblockheader", gone)["nTx"] == 1
        assert node.rpc("verifychain", 3, 0) is False
        assert "cannot be taken back" in refused(node, "invalidateblock", gone)
        assert node.rpc("submitblock", raw) == "inconclusive"  # it is kept again, and was not judged anew
        assert node.rpc("getblock", node.rpc("getblockhash", 2), 0) == raw
        assert refused(node, "pruneblockchain", 801) == "Blockchain is shorter than the attempted prune height."
        node.kill()
        with pytest.raises(RuntimeError, match="go back to unpruned mode"):
            node.start("--fastprune")
        node.start(*OPTIONS)
        assert node.height() == 800 and node.rpc("pruneblockchain", 100) == last
        node.rpc("generatetoaddress", 2, ADDRESS)
        assert node.stop() == 0


def test_killed_with_indexes_ahead_of_the_chain(tmp_path: Path) -> None:
    """What is mined after the last flush is in the indexes and, after a kill, not in the chain."""
    options = (*OPTIONS, "--coinstatsindex")
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start(*options)
        for _ in range(4):
            node.rpc("generatetoaddress", 200, ADDRESS)
        last = node.rpc("pruneblockchain", 400)
        flushed = node.height()
        hashes = node.rpc("generatetoaddress", 30, ADDRESS)
        wait_until(lambda: indexes_synced(node))
        expected = node.rpc("gettxoutsetinfo", "muhash", node.rpc("getblockhash", flushed))
        node.kill()
        node.start(*options)
        assert node.height() < flushed + 30, "nothing was lost: the test shows nothing"
        wait_until(lambda: indexes_synced(node))
        assert node.rpc("gettxoutsetinfo", "muhash", node.rpc("getblockhash", flushed)) == expected
        assert node.rpc("getblockfilter", node.rpc("getblockhash", last))["filter"]
        more = node.rpc("generatetodescriptor", 30, "raw(51)")
        assert more != hashes
        wait_until(lambda: indexes_synced(node))
        by_index = node.rpc("gettxoutsetinfo", "muhash")
        assert by_index["muhash"] == node.rpc("gettxoutsetinfo", "muhash", None, False)["muhash"]
        assert node.stop() == 0


def test_an_index_that_needs_deleted_blocks(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start("--fastprune", "--prune", "1")
        for _ in range(4):
            node.rpc("generatetoaddress", 200, ADDRESS)
        assert node.rpc("pruneblockchain", 400) > 0
        assert node.stop() == 0
        with pytest.raises(RuntimeError, match="basic block filter index best block of the index goes beyond pruned"):
            node.start(*OPTIONS)
