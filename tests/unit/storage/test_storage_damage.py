"""Damaged bytes of the database: noticed with the file named, or without consequences."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from btcnode.errors import CorruptionError
from btcnode.primitives.steps import at_once
from btcnode.storage.block_index import BlockIndexStore
from btcnode.storage.checksums import sealed
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.layout import (
    DATABASE_FILE,
    DATABASES,
    DB_COINS,
    DB_INDEX,
    DB_META,
    DB_SUMS,
    INDEX_RECORD_SIZE,
    META_CONVERTING,
    META_SCHEMA,
    SCHEMA,
    UNSEALED_VERSION,
    index_key,
)
from btcnode.storage.page_check import check_file
from tests.lib.coins import all_coins

PAGE = 4096
DAMAGES = 150


def many(rng: random.Random, count: int) -> dict[bytes, bytes]:
    """Coins, some of them so large that they have pages of their own."""
    return {rng.randbytes(36): rng.randbytes(rng.choice([35, 38, 60, 3000])) for _ in range(count)}


def record(n: int) -> bytes:
    """An index record."""
    return n.to_bytes(INDEX_RECORD_SIZE, "little")


def fill(directory: Path, rng: random.Random) -> dict[bytes, bytes]:
    """Make a database by many commits, so that it has free pages and old copies; returns its coins."""
    alive: dict[bytes, bytes] = {}
    with closing(Database.open(directory)) as database:
        for n in range(20):
            fresh, dead = many(rng, 30), rng.sample(sorted(alive), len(alive) // 4)
            meta = {b"tip": rng.randbytes(32), b"file%d" % n: bytes(20)}
            database.commit(coins_put=fresh, coins_delete=dead, index_puts={n: record(n)}, meta_puts=meta)
            alive = {key: coin for key, coin in (alive | fresh).items() if key not in dead}
    return alive


def content(directory: Path) -> tuple[Any, ...]:
    """Everything that can be read of a database."""
    with closing(Database.open(directory)) as database:
        coins = CoinsDb(database)
        coins.verify()
        columns = BlockIndexStore(database).load(check=False)
        rows = [columns.record(i) for i in range(len(columns))]
        return dict(all_coins(coins)), rows, database.meta_items(b"")


def raw(directory: Path, work: Callable[[Any, dict[bytes, Any]], None]) -> None:
    """Change records behind the database's back."""
    with lmdb.open(str(directory / DATABASE_FILE), subdir=False, max_dbs=8, map_size=1 << 30) as env:
        dbs = {name: env.open_db(name) for name in DATABASES}
        with env.begin(write=True) as txn:
            work(txn, dbs)


@pytest.mark.parametrize("kind", ["byte", "bit of a page's head", "page"])
def test_damage_is_noticed_or_without_consequences(tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    fill(tmp_path, rng)
    file, whole = tmp_path / DATABASE_FILE, content(tmp_path)
    good, noticed = file.read_bytes(), 0
    pages = len(good) // PAGE
    for _ in range(DAMAGES):
        bad = bytearray(good)
        page = rng.randrange(pages)
        if kind == "byte":
            bad[rng.randrange(len(bad))] ^= rng.randrange(1, 256)
        elif kind == "page":
            other = rng.randrange(pages) * PAGE
            fresh = rng.choice([rng.randbytes(PAGE), bytes(PAGE), good[other : other + PAGE]])
            bad[page * PAGE : (page + 1) * PAGE] = fresh
        else:
            bad[page * PAGE + rng.randrange(200)] ^= 1 << rng.randrange(8)
        file.write_bytes(bad)
        try:
            assert content(tmp_path) == whole
            with closing(Database.open(tmp_path)) as database:  # writing meets no damage either
                database.commit(coins_put=many(rng, 50), meta_puts={b"tip": bytes(32)})
            content(tmp_path)
        except CorruptionError as error:
            assert file.name in str(error) or "block index" in str(error)
            assert "--reindex" in str(error)
            noticed += 1
    assert noticed > DAMAGES // 20


@pytest.mark.parametrize("head", [0, 1])
def test_number_of_a_transaction_that_cannot_be_is_noticed(tmp_path: Path, head: int) -> None:
    """It says which of the two heads counts: the older one would take back what was committed last."""
    fill(tmp_path, random.Random(head))
    file = tmp_path / DATABASE_FILE
    whole = file.read_bytes()
    for at in range(145, 152):
        damaged = bytearray(whole)
        damaged[head * PAGE + at] ^= 0x31
        file.write_bytes(damaged)
        with pytest.raises(CorruptionError, match="transaction"):
            Database.open(tmp_path)
    file.write_bytes(whole)
    Database.open(tmp_path).close()


def test_large_file_is_checked_down_to_the_parents_of_its_leaves(tmp_path: Path) -> None:
    rng = random.Random(1)
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put={rng.randbytes(36): rng.randbytes(40) for _ in range(5000)})
    file = tmp_path / DATABASE_FILE
    assert not check_file(file, DATABASES, "", whole_bytes=0)
    good = file.read_bytes()
    branch = next(at for at in range(0, len(good), PAGE) if good[at + 10] == 1)  # its flags say so
    bad = bytearray(good)
    bad[branch + PAGE - 200] ^= 0xFF
    bad[branch + 16] ^= 0x40
    file.write_bytes(bad)
    with pytest.raises(CorruptionError, match="damaged"):
        check_file(file, DATABASES, "", whole_bytes=0)


