"""A stopped node's database as older versions would have written it: all coins in one tree beside the index."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path

import lmdb

from btcnode.storage.checksums import check_of, sealed
from btcnode.storage.coins import CoinsDb
from btcnode.storage.database import Database
from btcnode.storage.layout import (
    COINS_DIR,
    DATABASE_FILE,
    DATABASES,
    DB_INDEX,
    DB_META,
    DB_SUMS,
    META_CONVERTING,
    META_RUNS,
    META_SCHEMA,
    OLD_DB_COINS,
    SCHEMA,
    SUMS_SEAL,
    TREE_VERSION,
    UNSEALED_VERSION,
)
from tests.lib.coins import all_coins

WITH_SUMS, WITHOUT_CHECKSUMS, CUT_OFF = "tree", "no checksums", "cut off"
VERSIONS = (WITH_SUMS, WITHOUT_CHECKSUMS, CUT_OFF)  # the last: some coins have been given checksums already
CONVERTED = 100  # of the coins of CUT_OFF


def go_back(directory: Path, version: str = WITH_SUMS) -> None:
    """Change the database in ``directory``, which nobody has open, to one of VERSIONS."""
    with closing(Database.open(directory)) as database:
        coins = all_coins(CoinsDb(database))
    file = directory / DATABASE_FILE
    for run in (file.parent / COINS_DIR).glob("*.mdb"):
        run.unlink()
    number = TREE_VERSION if version == WITH_SUMS else UNSEALED_VERSION
    counts: list[int] = []
    with lmdb.open(str(file), subdir=False, max_dbs=8, map_size=1 << 30) as env:
        dbs = {name: env.open_db(name) for name in (*DATABASES, OLD_DB_COINS)}
        with env.begin(write=True) as txn:
            txn.delete(META_RUNS, db=dbs[DB_META])
            txn.put(META_SCHEMA, sealed(META_SCHEMA, SCHEMA.pack(number)), db=dbs[DB_META])
            for key, coin in coins:
                txn.put(key, sealed(key, coin), db=dbs[OLD_DB_COINS])
            for name in (OLD_DB_COINS, DB_INDEX, DB_META):
                rows = list(txn.cursor(db=dbs[name]).iternext())
                counts += [len(rows), sum(check_of(stored) for _, stored in rows)]
                for key, stored in rows if version != WITH_SUMS else ():
                    txn.put(key, stored[:-4], db=dbs[name])
            txn.drop(dbs[DB_SUMS], delete=False)
            if version == WITH_SUMS:
                txn.put(SUMS_SEAL, sealed(SUMS_SEAL, struct.pack("<6Q", *counts)), db=dbs[DB_SUMS])
            elif version == CUT_OFF:
                for key, coin in coins[:CONVERTED]:
                    txn.put(key, sealed(key, coin), db=dbs[OLD_DB_COINS])
                txn.put(META_CONVERTING, coins[CONVERTED - 1][0], db=dbs[DB_META])
