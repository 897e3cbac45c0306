"""Large values on their way to a file, in memory that the system may take back: it is a file's.

What a run of coins has beside its groups grows with the set (127 MB for mainnet's); as memory of a process it would be
there three times over while it is written. Here it lies in a file without a name, and goes into LMDB's file by a
mapping. Room on the disk is taken first, since who writes into a mapping cannot be told that there is none.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import lmdb

MAPPED_FROM = 4 << 20  # bytes from which on a value is worth it
PAGES = 64  # beside the value's own: those of the tree that change, and a reserve
_UNABLE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def _take_room(fd: int, size: int) -> bool:
    """Give a file its blocks on the disk up to ``size``; False where that cannot be asked for. Raises OSError."""
    if not hasattr(os, "posix_fallocate"):
        return False
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno in _UNABLE:
            return False
        raise
    return True


def zeros(folder: Path, size: int) -> bytearray | mmap.mmap:
    """``size`` bytes, all 0: large ones in a file of ``folder`` that has no name. Raises OSError."""
    if size < MAPPED_FROM:
        return bytearray(size)
    import tempfile  # not before there is something large

    with tempfile.TemporaryFile(dir=folder) as file:
        return mmap.mmap(file.fileno(), size) if _take_room(file.fileno(), size) else bytearray(size)


def append_value(path: Path, key: bytes, value: bytearray | mmap.mmap) -> None:
    """Put a value behind all others of an LMDB file with one database, which nobody has open; nothing is synced.

    Raises OSError, lmdb.Error.
    """
    page = mmap.PAGESIZE
    fd = os.open(path, os.O_RDWR)
    try:
        size = (-(-(os.fstat(fd).st_size + len(value)) // page) + PAGES) * page
        mapped = _take_room(fd, size)
        env = lmdb.open(
            os.fsencode(path), subdir=False, map_size=size, max_dbs=0, lock=False, sync=False, writemap=mapped
        )
        try:
            with env.begin(write=True) as txn:
                txn.put(key, value, append=True)
            end = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        finally:
            env.close()
        os.ftruncate(fd, end)
    finally:
        os.close(fd)
