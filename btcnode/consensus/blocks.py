"""Block rules: those of the block alone, and those that need its ancestors' headers.

Faults that leave the block hash intact (transactions or witness swapped for others) have ``Fault.MUTATED``: the honest
block with the same header may still come. All of them are found before anything is held against the hash.
"""

from __future__ import annotations

from btcnode.consensus.ancestry import ParentView
from btcnode.consensus.commitment import witness_commitment, witness_merkle_root, witness_merkle_root_in_steps
from btcnode.consensus.headers import check_header
from btcnode.consensus.locks import is_final
from btcnode.consensus.signet import check_signet_solution
from btcnode.consensus.sigops import MAX_BLOCK_SIGOPS_COST, WITNESS_SCALE_FACTOR, block_legacy_sigops, script_at
from btcnode.consensus.transactions import MAX_BLOCK_WEIGHT, check_block_transactions
from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import SEGWIT_MARKER_SIZE, ParsedBlock
from btcnode.primitives.compactsize import read_compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.primitives.merkle import merkle_root, merkle_root_in_steps
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import NULL_OUTPOINT
from btcnode.script.scriptnum import encode_number
from btcnode.script.scriptparse import push_data

WITNESS_NONCE_SIZE = 32


def check_block(
    block: ParsedBlock, params: NetworkParams, *, check_pow: bool = True, check_merkle: bool = True
) -> None:
    """Check a block without context, in Core's order: proof of work, signet solution, merkle root, sizes, coinbase,
    transactions, legacy sigops.

    Raises RuleViolation. ``check_pow`` and ``check_merkle`` are off for block templates.
    """
    if check_pow:
        check_header(block.raw, params)
        if params.signet_challenge is not None and not check_signet_solution(block, params):
            raise RuleViolation("bad-signet-blksig", "signet block signature validation failure")
    if check_merkle:
        check_merkle_root(block)
    # every fault that another form of the same block may not have is found by now
    limit = MAX_BLOCK_WEIGHT // WITNESS_SCALE_FACTOR
    if not block.n_tx or block.n_tx > limit or block.stripped_size > limit:
        raise RuleViolation("bad-blk-length", "size limits failed")
    if not is_coinbase(block, 0):
        raise RuleViolation("bad-cb-missing", "first tx is not coinbase")
    if any(is_coinbase(block, i) for i in _null_spenders(block)):
        raise RuleViolation("bad-cb-multiple", "more than one coinbase")
    check_block_transactions(block)
    if block_legacy_sigops(block) * WITNESS_SCALE_FACTOR > MAX_BLOCK_SIGOPS_COST:
        raise RuleViolation("bad-blk-sigops", "out-of-bounds SigOpCount")


def is_coinbase(block: ParsedBlock, i: int) -> bool:
    """Whether transaction ``i`` has one input, and that spends the null outpoint."""
    first = block.first_in[i]
    if block.first_in[i + 1] - first != 1:
        return False
    p = block.in_pos[first]
    return block.raw[p : p + 36] == NULL_OUTPOINT


def _null_spenders(block: ParsedBlock) -> list[int]:
    """Transactions after the first that may be coinbases; none for nearly every block."""
    if block.facts is not None and block.facts.sound:
        return []
    raw, others = block.raw, block.in_pos[block.first_in[1] :]
    # nearly always there is no such row of bytes at all
    if not others or raw.find(NULL_OUTPOINT, others[0]) < 0:
        return []
    return list(range(1, block.n_tx))


def check_merkle_root(block: ParsedBlock) -> None:
    """Compare the header's merkle root with that of the transactions; raises RuleViolation (fault MUTATED).

    ``bad-txnmrklroot`` where they differ; ``bad-txns-duplicate`` where a shorter list has the same (CVE-2012-2459).
    """
    _judge_merkle_root(block, *merkle_root(block.txids))


def _judge_merkle_root(block: ParsedBlock, root: bytes, mutated: bool) -> None:
    if root != block.raw[36:68]:
        raise RuleViolation("bad-txnmrklroot", "hashMerkleRoot mismatch", Fault.MUTATED)
    if mutated:
        raise RuleViolation("bad-txns-duplicate", "duplicate transaction", Fault.MUTATED)


def check_form_in_steps(block: ParsedBlock, expect_commitment: bool) -> Steps[None]:
    """What another form of the same block may break: merkle root, and witnesses where there is a coinbase.

    Raises RuleViolation (fault MUTATED) as ``check_merkle_root`` and ``check_witness_malleation`` do.
    """
    _judge_merkle_root(block, *(yield from merkle_root_in_steps(block.txids)))
    if not block.n_tx or not is_coinbase(block, 0):
        return
    if expect_commitment and witness_commitment(block) is not None:
        yield from witness_merkle_root_in_steps(block)
    check_witness_malleation(block, expect_commitment)


