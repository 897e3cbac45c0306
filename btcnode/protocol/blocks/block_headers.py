"""Headers that come with blocks which nobody announced, and what the log says of those that are refused."""

from __future__ import annotations

from btcnode.consensus.headers import check_header
from btcnode.consensus.pow import block_work
from btcnode.errors import Fault, RuleViolation
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import header_hash
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.misbehaviour import BLOCK_OFFENCES
from btcnode.protocol.peer import NONE, Peer

LOW_WORK = RuleViolation("too-little-chainwork", fault=Fault.LOW_WORK)


def log_refused_header(ctx: Context, raw: bytes, violation: RuleViolation) -> None:
    """Write why a header of 80 bytes was not accepted, in Core's words."""
    name, prev = to_display(header_hash(raw)), to_display(raw[4:36])
    if violation.fault is Fault.CACHED_INVALID:
        text = f"AcceptBlockHeader: block {name} is marked invalid"
    elif violation.fault is Fault.MISSING_PREV:
        text = f"header {name} has prev block not found: {prev}"
    elif violation.fault is Fault.INVALID_PREV:
        text = f"header {name} has prev block invalid: {prev}"
    elif violation.fault is Fault.LOW_WORK:
        text = f"AcceptBlockHeader: not adding new block header {name}, missing anti-dos proof-of-work validation"
    else:
        check = "CheckBlockHeader" if violation.code == "high-hash" else "ContextualCheckBlockHeader"
        text = f"AcceptBlockHeader: Consensus::{check}: {name}, {violation}"
    ctx.log(LogLevel.DEBUG, "validation", text)


def accept_header(ctx: Context, peer: Peer, raw: bytes) -> int:
    """Add the header of a block that nobody announced; ``NONE`` when it is refused, for which the peer may be blamed.

    A chain with too little work is not stored.
    """
    tree = ctx.tree
    try:
        check_header(raw, ctx.params)
        prev = tree.find(raw[4:36])
        if prev < 0:
            raise RuleViolation("prev-blk-not-found", fault=Fault.MISSING_PREV)
        if tree.chainwork(prev) + block_work(int.from_bytes(raw[72:76], "little")) < ctx.work_threshold():
            raise LOW_WORK
        return tree.add(raw, int(ctx.unix))[0]
    except RuleViolation as violation:
        log_refused_header(ctx, raw, violation)
        ctx.log(LogLevel.DEBUG, "validation", f"ProcessNewBlock: AcceptBlock FAILED ({violation})")
        ctx.punish(peer, BLOCK_OFFENCES[violation.fault], f"{violation} {to_display(header_hash(raw))}")
        return NONE
