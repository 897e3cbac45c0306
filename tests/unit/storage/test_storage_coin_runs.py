"""Coins in groups and runs: packed and found again, merged, taken in, proven, and what is left when something fails."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import lmdb
import pytest

from btcnode.errors import CorruptionError, DiskFullError, StorageError
from btcnode.primitives.coin import make_coin
from btcnode.side_processes import OOM_SCORE
from btcnode.storage import coin_merge, coin_process, coin_run, coin_runs, mapped_memory
from btcnode.storage.coin_groups import END, GONE, NODE_SIZE, Entries, bound_between, find, low_of, pack, split, unpack
from btcnode.storage.coin_merge import FLOOR, merge, merge_from
from btcnode.storage.coin_process import MergeProcess, WriteProcess
from btcnode.storage.coin_run import CoinRun, merged, write_run
from btcnode.storage.coins import CoinsDb
from btcnode.storage.damage_reports import DamageReports
from btcnode.storage.database import Database
from btcnode.storage.layout import COINS_DIR, DATABASE_FILE
from btcnode.storage.page_check import check_file
from btcnode.storage.survivor_load import load_survivors
from tests.lib.coins import all_coins
from tests.lib.full_disk import no_room

Coins = dict[bytes, bytes]


def made(rng: random.Random, txs: int, vouts: list[int], sizes: list[int]) -> Coins:
    """Coins of so many transactions, each with these outputs."""
    txids = [rng.randbytes(32) for _ in range(txs)]
    return {txid + vout.to_bytes(4, "little"): rng.randbytes(rng.choice(sizes)) for txid in txids for vout in vouts}


def written(folder: Path, coins: Coins) -> CoinRun:
    """A run with these coins."""
    keys = sorted(coins)
    parts = [keys[at : at + 500] for at in range(0, len(keys), 500)]
    record = write_run(folder, ((part, [coins[key] for key in part]) for part in parts), len(keys))
    return CoinRun(folder, record, in_doubt=True)


def content(runs: list[CoinRun], *, keep_tombs: bool = False, above: bytes = b"") -> list[tuple[bytes, bytes]]:
    """All entries."""
    parts = merged(runs, keep_tombs=keep_tombs, above=above)
    return [item for keys, coins in parts for item in zip(keys, coins, strict=True)]


def files(directory: Path) -> set[str]:
    """Names of the files of coins."""
    return {path.name for path in ((directory / DATABASE_FILE).parent / COINS_DIR).iterdir()}


# -- groups


@pytest.mark.parametrize(
    ("txs", "vouts", "sizes"),
    [
        (500, [0, 1, 9], [35, 38, 0]),
        (3, list(range(2000)), [35]),  # one transaction over many groups, numbers of two bytes
        (40, [0, 255, 256, 65535, 65536, 2**32 - 1], [12, 300]),  # lengths of two bytes
        (5, [7], [70_000, 9]),  # a group with pages of its own
        (400, [3], [0]),
        (1, [0], [1]),
    ],
)
def test_groups_have_what_was_packed(txs: int, vouts: list[int], sizes: list[int]) -> None:
    coins = made(random.Random(txs), txs, vouts, sizes)
    keys = sorted(coins)
    found: Coins = {}
    low = b""
    for bound, group, _ in split(keys, [coins[key] for key in keys], b"", last=True):
        own, values = unpack(group)
        assert low_of(group) == low and all(low < key <= bound for key in own)
        assert [find(group, key) for key in own] == values
        for key in own:
            assert find(group, key[:32] + b"\xfe\xff\xff\x7f") is None
        assert find(group, bytes(36)) is None
        if max(sizes) < 256 and len(own) > 1:
            assert len(group) + 4 + len(bound) <= NODE_SIZE
        found.update(zip(own, values, strict=True))
        low = bound
    assert found == coins and low == END


def test_a_script_that_looks_like_keys_is_not_taken_for_them() -> None:
    rng = random.Random(5)
    keys = sorted(made(rng, 8, [0, 1], [1]))
    strange = rng.randbytes(32)
    group = pack(keys, [strange + bytes((place, 3)) * 20 for place in range(len(keys))], b"")
    assert find(group, strange + bytes(4)) is None
    assert find(group, keys[0][:32] + b"\x03\0\0\0") is None


@pytest.mark.parametrize("last", [bytes(36), b"\x05" + b"\xff" * 35, b"\x05" * 36])
def test_bounds_lie_between(last: bytes) -> None:
    for following in (last[:35] + b"\xff", b"\x06" + bytes(35), b"\xff" * 36):
        if following > last:
            assert last <= bound_between(last, following) < following


# -- runs


def test_runs_merge_to_what_the_youngest_say(tmp_path: Path) -> None:
    rng = random.Random(1)
    old, new = made(rng, 3000, [0, 1], [35]), made(rng, 400, [0, 1, 2], [35, 60])
    changes = new | dict.fromkeys(rng.sample(sorted(old), 900), GONE) | dict.fromkeys(rng.sample(sorted(old), 50), b"n")
    runs = [written(tmp_path, old), written(tmp_path, changes), written(tmp_path, {})]
    expected = sorted((key, coin) for key, coin in (old | changes).items() if coin)
    assert content(runs) == expected
    assert dict(content(runs, keep_tombs=True)) == old | changes
    assert content(runs, above=expected[1234][0]) == expected[1235:]
    record = merge(tmp_path, runs, keep_tombs=False, may_continue=lambda: True)
    run = CoinRun(tmp_path, record)
    run.verify()
    assert (record.entries, record.tombs) == (len(expected), 0)
    assert content([run]) == expected
    elsewhere = MergeProcess(tmp_path, runs, keep_tombs=True).result()
    assert elsewhere is not None
    assert dict(content([CoinRun(tmp_path, elsewhere)], keep_tombs=True)) == old | changes


def test_files_have_little_beside_the_coins(tmp_path: Path) -> None:
    coins = made(random.Random(1), 20_000, [0, 1], [35])
    run = written(tmp_path, coins)
    assert run.size < len(coins) * (35 + 3 + 16 + 5)


def test_filter_keeps_most_strangers_out(tmp_path: Path) -> None:
    rng = random.Random(2)
    run = written(tmp_path, made(rng, 5000, [0, 1], [35]))
    real, searched = run._groups, []

    class Spy:
        """Counts who gets past the filter."""

        def cursor(self) -> Any:
            """As that of a transaction."""
            searched.append(1)
            return real.cursor()

    run._groups = Spy()
    for key in sorted(rng.randbytes(36) for _ in range(2000)):
        assert run.find([(int.from_bytes(key[:4], "big"), key, 0)]) == {}
    assert 0 < len(searched) < 400
    run._groups = real


def test_filters_name_every_transaction_that_has_coins_and_few_others(tmp_path: Path) -> None:
    rng = random.Random(3)
    parts = [made(rng, 3000, [0, 1], [35]) for _ in range(3)]
    with closing(Database.open(tmp_path)) as database:
        database.coin_runs.begin_merges = lambda: None  # type: ignore[method-assign]
        for part in parts:
            database.commit(coins_put=part)
        stored = CoinsDb(database)
        txids = {key[:32] for part in parts for key in part}
        assert stored.may_have(txids) == txids
        strangers = {rng.randbytes(32) for _ in range(3000)}
        assert 0 < len(stored.may_have(strangers)) < 1000 and not stored.may_have(())


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Iterator[Entries]:
        yield [bytes(36)], [b"coin"]
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write_run(tmp_path, parts(), 1)
    assert not list(tmp_path.iterdir())


# -- which runs there are


def test_runs_are_merged_when_the_younger_are_large_enough() -> None:
    million = 1_000_000
    assert merge_from([million]) is None
    assert merge_from([million, million, million]) is None
    assert merge_from([million, million, million, million]) == 0
    assert merge_from([9 * million, million, million]) is None
    assert merge_from([90 * million, 10, 10]) is None
    assert merge_from([90 * million, 10, 10, 10, 10]) == 1
    sizes: list[int] = []
    written_again = 0
    for _ in range(1000):
        sizes.append(FLOOR)
        while (place := merge_from(sizes)) is not None:
            sizes[place:] = [sum(sizes[place:])]
            written_again += sizes[-1]
        assert len(sizes) <= 16
    assert written_again < 6 * 1000 * FLOOR


def test_a_database_is_what_was_done_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_runs, "BACKGROUND_ENTRIES", 3000)  # merges beside it, some by a process
    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 1000)  # and what is written, too
    monkeypatch.setattr(coin_merge, "FLOOR", 100)
    rng = random.Random(7)
    alive: Coins = {}
    for _ in range(3):
        with closing(Database.open(tmp_path)) as database:
            coins = CoinsDb(database)
            for _ in range(12):
                fresh, dead = made(rng, 300, [0, 1], [35]), rng.sample(sorted(alive), len(alive) // 5)
                database.commit(coins_put=fresh, coins_delete=dead)
                before = dict(alive)
                alive = {key: coin for key, coin in (alive | fresh).items() if key not in set(dead)}
                asked = rng.sample(sorted(before | fresh), 200)
                assert coins.get_many(asked) == [alive.get(key) for key in asked]
            with coins.snapshot() as rows:
                database.coin_runs.wait()
                database.commit(coins_delete=list(alive)[:5])
                assert len(list(rows)) == len(alive)  # as it was
            database.commit(coins_put={key: alive[key] for key in list(alive)[:5]})
            coins.verify()
            assert dict(all_coins(coins)) == alive
            assert len(files(tmp_path)) == len(database.coin_runs.runs) < 12


def test_small_changes_do_not_make_many_files(tmp_path: Path) -> None:
    rng = random.Random(8)
    with closing(Database.open(tmp_path)) as database:
        for _ in range(40):
            database.commit(coins_put=made(rng, 5, [0], [35]))
            assert len(files(tmp_path)) <= 4
        assert CoinsDb(database).count() == 200


def test_a_run_that_holds_nothing_is_none(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put={bytes(36): b"coin"})
        database.commit(coins_delete=[bytes(36)])
        database.commit(coins_delete=[b"\x01" * 36])
        for _ in range(3):
            database.commit(coins_put={bytes(36): b"coin"}, coins_delete=[])
            database.commit(coins_delete=[bytes(36)])
        assert CoinsDb(database).count() == 0
    assert len(files(tmp_path)) <= 3


def test_bulk_loading_in_order(tmp_path: Path) -> None:
    coins = made(random.Random(9), 4000, [0, 1], [35])
    keys = sorted(coins)
    with closing(Database.open(tmp_path)) as database:

        def entries() -> Iterator[Entries]:
            for at in range(0, len(keys), 1000):
                yield (part := keys[at : at + 1000]), [coins[key] for key in part]

        database.load_coins(entries, len(keys))
        assert all_coins(CoinsDb(database)) == [(key, coins[key]) for key in keys]
    assert len(files(tmp_path)) == 1


def test_files_that_no_list_names_go_at_the_next_start(tmp_path: Path) -> None:
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=made(random.Random(3), 50, [0], [35]))
    good = files(tmp_path)
    ((tmp_path / DATABASE_FILE).parent / COINS_DIR / "ffffffffffffffff.mdb").write_bytes(b"half of a run")
    with closing(Database.open(tmp_path)) as database:
        assert files(tmp_path) == good
        assert CoinsDb(database).count() == 50


def test_merge_whose_parts_are_gone_does_not_count(tmp_path: Path) -> None:
    rng = random.Random(4)
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=made(rng, 50, [0], [35]))
        runs = database.coin_runs.runs
        record = merge(runs[0].path.parent, runs, keep_tombs=False, may_continue=lambda: True)
        new = coin_runs.NewRun(CoinRun(runs[0].path.parent, record), runs)
        database.clear_coins({b"tip": b"genesis"})
        database._publish(new)
        assert CoinsDb(database).count() == 0 and not files(tmp_path)


def test_a_process_that_merges_leaves_the_processors_to_others(tmp_path: Path) -> None:
    rng = random.Random(4)
    process = MergeProcess(tmp_path, [written(tmp_path, made(rng, 20, [0], [35])) for _ in range(2)], keep_tombs=True)
    mine, deadline = os.getpriority(os.PRIO_PROCESS, 0), time.monotonic() + 60
    # it waits for the list of runs
    while (nice := os.getpriority(os.PRIO_PROCESS, process.pid)) == mine and time.monotonic() < deadline:
        time.sleep(0.01)
    assert nice == min(19, mine + coin_process.NICENESS)
    assert process.result() is not None


def test_a_process_whose_node_is_gone_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    runs = [written(tmp_path, made(random.Random(4), 20, [0], [35])) for _ in range(2)]
    read, write = os.pipe()
    os.close(read)
    more = ["merge", str(tmp_path), "keep", "00" * 8, str(os.getpid()), *sys.path]
    words = [sys.executable, "-P", "-c", coin_process._START, *more]
    with os.fdopen(write, "wb") as nobody:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=nobody)
        records = b"".join(run.record.pack() for run in runs)
        process.communicate(len(records).to_bytes(4, "little") + records, timeout=60)
    assert process.returncode == 1
    assert capfd.readouterr().err == ""
    assert {path.name for path in tmp_path.iterdir()} == {run.path.name for run in runs}  # nor does it leave a file


def test_a_merge_ends_with_a_node_that_was_gone_before_it_looked(tmp_path: Path) -> None:
    runs = [written(tmp_path, made(random.Random(4), 20, [0], [35])) for _ in range(2)]
    records = b"".join(run.record.pack() for run in runs)
    more = ["merge", str(tmp_path), "keep", "00" * 8, str(os.getppid()), *sys.path]  # of another process
    done = subprocess.run(
        [sys.executable, "-P", "-c", coin_process._START, *more],
        input=len(records).to_bytes(4, "little") + records, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")
    assert {path.name for path in tmp_path.iterdir()} == {run.path.name for run in runs}


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="no such thing here")
def test_memory_is_taken_from_processes_that_write_coins_first(tmp_path: Path) -> None:
    mine = int(Path("/proc/self/oom_score_adj").read_bytes())
    if mine >= OOM_SCORE:
        pytest.skip("everything here is taken first")
    process, deadline = WriteProcess(tmp_path, 1), time.monotonic() + 60
    try:
        while (score := int(Path(f"/proc/{process.pid}/oom_score_adj").read_bytes())) == mine:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert score == OOM_SCORE
    finally:
        process.abandon()


def test_a_process_that_fails_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_runs, "BACKGROUND_ENTRIES", 200)
    monkeypatch.setattr(coin_merge, "FLOOR", 10)
    monkeypatch.setattr(coin_process, "_START", "raise SystemExit(1)")
    rng = random.Random(5)
    alive: Coins = {}
    with closing(Database.open(tmp_path)) as database:
        for _ in range(6):
            fresh = made(rng, 150, [0, 1], [35])
            alive |= fresh
            database.commit(coins_put=fresh)
        database.coin_runs.wait()
        assert len(database.coin_runs.runs) < 6
        assert dict(all_coins(CoinsDb(database))) == alive


def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begins = "import sys, os; open(os.path.join(sys.argv[2], sys.argv[4] + '.mdb'), 'wb').write(bytes(9999))"
    monkeypatch.setattr(coin_process, "_START", f"{begins}; os.kill(os.getpid(), 9)")
    database, alive = unmerged(tmp_path, random.Random(5), monkeypatch)
    with closing(database):
        database.coin_runs.begin_merges()
        database.coin_runs.wait()
        assert files(tmp_path) == {run.path.name for run in database.coin_runs.runs}
        assert dict(all_coins(CoinsDb(database))) == alive


def test_closing_ends_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_runs, "BACKGROUND_ENTRIES", 200)
    monkeypatch.setattr(coin_merge, "FLOOR", 10)
    monkeypatch.setattr(coin_process, "_START", "import time; time.sleep(1000)")
    rng = random.Random(6)
    database = Database.open(tmp_path)
    for _ in range(4):
        database.commit(coins_put=made(rng, 150, [0, 1], [35]))
    closer = threading.Thread(target=database.close)
    closer.start()
    closer.join(30)
    assert not closer.is_alive()
    with closing(Database.open(tmp_path)) as database:
        assert CoinsDb(database).count() == 1200
    with pytest.raises(StorageError, match="closed"):
        CoinsDb(database).get(bytes(36))


def test_a_process_writes_the_same_file(tmp_path: Path) -> None:
    rng = random.Random(21)
    coins = made(rng, 3000, [0, 1, 300], [35, 300, 0, 13])
    keys = sorted(coins)
    process = WriteProcess(tmp_path, len(keys))
    for at in range(0, len(keys), 700):
        part = keys[at : at + 700]
        process.send(part, [coins[key] for key in part])
        process.send([], [])
    record = process.result()
    process.abandon()  # what is written stays
    assert record is not None
    here = written(tmp_path, coins)
    assert (record.entries, record.tombs, record.groups) == here.record[1:4]
    run = CoinRun(tmp_path, record, in_doubt=True)
    run.verify()
    assert content([run], keep_tombs=True) == content([here], keep_tombs=True) == sorted(coins.items())


WRITERS = {
    "ends at once": "raise SystemExit(1)",
    "ends later": "import sys, os; sys.stdin.buffer.read(100_000); os.kill(os.getpid(), 9)",
    "leaves a file": "import sys, os; open(os.path.join(sys.argv[2], sys.argv[4] + '.mdb'), 'wb').write(bytes(9999)); "
    "os.kill(os.getpid(), 9)",
    "has lost entries": "import sys; sys.path[:] = sys.argv[6:]; from btcnode.storage import coin_process as p; "
    "sent = p._sent; p._sent = lambda stream: list(sent(stream))[1:]; p.main()",
}


@pytest.mark.parametrize("begin", WRITERS.values(), ids=WRITERS)
def test_a_process_that_does_not_write_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: str
) -> None:
    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 0)
    monkeypatch.setattr(coin_process, "_START", begin)
    alive = made(random.Random(22), 20_000, [0], [35])
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=alive)
        assert dict(all_coins(CoinsDb(database))) == alive
        assert files(tmp_path) == {run.path.name for run in database.coin_runs.runs}
        assert not database.coin_runs.pids


@pytest.mark.parametrize("begin", [coin_process._START, *WRITERS.values()], ids=["writes", *WRITERS])
def test_a_whole_set_is_written_by_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: str) -> None:
    """Or without it, from the beginning: count and hash are those of one pass."""
    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 0)
    monkeypatch.setattr(coin_process, "_START", begin)
    alive = {key: make_coin(1, False, 5, script) for key, script in made(random.Random(31), 20_000, [0], [22]).items()}
    rows = sorted(alive.items())
    with closing(Database.open(tmp_path)) as database:
        passes: list[int] = []

        def batches() -> Iterator[list[tuple[bytes, bytes]]]:
            passes.append(0)
            for at in range(0, len(rows), 3000):
                if begin == WRITERS["ends at once"] and at == 3000:
                    time.sleep(1)
                yield rows[at : at + 3000]
                passes[-1] += 1

        count, utxo_hash = load_survivors(batches, database, len(rows))
        coins = CoinsDb(database)
        assert (count, dict(all_coins(coins)), coins.utxo_stats().hash) == (len(rows), alive, utxo_hash)
        assert len(passes) == 1 + (begin in WRITERS.values()) and passes[-1] == 7
        assert begin != WRITERS["ends at once"] or passes[0] < 7  # nothing is read for a process that has ended
        assert len(files(tmp_path)) == len(database.coin_runs.runs) == 1 and not database.coin_runs.pids


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="a stopped process cannot be told here")
def test_a_process_that_is_stopped_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what it was to write nor the end of the node may wait for somebody's SIGCONT."""
    stops = "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"
    monkeypatch.setattr(coin_process, "_START", stops)
    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 0)
    database, alive = unmerged(tmp_path, random.Random(29), monkeypatch)
    with closing(database):
        more = made(random.Random(30), 20_000, [0], [35])
        database.commit(coins_put=more)
        database.coin_runs.begin_merges()
        database.coin_runs.wait()
        assert dict(all_coins(CoinsDb(database))) == alive | more
        assert files(tmp_path) == {run.path.name for run in database.coin_runs.runs}


