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

from btcnode.errors import CorruptionError, LostDatabaseError
from btcnode.storage.block_index import BlockIndexStore
from btcnode.storage.checksums import sealed
from btcnode.storage.coins import CoinsDb
from btcnode.storage.damage_reports import DamageReports
from btcnode.storage.database import Database
from btcnode.storage.layout import (
    COINS_DIR,
    DATABASE_FILE,
    DATABASES,
    DB_INDEX,
    DB_META,
    INDEX_RECORD_SIZE,
    META_RUNS,
    META_SCHEMA,
    OLD_DB_COINS,
    SCHEMA,
    TREE_VERSION,
    index_key,
)
from btcnode.storage.page_check import check_file
from tests.lib.coins import all_coins
from tests.lib.older_layout import VERSIONS, go_back

PAGE = 4096
DAMAGES = 150


def many(rng: random.Random, count: int) -> dict[bytes, bytes]:
    """Coins, some of them so large that they have pages of their own."""
    return {rng.randbytes(36): rng.randbytes(rng.choice([35, 38, 60, 3000])) for _ in range(count)}


def record(n: int) -> bytes:
    """An index record."""
    return n.to_bytes(INDEX_RECORD_SIZE, "little")


def fill(directory: Path, rng: random.Random, rounds: int = 20) -> dict[bytes, bytes]:
    """Make a database by many commits, so that it has free pages and old copies; returns its coins."""
    alive: dict[bytes, bytes] = {}
    with closing(Database.open(directory)) as database:
        for n in range(rounds):
            fresh, dead = many(rng, 30), rng.sample(sorted(alive), len(alive) // 4)
            meta = {b"tip": rng.randbytes(32), b"file%d" % n: bytes(20)}
            database.commit(coins_put=fresh, coins_delete=dead, index_puts={n: record(n)}, meta_puts=meta)
            alive = {key: coin for key, coin in (alive | fresh).items() if key not in dead}
    return alive


def runs_of(directory: Path) -> list[Path]:
    """The files of coins, the largest last."""
    folder = (directory / DATABASE_FILE).parent / COINS_DIR
    return sorted(folder.glob("*.mdb"), key=lambda path: path.stat().st_size)


def content(directory: Path) -> tuple[Any, ...]:
    """Everything that can be read of a database."""
    with closing(Database.open(directory)) as database:
        coins = CoinsDb(database)
        coins.verify()
        columns = BlockIndexStore(database).load(check=False)
        rows = [columns.record(i) for i in range(len(columns))]
        meta = [(name, value) for name, value in database.meta_items(b"") if name != META_RUNS]
        return dict(all_coins(coins)), rows, meta


def raw(directory: Path, work: Callable[[Any, dict[bytes, Any]], None]) -> None:
    """Change records behind the database's back."""
    with lmdb.open(str(directory / DATABASE_FILE), subdir=False, max_dbs=8, map_size=1 << 30) as env:
        dbs = {name: env.open_db(name) for name in (*DATABASES, OLD_DB_COINS)}
        with env.begin(write=True) as txn:
            work(txn, dbs)


@pytest.mark.parametrize("kind", ["byte", "bit of a page's head", "page"])
@pytest.mark.parametrize("what", ["index", "coins"])
def test_damage_is_noticed_or_without_consequences(tmp_path: Path, what: str, kind: str) -> None:
    rng = random.Random(kind)
    fill(tmp_path / "before", rng, 19)
    rng = random.Random(kind)
    fill(tmp_path, rng)
    whole, before = content(tmp_path), content(tmp_path / "before")
    file = tmp_path / DATABASE_FILE if what == "index" else runs_of(tmp_path)[-1]
    good, noticed = file.read_bytes(), 0
    pages = len(good) // PAGE
    coins = {path: path.read_bytes() for path in runs_of(tmp_path)}
    for _ in range(DAMAGES):
        for path, data in coins.items():  # which an older list does not name, and loses
            path.write_bytes(data)
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
            assert content(tmp_path) in (whole, before)  # a damaged head page leaves what the other one says
        except CorruptionError as error:
            named = str((tmp_path / DATABASE_FILE).parent) if what == "index" else file.name
            assert named in str(error) or "block index" in str(error)
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
        database.commit(index_puts={n: rng.randbytes(40) for n in range(5000)})
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


@pytest.mark.parametrize("what", ["gone", "changed", "of another file"])
def test_groups_are_proven_when_they_are_asked_for(tmp_path: Path, what: str) -> None:
    rng = random.Random(what)
    alive = {rng.randbytes(36): rng.randbytes(35) for _ in range(5000)}
    for name in ("one", "two"):
        with closing(Database.open(tmp_path / name)) as database:
            database.commit(coins_put=alive)
    key = rng.choice(sorted(alive))
    file, other = runs_of(tmp_path / "one")[0], runs_of(tmp_path / "two")[0]
    with lmdb.open(str(other), subdir=False, lock=False, readonly=True) as env, env.begin() as txn:
        theirs = dict(txn.cursor().iternext())
    with lmdb.open(str(file), subdir=False, lock=False, map_size=1 << 24) as env, env.begin(write=True) as txn:
        cursor = txn.cursor()
        assert cursor.set_range(key)
        bound, group = cursor.item()
        if what == "gone":
            cursor.delete()
        elif what == "changed":
            place = group.index(key[:32]) + 3
            cursor.put(bound, group[:place] + bytes((group[place] ^ 1,)) + group[place + 1 :])
        else:
            cursor.put(bound, theirs[bound])
    with lmdb.open(str(file), subdir=False, lock=False, map_size=1 << 24) as env:
        env.sync(True)
    reports = DamageReports()
    with closing(Database.open(tmp_path / "one", damage=reports)) as database:
        told: list[CorruptionError] = []
        reports.listen(told.append)
        coins = CoinsDb(database)
        for read in (lambda: coins.get_many([key]), coins.verify, coins.count, lambda: all_coins(coins)):
            with pytest.raises(CorruptionError, match=rf"{file.name} is damaged .*--reindex-chainstate"):
                read()
        assert told or what == "gone"  # that was found when it was opened
        database.clear_coins({b"tip": b"genesis"})
        assert coins.count() == 0


def test_missing_file_of_coins_is_told_and_can_be_replaced(tmp_path: Path) -> None:
    fill(tmp_path, random.Random(4))
    file = runs_of(tmp_path)[-1]
    file.unlink()
    with closing(Database.open(tmp_path)) as database:
        with pytest.raises(CorruptionError, match=rf"{file.name} is missing: .*--reindex-chainstate"):
            CoinsDb(database).get(bytes(36))
        database.clear_coins({b"tip": b"genesis"})
        database.commit(coins_put={bytes(36): b"new"})
        assert CoinsDb(database).get(bytes(36)) == b"new"


def test_coins_may_be_put_over_others(tmp_path: Path) -> None:
    key = bytes(36)
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put={key: b"first"})
        assert database.commit(coins_put={key: b"second", bytes(35) + b"\1": b"other"}).coins_put == 2
        coins = CoinsDb(database)
        coins.verify()
        assert (coins.get(key), coins.count()) == (b"second", 2)
        assert coins.get(bytes(34) + b"\1\1") is None
        database.clear_coins({b"tip": b"genesis"})
        assert coins.count() == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_older_layout_is_converted(tmp_path: Path, version: str) -> None:
    fill(tmp_path, random.Random(3))
    whole = content(tmp_path)
    go_back(tmp_path, version)
    leftover = (tmp_path / DATABASE_FILE).parent / COINS_DIR / "0011223344556677.mdb"
    leftover.write_bytes(b"of a start that was cut off")
    assert content(tmp_path) == whole
    assert not leftover.exists()
    assert content(tmp_path) == whole


