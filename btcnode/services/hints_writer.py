"""Hints for SwiftSync to a file: which outputs of each block are unspent after some block of the active chain."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from btcnode.chain.block_status import HAVE_DATA, HAVE_UNDO
from btcnode.consensus.connect import BIP30_OVERWRITTEN
from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height
from btcnode.primitives.hashes import to_display
from btcnode.services.chain import Chain
from btcnode.services.earlier_coins import coins_after
from btcnode.services.pruner import Pruner
from btcnode.services.snapshot_files import output_file, sync_output
from btcnode.storage.coin_changes import CoinChanges
from btcnode.tuples import NamedTuple

REPORT_PARTS = 20

log = logging.getLogger("btcnode.swiftsync")


class WrittenHints(NamedTuple):
    """Unspent outputs that were written, and the file's bytes."""

    coins: int
    size: int


class HintsWriter:
    """Writes hints from the blocks and coins of one chain."""

    def __init__(self, chain: Chain, pruner: Pruner) -> None:
        self._chain = chain
        self._pruner = pruner
        self._state = chain.driver.chainstate

    async def write(self, name: str, target: int) -> WrittenHints:
        """Write the hints for block ``target`` of the active chain to a new file, beside the chain.

        Every block up to it is read, and its outputs are looked up; memory is that of one block. For an earlier block
        than the tip those above are taken back first, in a file next to the other. Raises SnapshotFileError,
        StorageError, ValueError for the genesis block.
        """
        tree = self._state.tree
        height = tree.height(target)
        if not height:
            raise ValueError("There are no hints for the genesis block: nothing of it can be spent")
        with output_file(name) as (temporary, fd), self._pruner.holding("dumphints", 0):
            self._check_data(height)
            spill = temporary.parent / f"temp_hints_{height}"
            _, written = await self._chain.driver.at_tip(lambda begun: self._write(fd, target, spill, begun))
        log.info("hints for %d coins at height %d written: %d bytes", written.coins, height, written.size)
        return written

    def _check_data(self, height: int) -> None:
        """Blocks up to ``height``, and undo data above, must be here; raises StorageError."""
        active, status = self._state.active, self._state.tree.columns.status
        missing = next((index for index in active.span(1, height) if not status[index] & HAVE_DATA), -1)
        if missing < 0:
            above = active.span(height + 1, active.height)
            both = HAVE_DATA | HAVE_UNDO
            missing = next((index for index in above if status[index] & both != both), -1)
        if missing >= 0:
            at = self._state.tree.height(missing)
            raise StorageError(f"Hints need every block and the undo data above them: block {at} is not (fully) here")

    def _write(self, fd: int, target: int, spill: Path, begun: Callable[[], None]) -> WrittenHints:
        """On a reader thread; the chain stands still until ``begun`` is called."""
        with coins_after(self._chain, target, spill, begun) as coins:
            try:
                with os.fdopen(os.dup(fd), "wb") as file:
                    found = self._write_blocks(file, target, coins)
                    size = file.tell()
                    sync_output(file)
                    return WrittenHints(found, size)
            except OSError as error:
                raise StorageError(f"cannot write the hints: {error.strerror}") from None

    def _write_blocks(self, file: BinaryIO, target: int, coins: CoinChanges) -> int:
        from btcnode.swiftsync.hints import pack_header, pack_hint

        tree = self._state.tree
        last = tree.height(target)
        path = [target]
        while len(path) < last:
            path.append(tree.prev(path[-1]))
        path.reverse()
        file.write(pack_header(last))
        found = 0
        for height, index in enumerate(path, 1):
            self._chain.check_stop()
            indices = self._unspent(height, index, coins)
            file.write(pack_hint(indices))
            found += len(indices)
            if height * REPORT_PARTS // last != (height - 1) * REPORT_PARTS // last:
                log.info("hints: %d%%, block %d of %d, %d coins", 100 * height // last, height, last, found)
        return found

    def _unspent(self, height: int, index: int, coins: CoinChanges) -> list[int]:
        """Which outputs of a block are unspent, counting those that can be spent."""
        from btcnode.swiftsync.fold import spendable_outputs

        tree = self._state.tree
        name = tree.hash(index)
        try:
            block = parse_block(self._chain.read_block_now(index))
        except DecodeError as error:
            raise CorruptionError(f"block {to_display(name)} is damaged on disk: {error}") from None
        outpoints = spendable_outputs(block, coinbase_lost=(height, name) in BIP30_OVERWRITTEN)
        found = coins.get_many(outpoints)
        return [n for n, coin in enumerate(found) if coin is not None and coin_height(coin) == height]
