"""Opcodes that move stack elements, branch, or stop; each handler takes the machine and its stack.

The interpreter has checked the number of elements that the table at the end asks for.
"""

from __future__ import annotations

from btcnode.script.errors import ScriptAbort, ScriptError
from btcnode.script.flags import VERIFY_DISCOURAGE_UPGRADABLE_NOPS, VERIFY_MINIMALIF
from btcnode.script.machine import Machine, Operations, SigVersion
from btcnode.script.opcodes import (
    OP_2DROP,
    OP_2DUP,
    OP_2OVER,
    OP_2ROT,
    OP_2SWAP,
    OP_3DUP,
    OP_DEPTH,
    OP_DROP,
    OP_DUP,
    OP_ELSE,
    OP_ENDIF,
    OP_EQUAL,
    OP_EQUALVERIFY,
    OP_FROMALTSTACK,
    OP_IF,
    OP_IFDUP,
    OP_NIP,
    OP_NOP,
    OP_NOP1,
    OP_NOP4,
    OP_NOP10,
    OP_NOTIF,
    OP_OVER,
    OP_PICK,
    OP_RETURN,
    OP_ROLL,
    OP_ROT,
    OP_SIZE,
    OP_SWAP,
    OP_TOALTSTACK,
    OP_TUCK,
    OP_VERIFY,
)
from btcnode.script.scriptnum import FALSE, TRUE, decode_number, encode_number, is_true


def bad_opcode(vm: Machine, stack: list[bytes]) -> None:
    """Any opcode without a meaning."""
    raise ScriptAbort(ScriptError.BAD_OPCODE)


def disabled_opcode(vm: Machine, stack: list[bytes]) -> None:
    """Opcodes disabled in 2010 fail even in a branch not taken."""
    raise ScriptAbort(ScriptError.DISABLED_OPCODE)


def op_nop(vm: Machine, stack: list[bytes]) -> None:
    """Do nothing."""


def op_upgradable_nop(vm: Machine, stack: list[bytes]) -> None:
    """NOP1 and NOP4 to NOP10."""
    if vm.flags & VERIFY_DISCOURAGE_UPGRADABLE_NOPS:
        raise ScriptAbort(ScriptError.DISCOURAGE_UPGRADABLE_NOPS)


def _branch(vm: Machine, stack: list[bytes], wanted: bool) -> None:
    """Open a conditional that is taken when the top element's truth equals ``wanted``."""
    taken = False
    if vm.first_false < 0:
        if not stack:
            raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
        value = stack.pop()
        if value not in (FALSE, TRUE):
            if vm.sigversion == SigVersion.TAPSCRIPT:
                raise ScriptAbort(ScriptError.TAPSCRIPT_MINIMALIF)
            if vm.sigversion == SigVersion.WITNESS_V0 and vm.flags & VERIFY_MINIMALIF:
                raise ScriptAbort(ScriptError.MINIMALIF)
        taken = is_true(value) == wanted
        if not taken:
            vm.first_false = vm.depth
    vm.depth += 1


def op_if(vm: Machine, stack: list[bytes]) -> None:
    """(condition --), or nothing in a branch not taken."""
    _branch(vm, stack, True)


def op_notif(vm: Machine, stack: list[bytes]) -> None:
    """(condition --), or nothing in a branch not taken."""
    _branch(vm, stack, False)


def op_else(vm: Machine, stack: list[bytes]) -> None:
    """Flip the innermost conditional; may occur any number of times."""
    if not vm.depth:
        raise ScriptAbort(ScriptError.UNBALANCED_CONDITIONAL)
    top = vm.depth - 1
    if vm.first_false < 0:
        vm.first_false = top
    elif vm.first_false == top:
        vm.first_false = -1


def op_endif(vm: Machine, stack: list[bytes]) -> None:
    """Close the innermost conditional."""
    if not vm.depth:
        raise ScriptAbort(ScriptError.UNBALANCED_CONDITIONAL)
    vm.depth -= 1
    if vm.first_false == vm.depth:
        vm.first_false = -1


def op_verify(vm: Machine, stack: list[bytes]) -> None:
    """(true --)."""
    if not is_true(stack.pop()):
        raise ScriptAbort(ScriptError.VERIFY)


def op_return(vm: Machine, stack: list[bytes]) -> None:
    """Fail."""
    raise ScriptAbort(ScriptError.OP_RETURN)


def op_toaltstack(vm: Machine, stack: list[bytes]) -> None:
    """Move the top to the altstack."""
    vm.alt.append(stack.pop())


def op_fromaltstack(vm: Machine, stack: list[bytes]) -> None:
    """Move the altstack's top back."""
    if not vm.alt:
        raise ScriptAbort(ScriptError.INVALID_ALTSTACK_OPERATION)
    stack.append(vm.alt.pop())


