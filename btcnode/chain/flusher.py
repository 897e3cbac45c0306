"""Writing what has changed to disk, beside the thread that connects blocks."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from btcnode.chain.coins_cache import CoinsBatch, CoinsCache
from btcnode.storage.blockfiles import FileChanges
from btcnode.tuples import NamedTuple

Records = Collection[tuple[int, bytes]]


class FlushReport(NamedTuple):
    """What a flush has written, and how long it took in seconds."""

    coins_put: int
    coins_deleted: int
    seconds: float


class CommitTarget(Protocol):
    """Where coins, index records and tip marker go."""

    def take_changes(self) -> FileChanges:
        """What the block files have to bring to disk with the next commit."""

    def commit(
        self,
        coins_put: Mapping[bytes, bytes],
        coins_delete: Collection[bytes],
        records: Records,
        tip_hash: bytes | None,
        changes: FileChanges,
        meta: Mapping[bytes, bytes],
    ) -> None:
        """Write all of it, ``meta`` with the marker; raises StorageError."""


class Flusher:
    """Writes index records, then coins and tip marker, one flush at a time; for the chain thread.

    Between ``begin`` and ``finish`` the coins may go on changing: what is written is frozen. When a flush fails,
    nothing of it is on disk; ``finish`` and ``write`` raise, and what was to be written is due again.
    """

    def __init__(self, store: CommitTarget, coins: CoinsCache) -> None:
        self._store = store
        self._coins = coins
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._running: Future[FlushReport] | None = None
        self.flushes = 0
        self.last = FlushReport(0, 0, 0.0)
        self.seconds = 0.0  # that all flushes have taken

    @property
    def running(self) -> bool:
        """Whether a flush was begun and not finished; any thread may ask."""
        return self._running is not None

    @property
    def ready(self) -> bool:
        """Whether a flush was begun and ``finish`` would not wait; any thread may ask."""
        running = self._running
        return running is not None and running.done()

    def begin(self, records: Records, tip_hash: bytes) -> None:
        """Begin to write the coins as they are now, with the index records and the tip marker that belong to them."""
        changes = self._store.take_changes()
        batch = self._coins.freeze()
        self._running = self._thread.submit(self._write, batch, records, tip_hash, changes)

    def finish(self) -> FlushReport:
        """Wait for the flush that was begun. Raises StorageError."""
        running, self._running = self._running, None
        if running is None:
            raise RuntimeError("no flush is under way")
        try:
            report = running.result()
        except BaseException:
            if not self._coins.is_dirty():
                self._coins.thaw()
            raise
        self._coins.flushed()
        self.flushes += 1
        self.last = report
        self.seconds += report.seconds
        return report

    def write(self, records: Records, tip_hash: bytes) -> FlushReport:
        """The same, waiting. Raises StorageError."""
        self.begin(records, tip_hash)
        return self.finish()

    def write_records(self, records: Records) -> None:
        """Write index records alone; the tip marker stays what it is. Raises StorageError."""
        self._store.commit({}, (), records, None, self._store.take_changes(), {})

    def _write(self, batch: CoinsBatch, records: Records, tip_hash: bytes, changes: FileChanges) -> FlushReport:
        begun = time.monotonic()
        self._store.commit(batch.puts, batch.deletes, records, tip_hash, changes, batch.meta)
        return FlushReport(len(batch.puts), len(batch.deletes), time.monotonic() - begun)

    def close(self) -> None:
        """End the thread; a flush under way is waited for."""
        self._thread.shutdown()
