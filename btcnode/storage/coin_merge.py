"""Which runs of coins are merged when, and the merging itself.

A run is merged with all younger ones once those together have three times its entries: so runs grow fourfold from one
to the next, a coin is written again once for each level, and mainnet's set takes some ten runs. Small runs are not
worth a file: what a flush writes takes them in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from btcnode.storage.coin_groups import Entries
from btcnode.storage.coin_run import CoinRun, RunRecord, merged, write_run

RATIO = 3  # the younger runs together have so many times the entries of the one that they are merged with
FLOOR = 20_000  # entries that every run counts for at least


class MergeStopped(Exception):
    """Nobody wants the result any more."""


def merge_from(sizes: Sequence[int]) -> int | None:
    """The first of the runs, oldest first, that is to be merged with all younger ones; None when none is."""
    counted = [max(size, FLOOR) for size in sizes]
    younger = sum(counted)
    for place, size in enumerate(counted[:-1]):
        younger -= size
        if RATIO * size <= younger:
            return place
    return None


def merge(
    folder: Path, runs: Sequence[CoinRun], *, keep_tombs: bool, may_continue: Callable[[], bool], name: bytes = b""
) -> RunRecord:
    """Write runs, oldest first, as one, with a new name unless there is one; ``may_continue`` is asked now and then.

    Raises MergeStopped, RunDamageError, lmdb.Error, OSError.
    """

    def entries() -> Iterator[Entries]:
        for part in merged(runs, keep_tombs=keep_tombs):
            if not may_continue():
                raise MergeStopped
            yield part

    return write_run(folder, entries(), sum(run.record.entries for run in runs), name=name)
