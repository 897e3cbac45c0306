"""The runs of coins that a database has: opened, added to, merged beside it, and which of them count.

A list in the database's ``meta`` (the manifest) names them, oldest first. A run is on the disk before the manifest that
names it, which is written with the tip marker in one transaction; a file that no manifest names is the rest of a crash
and goes at the next opening. So a reader who holds the runs of one manifest has a snapshot, for as long as it likes.
"""

from __future__ import annotations

import logging
import mmap
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import cast

import lmdb

from btcnode.errors import CorruptionError, StorageError
from btcnode.storage.coin_groups import GONE, Entries
from btcnode.storage.coin_merge import MergeStopped, merge, merge_from
from btcnode.storage.coin_process import MergeProcess, WriteProcess
from btcnode.storage.coin_run import SUFFIX, CoinRun, RunDamageError, RunRecord, merged, write_run
from btcnode.storage.durable import storage_error
from btcnode.storage.lmdb_errors import is_damage, translate
from btcnode.tuples import NamedTuple

BACKGROUND_ENTRIES = 200_000  # from so many on a merge has a process of its own, and a flush does not do it
WRITE_ENTRIES = 50_000  # from so many on a flush, or a set, has a process, which takes 50 ms to start
MERGES = 2  # at a time, where memory suffices: a long one does not keep the short ones waiting
MAX_RUNS = 32  # beyond it a flush waits for the merges
TOGETHER = 1 << 14  # entries that are handed on together

log = logging.getLogger("btcnode.coindb")


class NewRun(NamedTuple):
    """A run that is on the disk and not in the manifest, and the ones in whose place it comes, which lie together."""

    run: CoinRun
    replaced: tuple[CoinRun, ...]


