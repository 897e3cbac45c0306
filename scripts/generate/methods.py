"""docs/rpc.md from the declarations of the RPC methods."""

from __future__ import annotations

import json

from btcnode.rpc.helptext import result_rows
from btcnode.rpc.method import Method
from btcnode.rpc.methods import every_method
from btcnode.rpc.shapes import Arg, Kind

HEAD = """# RPC reference

Made by `scripts/docs` from the declarations in `btcnode/rpc/methods/`; do not edit. The same declarations check the
arguments, are the text of `btcnode-cli help`, the OpenRPC document of `btcnode-cli help --openrpc` and the types of
`btcnode.rpc.typed.NodeClient`. Arguments may be given by position or by name.
"""
CELL = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", "*": "\\*"})


def _default(arg: Arg) -> str:
    if not arg.optional:
        return "required"
    if arg.hint:
        return arg.hint.translate(CELL)
    return "" if arg.default is None else f"`{json.dumps(arg.default)}`"


def _type(arg: Arg) -> str:
    if arg.label:
        return arg.label
    if arg.kind is Kind.AMOUNT:
        return "number or string"
    return {"numeric": "number", "json object": "object", "json array": "array"}.get(arg.kind.label, arg.kind.label)


def _rows(args: tuple[Arg, ...], depth: int) -> list[str]:
    rows = []
    for arg in args:
        if arg.hidden:
            continue
        name = "&nbsp;" * 4 * depth + " / ".join(f"`{name}`" for name in arg.names if name)
        rows.append(f"| {name} | {_type(arg)} | {_default(arg)} | {arg.text.translate(CELL)} |")
        rows += _rows(arg.inner, depth + 1)
    return rows


def _result(method: Method) -> list[str]:
    lines = []
    for result in method.results:
        if result.kind is Kind.ANY:
            continue
        lines += [f"Result ({result.when}):" if result.when else "Result:", "", "```"]
        rows = result_rows(result)
        width = min(max(len(left) for left, _ in rows), 44) + 2
        for left, right in rows:
            first, *more = right.split("\n") if right else [""]
            lines.append(f"{left:<{width}}{first}".rstrip())
            lines += [f"{'':<{width}}{text}".rstrip() for text in more]
        lines += ["```", ""]
    return lines


def _method(method: Method) -> list[str]:
    lines = [f"### {method.name}", "", f"`{method.usage()}`", "", method.text.strip(), ""]
    rows = _rows(method.args, 0)
    if rows:
        lines += ["| Argument | Type | Default | |", "|---|---|---|---|", *rows, ""]
    lines += _result(method)
    commands = [line[2:] for line in method.help().split("\n") if line.startswith("> btcnode-cli")]
    if any(command.split()[2:] for command in commands):
        lines += ["```sh", *commands, "```", ""]
    return lines


def reference() -> str:
    """The whole document."""
    found = sorted(every_method(), key=lambda method: (method.category == "hidden", method.category, method.name))
    categories = list(dict.fromkeys(method.category for method in found))
    lines = [HEAD]
    for category in categories:
        here = [method for method in found if method.category == category]
        lines.append(f"- **{category}**: " + " ".join(f"[{method.name}](#{method.name})" for method in here))
    lines.append("")
    for category in categories:
        lines += [f"## {category.capitalize()}", ""]
        if category == "hidden":
            lines += ["For tests and tools; not in the list of `help`.", ""]
        for method in found:
            if method.category == category:
                lines += _method(method)
    return "\n".join(lines).rstrip() + "\n"
