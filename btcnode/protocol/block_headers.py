"""Headers that come with blocks which nobody announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.consensus.pow import block_work, check_proof_of_work
from btcnode.errors import RuleViolation
from btcnode.primitives.hashes import to_display
from btcnode.protocol.misbehaviour import BLOCK_OFFENCES, Offence
from btcnode.protocol.peer import NONE

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer


def accept_header(ctx: Context, peer: Peer, header: bytes, block_hash: bytes) -> int:
    """Add the header of a block that nobody announced; ``NONE`` when it is refused."""
    tree = ctx.tree
    bits = int.from_bytes(header[72:76], "little")
    if not check_proof_of_work(block_hash, bits, ctx.params):
        ctx.punish(peer, Offence.BLOCK_INVALID_HEADER, f"high-hash {to_display(block_hash)}")
        return NONE
    prev = tree.find(header[4:36])
    if prev < 0:
        ctx.punish(peer, Offence.BLOCK_MISSING_PREV, to_display(block_hash))
        return NONE
    if tree.chainwork(prev) + block_work(bits) < ctx.work_threshold():
        ctx.punish(peer, Offence.BLOCK_LOW_WORK, to_display(block_hash))
        return NONE
    try:
        index, _ = tree.add(header, int(ctx.unix))
    except RuleViolation as violation:
        ctx.punish(peer, BLOCK_OFFENCES[violation.fault], str(violation))
        return NONE
    return index
