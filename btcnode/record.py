"""Records: classes whose fields are given once and never changed, of which a node has hundreds.

A frozen dataclass compiles eight methods from text when its module is loaded, which was a third of the time in which a
node starts, and stores each field by a call. A record compiles its ``__init__`` only; it has the other methods from
here. That nobody sets a field later is checked by mypy, not at run time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self._compared)


def _hash(self: Any) -> int:
    return hash(tuple([getattr(self, name) for name in self._compared]))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """Make a record of a class with annotated fields, as ``dataclass(frozen=True, slots=True)`` would.

    Methods that the class defines itself stay.
    """
    own = cls.__dict__
    made: Any = dataclass(repr=False, eq=False, slots=True)(cls)
    made._shown = tuple(item.name for item in fields(made) if item.repr)
    made._compared = tuple(item.name for item in fields(made) if item.compare)
    for name, method in (("__repr__", _repr), ("__eq__", _eq), ("__hash__", _hash)):
        if name not in own:
            setattr(made, name, method)
    return made  # type: ignore[no-any-return]
