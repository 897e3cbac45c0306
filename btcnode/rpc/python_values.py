"""What a Python program gives to a method, as the values that a request's JSON would have brought."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import MAX_DEPTH, Number, Written

_PLAIN_DIGITS = 40  # of decimal numbers that are written out; a larger exponent would make a text of any length
_INT_DIGITS = 20  # whole numbers of more stay as they are written, as those that are read


def arguments(params: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """The ``params`` of a request: an object where there are named ones, those without a name being its ``args``.

    Raises RpcError for what JSON has not.
    """
    if not named:
        return [as_json(value) for value in params]
    given = {key: as_json(value) for key, value in named.items()}
    return {**given, "args": [as_json(value) for value in params]} if params else given


def as_json(value: Any, depth: int = MAX_DEPTH - 2) -> Any:
    """The value with decimal and very long numbers as JSON writes them, tuples as arrays.

    ``depth`` is how many arrays and objects may lie inside one another; two are the request's own. Raises RpcError for
    what JSON has not: other types, NaN, keys that are no text, half of a surrogate pair.
    """
    if value is None or isinstance(value, bool | Number | Written):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return value if abs(value) < 10**_INT_DIGITS else Number(str(Decimal(value)))
    if isinstance(value, float | Decimal):
        return _fraction(value)
    if not isinstance(value, dict | list | tuple):
        raise RpcError(RpcCode.TYPE_ERROR, f"{type(value).__name__} is not JSON")
    if not depth:
        raise RpcError(RpcCode.TYPE_ERROR, "nested too deeply")
    if isinstance(value, dict):
        members = {}
        for key, item in value.items():  # no comprehension: that would be two frames of Python's for each level
            members[_key(key)] = as_json(item, depth - 1)
        return members
    items = []
    for item in value:
        items.append(as_json(item, depth - 1))
    return items


def _text(text: str) -> str:
    try:
        text.encode("utf-8", "surrogateescape")  # file names of the system may be other bytes than UTF-8
    except UnicodeEncodeError:
        raise RpcError(RpcCode.TYPE_ERROR, "half of a surrogate pair is not JSON") from None
    return text


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise RpcError(RpcCode.TYPE_ERROR, f"{type(key).__name__} is not JSON as the key of an object")
    return _text(key)


def _fraction(value: float | Decimal) -> Any:
    if isinstance(value, float):
        if math.isfinite(value):
            return value
    elif value.is_finite():
        exponent = int(value.as_tuple().exponent)
        if exponent >= 0 and value.adjusted() < _INT_DIGITS and (value or not value.is_signed()):
            return int(value)
        return Number(f"{value:f}" if -_PLAIN_DIGITS <= exponent <= 0 else str(value))
    raise RpcError(RpcCode.TYPE_ERROR, f"{value} is not JSON")
