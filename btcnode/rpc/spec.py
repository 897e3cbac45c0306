"""Declarations of RPC methods: arguments and results, from which parsing, checks and help are made."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import Number, pretty, type_name


class Kind(Enum):
    """JSON types, finer than JSON: a name of its own, the label in help, Core's type name (None: any), a sample."""

    STR = ("str", "string", "string", '"str"')
    HEX = ("hex", "string", "string", '"hex"')
    NUM = ("num", "numeric", "number", "n")
    INT = ("int", "numeric", "number", "n")
    REAL = ("real", "numeric", "number", "n")
    TIME = ("time", "numeric", "number", "xxx")
    AMOUNT = ("amount", "numeric", "number", "n")
    BOOL = ("bool", "boolean", "bool", "true|false")
    OBJ = ("obj", "json object", "object", "{")
    DYN = ("dyn", "json object", "object", "{")
    ARR = ("arr", "json array", "array", "[")
    NONE = ("none", "json null", "null", "null")
    ANY = ("any", "any", None, "...")
    ELLIPSIS = ("ellipsis", "", None, "...")

    def __init__(self, _name: str, label: str, json_type: str | None, sample: str) -> None:
        self.label = label
        self.json_type = json_type
        self.sample = sample


class _Required:
    """Marks an argument without default."""


REQUIRED = _Required()


