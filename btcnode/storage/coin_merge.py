"""Which runs of coins are merged when, and the merging itself, in a process of its own where there can be one.

A run is merged with all younger ones once those together have three times its entries: so runs grow fourfold from one
to the next, a coin is written again once for each level, and mainnet's set takes some ten runs. Small runs are not
worth a file: what a flush writes takes them in.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import lmdb

from btcnode.storage.coin_groups import Entries
from btcnode.storage.coin_run import CoinRun, RunDamageError, RunRecord, merged, new_name, path_of, write_run

RATIO = 3  # the younger runs together have so many times the entries of the one that they are merged with
FLOOR = 20_000  # entries that every run counts for at least
NICENESS = 10  # connecting blocks and verifying scripts come first; what waits long is merged at once with what follows
_START = "import sys; sys.path[:] = sys.argv[4:]; from btcnode.storage.coin_merge import main; main()"
_DAMAGED = 3  # exit status


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


class MergeProcess:
    """A process that merges; ``stop`` may be called from any thread."""

    def __init__(self, folder: Path, runs: Sequence[CoinRun], *, keep_tombs: bool) -> None:
        """Start it; raises OSError when that is impossible."""
        name = new_name()
        self._path = path_of(folder, name)
        words = [os.fsencode(folder), "keep" if keep_tombs else "drop", name.hex()]
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *words, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        self._records = b"".join(run.record.pack() for run in runs)
        self._stopped = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def result(self) -> RunRecord | None:
        """Wait for the run; None when the process has failed. Raises MergeStopped, RunDamageError."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            # stdin stays open: its end tells the process that the node is gone
            process.stdin.write(len(self._records).to_bytes(4, "little") + self._records)
            process.stdin.flush()
            told = process.stdout.read()
        except OSError:
            told = b""
        finally:
            status = process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
        if status:  # however it has ended: with the disk full, or out of memory, this may happen again and again
            self._path.unlink(missing_ok=True)
        if self._stopped:
            raise MergeStopped
        if status == _DAMAGED:
            raise RunDamageError(told.decode(errors="replace"))
        return RunRecord.unpack_all(told)[0] if not status and told else None

    def stop(self) -> None:
        """Have it end now."""
        self._stopped = True
        self._process.kill()


def main() -> None:
    """The process: a folder, what becomes of tombstones, the new run's name in argv; records of runs on stdin.

    The record of the new one goes to stdout.
    """
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    folder, tombs, name = Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
    size = int.from_bytes(sys.stdin.buffer.read(4), "little")
    records = RunRecord.unpack_all(sys.stdin.buffer.read(size))
    parent = os.getppid()
    try:
        runs = [CoinRun(folder, record, trusted=True) for record in records]
        record = merge(folder, runs, keep_tombs=tombs == "keep", may_continue=lambda: os.getppid() == parent, name=name)
        told, status = record.pack(), 0
    except RunDamageError as error:
        told, status = str(error).encode(), _DAMAGED
    except (MergeStopped, lmdb.Error, OSError):
        os._exit(1)
    try:
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()
    except OSError:  # the node has ended meanwhile, and nobody reads
        os._exit(1)
    os._exit(status)
