"""Reading scripts without running them: opcodes, standard shapes, signature operation counts.

``next_op`` is Core's ``GetScriptOp``; what the consensus rules derive from it (push-only, sigops, witness programs)
stands here, because both the interpreter and the block rules need it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from btcnode.script.flags import VERIFY_P2SH, VERIFY_WITNESS
from btcnode.script.opcodes import (
    MAX_PUBKEYS_PER_MULTISIG,
    OP_0,
    OP_1,
    OP_16,
    OP_CHECKMULTISIG,
    OP_CHECKMULTISIGVERIFY,
    OP_CHECKSIG,
    OP_CHECKSIGVERIFY,
    OP_CODESEPARATOR,
    OP_INVALIDOPCODE,
    OP_PUSHDATA1,
    OP_PUSHDATA2,
    OP_PUSHDATA4,
)

BAD_OP = -1
_LONG = 100  # bytes from which on a script is worth the two patterns
_SIGOP = re.compile(rb"[\xac-\xaf]")
_PLAIN_RUN = re.compile(rb"[\x00\x4f-\xab\xb0-\xff]+")  # opcodes without data that count for nothing


def next_op(script: bytes, pc: int) -> tuple[int, int, int]:
    """Decode the opcode at ``pc`` (``pc < len(script)``): ``(opcode, start of its data, offset after it)``.

    For a push that the script is too short for, the opcode is ``BAD_OP`` and the last offset is where Core's
    iterator stops: behind the opcode and, when it is complete, the length.
    """
    op = script[pc]
    pc += 1
    if op > OP_PUSHDATA4:
        return op, pc, pc
    size = op
    if op >= OP_PUSHDATA1:
        width = 1 << (op - OP_PUSHDATA1)
        if pc + width > len(script):
            return BAD_OP, pc, pc
        size = int.from_bytes(script[pc : pc + width], "little")
        pc += width
    if pc + size > len(script):
        return BAD_OP, pc, pc
    return op, pc, pc + size


def iter_ops(script: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield ``(opcode, pushed data)`` for every opcode; a truncated push ends with one ``(BAD_OP, b"")``."""
    pc, end = 0, len(script)
    while pc < end:
        op, start, pc = next_op(script, pc)
        if op == BAD_OP:
            yield BAD_OP, b""
            return
        yield op, script[start:pc]


def push_data(data: bytes) -> bytes:
    """The push of ``data`` with the shortest length form; never OP_1..OP_16 (Core's ``CScript << vector``)."""
    size = len(data)
    if size < OP_PUSHDATA1:
        return size.to_bytes(1, "little") + data
    if size <= 0xFF:
        return bytes((OP_PUSHDATA1, size)) + data
    if size <= 0xFFFF:
        return b"\x4d" + size.to_bytes(2, "little") + data
    return b"\x4e" + size.to_bytes(4, "little") + data


def is_minimal_push(op: int, data: bytes) -> bool:
    """Whether ``op`` (0 to OP_PUSHDATA4) is the shortest way to push ``data`` (BIP62 rule 3)."""
    size = len(data)
    if size == 0:
        return op == OP_0
    if size == 1 and (1 <= data[0] <= 16 or data[0] == 0x81):
        return False
    if size < OP_PUSHDATA1:
        return op == size
    if size <= 0xFF:
        return op == OP_PUSHDATA1
    return op == OP_PUSHDATA2 if size <= 0xFFFF else True


def is_push_only(script: bytes) -> bool:
    """Whether every opcode is at most OP_16 (OP_RESERVED counts as a push) and no push is truncated."""
    pc, end = 0, len(script)
    while pc < end:
        op = script[pc]
        if op < OP_PUSHDATA1:
            pc += 1 + op
        elif op > OP_16:
            return False
        elif op > OP_PUSHDATA4:
            pc += 1
        else:
            op, _, pc = next_op(script, pc)
            if op == BAD_OP:
                return False
    return pc == end


def is_p2sh(script: bytes) -> bool:
    """BIP16: exactly ``HASH160 <20 bytes> EQUAL``."""
    return len(script) == 23 and script[0] == 0xA9 and script[1] == 0x14 and script[22] == 0x87


def is_unspendable(script: bytes) -> bool:
    """Whether no input can ever spend it: it starts with OP_RETURN or is longer than 10,000 bytes."""
    return script[:1] == b"\x6a" or len(script) > 10_000


def witness_program(script: bytes) -> tuple[int, bytes] | None:
    """``(version 0..16, program of 2 to 40 bytes)`` when the script is a witness program (BIP141), else None."""
    size = len(script)
    if size < 4 or size > 42 or script[1] + 2 != size:
        return None
    op = script[0]
    if op == OP_0:
        return 0, script[2:]
    if OP_1 <= op <= OP_16:
        return op - OP_1 + 1, script[2:]
    return None


def last_push(script: bytes) -> bytes | None:
    """What a push-only script leaves on top of the stack for BIP16 (``b""`` for OP_1..OP_16, as Core reads it).

    None when it is not push-only or a push is truncated.
    """
    top = b""
    for op, data in iter_ops(script):
        if op > OP_16 or op == BAD_OP:
            return None
        top = data
    return top


