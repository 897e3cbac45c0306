from __future__ import annotations

import contextlib
import mmap
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from hashlib import sha256
from pathlib import Path

import pytest

from btcnode.errors import CorruptionError
from btcnode.primitives.coin import coin_script, coin_value, make_coin
from btcnode.side_processes import SideProcesses, Work
from btcnode.storage import coins as coins_module
from btcnode.storage import muhash
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.muhash import MuHash
from tests.lib.coins import all_coins


def random_coins(rng: random.Random, transactions: int) -> dict[bytes, bytes]:
    found = {}
    for _ in range(transactions):
        txid = rng.randbytes(32)
        high = rng.choice((1, 3, 300, 70_000))
        for vout in {rng.randrange(high) for _ in range(rng.choice((1, 1, 2, 9)))}:
            script = rng.randbytes(rng.choice((0, 22, 25, 34, 252, 253, 700, 66_000)))
            coin = make_coin(rng.randrange(900_000), rng.random() < 0.1, rng.randrange(21 * 10**14), script)
            found[txid + vout.to_bytes(4, "little")] = coin
    return found


def core_order(outpoint: bytes) -> tuple[bytes, int]:
    return outpoint[:32], int.from_bytes(outpoint[32:], "little")


@pytest.fixture(params=[3, 4096])
def stored(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[dict[bytes, bytes], CoinsDb]]:
    """A set of coins with large vouts, read in tiny and in usual chunks."""
    monkeypatch.setattr(coins_module, "CHUNK", request.param)
    coins = random_coins(random.Random(request.param), 300)
    database = Database.open(tmp_path)
    database.commit(coins_put=coins)
    yield coins, CoinsDb(database)
    database.close()


def test_order_is_by_txid_and_number(stored: tuple[dict[bytes, bytes], CoinsDb]) -> None:
    coins, db = stored
    assert any(core_order(key)[1] > 255 for key in coins)
    assert [key for key, _ in all_coins(db)] == sorted(coins, key=core_order)
    assert dict(all_coins(db)) == coins


def test_one_transaction_with_thousands_of_outputs(tmp_path: Path) -> None:
    txids = [b"\x01" * 32, b"\x02" * 32, b"\x03" * 32]
    coins = {b"\x02" * 32 + n.to_bytes(4, "little"): make_coin(1, False, n, b"") for n in range(20_000)}
    coins |= {txid + bytes(4): make_coin(2, True, 7, b"\x51") for txid in (txids[0], txids[2])}
    database = Database.open(tmp_path)
    database.commit(coins_put=coins)
    db = CoinsDb(database)
    assert [core_order(key) for key, _ in all_coins(db)] == [
        (txids[0], 0),
        *((txids[1], n) for n in range(20_000)),
        (txids[2], 0),
    ]
    assert db.utxo_stats().transactions == 3
    database.close()


def test_the_size_on_disk_is_that_of_the_coins_however_many_files_there_are(tmp_path: Path) -> None:
    with contextlib.closing(Database.open(tmp_path)) as database:
        for n in (1, 2):
            database.commit(coins_put={bytes([n]) * 36: make_coin(1, False, n, b"")})
        files = [path.stat().st_size for path in tmp_path.rglob("coins/*.mdb")]
        assert CoinsDb(database).utxo_stats("none").disk_size == sum(files) - 2 * mmap.PAGESIZE * len(files) > 0


def test_stats_are_those_of_a_plain_count(stored: tuple[dict[bytes, bytes], CoinsDb]) -> None:
    coins, db = stored
    digest = sha256()
    for key in sorted(coins, key=core_order):
        digest.update(key + coins[key])
    stats = db.utxo_stats()
    assert stats.hash == sha256(digest.digest()).digest()
    assert stats.txouts == len(coins) == db.count()
    assert stats.transactions == len({key[:32] for key in coins})
    assert stats.total_amount == sum(map(coin_value, coins.values()))
    assert stats.bogosize == sum(50 + len(coin_script(coin)) for coin in coins.values())
    assert stats.disk_size > sum(map(len, coins.values()))
    bare = db.utxo_stats("none")
    assert bare.hash is None
    assert (bare.txouts, bare.total_amount) == (stats.txouts, stats.total_amount)


