"""Files that are made of the chain: the one to write, and what may be wrong with it or with loading it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from btcnode.errors import StorageError
from btcnode.services.file_names import system_name
from btcnode.storage.durable import storage_error


class SnapshotFileError(StorageError):
    """The file that was named cannot be used."""


class SnapshotBlocksError(StorageError):
    """Blocks that a set would be rolled back by are not there, though nothing was pruned."""


class SnapshotRefusedError(StorageError):
    """A UTXO set cannot be loaded; the text is Core's."""


class SnapshotContentError(SnapshotRefusedError):
    """What the file has is not the set that it should be."""


def _is_pipe(name: str) -> bool:
    """Whether it is a named pipe; raises SnapshotFileError when it is anything else that is there, StorageError."""
    try:
        mode = Path(system_name(name)).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"filesystem error: status: {error.strerror} [{name}]") from None
    if stat.S_ISFIFO(mode):
        return True
    raise SnapshotFileError(
        f"{name} already exists. If you are sure this is what you want, move it out of the way first"
    )


def sync_output(file: BinaryIO) -> None:
    """Have what was written reach the disk, where there is one: gigabytes take a while. Raises OSError."""
    file.flush()
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        os.fsync(file.fileno())


@contextmanager
def output_file(name: str) -> Iterator[tuple[Path, int]]:
    """The file to write and its descriptor: a temporary one that gets its name at the end, or a named pipe.

    Whoever writes it calls ``sync_output`` last. Raises SnapshotFileError, StorageError.
    """
    is_pipe = _is_pipe(name)
    shown = name if is_pipe else f"{name}.incomplete"
    temporary = Path(system_name(shown))
    try:
        fd = os.open(system_name(shown), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        raise SnapshotFileError(f"Couldn't open file {shown} for writing.") from None
    try:
        yield temporary, fd
        if not is_pipe:
            try:
                temporary.replace(system_name(name))
            except OSError as error:
                raise storage_error(error, f"cannot write {name}") from None
    except BaseException:
        if not is_pipe:
            temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
