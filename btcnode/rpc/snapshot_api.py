"""What the RPC methods ask for UTXO sets in files."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from btcnode.errors import StorageError


class SnapshotFileError(StorageError):
    """The file that was named cannot be used."""


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
