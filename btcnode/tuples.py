"""Classes of named tuples, quick to make.

``typing`` compiles the annotation of each field, and ``collections`` a ``__new__``: together nine tenths of what making
such a class takes, and a start makes a hundred. These are the same to who uses them, and to mypy they are those of
``typing``; ``__new__`` is compiled when the first is made.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:
    _getters = []  # what gives the first field of a tuple, the second, ...: the same for all classes

    def _getters_of(fields):
        if len(fields) > len(_getters):
            model = namedtuple("Model", [f"field_{n}" for n in range(2 * len(fields))])
            _getters[:] = [vars(model)[name] for name in model._fields]
        return zip(fields, _getters, strict=False)

    def _make(cls, iterable):
        """A tuple of as many values as there are fields; raises TypeError."""
        made = tuple.__new__(cls, iterable)
        if len(made) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
        return made

    def _replace(self, /, **changes):
        """The tuple with other values for some fields; raises ValueError for what is none."""
        made = self._make(map(changes.pop, self._fields, self))
        if changes:
            raise ValueError(f"Got unexpected field names: {list(changes)!r}")
        return made

    def __repr__(self):
        told = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{self.__class__.__name__}({told})"

    def _asdict(self):
        """The values by the names of their fields."""
        return dict(zip(self._fields, self, strict=True))

    def __getnewargs__(self):
        return tuple(self)

    def _compile_new(cls):
        """What makes a tuple of values by place and by name, as that of ``collections.namedtuple``."""
        names = "".join(f"{name}, " for name in cls._fields)
        made = eval(f"lambda _cls, {names}: _new(_cls, ({names}))", {"_new": tuple.__new__, "__builtins__": {}})
        made.__name__, made.__qualname__ = "__new__", f"{cls.__qualname__}.__new__"
        made.__defaults__ = tuple(cls._field_defaults.values())
        return made

    def _late_new(owner):
        """What stands in for ``__new__`` of the only class in ``owner`` until the first tuple is made."""

        def __new__(cls, /, *args, **kwargs):
            made = _compile_new(owner[0])
            owner[0].__new__ = staticmethod(made)
            return made(cls, *args, **kwargs)

        return __new__

    _METHODS = {
        "_make": classmethod(_make),
        "_replace": _replace,
        "__replace__": _replace,
        "__repr__": __repr__,
        "_asdict": _asdict,
        "__getnewargs__": __getnewargs__,
    }

    class _TupleMaker(type):
        """Has what inherits from ``NamedTuple`` be a class of tuples."""

        def __new__(mcs, name, bases, body):
            fields = tuple(body.get("__annotations__", {}))
            given = [field in body for field in fields]
            if given != sorted(given):
                raise TypeError(f"{name} has a field without default behind one with a default")
            for field in fields:
                if field[0] == "_":
                    raise ValueError(f"Field names cannot start with an underscore: {field!r}")
            owner = []
            own = {
                "__doc__": f"{name}({', '.join(fields)})",
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": {field: body[field] for field in fields if field in body},
                "__new__": _late_new(owner),
            }
            owner.append(type(name, (tuple,), _METHODS | own | body | dict(_getters_of(fields))))
            return owner[0]

    NamedTuple = type.__new__(_TupleMaker, "NamedTuple", (), {})
