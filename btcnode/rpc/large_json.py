"""Large JSON read without holding up others: piece by piece, each of at most 16 kilobytes.

Python's parser reads a text in one go, in which no other thread runs: 0.1 s for 30 MB of short strings. Here it is
given one piece after another. A piece is an item of an array, or a member of an object, that is not large itself, or
many of them at once. Where many end is guessed and told right by the parser: what begins where an item does, and is an
array's text once brackets are put around it, is whole items; whatever follows, a text is read from left to right in
one way only.
"""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import Any

from btcnode.rpc.jsonvalue import MAX_DEPTH, DuplicateKeysDict, decode, decode_prefix

WINDOW = 16_384  # characters of a piece: a tenth of a millisecond, and too few brackets to lie deep in most requests
MIN_WINDOW = 256  # of many items at once; where not even so many can be told, they are read one by one
_BYTES = 1 << 20  # made into text at a time
_SPACE = " \t\n\r"
_SOME_SPACE = r"[ \t\n\r]{0,16384}"
_OF_NUMBER = r"[-+.0-9eE]+"
_OF_STRING = (  # what a string is made of, never the half of an escape or of a pair
    r'(?:[^"\\\x00-\x1f]+'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|\\u(?![dD][89abAB])[0-9a-fA-F]{4}"
    r'|\\["\\/bfnrt])+'
)
_ENDS_BEFORE = {"{": "},", "[": "],", '"': '",'}  # how an item ends that begins so, for the guess


def decode_large(data: bytes) -> Any:
    """The same as ``decode``; raises ValueError. Other threads get their turns meanwhile."""
    reader = Reader(data)
    for _ in reader.steps():
        pass
    return reader.value


def _text(data: bytes) -> str:
    decoder = getincrementaldecoder("utf-8")()
    last = max(0, len(data) - 1) // _BYTES * _BYTES
    view = memoryview(data)
    return "".join([decoder.decode(view[at : at + _BYTES], at == last) for at in range(0, last + 1, _BYTES)])


class _Array:
    """An array under way; ``window`` is how much is guessed at a time, 0: not any more."""

    __slots__ = ("items", "window")
    brackets = "[]"

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.window = WINDOW

    def add(self, value: Any) -> None:
        """The next item."""
        self.items.append(value)

    def add_many(self, values: list[Any]) -> None:
        """The next items."""
        self.items += values

    def made(self) -> list[Any]:
        """The array."""
        return self.items


class _Object:
    """An object under way; ``key`` is that of the value that comes next."""

    __slots__ = ("_members", "_pairs", "key", "window")
    brackets = "{}"

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}
        self._pairs: list[tuple[str, Any]] | None = None  # once a key came twice
        self.key = ""
        self.window = WINDOW

    def add(self, value: Any) -> None:
        """The value of the key."""
        self._add([(self.key, value)])

    def add_many(self, members: dict[str, Any]) -> None:
        """Members with their keys."""
        self._add(list(members.items()))

    def _add(self, pairs: list[tuple[str, Any]]) -> None:
        if self._pairs is None:
            if not any(key in self._members for key, _ in pairs) and len(dict(pairs)) == len(pairs):
                self._members.update(pairs)
                return
            self._pairs = list(self._members.items())
        self._pairs += pairs

    def made(self) -> dict[str, Any]:
        """The object."""
        return self._members if self._pairs is None else DuplicateKeysDict(self._pairs)


