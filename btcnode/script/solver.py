"""Which standard form a script_pubkey has (Core's ``Solver``)."""

from __future__ import annotations

from btcnode.script.encoding import is_sized_pubkey
from btcnode.script.opcodes import (
    MAX_PUBKEYS_PER_MULTISIG,
    OP_1,
    OP_16,
    OP_CHECKMULTISIG,
    OP_CHECKSIG,
    OP_PUSHDATA4,
    OP_RETURN,
)
from btcnode.script.scriptnum import decode_number
from btcnode.script.scriptparse import is_minimal_push, is_p2sh, is_push_only, iter_ops, witness_program

ANCHOR_SCRIPT = bytes.fromhex("51024e73")  # pay-to-anchor: spendable by anybody without a witness


def _script_number(op: int, data: bytes) -> int:
    """A number from OP_1..OP_16 or a minimal push, 0 for anything else."""
    if OP_1 <= op <= OP_16:
        return op - OP_1 + 1
    if not 0 <= op <= OP_PUSHDATA4 or not is_minimal_push(op, data) or not 1 <= len(data) <= 4 or data[-1] in (0, 0x80):
        return 0
    return decode_number(data, False)


def match_pubkey(script: bytes) -> bytes | None:
    """The key of a pay-to-pubkey script."""
    if len(script) in (35, 67) and script[0] == len(script) - 2 and script[-1] == OP_CHECKSIG:
        key = script[1:-1]
        return key if is_sized_pubkey(key) else None
    return None


def match_multisig(script: bytes) -> tuple[int, list[bytes]] | None:
    """Threshold and keys of a bare multisig script."""
    if not script or script[-1] != OP_CHECKMULTISIG:
        return None
    ops = list(iter_ops(script))
    if len(ops) < 4 or ops[-1] != (OP_CHECKMULTISIG, b""):
        return None
    keys = [data for _, data in ops[1:-2]]
    required, total = _script_number(*ops[0]), _script_number(*ops[-2])
    if not 1 <= required <= total <= MAX_PUBKEYS_PER_MULTISIG or total != len(keys):
        return None
    return (required, keys) if all(map(is_sized_pubkey, keys)) else None


def script_type(script: bytes) -> str:
    """Core's name of the script_pubkey's form, one of ``SCRIPT_TYPES``."""
    if is_p2sh(script):
        return "scripthash"
    program = witness_program(script)
    if program is not None:
        version, data = program
        if version == 0:
            return {20: "witness_v0_keyhash", 32: "witness_v0_scripthash"}.get(len(data), "nonstandard")
        if version == 1 and len(data) == 32:
            return "witness_v1_taproot"
        return "anchor" if script == ANCHOR_SCRIPT else "witness_unknown"
    if script[:1] == bytes([OP_RETURN]) and is_push_only(script[1:]):
        return "nulldata"
    if match_pubkey(script) is not None:
        return "pubkey"
    if len(script) == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return "pubkeyhash"
    return "multisig" if match_multisig(script) is not None else "nonstandard"
