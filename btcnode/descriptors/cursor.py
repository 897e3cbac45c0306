"""Reading nested expressions: a text, a place in it and where it ends."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+", re.ASCII)
_STOP = re.compile(r"[(){},]")
WHITE_SPACE = " \f\n\r\t\v"


def parse_number(text: str, limit: int) -> int | None:
    """A number of decimal digits below ``limit``; None for anything else (signs and spaces included)."""
    if not _DIGITS.fullmatch(text) or len(text.lstrip("0")) > 20:
        return None
    value = int(text)
    return value if value < limit else None


def is_hex(text: str) -> bool:
    """At least one pair of hexadecimal digits, and nothing but pairs."""
    return _HEX.fullmatch(text) is not None


class Cursor:
    """What is left of an expression: ``text[pos:end]``. Taking from it moves ``pos``, nothing is copied."""

    __slots__ = ("end", "pos", "text")

    def __init__(self, text: str, pos: int = 0, end: int | None = None) -> None:
        self.text = text
        self.pos = pos
        self.end = len(text) if end is None else end

    def __bool__(self) -> bool:
        return self.pos < self.end

    @property
    def rest(self) -> str:
        """All that is left."""
        return self.text[self.pos : self.end]

    @property
    def first(self) -> str:
        """The next character, empty at the end."""
        return self.text[self.pos] if self.pos < self.end else ""

    def at(self, prefix: str) -> bool:
        """Whether the rest begins with ``prefix``."""
        return self.text.startswith(prefix, self.pos, self.end)

    def take(self, prefix: str) -> bool:
        """Skip ``prefix`` if the rest begins with it."""
        if not self.at(prefix):
            return False
        self.pos += len(prefix)
        return True

    def enter(self, name: str) -> bool:
        """If the rest is ``name(...)``, narrow to what stands in the parentheses."""
        size = len(name)
        if self.end - self.pos < size + 2 or not self.at(name + "(") or self.text[self.end - 1] != ")":
            return False
        self.pos += size + 1
        self.end -= 1
        return True

    def expression(self) -> Cursor:
        """The next expression, up to a comma or closing bracket outside of all it has opened itself."""
        level, at, text = 0, self.pos, self.text
        while (found := _STOP.search(text, at, self.end)) is not None:
            at, char = found.start(), found.group()
            if char in "({":
                level += 1
            elif level:
                level -= char != ","
            else:
                break
            at += 1
        else:
            at = self.end
        result = Cursor(text, self.pos, at)
        self.pos = at
        return result

    def find(self, char: str) -> int:
        """How far away ``char`` is within the current parentheses, -1 when it is not there."""
        at, stop = self.text.find(char, self.pos, self.end), self.text.find(")", self.pos, self.end)
        if at < 0 or (stop >= 0 and stop < at):
            return -1
        return at - self.pos
