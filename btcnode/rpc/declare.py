"""Methods from the signatures of their handlers.

A handler takes the node's parts (or its ``Control``), then one parameter for each argument under Core's name. What an
annotation says in ``Annotated`` is the declaration: a plain text describes, a ``Kind`` or one of the classes below says
more. Results are declared the same way, objects as TypedDict classes, several forms as a union whose members say
``When``. The handler's docstring is the description of the method.

    class Tip(TypedDict):
        hash: Annotated[Hex, "Hash of the tip"]
        height: Annotated[int, "Its height"]

    @rpc("blockchain", examples=((1000,),))
    async def waitfornewblock(
        node: NodeParts, timeout: Annotated[int, "Milliseconds to wait, 0 for no limit"] = 0
    ) -> Tip:
        \"\"\"Wait until the tip changes, then tell it.\"\"\"
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable
from dataclasses import replace
from enum import Enum
from typing import (
    Annotated,
    Any,
    Never,
    NotRequired,
    TypedDict,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from btcnode.primitives.units import KeyName, Unit
from btcnode.record import record
from btcnode.rpc.given import ABSENT, Checked, Given, Items, Lenient, Strict, Whole
from btcnode.rpc.jsonvalue import Number
from btcnode.rpc.method import Method
from btcnode.rpc.records import AsJson
from btcnode.rpc.shapes import REQUIRED, Arg, Kind, Result

D = TypeVar("D")

NOTHING: Any = None
"""The default of an object that may be left out: its handler reads one without members."""

Hex = Annotated[str, Kind.HEX]
Time = Annotated[int, Kind.TIME]
"""Unix seconds."""
Coins = Annotated[Number, Kind.AMOUNT]
"""Coins in a result, with eight decimals; help says "in BTC" where the text names no unit."""
Real = Annotated[Number, Kind.REAL]
"""A number in a result that may have a fraction."""
AnyAmount = Annotated[Any, Kind.AMOUNT]
"""Coins as an argument: a number or a text, which ``amounts.parse_amount`` checks."""
AnyNumber = Annotated[Any, Kind.NUM]
"""A number as it was sent: ``whole_number`` or ``real_number`` checks it where the handler comes to it."""
AnyRange = Annotated[Any, Kind.RANGE]
"""The last position, or first and last: ``descriptors.parse_range`` checks it."""


@record
class Bits:
    """Bounds of a whole number: signed, or with a negative number unsigned. 32 without it."""

    bits: int


@record
class Hint:
    """How help tells the default, where that is no value or not the one that the method is given."""

    text: str


@record
class Default:
    """What is taken for a member of an object that is not given."""

    value: Any


@record
class Named:
    """The name of an item or of a key that may be any, or other names of an argument behind ``|``."""

    name: str


@record
class Oneline:
    """What stands for an argument in the usage line."""

    text: str


@record
class Label:
    """What help says is the type, where that is not the JSON type."""

    text: str


@record
class Like:
    """What is described as another type: an argument is handed over as it came, a result is not checked."""

    kind: Any


@record
class Otherwise:
    """The error for an item that has none of the declared types."""

    code: int
    message: str


class Empty(TypedDict):
    """An object without members."""


class Flag(Enum):
    """What an argument, an item, a member or an array is besides its type."""

    HIDDEN = "not in the help"
    BY_NAME = "its members may be given as if they were parameters of the method"
    NO_NULL = "null is a value of the wrong type, not the same as nothing"
    MUST = "an item or member that help calls required: the handler tells what is wrong when it is not there"
    FIXED = "each place of the array has its own form"
    TOLD_OTHERWISE = "Core's help says that it is always there where it is not, or the other way round"
    UNTOLD = "a member that help does not show, as it is there with -deprecatedrpc only"
    JSON_OR_TEXT = "btcnode-cli takes what is no JSON as text"
    MAY_HOLD_EQUALS = "text that may hold an equals sign, as base64 and paths do: no name stands before it"
    NO_EQUALS = "text of a method with such texts that holds none itself: a name before it may be another argument's"


HIDDEN, BY_NAME, NO_NULL, MUST, FIXED, TOLD_OTHERWISE, UNTOLD, JSON_OR_TEXT, MAY_HOLD_EQUALS, NO_EQUALS = Flag


class When:
    """With what one of the forms of a result comes: for people, and for programs as values of arguments."""

    def __init__(self, text: str, **given: tuple[Any, ...]) -> None:
        self.text = text
        self.given = given


class Elided:
    """In help the members of an object are not written out but for those ``shown``; ``text`` stands for the others.

    With None nothing does.
    """

    def __init__(self, text: str | None, *shown: str) -> None:
        self.text = text
        self.shown = shown


_KINDS: dict[Any, Kind] = {
    str: Kind.STR, int: Kind.INT, float: Kind.REAL, bool: Kind.BOOL, type(None): Kind.NONE, Any: Kind.ANY,
    list: Kind.ARR, tuple: Kind.ARR, dict: Kind.DYN, Items: Kind.ARR, Strict: Kind.OBJ, Checked: Kind.OBJ,
    Lenient: Kind.OBJ, AsJson: Kind.OBJ, Whole: Kind.INT, Number: Kind.REAL,
}  # fmt: skip


_UNITS = {
    Unit.UNIX_TIME: Kind.TIME, Unit.SECONDS: Kind.REAL, Unit.SATOSHI: Kind.AMOUNT, Unit.SERVICE_BITS: Kind.HEX,
    Unit.HEX: Kind.HEX,
}  # fmt: skip


def rpc(
    category: str,
    *,
    examples: tuple[tuple[Any, ...], ...] = ((),),
    heavy: bool = False,
    pure: bool = False,
    waits: bool = False,
    prompt: bool = False,
    in_warmup: bool = False,
    own: bool = False,
    notes: str = "",
) -> Callable[[Callable[..., Any]], Method]:
    """Declare the decorated function as the method of its name; ``notes`` follow its docstring in help."""

    def declare(handler: Callable[..., Any]) -> Method:
        text = "\n".join(filter(None, (inspect.cleandoc(handler.__doc__ or ""), notes)))
        return Method(
            handler.__name__, category, text, handler, declaration,
            examples=examples, heavy=heavy, pure=pure, waits=waits, prompt=prompt, in_warmup=in_warmup, own=own,
        )  # fmt: skip

    return declare


def declaration(handler: Callable[..., Any]) -> tuple[tuple[Arg, ...], tuple[Result, ...]]:
    """Arguments and results of a handler, in order."""
    hints = get_type_hints(handler, include_extras=True)
    parameters = list(inspect.signature(handler).parameters.values())[1:]
    args = tuple(_argument(parameter.name, hints[parameter.name], parameter.default) for parameter in parameters)
    return args, _results(hints["return"])


class _Marks:
    """A type without its wrappers: ``Annotated`` in any depth, ``NotRequired``, and ``| None``."""

    def __init__(self, hint: Any) -> None:
        self.marks: list[Any] = []
        self.omissible = False
        self.base = hint
        while True:
            origin = get_origin(self.base)
            if origin is Annotated:
                self.marks += self.base.__metadata__
                self.base = self.base.__origin__
            elif origin is NotRequired:
                self.omissible = True
                (self.base,) = get_args(self.base)
            elif self._is_optional():
                self.omissible = True
                (self.base,) = (part for part in get_args(self.base) if part is not type(None))
            else:
                break

    def _is_optional(self) -> bool:
        parts = alternatives(self.base)
        return len(parts) == 2 and type(None) in parts

    def find(self, kind: type[D]) -> D | None:
        """The mark of this class."""
        return next((mark for mark in self.marks if isinstance(mark, kind)), None)

    @property
    def text(self) -> str:
        """The description."""
        return self.find(str) or ""

    @property
    def kind(self) -> Kind:
        """What JSON it is."""
        found = self.find(Kind)
        if found is not None:
            return found
        unit = self.find(Unit)
        if unit is not None:
            return _UNITS[unit]
        if is_typeddict(self.base):
            return Kind.OBJ
        return _KINDS[get_origin(self.base) or self.base]


def in_order(kind: type[D], values: D) -> D:
    """An object with its members in the order of its declaration."""
    return picked(values, [key for key in kind.__annotations__ if key in cast(Any, values)])


def picked(values: D, keys: Iterable[str]) -> D:
    """An object with these of its members, which it need not have by its declaration."""
    given: Any = values
    result: Any = {key: given[key] for key in keys}
    return cast(D, result)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def members(declared: Any) -> list[tuple[str, Any]]:
    """Keys and annotations of a TypedDict class."""
    return list(get_type_hints(declared, include_extras=True).items())


def _argument(name: str, hint: Any, default: Any = inspect.Parameter.empty) -> Arg:
    """An argument, or an item or member of one."""
    marks = _Marks(hint)
    like = marks.find(Like)
    shape = marks if like is None else _Marks(Annotated[like.kind, *marks.marks])
    kind, default_mark, bits = shape.kind, marks.find(Default), marks.find(Bits)
    if default_mark is not None:
        default = default_mark.value
    elif default is inspect.Parameter.empty:
        default = None if marks.omissible else REQUIRED
    absent = ABSENT if default is ABSENT else None
    if absent is not None:
        default = None
    elif isinstance(default, Whole):
        default = default.raw
    named = marks.find(Named)
    if named is not None:
        name = f"{name}{named.name}" if named.name.startswith("|") else named.name
    otherwise = marks.find(Otherwise)
    return Arg(
        name,
        kind,
        marks.text,
        default,
        hint=_text(marks.find(Hint)),
        bits=32 if bits is None else bits.bits,
        any_type=like is not None or (marks.base is Any and kind is Kind.ANY),
        hidden=HIDDEN in marks.marks,
        inner=_inner(shape),
        oneline=_text(marks.find(Oneline)),
        label=_text(marks.find(Label)),
        by_name=BY_NAME in marks.marks,
        policy=_policy(shape),
        no_null=NO_NULL in marks.marks,
        late=shape.base is Whole,
        absent=absent,
        otherwise=(otherwise.code, otherwise.message) if otherwise is not None else None,
        told_required=MUST in marks.marks,
        words=next((words for mark, words in _WORDS.items() if mark in marks.marks), ""),
    )


_WORDS = {JSON_OR_TEXT: "any", MAY_HOLD_EQUALS: "equals", NO_EQUALS: "plain"}


def _text(mark: Hint | Oneline | Label | None) -> str:
    return mark.text if mark is not None else ""


def _inner(shape: _Marks) -> tuple[Arg, ...]:
    """Items of an array, members of an object, the value under any key."""
    if shape.kind is Kind.ARR:
        (item,) = get_args(shape.base)
        return tuple(_argument("", part, None) for part in alternatives(item))
    if shape.kind is Kind.DYN:
        return (_argument("", get_args(shape.base)[1]),)
    if shape.kind is Kind.OBJ:
        return tuple(_argument(name, hint) for name, hint in members(get_args(shape.base)[0]))
    return ()


def _policy(shape: _Marks) -> type[Given[Any]]:
    origin = get_origin(shape.base)
    return origin if origin in (Strict, Checked) else Lenient


def _results(hint: Any) -> tuple[Result, ...]:
    """The forms of a result."""
    if hint is Never or getattr(hint, "_name", "") == "NoReturn":
        return ()
    if get_origin(hint) is Annotated and len(alternatives(hint.__origin__)) > 1:
        hint = hint.__origin__
    return tuple(_result("", part) for part in alternatives(hint))


def _result(key: str, hint: Any) -> Result:
    marks = _Marks(hint)
    like = marks.find(Like)
    if like is not None:
        marks = _Marks(Annotated[like.kind, *marks.marks])
    kind, named, when, elided = (
        marks.kind,
        marks.find(Named) or marks.find(KeyName),
        marks.find(When),
        marks.find(Elided),
    )
    inner: tuple[Result, ...] = ()
    name_of_type = ""
    if kind is Kind.INT:
        kind = Kind.NUM
    elif kind is Kind.OBJ:
        record = get_args(marks.base)[0] if get_origin(marks.base) is AsJson else marks.base
        name_of_type = record.__name__
        inner = tuple(_result(name, part) for name, part in members(record))
    elif kind is Kind.ARR:
        inner = tuple(_result("", part) for part in alternatives(get_args(marks.base)[0]))
    elif kind is Kind.DYN:
        inner = (_result("", get_args(marks.base)[1]),)
    if elided is not None:
        inner = _elide(inner, elided)
    return Result(
        kind,
        named.name if named is not None else key,
        f"{marks.text}, in BTC" if kind is Kind.AMOUNT and marks.text and "BTC" not in marks.text else marks.text,
        inner,
        optional=marks.omissible,
        told_optional=marks.omissible != (TOLD_OTHERWISE in marks.marks),
        when=when.text if when is not None else "",
        given=when.given if when is not None else {},
        fixed=FIXED in marks.marks,
        checked=like is None,
        written=UNTOLD not in marks.marks,
        type_name=name_of_type,
    )


def _elide(parts: tuple[Result, ...], elided: Elided) -> tuple[Result, ...]:
    """The parts, those that help does not write out marked."""
    found: list[Result] = []
    elision = elided.text
    for part in parts:
        if part.key in elided.shown:
            found.append(part)
        else:
            found.append(replace(part, written=False, elision=elision))
            elision = None
    return tuple(found)
