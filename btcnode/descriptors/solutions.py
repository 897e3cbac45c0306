"""What a standard script asks for (the data that Core's ``Solver`` gives beside the type)."""

from __future__ import annotations

from btcnode.script.opcodes import OP_1, OP_16, OP_PUSHDATA4
from btcnode.script.scriptnum import decode_number
from btcnode.script.scriptparse import is_minimal_push, witness_program
from btcnode.script.solver import match_multisig, match_pubkey, script_type


def script_number(op: int, data: bytes) -> int | None:
    """A number from OP_1..OP_16 or a minimal push of up to four bytes without needless zeros."""
    if OP_1 <= op <= OP_16:
        return op - OP_1 + 1
    if not 0 <= op <= OP_PUSHDATA4 or not is_minimal_push(op, data) or not 1 <= len(data) <= 4:
        return None
    if not data[-1] & 0x7F and (len(data) == 1 or data[-2] < 0x80):
        return None
    return decode_number(data, False)


def solve(script: bytes) -> tuple[str, list[bytes]]:
    """The type and its data: keys or hashes; for multisig the threshold, the keys and their number, one byte each."""
    kind = script_type(script)
    if kind == "scripthash":
        return kind, [script[2:22]]
    if kind == "pubkeyhash":
        return kind, [script[3:23]]
    if kind == "pubkey":
        return kind, [match_pubkey(script) or b""]
    if kind == "multisig":
        threshold, keys = match_multisig(script) or (0, [])
        return kind, [bytes((threshold,)), *keys, bytes((len(keys),))]
    program = witness_program(script)
    if program is None or kind in ("nonstandard", "anchor"):
        return kind, []
    if kind == "witness_unknown":
        return kind, [bytes((program[0],)), program[1]]
    return kind, [program[1]]
