"""kill -9 at random moments: what was committed stays, what was not is gone as a whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest

from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.storage.checksums import opened
from btcnode.storage.coin_process import WriteProcess
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.layout import COINS_DIR, DB_INDEX, INDEX_KEY
from tests.lib.coins import all_coins
from tests.lib.process import wait_until

MAGIC = b"\xfa\xbf\xb5\xda"
KILLS = 25
PER_COMMIT = 150

# each round n appends block n and its undo data, puts the coins of round n, deletes those of round n - 3, and says so
WRITER = """
    import sys
    from pathlib import Path
    from btcnode.storage.blockfiles import BlockFiles
    from btcnode.storage.database import Database

    directory, magic, per_commit = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3])

    def key(n, i):
        return (n * 7919 + i * 104729).to_bytes(32, "little") + i.to_bytes(4, "little")

    database = Database.open(directory, map_size=1 << 18)
    files = BlockFiles.open(directory / "blocks", magic, database, max_file_size=1 << 18)
    n = int.from_bytes(database.get_meta(b"round") or b"", "big")
    print("open", flush=True)
    while True:
        n += 1
        block = files.append_block(n.to_bytes(4, "big") * (20 + n % 3000))
        undo = files.append_undo(block.file, n.to_bytes(4, "big") * 40, bytes(32))
        changes = files.take_changes()
        files.sync_changes(changes)
        record = b"%d %d %d" % (*block, undo.pos)
        database.commit(
            coins_put={key(n, i): n.to_bytes(4, "big") for i in range(per_commit)},
            coins_delete=[key(max(n - 3, 0), i) for i in range(per_commit)],
            index_puts={n: record},
            meta_puts={b"round": n.to_bytes(4, "big"), **changes.records},
        )
        print(n, flush=True)
"""


def check(directory: Path, said: int) -> int:
    """The state is that of one round, not before the last one announced, not after its successor."""
    database = Database.open(directory)
    try:
        files = BlockFiles.open(directory / "blocks", MAGIC, database, max_file_size=1 << 18)
        reached = int.from_bytes(database.get_meta(b"round") or b"", "big")
        assert said <= reached <= said + 1
        expected = {
            (n * 7919 + i * 104729).to_bytes(32, "little") + i.to_bytes(4, "little"): n.to_bytes(4, "big")
            for n in range(max(reached - 2, 1), reached + 1)
            for i in range(PER_COMMIT)
        }
        assert dict(all_coins(CoinsDb(database))) == expected
        with database.read(DB_INDEX) as txn:
            records = {INDEX_KEY.unpack(key)[0]: opened(key, value, "index") for key, value in txn.cursor().iternext()}
        assert sorted(records) == list(range(1, reached + 1))
        for n, record in records.items():
            file, pos, undo_pos = map(int, record.split())
            assert files.read_block(BlockPos(file, pos)) == n.to_bytes(4, "big") * (20 + n % 3000)
            assert files.read_undo(BlockPos(file, undo_pos), bytes(32)) == n.to_bytes(4, "big") * 40
        for number, info in enumerate(files.infos):
            assert files.block_path(number).stat().st_size == info.size
        return reached
    finally:
        database.close()


def test_killed_writer_leaves_one_state(tmp_path: Path) -> None:
    rng = random.Random(31)
    reached = 0
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), MAGIC.hex(), str(PER_COMMIT)]
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None and child.stderr is not None
            first = child.stdout.readline()
            assert first == "open\n", child.stderr.read()
            lines = [child.stdout.readline()]  # a busy disk takes its time
            time.sleep(rng.uniform(0, 0.08))
            child.kill()
            lines += child.stdout.read().splitlines(keepends=True)
            assert child.wait() == -signal.SIGKILL, child.stderr.read()
        # a line cut short by the kill was not said
        said = [int(line) for line in lines if line.endswith("\n")]
        reached = check(tmp_path, said[-1] if said else reached)
    assert reached >= KILLS


# puts coins again and again by processes that write and merge them
FLUSHER = """
    import os, sys
    from pathlib import Path
    from btcnode.storage import coin_merge, coin_runs
    from btcnode.storage.database import Database

    coin_runs.WRITE_ENTRIES, coin_runs.BACKGROUND_ENTRIES, coin_merge.FLOOR = 0, 100, 10
    database = Database.open(Path(sys.argv[1]))
    print("open", flush=True)
    while True:
        database.commit(coins_put={os.urandom(32) + bytes(4): bytes(35) for _ in range(3000)})
        print("written", flush=True)
"""


def writers_in(directory: Path) -> list[int]:
    """Processes that write runs into a directory's database."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"coin_process" in words and os.fsencode(directory) in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_starts_after_kills_find_no_writer_of_the_one_before(tmp_path: Path) -> None:
    """However fast one start follows the other: who writes for a node that is gone ends, and its file goes."""
    rng = random.Random(9)
    for _ in range(6):
        node = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(FLUSHER), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert node.stdout is not None
        for _ in range(1 + rng.randrange(4)):  # "open" at the least: the lock of the one before is free at once
            assert node.stdout.readline()
        time.sleep(rng.random() / 5)
        node.kill()
        node.communicate()
    wait_until(lambda: not writers_in(tmp_path), 60, "the end of those who write for nobody")
    with closing(Database.open(tmp_path)) as database:
        database.coin_runs.wait()
        names = {run.path.name for run in database.coin_runs.runs}
        assert {path.name for path in (database.file.parent / COINS_DIR).iterdir()} == names
        CoinsDb(database).verify()


def test_a_writer_that_goes_on_after_the_next_start_is_in_nobodys_way(tmp_path: Path) -> None:
    """Its node was killed when it had everything: what it brings to the disk is removed already, or by itself."""
    coins = {bytes((n,)) * 32 + bytes(4): bytes(35) for n in range(250)}
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=coins)
        folder = database.file.parent / COINS_DIR
    orphan = WriteProcess(folder, 250)
    orphan.send(sorted(coins), [coins[key] for key in sorted(coins)])
    wait_until(lambda: len(list(folder.iterdir())) == 2, what="the writer's file")
    with closing(Database.open(tmp_path)) as database:
        fresh = {bytes((n,)) * 32 + b"\1" + bytes(3): bytes(35) for n in range(250)}
        database.commit(coins_put=fresh)
        assert orphan.result() is None  # its file was removed at the start
        database.coin_runs.wait()
        assert {path.name for path in folder.iterdir()} == {run.path.name for run in database.coin_runs.runs}
        assert dict(all_coins(CoinsDb(database))) == coins | fresh
    orphan.abandon()