@pytest.mark.parametrize("what", ["gone", "changed", "back"])
def test_missing_coins_are_proven_on_demand(tmp_path: Path, what: str) -> None:
    rng = random.Random(what)
    alive = fill(tmp_path, rng)
    key = rng.choice(sorted(alive))
    spent = key[:30] + bytes(6)

    def change(txn: Any, dbs: dict[bytes, Any]) -> None:
        if what == "gone":
            txn.delete(key, db=dbs[DB_COINS])
            txn.put(spent, sealed(spent, b"as many coins as before"), db=dbs[DB_COINS])
        elif what == "changed":
            txn.put(key, alive[key] + bytes(4), db=dbs[DB_COINS])
        else:
            txn.delete(min(k for k in alive if k[:2] != key[:2]), db=dbs[DB_COINS])
            txn.put(spent, sealed(spent, b"spent long ago"), db=dbs[DB_COINS])

    raw(tmp_path, change)
    with closing(Database.open(tmp_path)) as database:
        told: list[CorruptionError] = []
        database.on_damage = told.append
        coins = CoinsDb(database)
        with pytest.raises(CorruptionError, match=r"btcnode\.mdb is damaged .*--reindex-chainstate"):
            at_once(coins.prove_missing([o for o in (key, key[:35] + b"\xff") if coins.get(o) is None]))
        assert told
        with pytest.raises(CorruptionError, match="--reindex-chainstate"):
            coins.verify()
        with pytest.raises(CorruptionError, match="--reindex-chainstate"):
            list(all_coins(coins))


def test_sums_follow_coins_that_are_put_over_others(tmp_path: Path) -> None:
    key = bytes(36)
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put={key: b"first"})
        assert database.commit(coins_put={key: b"second", bytes(35) + b"\1": b"other"}).coins_put == 2
        coins = CoinsDb(database)
        assert coins.get(key) == b"second"
        assert coins.verify() == 2
        assert coins.get(bytes(34) + b"\1\1") is None
        database.clear_coins({b"tip": b"genesis"})
        assert coins.verify() == 0


@pytest.mark.parametrize("cut_off", [False, True])
def test_older_layout_gets_its_checksums(tmp_path: Path, cut_off: bool) -> None:
    rng = random.Random(3)
    alive = fill(tmp_path, rng)
    whole = content(tmp_path)

    def strip(txn: Any, dbs: dict[bytes, Any]) -> None:
        for name in (DB_COINS, DB_INDEX, DB_META):
            for key, stored in list(txn.cursor(db=dbs[name]).iternext()):
                txn.put(key, stored[:-4], db=dbs[name])
        txn.put(META_SCHEMA, SCHEMA.pack(UNSEALED_VERSION), db=dbs[DB_META])
        txn.drop(dbs[DB_SUMS], delete=False)
        if cut_off:  # an earlier start has done a part
            done = sorted(alive)[:100]
            for key in done:
                txn.put(key, sealed(key, alive[key]), db=dbs[DB_COINS])
            txn.put(META_CONVERTING, done[-1], db=dbs[DB_META])

    raw(tmp_path, strip)
    assert content(tmp_path) == whole


def test_index_record_of_an_older_page_is_noticed(tmp_path: Path) -> None:
    fill(tmp_path, random.Random(5))

    def change(txn: Any, dbs: dict[bytes, Any]) -> None:
        key = index_key(3)
        txn.put(key, sealed(key, record(99)), db=dbs[DB_INDEX])

    raw(tmp_path, change)
    with closing(Database.open(tmp_path)) as database, pytest.raises(CorruptionError, match="not those"):
        BlockIndexStore(database).load(check=False)


def test_fatal_signal_has_the_next_start_look_at_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(8)
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put={rng.randbytes(36): rng.randbytes(40) for _ in range(5000)})
    file = tmp_path / DATABASE_FILE
    bad = bytearray(file.read_bytes())
    leaf = next(
        at for at in range(3 * PAGE, len(bad), PAGE) if bad[at + 10] == 2 and len(set(bad[at : at + PAGE])) > 200
    )
    bad[leaf + 16 : leaf + 64] = rng.randbytes(48)
    file.write_bytes(bad)
    monkeypatch.setattr(
        "btcnode.storage.database.check_file", partial(check_file, whole_bytes=0)
    )  # as if it were large
    Database.open(tmp_path).close()
    code = "import os, sys, pathlib; from btcnode.storage.fault_note import FaultNote as Note"
    code += "; note = Note(pathlib.Path(sys.argv[1])); os.abort()"
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -signal.SIGABRT
    with pytest.raises(CorruptionError, match=r"btcnode\.mdb is damaged .*page"):
        Database.open(tmp_path)
