"""Block filters on disk: an LMDB environment of their own, ``indexes/blockfilter/basic.mdb``.

``block hash[32] -> filter header[32] + filter hash[32] + filter``, for stale blocks too; ``"best"`` names the block
up to which the active chain was indexed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from btcnode.errors import StorageError
from btcnode.primitives.hashes import BlockHash
from btcnode.storage.database import translate

FILE = Path("indexes", "blockfilter", "basic.mdb")
MAP_SIZE = 1 << 37  # address space: mainnet's filters need about 12 GiB
MAX_READERS = 32
_BEST = b"best"


class BlockFilter(NamedTuple):
    """A filter with its hash and its place in the chain of filter headers (BIP157)."""

    header: bytes
    hash: bytes
    data: bytes


class FilterStore:
    """Filters by block hash. One thread at a time may ``put``; any thread may read."""

    def __init__(self, directory: Path) -> None:
        """Open or create it under the network's directory; raises StorageError."""
        self._path = directory / FILE
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._env: Any = lmdb.open(
                str(self._path), subdir=False, map_size=MAP_SIZE, max_readers=MAX_READERS, readahead=False, mode=0o600
            )
        except OSError as error:
            raise StorageError(f"cannot make {self._path.parent}: {error.strerror}") from None
        except lmdb.Error as error:
            raise translate(error, self._path) from error

    def get(self, block_hash: BlockHash) -> BlockFilter | None:
        """The filter of a block; raises StorageError."""
        record = self._read(block_hash)
        return None if record is None else BlockFilter(record[:32], record[32:64], record[64:])

    def best(self) -> BlockHash | None:
        """The last block of the active chain that was indexed; raises StorageError."""
        found = self._read(_BEST)
        return None if found is None else BlockHash(found)

    def _read(self, key: bytes) -> bytes | None:
        try:
            with self._env.begin() as txn:
                found: bytes | None = txn.get(key)
                return found
        except lmdb.Error as error:
            raise translate(error, self._path) from error

    def put(self, filters: Mapping[BlockHash, BlockFilter], best: BlockHash) -> None:
        """Store filters and where they end, durably, all or nothing; raises StorageError."""
        try:
            with self._env.begin(write=True) as txn:
                for block_hash, item in filters.items():
                    txn.put(block_hash, b"".join(item))
                txn.put(_BEST, best)
        except lmdb.Error as error:
            raise translate(error, self._path) from error

    def close(self) -> None:
        """Close the files."""
        self._env.close()
