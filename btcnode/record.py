"""Classes of fields, of which a node has hundreds: records, whose fields are given once, and structs, whose change.

A dataclass compiles its methods from text when its module is loaded: for all of them that was a third of the time in
which a node starts, and most are not needed before the first answer. These compile ``__init__`` when the second object
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

    _fields_given: dict[str, tuple[Any, Any, bool]]  # annotation, default or ``Field``, whether by name only
    _shown: tuple[str, ...]
    _compared: Callable[[Any], Any]
    _hashed: Callable[[Any], Any]


class _AsDataclass:
    """What ``dataclasses`` keeps of a class under ``name``, made when somebody asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        kind: Any = next(base for base in owner.__mro__ if "_fields_given" in base.__dict__)
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


_FOR_DATACLASSES = {name: _AsDataclass(name) for name in OF_DATACLASSES}


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
        if not _is_given(given):
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


def _collect(cls: type, all_by_name: bool) -> dict[str, tuple[Any, Any, bool]]:
    """Fields by name, those of base classes first: annotation, default (a ``Field``, a value or ``MISSING``), whether
    it is given by name only.
    """
    found: dict[str, tuple[Any, Any, bool]] = {}
    for base in cls.__mro__[-2:0:-1]:
        found |= base.__dict__.get("_fields_given", {})
    own = cls.__dict__
    for name, annotation in cls.__annotations__.items():
        if "ClassVar" in str(annotation):
            continue
        given = own.get(name, MISSING)
        by_name = given.kw_only if isinstance(given, Field) else MISSING
        found[name] = (annotation, given, all_by_name if by_name is MISSING else bool(by_name))
    return found


def _values_of(names: list[str]) -> Callable[[Any], Any]:
    """What gives the values of these fields, to compare and to hash; the same for all objects where there is none."""
    return attrgetter(*(names or ["__class__"]))


def _default(given: Any) -> tuple[Any, bool]:
    """A field's default, and whether it is to be called for each object."""
    if not isinstance(given, Field):
        return given, False
    if given.default_factory is not MISSING:
        return given.default_factory, True
    return given.default, False


def _is_given(default: Any) -> bool:
    """Whether who makes an object may give this field."""
    return bool(default.init) if isinstance(default, Field) else True


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
        if not _is_given(given):
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


def _set_fields(cls: Any, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Do what ``__init__`` does without compiling it; False, with nothing to rely on, for wrong arguments."""
    by_place, by_name = 0, 0
    for name, (_, given, kw_only) in cls._fields_given.items():
        default, called = _default(given)
        if not _is_given(given):
            if default is MISSING:
                continue
        elif not kw_only and by_place < len(args):
            default, called = args[by_place], False
            by_place += 1
            if name in kwargs:
                return False
        elif name in kwargs:
            default, called = kwargs[name], False
            by_name += 1
        elif default is MISSING:
            return False
        setattr(self, name, default() if called else default)
    if by_place != len(args) or by_name != len(kwargs):
        return False
    if hasattr(cls, "__post_init__"):
        self.__post_init__()
    return True


def _late_init(owner: list[Any]) -> Any:
    """What stands in for ``__init__`` of the only class in ``owner`` until its second object is made.

    Of many classes a node has one object, whose fields are set in less time than it takes to compile.
    """
    first = True

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal first
        (cls,) = owner
        if first:
            first = False
            if _set_fields(cls, self, args, kwargs):
                return
        if cls.__dict__["__init__"] is __init__:
            cls.__init__ = _compile_init(cls)
        cls.__init__(self, *args, **kwargs)

    return __init__


def _make(cls: Any, *, kw_only: bool, eq: bool, hashed: bool) -> Any:
    """The class anew, with slots, and with the methods that it does not define itself."""
    given = _collect(cls, kw_only)
    body = dict(cls.__dict__)
    body.pop("__dict__", None)
    body.pop("__weakref__", None)
    match, shown, compared, counted = [], [], [], []
    may_be_left_out = ""
    for name, (_, default, keyword) in given.items():
        value, called = _default(default)
        if not called and value is not MISSING and value.__class__.__hash__ is None:
            raise ValueError(f"{cls.__qualname__}.{name} has a default that all objects would share")
        body.pop(name, None)
        attributes = default if isinstance(default, Field) else None
        if not keyword and (attributes is None or attributes.init):
            if value is not MISSING:
                may_be_left_out = name
            elif may_be_left_out:
                raise TypeError(f"{cls.__qualname__}.{name} has no default, and {may_be_left_out} before it has one")
            match.append(name)
        if attributes is None or attributes.repr:
            shown.append(name)
        if attributes is None or attributes.compare:
            compared.append(name)
            if attributes is None or attributes.hash is not False:
                counted.append(name)
    inherited = {slot for base in cls.__mro__[1:-1] for slot in _slots(base)}
    owner: list[Any] = []
    body.setdefault("__init__", _late_init(owner))
    body.setdefault("__repr__", _repr)
    body.setdefault("__replace__", _replace)
    if eq:
        body.setdefault("__eq__", _eq)
        if body.get("__hash__") is None:
            body["__hash__"] = _hash if hashed else None
            body["_hashed"] = _values_of(counted)
    body |= _FOR_DATACLASSES
    body["__qualname__"] = cls.__qualname__
    body["__slots__"] = tuple(name for name in given if name not in inherited)
    body["__match_args__"] = tuple(match)
    body["_fields_given"] = given
    body["_shown"] = tuple(shown)
    body["_compared"] = _values_of(compared)
    owner.append(type(cls)(cls.__name__, cls.__bases__, body))
    return owner[0]


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
