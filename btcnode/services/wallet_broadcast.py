"""What wallets spend: kept first, then offered to the mempool and to peers, from time to time again."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Collection, Mapping

from btcnode.errors import StorageError
from btcnode.mempool.rejection import Rejection
from btcnode.primitives.tx import Tx
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.transactions import Transactions
from btcnode.services.wallet_chain import ChainFollower
from btcnode.services.wallet_disk import WalletDisk
from btcnode.services.wallet_tasks import SideTasks
from btcnode.wallet.errors import WalletError
from btcnode.wallet.states import INACTIVE, WalletTx
from btcnode.wallet.wallet import Wallet

RESEND_EVERY = 60.0  # seconds between two looks whether it is time
RESEND_LEAST, RESEND_MOST = 12 * 3600, 36 * 3600  # seconds between two broadcasts of what does not confirm
RESEND_AGE = 300  # seconds before the last block

log = logging.getLogger("btcnode.wallet")


class Broadcast:
    """See the module; for all ``loaded`` wallets."""

    def __init__(
        self,
        chain: Chain,
        transactions: Transactions,
        clock: Clock,
        disk: WalletDisk,
        follower: ChainFollower,
        tasks: SideTasks,
        loaded: Mapping[str, Wallet],
    ) -> None:
        self._chain = chain
        self._transactions = transactions
        self._clock = clock
        self._disk = disk
        self._follower = follower
        self._tasks = tasks
        self._loaded = loaded
        self._begun = False
        self._next_resend = 0.0

    async def commit(
        self,
        wallet: Wallet,
        tx: Tx,
        notes: dict[str, str],
        *,
        chosen: Collection[bytes] = (),
        replaces: bytes | None = None,
    ) -> str:
        """Enter a transaction that the wallet has made; once that is on disk, broadcast it.

        Returns why the mempool does not take it, empty if it does or the wallet does not broadcast.
        ``chosen``: outpoints of coins that the wallet itself has chosen, some time ago: raises WalletError where one
        was spent since. ``replaces``: the txid of one of its own whose place it takes. Raises StorageError.
        """
        ledger = wallet.ledger
        if any(map(ledger.is_spent, chosen)):
            raise WalletError("A coin that was chosen for the transaction was spent meanwhile. Please try again.")
        if replaces is not None:
            ledger.mark_replaced(replaces, tx.txid)
        entry = ledger.add(tx, INACTIVE, wallet.now(), notes=notes)
        try:
            await self._disk.save(wallet)
        except StorageError:
            ledger.abandon(entry)  # whoever is told of an error pays again
            raise
        if not wallet.options.walletbroadcast:
            return ""
        refused = await self._submit(tx, relay=True)
        if refused:
            log.warning("[%s] Transaction cannot be broadcast immediately, %s", wallet.shown_name, refused)
        return refused

    async def _submit(self, tx: Tx, *, relay: bool) -> str:
        transactions, pool = self._transactions, self._transactions.pool
        if tx.txid not in pool:
            verdict = await transactions.accept(tx, urgent=True)
            if isinstance(verdict, Rejection) and tx.txid not in pool:
                return verdict.text
            if relay:
                pool.add_unbroadcast(tx.txid)
        entry = pool.get(tx.txid)
        if entry is not None and relay:
            transactions.announce(entry)
        return ""

    async def resubmit(self, wallet: Wallet, *, relay: bool, force: bool) -> int:
        """Offer the wallet's unconfirmed transactions to the mempool again, in order; how many were.

        Without ``force`` only those that were there some time before the last block.
        """
        if not wallet.options.walletbroadcast:
            return 0
        count = 0
        latest = None if force else self._follower.block_time - RESEND_AGE
        for entry in wallet.ledger.in_order():
            async with wallet.turn:  # nobody gives up what is on its way into the mempool
                if _may_be_sent(wallet, entry, latest) and not await self._submit(entry.tx, relay=relay):
                    count += 1
        if count:
            log.info("[%s] ResubmitWalletTransactions: resubmit %d unconfirmed transactions", wallet.shown_name, count)
        return count

    async def resubmit_at_start(self, wallet: Wallet) -> None:
        """Offer them to the mempool of a node that has just got to know the wallet; raises StorageError."""
        await self.resubmit(wallet, relay=False, force=True)
        await self._disk.save(wallet)

    def begin(self) -> None:
        """There are wallets: from now on broadcast again what does not confirm."""
        if not self._begun:
            self._begun = True
            self._next_resend = self._clock.time() + _next_resend()
            self._tasks.run(self._resend())

    def resend_if_due(self) -> None:
        """Broadcast again now, if it is time."""
        self._tasks.run(self._resend_if_due())

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(RESEND_EVERY)
            await self._resend_if_due()

    async def _resend_if_due(self) -> None:
        now = self._clock.time()
        if now < self._next_resend or self._chain.is_initial_block_download():
            return
        self._next_resend = now + _next_resend()
        for wallet in list(self._loaded.values()):
            await self.resubmit(wallet, relay=True, force=False)


def _may_be_sent(wallet: Wallet, entry: WalletTx, latest: int | None) -> bool:
    """Whether a transaction, as it is now, waits for a block and is not younger than ``latest`` (Unix time)."""
    if wallet.ledger.transactions.get(entry.txid) is not entry or not entry.is_unconfirmed or entry.is_coinbase:
        return False
    return (latest is None or entry.received <= latest) and wallet.ledger.depth(entry) == 0


def _next_resend() -> float:
    """Seconds until own transactions are broadcast again: at no time that would tell whose they are."""
    return RESEND_LEAST + secrets.randbelow(RESEND_MOST - RESEND_LEAST)
