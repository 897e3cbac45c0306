"""btcnode/rpc/typed.pyi: the methods of ``NodeRpc`` with the types that the declarations tell."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

from btcnode.rpc.method import Method
from btcnode.rpc.methods import every_method
from btcnode.rpc.shapes import Arg, Kind, Result

HEAD = '''# ruff: noqa
# fmt: off
"""Types of ``typed.py``: made by scripts/docs from the declarations of the methods; do not edit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn, NotRequired, TypedDict, overload

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
    Kind.RANGE: "int | Sequence[int]",
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


class Types:
    """The classes of results, in the order of their use; names are those of the declarations."""

    def __init__(self) -> None:
        self.classes: dict[str, str] = {}

    def of(self, result: Result) -> str:
        """The type of a result."""
        if not result.checked:
            return "Any"
        if result.kind is Kind.ARR:
            return f"list[{_union([self.of(part) for part in result.inner])}]"
        if result.kind is Kind.DYN:
            return f"dict[str, {self.of(result.inner[0])}]"
        if result.kind is Kind.OBJ:
            return self._class(result)
        return RESULTS[result.kind]

    def _class(self, result: Result) -> str:
        rows = []
        for part in result.inner:
            kind = self.of(part)
            rows.append((part.key, f"NotRequired[{kind}]" if part.optional else kind))
        name = result.type_name
        if all(key.isidentifier() and not keyword.iskeyword(key) for key, _ in rows):
            text = f"class {name}(TypedDict):\n" + (
                "".join(f"    {key}: {kind}\n" for key, kind in rows) or "    pass\n"
            )
        else:
            members = "".join(f'        "{key}": {kind},\n' for key, kind in rows)
            text = f'{name} = TypedDict(\n    "{name}",\n    {{\n{members}    }},\n)\n'
        if self.classes.setdefault(name, text) != text:
            raise ValueError(f"two declarations named {name}")
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
    results = [types.of(result) for result in method.results]
    text = ""
    for result, kind in zip(method.results, results, strict=True):
        if result.given:
            text += f"    @overload\n    async def {method.name}({_parameters(method, result.given)}) -> {kind}: ...\n"
    every = _union(results) if results else "NoReturn"
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