class CoinRuns:
    """The runs in a folder. One thread at a time may write; any may ask for ``runs``, which never change.

    ``publish`` brings a merged run into the manifest; from a thread of this object. ``told`` turns what is found
    damaged in a file into the error that is raised. ``on_written`` is called with the size of what of a run has been
    written, in bytes.
    """

    def __init__(
        self,
        folder: Path,
        publish: Callable[[NewRun], None],
        told: Callable[[str], CorruptionError],
        on_written: Callable[[int], None] | None = None,
    ) -> None:
        self._folder = folder
        self._on_written = on_written
        self._publish = publish
        self._told = told
        self._runs: tuple[CoinRun, ...] = ()
        self._merging: set[bytes] = set()  # names of runs
        self._changed = threading.Condition()
        self._threads: ThreadPoolExecutor | None = None
        self._processes: set[MergeProcess] = set()
        self._writer: WriteProcess | None = None
        self._closed = False
        self._broken: CorruptionError | None = None
        self._active = 0  # merges under way
        self.most_merges = MERGES  # that may be; where memory is short one
        self._readers = 0

    # -- opening -------------------------------------------------------------------------------------------------

    def open(self, records: Sequence[RunRecord], *, in_doubt: bool) -> None:
        """Open the runs of the manifest, and remove every other file.

        What is damaged is raised when somebody asks for the runs, so that they can be replaced. Then all files stay:
        it may be the manifest that is old, and the others those which it should name. Raises StorageError.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, f"cannot make {self._folder}") from None
        try:
            self._runs = tuple(self._open_run(record, in_doubt=in_doubt) for record in records)
        except CorruptionError as error:
            self._broken = error
        else:
            self._tidy({run.path for run in self._runs})

    def leftover(self) -> bool:
        """Whether there are files of coins, before any is opened; raises StorageError."""
        try:
            return self._folder.is_dir() and any(path.name.endswith(SUFFIX) for path in self._folder.iterdir())
        except OSError as error:
            raise storage_error(error, f"cannot look into {self._folder}") from None

    def _tidy(self, known: Collection[Path]) -> None:
        """Remove the files of all other runs; raises StorageError."""
        try:
            for path in self._folder.iterdir():
                if path.name.endswith(SUFFIX) and path not in known:
                    path.unlink()
        except OSError as error:
            raise storage_error(error, f"cannot tidy {self._folder}") from None

    def _open_run(self, record: RunRecord, *, in_doubt: bool = False, trusted: bool = False) -> CoinRun:
        path = record.path(self._folder)
        with self.naming(path):
            try:
                return CoinRun(self._folder, record, in_doubt=in_doubt, trusted=trusted)
            except FileNotFoundError:
                raise RunDamageError(f"{path} is missing") from None
            except OSError as error:
                raise storage_error(error, f"cannot open {path}") from None

    @contextmanager
    def naming(self, path: Path | None = None) -> Iterator[None]:
        """What goes wrong with a run, as the typed error that names its file."""
        try:
            yield
        except lmdb.Error as error:
            if is_damage(error):
                raise self._told(f"{path or self._folder} is damaged ({error})") from error
            raise translate(error, path or self._folder) from error
        except RunDamageError as error:
            raise self._told(str(error)) from None

    @property
    def runs(self) -> tuple[CoinRun, ...]:
        """Those that count, oldest first: a snapshot. Raises CorruptionError, StorageError."""
        if self._broken is not None:
            raise self._broken
        if self._closed:
            raise StorageError("the database is closed")
        return self._runs

    @contextmanager
    def reading(self) -> Iterator[tuple[CoinRun, ...]]:
        """The runs that count, oldest first, none of which is closed before the end. Raises as ``runs``."""
        with self._changed:
            runs = self.runs
            self._readers += 1
        try:
            yield runs
        finally:
            with self._changed:
                self._readers -= 1
                if self._closed:
                    self._changed.notify_all()

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(run.size for run in self._runs)

    @property
    def coin_bytes(self) -> int:
        """Bytes on disk without the two pages that each file begins with: what coins take, however many runs."""
        return self.size - len(self._runs) * 2 * mmap.PAGESIZE

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, puts: Mapping[bytes, bytes] | Collection[tuple[bytes, bytes]], gone: Collection[bytes]) -> NewRun:
        """Write changes as a run, small runs before it taken in; ``adopt`` or ``abandon`` has to follow.

        Raises StorageError, lmdb.Error, OSError.
        """
        count = len(puts) + len(gone)
        taken = self._taken_in(count)
        keep = bool(self.runs[: len(self.runs) - len(taken)])
        expected = count + sum(run.record.entries for run in taken)

        def entries() -> Iterator[Entries]:
            fresh = _in_order(puts, gone)
            whole = self._over(taken, fresh) if taken else fresh
            return whole if keep else map(_alive, whole)

        try:
            record = self._written_elsewhere(entries(), expected)
            return NewRun(self._written(entries(), expected) if record is None else self._opened(record), taken)
        except BaseException:
            self._let_go(taken)
            raise

    def load(self, entries: Callable[[], Iterator[Entries]], expected: int) -> NewRun:
        """Write coins that come in order of their outpoints, some thousand at a time, as a run; as ``write``.

        ``entries`` gives them once more where a process that was to write them has failed.
        """
        record = self._written_elsewhere(entries(), expected)
        return NewRun(self._written(entries(), expected) if record is None else self._opened(record), ())

    def _written(self, entries: Iterable[Entries], expected: int) -> CoinRun:
        return self._opened(write_run(self._folder, entries, expected, self._on_written))

    def _opened(self, record: RunRecord) -> CoinRun:
        return self._open_run(record, trusted=True)

    def _written_elsewhere(self, entries: Iterator[Entries], expected: int) -> RunRecord | None:
        """Written by a process; None when there is none, or it is not worth one. Raises what ``entries`` raises."""
        if expected < WRITE_ENTRIES or self._on_written is not None:
            return None
        try:
            process = WriteProcess(self._folder, expected)
        except OSError as error:
            log.warning("No process for writing coins (%s): the node does it itself", error.strerror)
            return None
        self._writer = process
        try:
            for keys, coins in entries:
                process.send(keys, coins)
                if process.is_over:
                    break
            record = process.result()
            if record is None:
                log.warning("The process for writing coins has failed: the node does it itself")
            return record
        finally:
            self._writer = None
            process.abandon()

    def _taken_in(self, count: int) -> tuple[CoinRun, ...]:
        """The youngest runs that changes of this size are written together with; nobody merges them meanwhile."""
        with self._changed:
            while len(self.runs) >= MAX_RUNS and self._active:
                self._changed.wait()
            free = self._free()
            place = merge_from([*(run.record.entries for run in free), count])
            if place is None:
                return ()
            while place < len(free) and count + sum(r.record.entries for r in free[place:]) > BACKGROUND_ENTRIES:
                place += 1
            self._merging |= {run.record.name for run in free[place:]}
            return free[place:]

    def _let_go(self, runs: tuple[CoinRun, ...]) -> None:
        with self._changed:
            self._merging -= {run.record.name for run in runs}
            self._changed.notify_all()

    def _free(self) -> tuple[CoinRun, ...]:
        """The runs younger than every one that is being merged."""
        runs = self.runs
        begin = max((at + 1 for at, run in enumerate(runs) if run.record.name in self._merging), default=0)
        return runs[begin:]

    def _over(self, runs: tuple[CoinRun, ...], fresh: Iterator[Entries]) -> Iterator[Entries]:
        """Small runs with changes over them: little enough for memory."""
        entries: dict[bytes, bytes] = {}
        with self.naming():
            for keys, coins in merged(runs, keep_tombs=True):
                entries.update(zip(keys, coins, strict=True))
        for keys, coins in fresh:
            entries.update(zip(keys, coins, strict=True))
        ordered = iter(sorted(entries))
        while keys := list(islice(ordered, TOGETHER)):
            yield keys, list(map(entries.__getitem__, keys))

    # -- the manifest --------------------------------------------------------------------------------------------

    def manifest(self, new: NewRun | None) -> bytes:
        """The list with a new run in its place; without one the empty list."""
        return b"" if new is None else b"".join(run.record.pack() for run in self._list_with(new))

    def _list_with(self, new: NewRun) -> tuple[CoinRun, ...]:
        """A run without entries is none."""
        runs, names = self._runs, {run.record.name for run in new.replaced}
        place = min((at for at, run in enumerate(runs) if run.record.name in names), default=len(runs))
        left = [run for run in runs if run.record.name not in names]
        return (*left[:place], *((new.run,) if new.run.record.entries else ()), *left[place:])

    def holds(self, runs: Sequence[CoinRun]) -> bool:
        """Whether all of these are in the list still."""
        return {run.record.name for run in runs} <= {run.record.name for run in self._runs}

    def adopt(self, new: NewRun | None) -> None:
        """The manifest is written: from now on these runs count."""
        with self._changed:
            before = self._runs
            self._runs = () if new is None else self._list_with(new)
            broken = self._broken is not None
            if new is None:
                self._broken = None
        added = () if new is None else (new.run,)
        for run in {*before, *added}.difference(self._runs):
            with suppress(OSError):  # the next opening removes it
                run.path.unlink()
        if broken and new is None:  # those that could not be opened, and those beside them
            self._tidy(())
        if new is not None:
            self._let_go(new.replaced)

    def abandon(self, new: NewRun) -> None:
        """The manifest was not written."""
        new.run.path.unlink(missing_ok=True)
        self._let_go(new.replaced)

    # -- merging -------------------------------------------------------------------------------------------------

    def begin_merges(self) -> None:
        """Merge what is due, beside everything else."""
        with self._changed:
            if self._closed or self._broken is not None or self._active >= self.most_merges:
                return
            free = self._free()
            place = merge_from([run.record.entries for run in free])
            if place is None:
                return
            runs, keep = free[place:], len(free) - place < len(self._runs)
            self._merging |= {run.record.name for run in runs}
            self._active += 1
            if self._threads is None:
                self._threads = ThreadPoolExecutor(MERGES, thread_name_prefix="merge")
            self._threads.submit(self._merge, runs, keep)

    def _merge(self, runs: tuple[CoinRun, ...], keep: bool) -> None:
        """On a thread of its own; what fails is told, and tried again after the next flush."""
        merged_all = False
        try:
            with self.naming():
                record = self._merged_elsewhere(runs, keep)
                if record is None:
                    record = merge(self._folder, runs, keep_tombs=keep, may_continue=lambda: not self._closed)
            self._publish(NewRun(self._open_run(record, trusted=True), runs))
            merged_all = True
        except MergeStopped:
            return
        except (StorageError, OSError) as error:
            log.error("Coins were not merged: %s", error)
        except Exception:
            log.exception("Coins were not merged")
        finally:
            self._let_go(runs)
            with self._changed:
                self._active -= 1
                self._changed.notify_all()
        if merged_all:
            self.begin_merges()

    def _merged_elsewhere(self, runs: tuple[CoinRun, ...], keep: bool) -> RunRecord | None:
        """Merged by a process; None when there is none, or it is not worth one."""
        if sum(run.record.entries for run in runs) < BACKGROUND_ENTRIES:
            return None
        try:
            process = MergeProcess(self._folder, runs, keep_tombs=keep)
        except OSError as error:
            log.warning("No process for merging coins (%s): the node does it itself", error.strerror)
            return None
        with self._changed:
            self._processes.add(process)
            if self._closed:
                process.stop()
        try:
            return process.result()
        finally:
            with self._changed:
                self._processes.discard(process)

    @property
    def pids(self) -> list[int]:
        """Of the processes that write runs now."""
        with self._changed:
            merging = [process.pid for process in self._processes]
        writer = self._writer
        return merging if writer is None else [*merging, writer.pid]

    def wait(self) -> None:
        """Until nothing is being merged."""
        with self._changed:
            while self._active:
                self._changed.wait()

    def close(self) -> None:
        """Stop merging, wait for readers, and let go of the files."""
        with self._changed:
            self._closed = True
            for process in self._processes:
                process.stop()
        if self._threads is not None:
            self._threads.shutdown()
        with self._changed:
            while self._readers:
                self._changed.wait()
            runs, self._runs = self._runs, ()
        for run in runs:
            run.close()


def _alive(entries: Entries) -> Entries:
    """Without tombstones."""
    keys, coins = entries
    if GONE in coins:
        keys = [key for key, coin in zip(keys, coins, strict=True) if coin]
        coins = [coin for coin in coins if coin]
    return keys, coins


def _in_order(
    puts: Mapping[bytes, bytes] | Collection[tuple[bytes, bytes]], gone: Collection[bytes]
) -> Iterator[Entries]:
    """Changes in order of their outpoints; sorted in parts, as no single call may hold the interpreter for long."""
    coins = puts if isinstance(puts, Mapping) else dict(puts)
    parts: list[list[bytes]] = [[] for _ in range(256)]
    try:
        for outpoint in coins:
            parts[outpoint[0]].append(outpoint)
        for outpoint in gone:
            if outpoint not in coins:
                parts[outpoint[0]].append(outpoint)
    except IndexError:
        raise StorageError("an outpoint has no bytes") from None
    for part in parts:
        part.sort()
        if part:
            found = list(map(coins.get, part))
            yield part, [coin or GONE for coin in found] if None in found else cast("list[bytes]", found)
