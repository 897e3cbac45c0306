"""Reading miniscript back from a script.

The script is read from its end, since there stands what tells the expressions apart.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from btcnode.descriptors.miniscript import Node, max_script_size
from btcnode.descriptors.miniscript_parser import MAX_MULTI_A_KEYS, MAX_MULTI_KEYS
from btcnode.descriptors.miniscript_types import WRAPPERS, Fragment
from btcnode.script import opcodes as op
from btcnode.script.errors import ScriptAbort
from btcnode.script.scriptnum import decode_number
from btcnode.script.scriptparse import BAD_OP, is_minimal_push, iter_ops

F = Fragment
Token = tuple[int, bytes]
KeyReader = Callable[[bytes], Hashable | None]

_SPLIT = {
    op.OP_CHECKSIGVERIFY: op.OP_CHECKSIG, op.OP_CHECKMULTISIGVERIFY: op.OP_CHECKMULTISIG,
    op.OP_EQUALVERIFY: op.OP_EQUAL, op.OP_NUMEQUALVERIFY: op.OP_NUMEQUAL,
}  # fmt: skip
_VERIFIABLE = frozenset(_SPLIT.values())
_HASH_FRAGMENTS = {
    op.OP_SHA256: (F.SHA256, 32), op.OP_RIPEMD160: (F.RIPEMD160, 20), op.OP_HASH256: (F.HASH256, 32),
    op.OP_HASH160: (F.HASH160, 20),
}  # fmt: skip
_NO_TAIL = frozenset((op.OP_IF, op.OP_ELSE, op.OP_NOTIF, op.OP_TOALTSTACK, op.OP_SWAP))
_NONE: Token = (-1, b"")


class _NoMiniscript(Exception):
    """The script is no miniscript; it never leaves this module."""


def _tokens(script: bytes) -> list[Token]:
    """Opcodes and pushed data from last to first, with each ...VERIFY taken apart; raises _NoMiniscript."""
    result: list[Token] = []
    for code, data in iter_ops(script):
        if code == BAD_OP:
            raise _NoMiniscript
        if op.OP_1 <= code <= op.OP_16:
            result.append((code, bytes((code - op.OP_1 + 1,))))
        elif code in _SPLIT:
            result += [(_SPLIT[code], b""), (op.OP_VERIFY, b"")]
        elif code <= op.OP_PUSHDATA4:
            if not is_minimal_push(code, data):
                raise _NoMiniscript
            result.append((code, data))
        else:
            if code == op.OP_VERIFY and result and result[-1][0] in _VERIFIABLE:
                raise _NoMiniscript
            result.append((code, b""))
    result.reverse()
    return result


def _number(token: Token) -> int | None:
    """The number that a token pushes."""
    if token[0] == op.OP_0:
        return 0
    if not token[1]:
        return None
    try:
        return decode_number(token[1], True)
    except ScriptAbort:
        return None


class _Thresh(NamedTuple):
    """Before the next (in the script: previous) part of a thresh, of which ``n`` have been read."""

    k: int
    n: int


class _EndThresh(NamedTuple):
    """All ``n`` parts of a thresh have been read."""

    k: int
    n: int


_Task = str | Fragment | _Thresh | _EndThresh
_SINGLE, _ANY, _W, _MAYBE_AND = "single", "any", "w", "maybe and_v"
_SWAP, _ALT, _ENDIF, _ENDIF_NOTIF, _ENDIF_ELSE = "swap", "alt", "endif", "endif notif", "endif else"


class _Reader:
    """The state of reading one script: tokens and the place in them, what is expected (last first), nodes so far."""

    def __init__(self, tokens: list[Token], tapscript: bool, read_key: KeyReader, read_hash: KeyReader) -> None:
        self.tokens = tokens
        self.at = 0
        self.tapscript = tapscript
        self.read_key = read_key
        self.read_hash = read_hash
        self.nodes: list[Node] = []
        self.tasks: list[_Task] = [_ANY]

    def peek(self, ahead: int = 0) -> Token:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else _NONE

    @property
    def left(self) -> int:
        return len(self.tokens) - self.at

    def take(self, code: int) -> bool:
        if self.peek()[0] != code:
            return False
        self.at += 1
        return True

    def push(self, fragment: Fragment, *subs: Node, k: int = 0, keys: list[Hashable] | None = None) -> None:
        self.nodes.append(Node(self.tapscript, fragment, subs, keys=keys or (), k=k))

    def pop(self, count: int) -> list[Node]:
        """The last nodes, the one read last first: that is their order in the script."""
        if len(self.nodes) < count:
            raise _NoMiniscript
        found = self.nodes[len(self.nodes) - count :]
        del self.nodes[len(self.nodes) - count :]
        return found[::-1]

    def run(self) -> Node:
        while self.tasks:
            if self.nodes and not self.nodes[-1].is_valid:
                raise _NoMiniscript
            task = self.tasks.pop()
            if isinstance(task, Fragment):
                self._build(task)
            elif isinstance(task, _Thresh):
                self._thresh(task)
            elif isinstance(task, _EndThresh):
                if not 1 <= task.k <= task.n:
                    raise _NoMiniscript
                self.push(F.THRESH, *self.pop(task.n), k=task.k)
            else:
                self._step(task)
        if len(self.nodes) != 1 or self.left:
            raise _NoMiniscript
        return self.nodes[0]

    def _build(self, fragment: Fragment) -> None:
        if fragment is F.ANDOR:
            x, z, y = self.pop(3)  # in the script the third part stands before the second
            self.push(fragment, x, y, z)
        else:
            self.push(fragment, *self.pop(1 if fragment in WRAPPERS else 2))

    def _thresh(self, task: _Thresh) -> None:
        if not self.left:
            raise _NoMiniscript
        if self.take(op.OP_ADD):
            self.tasks += [_Thresh(task.k, task.n + 1), _W]
        else:
            self.tasks += [_EndThresh(task.k, task.n + 1), _SINGLE]

    def _step(self, task: str) -> None:
        if task == _ANY:
            self.tasks += [_MAYBE_AND, _SINGLE]
        elif task == _MAYBE_AND:
            if self.left and self.peek()[0] not in _NO_TAIL:
                self.tasks += [F.AND_V, _ANY]
        elif task in (_SWAP, _ALT):
            if not self.take(op.OP_SWAP if task == _SWAP else op.OP_TOALTSTACK):
                raise _NoMiniscript
            self._build(F.WRAP_S if task == _SWAP else F.WRAP_A)
        elif not self.left:
            raise _NoMiniscript
        elif task == _SINGLE:
            self._single()
        elif task == _W:
            self.tasks += [_ALT if self.take(op.OP_FROMALTSTACK) else _SWAP, _ANY]
        else:
            self._conditional(task)

    def _conditional(self, task: str) -> None:
        """What stands before a branch that ended in OP_ENDIF."""
        if task == _ENDIF_NOTIF:
            self.tasks += [F.OR_D if self.take(op.OP_IFDUP) else F.OR_C, _SINGLE]
        elif task == _ENDIF_ELSE:
            if self.take(op.OP_IF):
                self._build(F.OR_I)
            elif self.take(op.OP_NOTIF):
                self.tasks += [F.ANDOR, _SINGLE]
            else:
                raise _NoMiniscript
        elif self.take(op.OP_ELSE):
            self.tasks += [_ENDIF_ELSE, _ANY]
        elif self.take(op.OP_NOTIF):
            self.tasks.append(_ENDIF_NOTIF)
        elif self.take(op.OP_IF):
            if self.take(op.OP_DUP):
                self.tasks.append(F.WRAP_D)
            elif self.peek()[0] == op.OP_0NOTEQUAL and self.peek(1)[0] == op.OP_SIZE:
                self.at += 2
                self.tasks.append(F.WRAP_J)
            else:
                raise _NoMiniscript
        else:
            raise _NoMiniscript

    def _single(self) -> None:
        """One expression that is neither and_v nor wrapped with a: or s:."""
        code, data = self.peek()
        if code in (op.OP_0, op.OP_1):
            self.at += 1
            self.push(F.JUST_1 if code == op.OP_1 else F.JUST_0)
        elif len(data) in (32, 33):
            self.at += 1
            self.push(F.PK_K, keys=[self._key(self.read_key, data)])
        elif not (self._key_hash() or self._lock() or self._hash_lock() or self._multi() or self._multi_a()):
            self._combined(code)

    def _key(self, read: KeyReader, data: bytes) -> Hashable:
        key = read(data)
        if key is None:
            raise _NoMiniscript
        return key

    def _codes(self, *codes: int | None) -> bool:
        """Whether the next opcodes are these; None stands for any."""
        return self.left >= len(codes) and all(code is None or self.peek(n)[0] == code for n, code in enumerate(codes))

    def _key_hash(self) -> bool:
        if not self._codes(op.OP_VERIFY, op.OP_EQUAL, None, op.OP_HASH160, op.OP_DUP) or len(self.peek(2)[1]) != 20:
            return False
        key = self._key(self.read_hash, self.peek(2)[1])
        self.at += 5
        self.push(F.PK_H, keys=[key])
        return True

    def _lock(self) -> bool:
        code = self.peek()[0]
        if code not in (op.OP_CHECKSEQUENCEVERIFY, op.OP_CHECKLOCKTIMEVERIFY) or self.left < 2:
            return False
        value = _number(self.peek(1))
        if value is None:
            return False
        if not 1 <= value <= 0x7FFFFFFF:
            raise _NoMiniscript
        self.at += 2
        self.push(F.OLDER if code == op.OP_CHECKSEQUENCEVERIFY else F.AFTER, k=value)
        return True

    def _hash_lock(self) -> bool:
        if not self._codes(op.OP_EQUAL, None, None, op.OP_VERIFY, op.OP_EQUAL, None, op.OP_SIZE):
            return False
        found = _HASH_FRAGMENTS.get(self.peek(2)[0])
        data = self.peek(1)[1]
        if _number(self.peek(5)) != 32 or found is None or len(data) != found[1]:
            return False
        self.at += 7
        self.nodes.append(Node(self.tapscript, found[0], data=data))
        return True

    def _multi(self) -> bool:
        if self.peek()[0] != op.OP_CHECKMULTISIG or self.left < 3:
            return False
        total = None if self.tapscript else _number(self.peek(1))
        if total is None or self.left < 3 + total or not 1 <= total <= MAX_MULTI_KEYS:
            raise _NoMiniscript
        keys = []
        for n in range(total):
            data = self.peek(2 + n)[1]
            if len(data) != 33:
                raise _NoMiniscript
            keys.append(self._key(self.read_key, data))
        k = _number(self.peek(2 + total))
        if k is None or not 1 <= k <= total:
            raise _NoMiniscript
        self.at += 3 + total
        self.push(F.MULTI, keys=keys[::-1], k=k)
        return True

    def _multi_a(self) -> bool:
        if self.peek()[0] != op.OP_NUMEQUAL or self.left < 4:
            return False
        k = _number(self.peek(1)) if self.tapscript else None
        if k is None or not 1 <= k <= MAX_MULTI_A_KEYS or self.left < 2 + 2 * k:
            raise _NoMiniscript
        keys: list[Hashable] = []
        ahead, check = 2, op.OP_CHECKSIGADD
        while check != op.OP_CHECKSIG:
            check, data = self.peek(ahead)[0], self.peek(ahead + 1)[1]
            if check not in (op.OP_CHECKSIGADD, op.OP_CHECKSIG) or len(data) != 32 or len(keys) == MAX_MULTI_A_KEYS:
                raise _NoMiniscript
            keys.append(self._key(self.read_key, data))
            ahead += 2
        if len(keys) < k:
            raise _NoMiniscript
        self.at += ahead
        self.push(F.MULTI_A, keys=keys[::-1], k=k)
        return True

    def _combined(self, code: int) -> None:
        """A wrapper or combination, told by its last opcode."""
        if code in _LAST:
            self.at += 1
            self.tasks += _LAST[code]
        elif code == op.OP_EQUAL and self.left >= 3 and (k := _number(self.peek(1))) is not None:
            if k < 1:
                raise _NoMiniscript
            self.at += 2
            self.tasks.append(_Thresh(k, 0))
        else:
            raise _NoMiniscript


# Behind and_b, or_b and wrappers no and_v is looked for: it stands outside of them, where the script is the same.
_LAST: dict[int, list[_Task]] = {
    op.OP_CHECKSIG: [F.WRAP_C, _SINGLE], op.OP_VERIFY: [F.WRAP_V, _SINGLE], op.OP_0NOTEQUAL: [F.WRAP_N, _SINGLE],
    op.OP_ENDIF: [_ENDIF, _ANY], op.OP_BOOLAND: [F.AND_B, _SINGLE, _W], op.OP_BOOLOR: [F.OR_B, _SINGLE, _W],
}  # fmt: skip


def decode_miniscript(script: bytes, tapscript: bool, read_key: KeyReader, read_hash: KeyReader) -> Node | None:
    """The expression that a script stands for, valid as a script of its own; None when it is none.

    ``read_key`` and ``read_hash`` give the node's key for pushed key bytes and a HASH160, or None to give up. Call
    ``check_duplicates`` on the result before asking for its sanity.
    """
    if len(script) > max_script_size(tapscript):
        return None
    try:
        node = _Reader(_tokens(script), tapscript, read_key, read_hash).run()
    except _NoMiniscript:
        return None
    return node if node.is_valid_top_level else None
