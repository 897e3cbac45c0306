"""Writing files so that they survive a power loss, and typed errors for what the system says."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from btcnode.errors import DiskFullError, StorageError

FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PROBE_SIZE = 1 << 18


def storage_error(error: OSError, what: str) -> StorageError:
    """DiskFullError when there is no room left, else StorageError; ``what`` begins the message."""
    if error.errno in FULL_ERRNOS:
        return DiskFullError(f"{what}: no room left: nothing was lost, free some space ({error.strerror})")
    return StorageError(f"{what}: {error.strerror}")


def write_all(fd: int, data: bytes, position: int) -> None:
    """Write all of ``data`` at ``position``; raises OSError."""
    written = os.pwrite(fd, data, position)
    if written != len(data):
        view = memoryview(data)
        while written < len(data):
            written += os.pwrite(fd, view[written:], position + written)


def sync_file(path: Path) -> None:
    """Bring a file's content and length to the disk; raises OSError."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


sync_directory = sync_file


def write_synced(path: Path, data: bytes) -> None:
    """Make a file, or write one anew, and bring its content to the disk, not its name; raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(fd, data, 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_durably(path: Path, data: bytes, *, temporary: Path | None = None) -> None:
    """Make or replace a small file: the new one is whole and on disk when this returns, or the old one is as it was.

    It is written as ``temporary`` first, which is gone afterwards in any case. Raises StorageError.
    """
    fresh = temporary or path.with_name("." + path.name + ".new")
    try:
        try:
            write_synced(fresh, data)
            fresh.replace(path)
        except OSError:
            with suppress(OSError):  # on a full disk, room for others; what stands there may be a directory
                fresh.unlink()
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise storage_error(error, f"cannot write {path}") from None


def set_aside(path: Path) -> str:
    """Keep a damaged file under another name, in the place of an earlier one; what came of it, for the log."""
    kept = path.with_name(path.name + ".damaged")
    try:
        path.replace(kept)
    except OSError as error:
        return f"it cannot be renamed: {error.strerror}"
    return f"it is kept as {kept.name}"


def is_full(path: Path) -> bool:
    """Whether a file cannot be made longer, for want of room: LMDB reports a write cut short by that as EIO."""
    try:
        fd = os.open(path, os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            try:
                write_all(fd, bytes(PROBE_SIZE), size)
            finally:
                os.ftruncate(fd, size)
        finally:
            os.close(fd)
    except OSError as error:
        return error.errno in FULL_ERRNOS
    return False


def remove_folder(folder: Path, *, as_far_as_possible: bool = False) -> None:
    """Delete a folder with everything in it; raises OSError, unless what cannot be deleted may stay."""
    import shutil  # with its archives a millisecond that most starts do without

    shutil.rmtree(folder, ignore_errors=as_far_as_possible)
