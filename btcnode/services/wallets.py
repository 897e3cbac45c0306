"""The wallets of a running node: which are loaded, their files, and how they follow chain and mempool.

A node without wallets does not import this (``wallet_service.py``). What happens is listened to
from the first wallet on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shlex
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from btcnode.chain.events import BlockConnected, BlockDisconnected
from btcnode.descriptors.bip32 import ExtendedSecret
from btcnode.descriptors.descriptor import Descriptor, OutputType
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.errors import BtcnodeError, ConfigError, StorageError
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.mempool.rejection import Rejection
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.services.chain import Chain
from btcnode.services.clock import Clock
from btcnode.services.external_signer import ExternalSigner, SignerError, the_signer
from btcnode.services.indexes import Indexes
from btcnode.services.transactions import Transactions
from btcnode.services.wallet_files import (
    check_existing,
    check_new,
    list_wallets,
    locator_of,
    open_store,
    place_backup,
    read_wallet,
    wallet_path,
    wallets_dir,
)
from btcnode.services.wallet_following import BlockMatter, on_pool_added, on_pool_removed
from btcnode.services.wallet_scan import TIMESTAMP_WINDOW, LatestTimes, Scanner, ScanResult, ScanStatus
from btcnode.settings.conf_files import change_settings
from btcnode.settings.settings import Settings
from btcnode.wallet.descriptor_keys import Derived, DescriptorKeys, derive
from btcnode.wallet.errors import Trouble, WalletError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.sqlite_store import Rows, WalletStore
from btcnode.wallet.states import INACTIVE, BlockConflicted, Confirmed, WalletTx
from btcnode.wallet.vault import new_master, open_master, seal_master
from btcnode.wallet.wallet import TYPES, Wallet

log = logging.getLogger("btcnode.wallet")

CORE_VERSION = 310_000  # of Bitcoin Core, whose wallet's behaviour this is

T = TypeVar("T")

RESEND_EVERY = 60.0  # seconds between two looks whether it is time
RESEND_LEAST, RESEND_MOST = 12 * 3600, 36 * 3600  # seconds between two broadcasts of what does not confirm
RESEND_AGE = 300  # seconds before the last block
BEST_BLOCK_EVERY = 144  # blocks after which a wallet notes where it is, if nothing happens
MAX_COMMANDS = 16  # of -walletnotify at a time
FEW_POSITIONS = 50  # that are derived on the loop


class Wallets:
    """See the module. ``loaded`` by name, in the order in which they were loaded."""

    def __init__(
        self, settings: Settings, chain: Chain, transactions: Transactions, indexes: Indexes, clock: Clock
    ) -> None:
        """Nothing is read before ``start``."""
        self.loaded: dict[str, Wallet] = {}
        self._settings = settings
        self._chain = chain
        self._transactions = transactions
        self._indexes = indexes
        self._clock = clock
        self._implied: list[str] = []  # what is loaded at start although nobody has named it
        self._stores: dict[str, WalletStore] = {}
        self._writing: dict[str, asyncio.Lock] = {}
        self._saving: set[str] = set()  # wallets whose changes are written as soon as that can be
        self._opening: set[str] = set()
        self._behind: set[str] = set()  # wallets that do not follow the chain, as they have to catch up with it
        self._thread: ThreadPoolExecutor | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scanner: Scanner | None = None
        self._times: LatestTimes | None = None
        self._listening = False
        self._closing = False
        self._block_time = 0  # when the last block came
        self._next_resend = 0.0
        self._ahead = 0.0  # seconds by which timers were let run ahead
        self._commands = asyncio.Semaphore(MAX_COMMANDS)

    # -- what wallets ask of the node ----------------------------------------------------------------------------

    def now(self) -> int:
        """Unix time in whole seconds."""
        return self._clock.now()

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        """Time of a block of the active chain, and the latest time up to it; None for another one."""
        tree = self._chain.tree
        index = tree.find(block_hash)
        if index < 0 or not self._chain.driver.chainstate.active.contains(index):
            return None
        return tree.time(index), self.latest_times.at(tree.height(index))

    def in_pool(self, txid: bytes) -> bool:
        """Whether the mempool has a transaction."""
        return txid in self._transactions.pool

    def ancestors(self, txid: bytes) -> int:
        """Ancestors of a transaction in the mempool, itself included; 0 where it is not there."""
        pool = self._transactions.pool
        entry = pool.get(txid)
        return 0 if entry is None else len(pool.ancestors(entry)) + 1

    def changed(self, wallet: Wallet, entry: WalletTx) -> None:
        """Tell the user's command of a transaction."""
        if wallet.options.walletnotify and wallet.name in self.loaded:
            self._run_beside(self._notify(_command(wallet, entry)))

    async def _notify(self, command: str) -> None:
        async with self._commands:
            run = partial(subprocess.run, command, shell=True, stdin=subprocess.DEVNULL, check=False)
            status = (await asyncio.to_thread(run)).returncode
        if status:
            log.error("runCommand error: system(%s) returned %d", command, status)

    # -- start and stop ------------------------------------------------------------------------------------------

    async def start(self, names: Sequence[str], *, implied: bool = False) -> None:
        """Load these wallets; raises ConfigError with a line for the user. ``implied``: nobody has named them."""
        self._implied = list(names) if implied else []
        directory, magic = self.directory, self._settings.params.magic
        log.info("Using wallet directory %s", directory)
        for name in names:
            try:
                check_existing(wallet_path(directory, name), magic, self._open_files())
                warnings = await self._load(name, prefix="")
            except WalletError as error:
                if error.trouble is Trouble.NOT_FOUND:
                    log.warning("Skipping -wallet path that doesn't exist. %s", error)
                elif error.trouble is Trouble.LEGACY:
                    log.warning("%s", error)
                else:
                    raise ConfigError(str(error)) from None
                continue
            except StorageError as error:
                raise ConfigError(str(error)) from None
            if warnings:
                log.warning("%s", "\n".join(warnings))

    async def resubmit_all(self) -> None:
        """Offer the wallets' unconfirmed transactions to the mempool."""
        for wallet in list(self.loaded.values()):
            await self._resubmit_at_start(wallet)

    async def close(self) -> None:
        """Save everything and let go of the files; raises StorageError."""
        self._closing = True
        for wallet in self.loaded.values():
            wallet.scan.aborting = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        problem: StorageError | None = None
        for name in list(self.loaded):
            try:
                await self._let_go(self.loaded[name])
            except StorageError as error:
                problem = problem or error
        if self._thread is not None:
            self._thread.shutdown()
        if problem is not None:
            raise problem

    async def _let_go(self, wallet: Wallet) -> None:
        self._note_best_block(wallet)
        _lock(wallet)
        try:
            while len(wallet.journal):  # others may change something meanwhile
                await self.save(wallet)
        finally:
            del self.loaded[wallet.name]
            self._behind.discard(wallet.name)
            store = self._stores.pop(wallet.name)
            await self.in_thread(store.close)
            log.info("[%s] Releasing wallet %s..", wallet.shown_name, wallet.name)

    # -- files ---------------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """Where wallets lie; raises ConfigError."""

        return wallets_dir(self._settings)

    def _open_files(self) -> frozenset[Path]:
        return frozenset(store.path.resolve() for store in self._stores.values())

    async def listed(self) -> list[tuple[str, list[str]]]:
        """Names of the wallets in the directory, each with warnings."""

        return await self.in_thread(
            partial(list_wallets, self.directory, self._settings.params.magic, self._open_files())
        )

    async def load(self, name: str, load_on_startup: bool | None) -> list[str]:
        """Load a wallet; returns warnings. Raises WalletError, StorageError."""

        if name in self.loaded:
            raise WalletError(f'Wallet "{name}" is already loaded.', Trouble.ALREADY_LOADED)
        warnings = await self._load(name)
        await self._resubmit_at_start(self.loaded[name])
        return warnings + self._remember(name, load_on_startup)

    async def _load(self, name: str, *, prefix: str = "Wallet file verification failed. ") -> list[str]:
        """Raises WalletError, StorageError."""

        if name in self._opening:
            raise WalletError("Wallet already loading.")
        self._opening.add(name)
        store = None
        try:
            magic, options = self._settings.params.magic, self._settings.wallet
            try:
                path = wallet_path(self.directory, name)
                store = await self.in_thread(partial(open_store, path, magic, options, self._open_files()))
            except WalletError as error:
                raise WalletError(f"{prefix}{error}", error.trouble) from None
            try:
                read = partial(read_wallet, name, store, self._settings.params, options, self)
                wallet, rows = await self.in_thread(read)
                self._stores[name] = store
                log.info("[%s] Last client version = %s", wallet.shown_name, rows.meta.get("version"))
                if rows.meta.get("version") != CORE_VERSION:
                    wallet.journal.note("meta", "version", CORE_VERSION)
                await self.top_up(wallet)
                await self._attach(wallet, rows)
            except WalletError as error:
                raise WalletError(f"Wallet loading failed. {error}" if prefix else str(error)) from None
        except BaseException:
            if store is not None:
                self._stores.pop(name, None)
                await self.in_thread(store.close)
            raise
        finally:
            self._opening.discard(name)
        return []

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
            magic, options = self._settings.params.magic, self._settings.wallet
            try:
                path = wallet_path(self.directory, name)
                check_new(path)
                foreign = await self._descriptors_of_signer() if external else ()
                make = partial(WalletStore.create, path, magic, unsafe=options.unsafesqlitesync)
                self._stores[name] = await self.in_thread(make)
            except SignerError:
                raise
            except WalletError as error:
                trouble = Trouble.OTHER if error.trouble is Trouble.ALREADY_EXISTS else error.trouble
                raise WalletError(f"Wallet file verification failed. {error}", trouble) from None
            blank = bool(flags & WalletFlag.BLANK)
            flags |= WalletFlag.DESCRIPTORS | WalletFlag.LAST_HARDENED_XPUB_CACHED
            wallet = Wallet(name, self._settings.params, options, self, flags)
            wallet.set_flag(WalletFlag.DESCRIPTORS, on=True)
            wallet.journal.note("meta", "version", CORE_VERSION)
            if passphrase:
                await self._encrypt(wallet, passphrase)
            if not blank and not without_keys:
                await self.set_up_descriptors(wallet)
            for descriptor, internal in foreign:
                await self._add_foreign(wallet, descriptor, internal=internal)
            wallet.vault.lock()
            self._note_best_block(wallet, self._chain.tip())
            await self.save(wallet)
            await self._follow(wallet)
        except BaseException:
            store = self._stores.pop(name, None) if name not in self.loaded else None
            if store is not None:
                await self.in_thread(store.close)
            raise
        finally:
            self._opening.discard(name)
        await self._resubmit_at_start(wallet)
        return self._remember(name, load_on_startup)

    async def signer(self) -> ExternalSigner:
        """The external signer (-signer); raises SignerError."""
        return await the_signer(self._settings.rpc.signer, self._settings.params.chain)

    async def _descriptors_of_signer(self) -> list[tuple[Descriptor, bool]]:
        """What the external signer has for new wallets, each with whether it is for change; raises SignerError."""
        found = []
        for internal, texts in enumerate(await (await self.signer()).descriptors()):
            for text in texts:
                try:
                    descriptor = parse_descriptor(text, self._settings.params, SigningProvider())[0]
                except DescriptorError as error:
                    why = f'SetupDescriptorScriptPubKeyMans: Invalid descriptor "{text}" ({error})'
                    raise SignerError(why) from None
                found.append((descriptor, bool(internal)))
        return found

    async def _add_foreign(self, wallet: Wallet, descriptor: Descriptor, *, internal: bool) -> None:
        """Give out addresses from a descriptor whose private keys are elsewhere; no more than its kind has to be."""
        kind = descriptor.output_type
        if kind is None:
            return
        keys = DescriptorKeys(descriptor, wallet.journal, created=self.now())
        wallet.enter_keys(keys, kind, internal=internal)
        await self.top_up(wallet, only=[keys])

    async def set_up_descriptors(self, wallet: Wallet) -> None:
        """Give a wallet, which is unlocked, the usual descriptors below a new seed."""

        await self.add_usual(wallet, ExtendedSecret.from_seed(secrets.token_bytes(32)), internals=(False, True))

    async def add_usual(
        self, wallet: Wallet, master: ExtendedSecret, *, internals: Sequence[bool], kinds: Sequence[OutputType] = ()
    ) -> list[DescriptorKeys]:
        """Give a wallet the usual descriptors below a master key, of these kinds or all; those that it had not."""

        made = [
            (wallet.make_keys(master, kind, internal=internal), kind, internal)
            for internal in internals
            for kind in kinds or TYPES
        ]
        made = [item for item in made if item[0].id not in wallet.descriptors]
        size = wallet.options.keypool
        plans = [(keys, keys.missing(size), keys.open_secrets(wallet.vault)) for keys, _, _ in made]

        def work() -> list[list[Derived]]:
            return [derive(keys.descriptor, known, positions) or [] for keys, positions, known in plans]

        derived = work() if sum(len(plan[1]) for plan in plans) <= FEW_POSITIONS else await asyncio.to_thread(work)
        for (keys, kind, internal), positions in zip(made, derived, strict=True):
            keys.take(positions)
            wallet.enter_keys(keys, kind, internal=internal)
        return [keys for keys, _, _ in made]

    async def top_up(self, wallet: Wallet, size: int = 0, only: Sequence[DescriptorKeys] | None = None) -> bool:
        """Derive addresses ahead of their use, beside the loop where these are many; whether all could be."""

        complete = True
        for keys in wallet.active_keys() if only is None else only:
            positions = keys.missing(size or wallet.options.keypool)
            if len(positions) <= FEW_POSITIONS:
                complete = wallet.top_up(keys, size) and complete
                continue
            work = partial(derive, keys.descriptor, keys.open_secrets(wallet.vault), positions)
            derived = await asyncio.to_thread(work)
            if derived is None:
                complete = False
                continue
            keys.take(derived)
            wallet.register(keys, (script for item in derived for script in item.scripts))
        return complete

    async def unload(self, wallet: Wallet, load_on_startup: bool | None) -> list[str]:
        """Save a wallet and forget it; returns warnings. Raises WalletError where that has been done, StorageError."""
        async with wallet.turn:  # who makes a transaction of it goes first
            if self.loaded.get(wallet.name) is not wallet:
                raise WalletError("Requested wallet does not exist or is not loaded", Trouble.NOT_FOUND)
            await self._let_go(wallet)
        return self._remember(wallet.name, load_on_startup)

    async def backup(self, wallet: Wallet, target: Path) -> None:
        """Copy a wallet's file; raises StorageError."""
        self._note_best_block(wallet)
        await self.save(wallet)
        await self.in_thread(partial(self._stores[wallet.name].backup, target))

    async def restore(self, name: str, backup: Path, load_on_startup: bool | None) -> list[str]:
        """Copy a backup to where a wallet of this name lies, and load it; returns warnings.

        Raises WalletError, StorageError.
        """

        if not name:
            raise WalletError("Wallet name cannot be empty", Trouble.UNNAMED)
        undo = await self.in_thread(partial(place_backup, wallet_path(self.directory, name), backup))
        try:
            return await self.load(name, load_on_startup)
        except BaseException:
            if name not in self.loaded and name not in self._opening:
                await self.in_thread(undo)
            raise

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

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work on the files' thread."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="wallets")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def save(self, wallet: Wallet) -> None:
        """Whatever has changed in a wallet is on disk when this returns; raises StorageError.

        So it does for a wallet that was unloaded meanwhile, also when another one of its name was loaded.
        """
        async with self._writing.setdefault(wallet.name, asyncio.Lock()):
            if not len(wallet.journal):
                return
            store = self._stores.get(wallet.name)
            if store is None or self.loaded.get(wallet.name, wallet) is not wallet:
                raise StorageError(f"wallet {wallet.shown_name} is not loaded any more: nothing was changed")
            changes = wallet.journal.take()
            try:
                await self.in_thread(partial(store.write, changes))
            except BaseException:
                wallet.journal.give_back(changes)
                raise

    def _save_soon(self, wallet: Wallet) -> None:
        if len(wallet.journal) and wallet.name not in self._saving:
            self._saving.add(wallet.name)
            self._run_beside(self._save_quietly(wallet))

    async def _save_quietly(self, wallet: Wallet) -> None:
        try:
            while len(wallet.journal) and wallet.name in self.loaded:
                await self.save(wallet)
        except StorageError as error:  # whoever asks next gets the error, and it is tried again
            log.error("%s", error)
        finally:
            self._saving.discard(wallet.name)

    def _run_beside(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- encryption ----------------------------------------------------------------------------------------------

    async def encrypt(self, wallet: Wallet, passphrase: str) -> None:
        """Encrypt a wallet's keys, give it a new seed unless it is blank, and lock it.

        Raises WalletError where that has been done, StorageError.
        """

        async with wallet.turn:
            if wallet.vault.is_encrypted:  # by who had the turn before
                raise WalletError(
                    "Error: running with an encrypted wallet, but encryptwallet was called.", Trouble.ENCRYPTED_ALREADY
                )
            await self._encrypt(wallet, passphrase)
            if not wallet.has(WalletFlag.BLANK):
                await self.set_up_descriptors(wallet)
            _lock(wallet)
            await self.save(wallet)
            await self.in_thread(self._stores[wallet.name].rewrite)

    async def _encrypt(self, wallet: Wallet, passphrase: str) -> None:

        master = new_master()
        record = await asyncio.to_thread(seal_master, master, passphrase)
        wallet.vault.begin(record, master)
        wallet.journal.note("master", *record)
        for keys in wallet.descriptors.values():
            keys.encrypt(wallet.vault)

    async def unlock(self, wallet: Wallet, passphrase: str, seconds: int) -> bool:
        """Unlock an encrypted wallet for a time; False for a wrong passphrase."""

        record = wallet.vault.record
        assert record is not None
        master = await asyncio.to_thread(open_master, record, passphrase)
        if master is None:
            return False
        wallet.vault.unlock(master)
        relocking = wallet.relocking
        if relocking.timer is not None:
            relocking.timer.cancel()
        relocking.until = self.now() + seconds
        relocking.timer = asyncio.get_running_loop().call_later(seconds, _lock, wallet)
        await self.top_up(wallet)
        await self.save(wallet)
        return True

    async def change_passphrase(self, wallet: Wallet, old: str, new: str) -> bool:
        """Seal the master key anew; False for a wrong passphrase. Raises StorageError."""

        async with wallet.turn:  # of two at a time the second one begins with what the first one has made
            record = wallet.vault.record
            assert record is not None
            master = await asyncio.to_thread(open_master, record, old)
            if master is None:
                return False
            wallet.vault.record = await asyncio.to_thread(seal_master, master, new)
            wallet.journal.note("master", *wallet.vault.record)
            await self.save(wallet)
            await self.in_thread(self._stores[wallet.name].rewrite)
            return True

    def lock(self, wallet: Wallet) -> None:
        """Forget the keys of an encrypted wallet."""
        _lock(wallet)

    # -- transactions --------------------------------------------------------------------------------------------

    async def commit(self, wallet: Wallet, tx: Tx, notes: dict[str, str]) -> str:
        """Enter a transaction that the wallet has made; once that is on disk, broadcast it.

        Returns why the mempool does not take it, empty if it does or the wallet does not broadcast.
        Raises StorageError.
        """

        entry = wallet.ledger.add(tx, INACTIVE, self.now(), notes=notes)
        try:
            await self.save(wallet)
        except StorageError:
            wallet.ledger.abandon(entry)  # whoever is told of an error pays again
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
        for entry in wallet.ledger.in_order():
            if not entry.is_unconfirmed or entry.is_coinbase:
                continue
            if not force and entry.received > self._block_time - RESEND_AGE:
                continue
            if wallet.ledger.depth(entry) == 0 and not await self._submit(entry.tx, relay=relay):
                count += 1
        if count:
            log.info("[%s] ResubmitWalletTransactions: resubmit %d unconfirmed transactions", wallet.shown_name, count)
        return count

    def forward(self, seconds: int) -> None:
        """Let timers run ahead, for tests."""
        self._ahead += seconds
        self._run_beside(self._resend_if_due())

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(RESEND_EVERY)
            await self._resend_if_due()

    async def _resend_if_due(self) -> None:
        now = self._clock.time()
        if now < self._next_resend or self._chain.is_initial_block_download():
            return
        self._next_resend = now + _next_resend()
        for wallet in list(self.loaded.values()):
            await self.resubmit(wallet, relay=True, force=False)

    # -- following the chain -------------------------------------------------------------------------------------

    @property
    def latest_times(self) -> LatestTimes:
        """The latest times of blocks, by height."""
        if self._times is None:
            self._times = LatestTimes(self._chain)
        return self._times

    @property
    def scanner(self) -> Scanner:
        """What looks through blocks."""
        if self._scanner is None:
            self._scanner = Scanner(self._chain, self._indexes.filters, self.save)
        return self._scanner

    def _note_best_block(self, wallet: Wallet, index: int = -1) -> None:
        if index < 0 and wallet.name in self._behind:
            return  # it has not looked at all blocks up to the tip that it goes for
        index = self._chain.tree.find(wallet.ledger.tip_hash) if index < 0 else index
        if index >= 0:
            self.scanner.note_best_block(wallet, index)

    async def _attach(self, wallet: Wallet, rows: Rows) -> None:
        """Bring a loaded wallet up to the chain, and let it follow from there; raises WalletError."""

        locator = locator_of(rows)
        active = self._chain.driver.chainstate.active
        if locator and locator[-1] != self._settings.params.genesis_hash and not wallet.options.walletcrosschain:
            raise WalletError(
                "Wallet files should not be reused across chains. Restart bitcoind with -walletcrosschain to override."
            )
        known = active.find_fork_with(locator) if locator else -1
        await self._catch_up(wallet, max(known, 0))

    def _forget_lost_blocks(self, wallet: Wallet) -> None:
        """Transactions of blocks that are not in the chain any more are unconfirmed."""

        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        for entry in wallet.ledger.transactions.values():
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
            self._forget_lost_blocks(wallet)  # who catches up is not told of blocks that go
            tip = active.tip
            ledger.tip_height, ledger.tip_hash = tree.height(tip), tree.hash(tip)
            if known < ledger.tip_height:
                born = self.latest_times.first_height(wallet.birth_time - TIMESTAMP_WINDOW, known)
                if born is not None:
                    self._check_blocks(born, tip)
                    count = ledger.tip_height - born
                    log.info("[%s] Rescanning last %d blocks (from block %d)...", wallet.shown_name, count, born)
                    result = await self.scanner.scan(wallet, born, None, save_progress=True)
                    if result.status is not ScanStatus.SUCCESS:
                        raise WalletError("Failed to rescan the wallet during initialization")
            if active.tip == tip:
                break
            known = min(ledger.tip_height, tree.height(active.find_fork(tip)))
        self._note_best_block(wallet, tip)
        await self.save(wallet)
        if active.tip != tip:
            return await self._catch_up(wallet, tree.height(active.find_fork(tip)))
        await self._follow(wallet)

    def _check_blocks(self, first: int, tip: int) -> None:
        """Raise WalletError where blocks from a height on are not here."""

        tree, active = self._chain.tree, self._chain.driver.chainstate.active
        missing = next(
            (
                height
                for height in range(tree.height(tip) - 1, max(first, 1) - 1, -1)
                if not tree.has_data(active.at(height))
            ),
            None,
        )
        if missing is None:
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

    async def _follow(self, wallet: Wallet) -> None:
        """From now on the wallet hears of blocks and the mempool: no waiting between this and where it has come to."""
        tree, tip = self._chain.tree, self._chain.tip()
        wallet.ledger.tip_height, wallet.ledger.tip_hash = tree.height(tip), tree.hash(tip)
        self.loaded[wallet.name] = wallet
        self._behind.discard(wallet.name)
        if not self._listening:
            self._listening = True
            self._transactions.observe(self)
            self._transactions.pool.listen(self._pool_added, self._pool_removed)
            self._next_resend = self._clock.time() + _next_resend()
            self._run_beside(self._resend())
        self.look_into_pool(wallet)

    def look_into_pool(self, wallet: Wallet) -> None:
        """Enter what the mempool has for a wallet, in an order in which parents come first."""

        for entry in self._transactions.pool.in_order():
            on_pool_added(wallet, entry)

    async def _resubmit_at_start(self, wallet: Wallet) -> None:
        await self.resubmit(wallet, relay=False, force=True)
        await self.save(wallet)

    def _pool_added(self, entry: MempoolEntry) -> None:

        for wallet in self.loaded.values():
            on_pool_added(wallet, entry)
            self._save_soon(wallet)

    def _pool_removed(self, entry: MempoolEntry, reason: RemovalReason) -> None:

        for wallet in self.loaded.values():
            on_pool_removed(wallet, entry, reason)
            self._save_soon(wallet)

    def block_connected(self, event: BlockConnected) -> None:
        """See ``BlockObserver``."""

        self._block_time = self.now()
        matter: BlockMatter | None = None
        for wallet in self.loaded.values():
            if wallet.name in self._behind:
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

        latest = self.latest_times.at(self._chain.tree.height(index))
        return latest >= wallet.birth_time - 2 * TIMESTAMP_WINDOW

    def _connect(self, wallet: Wallet, event: BlockConnected, matter: BlockMatter | None) -> None:
        ledger, block_hash = wallet.ledger, self._chain.tree.hash(event.index)
        found = matter is not None and matter.concerns(ledger)
        txs = matter.transactions(wallet) if matter is not None and found else ()
        ledger.block_connected(block_hash, event.height, txs, self.now())
        if len(wallet.journal) or not event.height % BEST_BLOCK_EVERY:
            self._note_best_block(wallet)
        self._save_soon(wallet)

    def block_disconnected(self, event: BlockDisconnected) -> None:
        """See ``BlockObserver``."""

        matter, tree = BlockMatter(event.block), self._chain.tree
        for wallet in self.loaded.values():
            if wallet.name in self._behind or wallet.ledger.tip_hash != tree.hash(event.index):
                continue
            txs = matter.transactions(wallet) if matter.concerns(wallet.ledger) else ()
            parent = tree.hash(tree.prev(event.index))
            wallet.ledger.block_disconnected(event.height, parent, txs, self.now())
            self._note_best_block(wallet)
            self._save_soon(wallet)

    def reorganised(self) -> None:
        """See ``BlockObserver``."""

    def _fall_behind(self, wallet: Wallet) -> None:
        """Blocks came that a wallet was not told of (a loaded UTXO set, a sync in another order): it looks for them."""
        self._behind.add(wallet.name)

        async def catch_up() -> None:
            active, tree = self._chain.driver.chainstate.active, self._chain.tree
            index = tree.find(wallet.ledger.tip_hash)
            known = tree.height(active.find_fork(index)) if index >= 0 else 0
            try:
                await self._catch_up(wallet, known)
            except BtcnodeError as error:
                log.error("[%s] %s", wallet.name, error)

        self._run_beside(catch_up())

    async def rescan(self, wallet: Wallet, start: int, stop: int | None) -> ScanResult:
        """Look through blocks once more, and through the mempool where no last height is named."""
        result = await self.scanner.scan(wallet, start, stop)
        if stop is None:
            self.look_into_pool(wallet)
        await self.save(wallet)
        return result


def _lock(wallet: Wallet) -> None:
    wallet.vault.lock()
    relocking = wallet.relocking
    if relocking.timer is not None:
        relocking.timer.cancel()
    relocking.until, relocking.timer = 0, None


def _next_resend() -> float:
    """Seconds until own transactions are broadcast again: at no time that would tell whose they are."""
    return RESEND_LEAST + secrets.randbelow(RESEND_MOST - RESEND_LEAST)


def _command(wallet: Wallet, entry: WalletTx) -> str:
    """The user's command for a transaction."""

    state = entry.state
    confirmed = type(state) is Confirmed
    return (
        wallet.options.walletnotify.replace("%s", to_display(entry.txid))
        .replace("%b", to_display(state.block_hash) if type(state) is Confirmed else "unconfirmed")
        .replace("%h", str(state.height) if type(state) is Confirmed and confirmed else "-1")
        .replace("%w", shlex.quote(wallet.name))
    )
