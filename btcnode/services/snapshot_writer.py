"""The UTXO set to a file: as it is at the tip, or as it was after an earlier block."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from btcnode.errors import StorageError
from btcnode.services.chain import Chain
from btcnode.services.earlier_coins import coins_after
from btcnode.services.pruner import Pruner
from btcnode.services.snapshot_files import SnapshotBlocksError, output_file, sync_output
from btcnode.storage.durable import storage_error
from btcnode.storage.utxo_snapshot import SnapshotHeader, write_coins
from btcnode.tuples import NamedTuple


class WrittenSnapshot(NamedTuple):
    """Coins written, their serialised hash, and the transactions in the chain up to their block."""

    coins: int
    utxo_hash: bytes
    chain_tx: int


class SnapshotWriter:
    """Writes UTXO sets of one chain."""

    def __init__(self, chain: Chain, pruner: Pruner) -> None:
        self._chain = chain
        self._pruner = pruner
        self._state = chain.driver.chainstate

    async def write(self, name: str, target: int, in_memory: Callable[[], bool]) -> WrittenSnapshot:
        """Write the UTXO set after block ``target`` of the active chain to a new file, or to a named pipe.

        For an earlier block than the tip the coins are rolled back beside the chain, the changes in memory or in a
        file next to the other: ``in_memory`` is asked when it comes to that. ``name`` may hold a NUL, behind which the
        system does not look. Raises SnapshotFileError, StorageError, and what ``in_memory`` raises.
        """
        tree = self._state.tree
        with output_file(name) as (temporary, fd), self._pruner.holding("dumptxoutset", tree.height(target)):
            back = target != self._state.tip
            gone = self._pruner.prune_height() if back else None
            lacks = gone is not None and gone > tree.height(target)
            if lacks and self._pruner.is_enabled:
                raise StorageError(
                    "Could not roll back to requested height since necessary block data is already pruned."
                )
            spill = temporary.parent / f"temp_utxo_{tree.height(target)}" if back and not in_memory() else None
            if lacks:  # below a set that was loaded
                raise SnapshotBlocksError(f"Failed to read block at height {gone}")
            result = await self._chain.driver.at_tip(lambda begun: self._write(name, fd, target, spill, begun))
        return result[1]

    def _write(self, name: str, fd: int, target: int, spill: Path | None, begun: Callable[[], None]) -> WrittenSnapshot:
        """On a reader thread; the chain stands still until ``begun`` is called."""
        state, tree = self._state, self._state.tree
        with coins_after(self._chain, target, spill, begun) as changes:
            try:
                header = SnapshotHeader(tree.hash(target), changes.count())
                with os.fdopen(os.dup(fd), "wb") as file:
                    file.write(header.pack(state.params))
                    written = write_coins(file, changes.chunks(), self._chain.check_stop)
                    sync_output(file)
            except OSError as error:
                raise storage_error(error, f"cannot write the UTXO set to {name}") from None
        return WrittenSnapshot(written.coins, written.utxo_hash, tree.columns.chain_tx[target])
