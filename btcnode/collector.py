"""What Python's garbage collector need not look at.

A full collection looks through every object that may refer to others: half a second for a mempool of 120,000
transactions, in which nobody has a turn. The collector is for circles only. Whoever takes care that none is left of
objects that live long has them left out, and reference counts free them as ever.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from gc import is_tracked


def _find() -> Callable[[object], object] | None:
    """CPython's own function for what types written in C do with their objects; other Pythons may have none."""
    try:
        found = ctypes.pythonapi.PyObject_GC_UnTrack
    except AttributeError:
        return None
    found.argtypes = [ctypes.py_object]
    found.restype = None
    return found


_untrack = _find()


def leave_out(*objects: object) -> None:
    """Never look at these again; a circle that they are part of later is never found."""
    if _untrack is not None:
        for one in objects:
            if is_tracked(one):
                _untrack(one)
