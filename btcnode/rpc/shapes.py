"""Arguments and results of RPC methods as data: checks, help and all references are made from these.

``declare.py`` makes them from the signature of a method's handler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from btcnode.record import record
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Given, Items, Lenient, Members, Strict, Whole
from btcnode.rpc.jsonvalue import Number, type_name


class Kind(Enum):
    """JSON types, finer than JSON: a name of its own, the label in help, Core's type name (None: any), a sample."""

    STR = ("str", "string", "string", '"str"')
    HEX = ("hex", "string", "string", '"hex"')
    NUM = ("num", "numeric", "number", "n")
    INT = ("int", "numeric", "number", "n")
    REAL = ("real", "numeric", "number", "n")
    TIME = ("time", "numeric", "number", "xxx")
    AMOUNT = ("amount", "numeric", "number", "n")
    RANGE = ("range", "numeric or array", None, "n or [n,n]")
    BOOL = ("bool", "boolean", "bool", "true|false")
    OBJ = ("obj", "json object", "object", "{")
    DYN = ("dyn", "json object", "object", "{")
    ARR = ("arr", "json array", "array", "[")
    NONE = ("none", "json null", "null", "null")
    ANY = ("any", "any", None, "...")

    def __init__(self, _name: str, label: str, json_type: str | None, sample: str) -> None:
        self.label = label
        self.json_type = json_type
        self.sample = sample


TEXT_KINDS = (Kind.STR, Kind.HEX)


class _Required:
    """Marks an argument without default."""


REQUIRED = _Required()


MINUS_ZERO = Number("-0")
"""A whole number that Core takes and echoes, and that an int cannot say."""


class ValueFault(RpcError):
    """What Core's JSON library says of a value: it ends a call as a whole, also where other errors are results."""


def wrong_type(value: Any, expected: str) -> RpcError:
    """Core's error for a JSON value of another type."""
    return ValueFault(RpcCode.TYPE_ERROR, f"JSON value of type {type_name(value)} is not of expected type {expected}")


def whole_number(value: Any, bits: int = 32) -> int:
    """A JSON number as an integer of ``bits`` bits (negative: unsigned); raises RpcError as Core does."""
    if type_name(value) != "number":
        raise wrong_type(value, "number")
    low, high = (0, 1 << -bits) if bits < 0 else (-1 << bits - 1, 1 << bits - 1)
    if bits > 0 and value == MINUS_ZERO:
        return 0
    if not isinstance(value, int) or not low <= value < high:
        raise ValueFault(RpcCode.MISC_ERROR, "JSON integer out of range")
    return value


