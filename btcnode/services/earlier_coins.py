"""The coins as they were after an earlier block of the active chain, beside the chain that goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from btcnode.consensus.connect import disconnect_block
from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import to_display
from btcnode.services.chain import Chain
from btcnode.storage.coin_changes import CoinChanges

REPORT_PARTS = 20

log = logging.getLogger("btcnode.rpc")


@contextmanager
def coins_after(chain: Chain, target: int, spill: Path | None, begun: Callable[[], None]) -> Iterator[CoinChanges]:
    """The coins after block ``target``: those at the tip with the blocks above taken back.

    For a reader thread, called by ``ChainDriver.at_tip``: the chain stands still until ``begun`` is called. ``spill``
    is where a file for the changes can be made, None for memory. Raises StorageError.
    """
    state, tree = chain.driver.chainstate, chain.tree
    if tree.ancestor(state.tip, tree.height(target)) != target:
        raise StorageError("the block has left the active chain")
    path = [state.tip]
    while path[-1] != target:
        path.append(tree.prev(path[-1]))
    with state.store.coins.snapshot() as rows:
        begun()
        changes = CoinChanges(rows, spill if len(path) > 1 else None)
        try:
            _roll_back(chain, changes, path[:-1])
            yield changes
        finally:
            changes.close()


def _roll_back(chain: Chain, changes: CoinChanges, blocks: list[int]) -> None:
    """Undo blocks, the tip first; raises StorageError."""
    tree = chain.tree
    for done, index in enumerate(blocks):
        chain.check_stop()
        if done * REPORT_PARTS // len(blocks) != (done - 1) * REPORT_PARTS // len(blocks):
            log.info("Rolled back %d%% of blocks.", 100 * done // len(blocks))
        try:
            block, undo = parse_block(chain.read_block_now(index)), chain.read_undo_now(index)
        except DecodeError as error:
            raise CorruptionError(f"block {to_display(tree.hash(index))} is damaged on disk: {error}") from None
        restored, removed, clean = disconnect_block(block, tree.height(index), undo, changes)
        if not clean:
            raise CorruptionError(f"undo data of block {to_display(tree.hash(index))} does not fit the coins")
        changes.apply(restored, removed)
