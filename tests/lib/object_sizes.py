"""How many entries the containers have that can be reached from an object, by the way that leads there."""

from __future__ import annotations

import gc
from array import array
from collections import Counter, deque
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

SIZED = (dict, list, set, deque, bytearray, array)
CODE = (type, ModuleType, BuiltinFunctionType)
PLAIN = (int, float, str, bytes, bool, type(None))


def container_sizes(root: object, *apart: object) -> Counter[str]:
    """Entries of all containers, summed up by way (``.peers[].blocks.late``); nothing is entered of ``apart``.

    Whatever it is called, and whoever wrote it: attributes, slots, closures and bound methods are followed. An object
    that several ways lead to counts for the first one, of the shortest.
    """
    seen = {id(one) for one in apart}
    sizes: Counter[str] = Counter()
    todo: deque[tuple[object, str]] = deque([(root, "")])
    while todo:
        one, way = todo.popleft()
        if isinstance(one, (*PLAIN, *CODE)) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, SIZED):
            sizes[way] += len(one)
        todo.extend(_parts(one, way))
    return sizes


def _parts(one: Any, way: str) -> list[tuple[object, str]]:
    """What an object leads to, with the way."""
    if isinstance(one, dict):
        return [(part, way + "[]") for pair in list(one.items()) for part in pair]
    if isinstance(one, list | tuple | set | frozenset | deque):
        return [(part, way + "[]") for part in list(one)]
    if isinstance(one, bytearray | array):
        return []
    if isinstance(one, MethodType):
        return [(one.__self__, way)]
    if isinstance(one, FunctionType):
        return [(cell.cell_contents, way) for cell in one.__closure__ or () if cell.cell_contents is not None]
    named = list(getattr(one, "__dict__", {}).items())
    for kind in type(one).__mro__:
        slots = getattr(kind, "__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        named += [(name, getattr(one, name)) for name in names if hasattr(one, name)]
    if not named:
        return [(part, way) for part in gc.get_referents(one)]
    return [(part, f"{way}.{name}") for name, part in named]
