"""Processes that write runs of coins beside the node: flushes, sets that are loaded, and runs that are merged.

Packing coins takes an interpreter as long as connecting the block that made them, so a process of its own is what lets
blocks go on meanwhile. Entries are sent in order, some thousand at a time, over the process's standard input::

    number of entries[u32 LE], bytes of all coins[u64 LE]    0 entries: that was all
    outpoints[36] ..., lengths of coins (u32 of the machine) ..., coins ...

The input's end before that tells that the node is gone. The answer on the standard output is the new run's record.

A process that fails, or stands still because somebody has stopped it, costs time only: the node does its work again.
One whose node is gone leaves no file. Where memory runs out the kernel is to take these first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from struct import Struct
from typing import IO

import lmdb

from btcnode.side_processes import end_first
from btcnode.storage.coin_groups import KEY_SIZE, Entries
from btcnode.storage.coin_merge import MergeStopped, merge
from btcnode.storage.coin_run import CoinRun, RunDamageError, RunRecord, new_name, path_of, write_run

NICENESS = 10  # of merges: connecting blocks and verifying scripts come first; what waits long is merged at once
_START = "import sys; sys.path[:] = sys.argv[6:]; from btcnode.storage.coin_process import main; main()"
_DAMAGED = 3  # exit status
_FRAME = Struct("<IQ")
_LENGTH = "I"

log = logging.getLogger("btcnode.coindb")


class RunProcess:
    """A process that writes one run; ``stop`` may be called from any thread."""

    def __init__(self, folder: Path, task: str, more: str) -> None:
        """Start it for ``task`` (``main``); raises OSError when that is impossible."""
        name = new_name()
        self._path = path_of(folder, name)
        words = (task, os.fsencode(folder), more, name.hex(), str(os.getpid()))
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, *words, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        self._stopped = False
        if hasattr(os, "waitid"):
            threading.Thread(target=self._end_if_halted, name="halted", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def _end_if_halted(self) -> None:
        """Kill it when a signal stops it, which nobody would notice: a flush would wait for ever."""
        try:
            seen = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        except ChildProcessError:  # it has ended, and was waited for
            return
        if seen is not None and seen.si_code == os.CLD_STOPPED:
            log.warning("A process that writes coins was stopped by signal %d: done without it", seen.si_status)
            self._process.kill()

    def _say(self, data: bytes) -> None:
        """Send it bytes; raises OSError when it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def _answer(self, last: bytes) -> RunRecord | None:
        """Wait for the run after these bytes, None when the process has failed.

        Raises MergeStopped, RunDamageError.
        """
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            self._say(last)  # stdin stays open: its end tells the process that the node is gone
            told = process.stdout.read()
        except OSError:
            told = b""
        status = self._wait()
        if self._stopped:
            raise MergeStopped
        if status == _DAMAGED:
            raise RunDamageError(told.decode(errors="replace"))
        return RunRecord.unpack_all(told)[0] if not status and told else None

    def _wait(self) -> int:
        """Its exit status; what it leaves when it fails is removed."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        status = process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        if status:  # however it has ended: with the disk full, or out of memory, this may happen again and again
            self._path.unlink(missing_ok=True)
        return status

    def stop(self) -> None:
        """Have it end now."""
        self._stopped = True
        self._process.kill()


class MergeProcess(RunProcess):
    """Merges runs."""

    def __init__(self, folder: Path, runs: Sequence[CoinRun], *, keep_tombs: bool) -> None:
        """``runs``: oldest first. Raises OSError when there can be no process."""
        super().__init__(folder, "merge", "keep" if keep_tombs else "drop")
        self._records = b"".join(run.record.pack() for run in runs)

    def result(self) -> RunRecord | None:
        """Wait for the run; None when the process has failed. Raises MergeStopped, RunDamageError."""
        return self._answer(len(self._records).to_bytes(4, "little") + self._records)


class WriteProcess(RunProcess):
    """Writes a run from entries that it is sent; ``abandon`` has to follow, whatever comes of it."""

    def __init__(self, folder: Path, expected: int) -> None:
        """``expected``: about how many entries will come. Raises OSError when there can be no process."""
        super().__init__(folder, "write", str(expected))
        self._entries = 0
        self._over = False

    def send(self, keys: Sequence[bytes], coins: Sequence[bytes]) -> None:
        """Entries above all before them."""
        if not keys or self._over:
            return
        lengths = array(_LENGTH, map(len, coins))
        frame = b"".join((_FRAME.pack(len(keys), sum(lengths)), *keys, lengths, *coins))
        self._entries += len(keys)
        try:
            self._say(frame)
        except OSError:  # it has ended, which ``result`` tells
            self._over = True

    @property
    def is_over(self) -> bool:
        """Whether it takes no more entries."""
        return self._over

    def result(self) -> RunRecord | None:
        """Wait for the run of all that was sent; None when the process has failed."""
        if self._over:
            return None
        self._over = True
        record = self._answer(_FRAME.pack(0, 0))
        if record is None or record.entries == self._entries:
            return record
        self._path.unlink(missing_ok=True)
        return None

    def abandon(self) -> None:
        """Nobody waits for the run any more, if there was none."""
        if self._process.returncode is None:
            self.stop()
            self._wait()


def _sent(stream: IO[bytes]) -> Iterator[Entries]:
    """The entries that a WriteProcess is sent; raises MergeStopped when the node is gone."""
    while True:
        count, size = _FRAME.unpack(_read(stream, _FRAME.size))
        if not count:
            return
        keys = _read(stream, KEY_SIZE * count)
        lengths = array(_LENGTH)
        lengths.frombytes(_read(stream, lengths.itemsize * count))
        coins = _read(stream, size)
        yield (
            [keys[at : at + KEY_SIZE] for at in range(0, len(keys), KEY_SIZE)],
            [coins[here:there] for here, there in pairwise(accumulate(lengths, initial=0))],
        )


def _read(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise MergeStopped
    return data


def _merged(folder: Path, tombs: str, name: bytes, node: int) -> RunRecord:
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    size = int.from_bytes(sys.stdin.buffer.read(4), "little")
    records = RunRecord.unpack_all(sys.stdin.buffer.read(size))
    runs = [CoinRun(folder, record, trusted=True) for record in records]
    return merge(folder, runs, keep_tombs=tombs == "keep", may_continue=lambda: os.getppid() == node, name=name)


def main() -> None:
    """The process: ``merge`` or ``write``, a folder, what becomes of tombstones or how many entries come, a name.

    These are its arguments, and the node's process id. Records of runs, or entries, come on stdin; the record of the
    new run goes to stdout.
    """
    task, place, more, hex_name, node = sys.argv[1:6]
    folder, name = Path(place), bytes.fromhex(hex_name)
    end_first()
    try:
        if task == "merge":
            record = _merged(folder, more, name, int(node))
        else:
            record = write_run(folder, _sent(sys.stdin.buffer), int(more), name=name)
        told, status = record.pack(), 0
    except RunDamageError as error:
        told, status = str(error).encode(), _DAMAGED
    except (MergeStopped, lmdb.Error, OSError, MemoryError):
        os._exit(1)
    try:
        if os.getppid() != int(node):
            raise BrokenPipeError
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()
    except OSError:  # the node has ended meanwhile; its next start may be over, which would remove the file
        path_of(folder, name).unlink(missing_ok=True)
        os._exit(1)
    os._exit(status)
