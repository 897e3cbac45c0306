"""A database whose coins lie in one tree, as older versions had them, brought to the present layout.

The coins are copied into a run, which counts from one transaction on that drops the tree and writes what is new. A
crash before it leaves the old layout and a file that the next start removes. What is left of the tree's pages goes
when the environment is copied without them; a crash before that leaves a file that is longer than it need be.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from struct import Struct
from typing import Any

import lmdb

from btcnode.errors import CorruptionError
from btcnode.storage.checksums import CHECK_SIZE, Seal, Total, check_of, checked_total, is_whole, opened, sealed
from btcnode.storage.coin_groups import Entries
from btcnode.storage.coin_run import RunRecord, write_run
from btcnode.storage.durable import sync_directory
from btcnode.storage.layout import (
    COINS_DIR,
    DATABASES,
    DB_INDEX,
    DB_META,
    DB_SUMS,
    META_CONVERTING,
    META_RUNS,
    META_SCHEMA,
    OLD_DB_COINS,
    SCHEMA,
    SCHEMA_VERSION,
    SUMS_SEAL,
    TREE_VERSION,
    UNSEALED_VERSION,
)

CHUNK = 8192
MIN_MAP_SIZE = 1 << 30
REPORT_COINS = 1 << 20
_OLD_SEAL = Struct("<QQQQQQ")  # count and sum of coins, index, meta

log = logging.getLogger("btcnode.coindb")


def bring_up_to_date(file: Path, damaged: Callable[[str], CorruptionError]) -> None:
    """Convert a database in an older layout, with progress in the log; do nothing to any other file.

    Nobody may have it open. ``damaged`` makes the error that says what is. Raises CorruptionError, OSError, lmdb.Error.
    """
    size = max(2 * file.stat().st_size, MIN_MAP_SIZE)
    with closing(
        lmdb.open(os.fsencode(file), subdir=False, max_dbs=len(DATABASES) + 1, map_size=size, lock=False)
    ) as env:
        with env.begin() as txn:
            known = {bytes(name) for name in txn.cursor().iternext(values=False)}
        if not known >= {DB_META, OLD_DB_COINS}:
            return
        meta = env.open_db(DB_META)
        with env.begin(db=meta) as txn:
            stored = txn.get(META_SCHEMA)
        if stored not in (SCHEMA.pack(UNSEALED_VERSION), sealed(META_SCHEMA, SCHEMA.pack(TREE_VERSION))):
            return
        log.info("Bringing the coins in %s to a new layout, once", file)
        is_sealed = len(stored) > SCHEMA.size
        _OlderLayout(file, env, damaged, is_sealed=is_sealed).convert()
        fresh = file.with_name(file.name + ".new")
        try:
            with fresh.open("wb") as out:
                env.copyfd(out.fileno(), compact=True)
                os.fsync(out.fileno())
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    fresh.replace(file)
    sync_directory(file.parent)
    log.info("The coins are in their new layout")


class _OlderLayout:
    """An open environment; ``is_sealed``: its records have checksums."""

    def __init__(self, file: Path, env: Any, damaged: Callable[[str], CorruptionError], *, is_sealed: bool) -> None:
        self._folder = file.parent / COINS_DIR
        self._env = env
        self._dbs = {name: env.open_db(name) for name in (*DATABASES, OLD_DB_COINS)}
        self._damaged = damaged
        self._is_sealed = is_sealed

    def convert(self) -> None:
        """Write the run, then everything else in one transaction."""
        tree = self._dbs[OLD_DB_COINS]
        self._folder.mkdir(exist_ok=True)
        with self._env.begin() as txn:
            record = write_run(self._folder, self._coins(txn, tree), int(txn.stat(tree)["entries"]))
        with self._env.begin(write=True) as txn:
            seal = self._write_rest(txn, record)
            txn.drop(self._dbs[DB_SUMS], delete=False)
            txn.put(SUMS_SEAL, sealed(SUMS_SEAL, seal.pack()), db=self._dbs[DB_SUMS])
            txn.drop(tree)
        self._env.sync(True)

    def _coins(self, txn: Any, tree: Any) -> Iterator[Entries]:
        """All coins; at the end it is known that they are those that were written, where that can be known."""
        total, count = Total(), max(1, int(txn.stat(tree)["entries"]))
        upto = b"\xff" * 64 if self._is_sealed else txn.get(META_CONVERTING, b"", db=self._dbs[DB_META])
        rows = txn.cursor(db=tree).iternext()
        while chunk := list(islice(rows, CHUNK)):
            if not all(is_whole(key, stored) for key, stored in chunk if key <= upto):
                raise self._damaged("a coin")
            before = total.count // REPORT_COINS
            total = total.plus(len(chunk), sum([check_of(stored) for _, stored in chunk]))
            if total.count // REPORT_COINS != before:
                log.info("New layout: %d%% of the coins", 100 * total.count // count)
            keys = [key for key, _ in chunk]
            yield keys, [stored[:-CHECK_SIZE] if key <= upto else stored for key, stored in chunk]
        if self._is_sealed and total != self._old_totals(txn)[0]:
            raise self._damaged("coins are missing, or are there that were spent")

    def _old_totals(self, txn: Any) -> tuple[Total, Total, Total]:
        """Of coins, index and meta."""
        stored = txn.get(SUMS_SEAL, b"", db=self._dbs[DB_SUMS])
        try:
            numbers = _OLD_SEAL.unpack(opened(SUMS_SEAL, stored, "the totals"))
        except CorruptionError as error:
            raise self._damaged(str(error)) from None
        return Total(*numbers[:2]), Total(*numbers[2:4]), Total(*numbers[4:])

    def _write_rest(self, txn: Any, run: RunRecord) -> Seal:
        """What has no checksum gets one, ``meta`` what is new; returns the totals of index and ``meta``."""
        index, meta = self._dbs[DB_INDEX], self._dbs[DB_META]
        if self._is_sealed:
            _, index_total, meta_total = self._old_totals(txn)
            if checked_total(txn.cursor(db=meta).iternext()) != meta_total:
                raise self._damaged("the records of meta are not those that were written")
        else:
            txn.delete(META_CONVERTING, db=meta)
            for db in (index, meta):
                cursor = txn.cursor(db=db)
                cursor.putmulti([(key, sealed(key, value)) for key, value in cursor.iternext()])
            index_total = checked_total(txn.cursor(db=index).iternext()) or Total()
        for key, value in ((META_SCHEMA, SCHEMA.pack(SCHEMA_VERSION)), (META_RUNS, run.pack())):
            txn.put(key, sealed(key, value), db=meta)
        return Seal(index_total, checked_total(txn.cursor(db=meta).iternext()) or Total())
