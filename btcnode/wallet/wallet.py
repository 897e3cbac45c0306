"""A wallet: its descriptors, keys, address book and ledger. It lives in memory; what changes is noted in its journal.

Belongs to the loop thread. Methods answer at once; what is noted is durable once ``save`` of its file has returned,
which is for who answers a user (``services/wallets.py``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import urandom
from typing import NamedTuple, Protocol

from btcnode.descriptors.bip32 import ExtendedKey, ExtendedSecret
from btcnode.descriptors.descriptor import Descriptor, OutputType
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import Secret, SecretNonces, SigningProvider
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.coin import txout_script
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx
from btcnode.settings.groups.wallet import WalletSettings
from btcnode.wallet.book import RECEIVE, AddressBook
from btcnode.wallet.coins import CoinView
from btcnode.wallet.descriptor_keys import DescriptorKeys, derive, descriptor_id
from btcnode.wallet.errors import Trouble, WalletError, WalletLockedError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.journal import Journal
from btcnode.wallet.ledger import Ledger
from btcnode.wallet.states import WalletTx
from btcnode.wallet.vault import SealedMaster, Vault

log = logging.getLogger("btcnode.wallet")

UNKNOWN_TIME = (1 << 63) - 1
NO_KEYS = "Error: Keypool ran out, please call keypoolrefill first"
TYPES = tuple(OutputType)
_PATHS = {
    OutputType.LEGACY: ("pkh(", "44h", ")"),
    OutputType.P2SH_SEGWIT: ("sh(wpkh(", "49h", "))"),
    OutputType.BECH32: ("wpkh(", "84h", ")"),
    OutputType.BECH32M: ("tr(", "86h", ")"),
}


class Surroundings(Protocol):
    """What a wallet asks of the node."""

    def now(self) -> int:
        """Unix time in whole seconds."""

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        """Time of a block, and the latest time up to it; None for an unknown one."""

    def in_pool(self, txid: bytes) -> bool:
        """Whether the mempool has a transaction."""

    def ancestors(self, txid: bytes) -> int:
        """Ancestors of a transaction in the mempool, itself included; 0 where it is not there."""

    def changed(self, wallet: Wallet, entry: WalletTx) -> None:
        """A transaction was entered into the wallet, or again."""


@dataclass(slots=True)
class Scan:
    """A walk over the chain for a wallet's transactions; one at a time. ``began`` is monotonic."""

    running: bool = False
    aborting: bool = False
    needs_passphrase: bool = False
    began: float = 0.0
    progress: float = 0.0


class Reserved(NamedTuple):
    """An address for change that was taken and may be given back."""

    keys: DescriptorKeys
    pos: int
    script: bytes


@dataclass(slots=True)
class Relocking:
    """Until when (Unix time) the wallet is unlocked, 0 while it is locked."""

    until: int = 0
    timer: asyncio.TimerHandle | None = field(default=None, repr=False)


