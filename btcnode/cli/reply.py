"""Replies of a server that may say anything: what is asked of them that they do not have is one line for the user."""

from __future__ import annotations

from collections.abc import Iterator
from math import isinf

from btcnode.rpc.jsonvalue import type_name, value_text

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import Any

INT_LIMIT = 2**31  # whole numbers lie below it, and not below its negative
LONG_LIMIT = 2**63


class ReplyError(Exception):
    """A reply of another form than the client asked for, in bitcoin-cli's words."""


class Reply:
    """A JSON value with its numbers as they were written. What is not there is null, whatever it is looked for in."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getitem__(self, key: str) -> Reply:
        return Reply(self.value.get(key) if isinstance(self.value, dict) else None)

    def __bool__(self) -> bool:
        """Whether it is not null."""
        return self.value is not None

    def __iter__(self) -> Iterator[Reply]:
        """Items of an array, values of an object; raises ReplyError for anything else."""
        if isinstance(self.value, dict):
            return (Reply(value) for _, value in self.value.items())
        if not isinstance(self.value, list):
            raise ReplyError("JSON value is not an object or array as expected")
        return map(Reply, self.value)

    def members(self) -> list[tuple[str, Reply]]:
        """Keys and values; raises ReplyError where it is no object."""
        self._check("object")
        return [(key, Reply(value)) for key, value in self.value.items()]

    def size(self) -> int:
        """Items of an array or object, 0 of anything else."""
        return len(self.value) if isinstance(self.value, list | dict) else 0

    def shown(self) -> str:
        """The text of a string or a number as it was written; nothing of anything else but true."""
        return value_text(self.value)

    def text(self) -> str:
        """A string; raises ReplyError."""
        self._check("string")
        return str(self.value)

    def flag(self) -> bool:
        """A boolean; raises ReplyError."""
        self._check("bool")
        return bool(self.value)

    def number(self, limit: int = INT_LIMIT) -> int:
        """A whole number below ``limit``, and not below its negative; raises ReplyError."""
        self._check("number")
        digits = self.shown()
        if not digits.removeprefix("-").isdigit() or len(digits) > 20 or not -limit <= int(digits) < limit:
            raise ReplyError("JSON integer out of range")
        return int(digits)

    def real(self) -> float:
        """A number; raises ReplyError."""
        self._check("number")
        found = float(self.shown())
        if isinf(found):
            raise ReplyError("JSON double out of range")
        return found

    def batch(self) -> dict[int, Reply]:
        """The members of a batch by their ids; raises ReplyError."""
        if not isinstance(self.value, list):
            raise ReplyError("Batch must be an array")
        found: dict[int, Reply] = {}
        for member in self:
            if not isinstance(member.value, dict):
                raise ReplyError("Batch member must be an object")
            number = member["id"].number()
            if not 0 <= number < len(self.value):
                raise ReplyError("Batch member id is larger than batch size")
            found[number] = member
        return found

    def checked(self) -> Reply:
        """Itself where it is an object; raises ReplyError."""
        self._check("object")
        return self

    def _check(self, expected: str) -> None:
        kind = type_name(self.value)
        if kind != expected:
            raise ReplyError(f"JSON value of type {kind} is not of expected type {expected}")
