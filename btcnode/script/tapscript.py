"""BIP342: signature opcodes of tapscript, OP_SUCCESS, and the commitment to a leaf."""

from __future__ import annotations

from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import VERIFY_DISCOURAGE_UPGRADABLE_PUBKEYTYPE
from btcnode.script.machine import Machine, Operations
from btcnode.script.opcodes import (
    OP_CHECKMULTISIG,
    OP_CHECKMULTISIGVERIFY,
    OP_CHECKSIG,
    OP_CHECKSIGADD,
    OP_CHECKSIGVERIFY,
    OP_CODESEPARATOR,
    OP_PUSHDATA1,
    OP_PUSHDATA4,
    OP_SUCCESS,
    VALIDATION_WEIGHT_PER_SIGOP,
)
from btcnode.script.scriptnum import FALSE, TRUE, decode_number, encode_number
from btcnode.script.scriptparse import BAD_OP, next_op
from btcnode.script.sighash import tapbranch_hash
from btcnode.script.signatures import check_taproot_tweak, tap_tweak_hash

LEAF_MASK = 0xFE
LEAF_TAPSCRIPT = 0xC0
CONTROL_BASE_SIZE = 33
CONTROL_NODE_SIZE = 32
CONTROL_MAX_SIZE = CONTROL_BASE_SIZE + 128 * CONTROL_NODE_SIZE


def has_op_success(script: bytes) -> bool:
    """Whether an OP_SUCCESS occurs in the script.

    Raises ScriptAbort(BAD_OPCODE) when a truncated push comes before one does.
    """
    pc, end = 0, len(script)
    while pc < end:
        op = script[pc]
        if op < OP_PUSHDATA1:
            pc += 1 + op
            if pc > end:
                raise ScriptAbort(ScriptError.BAD_OPCODE)
        elif op <= OP_PUSHDATA4:
            op, _, pc = next_op(script, pc)
            if op == BAD_OP:
                raise ScriptAbort(ScriptError.BAD_OPCODE)
        elif OP_SUCCESS[op]:
            return True
        else:
            pc += 1
    return False


def is_valid_control_size(size: int) -> bool:
    """33 bytes and up to 128 nodes of 32."""
    return CONTROL_BASE_SIZE <= size <= CONTROL_MAX_SIZE and (size - CONTROL_BASE_SIZE) % CONTROL_NODE_SIZE == 0


def is_committed(control: bytes, program: bytes, leaf_hash: bytes) -> bool:
    """Whether the output key ``program`` commits to the leaf along the path in ``control`` (of a valid size)."""
    root = leaf_hash
    for start in range(CONTROL_BASE_SIZE, len(control), CONTROL_NODE_SIZE):
        root = tapbranch_hash(root, control[start : start + CONTROL_NODE_SIZE])
    internal = control[1:CONTROL_BASE_SIZE]
    return check_taproot_tweak(program, control[0] & 1, internal, tap_tweak_hash(internal, root))


def _checksig(vm: Machine, sig: bytes, pubkey: bytes) -> bool:
    """Check one signature; False only for an empty one, every other failure ends the script.

    The order of the rules is consensus: budget, empty key, then the key's version.
    """
    spend = vm.taproot
    if spend is None:
        raise ValueError("tapscript runs with the data of its spend")
    if sig:
        spend.weight_left -= VALIDATION_WEIGHT_PER_SIGOP
        if spend.weight_left < 0:
            raise ScriptAbort(ScriptError.TAPSCRIPT_VALIDATION_WEIGHT)
    if not pubkey:
        raise ScriptAbort(ScriptError.TAPSCRIPT_EMPTY_PUBKEY)
    if len(pubkey) == 32:
        if sig:
            vm.checker.check_schnorr(sig, pubkey, spend)
    elif vm.flags & VERIFY_DISCOURAGE_UPGRADABLE_PUBKEYTYPE:
        raise ScriptAbort(ScriptError.DISCOURAGE_UPGRADABLE_PUBKEYTYPE)
    return bool(sig)


def op_checksig(vm: Machine, stack: list[bytes]) -> None:
    """(sig pubkey -- whether there was a signature)."""
    pubkey, sig = stack.pop(), stack.pop()
    stack.append(TRUE if _checksig(vm, sig, pubkey) else FALSE)


def op_checksigverify(vm: Machine, stack: list[bytes]) -> None:
    """(sig pubkey --)."""
    pubkey, sig = stack.pop(), stack.pop()
    if not _checksig(vm, sig, pubkey):
        raise ScriptAbort(ScriptError.CHECKSIGVERIFY)


def op_checksigadd(vm: Machine, stack: list[bytes]) -> None:
    """(sig n pubkey -- n, plus 1 when there was a signature)."""
    pubkey = stack.pop()
    number = decode_number(stack.pop(), vm.minimal)
    stack.append(encode_number(number + _checksig(vm, stack.pop(), pubkey)))


def op_checkmultisig(vm: Machine, stack: list[bytes]) -> None:
    """Not available: CHECKSIGADD takes its place."""
    raise ScriptAbort(ScriptError.TAPSCRIPT_CHECKMULTISIG)


def op_codeseparator(vm: Machine, stack: list[bytes]) -> None:
    """Later signatures commit to the index of this opcode among all opcodes."""
    if vm.taproot is None:
        raise ValueError("tapscript runs with the data of its spend")
    script, pc, counted = vm.script, vm.counted_pc, vm.counted
    while pc < vm.pc:  # goes on where the previous separator stopped, so the whole script is counted once
        pc = next_op(script, pc)[2]
        counted += 1
    vm.counted_pc, vm.counted = pc, counted
    vm.taproot.codeseparator_pos = counted - 1


TAPSCRIPT_OPERATIONS: Operations = {
    OP_CODESEPARATOR: (0, op_codeseparator),
    OP_CHECKSIG: (2, op_checksig),
    OP_CHECKSIGVERIFY: (2, op_checksigverify),
    OP_CHECKSIGADD: (3, op_checksigadd),
    OP_CHECKMULTISIG: (0, op_checkmultisig),
    OP_CHECKMULTISIGVERIFY: (0, op_checkmultisig),
}
