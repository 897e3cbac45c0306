"""Opcodes that hash, and those that check signatures before tapscript."""

from __future__ import annotations

import hashlib

from btcnode.primitives.hashes import hash160, ripemd160, sha256, sha256d
from btcnode.script.encoding import check_pubkey_encoding, check_signature_encoding
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import VERIFY_CONST_SCRIPTCODE, VERIFY_NULLDUMMY, VERIFY_NULLFAIL
from btcnode.script.machine import Machine, Operations, SigVersion
from btcnode.script.opcodes import (
    MAX_OPS_PER_SCRIPT,
    MAX_PUBKEYS_PER_MULTISIG,
    OP_CHECKMULTISIG,
    OP_CHECKMULTISIGVERIFY,
    OP_CHECKSIG,
    OP_CHECKSIGVERIFY,
    OP_CODESEPARATOR,
    OP_HASH160,
    OP_HASH256,
    OP_RIPEMD160,
    OP_SHA1,
    OP_SHA256,
)
from btcnode.script.scriptnum import FALSE, TRUE, decode_number
from btcnode.script.scriptparse import find_and_delete, push_data


def op_ripemd160(vm: Machine, stack: list[bytes]) -> None:
    """(x -- RIPEMD-160(x))."""
    stack.append(ripemd160(stack.pop()))


def op_sha1(vm: Machine, stack: list[bytes]) -> None:
    """(x -- SHA-1(x))."""
    stack.append(hashlib.sha1(stack.pop()).digest())


def op_sha256(vm: Machine, stack: list[bytes]) -> None:
    """(x -- SHA-256(x))."""
    stack.append(sha256(stack.pop()).digest())


def op_hash160(vm: Machine, stack: list[bytes]) -> None:
    """(x -- RIPEMD-160(SHA-256(x)))."""
    stack.append(hash160(stack.pop()))


def op_hash256(vm: Machine, stack: list[bytes]) -> None:
    """(x -- SHA-256(SHA-256(x)))."""
    stack.append(sha256d(stack.pop()))


def op_codeseparator(vm: Machine, stack: list[bytes]) -> None:
    """Script codes begin behind this opcode from now on."""
    if vm.sigversion == SigVersion.BASE and vm.flags & VERIFY_CONST_SCRIPTCODE:
        raise ScriptAbort(ScriptError.OP_CODESEPARATOR)
    vm.code_start = vm.pc


def _script_code(vm: Machine, sigs: list[bytes]) -> bytes:
    """What signatures in ``sigs`` cover: the script from the last separator on, in legacy scripts without them."""
    code = vm.script[vm.code_start :] if vm.code_start else vm.script
    if vm.sigversion == SigVersion.BASE:
        for sig in sigs:
            code, found = find_and_delete(code, push_data(sig))
            if found and vm.flags & VERIFY_CONST_SCRIPTCODE:
                raise ScriptAbort(ScriptError.SIG_FINDANDDELETE)
    return code


def _checksig(vm: Machine, stack: list[bytes]) -> bool:
    """(sig pubkey --); the result of the check."""
    pubkey, sig = stack.pop(), stack.pop()
    if not sig and not vm.flags & VERIFY_CONST_SCRIPTCODE:
        code = b""  # an empty signature fails whatever it covers: spare the scan
    else:
        code = _script_code(vm, [sig])
    check_signature_encoding(sig, vm.flags)
    witness_v0 = vm.sigversion == SigVersion.WITNESS_V0
    check_pubkey_encoding(pubkey, vm.flags, witness_v0)
    success = vm.checker.check_ecdsa(sig, pubkey, code, witness_v0)
    if not success and sig and vm.flags & VERIFY_NULLFAIL:
        raise ScriptAbort(ScriptError.NULLFAIL)
    return success


def op_checksig(vm: Machine, stack: list[bytes]) -> None:
    """(sig pubkey -- whether the signature is valid)."""
    stack.append(TRUE if _checksig(vm, stack) else FALSE)


