"""btcnode/rpc/typed.pyi: the methods of ``NodeRpc`` with the types that the declarations tell."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

from btcnode.rpc.methods import every_method
from btcnode.rpc.spec import Arg, Kind, Method, Result

HEAD = '''# ruff: noqa
# fmt: off
"""Types of ``typed.py``: made by scripts/docs from the declarations of the methods; do not edit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict, overload

Amount = Decimal | float | str
"""Coins, or coins per kvB; a float is exact enough only where its text is."""

Real = int | Decimal
"""A number that may have a fraction."""
'''
TAIL = """
class NodeClient(NodeRpc):
    def __init__(
        self, host: str, port: int, user: str = "", password: str = "", *, connections: int = ...
    ) -> None: ...
    @classmethod
    def from_cookie(cls, path: Path, *, port: int, host: str = "127.0.0.1") -> NodeClient: ...
    async def close(self) -> None: ...
    async def __aenter__(self) -> NodeClient: ...
    async def __aexit__(self, *exc: object) -> None: ...
"""
ARGUMENTS = {
    Kind.STR: "str",
    Kind.HEX: "str",
    Kind.NUM: "float",
    Kind.REAL: "float",
    Kind.INT: "int",
    Kind.TIME: "int",
    Kind.AMOUNT: "Amount",
    Kind.BOOL: "bool",
    Kind.OBJ: "Mapping[str, Any]",
    Kind.DYN: "Mapping[str, Any]",
    Kind.NONE: "None",
    Kind.ANY: "Any",
}
RESULTS = {
    Kind.STR: "str",
    Kind.HEX: "str",
    Kind.NUM: "int",
    Kind.INT: "int",
    Kind.TIME: "int",
    Kind.REAL: "Real",
    Kind.AMOUNT: "Decimal",
    Kind.BOOL: "bool",
    Kind.NONE: "None",
    Kind.ANY: "Any",
}


def _union(types: list[str]) -> str:
    return " | ".join(dict.fromkeys(types)) if "Any" not in types else "Any"


def _camel(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in text.replace("-", "_").split("_"))


class Types:
    """The result classes, in the order of their use."""

    def __init__(self) -> None:
        self.classes: dict[str, str] = {}

    def of(self, result: Result, name: str) -> str:
        """The type of a result; ``name`` is for the class that it may need."""
        parts = [part for part in result.inner if part.kind is not Kind.ELLIPSIS]
        if result.kind is Kind.ARR:
            inner = [self.of(part, f"{name}Item{n or ''}") for n, part in enumerate(parts)]
            return f"list[{_union(inner) if inner else 'Any'}]"
        if result.kind is Kind.DYN:
            return f"dict[str, {self.of(parts[0], f'{name}Item') if parts else 'Any'}]"
        if result.kind is Kind.OBJ:
            if not parts or len(parts) < len(result.inner):
                return "dict[str, Any]"
            return self._class(name, parts)
        return RESULTS[result.kind]

    def _class(self, name: str, parts: list[Result]) -> str:
        rows = []
        for part in parts:
            kind = self.of(part, name + _camel(part.key))
            rows.append((part.key, f"NotRequired[{kind}]" if part.optional else kind))
        if all(key.isidentifier() and not keyword.iskeyword(key) for key, _ in rows):
            text = f"class {name}(TypedDict):\n" + "".join(f"    {key}: {kind}\n" for key, kind in rows)
        else:
            members = "".join(f'        "{key}": {kind},\n' for key, kind in rows)
            text = f'{name} = TypedDict(\n    "{name}",\n    {{\n{members}    }},\n)\n'
        while self.classes.get(name, text) != text:
            name += "_"
        self.classes[name] = text
        return name


def _argument(arg: Arg) -> str:
    if arg.any_type:
        return "Any"
    if arg.kind is Kind.ARR:
        return f"Sequence[{_union([_argument(part) for part in arg.inner]) if arg.inner else 'Any'}]"
    return ARGUMENTS[arg.kind]


def _parameters(method: Method, given: Mapping[str, tuple[Any, ...]]) -> str:
    """The parameters of a method, or of its form for given values of some: required ones unless they are defaults."""
    words, must, by_name = ["self"], True, False
    for n, arg in enumerate(method.args, 1):
        must = must and n <= method.required
        name, kind = arg.names[0], _argument(arg)
        if name in given:
            kind = f"Literal[{', '.join(map(repr, given[name]))}]"
            default = "" if must or arg.default not in given[name] else " = ..."
            if not default and not must and not by_name:
                by_name = words[-1].endswith("...")
                words += ["*"] if by_name else []
        else:
            kind += " | None" if arg.optional and kind != "Any" else ""
            default = "" if must else " = ..."
        words.append(f"{name}: {kind}{default}")
    return ", ".join(words)


def _method(method: Method, types: Types) -> str:
    several = len(method.results) > 1
    name = _camel(method.name)
    results = [types.of(result, f"{name}{n if several else ''}") for n, result in enumerate(method.results, 1)]
    text = ""
    for result, kind in zip(method.results, results, strict=True):
        if result.given:
            text += f"    @overload\n    async def {method.name}({_parameters(method, result.given)}) -> {kind}: ...\n"
    every = _union(results) if results else "Any"
    if text:
        text += "    @overload\n"
    text += f"    async def {method.name}({_parameters(method, {})}) -> {every}:\n"
    return text + f'        """{_docstring(method.text)}"""\n'


def _docstring(text: str) -> str:
    lines = text.strip().replace('"""', "'''").split("\n")
    return "\n        ".join(lines) if len(lines) == 1 else "\n        ".join([*lines, ""])


def stub() -> str:
    """The whole file."""
    types = Types()
    methods = [_method(method, types) for method in sorted(every_method(), key=lambda method: method.name)]
    classes = "".join(f"\n{text}" for text in types.classes.values())
    start = "\nclass NodeRpc:\n    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None: ...\n"
    sync = "\nclass SyncNodeRpc:\n    def __init__(self, call: Callable[..., Any]) -> None: ...\n"
    plain = "".join(methods).replace("    async def ", "    def ")
    return HEAD + classes + start + "".join(methods) + sync + plain + TAIL
