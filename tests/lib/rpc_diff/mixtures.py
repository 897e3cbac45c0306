"""Arguments by position and by name mixed in every way, right and wrong, for every method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cases import CHANGING, METHODS, OPTIONS, Case, Cases
from .text import Raw, write
from .values import Values

LEFT_OUT = frozenset({"stop", "waitfornewblock", "waitforblock", "waitforblockheight", "generatetoaddress",
                      "generatetodescriptor", "generateblock", "setmocktime", "mockscheduler", "setnetworkactive",
                      "dumptxoutset", "pruneblockchain", "invalidateblock", "reconsiderblock", "preciousblock",
                      "loadtxoutset", "importmempool", "savemempool"})  # fmt: skip


def cases(values: Values, _cases: int) -> Iterator[Case]:
    """Each method in turn."""
    known = Cases(values)
    for method, arguments in {**METHODS, **CHANGING}.items():
        if method in LEFT_OUT:
            continue
        names = [names.split("|")[0] for names, _ in arguments]
        given = [known.value(role) for _, role in arguments]
        for params in _mixed(names, given):
            yield Case(method, params)
        for names_here, role in arguments:
            if role.startswith("options:"):
                yield from _with_options(method, names, given, names_here, role.partition(":")[2])
            for other in names_here.split("|")[1:]:
                at = names.index(names_here.split("|")[0])
                yield Case(method, {**dict(zip(names[:at], given, strict=False)), other: given[at]})
                yield Case(method, {names[at]: given[at], other: given[at]})
                yield Case(method, {"args": given[: at + 1], other: given[at]})


def _mixed(names: list[str], given: list[Any]) -> Iterator[Any]:
    both = dict(zip(names, given, strict=True))
    yield both
    yield dict(reversed(both.items()))
    yield {name.upper(): value for name, value in both.items()}
    for count in range(len(names) + 1):
        yield {"args": given[:count], **dict(list(both.items())[count:])}
        yield {**dict(list(both.items())[count:]), "args": given[:count]}
        yield {"args": [*given[:count], None], **dict(list(both.items())[count:])}
        yield {"args": given[:count], **dict.fromkeys(names[count:])}
        if count:
            yield {"args": given[:count], names[count - 1]: given[count - 1]}
            yield {"args": given[:count], names[count - 1]: None}
            yield {"args": [*given[: count - 1], None], names[count - 1]: given[count - 1]}
            yield {name: value for name, value in both.items() if name != names[count - 1]}
            yield {**both, names[count - 1]: None}
            twice = f"{write(names[count - 1])}:{write(given[count - 1])}"
            yield Raw("{" + twice + "," + twice + "}")
            yield Raw("{" + f'"args":{write(given[:count])},' + twice + "," + twice + "}")
    for odd in (None, 1, "x", {}, {"0": 1}, True):
        yield {"args": odd}
        yield {"args": odd, **both}
    yield {"args": given, "unknown": None}
    yield {"args": [given]}
    yield {"args": [], "": 1}
    yield {"": None, **both}
    yield Raw('{"args":[],"args":[]}')
    yield Raw(f'{{"args":{write(given[:1])},"args":{write(given)}}}')


def _with_options(method: str, names: list[str], given: list[Any], options: str, kind: str) -> Iterator[Case]:
    """The keys of an object of options stand for themselves among named arguments in some methods."""
    keys = [key for key, _ in OPTIONS[kind]]
    at = names.index(options)
    before = dict(zip(names[:at], given, strict=False))
    for key in keys:
        for value in (True, False, None, 1, "x"):
            yield Case(method, {**before, key: value})
            yield Case(method, {"args": given[:at], key: value})
            yield Case(method, {**before, options: {key: value}, key: value})
            yield Case(method, {**before, options: {}, key: value})
            yield Case(method, {**before, key: value, options: None})
            yield Case(method, {"args": [*given[:at], {key: value}], key: value})
            yield Case(method, {**before, f"{options}.{key}": value})
    yield Case(method, {**before, **dict.fromkeys(keys, True)})
    yield Case(method, {**before, **dict.fromkeys(keys, True), "unknown": 1})
