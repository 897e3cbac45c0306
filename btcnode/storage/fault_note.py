"""A note that outlives a process which a damaged page has ended: LMDB may abort, the system send SIGBUS.

Large databases are not looked at as a whole when they are opened. With a note they are, and what is damaged is named.
"""

from __future__ import annotations

import faulthandler
import os
from pathlib import Path

from btcnode.errors import StorageError
from btcnode.storage.layout import FAULT_FILE
from btcnode.tuples import NamedTuple

_MOST = 4 << 20  # bytes that are read: a hundred stacks of a hundred calls, several times


class FaultNote:
    """While it is open, a fatal signal leaves where it came from in the directory's FAULT_FILE."""

    def __init__(self, directory: Path) -> None:
        """Begin; what an earlier run has left stays until ``close``. Raises StorageError."""
        self._path = directory / FAULT_FILE
        try:
            self._file = self._path.open("ab")
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}") from None
        faulthandler.enable(file=self._file)

    def close(self) -> None:
        """The run ends well: nothing is left."""
        faulthandler.disable()
        self._file.close()
        self._path.unlink(missing_ok=True)


def fault_noted(directory: Path) -> bool:
    """Whether the run before was ended by a fatal signal."""
    path = directory / FAULT_FILE
    return path.exists() and path.stat().st_size > 0


class Fault(NamedTuple):
    """The last fatal signal: its name, the stack of the thread that met it, and when, in seconds since 1970."""

    what: str
    stack: str
    when: float


def last_fault(directory: Path) -> Fault | None:
    """What has ended the run before, None where that was no fatal signal; raises OSError."""
    if not fault_noted(directory):
        return None
    with (directory / FAULT_FILE).open("rb") as file:
        facts = os.fstat(file.fileno())
        file.seek(max(0, facts.st_size - _MOST))
        text = file.read(_MOST).decode("utf-8", "replace")
    _, _, text = text.rpartition("Fatal Python error: ")
    what, _, text = text.partition("\n")
    _, _, stack = text.partition("Current thread 0x")
    return Fault(what.strip()[:200], stack.partition("\n\n")[0], facts.st_mtime)
