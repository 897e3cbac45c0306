"""The lock that keeps a data directory to one process."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from btcnode.errors import DatadirLockedError, StorageError
from btcnode.storage.layout import LOCK_FILE

_BUSY = (errno.EACCES, errno.EAGAIN)


class DirectoryLock:
    """An exclusive lock on ``<directory>/.lock``, held until ``release`` or the end of the process.

    Where the system has open-file-description locks, these are taken: they shut out a second opening within the
    process too, and Bitcoin Core, which locks a file of the same name with POSIX record locks.
    Raises DatadirLockedError when somebody else holds it, StorageError when there can be no such file.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_FILE
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StorageError(
                f"Cannot write to directory '{directory}'; check permissions. ({error.strerror})"
            ) from None
        try:
            _lock(self._fd)
        except OSError as error:
            os.close(self._fd)
            self._fd = -1
            if error.errno in _BUSY:
                raise DatadirLockedError(
                    f"Cannot obtain a lock on directory {directory}. btcnode is probably already running."
                ) from None
            raise StorageError(f"cannot lock the data directory {directory}: {error.strerror}") from None

    def release(self) -> None:
        """Give the directory free; harmless when it is free already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _lock(fd: int) -> None:
    """Lock the whole file without waiting; raises OSError, with one of ``_BUSY`` when somebody else has it."""
    command = getattr(fcntl, "F_OFD_SETLK", None)
    if command is not None:
        # struct flock: l_type, l_whence, l_start, l_len (0: to the end), l_pid (must be 0)
        request = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            fcntl.fcntl(fd, command, request)
            return
        except OSError as error:
            if error.errno != errno.EINVAL:  # a kernel or file system without this kind of lock
                raise
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
