"""Classes of fields, of which a node has hundreds: records, whose fields are given once, and structs, whose change.

A dataclass compiles its methods from text when its module is loaded: for all of them that was a third of the time in
which a node starts, and most are not needed before the first answer. These compile ``__init__`` when the first object
is made, have their other methods from here, and become what ``dataclasses`` knows (``fields``, ``replace``, ``asdict``)
when it asks. A frozen dataclass also stores each field by a call; that nobody sets a record's field later is checked by
mypy, not at run time.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, dataclass_transform, overload

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import replace as replace  # what mypy knows of it counts for the one below, too
else:

    def replace(thing, /, **changes):
        """As ``dataclasses.replace``, for records and structs, whose classes stay as they are. Raises as it does."""
        return _replace(thing, **changes)


T = TypeVar("T")

OF_DATACLASSES = ("__dataclass_fields__", "__dataclass_params__")


class _Made(Protocol):
    """What is kept of a class beside its methods."""

    _fields_given: dict[str, tuple[Any, Any, bool | None]]  # annotation, default or ``Field``, whether by name only
    _shown: tuple[str, ...]
    _compared: Callable[[Any], Any]
    _hashed: Callable[[Any], Any]


class _AsDataclass:
    """What ``dataclasses`` keeps of a class under ``name``, made when somebody asks."""

    def __init__(self, kind: type, name: str) -> None:
        self._kind, self._name = kind, name

    def __get__(self, instance: object, owner: type) -> Any:
        kind: Any = self._kind
        # with a text, as one would be made of the signature otherwise
        body: dict[str, Any] = {"__doc__": " ", "__module__": kind.__module__, "__annotations__": {}}
        for name, (annotation, given, kw_only) in kind._fields_given.items():
            body["__annotations__"][name] = annotation
            known = given if isinstance(given, Field) else field() if given is MISSING else field(default=given)
            known.kw_only = kw_only
            body[name] = known
        twin: Any = dataclass(init=False, repr=False, eq=False)(type(kind.__name__, (), body))
        for name in OF_DATACLASSES:
            setattr(kind, name, getattr(twin, name))
        return getattr(twin, self._name)


def _repr(self: _Made) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
    return f"{type(self).__qualname__}({shown})"


def _eq(self: _Made, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    compared = self._compared
    return compared(self) == compared(other)


def _hash(self: _Made) -> int:
    return hash(self._hashed(self))


def _replace(self: Any, /, **changes: Any) -> Any:
    for name, given in fields_given(type(self)).items():
        if not _attribute(given, "init"):
            if name in changes:
                raise ValueError(f"{type(self).__qualname__}.{name} is not given to who makes an object")
        elif name not in changes:
            changes[name] = getattr(self, name)
    return type(self)(**changes)


def fields_given(kind: Any) -> dict[str, Any]:
    """The fields of a record or struct in order: what ``field`` made, a default, or ``MISSING``.

    For who asks about many classes: ``fields`` has each become a dataclass first.
    """
    return {name: given for name, (_, given, _) in kind._fields_given.items()}


def _collect(cls: type) -> dict[str, tuple[Any, Any, bool | None]]:
    """Fields by name, those of base classes first: annotation, default (a ``Field``, a value or ``MISSING``)."""
    found: dict[str, tuple[Any, Any, bool | None]] = {}
    for base in cls.__mro__[:0:-1]:
        found |= base.__dict__.get("_fields_given", {})
    for name, annotation in cls.__annotations__.items():
        if "ClassVar" not in str(annotation):
            found[name] = (annotation, cls.__dict__.get(name, MISSING), None)
    return found


def _attribute(given: Any, name: str) -> bool:
    return bool(getattr(given, name)) if isinstance(given, Field) else True


def _is_hashed(given: Any) -> bool:
    """Whether a field that is compared counts for the hash."""
    return not isinstance(given, Field) or given.hash is not False


def _values_of(names: list[str]) -> Callable[[Any], Any]:
    """What gives the values of these fields, to compare and to hash; the same for all objects where there is none."""
    return attrgetter(*(names or ["__class__"]))


def _by_name_only(given: Any, all_are: bool) -> bool:
    own = getattr(given, "kw_only", MISSING) if isinstance(given, Field) else MISSING
    return all_are if own is MISSING else bool(own)


def _check_order(cls: type, given: dict[str, tuple[Any, Any, bool]]) -> None:
    """Raise TypeError where a field that has to be given follows one that need not be."""
    may_be_left_out = ""
    for name, (_, default, keyword) in given.items():
        if keyword or not _attribute(default, "init"):
            continue
        if _default(default)[0] is not MISSING:
            may_be_left_out = name
        elif may_be_left_out:
            raise TypeError(f"{cls.__qualname__}.{name} has no default, and {may_be_left_out} before it has one")


def _default(given: Any) -> tuple[Any, bool]:
    """A field's default, and whether it is to be called for each object."""
    if not isinstance(given, Field):
        return given, False
    if given.default_factory is not MISSING:
        return given.default_factory, True
    return given.default, False


