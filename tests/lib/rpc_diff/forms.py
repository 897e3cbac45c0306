"""A right call in many forms: texts in other letters, numbers of other types, arrays and objects turned inside out.

Each by position, by name or both, in each version of JSON-RPC, and its JSON text written in every way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random

from .cases import CHANGING, METHODS, Case, Cases
from .mixtures import LEFT_OUT
from .text import Raw, Tree, write
from .values import Values

VERSIONS = ("", "", "1.0", "1.1", "2.0", "2.0")
WIDE = str.maketrans("0123456789abcdef", "０１２３４５６７８９ａｂｃｄｅｆ")
DEPTHS = (1, 2, 3, 100, 509, 510, 511, 512, 513, 514, 2000)
SPACES = (
    "",
    " ",
    "\t",
    "\r\n",
    "\n\n",
    "\f",
    "\v",
    "\0",
    "\u00a0",
    "\u2028",
    "\ufeff",
    "//\n",
    "/**/",
    "#\n",
    ",",
    "\\",
    "é",
)
NO_ARGUMENTS: tuple[Tree, ...] = ([], {}, [None], {"args": []}, {"args": [None]}, {"x": 1})
SAID = (  # method and parameters as text
    ("getblockcount", "[]"),
    ("getblockhash", "[0]"),
    ("getblockhash", '{"height":0}'),
    ("echo", '["é\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\"\\\\"]'),
    ("echojson", '[{"a":{"b":[1,2.50,null,true,false,"x"]}}]'),
    ("getblock", "[1,2]"),
    ("nosuch", "[]"),
)


def forms(value: Tree, rng: Random) -> list[Tree]:
    """What may be given in the place of a value that is right, or nearly so."""
    if type(value) is bool:
        return [not value, int(value), str(value).lower(), str(value), Raw(f"{int(value)}.0"), [value], {"": value}]
    if isinstance(value, Raw):
        return [str(value), Raw(f"{value}0"), Raw(f" {value} "), Raw(f"[{value}]"), Raw(f"-{value}"), Raw(f"0{value}")]
    if isinstance(value, int | float):
        return _of_number(value)
    if isinstance(value, str):
        return _of_text(value)
    if isinstance(value, list | tuple):
        return _of_list(list(value), rng)
    if isinstance(value, dict):
        return _of_object(value, rng)
    return [False, 0, "", [], {}, "null"]


def _of_number(value: float) -> list[Tree]:
    return [
        str(value), f" {value}", f"{value}.0", Raw(f"{value}.0"), Raw(f"{value}e0"), Raw(f"{value}.9"),
        Raw(f"{value}00e-2"), -value, value + 1, value - 1, int(value) + 2**32, int(value) + 2**64, int(value) - 2**32,
        bool(value), [value], {"": value}, hex(int(value)), str(value).translate(WIDE),
        Raw(f"{value}." + "0" * 300 + "1"), Raw(f"+{value}"),
    ]  # fmt: skip


def _of_text(text: str) -> list[Tree]:
    escaped = Raw('"' + "".join(f"\\u{unit:04X}" for unit in _utf16(text)) + '"')
    found: list[Tree] = [
        text.upper(), text.lower(), text.swapcase(), text.capitalize(), f" {text}", f"{text} ", f"{text}\n",
        f"\t{text}", f"{text}\0", f"\0{text}", f"\ufeff{text}", f"{text}é", f"{text}\u200b", text[:-1], text[1:],
        text + text, f"0x{text}", text.translate(WIDE), f'"{text}"', [text], [[text]], {text: text}, {"": text},
        escaped, text[::-1], f"-{text}", f"{text},{text}", f"{text}#", f"{text}\\", "\U0001f600" * 40,
        text.replace("0", "O"), f"{text}=", f"%{text}",
    ]  # fmt: skip
    if text.isascii() and text.isdecimal():
        found.append(Raw(text))
    return found


def _utf16(text: str) -> Iterator[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2))


def _of_list(items: list[Tree], rng: Random) -> list[Tree]:
    found: list[Tree] = [
        [], items[::-1], items + items, [*items, None], [None, *items], [items], [[item] for item in items],
        {str(n): item for n, item in enumerate(items)}, write(items), items * 30,
        [*items, {}], [*items, []], [*items, ""],
    ]  # fmt: skip
    if items:
        at = rng.randrange(len(items))
        found += [items[at], items[:at] + items[at + 1 :]]
        found += [[*items[:at], form, *items[at + 1 :]] for form in forms(items[at], rng)]
    return found


def _of_object(parts: dict[str, Tree], rng: Random) -> list[Tree]:
    texts = [f"{write(key)}:{write(value)}" for key, value in parts.items()]
    found: list[Tree] = [
        {}, [parts], [[key, value] for key, value in parts.items()], write(parts), dict(reversed(parts.items())),
        {**parts, "": None}, {**parts, "é": 1}, {**parts, "a\0": 1}, dict.fromkeys(parts), list(parts), {"": parts},
        {f"{key} ": value for key, value in parts.items()}, {f"_{key}": value for key, value in parts.items()},
        Raw("{" + ",".join(texts + texts) + "}"), Raw("{ " + " , ".join(texts[::-1]) + " }"),
    ]  # fmt: skip
    for key in parts:
        found.append({**parts, key: None})
        found.append({key: parts[key]})
        some = forms(parts[key], rng)
        found += [{**parts, key: form} for form in rng.sample(some, min(8, len(some)))]
    return found


def named(names: Sequence[str], params: Sequence[Tree], rng: Random) -> Tree:
    """The parameters by position, by name, or those before a place by position."""
    roll = rng.random()
    if roll < 0.5 or not names:
        return list(params)
    pairs = list(zip(names, params, strict=True))
    if roll < 0.75:
        rng.shuffle(pairs)
        return dict(pairs)
    first = rng.randint(0, len(params))
    return {"args": list(params[:first])} | dict(pairs[first:])


def cases(values: Values, count: int) -> Iterator[Case | str]:
    """``count`` forms of each argument of each method, then requests whose JSON is written otherwise."""
    known, rng = Cases(values), values.rng
    for method, arguments in {**METHODS, **CHANGING}.items():
        if method in LEFT_OUT:
            continue
        for at in range(len(arguments)):
            given = [known.value(role) for _, role in arguments]
            tried = forms(given[at], rng)
            for form in rng.sample(tried, min(count, len(tried))):
                names = [rng.choice(names.split("|")) for names, _ in arguments]
                params = [*given[:at], form, *given[at + 1 :]][: at + 1 if rng.random() < 0.3 else None]
                yield Case(method, named(names[: len(params)], params, rng), version=rng.choice(VERSIONS))
        if not arguments:
            for params in NO_ARGUMENTS:
                yield Case(method, params, version=rng.choice(VERSIONS))
    yield from texts()


def texts() -> Iterator[str]:
    """Bodies: escapes in names, space of every kind, arrays and objects of every depth."""
    for method, params in SAID:
        for said in (
            _escaped(method),
            json.dumps(method.upper()),
            f'"{method}\\u0000"',
            f'" {method}"',
            f'["{method}"]',
        ):
            yield f'{{"method":{said},"params":{params},"id":1}}'
        yield f'{{"\\u006dethod":"{method}","p\\u0061rams":{params},"\\u0069d":1}}'
        yield f'{{"METHOD":"{method}","method":"{method}","PARAMS":[5],"params":{params},"id":1}}'
        yield f'{{"method":"x","method":"{method}","params":[9,9],"params":{params},"id":0,"id":1}}'
        yield f'{{"method":"{method}","params":{params},"id":1}}{{"method":"{method}"}}'
        for space in SPACES:
            yield f'{space}{{"method":"{method}","params":{params},"id":1}}'
            yield f'{{"method":"{method}","params":{params},"id":1}}{space}'
            yield f'{{{space}"method"{space}:{space}"{method}"{space},{space}"params":{params},"id":1}}'
            yield f'[{space}{{"method":"{method}","params":{params},"id":1}}{space}]'
    makers: tuple[Callable[[int], str], ...] = (
        lambda depth: "[" * depth + "]" * depth,
        lambda depth: '{"a":' * depth + "1" + "}" * depth,
        lambda depth: '[{"a":' * (depth // 2) + "1" + "}]" * (depth // 2),
        lambda depth: "[" * depth,
        lambda depth: "[[]," * depth + "1" + "]" * depth,
    )
    for depth in DEPTHS:
        for maker in makers:
            yield f'{{"method":"echojson","params":[{maker(depth)}],"id":1}}'
            yield f'{{"method":"getblockcount","params":[],"id":{maker(depth)}}}'
            yield maker(depth)


def _escaped(text: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'
