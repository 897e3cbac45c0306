"""Opcodes that compute with script numbers and the two lock-time checks."""

from __future__ import annotations

from collections.abc import Callable

from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import VERIFY_CHECKLOCKTIMEVERIFY, VERIFY_CHECKSEQUENCEVERIFY
from btcnode.script.machine import Handler, Machine, Operations
from btcnode.script.opcodes import (
    OP_0NOTEQUAL,
    OP_1ADD,
    OP_1SUB,
    OP_ABS,
    OP_ADD,
    OP_BOOLAND,
    OP_BOOLOR,
    OP_CHECKLOCKTIMEVERIFY,
    OP_CHECKSEQUENCEVERIFY,
    OP_GREATERTHAN,
    OP_GREATERTHANOREQUAL,
    OP_LESSTHAN,
    OP_LESSTHANOREQUAL,
    OP_MAX,
    OP_MIN,
    OP_NEGATE,
    OP_NOT,
    OP_NUMEQUAL,
    OP_NUMEQUALVERIFY,
    OP_NUMNOTEQUAL,
    OP_SUB,
    OP_WITHIN,
    SEQUENCE_LOCKTIME_DISABLE_FLAG,
)
from btcnode.script.scriptnum import FALSE, TRUE, decode_number, encode_number

_LOCK_TIME_SIZE = 5  # bytes: lock times are unsigned 32 bits, which 4 signed bytes cannot hold


def _unary(compute: Callable[[int], int]) -> Handler:
    """The handler (x -- compute(x))."""

    def handler(vm: Machine, stack: list[bytes]) -> None:
        stack.append(encode_number(compute(decode_number(stack.pop(), vm.minimal))))

    return handler


def _binary(compute: Callable[[int, int], int]) -> Handler:
    """The handler (a b -- compute(a, b)); results may need five bytes."""

    def handler(vm: Machine, stack: list[bytes]) -> None:
        b = decode_number(stack.pop(), vm.minimal)
        a = decode_number(stack.pop(), vm.minimal)
        stack.append(encode_number(compute(a, b)))

    return handler


def op_numequalverify(vm: Machine, stack: list[bytes]) -> None:
    """(a b --) when they are the same number."""
    if decode_number(stack.pop(), vm.minimal) != decode_number(stack.pop(), vm.minimal):
        raise ScriptAbort(ScriptError.NUMEQUALVERIFY)


def op_within(vm: Machine, stack: list[bytes]) -> None:
    """(x low high -- low <= x < high)."""
    high = decode_number(stack.pop(), vm.minimal)
    low = decode_number(stack.pop(), vm.minimal)
    x = decode_number(stack.pop(), vm.minimal)
    stack.append(TRUE if low <= x < high else FALSE)


def _lock_operand(vm: Machine, stack: list[bytes]) -> int:
    """The top element as a lock time, left on the stack."""
    if not stack:
        raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
    wanted = decode_number(stack[-1], vm.minimal, _LOCK_TIME_SIZE)
    if wanted < 0:
        raise ScriptAbort(ScriptError.NEGATIVE_LOCKTIME)
    return wanted


def op_checklocktimeverify(vm: Machine, stack: list[bytes]) -> None:
    """(n -- n), BIP65; a NOP without its flag."""
    if vm.flags & VERIFY_CHECKLOCKTIMEVERIFY and not vm.checker.check_lock_time(_lock_operand(vm, stack)):
        raise ScriptAbort(ScriptError.UNSATISFIED_LOCKTIME)


def op_checksequenceverify(vm: Machine, stack: list[bytes]) -> None:
    """(n -- n), BIP112; a NOP without its flag or when bit 31 of n is set."""
    if not vm.flags & VERIFY_CHECKSEQUENCEVERIFY:
        return
    wanted = _lock_operand(vm, stack)
    if not wanted & SEQUENCE_LOCKTIME_DISABLE_FLAG and not vm.checker.check_sequence(wanted):
        raise ScriptAbort(ScriptError.UNSATISFIED_LOCKTIME)


NUMBER_OPERATIONS: Operations = {
    OP_1ADD: (1, _unary(lambda x: x + 1)),
    OP_1SUB: (1, _unary(lambda x: x - 1)),
    OP_NEGATE: (1, _unary(lambda x: -x)),
    OP_ABS: (1, _unary(abs)),
    OP_NOT: (1, _unary(lambda x: x == 0)),
    OP_0NOTEQUAL: (1, _unary(lambda x: x != 0)),
    OP_ADD: (2, _binary(lambda a, b: a + b)),
    OP_SUB: (2, _binary(lambda a, b: a - b)),
    OP_BOOLAND: (2, _binary(lambda a, b: a != 0 and b != 0)),
    OP_BOOLOR: (2, _binary(lambda a, b: a != 0 or b != 0)),
    OP_NUMEQUAL: (2, _binary(lambda a, b: a == b)),
    OP_NUMEQUALVERIFY: (2, op_numequalverify),
    OP_NUMNOTEQUAL: (2, _binary(lambda a, b: a != b)),
    OP_LESSTHAN: (2, _binary(lambda a, b: a < b)),
    OP_GREATERTHAN: (2, _binary(lambda a, b: a > b)),
    OP_LESSTHANOREQUAL: (2, _binary(lambda a, b: a <= b)),
    OP_GREATERTHANOREQUAL: (2, _binary(lambda a, b: a >= b)),
    OP_MIN: (2, _binary(min)),
    OP_MAX: (2, _binary(max)),
    OP_WITHIN: (3, op_within),
    OP_CHECKLOCKTIMEVERIFY: (0, op_checklocktimeverify),
    OP_CHECKSEQUENCEVERIFY: (0, op_checksequenceverify),
}
