"""What may be wrong with a file of a UTXO set, or with loading it."""

from __future__ import annotations

from btcnode.errors import StorageError


class SnapshotFileError(StorageError):
    """The file that was named cannot be used."""


class SnapshotRefusedError(StorageError):
    """A UTXO set cannot be loaded; the text is Core's."""
