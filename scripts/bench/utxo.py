#!/usr/bin/env python3
"""Rates of the coin store: LMDB and the cache in front of it, undo data, the UTXO set hash.

    python scripts/bench/utxo.py [--coins 1000000] [--batch 200000] [--directory DIR]

Coins are P2WPKH and P2PKH under random txids, as a block's outputs are. A batch changes a filled database at random
places: as many coins are deleted as are put. Lookups are of 5,000 outpoints at a time, about a block's inputs.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from btcnode.chain.coins_cache import CoinsCache
from btcnode.consensus.connect import BlockDelta
from btcnode.primitives.coin import make_coin
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.muhash import MuHash
from btcnode.storage.undo import decode_undo, encode_undo

LOOKUP = 5000
CACHE_BYTES = 4 << 30


@contextmanager
def timed(name: str, count: int) -> Iterator[None]:
    """Print microseconds for each of ``count`` operations, and operations in a second."""
    start = time.perf_counter()
    yield
    seconds = time.perf_counter() - start
    print(f"{name:<46}{seconds / count * 1e6:>9.2f} µs/op{count / seconds:>13,.0f}/s")


def make_coins(rng: random.Random, count: int) -> dict[bytes, bytes]:
    coins = {}
    for _ in range(count):
        if rng.random() < 0.7:
            script = b"\x00\x14" + rng.randbytes(20)
        else:
            script = b"\x76\xa9\x14" + rng.randbytes(20) + b"\x88\xac"
        outpoint = rng.randbytes(32) + rng.randrange(4).to_bytes(4, "little")
        coins[outpoint] = make_coin(rng.randrange(1, 900_000), False, rng.randrange(546, 10**9), script)
    return coins


def bench_database(database: Database, rng: random.Random, args: argparse.Namespace) -> list[bytes]:
    """Fill and change the database; returns the outpoints that it holds."""
    coins = make_coins(rng, args.coins)
    with timed("LMDB put, sorted, into an empty database", len(coins)):
        database.commit(coins_put=coins)
    fresh = make_coins(rng, args.batch)
    spent = rng.sample(sorted(coins), args.batch)
    with timed("LMDB delete and put at random places, durable", 2 * args.batch):
        database.commit(coins_put=fresh, coins_delete=spent)
    for outpoint in spent:
        del coins[outpoint]
    return [*coins, *fresh]


def bench_lookups(database: Database, rng: random.Random, held: list[bytes], count: int) -> None:
    db = CoinsDb(database)
    asked = rng.sample(held, min(count, len(held)))
    with timed("LMDB get_many, found", len(asked)):
        for at in range(0, len(asked), LOOKUP):
            assert None not in db.get_many(asked[at : at + LOOKUP])
    absent = [rng.randbytes(36) for _ in asked]
    with timed("LMDB get_many, absent", len(absent)):
        for at in range(0, len(absent), LOOKUP):
            db.get_many(absent[at : at + LOOKUP])
    with timed("LMDB get, one at a time", len(asked)):
        for outpoint in asked:
            db.get(outpoint)
    cache = CoinsCache(db, CACHE_BYTES)
    for name in ("cache get_many, from the database", "cache get_many, cached"):
        with timed(name, len(asked)):
            for at in range(0, len(asked), LOOKUP):
                assert None not in cache.get_many(asked[at : at + LOOKUP])


def bench_cache(database: Database, rng: random.Random, count: int) -> None:
    """Create coins block by block, spend half of them again, flush the rest."""
    cache = CoinsCache(CoinsDb(database), CACHE_BYTES)
    coins = list(make_coins(rng, count).items())
    blocks = [dict(coins[at : at + LOOKUP]) for at in range(0, count, LOOKUP)]
    with timed("cache put", count):
        for block in blocks:
            cache.apply(BlockDelta(created=block, spent={}, undo=[], fees=0, sigop_cost=0, jobs=[]))
        cache.settle_block()
    half = [dict(list(block.items())[::2]) for block in blocks]
    with timed("cache get and spend", sum(map(len, half))):
        for block in half:
            cache.get_many(list(block))
            cache.apply(BlockDelta(created={}, spent=block, undo=[], fees=0, sigop_cost=0, jobs=[]))
        cache.settle_block()
    batch = cache.freeze()
    with timed("flush of the cache, durable", len(batch.puts)):
        database.commit(coins_put=batch.puts, coins_delete=batch.deletes)
    cache.flushed()


def bench_hashes(database: Database, rng: random.Random) -> None:
    db = CoinsDb(database)
    count = db.count()
    with timed("statistics of the set without hash", count):
        db.utxo_stats("none")
    with timed("hash_serialized_3 and statistics", count):
        stats = db.utxo_stats()
    print(f"  {stats.txouts:,} coins, {stats.disk_size / stats.txouts:.0f} bytes each on disk")
    elements = [rng.randbytes(72) for _ in range(8192)]
    with timed("MuHash3072 insert", len(elements)):
        MuHash().insert_many(elements)


def bench_undo(rng: random.Random) -> None:
    coins = list(make_coins(rng, 50_000).values())
    undo = [coins[at : at + 2] for at in range(0, len(coins), 2)]
    with timed("undo data: encode a coin", len(coins)):
        raw = encode_undo(undo)
    with timed("undo data: decode a coin", len(coins)):
        assert decode_undo(raw) == undo


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coins", type=int, default=1_000_000, help="coins in the database (1000000)")
    parser.add_argument("--batch", type=int, default=200_000, help="coins put and deleted in the batch (200000)")
    parser.add_argument("--directory", type=Path, help="where the database is made (a temporary directory)")
    args = parser.parse_args()
    rng = random.Random(1)
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
        database = Database.open(Path(directory))
        held = bench_database(database, rng, args)
        bench_lookups(database, rng, held, args.batch)
        bench_cache(database, rng, args.batch)
        bench_hashes(database, rng)
        bench_undo(rng)
        database.close()


if __name__ == "__main__":
    main()