@record
class Arg:
    """An argument, an item of one that is an array, or a member of one that is an object.

    ``name`` may carry aliases ("verbosity|verbose"). ``default`` is what the method receives when it is left out or
    null; ``hint`` describes that default in help. ``bits`` bounds a whole number (signed; negative ``bits`` mean
    unsigned). With ``any_type`` the method gets whatever was sent. ``hidden`` ones are not in the help. ``oneline``
    stands for it in the usage line, ``label`` for the name of its type. Members of an object with ``by_name`` may
    also be given by name as if they were parameters of the method. ``policy`` says what becomes of an object's
    other keys. ``no_null``: null is not the same as nothing. A ``late`` number is checked where the handler reads
    it. ``absent``, if any, is what the method receives when nothing was sent, not even null. ``told_required``:
    help says so of what a handler can do without. ``otherwise`` is the error for an item of none of the declared
    types. ``words`` says what btcnode-cli makes of it: "json", "text", "any" (JSON, else text), "equals" (text
    that may hold "=", as may other texts of the method) or "plain" (but not this one).
    """

    name: str
    kind: Kind
    text: str
    default: Any = REQUIRED
    hint: str = ""
    bits: int = 32
    any_type: bool = False
    hidden: bool = False
    inner: tuple[Arg, ...] = ()
    oneline: str = ""
    label: str = ""
    by_name: bool = False
    policy: type[Given[Any]] = Lenient
    no_null: bool = False
    late: bool = False
    absent: Any = None
    otherwise: tuple[int, str] | None = None
    words: str = ""
    told_required: bool = False

    @property
    def names(self) -> list[str]:
        """The name and its aliases."""
        return self.name.split("|")

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return self.default is not REQUIRED

    def takes(self, value: Any) -> bool:
        """Whether a value that is not null has the right type."""
        if self.any_type or self.kind.json_type is None or self.kind is Kind.AMOUNT:  # amounts are checked where parsed
            return True
        return type_name(value) == self.kind.json_type

    def mismatch(self, value: Any) -> str | None:
        """Why a value has the wrong type, None when it has the right one."""
        if (value is None and self.optional) or self.takes(value):
            return None
        return f"JSON value of type {type_name(value)} is not of expected type {self.kind.json_type}"

    def convert(self, value: Any) -> Any:
        """A value of the right type as the method takes it; raises RpcError when a whole number is out of range."""
        if value is None and self.kind is Kind.OBJ and not self.any_type:
            value = {}
        if value is None and self.late and self.default is not REQUIRED:
            value = self.default
        if value is None:
            return None if self.default is REQUIRED else self.default
        if self.any_type:
            return value
        if self.kind is Kind.INT and self.late:
            return Whole(value, lambda raw: whole_number(raw, self.bits))
        if self.kind is Kind.INT:
            return whole_number(value, self.bits)
        if self.kind is Kind.ARR:
            return Items(value, self.read_item)
        if self.kind is Kind.OBJ:
            return self.policy(value, self.read_members)
        return value

    def read_item(self, value: Any) -> Any:
        """An item of an array, checked against the forms declared; raises RpcError."""
        for part in self.inner:
            if part.takes(value):
                return part.convert(value)
        if self.otherwise is not None:
            raise RpcError(*self.otherwise)
        raise wrong_type(value, self.inner[0].kind.json_type or "")

    def read_members(self, given: dict[str, Any]) -> Mapping[str, Any]:
        """The declared members of an object, with defaults; raises RpcError, unless lenient at once."""
        parts = {part.name: part for part in self.inner}
        names = [name for name, part in parts.items() if part.is_there(given) or part.default is not None]
        members = Members(names, lambda name: parts[name].taken_from(given))
        if self.policy is Lenient:
            return members
        self._check_types(given)
        return dict(members)

    def is_there(self, given: dict[str, Any]) -> bool:
        """Whether an object has this member, or must have it."""
        return not self.optional or given.get(self.name) is not None or (self.no_null and self.name in given)

    def taken_from(self, given: dict[str, Any]) -> Any:
        """The value of this member of an object; raises RpcError."""
        if not self.is_there(given):
            return self.default
        value = given.get(self.name)
        if not self.takes(value):
            raise wrong_type(value, self.kind.json_type or "")
        return self.convert(value)

    def _check_types(self, given: dict[str, Any]) -> None:
        """As Core's RPCTypeCheckObj: types by name in order of the alphabet, then unknown keys; raises RpcError."""
        for part in sorted(self.inner, key=lambda part: part.name):
            value = given.get(part.name)
            if value is None:
                if not part.optional:
                    raise RpcError(RpcCode.TYPE_ERROR, f"Missing {part.name}")
            elif not part.takes(value):
                why = f"JSON value of type {type_name(value)} for field {part.name} is not of expected type"
                raise RpcError(RpcCode.TYPE_ERROR, f"{why} {part.kind.json_type}")
        known = {part.name for part in self.inner}
        for key in given if self.policy is Strict else ():
            if key not in known:
                raise RpcError(RpcCode.TYPE_ERROR, f"Unexpected key {key}")


@record
class Result:
    """A result, or a part of one; ``when`` tells apart the results of one method.

    ``given`` says the same for programs: the values of arguments with which this result comes. Parts that are not
    ``written`` are left out of help; the first of them in an object has the ``elision`` that stands for all.
    ``told_optional`` is what help says of a part. ``type_name`` is the name of an object's declaration.
    """

    kind: Kind
    key: str = ""
    text: str = ""
    inner: tuple[Result, ...] = ()
    optional: bool = False
    when: str = ""
    given: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    fixed: bool = False
    checked: bool = True
    written: bool = True
    elision: str | None = None
    told_optional: bool = False
    type_name: str = ""

    def mismatch(self, value: Any) -> Any:
        """What of ``value`` is not as declared: None, a line, or an object of lines by key."""
        expected = self.kind.json_type
        if expected is None or not self.checked:
            return None
        got = type_name(value)
        if got != expected:
            return f"returned type is {got}, but declared as {expected} in doc"
        if self.kind in (Kind.NUM, Kind.TIME) and not isinstance(value, int) and value != MINUS_ZERO:
            return "returned a fraction, but declared as a whole number in doc"
        if self.kind is Kind.ARR:
            found = {str(n): self._item(n, item) for n, item in enumerate(value)}
        elif self.kind is Kind.DYN:
            found = {key: self.inner[0].mismatch(item) for key, item in value.items()}
        elif self.kind is Kind.OBJ:
            found = self._members(value)
        else:
            return None
        found = {key: why for key, why in found.items() if why is not None}
        return found or None

    def _item(self, place: int, item: Any) -> Any:
        """An item of an array may have any of the forms declared; where each place has its own, that one."""
        if self.fixed:
            return self.inner[min(place, len(self.inner) - 1)].mismatch(item)
        found = [form.mismatch(item) for form in self.inner]
        return None if None in found else found[0]

    def _members(self, value: dict[str, Any]) -> dict[str, Any]:
        known = {part.key: part for part in self.inner}
        found: dict[str, Any] = {key: "key returned that was not in doc" for key in value if key not in known}
        for key, part in known.items():
            if key in value:
                found[key] = part.mismatch(value[key])
            elif not part.optional:
                found[key] = "key missing, despite not being optional in doc"
        return found