def test_a_process_that_finds_no_room_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 0)
    reports, told = DamageReports(), list[Exception]()
    reports.listen(told.append)
    alive = made(random.Random(26), 20_000, [0], [35])
    with closing(Database.open(tmp_path, damage=reports)) as database:
        with no_room(), pytest.raises(DiskFullError):
            database.commit(coins_put=alive)
        assert not told and not files(tmp_path) and not database.coin_runs.pids
        database.commit(coins_put=alive)
        assert dict(all_coins(CoinsDb(database))) == alive


def test_where_no_process_can_be_had_the_node_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> WriteProcess:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 0)
    monkeypatch.setattr(coin_runs, "WriteProcess", none)
    alive = made(random.Random(23), 100, [0], [35])
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=alive)
        assert dict(all_coins(CoinsDb(database))) == alive


def test_damage_met_while_a_process_writes_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be read must not be missing from what is written."""
    monkeypatch.setattr(coin_runs, "WRITE_ENTRIES", 0)
    monkeypatch.setattr(coin_merge, "FLOOR", 10)
    rng = random.Random(24)
    with closing(Database.open(tmp_path)) as database:
        coins = made(rng, 2000, [0], [35])
        database.commit(coins_put=coins)
        path = database.coin_runs.runs[0].path
        data = bytearray(path.read_bytes())
        data[data.index(coins[sorted(coins)[1000]])] ^= 1
        path.write_bytes(data)
        with pytest.raises(CorruptionError, match=path.name):
            database.commit(coins_put=made(rng, 9000, [0], [35]))
        assert files(tmp_path) == {path.name}
        assert not database.coin_runs.pids


def test_a_writing_process_whose_node_is_gone_leaves_nothing(tmp_path: Path) -> None:
    process = WriteProcess(tmp_path, 100)
    coins = made(random.Random(25), 100, [0], [35])
    process.send(sorted(coins), [coins[key] for key in sorted(coins)])
    inner = process._process
    assert inner.stdin is not None
    inner.stdin.close()
    assert inner.wait(60) == 1
    assert not list(tmp_path.iterdir())
    process.abandon()


# -- large filters lie in memory of files


def large(folder: Path, expected: int, coins: Coins) -> CoinRun:
    """A run that was made for so many entries."""
    keys = sorted(coins)
    record = write_run(folder, iter([(keys, [coins[key] for key in keys])]), expected)
    return CoinRun(folder, record, in_doubt=True)


def test_a_large_filter_is_as_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coins = made(random.Random(31), 3000, [0, 1], [35, 300])
    small = large(tmp_path, 100_000, coins)
    monkeypatch.setattr(mapped_memory, "MAPPED_FROM", 1000)
    run = large(tmp_path, 100_000, coins)
    assert run.size <= small.size + 3 * 4096 and not run.size % 4096  # nothing of what was reserved is left
    run.verify()
    assert content([run]) == sorted(coins.items())
    assert bytes(run._filter) == bytes(small._filter)
    assert len(list(tmp_path.iterdir())) == 2  # what held it had no name


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory differ")
def test_a_large_filter_takes_no_memory_of_the_process(tmp_path: Path) -> None:
    """30 MB for 40 million coins, with 24 MiB more than the process has: mainnet's has 130."""
    code = """
        import resource, sys
        from pathlib import Path
        from btcnode.storage.coin_run import write_run
        keys = [n.to_bytes(4, "big") * 9 for n in range(0, 1 << 32, 1 << 20)]
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        limit = (int(status["VmData"].split()[0]) << 10) + (24 << 20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        print(write_run(Path(sys.argv[1]), iter([(keys, [bytes(35)] * len(keys))]), 40_000_000).entries)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "4096\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be asked for")
@pytest.mark.parametrize("full", [1, 2], ids=["what holds it", "the file"])
def test_a_large_filter_without_room_is_told_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int
) -> None:
    monkeypatch.setattr(mapped_memory, "MAPPED_FROM", 1000)
    coins = made(random.Random(32), 300, [0], [35])
    taken, real = list[int](), os.posix_fallocate

    def take(fd: int, offset: int, size: int) -> None:
        taken.append(size)
        if len(taken) == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(fd, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", take)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        large(tmp_path, 100_000, coins)
    assert not list(tmp_path.iterdir())


def test_where_room_cannot_be_taken_a_large_filter_is_usual_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(mapped_memory, "MAPPED_FROM", 1000)
    monkeypatch.setattr(os, "posix_fallocate", unable, raising=False)
    coins = made(random.Random(33), 300, [0], [35])
    run = large(tmp_path, 100_000, coins)
    run.verify()
    assert content([run]) == sorted(coins.items())


# -- when something fails


def unmerged(
    directory: Path, rng: random.Random, monkeypatch: pytest.MonkeyPatch, damage: DamageReports | None = None
) -> tuple[Database, Coins]:
    """An open database with runs that are to be merged, and its coins."""
    monkeypatch.setattr(coin_runs, "BACKGROUND_ENTRIES", 0)
    monkeypatch.setattr(coin_merge, "FLOOR", 10)
    database, alive = Database.open(directory, damage=damage), Coins()
    database.coin_runs.most_merges = 0
    for _ in range(4):
        fresh = made(rng, 150, [0, 1], [35])
        alive |= fresh
        database.commit(coins_put=fresh)
    database.coin_runs.most_merges = 1
    return database, alive


def test_a_merge_without_room_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reports, told = DamageReports(), list[Exception]()
    reports.listen(told.append)
    database, alive = unmerged(tmp_path, random.Random(11), monkeypatch, reports)
    with closing(database):
        before = files(tmp_path)
        with no_room():
            database.coin_runs.begin_merges()
            database.coin_runs.wait()
        assert "Coins were not merged" in caplog.text and "no room left" in caplog.text
        assert not told and files(tmp_path) == before
        database.coin_runs.begin_merges()
        database.coin_runs.wait()
        assert len(files(tmp_path)) < len(before)
        assert dict(all_coins(CoinsDb(database))) == alive


def test_a_merge_that_cannot_be_published_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database, alive = unmerged(tmp_path, random.Random(12), monkeypatch)
    with closing(database):
        before = files(tmp_path)

        def full(changes: object) -> None:
            raise lmdb.DiskError("mdb_txn_commit", 28)

        with monkeypatch.context() as patch:
            patch.setattr(database, "_commit_once", full)
            database.coin_runs.begin_merges()
            database.coin_runs.wait()
        assert files(tmp_path) == before
        assert dict(all_coins(CoinsDb(database))) == alive


def test_what_the_system_refuses_is_no_damage(tmp_path: Path) -> None:
    """As when there are too many open files, or no rights: a rebuild would take days and mend nothing."""
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=made(random.Random(13), 50, [0], [35]))
        path = database.coin_runs.runs[0].path
    kept = path.rename(path.with_suffix(".kept"))
    path.symlink_to(path.name)  # a circle
    with pytest.raises(StorageError, match=rf"cannot open .*{path.name}") as refused:
        Database.open(tmp_path)
    assert not isinstance(refused.value, CorruptionError)
    path.unlink()
    kept.rename(path)
    with closing(Database.open(tmp_path)) as database:
        assert CoinsDb(database).count() == 50


def test_an_older_list_takes_no_files_away(tmp_path: Path) -> None:
    """A database that was put back, or whose newest head is gone, names files that were merged since."""
    rng, file = random.Random(14), tmp_path / DATABASE_FILE
    with closing(Database.open(tmp_path)) as database:
        database.commit(coins_put=made(rng, 50, [0], [35]))
    older = file.read_bytes()
    with closing(Database.open(tmp_path)) as database:
        for _ in range(3):
            database.commit(coins_put=made(rng, 50, [0], [35]))
    newest, names = file.read_bytes(), files(tmp_path)
    file.write_bytes(older)
    with closing(Database.open(tmp_path)) as database:
        with pytest.raises(CorruptionError, match=r"coins/\w+\.mdb is missing: .*--reindex-chainstate"):
            CoinsDb(database).count()
        assert files(tmp_path) == names
    file.write_bytes(newest)
    with closing(Database.open(tmp_path)) as database:
        assert CoinsDb(database).count() == 200
    file.write_bytes(older)
    with closing(Database.open(tmp_path)) as database:
        database.clear_coins({b"tip": b"genesis"})
        assert not files(tmp_path)  # a rebuild takes room enough


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("how", ["missing", "empty", "swapped", "of another database"])
def test_a_run_in_the_place_of_another_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, large: bool
) -> None:
    if large:
        monkeypatch.setattr(coin_run, "check_file", partial(check_file, whole_bytes=0))
    database, _ = unmerged(tmp_path / "one", random.Random(15), monkeypatch)
    database.close()
    with closing(unmerged(tmp_path / "other", random.Random(15), monkeypatch)[0]) as database:
        strange = database.coin_runs.runs[1].path.read_bytes()
    with closing(Database.open(tmp_path / "one")) as database:
        first, second = (run.path for run in database.coin_runs.runs[:2])
    data = first.read_bytes()
    if how == "missing":
        first.unlink()
    else:
        first.write_bytes({"empty": b"", "swapped": second.read_bytes()}.get(how, strange))
    if how == "swapped":
        second.write_bytes(data)
    told = rf"({first.name}|{second.name}) is (damaged|missing).*--reindex-chainstate"
    with closing(Database.open(tmp_path / "one")) as database, pytest.raises(CorruptionError, match=told):
        CoinsDb(database).get(bytes(36))


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    directory = tmp_path / os.fsdecode(b"bad\xff name")
    coins = made(random.Random(16), 50, [0], [35])
    for _ in range(2):
        with closing(Database.open(directory)) as database:
            database.commit(coins_put=coins)
            assert dict(all_coins(CoinsDb(database))) == coins
