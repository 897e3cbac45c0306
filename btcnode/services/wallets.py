"""The wallets of a running node: which are loaded, and what is done with each by whom.

``disk`` has their files, ``keys`` makes and encrypts keys, ``chain`` tells them of blocks and the mempool,
``broadcast`` makes public what they spend. A node without wallets does not import this (``wallet_service.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from btcnode.descriptors.descriptor import Descriptor
from btcnode.errors import ConfigError, StorageError
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.external_signer import ExternalSigner, SignerError
from btcnode.services.indexes import Indexes
from btcnode.services.transactions import Transactions
from btcnode.services.wallet_broadcast import Broadcast
from btcnode.services.wallet_chain import ChainFollower
from btcnode.services.wallet_commands import Commands
from btcnode.services.wallet_disk import WalletDisk
from btcnode.services.wallet_files import locator_of, read_wallet, wallet_path
from btcnode.services.wallet_keys import WalletKeys
from btcnode.services.wallet_scan import LatestTimes
from btcnode.services.wallet_signer import descriptors_of_signer, signer_of
from btcnode.services.wallet_tasks import SideTasks
from btcnode.services.wallet_view import NodeView
from btcnode.settings.conf_files import change_settings
from btcnode.settings.settings import Settings
from btcnode.wallet.errors import Trouble, WalletError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.sqlite_store import WalletStore
from btcnode.wallet.wallet import Wallet

log = logging.getLogger("btcnode.wallet")

CORE_VERSION = 310_000  # of Bitcoin Core, whose wallet's behaviour this is


class Wallets:
    """See the module. ``loaded`` by name, in the order in which they were loaded."""

    def __init__(
        self, settings: Settings, chain: Chain, transactions: Transactions, indexes: Indexes, clock: Clock
    ) -> None:
        """Nothing is read before ``start``."""
        self.loaded: dict[str, Wallet] = {}
        self._settings = settings
        self._implied: list[str] = []  # what is loaded at start although nobody has named it
        self._opening: set[str] = set()
        self._tasks = tasks = SideTasks()
        times = LatestTimes(chain)
        self._commands = Commands()
        self._view = NodeView(chain, transactions, clock, times, self._commands, self.loaded)
        self.disk = disk = WalletDisk(settings, tasks)
        self.keys = WalletKeys(disk)
        self.chain = ChainFollower(
            settings, chain, transactions, indexes, clock, times, disk, self.keys, tasks, self.loaded
        )
        self.broadcast = Broadcast(chain, transactions, clock, disk, self.chain, tasks, self.loaded)
        self._tip = chain.tip

    # -- start and stop ------------------------------------------------------------------------------------------

    async def start(self, names: Sequence[str], warn: Callable[[str], None], *, implied: bool = False) -> None:
        """Load these wallets; raises ConfigError with a line for the user. ``implied``: nobody has named them.

        ``warn`` is called with what the user should know.
        """
        self._implied = list(names) if implied else []
        log.info("Using wallet directory %s", self.disk.directory)
        for name in names:
            try:
                await self.disk.check(wallet_path(self.disk.directory, name))
                await self._load(name, prefix="")
            except WalletError as error:
                if error.trouble is Trouble.NOT_FOUND:
                    warn(f"Skipping -wallet path that doesn't exist. {error}")
                elif error.trouble is Trouble.LEGACY:
                    warn(str(error))
                else:
                    raise ConfigError(str(error)) from None
                continue
            except StorageError as error:
                raise ConfigError(str(error)) from None
            warnings = self._fee_warnings()
            if warnings:
                warn("\n".join(warnings))

    def _check_fees(self) -> None:
        """Raise WalletError where -maxtxfee is so low that nothing the wallet sends would be relayed."""
        fault = self._settings.wallet.fee_fault(self._settings.mempool.min_relay_feerate)
        if fault is not None:
            raise WalletError(fault)

    def _fee_warnings(self) -> list[str]:
        return self._settings.wallet.fee_warnings(self._settings.mempool.min_relay_feerate)

    async def resubmit_all(self) -> None:
        """Offer the wallets' unconfirmed transactions to the mempool; raises StorageError."""
        for wallet in list(self.loaded.values()):
            await self.broadcast.resubmit_at_start(wallet)

    async def close(self) -> None:
        """Save everything and let go of the files; raises StorageError."""
        for wallet in self.loaded.values():
            wallet.scan.aborting = True
        await self._tasks.close()
        problem: StorageError | None = None
        for wallet in list(self.loaded.values()):
            try:
                await self._let_go(wallet)
            except StorageError as error:
                problem = problem or error
        self.disk.close()
        self._commands.close()
        if problem is not None:
            raise problem

    async def _let_go(self, wallet: Wallet) -> None:
        self.chain.note_best_block(wallet)
        self.keys.lock(wallet)
        try:
            while len(wallet.journal):  # others may change something meanwhile
                await self.disk.save(wallet)
        finally:
            del self.loaded[wallet.name]
            self.chain.forget(wallet)
            await self.disk.let_go(wallet)
            log.info("[%s] Releasing wallet %s..", wallet.shown_name, wallet.name)

    async def _enter(self, wallet: Wallet) -> None:
        """The wallet is loaded from now on, and follows the chain from where it has come to."""
        self.loaded[wallet.name] = wallet
        self.chain.follow(wallet)
        self.broadcast.begin()
        await self.chain.look_into_pool(wallet)

    # -- loading and making --------------------------------------------------------------------------------------

    async def load(self, name: str, load_on_startup: bool | None) -> list[str]:
        """Load a wallet; returns warnings. Raises WalletError, StorageError."""
        if name in self.loaded:
            raise WalletError(f'Wallet "{name}" is already loaded.', Trouble.ALREADY_LOADED)
        await self._load(name)
        await self.broadcast.resubmit_at_start(self.loaded[name])
        return self._fee_warnings() + self._remember(name, load_on_startup)

    async def _load(self, name: str, *, prefix: str = "Wallet file verification failed. ") -> None:
        """Raises WalletError, StorageError."""
        if name in self._opening:
            raise WalletError("Wallet already loading.")
        self._opening.add(name)
        try:
            try:
                store = await self.disk.open(wallet_path(self.disk.directory, name))
            except WalletError as error:
                raise WalletError(f"{prefix}{error}", error.trouble) from None
            try:
                await self._take_in(name, store)
            except WalletError as error:
                raise WalletError(f"Wallet loading failed. {error}" if prefix else str(error)) from None
        finally:
            self._opening.discard(name)

    async def _take_in(self, name: str, store: WalletStore) -> None:
        """Make a loaded wallet of its open file, which is closed where that fails."""
        try:
            self._check_fees()
            read = partial(read_wallet, name, store, self._settings.params, self._settings.wallet, self._view)
            wallet, rows = await self.disk.in_thread(read)
        except BaseException:
            await self.disk.drop(store)
            raise
        self.disk.keep(wallet, store)
        try:
            log.info("[%s] Last client version = %s", wallet.shown_name, rows.meta.get("version"))
            if rows.meta.get("version") != CORE_VERSION:
                wallet.journal.note("meta", "version", CORE_VERSION)
            await self.keys.top_up(wallet)
            await self.chain.attach(wallet, locator_of(rows))
        except BaseException:
            await self.disk.let_go(wallet)
            raise
        await self._enter(wallet)

    async def create(self, name: str, flags: WalletFlag, passphrase: str, load_on_startup: bool | None) -> list[str]:
        """Make a wallet, and load it; returns warnings. Raises WalletError, StorageError."""
        if not name:
            raise WalletError("Wallet name cannot be empty", Trouble.UNNAMED)
        without_keys, external = bool(flags & WalletFlag.DISABLE_PRIVATE_KEYS), bool(flags & WalletFlag.EXTERNAL_SIGNER)
        if external and not without_keys:
            raise WalletError("Private keys must be disabled when using an external signer")
        if passphrase and without_keys:
            raise WalletError(
                "Passphrase provided but private keys are disabled. A passphrase is only used to encrypt private keys,"
                " so cannot be used for wallets with private keys disabled."
            )
        if name in self._opening:
            raise WalletError("Wallet already loading.")
        self._opening.add(name)
        try:
            try:
                path = wallet_path(self.disk.directory, name)
                await self.disk.check_new(path)
                foreign = await descriptors_of_signer(self._settings) if external else []
            except SignerError:
                raise
            except WalletError as error:
                trouble = Trouble.OTHER if error.trouble is Trouble.ALREADY_EXISTS else error.trouble
                raise WalletError(f"Wallet file verification failed. {error}", trouble) from None
            try:
                self._check_fees()
            except WalletError as error:
                raise WalletError(f"Wallet creation failed. {error}") from None
            wallet = await self._make(name, flags, passphrase, foreign)
            try:
                await self.disk.create(path, wallet)
            except WalletError as error:
                raise WalletError(f"Wallet file verification failed. {error}") from None
            await self._enter(wallet)
        finally:
            self._opening.discard(name)
        await self.broadcast.resubmit_at_start(wallet)
        return self._fee_warnings() + self._remember(name, load_on_startup)

    async def _make(
        self, name: str, flags: WalletFlag, passphrase: str, foreign: Sequence[tuple[Descriptor, bool]]
    ) -> Wallet:
        """A new wallet, without a file. ``foreign``: a signer's descriptors, and whether they are for change."""
        has_seed = not flags & (WalletFlag.BLANK | WalletFlag.DISABLE_PRIVATE_KEYS)
        flags |= WalletFlag.DESCRIPTORS | WalletFlag.LAST_HARDENED_XPUB_CACHED
        wallet = Wallet(name, self._settings.params, self._settings.wallet, self._view, flags)
        wallet.set_flag(WalletFlag.DESCRIPTORS, on=True)
        wallet.journal.note("meta", "version", CORE_VERSION)
        if passphrase:
            await self.keys.seal(wallet, passphrase)
        if has_seed:
            await self.keys.set_up_descriptors(wallet)
        for descriptor, internal in foreign:
            await self.keys.add_foreign(wallet, descriptor, internal=internal)
        wallet.vault.lock()
        self.chain.note_best_block(wallet, self._tip())
        return wallet

    async def signer(self) -> ExternalSigner:
        """The external signer (-signer); raises SignerError."""
        return await signer_of(self._settings)

    async def unload(self, wallet: Wallet, load_on_startup: bool | None) -> list[str]:
        """Save a wallet and forget it; returns warnings. Raises WalletError where that has been done, StorageError."""
        async with wallet.turn:  # who makes a transaction of it goes first
            if self.loaded.get(wallet.name) is not wallet:
                raise WalletError("Requested wallet does not exist or is not loaded", Trouble.NOT_FOUND)
            if wallet.scan.running:  # somebody has begun while others had their turn
                raise WalletError("Wallet is currently rescanning. Abort existing rescan or wait.")
            await self._let_go(wallet)
        return self._remember(wallet.name, load_on_startup)

    async def backup(self, wallet: Wallet, target: Path) -> None:
        """Copy a wallet's file; raises StorageError."""
        self.chain.note_best_block(wallet)
        await self.disk.backup(wallet, target)

    async def restore(self, name: str, backup: Path, load_on_startup: bool | None) -> list[str]:
        """Copy a backup to where a wallet of this name lies, and load it; returns warnings.

        Raises WalletError, StorageError.
        """
        if not name:
            raise WalletError("Wallet name cannot be empty", Trouble.UNNAMED)
        undo = await self.disk.place_backup(name, backup)
        try:
            return await self.load(name, load_on_startup)
        except BaseException:
            if name not in self.loaded and name not in self._opening:
                await self.disk.in_thread(undo)
            raise

    async def why_not_migrated(self, name: str) -> str:
        """Why a wallet cannot be made a descriptor wallet; raises WalletError for what cannot be one's name."""
        already, path = "Error: This wallet is already a descriptor wallet", wallet_path(self.disk.directory, name)
        if name in self.loaded:
            return already
        if not path.exists():
            return "Error: Wallet does not exist"
        try:
            await self.disk.check(path)
        except WalletError as error:
            if error.trouble is Trouble.LEGACY:
                return f"Wallets of earlier formats cannot be read here: Bitcoin Core can migrate the one in '{path}'."
        return already

    def _remember(self, name: str, load_on_startup: bool | None) -> list[str]:
        """Have a wallet loaded at the next start, or not any more; returns a warning where that cannot be noted."""
        if load_on_startup is None:
            return []

        def change(values: dict[str, Any]) -> bool:
            names = values.get("wallet", self._implied)
            known = names if isinstance(names, list) else []
            if (name in known) is load_on_startup:
                return False
            values["wallet"] = [*(item for item in known if item != name), *([name] if load_on_startup else [])]
            return True

        path = self._settings.settings_file
        try:
            if path is None:
                raise ConfigError("there is no settings file")
            change_settings(path, change)
        except ConfigError as error:
            log.warning("%s", error)
            may = "may not be" if load_on_startup else "may still be"
            return [f"Wallet load on startup setting could not be updated, so wallet {may} loaded next node startup."]
        return []
