"""BIP141's witness commitment in a coinbase: where it is and what it commits to."""

from __future__ import annotations

from btcnode.consensus.sigops import script_at
from btcnode.primitives.block import ParsedBlock
from btcnode.primitives.hashes import ZERO_HASH
from btcnode.primitives.merkle import merkle_root_in_steps
from btcnode.primitives.steps import Steps, at_once

WITNESS_COMMITMENT_HEAD = b"\x6a\x24\xaa\x21\xa9\xed"  # OP_RETURN, push of 36 bytes, BIP141's tag
MIN_WITNESS_COMMITMENT = 38  # bytes of its script; what lies behind them is free


def commitment_index(block: ParsedBlock) -> int:
    """Index of the first transaction's last output that is a witness commitment; -1 when there is none."""
    if not block.n_tx:
        return -1
    for i in range(block.first_out[1] - 1, -1, -1):
        script = script_at(block.raw, block.out_pos[i] + 8)
        if script.startswith(WITNESS_COMMITMENT_HEAD) and len(script) >= MIN_WITNESS_COMMITMENT:
            return i
    return -1


def witness_commitment(block: ParsedBlock) -> bytes | None:
    """The 32 bytes of the witness commitment, or None."""
    index = commitment_index(block)
    return None if index < 0 else script_at(block.raw, block.out_pos[index] + 8)[6:MIN_WITNESS_COMMITMENT]


def witness_merkle_root(block: ParsedBlock) -> bytes:
    """Root over the wtxids, that of the coinbase taken as zero; the block keeps it."""
    return at_once(witness_merkle_root_in_steps(block))


def witness_merkle_root_in_steps(block: ParsedBlock) -> Steps[bytes]:
    """The same in steps."""
    if not block.witness_root:
        block.witness_root = (yield from merkle_root_in_steps([ZERO_HASH, *block.wtxids[1:]]))[0]
    return block.witness_root
