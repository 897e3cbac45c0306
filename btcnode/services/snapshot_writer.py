"""The UTXO set to a file: as it is at the tip, or as it was after an earlier block."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from btcnode.consensus.connect import disconnect_block
from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.services.chain import Chain
from btcnode.services.file_names import system_name
from btcnode.services.pruner import Pruner
from btcnode.services.snapshot_files import SnapshotFileError
from btcnode.storage.coin_changes import CoinChanges
from btcnode.storage.utxo_snapshot import SnapshotHeader, write_coins

REPORT_PARTS = 20

log = logging.getLogger("btcnode.rpc")


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
        with _output(name) as (temporary, fd), self._pruner.holding("dumptxoutset", tree.height(target)):
            gone = self._pruner.prune_height()
            if target != self._state.tip and gone is not None and gone > tree.height(target):
                raise StorageError(
                    "Could not roll back to requested height since necessary block data is already pruned."
                )
            back = target != self._state.tip
            spill = temporary.parent / f"temp_utxo_{tree.height(target)}" if back and not in_memory() else None
            result = await self._chain.driver.at_tip(lambda begun: self._write(fd, target, spill, begun))
        return result[1]

    def _write(self, fd: int, target: int, spill: Path | None, begun: Callable[[], None]) -> WrittenSnapshot:
        """On a reader thread; the chain stands still until ``begun`` is called."""
        state, tree = self._state, self._state.tree
        if tree.ancestor(state.tip, tree.height(target)) != target:
            raise StorageError("the block has left the active chain")
        path = [state.tip]
        while path[-1] != target:
            path.append(tree.prev(path[-1]))
        count = len(state.store.coins)
        with state.store.coins.snapshot() as txn:
            begun()
            changes = CoinChanges(txn, spill if len(path) > 1 else None)
            try:
                self._roll_back(changes, path[:-1])
                header = SnapshotHeader(tree.hash(target), changes.count() if path[1:] else count)
                with os.fdopen(os.dup(fd), "wb") as file:
                    file.write(header.pack(state.params))
                    written = write_coins(file, changes.chunks(), self._check_stop)
            except OSError as error:
                raise StorageError(f"cannot write the UTXO set: {error.strerror}") from None
            finally:
                changes.close()
        return WrittenSnapshot(written.coins, written.utxo_hash, tree.columns.chain_tx[target])

    def _roll_back(self, changes: CoinChanges, blocks: list[int]) -> None:
        """Undo blocks, the tip first; raises StorageError."""
        tree = self._state.tree
        for done, index in enumerate(blocks):
            self._check_stop()
            if done * REPORT_PARTS // len(blocks) != (done - 1) * REPORT_PARTS // len(blocks):
                log.info("Rolled back %d%% of blocks.", 100 * done // len(blocks))
            try:
                block, undo = parse_block(self._chain.read_block_now(index)), self._chain.read_undo_now(index)
            except DecodeError as error:
                raise CorruptionError(f"block {to_display(tree.hash(index))} is damaged on disk: {error}") from None
            restored, removed, clean = disconnect_block(block, tree.height(index), undo, changes)
            if not clean:
                raise CorruptionError(f"undo data of block {to_display(tree.hash(index))} does not fit the coins")
            changes.apply(restored, removed)

    def _check_stop(self) -> None:
        if self._chain.stopping():
            raise StorageError("Shutting down")


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


@contextmanager
def _output(name: str) -> Iterator[tuple[Path, int]]:
    """The file to write and its descriptor: a temporary one that gets its name at the end, or a named pipe."""
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
            os.fsync(fd)
            temporary.replace(system_name(name))
    except BaseException:
        if not is_pipe:
            temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
