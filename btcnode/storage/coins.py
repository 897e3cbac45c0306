"""The stored coins: lookups, ordered iteration and the statistics of the whole set.

They lie in runs (coin_runs.py), in order of their outpoints ``txid + vout[u32 LE]``; outpoint and packed coin joined
are exactly what Bitcoin Core's ``hash_serialized_3`` takes for a coin. Its order is by txid bytes, then by vout as a
number; that of the bytes differs only within transactions that have an unspent output 256 or above, which are put in
order on the way.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Literal

import lmdb

from btcnode.errors import CorruptionError
from btcnode.primitives.compactsize import compact_size
from btcnode.record import record
from btcnode.side_processes import SideProcesses
from btcnode.storage.coin_run import CoinRun, RunDamageError, Wanted, merged
from btcnode.storage.coin_runs import CoinRuns
from btcnode.storage.database import Database
from btcnode.storage.muhash import MuHash

SCAN_CHUNK = 8192  # coins between two reports of a scan
CHUNK = 4096  # coins handled at a time
BOGO_OVERHEAD = 50  # txid 32, vout 4, code 4, value 8, script length 2: Core's database-independent size
SMALL_VOUT = bytes(3)  # the upper bytes of a vout below 256
MIN_COIN_SIZE = 13  # code, value, length of the script

_VALUE = itemgetter(1)

HashType = Literal["hash_serialized_3", "muhash", "none"]
CoinItem = tuple[bytes, bytes]


@record
class UtxoStats:
    """Figures of the coin set as gettxoutsetinfo names them; amounts in satoshi, ``hash`` in internal order."""

    txouts: int
    transactions: int
    bogosize: int
    total_amount: int
    disk_size: int
    hash: bytes | None


class CoinRows:
    """The coins as they were at a moment; any thread may read."""

    def __init__(self, coin_runs: CoinRuns, runs: Sequence[CoinRun]) -> None:
        """``runs``: oldest first, of ``CoinRuns.reading``."""
        self._coin_runs = coin_runs
        self._runs = runs

    def get_many(self, outpoints: Iterable[bytes]) -> list[bytes | None]:
        """The packed coins of outpoints, in their order; None where there is none, which is proven.

        Raises CorruptionError.
        """
        asked = list(outpoints)
        coins: list[bytes | None] = [None] * len(asked)
        number = int.from_bytes
        wanted: list[Wanted] = sorted([(number(key[:4], "big"), key, place) for place, key in enumerate(asked)])
        for run in reversed(self._runs):
            found = self._find(run, wanted)
            if found:
                for place, coin in found.items():
                    coins[place] = coin or None
                wanted = [item for item in wanted if item[2] not in found]
                if not wanted:
                    break
        return coins

    def _find(self, run: CoinRun, wanted: list[Wanted]) -> dict[int, bytes]:
        try:
            return run.find(wanted)
        except (RunDamageError, lmdb.Error) as error:
            with self._coin_runs.naming(run.path):
                raise error

    def __iter__(self) -> Iterator[CoinItem]:
        """All (outpoint, coin) in order of the keys; at the end it is known that they are those that were written.

        Raises CorruptionError.
        """
        with self._coin_runs.naming():
            for keys, coins in merged(self._runs, keep_tombs=False):
                yield from zip(keys, coins, strict=True)


class CoinsDb:
    """Reads the coins of a database; any thread may. Writing is ``Database.commit``."""

    def __init__(self, database: Database) -> None:
        self._coin_runs = database.coin_runs

    def get(self, outpoint: bytes) -> bytes | None:
        """The packed coin of a 36-byte outpoint, or None."""
        return self.get_many((outpoint,))[0]

    def get_many(self, outpoints: Iterable[bytes]) -> list[bytes | None]:
        """The packed coins of outpoints, in their order; None where there is none. One snapshot for all.

        Raises CorruptionError, StorageError.
        """
        with self.snapshot() as rows:
            return rows.get_many(outpoints)

    def may_have(self, txids: Collection[bytes]) -> set[bytes]:
        """Those txids under which there may be coins; under the others there are none.

        Nothing is searched: about one of twelve for each run is named without reason. Raises CorruptionError,
        StorageError.
        """
        number = int.from_bytes
        asked = [(number(txid[:4], "big"), txid) for txid in txids]
        named: set[bytes] = set()
        with self._coin_runs.reading() as runs:
            for run in runs:
                named |= run.may_have(asked)
        return named

    def verify(self) -> None:
        """Look at every file of coins as a whole: that it has what was written. Raises CorruptionError."""
        with self._coin_runs.reading() as runs:
            for run in runs:
                with self._coin_runs.naming(run.path):
                    run.verify()

    def count(self) -> int:
        """How many coins there are: goes through all of them. Raises CorruptionError, StorageError."""
        with self._coin_runs.reading() as runs, self._coin_runs.naming():
            return sum(len(keys) for keys, _ in merged(runs, keep_tombs=False))

    @contextmanager
    def snapshot(self) -> Iterator[CoinRows]:
        """The coins as they are now; raises CorruptionError, StorageError."""
        with self._coin_runs.reading() as runs:
            yield CoinRows(self._coin_runs, runs)

    def find_scripts(
        self, scripts: Collection[bytes], report: Callable[[int], bool]
    ) -> tuple[bool, int, list[CoinItem]]:
        """Whether all coins were looked at, how many were, and those that one of these script_pubkeys locks.

        ``report`` is called with the percentage about every 8,192 coins and once before the first; False ends the
        search.
        """
        tails = {compact_size(len(script)) + script for script in scripts}
        found: list[CoinItem] = []
        count = 0
        with self.snapshot() as rows:
            if not report(0):
                return False, 0, found
            for outpoint, coin in rows:
                count += 1
                if coin[12:] in tails:
                    found.append((outpoint, coin))
                if not count % SCAN_CHUNK and not report(int.from_bytes(outpoint[:2], "big") * 100 >> 16):
                    return False, count, found
        return True, count, found

    def utxo_stats(
        self,
        hash_type: HashType = "hash_serialized_3",
        progress: Callable[[int], None] | None = None,
        processes: SideProcesses | None = None,
    ) -> UtxoStats:
        """Go through the whole set once (Core's ComputeUTXOStats); ``processes`` help with MuHash.

        ``progress`` is called with the number of coins after each chunk; what it raises ends the work. Raises
        CorruptionError when an amount makes no sense.
        """
        disk_size = self._coin_runs.coin_bytes
        tally = _Tally()
        digest = sha256()
        muhash = MuHash(processes=processes) if hash_type == "muhash" else None
        with self.snapshot() as rows:
            for items in in_chunks(iter(rows)):
                tally.add(items)
                if muhash is not None:
                    muhash.insert_many([key + value for key, value in items])
                elif hash_type == "hash_serialized_3":
                    digest.update(b"".join(chain.from_iterable(items)))
                if progress is not None:
                    progress(tally.txouts)
        result: bytes | None = None
        if muhash is not None:
            result = muhash.digest()
        elif hash_type == "hash_serialized_3":
            result = sha256(digest.digest()).digest()
        return UtxoStats(tally.txouts, tally.transactions, tally.bogosize, tally.amount, disk_size, result)


class _Tally:
    """Running totals; takes chunks in order."""

    def __init__(self) -> None:
        self.txouts = 0
        self.transactions = 0
        self.bogosize = 0
        self.amount = 0
        self._last = b""

    def add(self, items: Sequence[CoinItem]) -> None:
        """Count a chunk."""
        self.txouts += len(items)
        txids = {key[:32] for key, _ in items}
        self.transactions += len(txids) - (self._last in txids)
        self._last = items[-1][0][:32]
        if min(map(len, map(_VALUE, items))) < MIN_COIN_SIZE:
            raise CorruptionError("a stored coin is too short: start with --reindex")
        amounts = array("q")
        amounts.frombytes(b"".join([value[4:12] for _, value in items]))
        if sys.byteorder == "big":
            amounts.byteswap()
        if min(amounts) < 0:
            raise CorruptionError("a stored coin has a negative amount: start with --reindex")
        self.amount += sum(amounts)
        sizes = 0
        for _, value in items:
            first = value[12]  # CompactSize of the script: itself 1, 3 or 5 bytes
            sizes += len(value) - (13 if first < 0xFD else 15 if first == 0xFD else 17)
        self.bogosize += sizes + BOGO_OVERHEAD * len(items)


def _vout_order(item: CoinItem) -> tuple[bytes, bytes]:
    key = item[0]
    return key[:32], key[:31:-1]


def in_chunks(rows: Iterator[Any]) -> Iterator[list[CoinItem]]:
    """Rows in LMDB's order, regrouped into lists of whole transactions in Core's order."""
    held: list[CoinItem] = []
    while True:
        items: list[CoinItem] = list(islice(rows, CHUNK))
        if not items:
            break
        if held:
            items = held + items
        last = items[-1][0][:32]
        cut = len(items) - 1
        while cut > 0 and items[cut - 1][0].startswith(last):
            cut -= 1
        held = items[cut:]
        del items[cut:]
        if items:
            yield _in_order(items)
    if held:
        yield _in_order(held)


def _in_order(items: list[CoinItem]) -> list[CoinItem]:
    """Sort whole transactions by txid and vout, if they are not so already."""
    if {key[33:] for key, _ in items} != {SMALL_VOUT}:
        items.sort(key=_vout_order)
    return items
