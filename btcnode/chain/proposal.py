"""Whether a block would be valid on top of the tip, apart from its proof of work; nothing is stored (BIP23)."""

from __future__ import annotations

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.script_checks import BlockScripts
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import connect_block, connect_context, script_violation
from btcnode.consensus.headers import contextual_check_header
from btcnode.errors import RuleViolation
from btcnode.primitives.block import ParsedBlock


def check_proposal(state: Chainstate, block: ParsedBlock, now: int, *, check_merkle: bool = True) -> None:
    """Core's ``TestBlockValidity`` at ``now`` (Unix seconds); for the chain thread, with the coins at the active tip.

    Raises RuleViolation: ``inconclusive-not-best-prevblk`` when the parent is not the tip, else the broken rule.
    """
    tree, tip, params = state.tree, state.tip, state.params
    if block.prev_hash != tree.hash(tip):
        raise RuleViolation("inconclusive-not-best-prevblk")
    check_block(block, params, check_pow=False, check_merkle=check_merkle)
    contextual_check_header(block.raw[:80], tree, tip, now, params)
    contextual_check_block(block, tree, tip, params)
    height = tree.height(tip) + 1
    context = connect_context(tree, tip, block.hash, params, with_jobs=False)
    delta = connect_block(block, height, state.coins, context)
    scripts = BlockScripts(block, delta.undo, context.flags, state.script_cache)
    verdict = scripts.verify_all()
    if verdict is not None:
        job = scripts.jobs(verdict.job, verdict.job + 1)[0]
        raise script_violation(job, verdict.failure)
