"""Who is to blame for a block that was refused, and in which words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.errors import Fault
from btcnode.primitives.hashes import to_display
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.misbehaviour import BLOCK_OFFENCES, Offence

if TYPE_CHECKING:
    from btcnode.errors import RuleViolation
    from btcnode.primitives.hashes import BlockHash
    from btcnode.protocol.context import Context
    from btcnode.protocol.peer import Peer

UNDECODABLE = "block-decode-failed"
_HARD_TO_TELL = (Fault.CONSENSUS, Fault.MUTATED, Fault.CACHED_INVALID)


def blame_for_block(
    ctx: Context, peer: Peer, block_hash: BlockHash, violation: RuleViolation, *, compact: bool
) -> None:
    """Punish who sent the block. Nobody is blamed for passing on in compact form what only validation can judge."""
    text = f"{to_display(block_hash)}: {violation}"
    if violation.code == UNDECODABLE and not compact:  # Core drops what does not deserialise
        ctx.log(LogLevel.DEBUG, "net", f"ProcessMessages(block): Exception '{violation.debug}' caught")
        ctx.punish(peer, Offence.BLOCK_MALFORMED, text)
    elif compact and violation.fault in _HARD_TO_TELL:
        ctx.log_peer(peer, LogLevel.DEBUG, f"invalid compact block {text}", "cmpctblock")
    else:
        if violation.fault is Fault.MUTATED:
            ctx.log(LogLevel.DEBUG, "validation", f"Block mutated: {violation}")
        ctx.punish(peer, BLOCK_OFFENCES[violation.fault], text)