class Reader:
    """Reads one text; what lies open around the place where it is stands in ``_open``, not on Python's stack."""

    def __init__(self, data: bytes) -> None:
        """Nothing is read yet; raises ValueError for what is no UTF-8."""
        self.value: Any = None  # once all is read
        self._text = _text(data)
        self._open: list[_Array | _Object] = []

    def steps(self) -> Iterator[None]:
        """Read it, with a pause after each piece; raises ValueError."""
        at = self._skip(0)
        char = self._text[at : at + 1]
        if char in ("[", "{") and len(self._text) > WINDOW:  # all of it belongs to this, or it is none
            at = self._enter(at, char)
        while at >= 0:
            yield
            if self._open:  # an item or a member begins: perhaps many are read at once
                into = self._open[-1]
                end = self._many(into, at) if into.window else -1
                if end >= 0:
                    at = self._skip(end + 1)
                    continue
                if isinstance(into, _Object):
                    at = self._key(into, at)
            at = self._read_value(at)

    def _skip(self, at: int) -> int:
        """Where what is not white space goes on."""
        text = self._text
        while text[at : at + 1] in _SPACE:
            found = re.compile(_SOME_SPACE).match(text, at)
            end = found.end() if found else at
            if end == at:
                break
            at = end
        return at

    def _read_value(self, at: int) -> int:
        """Read the value at ``at``, or go into it if it is large; where what comes next begins, -1 at the end."""
        char = self._text[at : at + 1]
        if char == '"':
            value, end = self._string(at)
        elif char and char in "[{":
            try:
                value, end = decode_prefix(self._text[at : at + WINDOW], MAX_DEPTH - len(self._open))
                end += at
            except ValueError:  # large, or none: who looks inside will see
                return self._enter(at, char)
        else:
            value, end = self._plain(at)
        return self._after(value, end)

    def _plain(self, at: int) -> tuple[Any, int]:
        """The number, or the name of a value, at ``at``, and where it ends."""
        value, end = decode_prefix(self._text[at : at + WINDOW])
        if end < WINDOW - len("e+"):
            return value, at + end
        found = re.compile(_OF_NUMBER).match(self._text, at)  # what was cut off may belong to it
        return (value, at + end) if found is None else (decode(found[0]), found.end())

    def _string(self, at: int) -> tuple[str, int]:
        """The string whose opening quote is at ``at``, and where it ends."""
        text = self._text
        end = text.find('"', at + 1, at + WINDOW)
        if end >= 0 and text.find("\\", at + 1, end) < 0:
            return decode(text[at : end + 1]), end + 1
        parts: list[str] = []
        at += 1
        while text[at : at + 1] != '"':
            found = re.compile(_OF_STRING).match(text, at, at + WINDOW)
            if found is None:
                raise ValueError("no string")  # also a half of a pair
            parts.append(decode(f'"{found[0]}"'))
            at = found.end()
        return "".join(parts), at + 1

    def _enter(self, at: int, char: str) -> int:
        """Go into a large array or object."""
        if len(self._open) >= MAX_DEPTH:
            raise ValueError("nested too deeply")
        opened = _Array() if char == "[" else _Object()
        self._open.append(opened)
        at = self._skip(at + 1)
        if self._text[at : at + 1] == opened.brackets[1]:
            self._open.pop()
            return self._after(opened.made(), at + 1)
        return at

    def _key(self, into: _Object, at: int) -> int:
        """Read the key of the member at ``at``; where its value begins."""
        if self._text[at : at + 1] != '"':
            raise ValueError("no key")
        into.key, at = self._string(at)
        at = self._skip(at)
        if self._text[at : at + 1] != ":":
            raise ValueError("no colon")
        return self._skip(at + 1)

    def _many(self, into: _Array | _Object, at: int) -> int:
        """Read many items from ``at`` on; the comma behind them, -1 when it was none, or not told right."""
        text, limit = self._text, at + into.window
        if isinstance(into, _Array):
            mark = _ENDS_BEFORE.get(text[at : at + 1], ",")
            end = text.rfind(mark, at, limit) + len(mark) - 1
        else:
            end = max(text.rfind(',"', at, limit), text.rfind(', "', at, limit))
        if end > at:
            try:
                value = decode(f"{into.brackets[0]}{text[at:end]}{into.brackets[1]}", MAX_DEPTH - len(self._open) + 1)
            except ValueError:
                pass
            else:
                into.add_many(value)
                into.window = min(WINDOW, into.window * 2)
                return end
        into.window = into.window // 2 if into.window > MIN_WINDOW else 0
        return -1

    def _after(self, value: Any, at: int) -> int:
        """A value ended at ``at``: what it belongs to gets it; where the next item or member begins, -1 at the end."""
        while self._open:
            into = self._open[-1]
            into.add(value)
            at = self._skip(at)
            char = self._text[at : at + 1]
            if char == ",":
                return self._skip(at + 1)
            if char != into.brackets[1]:
                raise ValueError("neither a comma nor the end")
            self._open.pop()
            value, at = into.made(), at + 1
        if self._skip(at) != len(self._text):
            raise ValueError("more than one value")
        self.value = value
        return -1
