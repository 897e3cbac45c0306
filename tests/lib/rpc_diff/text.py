"""JSON with its text kept: numbers as they are written, keys in their order; and requests with any text in them."""

from __future__ import annotations

import json
from typing import Any

Tree = Any  # str, Number, bool, None, list or dict of these


class Number(str):
    """A number as its text stands."""

    __slots__ = ()


class Raw(str):
    """Text that goes into a request as it is: numbers that Python cannot hold, objects that name a key twice."""

    __slots__ = ()


def parse(data: bytes) -> Tree:
    """Parse an answer; raises ValueError."""
    return json.loads(data.decode("utf-8", "surrogateescape"), parse_int=Number, parse_float=Number)


def write(value: Tree) -> str:
    """JSON text of a request's value."""
    if isinstance(value, Raw | Number):
        return str(value)
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(str(key), ensure_ascii=False)}:{write(v)}" for key, v in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def request(method: str, params: Tree, version: str = "") -> str:
    """The body of a call with a fixed id; without a ``version`` of JSON-RPC it is taken for 1.1."""
    head = f'"jsonrpc":{json.dumps(version)},' if version else ""
    return f'{{{head}"method":{json.dumps(method)},"params":{write(params)},"id":1}}'
