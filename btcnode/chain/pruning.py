"""Which block files may go: Core's rules over the records of the files.

A file goes as a whole, with its undo data, when all its blocks are at heights that may go; those being written stay.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from btcnode.storage.blockfiles import FileInfo

MIN_BLOCKS_TO_KEEP = 288  # below the tip
PRUNE_LOCK_BUFFER = 10  # blocks kept below the one that holds pruning back
ALLOCATION = (16 << 20) + (1 << 20)  # bytes by which files may grow before somebody looks again
AVERAGE_BLOCK_SIZE = 1_000_000
MIN_PRUNE_TARGET = 550 << 20


def last_prunable(tip_height: int, wanted: int) -> int:
    """The highest block that may go when ``wanted`` is asked for."""
    return min(wanted, max(0, tip_height - MIN_BLOCKS_TO_KEEP))


def lock_height(held: int) -> int:
    """The highest block that may go while somebody needs those from ``held`` on."""
    return held - PRUNE_LOCK_BUFFER - 1


def prunable_heights(last: int, base: int | None = None, history_tip: int = 0) -> list[range]:
    """Heights of the blocks that may go, where ``last`` is the highest one of the active chain.

    With a loaded UTXO set, after block ``base``, the chain below it stands at ``history_tip`` on disk: what is between
    these two is still to be connected.
    """
    if base is None:
        return [range(last + 1)]
    return [range(min(last, history_tip) + 1), range(base + 1, last + 1)]


def files_within(infos: Sequence[FileInfo], heights: Sequence[range], writing: Collection[int]) -> list[int]:
    """Numbers of the files whose blocks are all within one of ``heights``; not those of ``writing``."""
    return [
        number
        for number, info in enumerate(infos)
        if info.size
        and number not in writing
        and any(span.start <= info.height_first and info.height_last < span.stop for span in heights)
    ]


def files_beyond(infos: Sequence[FileInfo], prunable: Sequence[int], target: int, blocks_to_come: int = 0) -> list[int]:
    """Those of ``prunable``, numbers in order, that have to go to keep all files together below ``target`` bytes.

    ``blocks_to_come``: during the initial download more room is made at once, as each pruning costs a flush.
    """
    usage = sum(info.size + info.undo_size for info in infos)
    spare = ALLOCATION
    chosen: list[int] = []
    if usage + spare < target:
        return chosen
    spare += AVERAGE_BLOCK_SIZE * blocks_to_come
    for number in prunable:
        if usage + spare < target:
            break
        chosen.append(number)
        usage -= infos[number].size + infos[number].undo_size
    return chosen
