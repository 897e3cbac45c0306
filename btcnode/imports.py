"""This package's modules, found and read quickly by its programs.

For each import Python goes through its finders and the endings that a module's file may have, works out the name of its
bytecode, and asks the system eight times. A node loads hundreds of modules before it answers for the first time, and
a fifth of what they took was that. Here a folder is listed once, and bytecode read at once. It counts where it counts
for Python: when the size and the time of the source stand in it. Whatever else there is (no bytecode or old one, one
that is known by a hash or was moved, modules written in C, files in an archive) is left to Python.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, SourceFileLoader
from importlib.util import MAGIC_NUMBER, cache_from_source
from marshal import loads

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

PACKAGE = __name__.partition(".")[0]
MAX_BYTECODE = 1 << 17  # bytes that are read at once; our largest module has 80,000
_KNOWN_BY_TIME = MAGIC_NUMBER + bytes(4)
_HEAD_SIZE = 16  # this, then time and size of the source with four bytes each


class QuickLoader(SourceFileLoader):
    """Reads bytecode that is as it should be, and leaves all else to Python's loader, which it is."""

    def __init__(self, fullname: str, path: str, cached: str) -> None:
        """``path``: of the source; ``cached``: of its bytecode, there or not."""
        super().__init__(fullname, path)
        self._cached = cached

    def get_code(self, fullname: str) -> CodeType | None:
        """The module's code; raises as Python's loader does."""
        try:
            facts = os.stat(self.path)  # noqa: PTH116  (a Path is made in the time that this takes)
            handle = os.open(self._cached, os.O_RDONLY)
            try:
                data = os.read(handle, MAX_BYTECODE)
            finally:
                os.close(handle)
        except OSError:
            return super().get_code(fullname)
        source = (int(facts.st_mtime) & 0xFFFFFFFF) | (facts.st_size & 0xFFFFFFFF) << 32
        if len(data) == MAX_BYTECODE or data[:_HEAD_SIZE] != _KNOWN_BY_TIME + source.to_bytes(8, "little"):
            return super().get_code(fullname)
        code: CodeType = loads(memoryview(data)[_HEAD_SIZE:])
        return code if code.co_filename == self.path else super().get_code(fullname)


class QuickFinder:
    """Finds a package's modules by the lists of its folders as they were when it came to them first."""

    def __init__(self, package: str) -> None:
        self._within = package + "."
        self._folders: dict[str, tuple[frozenset[str], str, str]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is; None for one of others, and for one that Python has to look for."""
        if not fullname.startswith(self._within) or path is None or len(path) != 1:
            return None
        folder, name = path[0], fullname.rpartition(".")[2]
        there, before, behind = self._look_into(folder)
        inner = None
        if name in there:
            inner, name = f"{folder}/{name}", "__init__"
            there, before, behind = self._look_into(inner)
        if f"{name}.py" not in there:
            return None
        source, cached = f"{inner or folder}/{name}.py", before + name + behind
        spec = ModuleSpec(fullname, QuickLoader(fullname, source, cached), origin=source, is_package=inner is not None)
        if inner is not None:
            spec.submodule_search_locations = [inner]
        spec.has_location, spec.cached = True, cached
        return spec

    def _look_into(self, folder: str) -> tuple[frozenset[str], str, str]:
        """What is in a folder, and what stands before and behind the names in those of its bytecode's files."""
        known = self._folders.get(folder)
        if known is None:
            try:
                names = frozenset(os.listdir(folder))  # noqa: PTH208
            except OSError:
                names = frozenset()
            if any(name.endswith(tuple(EXTENSION_SUFFIXES)) for name in names):
                names = frozenset()  # they would come first
            before, _, behind = cache_from_source(f"{folder}/@.py").rpartition("@")
            known = self._folders[folder] = names, before, behind
        return known

    def invalidate_caches(self) -> None:
        """Look into all folders anew: ``importlib.invalidate_caches`` calls this."""
        self._folders.clear()


def find_quickly() -> None:
    """From now on find the modules of this package quickly, once and for all of this process."""
    if sys.implementation.cache_tag is not None and not any(isinstance(one, QuickFinder) for one in sys.meta_path):
        sys.meta_path.insert(0, QuickFinder(PACKAGE))
