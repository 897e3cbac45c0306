"""The help of a method, laid out as Core's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from btcnode.rpc.shapes import TEXT_KINDS, Arg, Kind, Result

_OBJECTS = (Kind.OBJ, Kind.DYN)


def usage(name: str, args: Sequence[Arg]) -> str:
    """The name of a method with its arguments, optional ones in parentheses."""
    words, optional = [name], False
    for arg in args:
        if arg.hidden:
            break
        if arg.optional != optional:
            words.append("(" if arg.optional else ")")
            optional = arg.optional
        words.append(arg.oneline or _sample(arg))
    return " ".join([*words, ")"] if optional else words)


def help_text(
    name: str, text: str, args: Sequence[Arg], results: Sequence[Result], examples: Sequence[tuple[Any, ...]]
) -> str:
    """The whole help of a method."""
    out = f"{usage(name, args)}\n\n{text.strip()}\n"
    rows: list[tuple[str, str]] = []
    named: list[tuple[str, str]] = []
    for n, arg in enumerate(args, 1):
        if arg.hidden:
            break
        rows.append((f"{n}. {arg.names[0]}", describe(arg)))
        if arg.kind in (*_OBJECTS, Kind.ARR) and not arg.by_name:
            rows += _arg_rows(arg, 5, whole=True)
        for part in arg.inner if arg.by_name else ():
            named.append((part.names[0], describe(part)))
            if part.kind in (*_OBJECTS, Kind.ARR):
                named += _arg_rows(part, 5, whole=True)
    if rows:
        out += "\nArguments:\n" + columns(rows)
    if named:
        out += "\nNamed Arguments:\n" + columns(named)
    for result in results:
        if result.kind is not Kind.ANY:
            out += f"\nResult ({result.when}):\n" if result.when else "\nResult:\n"
            out += columns(result_rows(result))
    if examples:
        out += "\nExamples:\n"
        out += "".join(f"> btcnode-cli {' '.join([name, *map(_shell, example)])}\n" for example in examples)
        out += "".join(f"{_curl(name, example)}\n" for example in examples)
    return out


def describe(arg: Arg, *, has_key: bool = True) -> str:
    """Type, default and text of an argument; of what has no name of its own "optional" is not said."""
    words = arg.label or ("numeric or string" if arg.kind is Kind.AMOUNT else arg.kind.label)
    if not arg.optional or arg.told_required:
        words += ", required"
    elif arg.hint:
        words += f", optional, default={arg.hint}"
    elif arg.default is not None:
        words += f", optional, default={json.dumps(arg.default)}"
    elif has_key:
        words += ", optional"
    by_name = "Options, which may also be given by name (below)." if arg.by_name else ""
    return " ".join(filter(None, (f"({words})", by_name, arg.text)))


def _sample(arg: Arg) -> str:
    """How an argument looks on one line."""
    if arg.kind in TEXT_KINDS:
        return f'"{arg.names[0]}"'
    if arg.kind is Kind.ARR:
        return "[" + "".join(f"{part.oneline or _sample(part)}," for part in arg.inner) + "...]"
    if arg.kind in _OBJECTS:
        members = ",".join(_sample_member(part) for part in arg.inner)
        return "{" + members + (",...}" if arg.by_name or arg.kind is Kind.DYN else "}")
    return arg.names[0]


def _sample_member(arg: Arg, colon: str = ":") -> str:
    """How a member of an object looks on one line."""
    if arg.kind is Kind.ARR:
        value = "[" + "".join(f"{part.oneline or _sample(part)}," for part in arg.inner) + "...]"
    else:
        value = arg.oneline or {Kind.BOOL: "bool", Kind.AMOUNT: "amount"}.get(arg.kind, arg.kind.sample)
    return f'"{arg.names[0]}"{colon}{value}'


def _arg_rows(arg: Arg, indent: int, *, in_object: bool = False, whole: bool = False) -> list[tuple[str, str]]:
    """Rows of an array or object, of its members, or of a member that has none; ``whole``: it has been described."""
    pad = " " * indent
    right = "" if whole else describe(arg, has_key=in_object)
    if arg.kind not in (*_OBJECTS, Kind.ARR):
        left = _sample_member(arg, ": ") if in_object else _sample(arg)
        return [(f"{pad}{left},", right)]
    opening, closing = "[]" if arg.kind is Kind.ARR else "{}"
    key = f'"{arg.name}": ' if in_object else ""
    rows = [(pad + key + opening, right)]
    for part in arg.inner:
        rows += _arg_rows(part, indent + 2, in_object=arg.kind is not Kind.ARR)
    if arg.kind is not Kind.OBJ:
        rows.append((f"{pad}  ...", ""))
    return [*rows, (pad + closing + ("" if whole else ","), "")]


def result_rows(result: Result, indent: int = 0, *, in_object: bool = False, comma: str = "") -> list[tuple[str, str]]:
    """Rows of ``(left, right)`` of a result or a part of one."""
    pad = " " * indent
    if not result.written:
        return [] if result.elision is None else [(f"{pad}...{comma}", result.elision)]
    key = f'"{result.key}" : ' if in_object else ""
    told = f"{result.kind.label if result.inner or result.kind is not Kind.OBJ else 'empty JSON object'}"
    words = f"({told}{', optional' if result.told_optional else ''}) {result.text}".rstrip()
    if result.kind not in (*_OBJECTS, Kind.ARR):
        return [(f"{pad}{key}{result.kind.sample}{comma}", words)]
    close = "]" if result.kind is Kind.ARR else "}"
    if not result.inner:
        return [(f"{pad}{key}{result.kind.sample}{close}{comma}", words)]
    rows = [(f"{pad}{key}{result.kind.sample}", words)]
    for part in result.inner:
        rows += result_rows(part, indent + 2, in_object=result.kind is not Kind.ARR, comma=",")
    if result.kind is Kind.OBJ or result.fixed or result.inner[-1].elision is not None:
        rows[-1] = (rows[-1][0].removesuffix(","), rows[-1][1])
    elif result.inner[-1].elision is None:
        rows.append((f"{pad}  ...", ""))
    return [*rows, (f"{pad}{close}{comma}", "")]


def columns(rows: Sequence[tuple[str, str]]) -> str:
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
