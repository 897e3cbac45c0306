"""The moments at which a process changes its disk: before and after each sync, rename, removal, cut and commit."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb

WATCHED = ("fsync", "replace", "rename", "unlink", "remove", "rmdir", "truncate", "ftruncate")

Reached = Callable[[str], None]


class Points:
    """Counts the moments; ``reached`` is called at each with what is done, before and after it."""

    def __init__(self, reached: Reached) -> None:
        self._reached = reached
        self._lock = threading.RLock()

    def install(self) -> None:
        """Watch this process from now on; there is no way back."""
        for name in WATCHED:
            setattr(os, name, self._watched(name, getattr(os, name)))
        opens = lmdb.open

        def watched(path: bytes, **options: Any) -> _Environment:
            return _Environment(opens(path, **options), Path(os.fsdecode(path)).name, self)

        vars(lmdb)["open"] = watched

    def _watched(self, name: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **options: Any) -> Any:
            what = f"{name} {_shown(args[0])}"
            self.at(f"before {what}")
            result = does(*args, **options)
            self.at(f"after {what}")
            return result

        return watched

    def at(self, what: str) -> None:
        """One moment: threads come one after the other."""
        with self._lock:
            self._reached(what)


def _shown(target: Any) -> str:
    if isinstance(target, int):
        try:
            return Path(os.readlink(f"/proc/self/fd/{target}")).name  # noqa: PTH115
        except OSError:
            return "a file"
    return Path(os.fsdecode(target)).name


class _Environment:
    """An LMDB environment whose commits are moments."""

    def __init__(self, real: Any, name: str, points: Points) -> None:
        self._real, self._name, self._points = real, name, points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def begin(self, *args: Any, write: bool = False, **options: Any) -> Any:
        real = self._real.begin(*args, write=write, **options)
        return _Transaction(real, self._name, self._points) if write else real


class _Transaction:
    """A transaction that writes; what is done within it has the real one."""

    def __init__(self, real: Any, name: str, points: Points) -> None:
        self._real, self._what, self._points = real, f"commit {name}", points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def commit(self) -> None:
        self._points.at(f"before {self._what}")
        self._real.commit()
        self._points.at(f"after {self._what}")

    def __enter__(self) -> Any:
        return self._real.__enter__()

    def __exit__(self, kind: Any, *more: Any) -> Any:
        if kind is not None:
            return self._real.__exit__(kind, *more)
        self._points.at(f"before {self._what}")
        result = self._real.__exit__(kind, *more)
        self._points.at(f"after {self._what}")
        return result


def end_of_process() -> None:
    """As ``kill -9``: nothing is closed or flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