@dataclass(frozen=True, slots=True)
class Arg:
    """An argument; ``name`` may carry aliases ("verbosity|verbose").

    ``default`` is what the method receives when it is left out or null; ``hint`` describes that default in help.
    ``bits`` bounds a whole number (signed; negative ``bits`` mean unsigned). ``hidden`` ones are not in the help.
    ``oneline`` stands for it in the usage line. Members of an object with ``by_name`` may also be given by name
    as if they were parameters of the method.
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
    by_name: bool = False

    @property
    def names(self) -> list[str]:
        """The name and its aliases."""
        return self.name.split("|")

    @property
    def optional(self) -> bool:
        """Whether it may be left out."""
        return self.default is not REQUIRED

    def mismatch(self, value: Any) -> str | None:
        """Why a value has the wrong type, None when it has the right one."""
        if self.any_type or (value is None and self.optional) or self.kind.json_type is None:
            return None
        got = type_name(value)
        if got == self.kind.json_type or (self.kind is Kind.AMOUNT and got == "string"):
            return None
        return f"JSON value of type {got} is not of expected type {self.kind.json_type}"

    def convert(self, value: Any) -> Any:
        """The value as the method takes it; raises RpcError when a whole number is out of range."""
        if value is None:
            return None if self.default is REQUIRED else self.default
        if self.kind is Kind.INT and not self.any_type:
            return whole_number(value, self.bits)
        return value

    def sample(self) -> str:
        """How it stands in the usage line."""
        first = self.names[0]
        if self.oneline:
            return self.oneline
        if self.kind in (Kind.STR, Kind.HEX):
            return f'"{first}"'
        if self.kind is Kind.ARR:
            return "[" + "".join(arg.sample() + "," for arg in self.inner) + "...]"
        if self.kind is Kind.OBJ:
            return "{" + ",".join(f'"{arg.names[0]}":{arg.kind.sample}' for arg in self.inner) + "}"
        return first

    def describe(self) -> str:
        """Type, default and text for the help."""
        words = "numeric or string" if self.kind is Kind.AMOUNT else self.kind.label
        if not self.optional:
            words += ", required"
        elif self.hint:
            words += f", optional, default={self.hint}"
        elif self.default is not None:
            words += f", optional, default={json.dumps(self.default)}"
        else:
            words += ", optional"
        return f"({words}) {self.text}".rstrip()


def whole_number(value: Any, bits: int = 32) -> int:
    """A JSON number as an integer of ``bits`` bits (negative: unsigned); raises RpcError as Core does."""
    if type_name(value) != "number":
        raise RpcError(RpcCode.TYPE_ERROR, f"JSON value of type {type_name(value)} is not of expected type number")
    low, high = (0, 1 << -bits) if bits < 0 else (-1 << bits - 1, 1 << bits - 1)
    if bits > 0 and isinstance(value, Number) and value.text == "-0":
        return 0
    if not isinstance(value, int) or not low <= value < high:
        raise RpcError(RpcCode.MISC_ERROR, "JSON integer out of range")
    return value


@dataclass(frozen=True, slots=True)
class Result:
    """A result, or a part of one; ``when`` tells apart the results of one method.

    ``given`` says the same for programs: the values of arguments with which this result comes.
    """

    kind: Kind
    key: str = ""
    text: str = ""
    inner: tuple[Result, ...] = ()
    optional: bool = False
    when: str = ""
    given: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def mismatch(self, value: Any) -> Any:
        """What of ``value`` is not as declared: None, a line, or an object of lines by key."""
        expected = self.kind.json_type
        if expected is None:
            return None
        got = type_name(value)
        if got != expected:
            return f"returned type is {got}, but declared as {expected} in doc"
        if self.kind in (Kind.NUM, Kind.TIME) and not isinstance(value, int):
            return "returned a fraction, but declared as a whole number in doc"
        if self.kind is Kind.ARR:
            last = len(self.inner) - 1
            found = (
                {str(n): self.inner[min(n, last)].mismatch(item) for n, item in enumerate(value)} if self.inner else {}
            )
        elif self.kind is Kind.DYN:
            found = {key: self.inner[0].mismatch(item) for key, item in value.items()}
        elif self.kind is Kind.OBJ and not any(part.kind is Kind.ELLIPSIS for part in self.inner):
            known = {part.key: part for part in self.inner}
            found = {key: "key returned that was not in doc" for key in value if key not in known}
            for key, part in known.items():
                if key in value:
                    found[key] = part.mismatch(value[key])
                elif not part.optional:
                    found[key] = "key missing, despite not being optional in doc"
        else:
            return None
        found = {key: why for key, why in found.items() if why is not None}
        return found or None

    def lines(self, indent: int, in_object: bool, comma: str) -> list[tuple[str, str]]:
        """Rows of ``(left, right)`` for the help."""
        pad = " " * indent
        if self.kind is Kind.ELLIPSIS:
            return [(f"{pad}...{comma}", self.text)]
        key = f'"{self.key}" : ' if in_object else ""
        words = f"({self.kind.label}{', optional' if self.optional else ''}) {self.text}".rstrip()
        if self.kind not in (Kind.OBJ, Kind.DYN, Kind.ARR):
            return [(f"{pad}{key}{self.kind.sample}{comma}", words)]
        close = "]" if self.kind is Kind.ARR else "}"
        if not self.inner:
            return [(f"{pad}{key}{self.kind.sample}{close}{comma}", words)]
        rows = [(f"{pad}{key}{self.kind.sample}", words)]
        more = self.kind is not Kind.OBJ
        for n, part in enumerate(self.inner):
            last = n == len(self.inner) - 1 and not more
            rows += part.lines(indent + 2, self.kind is not Kind.ARR, "" if last else ",")
        if more:
            rows.append((f"{pad}  ...", ""))
        rows.append((f"{pad}{close}{comma}", ""))
        return rows


def _leaf(kind: Kind) -> Callable[..., Result]:
    def make(key: str = "", text: str = "", **more: Any) -> Result:
        return Result(kind, key, text, **more)

    return make


def rpc(
    category: str,
    text: str,
    *args: Arg,
    returns: Result | tuple[Result, ...],
    examples: tuple[tuple[Any, ...], ...] = ((),),
    heavy: bool = False,
    waits: bool = False,
    in_warmup: bool = False,
) -> Callable[[Callable[..., Any]], Method]:
    """Declare the decorated function, which takes the node and one value per argument, as the method of its name."""

    def declare(handler: Callable[..., Any]) -> Method:
        results = returns if isinstance(returns, tuple) else (returns,)
        return Method(handler.__name__, category, text, handler, args, results, examples, heavy, waits, in_warmup)

    return declare


def _branch(kind: Kind) -> Callable[..., Result]:
    def make(key: str = "", text: str = "", *inner: Result, **more: Any) -> Result:
        return Result(kind, key, text, inner, **more)

    return make


string, hexed, number, real, time, coins, boolean, nothing, ellipsis, anything = map(
    _leaf,
    (Kind.STR, Kind.HEX, Kind.NUM, Kind.REAL, Kind.TIME, Kind.AMOUNT, Kind.BOOL, Kind.NONE, Kind.ELLIPSIS, Kind.ANY),
)
obj, dyn, arr = map(_branch, (Kind.OBJ, Kind.DYN, Kind.ARR))


@dataclass(frozen=True, slots=True)
class Method:
    """A method: declaration and handler. The handler takes the node's parts, or its ``Control`` alone where it says so,
    and one value per argument.

    ``heavy`` results are made into JSON outside the loop thread; ``waits`` ones may be given up when the client leaves.
    ``examples`` are argument tuples, or lines with arguments in shell form. With ``verbatim`` the handler takes the
    parameters as they came, nulls and all.
    """

    name: str
    category: str
    text: str
    handler: Callable[..., Any]
    args: tuple[Arg, ...] = ()
    results: tuple[Result, ...] = ()
    examples: tuple[tuple[Any, ...], ...] = ()
    heavy: bool = False
    waits: bool = False
    in_warmup: bool = False
    verbatim: bool = False
    is_async: bool = field(init=False)
    required: int = field(init=False)
    takes_control: bool = field(init=False)

    def __post_init__(self) -> None:
        required = 0
        for n, arg in enumerate(self.args, 1):
            if not arg.optional:
                required = n
        object.__setattr__(self, "required", required)
        first = next(iter(inspect.signature(self.handler).parameters.values()))
        object.__setattr__(self, "takes_control", first.annotation == "Control")  # else it takes all parts
        object.__setattr__(self, "is_async", inspect.iscoroutinefunction(self.handler))

    def bind(self, params: Sequence[Any]) -> list[Any]:
        """Check positional parameters and fill in defaults; raises RpcError (wrong count: the help text)."""
        count = len(params)
        if not self.required <= count <= len(self.args):
            raise RpcError(RpcCode.MISC_ERROR, self.help())
        wrong = {}
        values = [*params, *[None] * (len(self.args) - count)]
        for n, (arg, value) in enumerate(zip(self.args, values, strict=True), 1):
            why = arg.mismatch(value)
            if why is not None:
                wrong[f"Position {n} ({arg.name})"] = why
        if wrong:
            raise RpcError(RpcCode.TYPE_ERROR, f"Wrong type passed:\n{pretty(wrong, 4)}")
        if self.verbatim:
            return list(params)
        return [arg.convert(value) for arg, value in zip(self.args, values, strict=True)]

    def mismatch(self, value: Any) -> Any:
        """What of a result is not as declared, None when it is."""
        found = []
        for result in self.results:
            why = result.mismatch(value)
            if why is None:
                return None
            found.append(why)
        return found or ["no results declared"]

    def usage(self) -> str:
        """The name with its arguments, optional ones in parentheses."""
        words, optional = [self.name], False
        for arg in self.args:
            if arg.hidden:
                break
            if arg.optional != optional:
                words.append("(" if arg.optional else ")")
                optional = arg.optional
            words.append(arg.sample())
        return " ".join([*words, ")"] if optional else words)

    def help(self) -> str:
        """The help text, laid out as Core's."""
        out = f"{self.usage()}\n\n{self.text.strip()}\n"
        rows = []
        for n, arg in enumerate(self.args, 1):
            if arg.hidden:
                break
            rows.append((f"{n}. {arg.names[0]}", arg.describe()))
            rows += _inner_rows(arg, 5)
        if rows:
            out += "\nArguments:\n" + _columns(rows)
        named = [part for arg in self.args if arg.by_name for part in arg.inner]
        if named:
            out += "\nNamed Arguments:\n" + _columns([(part.names[0], part.describe()) for part in named])
        for result in self.results:
            out += f"\nResult ({result.when}):\n" if result.when else "\nResult:\n"
            out += _columns(result.lines(0, False, ""))
        if self.examples:
            out += "\nExamples:\n"
            out += "".join(
                f"> btcnode-cli {' '.join([self.name, *map(_shell, example)])}\n" for example in self.examples
            )
            out += "".join(f"{_curl(self.name, example)}\n" for example in self.examples)
        return out


