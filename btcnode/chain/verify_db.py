"""The check of the newest blocks at start (Core's ``-checkblocks`` and ``-checklevel``)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from btcnode.chain.chainstate import Chainstate
from btcnode.consensus.blocks import check_block
from btcnode.consensus.connect import connect_block, connect_context, disconnect_block
from btcnode.errors import CorruptionError, DecodeError, RuleViolation
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.hashes import to_display
from btcnode.script.verify import verify_jobs
from btcnode.storage.undo import decode_undo

log = logging.getLogger("btcnode.validation")

LEVEL_BLOCK, LEVEL_UNDO, LEVEL_DISCONNECT, LEVEL_CONNECT = 1, 2, 3, 4


class _Overlay:
    """Coins as of an earlier block, laid over the real ones, which stay untouched."""

    def __init__(self, state: Chainstate) -> None:
        self._base = state.coins
        self._changes: dict[bytes, bytes | None] = {}

    def get_many(self, outpoints: list[bytes]) -> list[bytes | None]:
        """The coins of outpoints, None where there is none."""
        changes = self._changes
        missing = [outpoint for outpoint in outpoints if outpoint not in changes]
        found = dict(zip(missing, self._base.get_many(missing), strict=True))
        return [changes[outpoint] if outpoint in changes else found[outpoint] for outpoint in outpoints]

    def any_unspent(self, outpoints: list[bytes]) -> bool:
        """Whether one of the outpoints has a coin."""
        return any(coin is not None for coin in self.get_many(outpoints))

    def put(self, coins: Mapping[bytes, bytes]) -> None:
        """Add coins."""
        self._changes.update(coins)

    def remove(self, outpoints: list[bytes]) -> None:
        """Remove coins."""
        self._changes.update(dict.fromkeys(outpoints))


def verify_recent(state: Chainstate, blocks: int, level: int, progress: Callable[[int, int], None]) -> bool:
    """Check the newest ``blocks`` (0 or less: all) of the active chain; ``progress(done, total)`` is called for each.

    What ``progress`` raises ends the work.

    Level 0 reads them, 1 checks each alone, 2 reads their undo data too, 3 disconnects them in memory, 4 connects
    them again, scripts included. Returns False where it had to end early, since blocks were deleted. Raises
    CorruptionError that says what to do.
    """
    height = state.active.height
    total = min(blocks, height) if blocks > 0 else height
    overlay = _Overlay(state)
    undone: list[tuple[int, ParsedBlock]] = []
    complete = True
    for done in range(total):
        index = state.active.at(height - done)
        base = state.snapshot_base
        partial = (
            state.store.files.have_pruned
            or state.lacks_undo
            or (base >= 0 and height - done <= state.tree.height(base))
        )
        if partial and not (state.tree.has_data(index) and state.tree.has_undo(index)):
            log.info(
                "Block verification stopping at height %d (no data). This could be due to pruning or use of an"
                " assumeutxo snapshot.",
                height - done,
            )
            complete = False
            break
        block = _read(state, index, level)
        if level >= LEVEL_UNDO:
            undo = _read_undo(state, index, block)
            if level >= LEVEL_DISCONNECT:
                restored, removed, clean = disconnect_block(block, height - done, undo, overlay)
                if not clean:
                    raise _damaged(state, index, "its undo data does not fit the coins")
                overlay.remove(removed)
                overlay.put(restored)
                undone.append((index, block))
        progress(done + 1, total)
    if level >= LEVEL_CONNECT:
        for index, block in reversed(undone):
            _reconnect(state, index, block, overlay)
            progress(total, total)
    return complete


def _read(state: Chainstate, index: int, level: int) -> ParsedBlock:
    try:
        raw = state.read_block(index)
        block = parse_block(raw)
        if level >= LEVEL_BLOCK:
            check_block(block, state.params)
    except KeyError:
        raise _damaged(state, index, f"{state.store.database.file} does not know its data") from None
    except (DecodeError, RuleViolation) as error:
        raise _damaged(state, index, str(error)) from None
    return block


def _read_undo(state: Chainstate, index: int, block: ParsedBlock) -> list[list[bytes]]:
    position = state.undo_position(index)
    if position is None:
        raise _damaged(state, index, f"{state.store.database.file} does not know its undo data")
    try:
        return decode_undo(state.store.files.read_undo(position, block.prev_hash))
    except DecodeError as error:
        raise _damaged(state, index, f"its undo data does not decode: {error}") from None


def _reconnect(state: Chainstate, index: int, block: ParsedBlock, overlay: _Overlay) -> None:
    tree = state.tree
    context = connect_context(tree, tree.prev(index), block.hash, state.params)
    try:
        delta = connect_block(block, tree.height(index), overlay, context)
    except RuleViolation as violation:
        raise _damaged(state, index, f"it does not connect again: {violation}") from None
    if verify_jobs(delta.jobs) is not None:
        raise _damaged(state, index, "its scripts do not verify again")
    overlay.remove(list(delta.spent))
    overlay.put(delta.created)


def _damaged(state: Chainstate, index: int, why: str) -> CorruptionError:
    name = to_display(state.tree.hash(index))
    return CorruptionError(f"the data of block {name} is damaged ({why}): start with --reindex to rebuild it")
