"""Headers that come with blocks which nobody announced, and what the log says of those that are refused."""

from __future__ import annotations

from btcnode.consensus.blocks import check_block, check_form_in_steps
from btcnode.consensus.headers import check_header
from btcnode.consensus.pow import block_work
from btcnode.errors import DecodeError, Fault, RuleViolation
from btcnode.primitives.block import TXS_IN_STEP, parse_block, parse_block_in_steps
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.scan import scan_tx_in_steps
from btcnode.primitives.steps import Steps, at_once
from btcnode.protocol.blocks.block_blame import UNDECODABLE, blame_for_block
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.misbehaviour import BLOCK_OFFENCES
from btcnode.protocol.peer import NONE, Peer

MAX_STEPS_OF_TX = 3  # of a transaction of a block that nobody announced: with more it is not looked at alone
MAX_LOOKED_AT = 100_000  # bytes of a block that is not needed: a millisecond or two to parse
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


def accept_header(ctx: Context, peer: Peer, block: bytes) -> Steps[int]:
    """Add the header of a block that nobody announced; ``NONE`` when it is refused, for which the peer may be blamed.

    A chain with too little work is not stored, nor is the header of a block that is at fault by itself, as in Core: the
    header's proof of work makes this worth a look at all its bytes.
    """
    tree, raw = ctx.tree, block[:HEADER_SIZE]
    try:
        check_header(raw, ctx.params)
        prev = tree.find(raw[4:36])
        if prev < 0:
            raise RuleViolation("prev-blk-not-found", fault=Fault.MISSING_PREV)
        if tree.chainwork(prev) + block_work(int.from_bytes(raw[72:76], "little")) < ctx.work_threshold():
            raise LOW_WORK
        fault = yield from _fault_alone(ctx, block, tree.height(prev) + 1)
        if fault is not None:
            blame_for_block(ctx, peer, header_hash(raw), fault, compact=False)
            return NONE
        return tree.add(raw, int(ctx.unix))[0]
    except RuleViolation as violation:
        log_refused_header(ctx, raw, violation)
        ctx.log(LogLevel.DEBUG, "validation", f"ProcessNewBlock: AcceptBlock FAILED ({violation})")
        ctx.punish(peer, BLOCK_OFFENCES[violation.fault], f"{violation} {to_display(header_hash(raw))}")
        return NONE


def is_mutated(ctx: Context, peer: Peer, raw: bytes, height: int) -> bool:
    """Whether a block that nobody needs is a broken form of itself, for which the peer is blamed.

    As bitcoind, which looks at every block whose parent it knows; here at small ones only, since no work of the
    sender's stands behind what comes again and again.
    """
    if len(raw) > MAX_LOOKED_AT:
        return False
    try:
        at_once(check_form_in_steps(parse_block(raw, exact=False), height >= ctx.params.segwit_height))
    except DecodeError:
        return False
    except RuleViolation as violation:
        blame_for_block(ctx, peer, header_hash(raw[:HEADER_SIZE]), violation, compact=False)
        return True
    return False


def _is_heavy(raw: bytes) -> Steps[bool]:
    """Whether one of a block's transactions has so many parts that to read it takes tens of milliseconds at a time.

    Raises DecodeError for what is no block.
    """
    count, p = read_compact_size(raw, HEADER_SIZE)
    for n in range(count):
        steps, taken = scan_tx_in_steps(raw, p), 0
        while taken < MAX_STEPS_OF_TX:
            try:
                next(steps)
            except StopIteration as end:
                p = end.value
                break
            taken += 1
            yield
        else:
            return True
        if n % TXS_IN_STEP == TXS_IN_STEP - 1:
            yield
    return False


def _fault_alone(ctx: Context, raw: bytes, height: int) -> Steps[RuleViolation | None]:
    """The rule that a block breaks whatever the chain has, with Core's look for mutated forms first."""
    try:
        if (yield from _is_heavy(raw)):
            return None  # it is judged beside the loop like any other
        block = yield from parse_block_in_steps(raw)
        yield
        yield from check_form_in_steps(block, height >= ctx.params.segwit_height)
        yield
        check_block(block, ctx.params, check_merkle=False)
    except DecodeError as error:
        return RuleViolation(UNDECODABLE, str(error), Fault.MUTATED)
    except RuleViolation as violation:
        return violation
    return None
