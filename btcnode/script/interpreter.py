"""The script interpreter: Bitcoin Core 31's ``EvalScript`` for legacy, witness v0 and tapscript rules.

Each set of rules has three tables over the opcode: how many stack elements it needs, its handler, and whether it is
looked at even in a branch that is not taken. Pushes are handled in the loop itself.
"""

from __future__ import annotations

from btcnode.script.checker import InputChecker, TaprootSpend
from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import VERIFY_CONST_SCRIPTCODE
from btcnode.script.machine import Handler, Machine, Operations, SigVersion
from btcnode.script.opcodes import (
    DISABLED_OPCODES,
    MAX_OPS_PER_SCRIPT,
    MAX_SCRIPT_ELEMENT_SIZE,
    MAX_SCRIPT_SIZE,
    MAX_STACK_SIZE,
    OP_1,
    OP_1NEGATE,
    OP_16,
    OP_CODESEPARATOR,
    OP_ENDIF,
    OP_IF,
    OP_PUSHDATA1,
    OP_PUSHDATA4,
    OP_RESERVED,
)
from btcnode.script.ops_crypto import CRYPTO_OPERATIONS
from btcnode.script.ops_number import NUMBER_OPERATIONS
from btcnode.script.ops_stack import STACK_OPERATIONS, bad_opcode, disabled_opcode
from btcnode.script.scriptnum import encode_number
from btcnode.script.scriptparse import BAD_OP, is_minimal_push, next_op
from btcnode.script.tapscript import TAPSCRIPT_OPERATIONS

_Tables = tuple[bytes, list[Handler], bytes]

_SMALL_NUMBERS = {op: encode_number(op - OP_1 + 1) for op in (OP_1NEGATE, *range(OP_1, OP_16 + 1))}
_PUSHED_NUMBER: list[bytes] = [_SMALL_NUMBERS.get(op, b"") for op in range(OP_16 + 1)]


def _build_tables(operations: Operations, always_separator: bool) -> _Tables:
    """Tables of needed elements, handlers, and opcodes that count in every branch."""
    handlers: list[Handler] = [bad_opcode] * 256
    needs, always = bytearray(256), bytearray(256)
    for op in DISABLED_OPCODES:
        handlers[op] = disabled_opcode
        always[op] = 1
    for op, (needed, handler) in operations.items():
        handlers[op] = handler
        needs[op] = needed
    for op in range(OP_IF, OP_ENDIF + 1):  # with OP_VERIF and OP_VERNOTIF, which fail anywhere
        always[op] = 1
    always[OP_CODESEPARATOR] = always_separator
    return bytes(needs), handlers, bytes(always)


_LEGACY_OPERATIONS = {**STACK_OPERATIONS, **NUMBER_OPERATIONS, **CRYPTO_OPERATIONS}
_LEGACY = _build_tables(_LEGACY_OPERATIONS, False)
_LEGACY_CONST = _build_tables(_LEGACY_OPERATIONS, True)  # VERIFY_CONST_SCRIPTCODE
_TAPSCRIPT = _build_tables({**_LEGACY_OPERATIONS, **TAPSCRIPT_OPERATIONS}, False)


def _tables(sigversion: SigVersion, flags: int) -> _Tables:
    """The tables for a set of rules."""
    if sigversion == SigVersion.TAPSCRIPT:
        return _TAPSCRIPT
    return _LEGACY_CONST if sigversion == SigVersion.BASE and flags & VERIFY_CONST_SCRIPTCODE else _LEGACY


def eval_script(
    stack: list[bytes],
    script: bytes,
    flags: int,
    checker: InputChecker,
    sigversion: SigVersion = SigVersion.BASE,
    taproot: TaprootSpend | None = None,
) -> None:
    """Run ``script`` on ``stack`` (changed in place; elements are bytes); raises ScriptAbort with Core's error.

    ``taproot`` carries leaf hash, annex hash and signature budget for ``SigVersion.TAPSCRIPT``.
    """
    limited = sigversion != SigVersion.TAPSCRIPT
    end = len(script)
    if limited and end > MAX_SCRIPT_SIZE:
        raise ScriptAbort(ScriptError.SCRIPT_SIZE)
    needs, handlers, always = _tables(sigversion, flags)
    vm = Machine(stack, script, flags, checker, sigversion, taproot)
    alt, minimal, push = vm.alt, vm.minimal, stack.append
    executing = True
    pc = 0
    while pc < end:
        op = script[pc]
        if op <= OP_PUSHDATA4:
            if op < OP_PUSHDATA1:
                start = pc + 1
                pc = start + op
                if pc > end:
                    raise ScriptAbort(ScriptError.BAD_OPCODE)
            else:
                op, start, pc = next_op(script, pc)
                if op == BAD_OP:
                    raise ScriptAbort(ScriptError.BAD_OPCODE)
                if pc - start > MAX_SCRIPT_ELEMENT_SIZE:
                    raise ScriptAbort(ScriptError.PUSH_SIZE)
            if executing:
                data = script[start:pc]
                if minimal and not is_minimal_push(op, data):
                    raise ScriptAbort(ScriptError.MINIMALDATA)
                push(data)
        elif op <= OP_16:
            pc += 1
            if executing:
                if op == OP_RESERVED:
                    raise ScriptAbort(ScriptError.BAD_OPCODE)
                push(_PUSHED_NUMBER[op])
        else:
            pc += 1
            if limited:
                vm.op_count += 1
                if vm.op_count > MAX_OPS_PER_SCRIPT:
                    raise ScriptAbort(ScriptError.OP_COUNT)
            if executing or always[op]:
                if needs[op] > len(stack):
                    raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
                vm.pc = pc
                handlers[op](vm, stack)
                if always[op]:
                    executing = vm.first_false < 0
        if len(stack) + len(alt) > MAX_STACK_SIZE:
            raise ScriptAbort(ScriptError.STACK_SIZE)
    if vm.depth:
        raise ScriptAbort(ScriptError.UNBALANCED_CONDITIONAL)
