"""A block that is invalidated by hand, and what becomes of the transactions above it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from btcnode.networks.parameters import params_for
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.amounts import COIN
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.testing.regtest import RegtestNode

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def untyped(node: RegtestNode) -> Any:
    """Its RPC, where the types of results depend on values of arguments."""
    return node.rpc


def test_transactions_of_the_ten_last_blocks_return(btcnode_regtest: RegtestNode) -> None:
    """As in Core: who goes back further does not get everything back."""
    node = btcnode_regtest
    node.mine(14)  # the coins that are spent are mature below the blocks, too
    paid, blocks = [], []
    for _ in range(14):
        paid.append(node.pay(ADDRESS, "49.9999"))
        blocks += node.mine()
    node.rpc.invalidateblock(blocks[0])
    assert set(node.rpc.getrawmempool()) == set(paid[4:])
    node.rpc.reconsiderblock(blocks[0])
    assert node.rpc.getrawmempool() == []
    node.rpc.invalidateblock(blocks[10])  # each invalidation counts for itself
    assert set(node.rpc.getrawmempool()) == set(paid[10:])


def test_the_pool_follows_each_block(btcnode_regtest: RegtestNode) -> None:
    """As in Core: transactions return at the height that their block leaves, one block after the other."""
    node, rpc = btcnode_regtest, untyped(btcnode_regtest)
    node.mine(3)
    paid, blocks = [], []
    for _ in range(3):
        paid.append(node.pay(ADDRESS, "49.9999"))
        blocks += node.mine()
    height = node.rpc.getblockcount()
    before = rpc.getrawmempool(False, True)["mempool_sequence"]
    node.rpc.invalidateblock(blocks[0])
    assert [rpc.getmempoolentry(txid)["height"] for txid in paid] == [height - 3, height - 2, height - 1]
    # what the lower block's transaction brought is spent by nobody, and nothing came twice
    assert rpc.getrawmempool(False, True)["mempool_sequence"] == before + 3


def test_the_pool_follows_as_soon_as_the_new_chain_is_better(btcnode_regtest: RegtestNode) -> None:
    """What a later block of the new chain has comes back and is confirmed, as in Core: it has two numbers."""
    node, rpc = btcnode_regtest, untyped(btcnode_regtest)
    node.mine(3)
    paid = node.pay(ADDRESS, "49.9999")
    (old,) = node.mine()
    fork = node.rpc.getblockhash(node.rpc.getblockcount() - 1)
    node.rpc.invalidateblock(old)
    bare = [node.rpc.generateblock(ADDRESS, [])["hash"] for _ in range(2)]
    (late,) = node.mine()  # with the transaction
    assert paid in rpc.getblock(late)["tx"] and rpc.getblock(bare[0])["previousblockhash"] == fork
    node.rpc.invalidateblock(bare[0])
    node.rpc.reconsiderblock(old)
    assert node.rpc.getbestblockhash() == old and paid not in node.rpc.getrawmempool()
    before = rpc.getrawmempool(False, True)["mempool_sequence"]
    node.rpc.reconsiderblock(bare[0])
    assert node.rpc.getbestblockhash() == late
    assert rpc.getrawmempool(False, True) == {"txids": [], "mempool_sequence": before + 2}


def test_a_returning_transaction_joins_what_spends_it(btcnode_regtest: RegtestNode) -> None:
    """More of it than a cluster may hold: the cheapest go, as in Core, and the transaction stays."""
    node, rpc = btcnode_regtest, untyped(btcnode_regtest)
    script = b"\x00\x20" + sha256(b"\x51").digest()
    (reward,) = rpc.generatetoaddress(1, address_for_script(script, params_for("regtest")))
    node.mine(100)
    (coinbase,) = rpc.getblock(reward)["tx"]
    value = int(rpc.gettxout(coinbase, 0)["value"] * COIN) // 81
    parent = _spend(coinbase, 0, [make_txout(value, script)] * 80)
    txid = rpc.sendrawtransaction(parent.raw.hex(), 0)
    (block,) = node.mine()
    children = [_spend(txid, n, [make_txout(value - 500 - 10 * n, script)]) for n in range(80)]
    sent = [rpc.sendrawtransaction(child.raw.hex(), 0) for child in children]
    rpc.invalidateblock(block)
    assert set(rpc.getrawmempool()) == {txid, *sent[80 - 63 :]}
    assert rpc.getmempoolcluster(txid)["txcount"] == 64


def _spend(txid: str, n: int, txouts: list[bytes]) -> Tx:
    """A spend of an output that asks for nothing."""
    return Tx(2, [bytes.fromhex(txid)[::-1] + n.to_bytes(4, "little")], [b""], [0xFFFFFFFD], txouts, [[b"\x51"]])
