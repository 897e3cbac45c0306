"""The files of loaded wallets: opened, written, copied and let go of on one thread, in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from btcnode.errors import StorageError
from btcnode.record import record
from btcnode.services.wallet_files import (
    check_backup,
    check_existing,
    check_new,
    free_path,
    list_wallets,
    open_store,
    place_backup,
    wallets_dir,
)
from btcnode.services.wallet_tasks import SideTasks
from btcnode.settings.settings import Settings
from btcnode.wallet.sqlite_store import WalletStore
from btcnode.wallet.wallet import Wallet

T = TypeVar("T")

log = logging.getLogger("btcnode.wallet")


@record
class _Open:
    """A wallet's file, and the turn of who writes it."""

    store: WalletStore
    turn: asyncio.Lock


class WalletDisk:
    """See the module. A wallet has its file from ``keep`` to ``let_go``."""

    def __init__(self, settings: Settings, tasks: SideTasks) -> None:
        self._settings = settings
        self._magic = settings.params.magic
        self._tasks = tasks
        self._kept: dict[Wallet, _Open] = {}
        self._paths: set[Path] = set()  # of open files; the thread's own
        self._saving: set[Wallet] = set()  # whose changes are written as soon as that can be
        self._thread: ThreadPoolExecutor | None = None

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run work on the files' thread."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="wallets")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """End the thread; no wallet has a file any more."""
        if self._thread is not None:
            self._thread.shutdown()

    # -- files ---------------------------------------------------------------------------------------------------

    @property
    def directory(self) -> Path:
        """Where wallets lie; raises ConfigError."""
        return wallets_dir(self._settings)

    async def listed(self) -> list[tuple[str, list[str]]]:
        """Names of the wallets in the directory, each with warnings."""
        directory = self.directory
        return await self.in_thread(lambda: list_wallets(directory, self._magic, self._paths))

    async def check(self, path: Path) -> None:
        """Raise WalletError where there is no wallet at a path that can be opened."""
        await self.in_thread(lambda: check_existing(path, self._magic, self._paths))

    async def open(self, path: Path) -> WalletStore:
        """Open the wallet's file at a path; raises WalletError."""

        def work() -> WalletStore:
            store = open_store(path, self._magic, self._settings.wallet, self._paths)
            self._paths.add(store.path.resolve())
            return store

        return await self.in_thread(work)

    async def check_new(self, path: Path) -> None:
        """Raise WalletError where no new wallet can be."""
        await self.in_thread(partial(check_new, path))

    async def create(self, path: Path, wallet: Wallet) -> None:
        """Make the file of a new wallet, with all that it has; raises WalletError, StorageError."""
        changes = wallet.journal.take()

        def work() -> WalletStore:
            check_new(path)
            store = WalletStore.create(path, self._magic, changes, unsafe=self._settings.wallet.unsafesqlitesync)
            self._paths.add(store.path.resolve())
            return store

        self.keep(wallet, await self.in_thread(work))

    async def place_backup(self, name: str, backup: Path) -> Callable[[], None]:
        """Copy a backup to where the wallet of a name has its file; returns what takes that back.

        Raises WalletError.
        """
        directory = self.directory

        def work() -> Callable[[], None]:
            check_backup(backup)
            return place_backup(free_path(directory, name), backup)

        return await self.in_thread(work)

    async def drop(self, store: WalletStore) -> None:
        """Close a file that no wallet has."""

        def work() -> None:
            self._paths.discard(store.path.resolve())
            store.close()

        await self.in_thread(work)

    def keep(self, wallet: Wallet, store: WalletStore) -> None:
        """This is the wallet's file from now on."""
        self._kept[wallet] = _Open(store, asyncio.Lock())

    def has(self, wallet: Wallet) -> bool:
        """Whether it has its file."""
        return wallet in self._kept

    async def let_go(self, wallet: Wallet) -> None:
        """Close a wallet's file, where it has one; nothing is written."""
        kept = self._kept.pop(wallet, None)
        if kept is not None:
            await self.drop(kept.store)

    # -- writing -------------------------------------------------------------------------------------------------

    async def save(self, wallet: Wallet) -> None:
        """Whatever has changed in a wallet is on disk when this returns; raises StorageError.

        So it does for a wallet that was unloaded meanwhile, also when another one of its name was loaded.
        """
        kept = self._kept.get(wallet)
        if kept is None:
            if len(wallet.journal):
                raise _gone(wallet)
            return
        async with kept.turn:
            if not len(wallet.journal):
                return
            if wallet not in self._kept:
                raise _gone(wallet)
            changes = wallet.journal.take()
            try:
                await self.in_thread(partial(kept.store.write, changes))
            except BaseException:
                wallet.journal.give_back(changes)
                raise

    def save_soon(self, wallet: Wallet) -> None:
        """Have changes written that nobody waits for."""
        if len(wallet.journal) and wallet not in self._saving:
            self._saving.add(wallet)
            self._tasks.run(self._save_quietly(wallet))

    async def _save_quietly(self, wallet: Wallet) -> None:
        try:
            while len(wallet.journal) and wallet in self._kept:
                await self.save(wallet)
        except StorageError as error:  # whoever asks next gets the error, and it is tried again
            log.error("%s", error)
        finally:
            self._saving.discard(wallet)

    async def rewrite(self, wallet: Wallet) -> None:
        """Save a wallet and write its file anew, so that nothing is left of what was deleted; raises StorageError.

        Where only the latter fails, as that takes room, it is in the log: what was deleted is zero bytes already.
        """
        await self.save(wallet)
        kept = self._kept.get(wallet)
        if kept is None:
            raise _gone(wallet)
        try:
            await self.in_thread(kept.store.rewrite)
        except StorageError as error:
            log.error("%s", error)

    async def backup(self, wallet: Wallet, target: Path) -> None:
        """Save a wallet and copy its file; raises StorageError."""
        await self.save(wallet)
        kept = self._kept.get(wallet)
        if kept is None:
            raise _gone(wallet)
        await self.in_thread(partial(kept.store.backup, target))


def _gone(wallet: Wallet) -> StorageError:
    return StorageError(f"wallet {wallet.shown_name} is not loaded any more: nothing was changed")