def test_damaged_older_layout_is_not_converted(tmp_path: Path) -> None:
    fill(tmp_path, random.Random(6))

    def change(txn: Any, dbs: dict[bytes, Any]) -> None:
        txn.put(META_SCHEMA, sealed(META_SCHEMA, SCHEMA.pack(TREE_VERSION)), db=dbs[DB_META])
        txn.put(bytes(36), b"a coin without a checksum", db=dbs[OLD_DB_COINS])

    raw(tmp_path, change)
    with pytest.raises(CorruptionError, match=r"btcnode\.mdb is damaged \(a coin\)"):
        Database.open(tmp_path)


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
        database.commit(index_puts={n: rng.randbytes(40) for n in range(5000)})
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


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_lost_database_does_not_cost_its_coins(tmp_path: Path, what: str) -> None:
    """Whoever moves the file away, starts, and puts it back has lost nothing."""
    alive = {bytes([n]) * 36: bytes([n]) * 35 for n in range(200)}
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=alive)
    file, runs = tmp_path / DATABASE_FILE, runs_of(tmp_path)
    whole = file.read_bytes()
    file.unlink()
    if what == "empty":
        file.touch()
    for _ in range(2):
        with pytest.raises(LostDatabaseError, match=r"btcnode\.mdb is missing or empty"):
            Database.open(tmp_path)
        assert runs_of(tmp_path) == runs
    file.write_bytes(whole)
    with closing(Database.open(tmp_path)) as database:
        assert CoinsDb(database).get_many(sorted(alive)) == [alive[key] for key in sorted(alive)]
    file.unlink()
    Database.open(tmp_path, anew=True).close()
    assert runs_of(tmp_path) == []
