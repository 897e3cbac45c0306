"""Keys of loaded wallets: new descriptors, addresses ahead of their use, encryption. Long work is done in a thread."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial

from btcnode.descriptors.bip32 import ExtendedSecret
from btcnode.descriptors.descriptor import Descriptor, OutputType
from btcnode.errors import StorageError
from btcnode.services.wallet_disk import WalletDisk
from btcnode.wallet.descriptor_keys import DescriptorKeys, derive
from btcnode.wallet.errors import Trouble, WalletError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.vault import new_master, open_master, seal_master
from btcnode.wallet.wallet import TYPES, Wallet

FEW_POSITIONS = 50  # that are derived on the loop
PART = 500  # positions that are entered at a time, in some milliseconds
MANY_CHANGES = 20_000  # that are not kept in memory until all are made


class WalletKeys:
    """See the module. Keys themselves, and until when they can be had, are the wallets' own."""

    def __init__(self, disk: WalletDisk) -> None:
        self._disk = disk

    # -- descriptors and addresses -------------------------------------------------------------------------------

    async def set_up_descriptors(self, wallet: Wallet) -> None:
        """Give a wallet, which is unlocked, the usual descriptors below a new seed."""
        await self.add_usual(wallet, ExtendedSecret.from_seed(secrets.token_bytes(32)), internals=(False, True))

    async def add_usual(
        self, wallet: Wallet, master: ExtendedSecret, *, internals: Sequence[bool], kinds: Sequence[OutputType] = ()
    ) -> list[DescriptorKeys]:
        """Give a wallet the usual descriptors below a master key, of these kinds or all; those that it had not."""
        made = []
        for kind, internal in [(kind, internal) for internal in internals for kind in kinds or TYPES]:
            if wallet.usual_keys(master.public(), kind, internal=internal).id not in wallet.descriptors:
                made.append((wallet.make_keys(master, kind, internal=internal), kind, internal))
        for keys, kind, internal in made:
            await self._derive(wallet, keys, wallet.options.keypool)
            wallet.enter_keys(keys, kind, internal=internal)
        return [keys for keys, _, _ in made]

    async def add_foreign(self, wallet: Wallet, descriptor: Descriptor, *, internal: bool) -> None:
        """Give out addresses from a descriptor whose private keys are elsewhere; no more than its kind has to be."""
        kind = descriptor.output_type
        if kind is None:
            return
        keys = DescriptorKeys(descriptor, wallet.journal, created=wallet.now())
        wallet.enter_keys(keys, kind, internal=internal)
        await self.top_up(wallet, only=[keys])

    async def top_up(self, wallet: Wallet, size: int = 0, only: Sequence[DescriptorKeys] | None = None) -> bool:
        """Derive addresses ahead of their use, beside the loop where these are many; whether all could be.

        Raises StorageError: very many are written on the way.
        """
        complete = True
        for keys in wallet.active_keys() if only is None else only:
            complete = await self._derive(wallet, keys, size or wallet.options.keypool) and complete
        return complete

    async def _derive(self, wallet: Wallet, keys: DescriptorKeys, size: int) -> bool:
        """In parts, each derived in a thread and entered on the loop."""
        while positions := keys.missing(size)[:PART]:
            work = partial(derive, keys.descriptor, keys.open_secrets(wallet.vault), positions)
            derived = work() if len(positions) <= FEW_POSITIONS else await asyncio.to_thread(work)
            if derived is None:
                return False
            keys.take(derived)
            if keys.id in wallet.descriptors:
                wallet.register(keys, (script for item in derived for script in item.scripts))
            if len(wallet.journal) > MANY_CHANGES and self._disk.has(wallet):
                await self._disk.save(wallet)
            await asyncio.sleep(0)
        return True

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
            await self.seal(wallet, passphrase)
            if not wallet.has(WalletFlag.BLANK):
                await self.set_up_descriptors(wallet)
            self.lock(wallet)
            try:
                await self._disk.rewrite(wallet)
            except StorageError as error:
                raise StorageError(
                    f"{error}; the wallet is encrypted and locked all the same, and so will its file be with the next"
                    " change that can be written: keep the passphrase"
                ) from None

    async def seal(self, wallet: Wallet, passphrase: str) -> None:
        """Encrypt the keys of a wallet whose turn it is; it is unlocked afterwards."""
        master = new_master()
        record = await asyncio.to_thread(seal_master, master, passphrase)
        wallet.vault.begin(record, master)
        wallet.journal.note("master", 1, *record)
        for keys in wallet.descriptors.values():
            keys.encrypt(wallet.vault)

    async def unlock(self, wallet: Wallet, passphrase: str, seconds: int) -> bool:
        """Unlock an encrypted wallet for a time; False for a wrong passphrase. Raises StorageError."""
        record = wallet.vault.record
        assert record is not None
        master = await asyncio.to_thread(open_master, record, passphrase)
        if master is None:
            return False
        wallet.vault.unlock(master)
        relocking = wallet.relocking
        if relocking.timer is not None:
            relocking.timer.cancel()
        relocking.until = wallet.now() + seconds
        relocking.timer = asyncio.get_running_loop().call_later(seconds, self.lock, wallet)
        await self.top_up(wallet)
        await self._disk.save(wallet)
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
            wallet.journal.note("master", 1, *wallet.vault.record)
            try:
                await self._disk.save(wallet)
            except BaseException:  # whoever is told of an error goes on with the old passphrase
                wallet.vault.record = record
                wallet.journal.note("master", 1, *record)
                raise
            await self._disk.rewrite(wallet)
            return True

    def lock(self, wallet: Wallet) -> None:
        """Forget the keys of an encrypted wallet."""
        wallet.vault.lock()
        relocking = wallet.relocking
        if relocking.timer is not None:
            relocking.timer.cancel()
        relocking.until, relocking.timer = 0, None
