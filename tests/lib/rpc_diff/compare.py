"""Which differences between two answers count, and of what kind they are."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .setup import tips_in_order
from .text import Number, Tree, parse

MISSING = "(missing)"

# What differs for a reason that docs/differences.md gives: method -> keys on the way to the value ("*": any item).
BY_INTENT: dict[str, tuple[str, ...]] = {
    "getchainstates": ("chainstates.*.coins_db_cache_bytes", "chainstates.*.coins_tip_cache_bytes"),
    "getmemoryinfo": ("",),
    "exportasmap": ("",),
    "stop": ("",),
    "getnetworkinfo": ("version", "subversion", "warnings:length", "localrelay"),
    "getblockchaininfo": ("size_on_disk", "warnings:length"),
    "getmininginfo": ("warnings:length",),
    "getmempoolinfo": ("usage",),
    "getnettotals": ("totalbytesrecv", "totalbytessent", "timemillis"),
    "getrpcinfo": ("logpath", "active_commands.*.duration"),
    "gettxoutsetinfo": ("disk_size",),
    "dumptxoutset": ("path",),
    "savemempool": ("filename",),
    "uptime": ("",),
    "getblocktemplate": ("longpollid",),
    "joinpsbts": ("",),  # in random order
    "rest": ("usage", "warnings:length"),
    "help": ("",),
    "echoipc": ("",),
}
_HELP = re.compile(r"^([a-z]+)[ \n]", re.ASCII)
_PLACES = (
    (re.compile(r"/[\w./-]*/(ours|core)/"), "/DIR/"),  # own directories
    (re.compile(r"\b(ours|core)\b"), "NODE"),
)
_SHAPE = (
    (re.compile(r"[0-9a-fA-F]{16,}"), "H"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"'[^']*'"), "'Q'"),
    (re.compile(r'"[^"]*"'), '"Q"'),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said: HTTP status, body, content type."""

    status: int
    body: bytes
    content_type: str


def without_places(text: str) -> str:
    """Text without what names the node's own directory."""
    for pattern, put in _PLACES:
        text = pattern.sub(put, text)
    return text


def _is_help(method: str, answer: Tree) -> bool:
    """Whether an error carries the method's help, as after a wrong count of parameters."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return False
    text = error.get("message")
    if not isinstance(text, str):
        return False
    found = _HELP.match(text)
    return found is not None and found[1] == method and "\n\n" in text


def differing(ours: Tree, theirs: Tree, path: str = "") -> Iterator[tuple[str, Tree, Tree]]:
    """Where two trees differ: path (array indexes as ``*``), our value, their value."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if list(ours) != list(theirs):
            if set(ours) == set(theirs):
                yield f"{path}:order of keys", list(ours), list(theirs)
            for key in {**theirs, **ours}:
                if key not in ours or key not in theirs:
                    yield f"{path}.{_key(key)}", ours.get(key, MISSING), theirs.get(key, MISSING)
        for key, value in ours.items():
            if key in theirs:
                yield from differing(value, theirs[key], f"{path}.{_key(key)}")
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{path}:length", len(ours), len(theirs)
        if ours != theirs and _sorted(ours) == _sorted(theirs):
            yield f"{path}:order", ours, theirs
            return
        for one, other in zip(ours, theirs, strict=False):
            yield from differing(one, other, f"{path}.*")
    elif type(ours) is not type(theirs) or ours != theirs:
        yield path, ours, theirs


def _key(key: str) -> str:
    """A key in a path: hashes and numbers are all the same there."""
    return "*" if re.fullmatch(r"[0-9a-f]{64}|\d+", key) else key


def _sorted(values: list[Tree]) -> list[str]:
    return sorted(map(repr, values))


def _shape(value: Tree) -> str:
    """A value as it stands in the name of a kind."""
    if isinstance(value, Number):
        return "number"
    if not isinstance(value, str):
        return type(value).__name__
    text = str(value)
    for pattern, put in _SHAPE:
        text = pattern.sub(put, text)
    return text[:160]


def _excused(method: str, path: str) -> bool:
    if path.startswith(".error") and method == "exportasmap":
        return True  # no map ships with the package
    if method != "rest" and not path.startswith(".result"):
        return False
    rest = path.removeprefix(".result").lstrip(".")
    return any(name in ("", rest) or rest.startswith(name + ".") for name in BY_INTENT.get(method, ()))


def kinds(method: str, ours: Answer, theirs: Answer) -> list[tuple[str, str, str]]:
    """The kinds of difference: name, our part, their part; empty when the answers are the same."""
    if ours == theirs:
        return []
    found: list[tuple[str, str, str]] = []
    if ours.status != theirs.status:
        found.append(("status", str(ours.status), str(theirs.status)))
    if ours.content_type != theirs.content_type:
        found.append(("content type", ours.content_type, theirs.content_type))
    try:
        one, other = parse(ours.body), parse(theirs.body)
    except ValueError:
        if ours.body != theirs.body:
            found.append(("body", repr(ours.body[:300]), repr(theirs.body[:300])))
        return found
    if method == "getchaintips" and ours.status == theirs.status == http.client.OK:
        one["result"], other["result"] = tips_in_order(one["result"]), tips_in_order(other["result"])
    if _is_help(method, one) and _is_help(method, other):
        return found
    if found and isinstance(one, dict) and isinstance(other, dict):
        found.clear()  # the bodies tell why the status is another
    before = len(found)
    for path, mine, its in differing(one, other):
        if isinstance(mine, str) and isinstance(its, str) and without_places(mine) == without_places(its):
            continue
        if not _excused(method, path):
            found.append((_name(path, mine, its), without_places(str(mine)), without_places(str(its))))
    if len(found) == before and one == other and method != "getchaintips" and ours.body != theirs.body:
        found.append(("text", repr(ours.body[:300]), repr(theirs.body[:300])))
    return _joined(found)


def _name(path: str, ours: Tree, theirs: Tree) -> str:
    if path.startswith(".error"):
        return f"{path}: {_shape(ours)} | {_shape(theirs)}"
    return path


def _joined(found: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Parts of one error object, or an error against a result, are one kind; each name once."""
    errors = [part for part in found if part[0].startswith((".error", "status"))]
    rest = [part for part in found if not part[0].startswith((".error", "status"))]
    if errors and rest:  # one answered, the other refused
        whole = list(errors + rest)
        return [("refusal: " + "; ".join(part[0] for part in errors), *_columns(whole))]
    out = [("; ".join(part[0] for part in errors), *_columns(errors))] if errors else []
    once = {part[0]: part for part in reversed(rest)}
    return out + list(once.values())


def _columns(parts: list[tuple[str, str, str]]) -> tuple[str, str]:
    return "; ".join(part[1] for part in parts), "; ".join(part[2] for part in parts)
