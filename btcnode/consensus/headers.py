"""Rules for block headers: proof of work, target, timestamps, version floors."""

from __future__ import annotations

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.pow import check_proof_of_work, next_bits
from btcnode.errors import Fault, RuleViolation
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash

MAX_FUTURE_BLOCK_TIME = 2 * 60 * 60  # seconds ahead of our clock
MAX_TIMEWARP = 600  # BIP94: seconds that a period's first block may lie before its parent


def check_header(raw: bytes, params: NetworkParams) -> BlockHash:
    """Check the proof of work that a header (first 80 bytes of ``raw``) claims; returns its hash.

    Raises RuleViolation ``high-hash``, also for a target that is none or easier than the network allows.
    """
    raw = raw[:HEADER_SIZE]
    block_hash = header_hash(raw)
    if not check_proof_of_work(block_hash, int.from_bytes(raw[72:76], "little"), params):
        raise RuleViolation("high-hash", "proof of work failed", Fault.INVALID_HEADER)
    return block_hash


def contextual_check_header(raw: bytes, tree: Ancestry, prev: int, now: int, params: NetworkParams) -> None:
    """Check a header against its ancestors and the clock; ``prev`` is the parent's index, ``now`` Unix seconds.

    Raises RuleViolation in Core's order: ``bad-diffbits``, ``time-too-old``, ``time-timewarp-attack`` (BIP94),
    ``time-too-new`` (fault TIME_FUTURE: it may become valid later), ``bad-version(0x...)``.
    """
    height = tree.height(prev) + 1
    time = int.from_bytes(raw[68:72], "little")
    if int.from_bytes(raw[72:76], "little") != next_bits(tree, prev, time, params):
        raise RuleViolation("bad-diffbits", "incorrect proof of work", Fault.INVALID_HEADER)
    if time <= tree.median_time_past(prev):
        raise RuleViolation("time-too-old", "block's timestamp is too early", Fault.INVALID_HEADER)
    if (
        params.enforce_bip94
        and height % params.difficulty_adjustment_interval == 0
        and time < tree.time(prev) - MAX_TIMEWARP
    ):
        raise RuleViolation(
            "time-timewarp-attack",
            "block's timestamp is too early on diff adjustment block",
            Fault.INVALID_HEADER,
        )
    if time > now + MAX_FUTURE_BLOCK_TIME:
        raise RuleViolation("time-too-new", "block timestamp too far in the future", Fault.TIME_FUTURE)
    check_version(int.from_bytes(raw[:4], "little", signed=True), height, params)


def check_version(version: int, height: int, params: NetworkParams) -> None:
    """Check a block's version; raises RuleViolation, ``bad-version(0x...)``."""
    if version < 4 and version < minimum_version(height, params):
        shown = f"0x{version & 0xFFFFFFFF:08x}"
        raise RuleViolation(f"bad-version({shown})", f"rejected nVersion={shown} block", Fault.INVALID_HEADER)


def minimum_version(height: int, params: NetworkParams) -> int:
    """Lowest version of a block at ``height``: BIP34 asks for 2, BIP66 for 3, BIP65 for 4."""
    if height >= params.bip65_height:
        return 4
    if height >= params.bip66_height:
        return 3
    return 2 if height >= params.bip34_height else -(1 << 31)
