"""Miniscript (BIP379): expressions, their properties and limits, their script and text.

A node computes everything about itself from its parts when it is made. Walks over a tree keep their own stack, since
an expression may be nested as deep as its script is long.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

from btcnode.descriptors.miniscript_limits import Operations, StackUse, operations, stack_use
from btcnode.descriptors.miniscript_types import HASHES, WRAPPERS, Fragment, has, props, type_of
from btcnode.script.opcodes import (
    MAX_OPS_PER_SCRIPT,
    MAX_STACK_SIZE,
    OP_0,
    OP_1,
    OP_ADD,
    OP_BOOLAND,
    OP_BOOLOR,
    OP_CHECKLOCKTIMEVERIFY,
    OP_CHECKMULTISIG,
    OP_CHECKSEQUENCEVERIFY,
    OP_CHECKSIG,
    OP_CHECKSIGADD,
    OP_DUP,
    OP_ELSE,
    OP_ENDIF,
    OP_EQUAL,
    OP_EQUALVERIFY,
    OP_FROMALTSTACK,
    OP_HASH160,
    OP_HASH256,
    OP_IF,
    OP_IFDUP,
    OP_NOTIF,
    OP_NUMEQUAL,
    OP_RIPEMD160,
    OP_SHA256,
    OP_SIZE,
    OP_SWAP,
    OP_TOALTSTACK,
    OP_VERIFY,
)
from btcnode.script.opcodes import OP_0NOTEQUAL as OP_NONZERO
from btcnode.script.scriptnum import encode_number
from btcnode.script.scriptparse import push_data

MAX_WSH_SCRIPT = 3600  # policy: MAX_STANDARD_P2WSH_SCRIPT_SIZE
MAX_WSH_STACK = 100  # policy: MAX_STANDARD_P2WSH_STACK_ITEMS
MAX_STANDARD_WEIGHT = 400_000
_BODY_WEIGHT = (8 + 1 + 41 + 1 + 43) * 4 + 2  # a transaction of one input and one P2WSH output, without witness
_TAPSCRIPT_WITNESS = 3 + 66 * MAX_STACK_SIZE + 3 + 33 + 32 * 128  # 1,000 signatures and the longest control block
MAX_TAPSCRIPT = MAX_STANDARD_WEIGHT - _BODY_WEIGHT - _TAPSCRIPT_WITNESS - 5

F = Fragment
T = TypeVar("T")
_KEYLESS: frozenset[Hashable] = frozenset()
_HASH_OPS = {F.SHA256: OP_SHA256, F.RIPEMD160: OP_RIPEMD160, F.HASH256: OP_HASH256, F.HASH160: OP_HASH160}
_EXTRA_BYTES = {
    F.WRAP_S: 1, F.WRAP_C: 1, F.WRAP_N: 1, F.AND_B: 1, F.OR_B: 1, F.WRAP_A: 2, F.OR_C: 2, F.WRAP_D: 3, F.OR_D: 3,
    F.OR_I: 3, F.ANDOR: 3, F.WRAP_J: 4, F.AND_V: 0, F.JUST_0: 1, F.JUST_1: 1, F.PK_H: 24, F.SHA256: 39, F.HASH256: 39,
    F.RIPEMD160: 27, F.HASH160: 27,
}  # fmt: skip


def max_script_size(tapscript: bool) -> int:
    """Bytes that a miniscript may have to be standard, and spendable in a standard transaction."""
    return MAX_TAPSCRIPT if tapscript else MAX_WSH_SCRIPT


def number_script(value: int) -> bytes:
    """The shortest push of a number (0 and up)."""
    if value == 0:
        return bytes((OP_0,))
    return bytes((OP_1 + value - 1,)) if value <= 16 else push_data(encode_number(value))


class Node:
    """One expression; ``keys`` are whatever the reader made of key expressions, ``kind`` its type (0: badly typed).

    ``duplicates`` is None until ``check_duplicates`` has been called on the root.
    """

    __slots__ = (
        "data", "duplicates", "fragment", "k", "keys", "kind", "ops", "script_size", "stack", "subs", "tapscript",
    )  # fmt: skip

    def __init__(
        self,
        tapscript: bool,
        fragment: Fragment,
        subs: Sequence[Node] = (),
        *,
        keys: Sequence[Hashable] = (),
        data: bytes = b"",
        k: int = 0,
    ) -> None:
        self.tapscript = tapscript
        self.fragment = fragment
        self.subs = tuple(subs)
        self.keys = tuple(keys)
        self.data = data
        self.k = k
        kinds = [sub.kind for sub in subs]
        self.kind: int = type_of(fragment, kinds, k, tapscript)
        self.script_size = self._script_size()
        self.ops: Operations = operations(fragment, [sub.ops for sub in subs], kinds, len(keys), k)
        self.stack: StackUse = stack_use(fragment, [sub.stack for sub in subs], len(keys), k)
        self.duplicates: bool | None = None

    def _script_size(self) -> int:
        fragment, inner, keys = self.fragment, sum(sub.script_size for sub in self.subs), len(self.keys)
        if fragment in _EXTRA_BYTES:
            return inner + _EXTRA_BYTES[fragment]
        if fragment is F.PK_K:
            return 33 if self.tapscript else 34
        number = len(number_script(self.k))
        if fragment in (F.OLDER, F.AFTER):
            return 1 + number
        if fragment is F.MULTI:
            return 1 + len(number_script(keys)) + number + 34 * keys
        if fragment is F.MULTI_A:
            return 34 * keys + number + 1
        if fragment is F.WRAP_V:
            return inner + has(self.subs[0].kind, "x")
        return inner + len(self.subs) + number  # thresh

    # -- limits and sanity, named as in Core

    @property
    def max_ops(self) -> int | None:
        """Opcodes that count towards the limit when it is satisfied; None when it never can be."""
        return None if self.ops.sat is None else self.ops.static + self.ops.sat

    @property
    def stack_size(self) -> int | None:
        """Witness elements that satisfying takes at most; None when it never can be."""
        return None if self.stack.sat is None else self.stack.sat[0] + self._leaves_one

    @property
    def execution_stack(self) -> int | None:
        """Elements on the stack at most while it runs."""
        return None if self.stack.sat is None else self.stack.sat[1] + self._leaves_one

    @property
    def _leaves_one(self) -> int:
        return 1 if self.kind & props("BKW") else 0

    @property
    def is_valid(self) -> bool:
        """Well typed, and not too long."""
        return self.kind != 0 and self.script_size <= max_script_size(self.tapscript)

    @property
    def is_valid_top_level(self) -> bool:
        """Valid as a script of its own."""
        return self.is_valid and has(self.kind, "B")

    @property
    def is_non_malleable(self) -> bool:
        """Whether it can always be satisfied so that nobody else can change the witness."""
        return has(self.kind, "m")

    @property
    def needs_signature(self) -> bool:
        """Whether every satisfaction has a signature."""
        return has(self.kind, "s")

    @property
    def has_no_lock_mix(self) -> bool:
        """Whether no path asks for a time and a height of the same kind."""
        return has(self.kind, "k")

    @property
    def within_limits(self) -> bool:
        """Whether whatever satisfies it is within the limits on opcodes, stack and script."""
        if not self.is_valid:
            return False
        if self.tapscript:
            return (self.execution_stack or 0) <= MAX_STACK_SIZE
        return (self.max_ops or 0) <= MAX_OPS_PER_SCRIPT and (self.stack_size or 0) <= MAX_WSH_STACK

    @property
    def is_sane_part(self) -> bool:
        """Whether the script means what it seems to say."""
        return self.within_limits and self.is_non_malleable and self.has_no_lock_mix and self.duplicates is False

    @property
    def is_sane(self) -> bool:
        """Whether it is safe as a script of its own."""
        return self.is_valid_top_level and self.is_sane_part and self.needs_signature

    def check_duplicates(self, identity: Callable[[Any], Hashable]) -> None:
        """Find keys that occur twice: ``identity`` tells of a key which one it is."""

        def collect(node: Node, found: Sequence[frozenset[Hashable] | None]) -> frozenset[Hashable] | None:
            own = frozenset(map(identity, node.keys)) if node.keys else _KEYLESS
            total = len(node.keys)
            for part in found:
                if part is None:
                    node.duplicates = True
                    return None
                total += len(part)
                own |= part
            node.duplicates = len(own) != total
            return None if node.duplicates else own

        self.fold(collect)

    def find_insane(self) -> Node | None:
        """The first part without insane parts that is insane itself."""
        for node in self.walk():
            if not node.is_sane_part:
                return node
        return None

    # -- walks

    def walk(self) -> Iterator[Node]:
        """All nodes, parts before the whole, in order."""
        todo: list[tuple[Node, bool]] = [(self, False)]
        while todo:
            node, done = todo.pop()
            if done or not node.subs:
                yield node
            else:
                todo.append((node, True))
                todo += [(sub, False) for sub in reversed(node.subs)]

    def fold(self, combine: Callable[[Node, Sequence[T]], T]) -> T:
        """The result for the root of ``combine(node, results of its parts)``."""
        results: list[T] = []
        for node in self.walk():
            count = len(node.subs)
            parts = results[len(results) - count :]
            if count:
                del results[len(results) - count :]
            results.append(combine(node, parts))
        return results[0]

    # -- script and text

    def script(self, key_bytes: Callable[[Any], bytes], key_hash: Callable[[Any], bytes]) -> bytes:
        """The script; the callables give a key as pushed (33 or 32 bytes), and its HASH160."""

        def build(node: Node, parts: Sequence[bytes]) -> bytes:
            return _node_script(node, parts, key_bytes, key_hash)

        return self.fold(build)

    def text(self, key_text: Callable[[Any], str]) -> str:
        """The expression in its shortest form (``pk`` for ``c:pk_k``, ``t:`` and so on)."""

        def write(node: Node, parts: Sequence[str]) -> str:
            return _node_text(node, parts, key_text)

        return self.fold(write)[1:]


_VERIFY_FORM = {OP_EQUAL: 0x88, OP_NUMEQUAL: 0x9D, OP_CHECKSIG: 0xAD, OP_CHECKMULTISIG: 0xAF}


def _node_script(
    node: Node, parts: Sequence[bytes], key_bytes: Callable[[Any], bytes], key_hash: Callable[[Any], bytes]
) -> bytes:
    """The script of a node from those of its parts."""
    f = node.fragment
    if f is F.PK_K:
        return push_data(key_bytes(node.keys[0]))
    if f is F.PK_H:
        return bytes((OP_DUP, OP_HASH160)) + push_data(key_hash(node.keys[0])) + bytes((OP_EQUALVERIFY,))
    if f is F.OLDER:
        return number_script(node.k) + bytes((OP_CHECKSEQUENCEVERIFY,))
    if f is F.AFTER:
        return number_script(node.k) + bytes((OP_CHECKLOCKTIMEVERIFY,))
    if f in _HASH_OPS:
        head = bytes((OP_SIZE, 1, 32, OP_EQUALVERIFY, _HASH_OPS[f]))
        return head + push_data(node.data) + bytes((OP_EQUAL,))
    if f is F.MULTI:
        keys = b"".join(push_data(key_bytes(key)) for key in node.keys)
        return number_script(node.k) + keys + number_script(len(node.keys)) + bytes((OP_CHECKMULTISIG,))
    if f is F.MULTI_A:
        first, *others = (push_data(key_bytes(key)) for key in node.keys)
        checks = b"".join(key + bytes((OP_CHECKSIGADD,)) for key in others)
        return first + bytes((OP_CHECKSIG,)) + checks + number_script(node.k) + bytes((OP_NUMEQUAL,))
    if f is F.THRESH:
        sums = b"".join(part + bytes((OP_ADD,)) for part in parts[1:])
        return parts[0] + sums + number_script(node.k) + bytes((OP_EQUAL,))
    if f is F.WRAP_V and not has(node.subs[0].kind, "x"):  # the last opcode has a form that verifies
        return parts[0][:-1] + bytes((_VERIFY_FORM[parts[0][-1]],))
    return b"".join(parts[piece] if isinstance(piece, int) else piece for piece in _FRAME[f])


_FRAME: dict[Fragment, tuple[int | bytes, ...]] = {
    F.JUST_0: (bytes((OP_0,)),),
    F.JUST_1: (bytes((OP_1,)),),
    F.WRAP_A: (bytes((OP_TOALTSTACK,)), 0, bytes((OP_FROMALTSTACK,))),
    F.WRAP_S: (bytes((OP_SWAP,)), 0),
    F.WRAP_C: (0, bytes((OP_CHECKSIG,))),
    F.WRAP_D: (bytes((OP_DUP, OP_IF)), 0, bytes((OP_ENDIF,))),
    F.WRAP_V: (0, bytes((OP_VERIFY,))),
    F.WRAP_J: (bytes((OP_SIZE, OP_NONZERO, OP_IF)), 0, bytes((OP_ENDIF,))),
    F.WRAP_N: (0, bytes((OP_NONZERO,))),
    F.AND_V: (0, 1),
    F.AND_B: (0, 1, bytes((OP_BOOLAND,))),
    F.OR_B: (0, 1, bytes((OP_BOOLOR,))),
    F.OR_D: (0, bytes((OP_IFDUP, OP_NOTIF)), 1, bytes((OP_ENDIF,))),
    F.OR_C: (0, bytes((OP_NOTIF,)), 1, bytes((OP_ENDIF,))),
    F.OR_I: (bytes((OP_IF,)), 0, bytes((OP_ELSE,)), 1, bytes((OP_ENDIF,))),
    F.ANDOR: (0, bytes((OP_NOTIF,)), 2, bytes((OP_ELSE,)), 1, bytes((OP_ENDIF,))),
}
"""Opcodes around the scripts of the parts, which stand here by number."""


def _node_text(node: Node, parts: Sequence[str], key_text: Callable[[Any], str]) -> str:
    """The text of a node behind a mark: NUL for wrappers, a colon for all others (which a wrapper keeps)."""
    f, subs = node.fragment, node.subs
    if f is F.WRAP_C and subs[0].fragment in (F.PK_K, F.PK_H):
        name = "pk" if subs[0].fragment is F.PK_K else "pkh"
        return f":{name}({key_text(subs[0].keys[0])})"
    if f in WRAPPERS:
        return f"\0{f.value}{_wrapped(parts[0])}"
    if f is F.AND_V and subs[1].fragment is F.JUST_1:
        return f"\0t{_wrapped(parts[0])}"
    if f is F.OR_I and subs[0].fragment is F.JUST_0:
        return f"\0l{_wrapped(parts[1])}"
    if f is F.OR_I and subs[1].fragment is F.JUST_0:
        return f"\0u{_wrapped(parts[0])}"
    if f in (F.JUST_0, F.JUST_1):
        return f":{f.value}"
    if f in (F.OLDER, F.AFTER):
        return f":{f.value}({node.k})"
    if f in HASHES:
        return f":{f.value}({node.data.hex()})"
    inside = [part[1:] for part in parts]
    name = str(f.value)
    if f is F.ANDOR and subs[2].fragment is F.JUST_0:
        name, inside = "and_n", inside[:2]
    head = [str(node.k)] if f in (F.MULTI, F.MULTI_A, F.THRESH) else []
    return f":{name}({','.join([*head, *map(key_text, node.keys), *inside])})"


def _wrapped(part: str) -> str:
    """What follows the letter of a wrapper: other letters directly, anything else after a colon."""
    return part[1:] if part[0] == "\0" else part
