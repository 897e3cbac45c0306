"""kill -9 at random moments: what was committed stays, what was not is gone as a whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from btcnode.storage.blockfiles import BlockFiles, BlockPos
from btcnode.storage.checksums import opened
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.layout import DB_INDEX, INDEX_KEY
from tests.lib.coins import all_coins

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