def test_muhash_of_the_set(stored: tuple[dict[bytes, bytes], CoinsDb]) -> None:
    coins, db = stored
    expected = MuHash()
    elements = [key + value for key, value in coins.items()]
    random.Random(5).shuffle(elements)
    expected.insert_many(elements)
    assert db.utxo_stats("muhash").hash == expected.digest()


def test_empty_set(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    db = CoinsDb(database)
    stats = db.utxo_stats()
    assert (stats.txouts, stats.transactions, stats.total_amount, stats.bogosize) == (0, 0, 0, 0)
    assert stats.hash == sha256(sha256(b"").digest()).digest()
    assert all_coins(db) == []
    assert db.get_many([]) == []
    database.close()


def test_get_many_keeps_the_order_asked(stored: tuple[dict[bytes, bytes], CoinsDb]) -> None:
    coins, db = stored
    rng = random.Random(9)
    asked = [*coins, *(rng.randbytes(36) for _ in range(50)), next(iter(coins))]
    rng.shuffle(asked)
    assert db.get_many(asked) == [coins.get(key) for key in asked]
    assert db.get(asked[0]) == coins.get(asked[0])


def test_progress_may_end_the_work(stored: tuple[dict[bytes, bytes], CoinsDb]) -> None:
    coins, db = stored
    seen: list[int] = []
    db.utxo_stats(progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == len(coins)

    def stop(_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        db.utxo_stats(progress=stop)
    assert db.utxo_stats("none").txouts == len(coins)


@pytest.mark.parametrize("damaged", [b"\x02\0\0\0" + b"\xff" * 8 + b"\0", b"\x02\0\0\0\x01"])
def test_damaged_coin_is_noticed(tmp_path: Path, damaged: bytes) -> None:
    database = Database.open(tmp_path)
    database.commit(coins_put={bytes(36): make_coin(1, False, 5, b"\x51"), b"\x01" + bytes(35): damaged})
    with pytest.raises(CorruptionError, match="--reindex"):
        CoinsDb(database).utxo_stats()
    database.close()


# -- MuHash3072


def test_muhash_vector_of_core() -> None:
    vector = MuHash()
    vector.insert_many([bytes(32), b"\x01" + bytes(31)])
    vector.remove_many([b"\x02" + bytes(31)])
    assert vector.digest()[::-1].hex() == "10d312b100cbd32ada024a6646e40d3482fcff103668d2625f10002a607d5863"


def test_muhash_forgets_what_is_removed_and_ignores_order() -> None:
    rng = random.Random(3)
    elements = [rng.randbytes(60) for _ in range(600)]
    one, two = MuHash(), MuHash()
    one.insert_many(elements)
    two.insert_many(elements[:1:-1])
    two.insert_many(elements[:2])
    assert one.digest() == two.digest()
    two.insert_many([b"extra"])
    assert one.digest() != two.digest()
    two.remove_many([b"extra"])
    assert one.digest() == two.digest()
    two.remove_many(elements)
    assert two.digest() == MuHash().digest()


class Helping(SideProcesses):
    """Processes of which every third has failed when it is asked, and every third has no time."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked: list[str] = []

    def submit(self, work: Work, parts: Sequence[bytes]) -> Future[Sequence[bytes] | None] | None:
        self.asked.append(work.__name__)
        if len(self.asked) % 3 == 0:
            return None
        answer: Future[Sequence[bytes] | None] = Future()
        answer.set_result(work(*parts) if len(self.asked) % 3 == 1 else None)
        return answer


@pytest.mark.parametrize("at_once", [500, 7])
def test_muhash_is_the_same_with_the_help_of_processes(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muhash, "ELEMENTS_AT_ONCE", at_once)
    monkeypatch.setattr(muhash, "FEWEST_AWAY", 3)
    rng, processes = random.Random(9), Helping()
    alone, helped = MuHash(), MuHash(processes=processes)
    for count in (0, 2, 100, 30):
        come, gone = ([rng.randbytes(rng.randrange(100)) for _ in range(count)] for _ in range(2))
        for sums in (alone, helped):
            sums.insert_many(come)
            sums.remove_many(gone)
    assert helped.number() == alone.number() == MuHash(alone.number()).number()
    assert len(processes.asked) > 3
    assert set(processes.asked) == {"product_of"}
