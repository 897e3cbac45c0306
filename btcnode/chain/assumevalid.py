"""When script checks may be skipped: exactly Core's conditions, nothing else is ever skipped."""

from __future__ import annotations

from btcnode.chain.header_tree import HeaderTree
from btcnode.consensus.pow import block_work
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash
from btcnode.record import record

TWO_WEEKS = 14 * 24 * 3600  # seconds


@record
class AssumeValid:
    """The assumed-valid block (None: verify everything), and the least work a chain must have to count."""

    block: BlockHash | None
    minimum_chain_work: int
    target_spacing: int

    @classmethod
    def from_params(cls, params: NetworkParams) -> AssumeValid:
        """The network's values, with whatever options have put in their place."""
        return cls(params.assume_valid, params.minimum_chain_work, params.pow_target_spacing)

    def objection(self, tree: HeaderTree, index: int) -> str | None:
        """Why the scripts of block ``index`` are to be verified, in the log's words; None when they are assumed valid.

        It must be an ancestor of the assumed-valid block and of the best header, that one must have the minimum
        chain work, and the work on top must be worth more than two weeks at the best header's difficulty.
        """
        if self.block is None:
            return "assumevalid=0 (always verify)"
        assumed = tree.find(self.block)
        height = tree.height(index)
        if assumed < 0:
            return "assumevalid hash not in headers"
        if height > tree.height(assumed):
            return "block height above assumevalid height"
        if tree.ancestor(assumed, height) != index:
            return "block not in assumevalid chain"
        best = tree.best_header
        if height > tree.height(best) or tree.ancestor(best, height) != index:
            return "block not in best header chain"
        if tree.chainwork(best) < self.minimum_chain_work:
            return "best header chainwork below minimumchainwork"
        work = tree.chainwork(best) - tree.chainwork(index)
        if work * self.target_spacing // block_work(tree.bits(best)) <= TWO_WEEKS:
            return "block too recent relative to best header"
        return None

    def covers(self, tree: HeaderTree, index: int) -> bool:
        """Whether the scripts of block ``index`` are assumed valid."""
        return self.objection(tree, index) is None
