"""Looking through blocks of the chain for what concerns a wallet.

Blocks are read and looked at beside the loop, some at a time, and what is found is entered on the loop. Where block
filters are indexed only blocks are read whose filter has a script of the wallet's. An address that is found used makes
new ones, so from there on blocks are looked at again.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING

from btcnode.chain.active_chain import ActiveChain
from btcnode.errors import DecodeError, StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.gcs import matches_any
from btcnode.primitives.hashes import to_display
from btcnode.primitives.steps import Steps, at_once
from btcnode.services.chain import Chain
from btcnode.services.loop_turns import in_turns
from btcnode.services.wallet_following import BlockMatter
from btcnode.wallet.states import Confirmed
from btcnode.wallet.wallet import Wallet

if TYPE_CHECKING:
    from btcnode.services.index_readers import FilterIndex

BLOCKS_IN_A_STEP = 1000
MOST_AT_ONCE = 100  # blocks between two looks at whether to go on
LOG_SECONDS = 60.0
TIMESTAMP_WINDOW = 2 * 3600  # by which a block's time may be wrong

log = logging.getLogger("btcnode.wallet")
scan_log = logging.getLogger("btcnode.scan")


class ScanStatus(Enum):
    """How a scan has ended."""

    SUCCESS = auto()
    FAILURE = auto()  # a block could not be read
    ABORTED = auto()


@dataclass(slots=True)
class ScanResult:
    """``last`` is the header index of the last block that was looked at, ``failed`` of the last that could not be."""

    status: ScanStatus = ScanStatus.SUCCESS
    last: int = -1
    failed: int = -1


class LatestTimes:
    """By height of the active chain the latest time of any block up to there; made when it is first asked for."""

    def __init__(self, chain: Chain) -> None:
        self._tree = chain.tree
        self._active: ActiveChain = chain.driver.chainstate.active
        self._times = array("Q")
        self._last = -1  # header index of the last block that is in

    def steps_to_tip(self) -> Steps[None]:
        """Learn of all blocks, in steps: of many at the first time."""
        tree, active, times = self._tree, self._active, self._times
        if self._last >= 0 and not active.contains(self._last):
            del times[tree.height(active.find_fork(self._last)) + 1 :]
        while len(times) <= active.height:
            height = len(times)
            times.append(max(times[-1] if times else 0, tree.time(active.at(height))))
            self._last = active.at(height)
            if not height % BLOCKS_IN_A_STEP:
                yield
                if not active.contains(self._last):
                    return
        self._last = active.tip

    def at(self, height: int) -> int:
        """The latest time of any block up to a height."""
        at_once(self.steps_to_tip())
        return self._times[height]

    def first_height(self, time: int, lowest: int = 0) -> int | None:
        """The first height, from ``lowest`` on, with a block up to it of this time or later."""
        at_once(self.steps_to_tip())
        height = bisect_left(self._times, max(0, time), lowest)
        return height if height < len(self._times) else None


class Scanner:
    """Scans for the wallets of a node. ``beside`` runs work in a thread."""

    def __init__(self, chain: Chain, filters: FilterIndex | None, save: Callable[[Wallet], Awaitable[None]]) -> None:
        self._chain = chain
        self._filters = filters
        self._save = save

    async def scan(
        self, wallet: Wallet, start: int, stop: int | None, *, update: bool = True, save_progress: bool = False
    ) -> ScanResult:
        """Look at the blocks from height ``start`` to ``stop``, without one to where the wallet's ledger is."""
        result, ledger, began = ScanResult(), wallet.ledger, monotonic()
        active, tree = self._chain.driver.chainstate.active, self._chain.tree
        scan, height, many = wallet.scan, start, 1
        scan.aborting, scan.progress, scan.began = False, 0.0, began
        name, kind = wallet.shown_name, "fast variant using block filters"
        kind = kind if self._filters is not None else "slow variant inspecting all blocks"
        log.info("[%s] Rescan started from block %s... (%s)", name, to_display(tree.hash(active.at(start))), kind)
        logged = began
        while not scan.aborting and not self._chain.stopping():
            last = min(ledger.tip_height if stop is None else stop, active.height)
            if height > last:
                break
            scan.progress = self._progress(active, start, height, last)
            if monotonic() - logged >= LOG_SECONDS:
                logged = monotonic()
                log.info("[%s] Still rescanning. At block %d. Progress=%f", name, height, scan.progress)
                if save_progress:
                    self.note_best_block(wallet, active.at(height - 1) if height else active.at(0))
                    await self._save(wallet)
            todo = [active.at(at) for at in range(height, min(height + many, last + 1))]
            looked = await self._look_through(wallet, todo)
            done = await in_turns(self._enter(wallet, todo, looked, result, update=update))
            if done < 0:
                break
            height += done
            many = min(2 * many, MOST_AT_ONCE) if done == len(todo) else 1
        if scan.aborting or (self._chain.stopping() and height <= ledger.tip_height):
            log.info("[%s] Rescan aborted at block %d. Progress=%f", name, height, scan.progress)
            result.status = ScanStatus.ABORTED
        else:
            log.info("[%s] Rescan completed in %15dms", name, int((monotonic() - began) * 1000))
        await self._save(wallet)
        return result

    def _progress(self, active: ActiveChain, start: int, height: int, last: int) -> float:
        first, now, end = (self._chain.verification_progress(active.at(at)) for at in (start, height, last))
        return (now - first) / (end - first) if end > first else 0.0

    def _enter(
        self,
        wallet: Wallet,
        todo: Sequence[int],
        looked: Sequence[BlockMatter | Exception | None],
        result: ScanResult,
        *,
        update: bool,
    ) -> Steps[int]:
        """Enter what was found into the ledger; how many blocks are done with, -1 where the chain has changed."""
        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        for n, (index, found) in enumerate(zip(todo, looked, strict=True)):
            if isinstance(found, Exception):
                log.warning("[%s] Rescan cannot read block at height %d: %s", wallet.name, tree.height(index), found)
                result.failed, result.status = index, ScanStatus.FAILURE
                continue
            if not active.contains(index):
                result.failed, result.status = index, ScanStatus.FAILURE
                return -1
            result.last = index
            if found is None:
                continue
            before = len(wallet.scripts), len(wallet.ledger.coins), len(wallet.ledger.spends)
            block_hash, height = tree.hash(index), tree.height(index)
            for position, tx in found.transactions(wallet):
                state = Confirmed(block_hash, height, position)
                wallet.ledger.sync(tx, state, wallet.now(), update=update, old_block=True)
                yield
                if not active.contains(index):
                    result.failed, result.status = index, ScanStatus.FAILURE
                    return -1
            if before != (len(wallet.scripts), len(wallet.ledger.coins), len(wallet.ledger.spends)):
                return n + 1
        return len(todo)

    async def _look_through(self, wallet: Wallet, todo: Sequence[int]) -> list[BlockMatter | Exception | None]:
        scripts = list(wallet.scripts) if self._filters is not None else []  # as they change while a thread is at work
        return await asyncio.to_thread(lambda: [self._look_at(wallet, scripts, index) for index in todo])

    def _look_at(self, wallet: Wallet, scripts: Sequence[bytes], index: int) -> BlockMatter | Exception | None:
        """What may concern a wallet in a block (in a thread: the wallet's tables are asked, not gone through)."""
        if wallet.scan.aborting or self._chain.stopping():
            return None
        try:
            if self._filters is not None and not self._seems_to_concern(scripts, self._filters, index):
                return None
            matter = BlockMatter(parse_block(self._chain.read_block_now(index)))
        except (StorageError, DecodeError) as error:
            return error
        return matter if matter.concerns(wallet.ledger) else None

    def _seems_to_concern(self, scripts: Sequence[bytes], filters: FilterIndex, index: int) -> bool:
        block_hash, height = self._chain.tree.hash(index), self._chain.tree.height(index)
        found = filters.get(block_hash)
        if found is None:
            scan_log.debug(
                "Fast rescan: inspect block %d [%s] (WARNING: block filter not found!)", height, to_display(block_hash)
            )
            return True
        if not matches_any(found.data, block_hash, scripts):
            return False
        scan_log.debug("Fast rescan: inspect block %d [%s] (filter matched)", height, to_display(block_hash))
        return True

    def note_best_block(self, wallet: Wallet, index: int) -> None:
        """Have written up to which block the wallet knows the chain."""
        hashes = self._chain.tree.locator(index)
        wallet.journal.note("meta", "best_block", b"".join(hashes))