def has_witness(block: ParsedBlock, i: int) -> bool:
    """Whether transaction ``i`` is in BIP144 form; it then has a witness that is not empty."""
    return block.body_pos[i] - block.tx_pos[i] == 4 + SEGWIT_MARKER_SIZE


def coinbase_nonce(block: ParsedBlock) -> bytes | None:
    """The witness nonce, if the coinbase's witness is exactly one item of 32 bytes."""
    raw, p = block.raw, block.witness_pos[0]
    if not has_witness(block, 0) or raw[p : p + 2] != b"\x01\x20":
        return None
    return raw[p + 2 : p + 2 + WITNESS_NONCE_SIZE]


def check_witness_malleation(block: ParsedBlock, expect_commitment: bool) -> None:
    """Check the witnesses against the coinbase's commitment (BIP141), or that there are none without one.

    The block needs a coinbase. Raises RuleViolation with fault MUTATED: ``bad-witness-nonce-size``,
    ``bad-witness-merkle-match``, ``unexpected-witness``.
    """
    commitment = witness_commitment(block) if expect_commitment else None
    if commitment is not None:
        nonce = coinbase_nonce(block)
        if nonce is None:
            raise RuleViolation(
                "bad-witness-nonce-size",
                "CheckWitnessMalleation : invalid witness reserved value size",
                Fault.MUTATED,
            )
        if sha256d(witness_merkle_root(block) + nonce) != commitment:
            raise RuleViolation(
                "bad-witness-merkle-match",
                "CheckWitnessMalleation : witness merkle commitment mismatch",
                Fault.MUTATED,
            )
        return
    if any(has_witness(block, i) for i in range(block.n_tx)):
        raise RuleViolation(
            "unexpected-witness", "CheckWitnessMalleation : unexpected witness data found", Fault.MUTATED
        )


def height_script(height: int) -> bytes:
    """What BIP34 wants a coinbase's script_sig to begin with: the push of its height."""
    if height == 0:
        return b"\x00"
    if height <= 16:
        return bytes((0x50 + height,))
    return push_data(encode_number(height))


def contextual_check_block(block: ParsedBlock, tree: ParentView, prev: int, params: NetworkParams) -> None:
    """Check what depends on the ancestors' headers: lock times, BIP34 height, witness commitment, weight.

    ``prev`` is the parent's index (-1 for genesis); ``check_block`` has passed. Raises RuleViolation.
    """
    height = tree.height(prev) + 1 if prev >= 0 else 0
    if height >= params.csv_height and prev >= 0:
        cutoff = tree.median_time_past(prev)  # BIP113
    else:
        cutoff = int.from_bytes(block.raw[68:72], "little")
    _check_final(block, height, cutoff)
    if height >= params.bip34_height:
        script_sig = script_at(block.raw, block.in_pos[0] + 36)
        if not script_sig.startswith(height_script(height)):
            raise RuleViolation("bad-cb-height", "block height mismatch in coinbase")
    check_witness_malleation(block, height >= params.segwit_height)
    # only now: before, a stuffed coinbase witness could make a good block seem too heavy
    if block.weight > MAX_BLOCK_WEIGHT:
        raise RuleViolation("bad-blk-weight", "ContextualCheckBlock : weight limit failed")


def _check_final(block: ParsedBlock, height: int, cutoff: int) -> None:
    """Every transaction's absolute lock must be over, or be switched off by its sequences."""
    if block.facts is not None and block.facts.lock_height < height and block.facts.lock_time < cutoff:
        return
    raw = block.raw
    for i, end in enumerate(block.tx_pos[1:]):
        lock = raw[end - 4 : end]
        if lock == b"\0\0\0\0":
            continue
        positions = block.in_pos[block.first_in[i] : block.first_in[i + 1]]
        if not is_final(int.from_bytes(lock, "little"), _sequences(raw, positions), height, cutoff):
            raise RuleViolation("bad-txns-nonfinal", "non-final transaction")


def _sequences(raw: bytes, positions: list[int]) -> list[int]:
    """The sequence numbers of the inputs at ``positions``."""
    found = []
    for p in positions:
        size, start = read_compact_size(raw, p + 36)
        found.append(int.from_bytes(raw[start + size : start + size + 4], "little"))
    return found
