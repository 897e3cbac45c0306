"""The files of a SwiftSync: the hints that the user named, and what is done so far."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from btcnode.errors import CorruptionError, StorageError
from btcnode.files import open_regular, read_limited
from btcnode.storage.durable import remove_folder, storage_error, sync_directory, write_durably
from btcnode.storage.survivors import SurvivorRuns
from btcnode.swiftsync.hints import HintsError, read_index
from btcnode.swiftsync.ledger import Ledger

FOLDER = "swiftsync"  # in the network's directory, while a sync with hints is under way
LEDGER_FILE = "ledger"
FAILED_FILE = "failed"  # the digest of hints that have failed
MAX_LEDGER_BYTES = 64 << 20


class OpenHints:
    """A hintsfile that is open: its entries are read when they are needed, from any thread."""

    def __init__(self, path: Path, between: Callable[[], None]) -> None:
        """Read through the file; ``between`` may raise. Raises StorageError, HintsError with the file's name."""
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise StorageError(f"cannot read the hints {path}: {error.strerror}") from None
        try:
            self._seen = self._stamp()
            self.size = self._seen[0]
            self._index = read_index(self._file, self.size, between)
        except HintsError as error:
            self._file.close()
            raise HintsError(f"the hints {path} cannot be used: {error}") from None
        except OSError as error:
            self._file.close()
            raise StorageError(f"cannot read the hints {path}: {error.strerror}") from None
        except BaseException:
            self._file.close()
            raise
        self._path = path
        self.height = self._index.height
        self.digest = self._index.digest

    def hint(self, height: int) -> bytes:
        """The entry for the block at a height from 1 on; raises StorageError, HintsError when the file has changed."""
        start, size = self._index.place(height)
        try:
            data = os.pread(self._file.fileno(), size, start)
        except OSError as error:
            raise StorageError(f"cannot read the hints {self._path}: {error.strerror}") from None
        if len(data) != size:
            raise HintsError(f"the hints {self._path} have become shorter")
        return data

    def _stamp(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    @property
    def changed(self) -> bool:
        """Whether somebody has written into the file since it was opened: another one in its place does no harm."""
        return self._stamp() != self._seen

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SwiftFolder:
    """What is done so far, in a folder of the network's directory that exists only meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / FOLDER
        self.runs = SurvivorRuns(self._folder)

    def load(self, digest: bytes, *, full: bool) -> Ledger | None:
        """The ledger of an earlier run with the same hints; None when there is none that can be used.

        ``full``: the sums are those of coins, not of outpoints. Raises StorageError when the file cannot be read.
        """
        path = self._folder / LEDGER_FILE
        try:
            ledger = Ledger.unpack(read_limited(path, MAX_LEDGER_BYTES))
        except FileNotFoundError:
            return None
        except CorruptionError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None
        return ledger if (ledger.hints, ledger.full) == (digest, full) else None

    def save(self, ledger: Ledger) -> None:
        """Replace the ledger, durably; raises StorageError."""
        write_durably(self._folder / LEDGER_FILE, ledger.pack())

    def failed_with(self) -> bytes:
        """The digest of the hints that have failed last, else nothing; raises StorageError."""
        path = self._folder / FAILED_FILE
        try:
            return read_limited(path, 32)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None

    def note_failure(self, digest: bytes) -> None:
        """Forget what is done, and that these hints are of no use; raises StorageError."""
        self.begin()
        write_durably(self._folder / FAILED_FILE, digest)

    def begin(self) -> None:
        """Have an empty folder; raises StorageError."""
        self.clear()
        try:
            self._folder.mkdir()
            sync_directory(self._folder.parent)
        except OSError as error:
            raise storage_error(error, f"cannot make {self._folder}") from None

    def clear(self) -> None:
        """Have no folder; raises StorageError."""
        try:
            if self._folder.exists():
                remove_folder(self._folder)
        except OSError as error:
            raise storage_error(error, f"cannot remove {self._folder}") from None
