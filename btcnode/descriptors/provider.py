"""What a signer knows: scripts, keys and their origins, taproot trees, participants of aggregate keys."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from btcnode.descriptors.bip32 import KeyOrigin
from btcnode.descriptors.taproot import SpendData, TaprootTree
from btcnode.primitives.hashes import hash160
from btcnode.script.signatures import pubkey_create
from btcnode.tuples import NamedTuple

MAX_NONCES = 10_000  # of 132 bytes


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


class SecretNonces:
    """The secret halves of MuSig2 nonces that were given out, in memory only. Each is used once, for what it was made.

    ``entropy`` gives random bytes. Of more than ``MAX_NONCES`` the oldest are forgotten: a signer may ask anew.
    """

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self.entropy = entropy
        # signing goes on in several threads: each step is one call of this
        self._kept: OrderedDict[tuple[bytes, bytes, bytes], Any] = OrderedDict()

    def keep(self, participant: bytes, digest: bytes, pubnonce: bytes, secnonce: Any) -> None:
        """Remember what belongs to the public nonce of a participant for a message."""
        self._kept[participant, digest, pubnonce] = secnonce
        if len(self._kept) > MAX_NONCES:
            self._kept.popitem(last=False)

    def take(self, participant: bytes, digest: bytes, pubnonce: bytes) -> Any:
        """The secret half, which is forgotten by this; None where it is not known (any more)."""
        return self._kept.pop((participant, digest, pubnonce), None)


class SigningProvider:
    """Tables by HASH160 of script or public key.

    ``trees`` go by output key, ``aggregates`` from a MuSig2 key to its participants. With ``hide_secrets`` and
    ``hide_origins`` the keys and where they come from are there but not told. ``nonces`` keeps those of MuSig2; without
    it none are made.
    """

    __slots__ = (
        "aggregates", "hide_origins", "hide_secrets", "nonces", "origins", "pubkeys", "scripts", "secrets", "trees",
    )  # fmt: skip

    def __init__(self, nonces: SecretNonces | None = None) -> None:
        self.scripts: dict[bytes, bytes] = {}
        self.pubkeys: dict[bytes, bytes] = {}
        self.origins: dict[bytes, tuple[bytes, KeyOrigin]] = {}
        self.secrets: dict[bytes, Secret] = {}
        self.trees: dict[bytes, TaprootTree] = {}
        self.aggregates: dict[bytes, list[bytes]] = {}
        self.hide_secrets = False
        self.hide_origins = False
        self.nonces = nonces

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
