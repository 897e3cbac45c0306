"""``mempool.dat`` of a node: loaded after the start, saved before the end, on request in between."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from pathlib import Path
from typing import BinaryIO

from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.files import open_regular
from btcnode.mempool.persistence import KEY_SIZE, DumpReader, StoredTx, check_dump, encode_dump
from btcnode.mempool.rejection import Rejection, TxResult
from btcnode.record import record, struct
from btcnode.services.clock import Clock
from btcnode.services.transactions import Transactions
from btcnode.storage.durable import set_aside, storage_error, write_durably
from btcnode.storage.trailer import check_trailer

FILE_NAME = "mempool.dat"
BATCH = 64  # transactions that are verified at a time

RECORDS = 1000  # of deltas and of txids that are read at a time

log = logging.getLogger("btcnode.mempool")


@struct
class ImportReport:
    """What came of a file."""

    accepted: int = 0
    failed: int = 0
    expired: int = 0
    already_there: int = 0
    unbroadcast: int = 0


@record
class ImportOptions:
    """What of a mempool file counts (importmempool's options; the defaults are those of the start)."""

    use_current_time: bool = False
    apply_fee_delta_priority: bool = True
    apply_unbroadcast_set: bool = True


class MempoolFile:
    """Loading and saving one node's mempool."""

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        directory: Path,
        *,
        persist: bool = True,
        with_key: bool = True,
    ) -> None:
        """``persist``: the mempool outlives the run. ``with_key``: the file's bytes are mixed with a random key."""
        self._transactions = transactions
        self._clock = clock
        self._persist = persist
        self._with_key = with_key
        self.path = directory / FILE_NAME
        self.loaded = False  # or found missing, or not wanted

    async def load(self) -> None:
        """Load the file of the last run, where there is one; what is wrong with it is logged."""
        if self._persist and not self.path.exists():
            log.info("Failed to open mempool file. Continuing anyway.")
        elif self._persist:
            try:
                report = await self.import_file(self.path, ImportOptions())
            except (CorruptionError, DecodeError) as error:
                log.warning(
                    "%s is damaged (%s): %s, and the mempool begins empty", self.path, error, set_aside(self.path)
                )
            except StorageError as error:
                aside = set_aside(self.path)  # the end of this run writes the file anew
                log.warning("the mempool of the last run is not used: %s: %s", error, aside)
            else:
                log.info(
                    "Imported mempool transactions from file: %d succeeded, %d failed, %d expired, %d already there,"
                    " %d waiting for initial broadcast",
                    report.accepted, report.failed, report.expired, report.already_there, report.unbroadcast,
                )  # fmt: skip
        self.loaded = True

    async def close(self) -> None:
        """Take nothing in any more, and keep the mempool for the next run, on which nothing else depends.

        A file that was not loaded to its end stays as it is.
        """
        await self._transactions.close()
        if self.loaded and self._persist:
            try:
                await self.save()
            except StorageError as error:
                log.error("the mempool is not saved: %s", error)

    async def import_file(self, path: Path, options: ImportOptions) -> ImportReport:
        """Take in the transactions of a file; raises StorageError, and CorruptionError or DecodeError when it is none.

        Then nothing has been taken in: a wrong fee delta looks like any other. The file is read in steps, beside the
        loop, twice: one of ours to prove its checksum, one of Bitcoin Core's, which has none, to see that it is whole.
        """
        report = ImportReport()
        try:
            with await asyncio.to_thread(open_regular, path) as file:
                await asyncio.to_thread(_check, file)
                await self._import(DumpReader(file.read), options, report)
        except OSError as error:
            raise storage_error(error, f"cannot read {path}") from None
        return report

    async def _import(self, dump: DumpReader, options: ImportOptions, report: ImportReport) -> None:
        pool = self._transactions.pool
        cutoff = self._clock.now() - self._transactions.options.expiry_s
        log.info("Loading %d mempool transactions from file...", await asyncio.to_thread(dump.begin))
        while batch := await asyncio.to_thread(dump.transactions, BATCH):
            await asyncio.gather(*(self._take(stored, cutoff, options, report) for stored in batch))
        await asyncio.to_thread(dump.begin_deltas)
        while deltas := await asyncio.to_thread(dump.deltas, RECORDS):
            if options.apply_fee_delta_priority:
                for txid, delta in deltas:
                    pool.prioritise(txid, delta)
        count = await asyncio.to_thread(dump.begin_unbroadcast)
        while txids := await asyncio.to_thread(dump.unbroadcast, RECORDS):
            if options.apply_unbroadcast_set:
                for txid in txids:
                    pool.add_unbroadcast(txid)
        if options.apply_unbroadcast_set:
            report.unbroadcast = count

    async def _take(self, stored: StoredTx, cutoff: int, options: ImportOptions, report: ImportReport) -> None:
        tx, pool = stored.tx, self._transactions.pool
        time = self._clock.now() if options.use_current_time else stored.time
        if options.apply_fee_delta_priority and stored.delta:
            pool.prioritise(tx.txid, stored.delta)
        if time <= cutoff:
            report.expired += 1
            return
        verdict = await self._transactions.accept(tx, time=time)
        if not isinstance(verdict, Rejection):
            report.accepted += 1
        elif verdict.result is TxResult.CONFLICT and tx.txid in pool:
            report.already_there += 1
        else:
            report.failed += 1

    async def save(self) -> Path:
        """Write the file; returns its path. Raises StorageError."""
        moment, start = self._transactions.pool.moment(), time.monotonic()
        key = secrets.token_bytes(KEY_SIZE) if self._with_key else None

        def encoded() -> tuple[int, bytes]:
            delta = moment.deltas.get
            stored = [StoredTx(entry.tx, entry.time, delta(entry.txid, 0)) for entry in moment.entries()]
            return len(stored), encode_dump(stored, moment.deltas, list(moment.unbroadcast), key)

        count, data = await asyncio.to_thread(encoded)
        log.info("Writing %d mempool transactions to file...", count)
        copied = time.monotonic()
        fresh = self.path.with_name(f"{FILE_NAME}.new")
        await asyncio.to_thread(lambda: write_durably(self.path, data, temporary=fresh))
        log.info("Dumped mempool: %.3fs to copy, %.3fs to dump, %d bytes dumped to file",
                 copied - start, time.monotonic() - copied, len(data))  # fmt: skip
        return self.path


def _check(file: BinaryIO) -> None:
    """Prove a file, which stands at its begin then; raises CorruptionError, DecodeError, OSError."""
    if not check_trailer(file):
        check_dump(file.read)
        file.seek(0)
