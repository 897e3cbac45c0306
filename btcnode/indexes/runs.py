"""Rows that are found by their first bytes, kept in sorted runs that are merged as they grow in number.

The keys of rows are as good as random. In one B-tree each would change a page of its own, once the tree is larger
than memory: a billion rows would write terabytes. So new rows go into a run of up to ``RUN_ROWS``, small enough to stay
in memory, and ``FAN`` runs of a level are merged into one of the next, written in order. A row is written once for
each level, of which mainnet needs four, and looking one up asks some twenty runs instead of one tree.

Each run is a named database of its own (a slot); ``runs`` in the main database says what is where. Rows are added and
merged in the caller's transaction, so readers and a crash see the one or the other. Merging goes on by ``WORK`` rows
for each new one: a merge is done before the next one of its level is due, and no single step is long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from struct import Struct
from typing import Any, NamedTuple

from btcnode.storage.checksums import opened, sealed

RUN_ROWS = 1 << 20
FAN = 8
LEVELS = 6  # of up to FAN ** 5 * RUN_ROWS rows: 34 * 10**9
SLOTS = 80  # a level has up to FAN runs in a merge, half as many that came meanwhile, and the one that grows
WORK = 2
RUN_NAMES = tuple(b"run%02d" % slot for slot in range(SLOTS))
_KEY = b"runs"
_RUN = Struct("<BB?I")


class Run(NamedTuple):
    """A sorted run: its database, its level, whether it is still being merged into, and its rank by age."""

    slot: int
    level: int
    growing: bool
    age: int


class Runs:
    """The runs of one environment."""

    def __init__(self, env: Any) -> None:
        """Open them; raises lmdb.Error."""
        with env.begin(write=True) as txn:
            self._slots: list[Any] = [env.open_db(name, txn=txn) for name in RUN_NAMES]

    def find(self, txn: Any, prefix: bytes) -> list[bytes]:
        """All rows that begin with ``prefix``, in no order."""
        return [row for run in _load(txn) if not run.growing for row in self._matches(txn, run.slot, prefix)]

    def _matches(self, txn: Any, slot: int, prefix: bytes) -> Iterator[bytes]:
        cursor = txn.cursor(db=self._slots[slot])
        more = cursor.set_range(prefix)
        while more and (row := cursor.key()).startswith(prefix):
            yield row
            more = cursor.next()

    def between(self, txn: Any, low: bytes, high: bytes | None) -> Iterator[bytes]:
        """All rows from ``low`` to below ``high`` (None: to the last), each once; raises CorruptionError."""
        for run in _load(txn):
            cursor = txn.cursor(db=self._slots[run.slot])
            if run.growing or not cursor.set_range(low):
                continue
            for row in cursor.iternext(keys=True, values=False):
                if high is not None and row >= high:
                    break
                yield row

    def add(self, txn: Any, rows: Sequence[bytes]) -> None:
        """Add rows and go on merging, in a transaction that writes."""
        if not rows:
            return
        runs = _load(txn)
        fresh = [run for run in runs if not run.level]
        if not fresh or self._size(txn, fresh[-1]) >= RUN_ROWS:
            fresh.append(_begin(runs, 0))
        txn.cursor(db=self._slots[fresh[-1].slot]).putmulti((row, b"") for row in sorted(rows))
        for level in range(LEVELS - 1):
            self._merge(txn, runs, level, WORK * len(rows))
        txn.put(_KEY, sealed(_KEY, b"".join(_RUN.pack(*run) for run in runs)))

    def _size(self, txn: Any, run: Run) -> int:
        return int(txn.stat(self._slots[run.slot])["entries"])

    def _merge(self, txn: Any, runs: list[Run], level: int, budget: int) -> None:
        """Move up to ``budget`` rows of a level's oldest runs up by one; ``runs`` follows."""
        sources = [run for run in runs if run.level == level and not run.growing][:FAN]
        if len(sources) < FAN or (not level and self._size(txn, sources[-1]) < RUN_ROWS):
            return
        target = next((run for run in runs if run.level == level + 1 and run.growing), None)
        if target is None:
            target = _begin(runs, level + 1)
        cursor = txn.cursor(db=self._slots[target.slot])
        after = cursor.key() if cursor.last() else b""
        rows = list(islice(merge(*(self._rows(txn, run.slot, after) for run in sources)), budget))
        cursor.putmulti(((row, b"") for row in rows), append=True)
        if len(rows) < budget:
            for run in sources:
                txn.drop(self._slots[run.slot], delete=False)
                runs.remove(run)
            runs[runs.index(target)] = target._replace(growing=False)

    def _rows(self, txn: Any, slot: int, after: bytes) -> Iterator[bytes]:
        """The rows of a run behind ``after``, in order."""
        cursor = txn.cursor(db=self._slots[slot])
        found = cursor.set_range(after + b"\0") if after else cursor.first()
        return iter(cursor.iternext(keys=True, values=False)) if found else iter(())


def _load(txn: Any) -> list[Run]:
    """All runs, oldest first; raises CorruptionError."""
    stored = txn.get(_KEY)
    value = b"" if stored is None else opened(_KEY, stored, "an index")
    return sorted((Run(*fields) for fields in _RUN.iter_unpack(value)), key=lambda run: run.age)


def _begin(runs: list[Run], level: int) -> Run:
    """A new run in a free slot."""
    used = {run.slot for run in runs}
    slot = next(slot for slot in range(SLOTS) if slot not in used)
    run = Run(slot, level, level > 0, max((run.age for run in runs), default=0) + 1)
    runs.append(run)
    return run
