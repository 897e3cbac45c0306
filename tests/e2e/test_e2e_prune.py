"""Pruning with real processes: by RPC, killed in between, and what is answered about blocks that are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lib.process import NodeProcess, RpcFailure

ADDRESS = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"
OPTIONS = ("--fastprune", "--prune", "1", "--blockfilterindex")


def refused(node: NodeProcess, method: str, *params: object) -> str:
    with pytest.raises(RpcFailure) as caught:
        node.rpc(method, *params)
    return caught.value.message


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


def test_an_index_that_needs_deleted_blocks(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest", listen=False) as node:
        node.start("--fastprune", "--prune", "1")
        for _ in range(4):
            node.rpc("generatetoaddress", 200, ADDRESS)
        assert node.rpc("pruneblockchain", 400) > 0
        assert node.stop() == 0
        with pytest.raises(RuntimeError, match="basic block filter index best block of the index goes beyond pruned"):
            node.start(*OPTIONS)
