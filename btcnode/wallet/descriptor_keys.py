"""One descriptor of a wallet: the scripts it has made so far, what is next, and the private keys behind it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

from btcnode.descriptors.bip32 import ExtendedKey, decode_extended
from btcnode.descriptors.descriptor import ComboDescriptor, Descriptor
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.errors import CorruptionError
from btcnode.primitives.compactsize import compact_size, read_compact_size
from btcnode.primitives.hashes import hash160, sha256
from btcnode.wallet.journal import Journal
from btcnode.wallet.vault import Vault

MAX_PROVIDERS = 2_000  # that are kept: some 3 kB each


class Derived(NamedTuple):
    """The scripts of one position, and the public keys in them."""

    pos: int
    scripts: list[bytes]
    pubkeys: list[bytes]


def descriptor_id(descriptor: Descriptor) -> bytes:
    """32 bytes that are the same however hardened steps are marked."""
    return sha256(descriptor.body().replace("'", "h").encode()).digest()


def derive(descriptor: Descriptor, secrets: SigningProvider, positions: Iterable[int]) -> list[Derived] | None:
    """The scripts at these positions; None where private keys are missing. Takes some 50 us each."""
    found = []
    for pos in positions:
        provider = SigningProvider()
        scripts = descriptor.expand(pos, secrets, provider)
        if scripts is None:
            return None
        found.append(Derived(pos, scripts, list(provider.pubkeys.values())))
    return found


class DescriptorKeys:
    """``next_index`` is the next position to give out, ``end`` the one behind the last that scripts are known of.

    ``secrets`` by HASH160 of the public key, ``sealed`` the same encrypted, with the public key.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        journal: Journal,
        *,
        created: int,
        start: int = 0,
        end: int = 0,
        next_index: int = 0,
    ) -> None:
        self.descriptor = descriptor
        self.id = descriptor_id(descriptor)
        self.created = created
        self.start = start
        self.end = end
        self.next_index = next_index
        self.positions: dict[bytes, int] = {}  # by script
        self.secrets: dict[bytes, Secret] = {}
        self.sealed: dict[bytes, tuple[bytes, bytes]] = {}
        self._pubkeys: dict[bytes, int] = {}
        self._first_scripts: dict[int, bytes] = {}
        self._derived = start  # positions up to here are derived
        self._providers: dict[int, SigningProvider] = {}
        self._journal = journal
        self._remembered: set[tuple[int, int]] = set()

    def __repr__(self) -> str:
        return f"<DescriptorKeys {self.id.hex()[:8]} {self.start}..{self.end}>"

    # -- what it is

    @property
    def is_range(self) -> bool:
        """Whether there are as many scripts as wanted."""
        return self.descriptor.is_range

    @property
    def is_single_type(self) -> bool:
        """Whether each position has one address."""
        return not isinstance(self.descriptor, ComboDescriptor)

    @property
    def has_private_keys(self) -> bool:
        """Whether there are private keys, locked or not."""
        return bool(self.secrets or self.sealed)

    @property
    def can_give_addresses(self) -> bool:
        """Whether there is an address to give out, or one may be derived."""
        left = self.next_index < self.end
        return self.is_single_type and self.is_range and (self.has_private_keys or left)

    @property
    def pool_size(self) -> int:
        """Addresses that were derived and not given out."""
        return self.end - self.next_index

    def has_secret(self, key_id: bytes) -> bool:
        """Whether the private key for the public key with this HASH160 is here, locked or not."""
        return key_id in self.secrets or key_id in self.sealed

    # -- private keys

    def open_secrets(self, vault: Vault) -> SigningProvider:
        """The private keys, none of them while the vault is locked."""
        provider = SigningProvider()
        provider.secrets = self.all_secrets(vault)
        return provider

    def all_secrets(self, vault: Vault) -> dict[bytes, Secret]:
        """The private keys by HASH160 of their public keys, none while the vault is locked."""
        if not vault.is_encrypted:
            return dict(self.secrets)
        if vault.is_locked:
            return {}
        return {key_id: self._open(vault, pubkey, sealed) for key_id, (pubkey, sealed) in self.sealed.items()}

    def _open(self, vault: Vault, pubkey: bytes, sealed: bytes) -> Secret:
        plain = vault.open(sealed, self.id + pubkey)
        return Secret(plain[:32], plain[32:] == b"\x01")

    def add_secret(self, secret: Secret, vault: Vault) -> None:
        """Keep a private key; raises WalletLockedError."""
        pubkey = secret.pubkey
        key_id = hash160(pubkey)
        if self.has_secret(key_id):
            return
        if vault.is_encrypted:
            self._seal(key_id, pubkey, secret, vault)
        else:
            self.secrets[key_id] = secret
            self._journal.note("key", self.id, pubkey, _plain(secret), 0)

    def encrypt(self, vault: Vault) -> None:
        """Seal all private keys; the vault is unlocked."""
        for key_id, secret in self.secrets.items():
            self._seal(key_id, secret.pubkey, secret, vault)
        self.secrets = {}

    def _seal(self, key_id: bytes, pubkey: bytes, secret: Secret, vault: Vault) -> None:
        sealed = vault.seal(_plain(secret), self.id + pubkey)
        self.sealed[key_id] = (pubkey, sealed)
        self._journal.note("key", self.id, pubkey, sealed, 1)

    def load_key(self, pubkey: bytes, data: bytes, *, sealed: bool) -> None:
        """A private key that is on disk; raises CorruptionError."""
        if sealed:
            self.sealed[hash160(pubkey)] = (pubkey, data)
            return
        secret = Secret(data[:32], data[32:] == b"\x01")
        if len(data) != 33 or secret.pubkey != pubkey:
            raise CorruptionError("a private key of the wallet is damaged")
        self.secrets[hash160(pubkey)] = secret

    # -- scripts

    def missing(self, pool_size: int) -> range:
        """The positions that are to be derived, so that ``pool_size`` addresses are not given out yet."""
        if not self.is_range:
            self.start, self.end = 0, 1
            return range(self._derived, 1)
        return range(self._derived, max(self.next_index + pool_size, self.end))

    def take(self, derived: Iterable[Derived]) -> None:
        """Positions that ``derive`` has made, in order: they are kept from now on."""
        for item in derived:
            self._enter(item)
            self._journal.note("position", self.id, item.pos, _packed(item.scripts), _packed(item.pubkeys))
        self.end = max(self.end, self._derived)
        self._note_derived_keys()
        self.note()

    def load_position(self, pos: int, scripts: bytes, pubkeys: bytes) -> None:
        """A position that is on disk; raises CorruptionError."""
        try:
            self._enter(Derived(pos, _unpacked(scripts), _unpacked(pubkeys)))
        except (IndexError, ValueError) as error:
            raise CorruptionError(f"scripts of the wallet are damaged: {error}") from None

    def _enter(self, item: Derived) -> None:
        pos, scripts, pubkeys = item
        for script in scripts:
            self.positions[script] = pos
        if scripts:
            self._first_scripts[pos] = scripts[0]
        for pubkey in pubkeys:
            self._pubkeys.setdefault(pubkey, pos)
        self._derived = max(self._derived, pos + 1)

    def load_derived_key(self, number: int, pos: int, key: bytes) -> None:
        """A key that was derived behind hardened steps and is on disk; raises CorruptionError."""
        keys, found = list(self.descriptor.extended_keys()), decode_extended(key)
        if found is None or not 0 <= number < len(keys):
            raise CorruptionError("a public key of the wallet is damaged")
        keys[number].remember(pos, found)
        self._remembered.add((number, pos))

    def _note_derived_keys(self) -> None:
        """Public keys that cannot be derived again while the wallet is locked."""
        for number, key in enumerate(self.descriptor.extended_keys()):
            found: dict[int, ExtendedKey] = dict(key.children)
            if key.hardened_key is not None:
                found[-1] = key.hardened_key
            for pos, extended in found.items():
                if (number, pos) not in self._remembered:
                    self._remembered.add((number, pos))
                    self._journal.note("derived_key", self.id, number, pos, extended.encode())

    def note(self) -> None:
        """Have the descriptor and its positions written."""
        self._journal.note("descriptor", self.id, self._text, self.created, self.start, self.end, self.next_index)

    @cached_property
    def _text(self) -> str:
        """The descriptor with its checksum, which takes half a millisecond."""
        return self.descriptor.text()

    def script_at(self, pos: int) -> bytes | None:
        """The (first) script at a position, where it is derived."""
        return self._first_scripts.get(pos)

    def makes(self, pos: int, secrets: SigningProvider) -> bool:
        """Whether the keys make the scripts that are known of a position, which were read from disk perhaps."""
        found = self.descriptor.expand(pos, secrets, SigningProvider())
        if not found or found[0] != self._first_scripts.get(pos):
            return False
        return all(self.positions.get(script) == pos for script in found)

    def update(self, *, created: int, start: int, end: int, next_index: int) -> None:
        """Take the range of another import of the same descriptor."""
        if start < self.start:
            self._derived = start
        self.created, self.start, self.end, self.next_index = created, start, end, next_index

    # -- providers

    def provider_at(self, pos: int, secrets: SigningProvider | None = None) -> SigningProvider:
        """What is known of a position's scripts, with the private keys that ``secrets`` leads to."""
        known = self._providers.get(pos)
        if known is None:
            known = SigningProvider()
            self.descriptor.expand(pos, secrets or SigningProvider(), known)
            if len(self._providers) >= MAX_PROVIDERS:
                self._providers.clear()
            self._providers[pos] = known
        provider = SigningProvider()
        provider.merge(known)
        if secrets is not None:
            self.descriptor.add_secrets(pos, secrets, provider)
        return provider

    def provider(self, script: bytes, secrets: SigningProvider | None = None) -> SigningProvider | None:
        """What is known of a script, None for one that is not this descriptor's."""
        pos = self.positions.get(script)
        return None if pos is None else self.provider_at(pos, secrets)

    def knows_key(self, pubkey: bytes) -> bool:
        """Whether a public key stands in one of the scripts."""
        return pubkey in self._pubkeys

    def provider_of_key(self, pubkey: bytes, secrets: SigningProvider) -> SigningProvider | None:
        """What is known of a public key, None unless its private key can be had."""
        pos = self._pubkeys.get(pubkey)
        if pos is None:
            return None
        provider = self.provider_at(pos, secrets)
        return provider if provider.secret(hash160(pubkey)) is not None else None


def _plain(secret: Secret) -> bytes:
    return secret.secret + (b"\x01" if secret.compressed else b"\x00")


def _packed(items: Iterable[bytes]) -> bytes:
    return b"".join(compact_size(len(item)) + item for item in items)


def _unpacked(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        size, at = read_compact_size(data, at)
        if at + size > len(data):
            raise ValueError("truncated")
        found.append(data[at : at + size])
        at += size
    return found