def _compile_init(cls: Any) -> Any:
    """The method that sets all fields, as a dataclass would have it."""
    head: list[str] = []
    keywords: list[str] = []
    body: list[str] = []
    names: dict[str, Any] = {"_none": MISSING}
    for name, (_, given, kw_only) in cls._fields_given.items():
        default, called = _default(given)
        names[f"_default_{name}"] = default
        value = name
        if not _attribute(given, "init"):
            if default is MISSING:
                continue
            value = f"_default_{name}" + ("()" if called else "")
        else:
            preset = "" if default is MISSING else "=_none" if called else f"=_default_{name}"
            (keywords if kw_only else head).append(name + preset)
            if called:
                value = f"_default_{name}() if {name} is _none else {name}"
        body.append(f" self.{name} = {value}\n")
    if hasattr(cls, "__post_init__"):
        body.append(" self.__post_init__()\n")
    parameters = ", ".join(["self", *head, *(["*", *keywords] if keywords else [])])
    exec(f"def __init__({parameters}):\n{''.join(body) or ' pass'}", names)
    made = names["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    return made


def _late_init(cls: Any) -> Any:
    """What stands in for ``__init__`` until the first object is made."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if cls.__dict__["__init__"] is __init__:
            cls.__init__ = _compile_init(cls)
        cls.__init__(self, *args, **kwargs)

    return __init__


def _make(cls: Any, *, kw_only: bool, eq: bool, hashed: bool) -> Any:
    """The class anew, with slots, and with the methods that it does not define itself."""
    given = {
        name: (note, default, _by_name_only(default, kw_only) if own is None else own)
        for name, (note, default, own) in _collect(cls).items()
    }
    _check_order(cls, given)
    body = dict(cls.__dict__)
    for name, (_, default, _) in given.items():
        value, called = _default(default)
        if not called and value is not MISSING and value.__class__.__hash__ is None:
            raise ValueError(f"{cls.__qualname__}.{name} has a default that all objects would share")
        body.pop(name, None)
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    inherited = {slot for base in cls.__mro__[1:] for slot in _slots(base)}
    body["__slots__"] = tuple(name for name in given if name not in inherited)
    body["__match_args__"] = tuple(
        name for name, (_, default, keyword) in given.items() if _attribute(default, "init") and not keyword
    )
    body["_fields_given"] = given
    body["_shown"] = tuple(name for name, (_, default, _) in given.items() if _attribute(default, "repr"))
    compared = [name for name, (_, default, _) in given.items() if _attribute(default, "compare")]
    body["_compared"] = _values_of(compared)
    body.setdefault("__repr__", _repr)
    body.setdefault("__replace__", _replace)
    if eq:
        body.setdefault("__eq__", _eq)
        if body.get("__hash__") is None:
            body["__hash__"] = _hash if hashed else None
            body["_hashed"] = _values_of([name for name in compared if _is_hashed(given[name][1])])
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    if "__init__" not in body:
        made.__init__ = _late_init(made)
    for name in OF_DATACLASSES:
        setattr(made, name, _AsDataclass(made, name))
    return made


def _slots(base: type) -> tuple[str, ...]:
    slots = base.__dict__.get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


@overload
def record(cls: type[T], /) -> type[T]: ...
@overload
def record(*, kw_only: bool = ...) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T] | None = None, /, *, kw_only: bool = False) -> Any:
    """Make a record of a class with annotated fields, as ``dataclass(frozen=True, slots=True)`` would.

    Methods that the class defines itself stay. Raises ValueError for a default that all objects would share.
    """
    make = partial(_make, kw_only=kw_only, eq=True, hashed=True)
    return make if cls is None else make(cls)


@overload
def struct(cls: type[T], /) -> type[T]: ...
@overload
def struct(*, eq: bool = ...) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(field_specifiers=(field,))
def struct(cls: type[T] | None = None, /, *, eq: bool = True) -> Any:
    """Make a struct of a class with annotated fields, as ``dataclass(slots=True)`` would. ``eq``: compared by fields.

    Raises ValueError for a default that all objects would share.
    """
    make = partial(_make, kw_only=False, eq=eq, hashed=False)
    return make if cls is None else make(cls)
