"""A note that outlives a process which a damaged page has ended: LMDB may abort, the system send SIGBUS.

Large databases are not looked at as a whole when they are opened. With a note they are, and what is damaged is named.
"""

from __future__ import annotations

import faulthandler
from pathlib import Path

from btcnode.errors import StorageError
from btcnode.storage.layout import FAULT_FILE


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
