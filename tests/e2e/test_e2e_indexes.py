"""The optional indexes of transactions: what they find, after reorganisations, kills and reindexing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_prefix, txout_script
from btcnode.rpc.errors import RpcError
from btcnode.script.scriptparse import is_unspendable
from btcnode.testing.regtest import RegtestNode
from btcnode.utreexo.hashing import leaf_hash
from tests.lib.chain_generator import ChainGenerator
from tests.lib.peer import ChainServer
from tests.lib.process import NodeProcess, RpcFailure, wait_until
from tests.lib.utreexo_fuzz import naive_roots

PARAMS = params_for("regtest")
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OTHER = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"
GONE = "No such mempool or blockchain transaction. Use gettransaction for wallet transactions."


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RegtestNode]:
    node = RegtestNode(datadir=tmp_path, listen=False, txindex=True, txospenderindex=True, coinstatsindex=True)
    node.fill_purse()
    yield node
    node.close()


def coinbases(node: NodeProcess) -> dict[str, str]:
    """Every coinbase's txid and block, but the genesis block's."""
    found = {}
    for height in range(1, node.rpc("getblockcount") + 1):
        block_hash = node.rpc("getblockhash", height)
        found[node.rpc("getblock", block_hash)["tx"][0]] = block_hash
    return found


def roots_of(chain: list[bytes]) -> list[str]:
    """The Utreexo roots after a chain, worked out from its blocks alone."""
    blocks = [parse_block(raw) for raw in (PARAMS.genesis_block, *chain)]
    gone = {prevout for block in blocks for i in range(1, block.n_tx) for prevout in block.tx(i).prevouts}
    slots: list[bytes | None] = []
    for height, block in enumerate(blocks):
        own = {prevout for i in range(1, block.n_tx) for prevout in block.tx(i).prevouts}
        for i in range(block.n_tx if height else 0):
            for n, txout in enumerate(block.tx(i).txouts):
                outpoint = block.txids[i] + n.to_bytes(4, "little")
                if outpoint not in own and not is_unspendable(txout_script(txout)):
                    leaf = leaf_hash(block.hash, outpoint, coin_prefix(height, not i) + txout)
                    slots.append(None if outpoint in gone else leaf)
    return [(root or bytes(32)).hex() for root in naive_roots(slots)]


def all_are_found(node: NodeProcess) -> None:
    for txid, block_hash in coinbases(node).items():
        assert node.rpc("getrawtransaction", txid, 1)["blockhash"] == block_hash


def test_a_transaction_in_all_its_places(node: RegtestNode) -> None:
    rpc: Any = node.rpc
    txid = node.pay(ADDRESS, 1)
    raw = rpc.getrawtransaction(txid)
    assert "blockhash" not in rpc.getrawtransaction(txid, 2)
    [block] = node.mine()
    found = rpc.getrawtransaction(txid, 2)
    assert (found["hex"], found["blockhash"], found["confirmations"]) == (raw, block, 1)
    assert "in_active_chain" not in found and found["fee"] > 0 and "prevout" in found["vin"][0]
    assert rpc.getrawtransaction(txid, 1, block)["in_active_chain"] is True
    proof = rpc.gettxoutproof([txid])
    assert rpc.verifytxoutproof(proof) == [txid]
    psbt = rpc.utxoupdatepsbt(rpc.createpsbt([{"txid": txid, "vout": 0}], [{ADDRESS: 0.5}]))
    assert rpc.decodepsbt(psbt)["inputs"][0]["non_witness_utxo"]["txid"] == txid

    rpc.invalidateblock(block)
    assert "blockhash" not in rpc.getrawtransaction(txid, 1)  # it is back in the mempool
    assert rpc.getrawtransaction(txid, 1, block)["confirmations"] == 0
    [again] = node.mine(1, OTHER)
    assert again != block
    assert rpc.getrawtransaction(txid, 1)["blockhash"] == again
    rpc.reconsiderblock(block)
    assert rpc.getrawtransaction(txid, 1)["blockhash"] == rpc.getbestblockhash()


def test_nothing_is_found(node: RegtestNode) -> None:
    for txid in ("11" * 32, node.rpc.getblock(node.rpc.getblockhash(1))["tx"][0][:16] + "00" * 24):
        with pytest.raises(RpcError, match=GONE):
            node.rpc.getrawtransaction(txid)
    with pytest.raises(RpcError, match="not considered an ordinary transaction"):
        node.rpc.getrawtransaction(node.rpc.getblock(node.rpc.getblockhash(0))["tx"][0])


def test_what_spends_an_output(node: RegtestNode) -> None:
    rpc: Any = node.rpc
    txid = node.pay(ADDRESS, 1)
    source = rpc.getrawtransaction(txid, 1)["vin"][0]
    output = {"txid": source["txid"], "vout": source["vout"]}
    waiting = output | {"spendingtxid": txid}
    assert rpc.gettxspendingprevout([output]) == [waiting]
    [block] = node.mine(1, OTHER)
    mined = waiting | {"blockhash": block, "spendingtx": rpc.getrawtransaction(txid)}
    assert rpc.gettxspendingprevout([output], {"return_spending_tx": True}) == [mined]
    assert rpc.gettxspendingprevout([output], {"mempool_only": True}) == [output]
    rpc.invalidateblock(block)
    assert rpc.gettxspendingprevout([output]) == [waiting]
    rpc.generateblock(OTHER, [])
    assert rpc.gettxspendingprevout([output, output | {"vout": 1}]) == [waiting, output | {"vout": 1}]
    [again] = node.mine()
    assert rpc.gettxspendingprevout([output]) == [waiting | {"blockhash": again}]


def test_statistics_of_every_block(node: RegtestNode) -> None:
    rpc: Any = node.rpc
    node.pay(ADDRESS, 1)
    node.mine(1, OTHER)
    for address in (ADDRESS, node.address):
        walked = rpc.gettxoutsetinfo("muhash", None, False)
        indexed = rpc.gettxoutsetinfo("muhash")
        for key in ("height", "bestblock", "txouts", "bogosize", "muhash", "total_amount"):
            assert walked[key] == indexed[key]
        assert indexed["block_info"]["prevout_spent"] == 50
        assert rpc.gettxoutsetinfo("muhash", indexed["height"]) == indexed
        stale, tip = indexed, indexed["bestblock"]
        rpc.invalidateblock(tip)
        assert rpc.gettxoutsetinfo("muhash", stale["height"] - 1)["height"] == rpc.getblockcount()
        node.mine(1, address)
        assert rpc.gettxoutsetinfo("muhash", tip) == stale
    assert rpc.gettxoutsetinfo("none", 0)["block_info"]["unspendables"]["genesis_block"] == 50
    with pytest.raises(RpcError, match="after current tip"):
        rpc.gettxoutsetinfo("none", 1000)


def test_index_ahead_of_the_chain(tmp_path: Path) -> None:
    """After a kill the index may know blocks that the chain has to learn again."""
    with NodeProcess(tmp_path, "regtest", "--txindex").start() as node:
        node.rpc("generatetoaddress", 5, ADDRESS)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", "--txindex").start() as node:
        node.rpc("generatetoaddress", 5, ADDRESS)
        all_are_found(node)
        lost = node.rpc("getblock", node.rpc("getbestblockhash"))["tx"][0]
        node.kill()
    with NodeProcess(tmp_path, "regtest", "--txindex").start() as node:
        node.rpc("generatetoaddress", 3, OTHER)
        all_are_found(node)
        if node.rpc("getblockcount") == 8:
            with pytest.raises(RpcFailure, match="No such mempool or blockchain transaction"):
                node.rpc("getrawtransaction", lost)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", "--txindex", "--reindex").start() as node:
        all_are_found(node)
        state = {"synced": True, "best_block_height": node.rpc("getblockcount")}
        assert node.rpc("getindexinfo") == {"txindex": state}


@pytest.mark.slow
def test_kills_while_everything_is_built(tmp_path: Path) -> None:
    """Whenever the process dies, the indexes agree with the chain in the end."""
    generator, rng = ChainGenerator(PARAMS), Random(1)
    chain = [*generator.spread(1000), *(generator.busy(50) for _ in range(100))]
    indexes = ("--txindex", "--txospenderindex", "--coinstatsindex", "--blockfilterindex", "--utreexoindex")
    options = (*indexes, "--checkblocks=5")
    reached = []
    with (
        ChainServer.of_blocks(PARAMS, chain) as server,
        NodeProcess(tmp_path, "regtest", *options, "--connect", server.address, listen=False) as node,
    ):
        for _ in range(6):
            node.start()
            time.sleep(rng.uniform(0, 0.6))
            reached.append(node.height())
            node.kill()
        node.start()
        node.wait_height(len(chain))
        wait_until(lambda: all(state["synced"] for state in node.rpc("getindexinfo").values()), 30, "the indexes")
        walked = node.rpc("gettxoutsetinfo", "muhash", None, False)
        indexed = node.rpc("gettxoutsetinfo", "muhash")
        assert walked.items() - {("disk_size", walked["disk_size"]), ("transactions", walked["transactions"])} <= {
            (key, value) for key, value in indexed.items() if key != "block_info"
        }
        for raw in rng.sample(chain[101:], 10):
            block = parse_block(raw)
            at = block.hash[::-1].hex()
            tx = block.tx(rng.randrange(1, block.n_tx))
            txid = tx.txid[::-1].hex()
            assert node.rpc("getrawtransaction", txid, 1)["blockhash"] == at
            output = {"txid": tx.prevouts[0][31::-1].hex(), "vout": int.from_bytes(tx.prevouts[0][32:], "little")}
            assert node.rpc("gettxspendingprevout", [output]) == [output | {"spendingtxid": txid, "blockhash": at}]
            assert node.rpc("getblockfilter", at)["filter"]
            coin = [{"txid": txid, "vout": n} for n in range(3) if node.rpc("gettxout", txid, n)]
            assert not coin or node.rpc("verifyutreexoproof", node.rpc("proveutreexocoins", coin)["hex"])["valid"]
        assert node.rpc("getutreexoroots")["roots"] == roots_of(chain)
        assert node.stop() == 0
        assert "Traceback" not in node.output()
    assert max(reached) > 0


def test_index_of_an_old_chain(tmp_path: Path) -> None:
    """An index that is switched on later catches up, and one that was off meanwhile too."""
    with NodeProcess(tmp_path, "regtest").start() as node:
        node.rpc("generatetoaddress", 30, ADDRESS)
        txid = node.rpc("getblock", node.rpc("getbestblockhash"))["tx"][0]
        with pytest.raises(RpcFailure, match="Use -txindex or provide a block hash"):
            node.rpc("getrawtransaction", txid)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", "--txindex").start() as node:
        all_are_found(node)
        stale = node.rpc("getblockhash", 20)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest").start() as node:
        node.rpc("invalidateblock", stale)
        node.rpc("generatetoaddress", 3, OTHER)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", "--txindex").start() as node:
        all_are_found(node)
        assert node.rpc("getrawtransaction", txid, 1)["confirmations"] == 0
