"""Docstrings of what is public say something: more than the name again, and which of our errors it raises.

That they are there at all ruff sees to (D1).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "btcnode"
EMPTY_WORDS = {
    "",
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "by",
    "for",
    "from",
    "in",
    "is",
    "it",
    "of",
    "on",
    "or",
    "the",
    "to",
    "with",
}
EVERYWHERE = {"RpcError"}  # what every handler of a method answers the user's faults with
Function = ast.FunctionDef | ast.AsyncFunctionDef


def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in sorted(ROOT.rglob("*.py"))]


def bases_of(every: list[tuple[Path, ast.Module]]) -> dict[str, ast.ClassDef]:
    return {node.name: node for _, tree in every for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def ancestors(name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
    """The class and those that it inherits from, by name."""
    found = {name}
    for base in classes[name].bases if name in classes else ():
        found |= ancestors(ast.unparse(base).split("[")[0].split(".")[-1], classes)
    return found


def public_functions(node: ast.Module | ast.ClassDef) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    for item in node.body:
        if isinstance(item, ast.ClassDef) and not item.name.startswith("_"):
            yield from public_functions(item)
        elif isinstance(item, Function) and (not item.name.startswith("_") or item.name == "__init__"):
            yield (node if isinstance(node, ast.ClassDef) else None), item


def words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z0-9]+", text.lower())} - EMPTY_WORDS


def raised(node: ast.AST) -> Iterator[str]:
    """Names of the errors that are raised by name and not caught by it, not counting functions inside."""
    for item in ast.iter_child_nodes(node):
        if isinstance(item, Function | ast.Lambda):
            continue
        if isinstance(item, ast.Try):
            caught = " ".join(ast.unparse(handler.type) for handler in item.handlers if handler.type is not None)
            inside = [name for part in item.body for name in raised(ast.Module([part], []))]
            yield from (name for name in inside if not re.search(rf"\b{name}\b", caught))
            yield from raised(ast.Module([*item.handlers, *item.orelse, *item.finalbody], []))  # type: ignore[list-item]
            continue
        if isinstance(item, ast.Raise) and item.exc is not None:
            yield ast.unparse(item.exc.func if isinstance(item.exc, ast.Call) else item.exc).split(".")[-1]
        yield from raised(item)


def test_docstrings_are_more_than_the_name() -> None:
    wrong = []
    for path, tree in trees():
        for owner, function in public_functions(tree):
            text = ast.get_docstring(function)
            known = function.name.replace("_", " ") + re.sub(r"([A-Z])", r" \1", owner.name if owner else "")
            if text is not None and words(text) <= words(known):
                wrong.append(f"{path.relative_to(ROOT.parent)}:{function.lineno} {function.name}: {text}")
    assert not wrong, "\n".join(wrong)


def test_errors_that_are_raised_are_named() -> None:
    """In the docstring of the function, its class or its module, or where a class above says it for all."""
    every = trees()
    classes = bases_of(every)
    ours = {name for name in classes if "BtcnodeError" in ancestors(name, classes)} - EVERYWHERE
    wrong = []
    for path, tree in every:
        for owner, function in public_functions(tree):
            places: list[ast.Module | ast.ClassDef | Function] = [tree, function]
            for name in ancestors(owner.name, classes) if owner is not None else ():
                if name in classes:
                    above = [item for item in classes[name].body if isinstance(item, Function)]
                    places += [classes[name], *(item for item in above if item.name == function.name)]
            told = " ".join(ast.get_docstring(place) or "" for place in places)
            for error in {name for name in raised(function) if name in ours}:
                if not any(re.search(rf"\b{name}\b", told) for name in ancestors(error, classes)):
                    wrong.append(f"{path.relative_to(ROOT.parent)}:{function.lineno} {function.name} raises {error}")
    assert not wrong, "\n".join(wrong)
