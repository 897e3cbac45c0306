"""A block that is invalidated by hand, and what becomes of the transactions above it."""

from __future__ import annotations

from btcnode.testing.regtest import RegtestNode

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


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
