"""Reading miniscript from text."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from btcnode.descriptors.cursor import Cursor, is_hex, parse_number
from btcnode.descriptors.miniscript import Node, max_script_size, number_script
from btcnode.descriptors.miniscript_types import Fragment, has

MAX_MULTI_KEYS = 20
MAX_MULTI_A_KEYS = 999
MAX_LOCK = 0x80000000

F = Fragment
_LETTERS = {"a": 2, "s": 1, "c": 1, "d": 3, "j": 4, "n": 1, "v": 0, "u": 4, "t": 1, "l": 4}  # bytes they cost at least
_WRAP = {f.value: f for f in (F.WRAP_A, F.WRAP_S, F.WRAP_C, F.WRAP_D, F.WRAP_J, F.WRAP_N, F.WRAP_V)}
_KEYED = {"pk": (F.PK_K, 34), "pkh": (F.PK_H, 24), "pk_k": (F.PK_K, 33), "pk_h": (F.PK_H, 23)}
_HASHED = {
    "sha256": (F.SHA256, 32), "ripemd160": (F.RIPEMD160, 20), "hash256": (F.HASH256, 32), "hash160": (F.HASH160, 20),
}  # fmt: skip
_JOINED = {
    "and_n": (F.ANDOR, 5), "and_b": (F.AND_B, 2), "and_v": (F.AND_V, 1), "or_b": (F.OR_B, 2), "or_c": (F.OR_C, 3),
    "or_d": (F.OR_D, 4), "or_i": (F.OR_I, 4), "andor": (F.ANDOR, 5),
}  # fmt: skip


class _NoMiniscript(Exception):
    """The text is no miniscript; it never leaves this module."""


class _Join(NamedTuple):
    """Take ``arity`` expressions off the results and make one of them; and_n brings its own third."""

    fragment: Fragment
    arity: int
    and_n: bool = False


class _Thresh(NamedTuple):
    """Behind the ``n``-th expression of a thresh()."""

    k: int
    n: int


_Task = str | _Join | _Thresh
_EXPRESSION = "expression"


class _Reader:
    """The state of reading one miniscript: what is still expected (last first) and the nodes so far.

    ``budget`` counts script bytes as they become certain, so that what cannot fit is given up early.
    """

    def __init__(self, cursor: Cursor, tapscript: bool, read_key: Callable[[str], Hashable]) -> None:
        self.cursor = cursor
        self.tapscript = tapscript
        self.read_key = read_key
        self.nodes: list[Node] = []
        self.tasks: list[_Task] = [_EXPRESSION]
        self.budget = max_script_size(tapscript) - 1

    def spend(self, size: int) -> None:
        self.budget -= size

    def node(self, fragment: Fragment, *subs: Node) -> Node:
        return Node(self.tapscript, fragment, subs)

    def run(self) -> Node:
        while self.tasks:
            if self.budget < 0:
                raise _NoMiniscript
            task = self.tasks.pop()
            if isinstance(task, _Join):
                self._join(task)
            elif isinstance(task, _Thresh):
                self._thresh(task)
            elif task == _EXPRESSION:
                self._wrappers()
                self._expression()
            elif len(task) > 1:  # a wrapper's letter, marked
                self._wrap(task[1])
            elif not self.cursor.take(task):
                raise _NoMiniscript
        if self.cursor:
            raise _NoMiniscript
        return self.nodes[0]

    def _wrappers(self) -> None:
        cursor = self.cursor
        text, at = cursor.text, cursor.pos + 1
        while at < cursor.end and "a" <= text[at] <= "z":
            at += 1
        if at >= cursor.end or text[at] != ":":
            return
        last = ""
        for letter in text[cursor.pos : at]:
            # v: twice is never valid, and costs nothing that would end it
            if self.budget < 0 or letter not in _LETTERS or letter == last == "v":
                raise _NoMiniscript
            self.spend(_LETTERS[letter])
            self.tasks.append(":" + letter)
            last = letter
        cursor.pos = at + 1

    def _wrap(self, letter: str) -> None:
        inner = self.nodes.pop()
        if letter == "u":
            made = self.node(F.OR_I, inner, self.node(F.JUST_0))
        elif letter == "l":
            made = self.node(F.OR_I, self.node(F.JUST_0), inner)
        elif letter == "t":
            made = self.node(F.AND_V, inner, self.node(F.JUST_1))
        else:
            if letter == "v":
                self.spend(int(has(inner.kind, "x")))
            made = self.node(_WRAP[letter], inner)
        self.nodes.append(made)

    def _expression(self) -> None:
        cursor = self.cursor
        if cursor.take("0"):
            self.nodes.append(self.node(F.JUST_0))
            return
        if cursor.take("1"):
            self.nodes.append(self.node(F.JUST_1))
            return
        paren = cursor.find("(") if cursor else -1
        name = cursor.text[cursor.pos : cursor.pos + paren] if 0 < paren <= 9 else ""
        if name in _KEYED:
            self._keyed(name)
        elif name in _HASHED:
            fragment, size = _HASHED[name]
            text = self._inside(name)
            if not is_hex(text) or len(text) != 2 * size:
                raise _NoMiniscript
            self.nodes.append(Node(self.tapscript, fragment, data=bytes.fromhex(text)))
            self.spend(size + 6)
        elif name in ("after", "older"):
            value = parse_number(self._inside(name), MAX_LOCK)
            if not value:
                raise _NoMiniscript
            self.nodes.append(Node(self.tapscript, F(name), k=value))
            self.spend(len(number_script(value)))
        elif name in ("multi", "multi_a"):
            self._multi(name)
        elif name == "thresh":
            cursor.take("thresh(")
            value = self._threshold()
            if value < 1:
                raise _NoMiniscript
            self.tasks += [_Thresh(value, 1), _EXPRESSION]
            self.spend(1 + len(number_script(value)))
        elif name in _JOINED:
            cursor.take(name + "(")
            fragment, size = _JOINED[name]
            count = 3 if name == "andor" else 2
            self.tasks += [_Join(fragment, count, name == "and_n"), ")"]
            self.tasks += [_EXPRESSION, ","] * (count - 1) + [_EXPRESSION]
            self.spend(size)
        else:
            raise _NoMiniscript

    def _inside(self, name: str) -> str:
        """What stands in the parentheses of ``name(...)``, which must be the whole next expression."""
        inner = self.cursor.expression()
        if not inner.enter(name):
            raise _NoMiniscript
        return inner.rest

    def _keyed(self, name: str) -> None:
        fragment, size = _KEYED[name]
        key = self.read_key(self._inside(name))
        node = Node(self.tapscript, fragment, keys=(key,))
        self.nodes.append(node if name.startswith("pk_") else self.node(F.WRAP_C, node))
        self.spend(size - (self.tapscript and fragment is F.PK_K))

    def _threshold(self) -> int:
        """The number before the next comma: any of 64 bits."""
        cursor = self.cursor
        comma = cursor.find(",")
        text = cursor.text[cursor.pos : cursor.pos + max(comma, 0)]
        digits = text.removeprefix("-")
        value = parse_number(digits, (1 << 63) + (digits != text))
        if value is None:
            raise _NoMiniscript
        cursor.pos += comma + 1
        return value if digits == text else -value

    def _multi(self, name: str) -> None:
        tapscript = name == "multi_a"
        if tapscript != self.tapscript:
            raise _NoMiniscript
        cursor = self.cursor
        cursor.take(name + "(")
        k = self._threshold()
        keys = []
        more = True
        while more:
            comma = cursor.find(",")
            more = comma != -1
            size = comma if more else cursor.find(")")
            if size < 1:
                raise _NoMiniscript
            keys.append(self.read_key(cursor.text[cursor.pos : cursor.pos + size]))
            cursor.pos += size + 1
        # only now, as in Core: a fault of a key is what is told where both are wrong
        if len(keys) > (MAX_MULTI_A_KEYS if tapscript else MAX_MULTI_KEYS) or not 1 <= k <= len(keys):
            raise _NoMiniscript
        self.nodes.append(Node(self.tapscript, F(name), keys=keys, k=k))
        counts = len(number_script(k)) + (0 if tapscript else len(number_script(len(keys))))
        self.spend(34 * len(keys) + counts)

    def _thresh(self, task: _Thresh) -> None:
        cursor = self.cursor
        if cursor.take(","):
            self.tasks += [_Thresh(task.k, task.n + 1), _EXPRESSION]
            self.spend(2)
        elif cursor.take(")") and task.k <= task.n:
            subs = self.nodes[-task.n :]
            del self.nodes[-task.n :]
            self.nodes.append(Node(self.tapscript, F.THRESH, subs, k=task.k))
        else:
            raise _NoMiniscript

    def _join(self, task: _Join) -> None:
        subs = self.nodes[-task.arity :]
        del self.nodes[-task.arity :]
        if task.and_n:
            subs.append(self.node(F.JUST_0))
        self.nodes.append(self.node(task.fragment, *subs))


def parse_miniscript(text: str, tapscript: bool, read_key: Callable[[str], Hashable]) -> Node | None:
    """The expression in ``text``; None when it is none. It may be badly typed or insane: ask the node.

    ``read_key`` turns key expressions into keys of the nodes; what it raises is passed on. Call ``check_duplicates``
    on the result before asking for its sanity.
    """
    try:
        return _Reader(Cursor(text), tapscript, read_key).run()
    except _NoMiniscript:
        return None
