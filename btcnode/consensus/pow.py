"""Proof of work: compact targets, work, and the target that the next block must have."""

from __future__ import annotations

from functools import lru_cache

from btcnode.consensus.ancestry import Ancestry
from btcnode.networks.parameters import NetworkParams

MAX_ADJUSTMENT = 4  # factor by which one retarget changes the target at most
_MASK = (1 << 256) - 1


def _compact_magnitude(bits: int) -> int:
    """The 256-bit number of a compact form, without its sign and cut off as Core's arithmetic does."""
    size, word = bits >> 24, bits & 0x007FFFFF
    if size <= 3:
        return word >> 8 * (3 - size)
    return word << 8 * (size - 3) & _MASK


@lru_cache(maxsize=4096)
def bits_to_target(bits: int) -> int:
    """The target of a compact form (u32); 0 when it is negative, zero or beyond 256 bits, which no hash can meet."""
    size, word = bits >> 24, bits & 0x007FFFFF
    if size <= 3:
        word >>= 8 * (3 - size)
    if not word or bits & 0x00800000:
        return 0
    if size > 34 or (word > 0xFF and size > 33) or (word > 0xFFFF and size > 32):
        return 0
    return word << 8 * (size - 3) if size > 3 else word


def target_to_bits(target: int) -> int:
    """The compact form of a target (0 <= target < 2**256): its three leading bytes, the sign bit kept clear."""
    size = (target.bit_length() + 7) // 8
    word = target << 8 * (3 - size) if size <= 3 else target >> 8 * (size - 3)
    if word & 0x00800000:
        word >>= 8
        size += 1
    return size << 24 | word


@lru_cache(maxsize=4096)
def block_work(bits: int) -> int:
    """Expected number of hashes to meet the target; 0 for a compact form that is no target."""
    target = bits_to_target(bits)
    return (1 << 256) // (target + 1) if target else 0


def check_proof_of_work(block_hash: bytes, bits: int, params: NetworkParams) -> bool:
    """Whether the hash (internal order) meets the target of ``bits``, and that target is one of this network."""
    target = bits_to_target(bits)
    return 0 < target <= params.pow_limit and int.from_bytes(block_hash, "little") <= target


def next_bits(tree: Ancestry, prev: int, new_time: int, params: NetworkParams) -> int:
    """The compact target that a child of ``prev`` with timestamp ``new_time`` must have.

    The target changes every 2016 blocks (one day of blocks on regtest, which keeps it). Test networks with the
    20-minute rule let a block that comes late have the lowest difficulty; the next one returns to that of the
    last block that was not such an exception.
    """
    if params.no_retargeting:  # regtest: every block has the lowest difficulty, and no walk back is needed to say so
        return tree.bits(prev)
    interval = params.pow_target_timespan // params.pow_target_spacing
    height = tree.height(prev)
    if (height + 1) % interval:
        if not params.allow_min_difficulty_blocks:
            return tree.bits(prev)
        return _min_difficulty_bits(tree, prev, height, new_time, interval, params)
    first = tree.ancestor(prev, height - (interval - 1))
    timespan = tree.time(prev) - tree.time(first)
    # BIP94: the period's first block cannot be an exception of the 20-minute rule, so it has the real difficulty
    return retarget(tree.bits(first if params.enforce_bip94 else prev), timespan, params)


def _min_difficulty_bits(
    tree: Ancestry, prev: int, height: int, new_time: int, interval: int, params: NetworkParams
) -> int:
    """The target within a period on a network with the 20-minute rule."""
    limit = params.pow_limit_bits
    if new_time > tree.time(prev) + 2 * params.pow_target_spacing:
        return limit
    bits_of, prev_of = tree.bits, tree.prev
    bits = bits_of(prev)
    while bits == limit and height % interval:
        prev = prev_of(prev)
        height -= 1
        bits = bits_of(prev)
    return bits


def retarget(bits: int, timespan: int, params: NetworkParams) -> int:
    """The compact target after a period of ``timespan`` seconds that had the target ``bits``."""
    expected = params.pow_target_timespan
    timespan = min(max(timespan, expected // MAX_ADJUSTMENT), expected * MAX_ADJUSTMENT)
    return target_to_bits(_scaled_target(bits, timespan, params))


def _scaled_target(bits: int, timespan: int, params: NetworkParams) -> int:
    """Target times ``timespan`` over the expected time, at most the network's limit."""
    scaled = (_compact_magnitude(bits) * timespan & _MASK) // params.pow_target_timespan
    return min(scaled, params.pow_limit)


def permitted_transition(params: NetworkParams, height: int, old_bits: int, new_bits: int) -> bool:
    """Whether the target may go from ``old_bits`` to ``new_bits`` at ``height``, whatever the timestamps are.

    Header presync asks this while it does not keep timestamps. Networks with the 20-minute rule permit everything.
    """
    if params.allow_min_difficulty_blocks:
        return True
    if height % (params.pow_target_timespan // params.pow_target_spacing):
        return old_bits == new_bits
    expected = params.pow_target_timespan
    new_target = _compact_magnitude(new_bits)
    largest = _scaled_target(old_bits, expected * MAX_ADJUSTMENT, params)
    smallest = _scaled_target(old_bits, expected // MAX_ADJUSTMENT, params)
    # both bounds rounded as a header would give them
    rounded_largest = _compact_magnitude(target_to_bits(largest))
    rounded_smallest = _compact_magnitude(target_to_bits(smallest))
    return rounded_smallest <= new_target <= rounded_largest
