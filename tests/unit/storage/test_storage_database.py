from __future__ import annotations

import fcntl
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from btcnode.errors import CorruptionError, DatadirLockedError, DiskFullError, StorageError
from btcnode.storage.checksums import sealed
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import LOCK_FILE_SIZE, Database
from btcnode.storage.layout import DATABASE_FILE, DB_INDEX, LOCK_FILE, META_SCHEMA, OLD_DATABASE_FILE
from tests.lib.coins import all_coins

META = b"a name"


def outpoint(n: int) -> bytes:
    return n.to_bytes(32, "big") + bytes(4)


def many(count: int, start: int = 0) -> dict[bytes, bytes]:
    return {outpoint(n): b"coin%d" % n + bytes(60) for n in range(start, start + count)}


def records(count: int, start: int = 0) -> dict[int, bytes]:
    return {n: b"record%d" % n + bytes(60) for n in range(start, start + count)}


def run_child(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_commit_is_there_after_reopening(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "new" / "dir")
    stats = database.commit(
        coins_put=many(1000), index_puts={7: b"seven", 300: b"three hundred"}, meta_puts={META: b"value"}
    )
    assert stats == (1000, 0, 2, 1, 0)
    database.close()
    database = Database.open(tmp_path / "new" / "dir")
    assert database.get_meta(META) == b"value"
    assert database.get_meta(b"another") is None
    assert CoinsDb(database).get_many([outpoint(999), outpoint(1000), outpoint(0)]) == [
        many(1, 999)[outpoint(999)],
        None,
        many(1)[outpoint(0)],
    ]
    with database.read(DB_INDEX) as txn:
        assert list(txn.cursor().iternext()) == [
            (key, sealed(key, value))
            for key, value in [(b"\x00\x00\x00\x07", b"seven"), (b"\x00\x00\x01\x2c", b"three hundred")]
        ]
    database.close()


def test_deletions_come_before_puts(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database.commit(coins_put=many(4))
    stats = database.commit(coins_put={outpoint(1): b"new"}, coins_delete={outpoint(n) for n in (1, 2, 77)})
    assert stats.coins_deleted == 3
    assert CoinsDb(database).get_many(map(outpoint, range(4))) == [
        many(4)[outpoint(0)],
        b"new",
        None,
        many(4)[outpoint(3)],
    ]
    assert CoinsDb(database).count() == 3
    database.close()


def test_sorted_pairs_are_taken_like_a_mapping(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    pairs = sorted(many(50).items())
    assert database.commit(coins_put=pairs, meta_puts=[(META, b"1")]).coins_put == 50
    assert all_coins(CoinsDb(database)) == pairs
    database.close()


def test_meta_items_by_prefix(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database.commit(meta_puts={b"file\x00": b"0", b"file\x01": b"1", b"filf": b"no", b"fil": b"no"})
    assert database.meta_items(b"file") == [(b"file\x00", b"0"), (b"file\x01", b"1")]
    database.close()


def test_failed_commit_changes_nothing(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database.commit(coins_put=many(10), meta_puts={META: b"before"})
    with pytest.raises(StorageError):
        database.commit(coins_put={b"": b"an empty key"}, coins_delete=list(many(10)), meta_puts={META: b"after"})
    with pytest.raises(TypeError):
        database.commit(coins_delete=list(many(10)), meta_puts={META: "no bytes"})  # type: ignore[arg-type]
    assert database.get_meta(META) == b"before"
    assert CoinsDb(database).count() == 10
    database.close()


# -- lock


def test_second_opening_is_refused_and_names_the_directory(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    with pytest.raises(DatadirLockedError, match=str(tmp_path)):
        Database.open(tmp_path)
    # the refusal has not taken the first one's lock away
    child = run_child(
        """
        import sys
        from pathlib import Path
        from btcnode.errors import DatadirLockedError
        from btcnode.storage.database import Database
        try:
            Database.open(Path(sys.argv[1]))
        except DatadirLockedError as error:
            print(error)
        """,
        tmp_path,
    )
    assert str(tmp_path) in child.stdout, child.stderr
    database.close()
    Database.open(tmp_path).close()


@pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="needs open-file-description locks")
def test_lock_excludes_bitcoin_core(tmp_path: Path) -> None:
    """Core takes a POSIX record lock on the same file."""
    code = """
        import fcntl, sys
        with open(sys.argv[1], "a") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                print("busy")
            else:
                print("free", flush=True)
                if len(sys.argv) > 2:
                    sys.stdin.read()
    """
    database = Database.open(tmp_path)
    assert run_child(code, tmp_path / LOCK_FILE).stdout == "busy\n"
    database.close()
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / LOCK_FILE), "hold"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as core:
        assert core.stdout is not None and core.stdin is not None
        assert core.stdout.readline() == "free\n"
        with pytest.raises(DatadirLockedError):
            Database.open(tmp_path)
        core.stdin.close()
    Database.open(tmp_path).close()


def test_failed_opening_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).parent.mkdir()
    (tmp_path / DATABASE_FILE).write_bytes(b"something else entirely" * 1000)
    for _ in range(2):
        with pytest.raises(CorruptionError, match="--reindex"):
            Database.open(tmp_path)


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make"):
        Database.open(tmp_path / "file" / "datadir")


# -- corruption


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database.commit(coins_put=many(5000), index_puts=records(500))
    database.close()
    path = tmp_path / DATABASE_FILE
    data = path.read_bytes()
    for size in (len(data) // 2, 9000, 4096, 100):
        path.write_bytes(data[:size])
        with pytest.raises(CorruptionError, match="--reindex"):
            Database.open(tmp_path)
    path.write_bytes(data)
    database = Database.open(tmp_path)
    assert CoinsDb(database).count() == 5000
    database.close()


def test_unknown_schema_is_refused(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database.commit(meta_puts={META_SCHEMA: b"\x63\x00\x00\x00"})
    database.close()
    with pytest.raises(CorruptionError, match="layout 99"):
        Database.open(tmp_path)


def test_foreign_lmdb_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / DATABASE_FILE).parent.mkdir()
    with lmdb.open(str(tmp_path / DATABASE_FILE), subdir=False, max_dbs=2) as env:
        index = env.open_db(DB_INDEX)
        with env.begin(write=True, db=index) as txn:
            txn.put(b"k", b"v")
    with pytest.raises(CorruptionError, match="not a btcnode database"):
        Database.open(tmp_path)


# -- growth and limits


def test_map_grows_by_itself(tmp_path: Path) -> None:
    database = Database.open(tmp_path, map_size=1 << 16)
    stats = database.commit(index_puts=records(30_000), meta_puts={META: b"after"})
    assert stats.growths >= 2
    assert stats.index_put == 30_000
    assert database.map_size > 1 << 21
    database.close()
    database = Database.open(tmp_path, map_size=1 << 16)
    assert database.count(DB_INDEX) == 30_000
    database.close()


def test_growth_waits_for_readers_of_other_threads(tmp_path: Path) -> None:
    database = Database.open(tmp_path, map_size=1 << 20)
    database.commit(index_puts=records(1000))
    reading, finish = threading.Event(), threading.Event()
    seen: list[int] = []

    def read() -> None:
        with database.read(DB_INDEX) as txn:
            reading.set()
            finish.wait(60)
            seen.append(sum(1 for _ in txn.cursor().iternext()))

    reader = threading.Thread(target=read)
    writer = threading.Thread(target=lambda: database.commit(index_puts=records(30_000, 1000)))
    reader.start()
    assert reading.wait(60)
    writer.start()
    writer.join(0.5)
    assert writer.is_alive()
    finish.set()
    writer.join(60)
    reader.join(60)
    assert seen == [1000]  # the snapshot of its beginning
    assert database.count(DB_INDEX) == 31_000
    database.close()


def test_growth_under_an_own_reader_is_refused(tmp_path: Path) -> None:
    database = Database.open(tmp_path, map_size=1 << 20)
    database.commit(index_puts=records(1000))
    with database.read(DB_INDEX), pytest.raises(StorageError, match="while this thread reads"):
        database.commit(index_puts=records(30_000, 1000))
    assert database.count(DB_INDEX) == 1000
    database.commit(index_puts=records(30_000, 1000))
    assert database.count(DB_INDEX) == 31_000
    database.close()


def test_full_map_is_typed_and_loses_nothing(tmp_path: Path) -> None:
    database = Database.open(tmp_path, map_size=1 << 20, max_map_size=2 << 20)
    database.commit(coins_put=many(1000), meta_puts={META: b"before"})
    with pytest.raises(DiskFullError, match=str(tmp_path)):
        database.commit(coins_put=many(4000, 1000), index_puts=records(40_000), meta_puts={META: b"after"})
    assert database.get_meta(META) == b"before"
    assert CoinsDb(database).count() == 1000
    database.commit(coins_put=many(10, 5000), meta_puts={META: b"small"})
    database.close()
    database = Database.open(tmp_path)
    assert database.get_meta(META) == b"small"
    assert dict(all_coins(CoinsDb(database))) == {**many(1000), **many(10, 5000)}
    database.close()


def test_full_disk_is_typed_and_loses_nothing(tmp_path: Path) -> None:
    """A limit on the file's size stands for the full disk; after it is lifted, the same commit succeeds."""
    child = run_child(
        """
        import resource, sys
        from pathlib import Path
        from btcnode.errors import DiskFullError
        from btcnode.storage.coins import CoinsDb
        from btcnode.storage.database import Database

        def many(count, start=0):
            return {n.to_bytes(32, "big") + bytes(4): bytes(70) for n in range(start, start + count)}

        database = Database.open(Path(sys.argv[1]))
        database.commit(coins_put=many(1000), meta_puts={b"name": b"before"})
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        for size in (1 << 20, 3 << 20):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            try:
                database.commit(coins_put=many(50_000, 1000), coins_delete=many(500), meta_puts={b"name": b"after"})
            except DiskFullError as error:
                assert "free some space" in str(error)
                assert database.get_meta(b"name") == b"before"
                assert CoinsDb(database).count() == 1000
            else:
                raise SystemExit("no error")
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        database.commit(coins_put=many(50_000, 1000), coins_delete=many(500), meta_puts={b"name": b"after"})
        database.close()
        print("fine")
        """,
        tmp_path,
    )
    assert child.stdout == "fine\n", child.stderr
    database = Database.open(tmp_path)
    assert database.get_meta(b"name") == b"after"
    assert CoinsDb(database).count() == 50_500
    database.close()


def test_use_after_close_is_typed(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    coins = CoinsDb(database)
    database.close()
    with pytest.raises(StorageError, match="closed"):
        coins.get(outpoint(1))
    with pytest.raises(StorageError, match="closed"):
        database.commit(meta_puts={META: b""})


def test_release_pages_keeps_the_data(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    database.commit(coins_put=many(1000))
    database.release_pages()
    assert all_coins(CoinsDb(database)) == sorted(many(1000).items())
    database.close()


def test_database_of_an_earlier_version_is_moved(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:
        database.commit(meta_puts={b"x": b"1"})
    (tmp_path / DATABASE_FILE).rename(tmp_path / OLD_DATABASE_FILE)
    (tmp_path / DATABASE_FILE).with_name("btcnode.mdb-lock").unlink()
    with closing(Database.open(tmp_path)) as database:
        assert database.get_meta(b"x") == b"1"


def test_the_lock_file_has_its_room(tmp_path: Path) -> None:
    """LMDB maps it as it is: on a disk that is full later, touching a hole would kill the process."""
    Database.open(tmp_path).close()
    found = (tmp_path / f"{DATABASE_FILE}-lock").stat()
    assert found.st_size >= LOCK_FILE_SIZE and found.st_blocks * 512 >= LOCK_FILE_SIZE