class OpenedSecrets:
    """The private keys of descriptors for one piece of work, opened once: of an encrypted wallet that takes a while.

    A wallet that is locked meanwhile does not take back what was opened.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._opened: dict[bytes, SigningProvider] = {}

    def of(self, keys: DescriptorKeys) -> SigningProvider:
        """Those of a descriptor, none while the wallet is locked."""
        if keys.id not in self._opened:
            self._opened[keys.id] = keys.open_secrets(self._vault)
        return self._opened[keys.id]


class Wallet:
    """See the module. ``scripts`` has for each script_pubkey the descriptors that make it."""

    def __init__(
        self,
        name: str,
        params: NetworkParams,
        options: WalletSettings,
        node: Surroundings,
        flags: WalletFlag,
        record: SealedMaster | None = None,
    ) -> None:
        self.name = name
        self.params = params
        self.options = options
        self.flags = flags
        self.journal = Journal()
        self.vault = Vault(record)
        self.scripts: dict[bytes, list[DescriptorKeys]] = {}
        self.descriptors: dict[bytes, DescriptorKeys] = {}
        self.active: dict[tuple[OutputType, bool], DescriptorKeys] = {}
        self.book = AddressBook(self.journal)
        self.ledger = Ledger(self, self.journal, name)
        self.coins = CoinView(
            self.ledger,
            spend_unconfirmed=options.spendzeroconfchange,
            is_used=self.is_used,
            ancestors=node.ancestors,
        )
        self.birth_time = UNKNOWN_TIME
        self.scan = Scan()
        self.relocking = Relocking()
        self.nonces = SecretNonces(urandom)  # of MuSig2, until they are used
        self.short: dict[bytes, DescriptorKeys] = {}  # by id, those that were paid to and lack addresses since
        self.lag = 0  # addresses that may be missing for a moment: who follows the chain has them derived in a thread
        self.turn = asyncio.Lock()  # of whoever makes transactions or imports, over what it waits for
        self._node = node

    def __repr__(self) -> str:
        return f"<Wallet {self.name!r}>"

    @property
    def shown_name(self) -> str:
        """The name in the log."""
        return self.name or "default wallet"

    # -- what the ledger asks ------------------------------------------------------------------------------------

    def now(self) -> int:
        """Unix time in whole seconds."""
        return self._node.now()

    def block_times(self, block_hash: bytes) -> tuple[int, int] | None:
        """See ``Owner``."""
        return self._node.block_times(block_hash)

    def in_pool(self, txid: bytes) -> bool:
        """See ``Owner``."""
        return self._node.in_pool(txid)

    def changed(self, entry: WalletTx) -> None:
        """See ``Owner``."""
        self.birth_time = min(self.birth_time, entry.time)
        self._node.changed(self, entry)

    def receiving(self, tx: Tx) -> None:
        """Addresses that are paid to are used now, and those before them; new ones take their place in the pool."""
        for txout in tx.txouts:
            script = txout_script(txout)
            for keys in self.scripts.get(script, ()):
                self._use_up_to(keys, keys.positions[script])

    def _use_up_to(self, keys: DescriptorKeys, pos: int) -> None:
        given = range(keys.next_index, pos + 1)
        if given:
            keys.next_index = pos + 1
            keys.note()
        internal = self.is_internal(keys)
        for number in given:
            script = keys.script_at(number)
            if internal is False and script is not None and self.book.find(script) is None:
                self.book.set(script, "", RECEIVE)
        missing = len(keys.missing(self.options.keypool))
        if missing > self.lag:
            self.top_up(keys)
        elif missing:
            self.short[keys.id] = keys

    def spending(self, tx: Tx) -> None:
        """With the flag avoid_reuse remember which addresses were spent from."""
        if not self.has(WalletFlag.AVOID_REUSE):
            return
        for prevout in tx.prevouts:
            entry = self.ledger.transactions.get(prevout[:32])
            vout = int.from_bytes(prevout[32:], "little")
            if entry is None or vout >= len(entry.tx.txouts):
                continue
            script = txout_script(entry.tx.txouts[vout])
            if script in self.scripts and self.address(script) is not None:
                self.book.mark_used(script)

    def is_used(self, script: bytes) -> bool:
        """Whether the wallet has spent from a script (known with the flag avoid_reuse only)."""
        return self.book.is_used(script)

    # -- flags ---------------------------------------------------------------------------------------------------

    def has(self, flag: WalletFlag) -> bool:
        """Whether a flag is set."""
        return bool(self.flags & flag)

    def set_flag(self, flag: WalletFlag, *, on: bool) -> None:
        """Set a flag, or take it away."""
        self.flags = self.flags | flag if on else self.flags & ~flag
        self.journal.note("meta", "flags", int(self.flags))

    @property
    def is_locked(self) -> bool:
        """Whether private keys need the passphrase first."""
        return self.vault.is_locked

    def check_unlocked(self) -> None:
        """Raise WalletLockedError where private keys need the passphrase first."""
        if self.vault.is_locked:
            raise WalletLockedError

    # -- descriptors ---------------------------------------------------------------------------------------------

    def add_keys(self, keys: DescriptorKeys) -> None:
        """Take in a descriptor that was made or loaded."""
        self.descriptors[keys.id] = keys
        self.birth_time = min(self.birth_time, keys.created)
        self.register(keys, keys.positions)

    def register(self, keys: DescriptorKeys, scripts: Iterable[bytes]) -> None:
        """Scripts of a descriptor are the wallet's from now on."""
        for script in scripts:
            known = self.scripts.setdefault(script, [])
            if keys not in known:
                known.append(keys)

    def activate(self, keys: DescriptorKeys, kind: OutputType, *, internal: bool) -> None:
        """Give out addresses of this kind, or change, from this descriptor from now on."""
        self.active[kind, internal] = keys
        self.journal.note("active", kind.value, int(internal), keys.id)
        if self.active.get((kind, not internal)) is keys:
            self.deactivate(keys, kind, internal=not internal)

    def deactivate(self, keys: DescriptorKeys, kind: OutputType, *, internal: bool) -> None:
        """Take that back, where it is so."""
        if self.active.get((kind, internal)) is keys:
            del self.active[kind, internal]
            self.journal.note("inactive", kind.value, int(internal))

    def active_keys(self) -> list[DescriptorKeys]:
        """The descriptors that addresses are given out from, each once."""
        return list({keys.id: keys for keys in self.active.values()}.values())

    def is_active(self, keys: DescriptorKeys) -> bool:
        """Whether addresses are given out from it."""
        return any(found is keys for found in self.active.values())

    def is_internal(self, keys: DescriptorKeys) -> bool | None:
        """Whether an active descriptor is for change; None for another one."""
        return next((internal for (_, internal), found in self.active.items() if found is keys), None)

    def make_keys(self, master: ExtendedSecret, kind: OutputType, *, internal: bool) -> DescriptorKeys:
        """The usual descriptor of a kind below a master key: a value, not yet the wallet's own."""
        keys = self.usual_keys(master.public(), kind, internal=internal)
        keys.note()  # before its key: changes may be written at any time
        keys.add_secret(Secret(master.secret), self.vault)
        return keys

    def usual_keys(self, root: ExtendedKey, kind: OutputType, *, internal: bool) -> DescriptorKeys:
        """The same without a private key."""
        before, purpose, behind = _PATHS[kind]
        coin = "1h" if self.params.is_test_chain else "0h"
        text = f"{before}{root.text(self.params)}/{purpose}/{coin}/0h/{int(internal)}/*{behind}"
        descriptor = parse_descriptor(text, self.params, SigningProvider())[0]
        return DescriptorKeys(descriptor, self.journal, created=self.now())

    def enter_keys(self, keys: DescriptorKeys, kind: OutputType, *, internal: bool) -> None:
        """Make a descriptor of ``make_keys`` the wallet's own, and give out addresses from it."""
        keys.note()
        self.add_keys(keys)
        self.activate(keys, kind, internal=internal)
        if self.has(WalletFlag.BLANK):
            self.set_flag(WalletFlag.BLANK, on=False)

    def find_descriptor(self, descriptor: Descriptor) -> DescriptorKeys | None:
        """The wallet's own of this text."""
        return self.descriptors.get(descriptor_id(descriptor))

    # -- addresses -----------------------------------------------------------------------------------------------

    def address(self, script: bytes) -> str | None:
        """The address of a script, where it has one."""
        return address_for_script(script, self.params)

    def can_give_addresses(self, *, internal: bool = False) -> bool:
        """Whether there is any address to give out."""
        return any(keys.can_give_addresses for (_, inside), keys in self.active.items() if inside is internal)

    def top_up(self, keys: DescriptorKeys, size: int = 0) -> bool:
        """Derive addresses ahead of their use, here and now; False where private keys are missing for it.

        What an import derives in parts meanwhile is left to that.
        """
        size = size or self.options.keypool
        positions = keys.missing(size)
        if keys.is_range:
            positions = range(positions.start, min(positions.stop, keys.next_index + size))
        if not positions:
            return True
        derived = derive(keys.descriptor, keys.open_secrets(self.vault), positions)
        if derived is None:
            return False
        keys.take(derived)
        self.register(keys, (script for item in derived for script in item.scripts))
        return True

    def _next_script(self, kind: OutputType, *, internal: bool) -> tuple[DescriptorKeys, bytes]:
        keys = self.active.get((kind, internal))
        if keys is None:
            raise WalletError(f"Error: No {kind.value} addresses available.", Trouble.KEYPOOL)
        if not keys.can_give_addresses:
            raise WalletError("No addresses available", Trouble.KEYPOOL)
        self.top_up(keys)
        script = keys.script_at(keys.next_index)
        if script is None or keys.next_index >= keys.end:
            raise WalletError(NO_KEYS, Trouble.KEYPOOL)
        if not keys.makes(keys.next_index, keys.open_secrets(self.vault)):
            log.error(
                "[%s] The keys of %s do not make the script of position %d", self.shown_name, keys, keys.next_index
            )
            raise WalletError("Error: The wallet's file is damaged: its keys do not make the address that stands there")
        keys.next_index += 1
        keys.note()
        return keys, script

    def new_script(self, kind: OutputType, label: str) -> bytes:
        """The script of a new address to be paid to; raises WalletError. Told to nobody before it is saved."""
        _, script = self._next_script(kind, internal=False)
        self.book.set(script, label, RECEIVE)
        return script

    def new_change_script(self, kind: OutputType) -> bytes:
        """The script of a new address for change; raises WalletError."""
        return self._next_script(kind, internal=True)[1]

    def reserve_change(self, kind: OutputType) -> Reserved:
        """An address for change that may be given back; raises WalletError."""
        keys, script = self._next_script(kind, internal=True)
        return Reserved(keys, keys.next_index - 1, script)

    def give_back(self, reserved: Reserved) -> None:
        """Nobody has heard of a reserved address, and no other was taken after it."""
        if reserved.keys.next_index - 1 == reserved.pos:
            reserved.keys.next_index -= 1
            reserved.keys.note()

    @property
    def address_type(self) -> OutputType:
        """The kind of new addresses (-addresstype)."""
        return OutputType(self.options.addresstype)

    @property
    def change_type(self) -> OutputType | None:
        """The kind of addresses for change that the user wants (-changetype)."""
        return OutputType(self.options.changetype) if self.options.changetype is not None else None

    def is_change(self, script: bytes) -> bool:
        """Whether an output is taken for change: it is the wallet's, and nobody was given its address."""
        return script in self.scripts and (self.address(script) is None or self.book.find(script) is None)

    def pool_sizes(self) -> tuple[int, int]:
        """Addresses derived and not given out: to be paid to, and for change."""
        external = sum(keys.pool_size for (_, internal), keys in self.active.items() if not internal)
        return external, sum(keys.pool_size for keys in self.active_keys()) - external

    # -- keys ----------------------------------------------------------------------------------------------------

    def secrets(self) -> Iterator[tuple[DescriptorKeys, Mapping[bytes, Secret]]]:
        """The private keys of each descriptor, as far as the wallet is unlocked."""
        for keys in self.descriptors.values():
            yield keys, keys.all_secrets(self.vault)

    def secret(self, key_id: bytes) -> Secret | None:
        """The private key for the public key with this HASH160, while the wallet is unlocked."""
        for keys in self.descriptors.values():
            if keys.has_secret(key_id):
                found = keys.all_secrets(self.vault).get(key_id)
                if found is not None:
                    return found
        return None

    def solving_provider(self, script: bytes) -> SigningProvider | None:
        """What is known of a script of the wallet's without private keys; None for another one."""
        known = self.scripts.get(script)
        return known[0].provider(script) if known else None

    def signing_provider(self, scripts: Iterable[bytes], opened: OpenedSecrets | None = None) -> Steps[SigningProvider]:
        """What it takes to spend from these scripts, as far as the wallet has it; private keys while it is unlocked.

        In steps, as one script takes a tenth of a millisecond.
        """
        provider, opened = SigningProvider(), opened or OpenedSecrets(self.vault)
        for script in dict.fromkeys(scripts):
            yield
            for keys in self.scripts.get(script, ()):
                found = keys.provider(script, opened.of(keys))
                if found is not None:
                    provider.merge(found)
        return provider

    def provider_of_keys(self, pubkeys: Iterable[bytes], opened: OpenedSecrets) -> SigningProvider:
        """What is known of public keys whose private keys can be had now, whatever script they stand in."""
        provider, wanted = SigningProvider(), list(pubkeys)
        for keys in self.descriptors.values():
            for pubkey in wanted:
                if keys.knows_key(pubkey):
                    found = keys.provider_of_key(pubkey, opened.of(keys))
                    if found is not None:
                        provider.merge(found)
        return provider

    def parents(self, script: bytes) -> list[DescriptorKeys]:
        """The descriptors that make a script."""
        return self.scripts.get(script, [])

    def descriptor_text(self, keys: DescriptorKeys) -> str:
        """A descriptor of the wallet's, public keys only, as others can use it."""
        return keys.descriptor.normalized_text(keys.open_secrets(self.vault))
