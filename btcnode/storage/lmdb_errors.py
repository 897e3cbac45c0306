"""What LMDB's errors mean: damage, a full disk, or a system that refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import lmdb

from btcnode.errors import CorruptionError, DiskFullError, StorageError
from btcnode.storage.durable import FULL_ERRNOS, is_full

LOST_ADVICE = "put it back, or start with --reindex to rebuild it from the block files"
CORE_ADVICE = "they are Bitcoin Core's: start with --reindex to take them over, or use another --datadir"
REINDEX_ADVICE = "start with --reindex to rebuild it from the block files, or use another --datadir"
_CORRUPT = (
    lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError, lmdb.IncompatibleError,
)  # fmt: skip
_FULL = "no room left for the database in {}: nothing was lost, free some space ({})"


def is_damage(error: lmdb.Error) -> bool:
    """Whether the file is to blame: a process without memory, rights or file descriptors has not seen damage."""
    return isinstance(error, (*_CORRUPT, lmdb.BadTxnError))  # the last: who has met damage goes on with the transaction


def translate_write(error: Exception, path: Path) -> StorageError:
    """The typed error for one that came of writing; nobody else may write to ``path`` meanwhile."""
    if os.strerror(errno.EIO) in str(error) and is_full(path):  # a write that was cut short
        return DiskFullError(_FULL.format(path, error))
    return translate(error, path)


def translate(error: Exception, path: Path) -> StorageError:
    """The typed error for one of LMDB's."""
    text = str(error)
    if isinstance(error, lmdb.DiskError) or any(os.strerror(code) in text for code in FULL_ERRNOS):
        return DiskFullError(_FULL.format(path, error))
    if isinstance(error, _CORRUPT):
        return CorruptionError(f"the database in {path} is damaged or foreign ({text}): {REINDEX_ADVICE}")
    return StorageError(f"the database in {path} failed: {text}")
