"""What LMDB's errors mean: damage, a full disk, or a system that refuses."""

from __future__ import annotations

import os
from pathlib import Path

import lmdb

from btcnode.errors import CorruptionError, DiskFullError, StorageError
from btcnode.storage.durable import FULL_ERRNOS

REINDEX_ADVICE = "start with --reindex to rebuild it from the block files, or use another --datadir"
_CORRUPT = (
    lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError, lmdb.IncompatibleError,
)  # fmt: skip
_FULL = "no room left for the database in {}: nothing was lost, free some space ({})"


def is_damage(error: lmdb.Error) -> bool:
    """Whether the file is to blame: a process without memory, rights or file descriptors has not seen damage."""
    return isinstance(error, (*_CORRUPT, lmdb.BadTxnError))  # the last: who has met damage goes on with the transaction


def full_error(error: Exception, path: Path) -> DiskFullError:
    """There is no room for what ``path`` has."""
    return DiskFullError(_FULL.format(path, error))


def translate(error: Exception, path: Path) -> StorageError:
    """The typed error for one of LMDB's."""
    text = str(error)
    if isinstance(error, lmdb.DiskError) or any(os.strerror(code) in text for code in FULL_ERRNOS):
        return full_error(error, path)
    if isinstance(error, _CORRUPT):
        return CorruptionError(f"the database in {path} is damaged or foreign ({text}): {REINDEX_ADVICE}")
    return StorageError(f"the database in {path} failed: {text}")
