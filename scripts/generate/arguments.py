"""btcnode/cli/argument_table.py: how btcnode-cli reads the words of each method."""

from __future__ import annotations

from btcnode.rpc.method import Method
from btcnode.rpc.methods import every_method
from btcnode.rpc.shapes import TEXT_KINDS, Arg

HEAD = '''# ruff: noqa: E501
"""What each argument of each method is on a command line: made by scripts/docs from the declarations.

One entry for each argument in order: ``json:`` is JSON, ``any:`` JSON or else text, ``text:`` text that may hold an
equals sign, others are text. Names behind ``|`` are other names of the argument; behind ``+`` stand members of an
object that may be given by name themselves. Methods of which all arguments are simple text are left out.
"""

ARGUMENTS = {
'''


def _form(arg: Arg, *, equals: bool) -> str:
    if arg.words in ("json", "any"):
        return f"{arg.words}:"
    if arg.kind in TEXT_KINDS:
        return "text:" if equals and arg.words != "plain" else ""
    return "json:"


def _entry(method: Method) -> str:
    equals = any(arg.words == "equals" for arg in method.args)  # then no text but plain ones is taken for name=value
    words = []
    for arg in method.args:
        parts = [arg, *(arg.inner if arg.by_name else ())]
        words.append("+".join(_form(part, equals=equals) + part.name for part in parts))
    return " ".join(words)


def table() -> str:
    """The whole file."""
    lines = []
    for method in sorted(every_method(), key=lambda method: method.name):
        entry = _entry(method)
        if ":" in entry:
            lines.append(f'    "{method.name}": "{entry}",\n')
    return HEAD + "".join(lines) + "}\n"
