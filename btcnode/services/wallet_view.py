"""What wallets ask of the node around them."""

from __future__ import annotations

from collections.abc import Mapping

from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.transactions import Transactions
from btcnode.services.wallet_commands import Commands
from btcnode.services.wallet_scan import LatestTimes
from btcnode.wallet.states import WalletTx
from btcnode.wallet.wallet import Wallet


class NodeView:
    """See ``Surroundings`` of wallets. ``loaded`` wallets tell the user's command of their transactions."""

    def __init__(
        self,
        chain: Chain,
        transactions: Transactions,
        clock: Clock,
        times: LatestTimes,
        commands: Commands,
        loaded: Mapping[str, Wallet],
    ) -> None:
        self._chain = chain
        self._pool = transactions.pool
        self._clock = clock
        self._times = times
        self._commands = commands
        self._loaded = loaded

    def now(self) -> int:
        """Unix time in whole seconds."""
        return self._clock.now()

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        """Time of a block of the active chain, and the latest time up to it; None for another one."""
        tree = self._chain.tree
        index = tree.find(block_hash)
        if index < 0 or not self._chain.driver.chainstate.active.contains(index):
            return None
        return tree.time(index), self._times.at(tree.height(index))

    def in_pool(self, txid: bytes) -> bool:
        """Whether the mempool has a transaction."""
        return txid in self._pool

    def ancestors(self, txid: bytes) -> int:
        """Ancestors of a transaction in the mempool, itself included; 0 where it is not there."""
        entry = self._pool.get(txid)
        return 0 if entry is None else len(self._pool.ancestors(entry)) + 1

    def changed(self, wallet: Wallet, entry: WalletTx) -> None:
        """Tell the user's command of a transaction."""
        if self._loaded.get(wallet.name) is wallet:
            self._commands.run_for(wallet, entry)
