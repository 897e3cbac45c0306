"""Records of the node as JSON: the declaration of a record, a TypedDict class, is that of the result.

Units say how a field is shown (``primitives.units``): satoshi as coins, seconds as a number with up to sixteen digits.
Fields that are None are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, Generic, NotRequired, TypeVar, cast, get_args, get_origin, get_type_hints

from btcnode.primitives.units import Unit
from btcnode.rpc.jsonvalue import amount, double

T = TypeVar("T")


class AsJson(dict[str, Any], Generic[T]):
    """A record as JSON."""


def as_json(kind: type[T], record: T) -> AsJson[T]:
    """The record with every value as JSON shows it; ``kind`` is its TypedDict class."""
    values: Any = record
    shown: AsJson[T] = AsJson()
    for name, convert in _converters(cast(Hashable, kind)):
        value = values.get(name)
        if value is not None:
            shown[name] = value if convert is None else convert(value)
    return shown


@lru_cache(maxsize=64)
def _converters(kind: Hashable) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    return tuple((name, _converter(hint)) for name, hint in get_type_hints(kind, include_extras=True).items())


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    """What makes JSON of a value of this type; None: nothing needs be done."""
    while get_origin(hint) is NotRequired:
        (hint,) = get_args(hint)
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Unit) and mark in _BY_UNIT:
            return _BY_UNIT[mark]
    base = getattr(hint, "__origin__", hint)
    parts = [part for part in get_args(base) if part is not type(None)]
    if float in (base, *parts):
        return double
    return list if get_origin(base) is tuple else None


_BY_UNIT: dict[Unit, Callable[[Any], Any]] = {
    Unit.SATOSHI: amount,
    Unit.SECONDS: double,
    Unit.SERVICE_BITS: lambda bits: f"{bits:016x}",
}
