"""Which block files may go: Core's rules over the records of the files.

A file goes as a whole, with its undo data, when no block in it is above a height; the file being written stays.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def files_below(infos: Sequence[FileInfo], last: int) -> list[int]:
    """Numbers of the files whose blocks are all at ``last`` or below."""
    return [n for n, info in enumerate(infos[:-1]) if info.size and info.height_last <= last]


def files_beyond(infos: Sequence[FileInfo], last: int, target: int, blocks_to_come: int = 0) -> list[int]:
    """Numbers of the oldest files that have to go to keep all of them below ``target`` bytes.

    ``blocks_to_come``: during the initial download more room is made at once, as each pruning costs a flush.
    """
    usage = sum(info.size + info.undo_size for info in infos)
    spare = ALLOCATION
    chosen: list[int] = []
    if usage + spare < target:
        return chosen
    spare += AVERAGE_BLOCK_SIZE * blocks_to_come
    for number in files_below(infos, last):
        if usage + spare < target:
            break
        chosen.append(number)
        usage -= infos[number].size + infos[number].undo_size
    return chosen
