"""Fee estimation in the node: fed by the mempool and by blocks, kept in ``fee_estimates.dat``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from pathlib import Path

from btcnode.chain.header_tree import HeaderTree
from btcnode.errors import CorruptionError, DecodeError, StorageError
from btcnode.files import MIB, read_limited
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.mempool.fee_estimator import FeeEstimator
from btcnode.mempool.fee_file import decode_estimates, encode_estimates
from btcnode.protocol.chain_view import ChainView
from btcnode.services.clock import Clock
from btcnode.services.transactions import AFTER_BLOCK, Transactions
from btcnode.storage.durable import set_aside, write_durably
from btcnode.storage.trailer import with_trailer, without_trailer

FILE_NAME = "fee_estimates.dat"
SAVE_INTERVAL = 3600.0  # seconds
MAX_FILE_BYTES = 64 * MIB  # more than all that its format allows
MAX_FILE_AGE = 60 * 3600  # seconds; older estimates mislead
MAX_TIP_AGE = 3 * 3600  # seconds; with an older tip nothing is learned

log = logging.getLogger("btcnode.estimatefee")


def load_estimator(path: Path, *, accept_stale: bool) -> FeeEstimator:
    """The estimator of the last run, or (said in the log) a new one."""
    try:
        age = time.time() - path.stat().st_mtime
        if age > MAX_FILE_AGE and not accept_stale:
            log.warning(
                "Fee estimation file %s too old (age=%d > %d hours) and will not be used to avoid serving stale"
                " estimates.", path, age // 3600, MAX_FILE_AGE // 3600,
            )  # fmt: skip
            return FeeEstimator()
        return decode_estimates(without_trailer(read_limited(path, MAX_FILE_BYTES)))
    except FileNotFoundError:
        log.info("%s is not found. Continue anyway.", path)
    except OSError as error:
        aside = set_aside(path)
        log.warning("Failed to read fee estimates from %s (%s). Continue anyway. %s.", path, error, aside)
    except (CorruptionError, DecodeError) as error:
        log.warning(
            "Failed to read fee estimates from %s (%s). Continue anyway. The file is damaged: %s, and fees are learnt"
            " anew.", path, error, set_aside(path),
        )  # fmt: skip
    return FeeEstimator()


class FeeEstimates:
    """Owns the estimator."""

    def __init__(
        self,
        transactions: Transactions,
        view: ChainView,
        tree: HeaderTree,
        clock: Clock,
        path: Path,
        *,
        accept_stale: bool,
    ) -> None:
        self._estimator = load_estimator(path, accept_stale=accept_stale)
        self._current: tuple[int, int, int, bool] = (-1, -1, 0, False)  # tip, best header, seconds; and the answer
        self._block: tuple[list[MempoolEntry], int] | None = None  # that the estimator has not learnt from yet
        self._transactions = transactions
        self._view = view
        self._tree = tree
        self._clock = clock
        self._path = path
        self._saver: asyncio.Task[None] | None = None
        self._due = 0.0  # when the file is to be written, by the loop's clock
        self._moved = asyncio.Event()
        transactions.pool.listen(self._added, self._removed)
        transactions.listen_confirmed(self._confirmed)

    @property
    def estimator(self) -> FeeEstimator:
        """It has learnt from all that has happened."""
        if self._block is not None:
            self._learn()
        return self._estimator

    def _confirmed(self, entries: list[MempoolEntry], height: int) -> None:
        self._learn()
        self._block = entries, height
        # thousands take some milliseconds, and others have had to wait for the block already: they go first
        asyncio.get_running_loop().call_later(AFTER_BLOCK, self._learn)

    def _learn(self) -> None:
        """From the last block, before anything else counts."""
        if self._block is not None:
            (entries, height), self._block = self._block, None
            self._estimator.block(entries, height)

    def _added(self, entry: MempoolEntry) -> None:
        transactions = self._transactions
        counts = (
            entry.sequence != 0  # 0: it is back from a block of another branch
            and not transactions.in_package
            and (len(entry.cluster.entries) == 1 or not transactions.pool.has_parents(entry))
            and self._is_current()
        )
        self.estimator.added(entry, counts=counts)

    def _removed(self, entry: MempoolEntry, reason: RemovalReason) -> None:
        if reason is not RemovalReason.BLOCK:
            self.estimator.removed(entry.txid)

    def _is_current(self) -> bool:
        """Whether the node is at the tip, so that waiting times mean something."""
        tree, tip, now = self._tree, self._view.active.tip, self._clock.now()
        best = tree.best_header
        if self._current[:3] != (tip, best, now):  # thousands of transactions may come in a second
            is_old = self._view.is_initial_block_download(now) or tree.time(tip) < now - MAX_TIP_AGE
            self._current = tip, best, now, not is_old and tree.height(tip) >= tree.height(best) - 1
        return self._current[3]

    def start(self) -> None:
        """Save every hour from now on."""
        self._saver = asyncio.get_running_loop().create_task(self._keep_saving())

    async def _keep_saving(self) -> None:
        now = asyncio.get_running_loop().time
        while True:
            self._due = now() + SAVE_INTERVAL
            while (left := self._due - now()) > 0:
                self._moved.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._moved.wait()
            await self.save()

    def forward(self, seconds: int) -> None:
        """Let the timer of the file run ahead, for tests."""
        self._due -= seconds
        self._moved.set()

    async def save(self) -> None:
        """Write the file; a failure costs nothing but the file and is logged."""
        data = with_trailer(encode_estimates(self.estimator))
        try:
            await asyncio.to_thread(write_durably, self._path, data)
        except StorageError as error:
            log.warning("Failed to write fee estimates to %s (%s). Continue anyway.", self._path, error)
        else:
            log.debug("Flushed fee estimates to %s.", self._path)

    async def close(self) -> None:
        """What still waits counts as unconfirmed; keep the rest for the next run."""
        if self._saver is not None:
            self._saver.cancel()
            await asyncio.gather(self._saver, return_exceptions=True)
        self.estimator.give_up()
        await self.save()
