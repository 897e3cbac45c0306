"""The help of every method beside Bitcoin Core's: the same structure, in our own words.

Compared are the usage line, arguments with their types and defaults, members of objects and arrays, the forms of
results with their conditions, their keys, types and order; not what describes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from btcnode.rpc.method import Method
from btcnode.rpc.methods import every_method
from tests.lib.bitcoind import Bitcoind, find_bitcoind

_SECTION = re.compile(r"Arguments:|Named Arguments:|Result(?: \(.*\))?:")
_COLUMN = re.compile(r"(.*?\S) {4,}(?=\()")


def _words(text: str) -> str:
    """The words in the first parentheses, in which others may stand."""
    depth = 0
    for n, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return text[: n + 1]
    return text


def _rows(lines: list[str]) -> list[str]:
    """What stands left, and the words on the type."""
    starts = [match.end() for match in map(_COLUMN.match, lines) if match]
    column = min(starts, default=10**6)
    rows = []
    for line in lines:
        left, right = line[:column].rstrip(), line[column:]
        if left:
            rows.append(f"{left}  {_words(right)}" if right.startswith("(") else left)
    return rows


def structure(text: str) -> list[str]:
    """Lines that tell the structure of a help text."""
    lines = text.rstrip().split("\n")
    found = [lines[0]]
    section: list[str] | None = None
    for line in lines[1:]:
        if line == "Examples:":
            break
        if _SECTION.fullmatch(line):
            found += _rows(section or [])
            found.append(line)
            section = []
        elif section is not None and line:
            section.append(line)
    return found + _rows(section or [])


HELP = """x "a"

Words.

Arguments:
1. a    (string, optional, default=b (c)) Text
          more

Result (d):
{}    (y) z

Examples:
> x
"""


def test_structure() -> None:
    assert structure(HELP) == [
        'x "a"',
        "Arguments:",
        "1. a  (string, optional, default=b (c))",
        "Result (d):",
        "{}  (y)",
    ]


OWN_LINES = {
    "getmemoryinfo": ['  "process" : {  (json object)', '    "peak_resident" : n  (numeric)', "  }"],
    "getchainstates": [
        '  "utxo_set_download" : {  (json object, optional)',
        '    "blockhash" : "hex",  (string)',
        '    "height" : n,  (numeric)',
        '    "state" : "str",  (string)',
        '    "chunks" : n,  (numeric)',
        '    "chunks_stored" : n,  (numeric)',
        '    "size" : n,  (numeric)',
        '    "peers" : n,  (numeric)',
        '    "error" : "str"  (string, optional)',
        "  }",
    ],
}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    daemon = find_bitcoind()
    if daemon is None:
        pytest.skip("no bitcoind: set BTCNODE_BITCOIND")
    with Bitcoind(daemon, tmp_path_factory.mktemp("core")) as running:
        yield running


def _without(lines: list[str], own: list[str]) -> list[str]:
    """The lines less those of our own, which stand together; the comma before them goes with them."""
    if not own:
        return lines
    start = next(n for n in range(len(lines)) if lines[n : n + len(own)] == own)
    return [*lines[: start - 1], lines[start - 1].removesuffix(","), *lines[start + len(own) :]]


@pytest.mark.parametrize("method", every_method(), ids=lambda method: method.name)
def test_help_has_cores_structure(core: Bitcoind, method: Method) -> None:
    expected = core.rpc("help", method.name)
    if method.own:
        assert expected == f"help: unknown command: {method.name}"
        return
    assert _without(structure(method.help()), OWN_LINES.get(method.name, [])) == structure(expected)
