"""The node's wallets for who may not need any: what is behind them is imported with the first one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.indexes import Indexes
from btcnode.services.transactions import Transactions
from btcnode.settings.settings import Settings

if TYPE_CHECKING:
    from btcnode.services.wallets import Wallets
    from btcnode.wallet.wallet import Wallet


class WalletService:
    """Knows which wallets are to be loaded, and makes ``wallets`` when somebody wants one."""

    def __init__(
        self, settings: Settings, chain: Chain, transactions: Transactions, indexes: Indexes, clock: Clock
    ) -> None:
        self._settings = settings
        self._given = (settings, chain, transactions, indexes, clock)
        self._wallets: Wallets | None = None

    @property
    def wallets(self) -> Wallets:
        """All that there is to do with wallets."""
        if self._wallets is None:
            from btcnode.services.wallets import Wallets

            self._wallets = Wallets(*self._given)
        return self._wallets

    async def prepare(self) -> Wallets:
        """The same; what is behind it is imported beside the loop, as the first wallet takes a tenth of a second."""
        if self._wallets is None:
            await asyncio.to_thread(import_module, "btcnode.services.wallets")
        return self.wallets

    @property
    def loaded(self) -> Mapping[str, Wallet]:
        """The wallets by name, in the order in which they were loaded."""
        return {} if self._wallets is None else self._wallets.loaded

    async def start(self, warn: Callable[[str], None]) -> None:
        """Load the wallets that the options name; raises ConfigError with a line for the user.

        ``warn`` is called with what the user should know.
        """
        names = self._names()
        if names:
            await self.wallets.start(names, warn, implied=self._settings.wallet.wallet is None)

    def _names(self) -> list[str]:
        options = self._settings.wallet
        if options.walletdir is not None:
            from btcnode.services.wallet_files import wallets_dir

            wallets_dir(self._settings)  # what is wrong with it is told before anything
        if options.wallet is not None:
            return list(dict.fromkeys(options.wallet))
        named, usual = options.walletdir, self._settings.net_dir / "wallets"
        unnamed = named or (usual if usual.is_dir() else self._settings.net_dir)
        return [""] if (unnamed / "wallet.dat").is_file() else []

    async def resubmit_all(self) -> None:
        """The node is up: the wallets' unconfirmed transactions are offered to the mempool."""
        if self._wallets is not None:
            await self._wallets.resubmit_all()

    async def save_all(self) -> None:
        """What the loaded wallets have been told is on disk when this returns; raises StorageError."""
        for wallet in list(self.loaded.values()):
            await self.wallets.disk.save(wallet)

    def forward(self) -> None:
        """Let slow timers run ahead, for tests."""
        if self._wallets is not None:
            self._wallets.broadcast.resend_if_due()

    async def close(self) -> None:
        """Save everything and let go of the files; raises StorageError."""
        if self._wallets is not None:
            await self._wallets.close()