def op_2drop(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 --)."""
    del stack[-2:]


def op_2dup(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 -- x1 x2 x1 x2)."""
    stack += stack[-2:]


def op_3dup(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 x3 -- x1 x2 x3 x1 x2 x3)."""
    stack += stack[-3:]


def op_2over(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 x3 x4 -- x1 x2 x3 x4 x1 x2)."""
    stack += stack[-4:-2]


def op_2rot(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 x3 x4 x5 x6 -- x3 x4 x5 x6 x1 x2)."""
    stack[-6:] = stack[-4:] + stack[-6:-4]


def op_2swap(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 x3 x4 -- x3 x4 x1 x2)."""
    stack[-4:] = stack[-2:] + stack[-4:-2]


def op_ifdup(vm: Machine, stack: list[bytes]) -> None:
    """(x -- x x) when x is true."""
    if is_true(stack[-1]):
        stack.append(stack[-1])


def op_depth(vm: Machine, stack: list[bytes]) -> None:
    """(-- size of the stack)."""
    stack.append(encode_number(len(stack)))


def op_drop(vm: Machine, stack: list[bytes]) -> None:
    """(x --)."""
    stack.pop()


def op_dup(vm: Machine, stack: list[bytes]) -> None:
    """(x -- x x)."""
    stack.append(stack[-1])


def op_nip(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 -- x2)."""
    del stack[-2]


def op_over(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 -- x1 x2 x1)."""
    stack.append(stack[-2])


def _position(vm: Machine, stack: list[bytes]) -> int:
    """Pop n and return the index of the element that lies n below the new top."""
    n = decode_number(stack.pop(), vm.minimal)
    if not 0 <= n < len(stack):
        raise ScriptAbort(ScriptError.INVALID_STACK_OPERATION)
    return -n - 1


def op_pick(vm: Machine, stack: list[bytes]) -> None:
    """(xn ... x0 n -- xn ... x0 xn)."""
    stack.append(stack[_position(vm, stack)])


def op_roll(vm: Machine, stack: list[bytes]) -> None:
    """(xn ... x0 n -- ... x0 xn)."""
    stack.append(stack.pop(_position(vm, stack)))


def op_rot(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 x3 -- x2 x3 x1)."""
    stack.append(stack.pop(-3))


def op_swap(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 -- x2 x1)."""
    stack[-2], stack[-1] = stack[-1], stack[-2]


def op_tuck(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 -- x2 x1 x2)."""
    stack.insert(-2, stack[-1])


def op_size(vm: Machine, stack: list[bytes]) -> None:
    """(x -- x size)."""
    stack.append(encode_number(len(stack[-1])))


def op_equal(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 -- whether they are the same bytes)."""
    stack.append(TRUE if stack.pop() == stack.pop() else FALSE)


def op_equalverify(vm: Machine, stack: list[bytes]) -> None:
    """(x1 x2 --)."""
    if stack.pop() != stack.pop():
        raise ScriptAbort(ScriptError.EQUALVERIFY)


STACK_OPERATIONS: Operations = {
    OP_NOP: (0, op_nop),
    OP_NOP1: (0, op_upgradable_nop),
    **dict.fromkeys(range(OP_NOP4, OP_NOP10 + 1), (0, op_upgradable_nop)),
    OP_IF: (0, op_if),
    OP_NOTIF: (0, op_notif),
    OP_ELSE: (0, op_else),
    OP_ENDIF: (0, op_endif),
    OP_VERIFY: (1, op_verify),
    OP_RETURN: (0, op_return),
    OP_TOALTSTACK: (1, op_toaltstack),
    OP_FROMALTSTACK: (0, op_fromaltstack),
    OP_2DROP: (2, op_2drop),
    OP_2DUP: (2, op_2dup),
    OP_3DUP: (3, op_3dup),
    OP_2OVER: (4, op_2over),
    OP_2ROT: (6, op_2rot),
    OP_2SWAP: (4, op_2swap),
    OP_IFDUP: (1, op_ifdup),
    OP_DEPTH: (0, op_depth),
    OP_DROP: (1, op_drop),
    OP_DUP: (1, op_dup),
    OP_NIP: (2, op_nip),
    OP_OVER: (2, op_over),
    OP_PICK: (2, op_pick),
    OP_ROLL: (2, op_roll),
    OP_ROT: (3, op_rot),
    OP_SWAP: (2, op_swap),
    OP_TUCK: (2, op_tuck),
    OP_SIZE: (1, op_size),
    OP_EQUAL: (2, op_equal),
    OP_EQUALVERIFY: (2, op_equalverify),
}
