"""The header tree over a loaded UTXO set: a block counts as complete although the blocks below it are not here."""

from __future__ import annotations

from btcnode.chain.block_status import HAVE_UNDO
from btcnode.chain.header_tree import HeaderTree
from btcnode.networks.assumeutxo import AssumeUtxo, known_sets


def assume(tree: HeaderTree, known: AssumeUtxo) -> int:
    """Let the set's block count as complete; returns its header index, -1 when the header is not known."""
    base = tree.find(known.block_hash)
    if base >= 0:
        tree.columns.chain_tx[base] = known.chain_tx
        tree.link_assumed(base)
    return base


def forget_assumed(tree: HeaderTree) -> None:
    """Let no block count as complete for the sake of a set that is not loaded (any more)."""
    columns = tree.columns
    for known in known_sets(tree.params):
        base = tree.find(known.block_hash)
        if base > 0 and columns.chain_tx[base] and not columns.chain_tx[columns.prev[base]]:
            tree.unlink([base, *tree.descendants(base)])


def forget_undo_above(tree: HeaderTree, base: int) -> None:
    """Undo data of blocks above ``base`` was made from wrong coins: it is to be made anew."""
    columns = tree.columns
    for index in tree.descendants(base):
        if columns.status[index] & HAVE_UNDO:
            columns.status[index] &= ~HAVE_UNDO
            columns.undo_pos[index] = 0
            tree.restore_dirty((index,))
