"""Bodies of requests: batches, versions of JSON-RPC, ids of every type, notifications, and what is none of these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .text import Raw, write
from .values import Values

LARGE = 2000  # requests of the largest batch
ABSENT = object()
VERSIONS: tuple[Any, ...] = (
    ABSENT, ABSENT, "1.0", "1.1", "2.0", "2.0", "2.0", "3.0", "2", "", None, 2, Raw("2.0"), True, [], {},
)  # fmt: skip
IDS: tuple[Any, ...] = (
    ABSENT, ABSENT, None, 0, 1, -1, Raw("1.0"), Raw("1.50"), Raw("1e2"), Raw("-0"), Raw("1" + "0" * 60), "", "a", "é",
    "\0", '"', "x" * 300, True, False, [], [1, [2]], {}, {"id": 1}, Raw('{"a":1,"a":2}'), "null",
)  # fmt: skip
CALLS: tuple[tuple[Any, Any], ...] = (
    ("getblockcount", ABSENT),
    ("getblockcount", []),
    ("getblockcount", {}),
    ("getblockcount", None),
    ("getblockcount", [1]),
    ("getblockcount", {"x": 1}),
    ("getblockhash", [0]),
    ("getblockhash", {"height": 1}),
    ("getblockhash", {"args": [2]}),
    ("getblockhash", {"args": [2], "height": 2}),
    ("getblockhash", ["1"]),
    ("getblockhash", [-1]),
    ("getblockhash", [99999]),
    ("getblockhash", [Raw("1.0")]),
    ("getblockhash", 1),
    ("getblockhash", "0"),
    ("getblockhash", True),
    ("getblockheader", ["00", False]),
    ("echo", [None, [], {}, "", Raw("1.10"), Raw("1e5")]),
    ("echojson", {"arg3": 1, "args": [0, {}]}),
    ("validateaddress", ["x"]),
    ("decodescript", ["6a"]),
    ("getnewaddress", []),
    ("GETBLOCKCOUNT", []),
    (" getblockcount", []),
    ("nosuch", []),
    ("", []),
    (None, []),
    (1, []),
    ([], []),
    ({}, []),
    (ABSENT, []),
)
NO_REQUESTS: tuple[Any, ...] = (
    None, 0, 1, Raw("1.5"), "", "getblockcount", True, False, [], {}, [[]], [[], []], [{}], [None],
    [[{"method": "getblockcount", "id": 1}]],
)  # fmt: skip


def one(values: Values) -> Any:
    """A request: method, parameters, version, id and other keys of any kind, in any order."""
    rng = values.rng
    if rng.random() < 0.05:
        return rng.choice(NO_REQUESTS)
    method, params = rng.choice(CALLS)
    parts = [("jsonrpc", rng.choice(VERSIONS)), ("id", rng.choice(IDS)), ("method", method), ("params", params)]
    parts += [(key, rng.choice((None, 1, "x"))) for key in ("extra", "result", "ID", "Method") if rng.random() < 0.05]
    present = [f"{write(key)}:{write(value)}" for key, value in parts if value is not ABSENT]
    if rng.random() < 0.05:
        present.append(rng.choice(present))  # a key twice
    rng.shuffle(present)
    return Raw("{" + ",".join(present) + "}")


def bodies(values: Values, cases: int) -> Iterator[str]:
    """Every call with every version and some ids, then single requests and batches by chance, then a very large one."""
    for body in NO_REQUESTS:
        yield write(body)
    for method, params in CALLS:
        for version in dict.fromkeys(map(_text, VERSIONS)):
            head = [part for part in (version, '"id":7', _text(method, "method"), _text(params, "params")) if part]
            yield "{" + ",".join(head) + "}"
            yield "{" + ",".join(part for part in head if not part.startswith('"id"')) + "}"
            yield "[{" + ",".join(head) + "},{" + ",".join(head[:1] + head[2:]) + "}]"
    for number in IDS:
        for version in ("", '"jsonrpc":"2.0",'):
            if number is not ABSENT:
                yield f'{{{version}"method":"getblockcount","id":{write(number)}}}'
                yield f'[{{{version}"method":"x","id":{write(number)}}}]'
    for _ in range(cases * 20):
        many = values.rng.choice((0, 1, 2, 3, 7))
        yield write(one(values)) if not many else write([one(values) for _ in range(many)])
    yield write([one(values) for _ in range(LARGE)])
    yield write([{"jsonrpc": "2.0", "method": "getblockcount"}] * LARGE)
    yield write([{"jsonrpc": "2.0", "id": n, "method": "getblockcount"} for n in range(LARGE)])


def _text(value: Any, key: str = "jsonrpc") -> str:
    return "" if value is ABSENT else f'"{key}":{write(value)}'
