"""What a signer knows: scripts, keys and their origins, taproot trees, participants of aggregate keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from btcnode.descriptors.bip32 import KeyOrigin
from btcnode.descriptors.taproot import SpendData, TaprootTree
from btcnode.primitives.hashes import hash160
from btcnode.script.signatures import pubkey_create


class Secret(NamedTuple):
    """A private key, and whether its public key is compressed."""

    secret: bytes
    compressed: bool = True

    def __repr__(self) -> str:
        return "Secret(...)"

    @property
    def pubkey(self) -> bytes:
        """The serialised public key."""
        return pubkey_create(self.secret, compressed=self.compressed)


class SigningProvider:
    """Tables by HASH160 of script or public key.

    ``trees`` go by output key, ``aggregates`` from a MuSig2 key to its participants. With ``hide_secrets`` and
    ``hide_origins`` the keys and where they come from are there but not told. ``entropy`` gives random bytes for
    MuSig2 nonces; without it none are made.
    """

    __slots__ = (
        "aggregates", "entropy", "hide_origins", "hide_secrets", "origins", "pubkeys", "scripts", "secrets", "trees",
    )  # fmt: skip

    def __init__(self, entropy: Callable[[int], bytes] | None = None) -> None:
        self.scripts: dict[bytes, bytes] = {}
        self.pubkeys: dict[bytes, bytes] = {}
        self.origins: dict[bytes, tuple[bytes, KeyOrigin]] = {}
        self.secrets: dict[bytes, Secret] = {}
        self.trees: dict[bytes, TaprootTree] = {}
        self.aggregates: dict[bytes, list[bytes]] = {}
        self.hide_secrets = False
        self.hide_origins = False
        self.entropy = entropy

    def add_script(self, script: bytes) -> None:
        """Remember a redeem or witness script."""
        self.scripts.setdefault(hash160(script), script)

    def add_secret(self, secret: Secret) -> None:
        """Remember a private key."""
        self.secrets.setdefault(hash160(secret.pubkey), secret)

    def add_pubkey(self, pubkey: bytes) -> None:
        """Remember a public key."""
        self.pubkeys.setdefault(hash160(pubkey), pubkey)

    def script(self, script_id: bytes) -> bytes | None:
        """The script with this HASH160."""
        return self.scripts.get(script_id)

    def pubkey(self, key_id: bytes) -> bytes | None:
        """The public key with this HASH160."""
        return self.pubkeys.get(key_id)

    def origin(self, key_id: bytes) -> KeyOrigin | None:
        """Where the key comes from."""
        found = None if self.hide_origins else self.origins.get(key_id)
        return found[1] if found else None

    def secret(self, key_id: bytes) -> Secret | None:
        """The private key for the public key with this HASH160."""
        return None if self.hide_secrets else self.secrets.get(key_id)

    def origin_of_xonly(self, key: bytes) -> KeyOrigin | None:
        """Where a key comes from of which only X is known."""
        return self.origin(hash160(b"\x02" + key)) or self.origin(hash160(b"\x03" + key))

    def secret_of_xonly(self, key: bytes) -> Secret | None:
        """The private key for a public key of which only X is known."""
        return self.secret(hash160(b"\x02" + key)) or self.secret(hash160(b"\x03" + key))

    def spend_data(self, output_key: bytes) -> SpendData | None:
        """How a taproot output can be spent."""
        tree = self.trees.get(output_key)
        return tree.spend_data() if tree else None

    def merge(self, other: SigningProvider) -> None:
        """Take over what this one does not have."""
        for mine, theirs in (
            (self.scripts, other.scripts),
            (self.pubkeys, other.pubkeys),
        ):
            for key, value in theirs.items():
                mine.setdefault(key, value)
        for key, origin in other.origins.items():
            self.origins.setdefault(key, origin)
        for key, secret in other.secrets.items():
            self.secrets.setdefault(key, secret)
        for key, tree in other.trees.items():
            self.trees.setdefault(key, tree)
        for key, participants in other.aggregates.items():
            self.aggregates.setdefault(key, participants)


NOTHING_KNOWN = SigningProvider()
"""For looking at what a script or transaction tells by itself; never add to it."""
