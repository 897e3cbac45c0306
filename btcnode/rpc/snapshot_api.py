"""What the RPC methods ask for UTXO sets in files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from btcnode.errors import StorageError
from btcnode.primitives.hashes import BlockHash


class SnapshotFileError(StorageError):
    """The file that was named cannot be used."""


class SnapshotRefusedError(StorageError):
    """A UTXO set cannot be loaded; the text is Core's."""


class LoadedSnapshot(NamedTuple):
    """Coins loaded, and the header index of their block."""

    coins: int
    base: int


class ChainPart(NamedTuple):
    """A chain whose coins are kept: its tip, bytes of cache, the block of the set that it began with, if any."""

    tip: int
    cache: int
    snapshot_base: BlockHash | None
    validated: bool


class WrittenSnapshot(NamedTuple):
    """Coins written, their serialised hash, and the transactions in the chain up to their block."""

    coins: int
    utxo_hash: bytes
    chain_tx: int


class SnapshotApi(Protocol):
    """UTXO sets in files."""

    async def write_snapshot(self, path: Path, target: int, *, in_memory: bool) -> WrittenSnapshot:
        """Write the UTXO set after block ``target`` of the active chain to a new file, or to a named pipe.

        For an earlier block than the tip the coins are rolled back beside the chain, the changes in memory or in a
        file next to the other. Raises SnapshotFileError, StorageError.
        """

    async def load_snapshot(self, path: Path) -> LoadedSnapshot:
        """Load a UTXO set whose hash is known and make its block the tip; the chain below is validated later.

        Raises DecodeError for a wrong header, SnapshotFileError, SnapshotRefusedError, StorageError.
        """

    def chain_parts(self) -> Sequence[ChainPart]:
        """The chains that this node has coins of: one below a loaded set while there is one, then the active one."""