def _inner_rows(arg: Arg, indent: int) -> list[tuple[str, str]]:
    """Rows of the members of an array or object argument."""
    if not arg.inner:
        return []
    pad = " " * indent
    opening, closing = ("[", "]") if arg.kind is Kind.ARR else ("{", "}")
    rows = [(pad + opening, "")]
    for part in arg.inner:
        left = part.sample() if arg.kind is Kind.ARR else f'"{part.names[0]}": {part.kind.sample}'
        rows.append((f"{pad}  {left},", part.describe()))
    rows += [(f"{pad}  ...", "")] if arg.kind is Kind.ARR else []
    return [*rows, (pad + closing, "")]


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns, the right one aligned also over line breaks."""
    width = max(len(left) for left, _ in rows) + 4
    lines = []
    for left, right in rows:
        if right:
            right = ("\n" + " " * width).join(right.split("\n"))
            lines.append(f"{left:<{width}}{right}\n")
        else:
            lines.append(left + "\n")
    return "".join(lines)


def _shell(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    text = json.dumps(value)
    return f"'{text}'" if isinstance(value, dict | list) else text


def _curl(name: str, example: tuple[Any, ...]) -> str:
    body = json.dumps({"jsonrpc": "2.0", "id": "curltest", "method": name, "params": list(example)})
    return f"> curl --user myusername --data-binary '{body}' -H 'content-type: application/json' http://127.0.0.1:8332/"
