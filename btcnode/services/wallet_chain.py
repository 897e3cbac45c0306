"""How wallets follow chain and mempool: they catch up when they are loaded, and hear of every change from then on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import inf
from time import monotonic

from btcnode.chain.events import BlockConnected, BlockDisconnected
from btcnode.errors import BtcnodeError, StorageError
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.primitives.steps import Steps
from btcnode.record import struct
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.indexes import Indexes
from btcnode.services.loop_turns import each_in_turn, in_turns
from btcnode.services.transactions import Transactions
from btcnode.services.wallet_disk import WalletDisk
from btcnode.services.wallet_following import BlockMatter, on_pool_added, on_pool_removed
from btcnode.services.wallet_keys import WalletKeys
from btcnode.services.wallet_scan import TIMESTAMP_WINDOW, LatestTimes, Scanner, ScanResult, ScanStatus
from btcnode.services.wallet_tasks import SideTasks
from btcnode.settings.settings import Settings
from btcnode.wallet.errors import WalletError
from btcnode.wallet.states import INACTIVE, BlockConflicted, Confirmed
from btcnode.wallet.wallet import Wallet

LAG_PART = 20  # of the addresses derived ahead of their use, as many may be missing until a thread has made new ones
BLOCKS_IN_A_STEP = 1000
RETRY_SECONDS = 60.0  # before a wallet that could not catch up tries again, when a block comes
BEST_BLOCK_EVERY = 144  # blocks after which a wallet notes where it is, if nothing happens

log = logging.getLogger("btcnode.wallet")


@struct
class _Behind:
    """Up to which block (header index, -1 for none) a wallet knows the chain, and when it tries to catch up again."""

    known: int
    retry_mono: float = inf


class ChainFollower:
    """Tells all ``loaded`` wallets of blocks and of the mempool, but those that have to catch up first.

    ``block_time`` is when the last block came (Unix time), ``times`` are those of blocks by height.
    """

    def __init__(
        self,
        settings: Settings,
        chain: Chain,
        transactions: Transactions,
        indexes: Indexes,
        clock: Clock,
        times: LatestTimes,
        disk: WalletDisk,
        keys: WalletKeys,
        tasks: SideTasks,
        loaded: Mapping[str, Wallet],
    ) -> None:
        self.block_time = 0
        self.times = times
        self._settings = settings
        self._chain = chain
        self._transactions = transactions
        self._clock = clock
        self._disk = disk
        self._keys = keys
        self._tasks = tasks
        self._refilling: set[Wallet] = set()
        self._loaded = loaded
        self._scanner = Scanner(chain, indexes.filters, disk.save)
        self._behind: dict[Wallet, _Behind] = {}  # loaded ones that have to catch up first
        self._listening = False

    # -- catching up ---------------------------------------------------------------------------------------------

    def note_best_block(self, wallet: Wallet, index: int = -1) -> None:
        """Have written up to which block the wallet knows the chain, without a block: where its ledger is."""
        if index < 0 and wallet in self._behind:
            return  # it has not looked at all blocks up to the tip that it goes for
        index = self._chain.tree.find(wallet.ledger.tip_hash) if index < 0 else index
        if index >= 0:
            self._scanner.note_best_block(wallet, index)

    async def attach(self, wallet: Wallet, locator: Sequence[bytes]) -> None:
        """Bring a wallet that knew the blocks of ``locator`` up to the chain; raises WalletError.

        Nothing is waited for between the end of that and the return.
        """
        active = self._chain.driver.chainstate.active
        if locator and locator[-1] != self._settings.params.genesis_hash and not wallet.options.walletcrosschain:
            raise WalletError(
                "Wallet files should not be reused across chains. Restart bitcoind with -walletcrosschain to override."
            )
        await in_turns(self.times.steps_to_tip())
        known = self._chain.tree.height(active.find_fork_with(locator)) if locator else 0
        await self._catch_up(wallet, known)

    def _forget_lost_blocks(self, wallet: Wallet) -> Steps[None]:
        """Transactions of blocks that are not in the chain any more are unconfirmed."""
        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        for entry in wallet.ledger.in_order():
            yield
            state = entry.state
            if isinstance(state, Confirmed | BlockConflicted):
                index = tree.find(state.block_hash)
                if index < 0 or not active.contains(index):
                    entry.state = INACTIVE
        for entry in wallet.ledger.in_order():
            if entry.is_coinbase and entry.is_inactive:
                wallet.ledger.abandon(entry)

    async def _catch_up(self, wallet: Wallet, known: int) -> None:
        """Look at the blocks behind the one at height ``known`` until there are no more; raises WalletError."""
        tree, active, ledger = self._chain.tree, self._chain.driver.chainstate.active, wallet.ledger
        while True:
            tip = active.tip
            await in_turns(self._forget_lost_blocks(wallet))  # who catches up is not told of blocks that go
            if active.tip != tip:
                continue
            ledger.tip_height, ledger.tip_hash = tree.height(tip), tree.hash(tip)
            if known < ledger.tip_height:
                await self._scan_from(wallet, known, tip)
            if active.tip == tip:
                self.note_best_block(wallet, tip)
                await self._disk.save(wallet)
            if active.tip == tip:
                return
            known = min(ledger.tip_height, tree.height(active.find_fork(tip)))

    async def _scan_from(self, wallet: Wallet, known: int, tip: int) -> None:
        born = self.times.first_height(wallet.birth_time - TIMESTAMP_WINDOW, known)
        if born is None:
            return
        await in_turns(self._check_blocks(born, tip))
        count = wallet.ledger.tip_height - born
        log.info("[%s] Rescanning last %d blocks (from block %d)...", wallet.shown_name, count, born)
        result = await self._scanner.scan(wallet, born, None, save_progress=True)
        if result.status is not ScanStatus.SUCCESS:
            raise WalletError("Failed to rescan the wallet during initialization")

    def _check_blocks(self, first: int, tip: int) -> Steps[None]:
        """Raise WalletError where blocks from a height on are not here, in steps."""
        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        for missing in range(tree.height(tip) - 1, max(first, 1) - 1, -1):
            if not tree.has_data(active.at(missing) if missing <= active.height else -1):
                break
            if not missing % BLOCKS_IN_A_STEP:
                yield
        else:
            return
        if self._settings.storage.prunes and self._chain.driver.history_span() is None:
            raise WalletError(
                "Prune: last wallet synchronisation goes beyond pruned data. You need to -reindex (download the whole"
                " blockchain again in case of a pruned node)"
            )
        raise WalletError(
            "Error loading wallet. Wallet requires blocks to be downloaded, and software does not currently support"
            " loading wallets while blocks are being downloaded out of order when using assumeutxo snapshots. Wallet"
            f" should be able to load successfully after node sync reaches height {missing + 1}"
        )

    def _fall_behind(self, wallet: Wallet) -> None:
        """Blocks came that a wallet was not told of (a loaded UTXO set, a sync in another order): it looks for them."""
        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        behind = self._behind.setdefault(wallet, _Behind(tree.find(wallet.ledger.tip_hash)))
        behind.retry_mono = inf

        async def catch_up() -> None:
            known = tree.height(active.find_fork(behind.known)) if behind.known >= 0 else 0
            try:
                await self._catch_up(wallet, known)
            except BtcnodeError as error:
                log.error("[%s] %s", wallet.shown_name, error)
                behind.retry_mono = monotonic() + RETRY_SECONDS
                return
            if wallet in self._behind:
                self.follow(wallet)
                await self.look_into_pool(wallet)

        self._tasks.run(catch_up())

    async def rescan(self, wallet: Wallet, start: int, stop: int | None) -> ScanResult:
        """Look through blocks once more, and through the mempool where no last height is named; raises StorageError."""
        result = await self._scanner.scan(wallet, start, stop)
        if stop is None:
            await self.look_into_pool(wallet)
        await self._disk.save(wallet)
        return result

    # -- following -----------------------------------------------------------------------------------------------

    def follow(self, wallet: Wallet) -> None:
        """From now on the wallet, which is loaded, hears of blocks and of changes of the mempool."""
        tree, tip = self._chain.tree, self._chain.tip()
        wallet.ledger.tip_height, wallet.ledger.tip_hash = tree.height(tip), tree.hash(tip)
        self._behind.pop(wallet, None)
        if not self._listening:
            self._listening = True
            self._transactions.observe(self)
            self._transactions.pool.listen(self._pool_added, self._pool_removed)

    def forget(self, wallet: Wallet) -> None:
        """The wallet is not loaded any more."""
        self._behind.pop(wallet, None)

    async def look_into_pool(self, wallet: Wallet) -> None:
        """Enter what the mempool has for a wallet that follows it, in an order in which parents come first."""
        pool = self._transactions.pool
        async for entry in each_in_turn(pool.in_order()):
            if pool.get(entry.tx.txid) is entry:
                on_pool_added(wallet, entry)

    def _pool_added(self, entry: MempoolEntry) -> None:
        for wallet in self._loaded.values():
            on_pool_added(wallet, entry)
            self._disk.save_soon(wallet)

    def _pool_removed(self, entry: MempoolEntry, reason: RemovalReason) -> None:
        for wallet in self._loaded.values():
            on_pool_removed(wallet, entry, reason)
            self._disk.save_soon(wallet)

    def block_connected(self, event: BlockConnected) -> None:
        """See ``BlockObserver``."""
        self.block_time = self._clock.now()
        matter: BlockMatter | None = None
        for wallet in self._loaded.values():
            if wallet in self._behind:
                if monotonic() >= self._behind[wallet].retry_mono:  # what was missing may be there by now
                    self._fall_behind(wallet)
                continue
            parent = self._chain.tree.prev(event.index)
            if self._chain.tree.find(wallet.ledger.tip_hash) != parent and self._chain.tree.has_data(parent):
                self._fall_behind(wallet)  # blocks below a loaded UTXO set are not there to be looked at
                continue
            if matter is None and self._is_young(wallet, event.index):
                matter = BlockMatter(event.block)
            self._connect(wallet, event, matter if self._is_young(wallet, event.index) else None)

    def _is_young(self, wallet: Wallet, index: int) -> bool:
        """Whether a block may be as young as the wallet."""
        latest = self.times.at(self._chain.tree.height(index))
        return latest >= wallet.birth_time - 2 * TIMESTAMP_WINDOW

    def _connect(self, wallet: Wallet, event: BlockConnected, matter: BlockMatter | None) -> None:
        ledger, block_hash = wallet.ledger, self._chain.tree.hash(event.index)
        found = matter is not None and matter.concerns(ledger)
        txs = matter.transactions(wallet) if matter is not None and found else ()
        wallet.lag = wallet.options.keypool // LAG_PART
        ledger.block_connected(block_hash, event.height, txs, wallet.now())
        wallet.lag = 0
        if wallet.short and wallet not in self._refilling:
            self._refilling.add(wallet)
            self._tasks.run(self._refill(wallet))
        if len(wallet.journal) or not event.height % BEST_BLOCK_EVERY:
            self.note_best_block(wallet)
        self._disk.save_soon(wallet)

    async def _refill(self, wallet: Wallet) -> None:
        """Derive addresses for those that a block has paid to: one takes as long as entering what it got."""
        try:
            while wallet.short:
                some, wallet.short = list(wallet.short.values()), {}
                await self._keys.top_up(wallet, only=some)
            self._disk.save_soon(wallet)
        except StorageError as error:  # it is tried again with the next change
            log.error("%s", error)
        finally:
            self._refilling.discard(wallet)

    def block_disconnected(self, event: BlockDisconnected) -> None:
        """See ``BlockObserver``."""
        matter, tree = BlockMatter(event.block), self._chain.tree
        for wallet in self._loaded.values():
            if wallet in self._behind or wallet.ledger.tip_hash != tree.hash(event.index):
                continue
            txs = matter.transactions(wallet) if matter.concerns(wallet.ledger) else ()
            parent = tree.hash(tree.prev(event.index))
            wallet.ledger.block_disconnected(event.height, parent, txs, wallet.now())
            self.note_best_block(wallet)
            self._disk.save_soon(wallet)

    def reorganised(self) -> None:
        """See ``BlockObserver``."""
