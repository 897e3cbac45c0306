"""Classes of named tuples, quick to make.

``typing`` compiles the annotation of each field, which takes as long as all the rest of making such a class; a start
makes a hundred. These are the same, and to mypy they are those of ``typing``.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class _TupleMaker(type):
        """Has what inherits from ``NamedTuple`` be a class of tuples."""

        def __new__(mcs, name, bases, body):
            fields = body.get("__annotations__", {})
            given = [field in body for field in fields]
            if given != sorted(given):
                raise TypeError(f"{name} has a field without default behind one with a default")
            made = namedtuple(name, fields, defaults=[body[field] for field in fields if field in body])
            for key, value in body.items():
                if key not in fields:
                    setattr(made, key, value)
            return made

    NamedTuple = type.__new__(_TupleMaker, "NamedTuple", (), {})