def count_sigops(script: bytes, accurate: bool) -> int:
    """Signature operations of a script, as far as it can be decoded.

    CHECKMULTISIG counts 20, or with ``accurate`` the OP_1..OP_16 right before it.
    """
    size = len(script)
    if size == 25 and script.startswith(b"\x76\xa9\x14") and script.endswith(b"\x88\xac"):
        return 1
    if (size in (22, 34) and script[0] in (OP_0, OP_1) and script[1] == size - 2) or is_p2sh(script):
        return 0
    total, last, pc = 0, OP_INVALIDOPCODE, 0
    long = size > _LONG
    if long and _SIGOP.search(script) is None:
        return 0
    while pc < size:
        if long and (run := _PLAIN_RUN.match(script, pc)) is not None:
            pc = run.end()
            last = script[pc - 1]
            continue
        op = script[pc]
        if op < OP_PUSHDATA1:
            pc += 1 + op
            if pc > size:
                break
        elif op <= OP_PUSHDATA4:
            op, _, pc = next_op(script, pc)
            if op == BAD_OP:
                break
        else:
            pc += 1
            if op in (OP_CHECKSIG, OP_CHECKSIGVERIFY):
                total += 1
            elif op in (OP_CHECKMULTISIG, OP_CHECKMULTISIGVERIFY):
                total += last - OP_1 + 1 if accurate and OP_1 <= last <= OP_16 else MAX_PUBKEYS_PER_MULTISIG
        last = op
    return total


def count_p2sh_sigops(script_sig: bytes, script_pubkey: bytes) -> int:
    """Accurate sigops of the redeem script when ``script_pubkey`` is P2SH, else 0 (BIP16)."""
    if not is_p2sh(script_pubkey):
        return 0
    redeem = last_push(script_sig)
    return count_sigops(redeem, True) if redeem else 0


def count_witness_sigops(script_sig: bytes, script_pubkey: bytes, witness: Sequence[bytes], flags: int) -> int:
    """Sigops of a witness v0 program, native or nested in P2SH; 0 without VERIFY_WITNESS (BIP141)."""
    if not flags & VERIFY_WITNESS:
        return 0
    if not flags & VERIFY_P2SH:
        raise ValueError("VERIFY_WITNESS needs VERIFY_P2SH")
    program = witness_program(script_pubkey)
    if program is None and is_p2sh(script_pubkey):
        redeem = last_push(script_sig)
        program = witness_program(redeem) if redeem else None
    if program is None or program[0] != 0:
        return 0
    if len(program[1]) == 20:
        return 1
    if len(program[1]) == 32 and witness:
        return count_sigops(witness[-1], True)
    return 0


@lru_cache(maxsize=8)
def _op_starts(script: bytes) -> bytes:
    """One byte for each of the script's: 1 where an opcode begins, up to the first truncated push."""
    starts = bytearray(len(script))
    pc, end = 0, len(script)
    while pc < end:
        starts[pc] = 1
        op = script[pc]
        if op < OP_PUSHDATA1:
            pc += 1 + op
        else:
            op, _, pc = next_op(script, pc)
            if op == BAD_OP:
                break
    return bytes(starts)


def find_and_delete(script: bytes, push: bytes) -> tuple[bytes, int]:
    """Remove every opcode that equals ``push`` (one whole push); returns the new script and the number removed.

    A hit inside another opcode's data does not count. Where opcodes begin is remembered, since an old script may ask
    two hundred times for another signature.
    """
    at = script.find(push)
    if at < 0:
        return script, 0
    starts = _op_starts(script)
    kept: list[bytes] = []
    copied = 0
    while at >= 0:
        if starts[at]:
            kept.append(script[copied:at])
            copied = at + len(push)
            at = script.find(push, copied)
        else:
            at = script.find(push, at + 1)
    kept.append(script[copied:])
    return b"".join(kept), len(kept) - 1


def strip_separators(script: bytes) -> tuple[bytes, int]:
    """The bytes of a legacy script code without its OP_CODESEPARATORs, and the length that Core writes before them.

    The two differ only for a script that ends in a truncated push, whose last data Core leaves out.
    """
    if OP_CODESEPARATOR not in script:
        return _decodable_part(script), len(script)
    kept: list[bytes] = []
    pc = copied = removed = 0
    end = len(script)
    while pc < end:
        op, _, pc = next_op(script, pc)
        if op == OP_CODESEPARATOR:
            kept.append(script[copied : pc - 1])
            copied = pc
            removed += 1
        elif op == BAD_OP:
            break
    kept.append(script[copied:pc])
    return b"".join(kept), end - removed


def _decodable_part(script: bytes) -> bytes:
    """The script up to where Core's decoding stops: all of it unless its last push is truncated."""
    if len(script) == 25 and script.startswith(b"\x76\xa9\x14"):
        return script
    pc, end = 0, len(script)
    while pc < end:
        op, _, pc = next_op(script, pc)
        if op == BAD_OP:
            return script[:pc]
    return script