def op_checksigverify(vm: Machine, stack: list[bytes]) -> None:
    """(sig pubkey --)."""
    if not _checksig(vm, stack):
        raise ScriptAbort(ScriptError.CHECKSIGVERIFY)


def _multisig_operands(vm: Machine, stack: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Signatures and keys of CHECKMULTISIG, last pushed first; they stay on the stack.

    Raises ScriptAbort when a count or the stack's size is wrong; every key counts as an operation.
    """
    size = len(stack)
    if size < 1:
        raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
    n_keys = decode_number(stack[-1], vm.minimal)
    if not 0 <= n_keys <= MAX_PUBKEYS_PER_MULTISIG:
        raise ScriptAbort(ScriptError.PUBKEY_COUNT)
    vm.op_count += n_keys
    if vm.op_count > MAX_OPS_PER_SCRIPT:
        raise ScriptAbort(ScriptError.OP_COUNT)
    if size < n_keys + 2:
        raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
    n_sigs = decode_number(stack[-2 - n_keys], vm.minimal)
    if not 0 <= n_sigs <= n_keys:
        raise ScriptAbort(ScriptError.SIG_COUNT)
    first_sig = size - n_keys - n_sigs - 2
    if first_sig < 1:  # the element that CHECKMULTISIG consumes beyond its operands
        raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
    keys = stack[size - 1 - n_keys : size - 1]
    sigs = stack[first_sig : first_sig + n_sigs]
    return sigs[::-1], keys[::-1]


def _match_signatures(vm: Machine, sigs: list[bytes], keys: list[bytes]) -> bool:
    """Whether each signature finds its key, both in the same order; checks no more pairs than Core does."""
    code = _script_code(vm, sigs)
    flags, check = vm.flags, vm.checker.check_ecdsa
    witness_v0 = vm.sigversion == SigVersion.WITNESS_V0
    sig_at = key_at = 0
    while sig_at < len(sigs):
        sig, pubkey = sigs[sig_at], keys[key_at]
        check_signature_encoding(sig, flags)
        check_pubkey_encoding(pubkey, flags, witness_v0)
        if check(sig, pubkey, code, witness_v0):
            sig_at += 1
        key_at += 1
        if len(sigs) - sig_at > len(keys) - key_at:
            return False
    return True


def _checkmultisig(vm: Machine, stack: list[bytes]) -> bool:
    """(dummy sigs... m keys... n --); the result of the check."""
    sigs, keys = _multisig_operands(vm, stack)
    success = _match_signatures(vm, sigs, keys)
    if not success and vm.flags & VERIFY_NULLFAIL and any(sigs):
        raise ScriptAbort(ScriptError.NULLFAIL)
    del stack[-len(keys) - len(sigs) - 2 :]
    if stack.pop() and vm.flags & VERIFY_NULLDUMMY:
        raise ScriptAbort(ScriptError.SIG_NULLDUMMY)
    return success


def op_checkmultisig(vm: Machine, stack: list[bytes]) -> None:
    """(dummy sigs... m keys... n -- whether all signatures are valid)."""
    stack.append(TRUE if _checkmultisig(vm, stack) else FALSE)


def op_checkmultisigverify(vm: Machine, stack: list[bytes]) -> None:
    """(dummy sigs... m keys... n --)."""
    if not _checkmultisig(vm, stack):
        raise ScriptAbort(ScriptError.CHECKMULTISIGVERIFY)


CRYPTO_OPERATIONS: Operations = {
    OP_RIPEMD160: (1, op_ripemd160),
    OP_SHA1: (1, op_sha1),
    OP_SHA256: (1, op_sha256),
    OP_HASH160: (1, op_hash160),
    OP_HASH256: (1, op_hash256),
    OP_CODESEPARATOR: (0, op_codeseparator),
    OP_CHECKSIG: (2, op_checksig),
    OP_CHECKSIGVERIFY: (2, op_checksigverify),
    OP_CHECKMULTISIG: (0, op_checkmultisig),
    OP_CHECKMULTISIGVERIFY: (0, op_checkmultisigverify),
}
