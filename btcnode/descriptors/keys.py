"""Key expressions: a fixed key, an extended key with a path, an aggregate, each perhaps with an origin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from enum import Enum

from btcnode.descriptors.bip32 import (
    HARDENED,
    ExtendedKey,
    ExtendedSecret,
    KeyOrigin,
    musig_extended,
    path_text,
)
from btcnode.descriptors.curve import musig_aggregate
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import secret_encode
from btcnode.primitives.hashes import hash160


class Derivation(Enum):
    """What stands behind the path of an extended key."""

    FIXED = ""
    RANGED = "/*"
    HARDENED_RANGED = "/*h"


class KeyExpression(ABC):
    """One key of a descriptor, or one for each position of a range."""

    __slots__ = ()

    @property
    def size(self) -> int:
        """Bytes of its public keys in a script."""
        return 33

    @property
    def is_range(self) -> bool:
        """Whether it stands for a key at each position."""
        return False

    @property
    def is_extended(self) -> bool:
        """Whether it derives from an extended key."""
        return False

    @abstractmethod
    def derive(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> bytes | None:
        """The public key at a position; adds it and its origin to ``out``. None when a private key is needed for it."""

    @abstractmethod
    def text(self) -> str:
        """As it stands in a descriptor, public keys only."""

    @abstractmethod
    def private_text(self, secrets: SigningProvider) -> tuple[str, bool]:
        """With the private keys that ``secrets`` has, and whether there was one."""

    @abstractmethod
    def add_secret(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> None:
        """Add the private key at a position to ``out``, as far as ``secrets`` has what it derives from."""

    def normalized_text(self, secrets: SigningProvider) -> str:
        """As it stands in a descriptor whose public keys can be derived by everybody (see ``Descriptor``)."""
        return self.text()

    def extended_keys(self) -> Iterator[ExtendedKeyExpression]:
        """Those that are in it, in the order of the text."""
        yield from ()

    @property
    def key_count(self) -> int:
        """Keys it stands for."""
        return 1


class FixedKey(KeyExpression):
    """A public key in hex (or from a private one); with ``xonly`` only its X is written and matters."""

    __slots__ = ("params", "pubkey", "xonly")

    def __init__(self, pubkey: bytes, params: NetworkParams, *, xonly: bool = False) -> None:
        self.pubkey = pubkey
        self.params = params
        self.xonly = xonly

    @property
    def size(self) -> int:
        """Bytes of the key in a script."""
        return len(self.pubkey)

    def derive(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> bytes:
        """See ``KeyExpression``."""
        key_id = hash160(self.pubkey)
        out.origins.setdefault(key_id, (self.pubkey, KeyOrigin(key_id[:4])))
        out.pubkeys.setdefault(key_id, self.pubkey)
        return self.pubkey

    def text(self) -> str:
        """See ``KeyExpression``."""
        return self.pubkey[self.xonly :].hex()

    def _secret(self, secrets: SigningProvider) -> Secret | None:
        return secrets.secret_of_xonly(self.pubkey[1:]) if self.xonly else secrets.secret(hash160(self.pubkey))

    def private_text(self, secrets: SigningProvider) -> tuple[str, bool]:
        """See ``KeyExpression``."""
        secret = self._secret(secrets)
        return (secret_encode(*secret, self.params), True) if secret else (self.text(), False)

    def add_secret(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> None:
        """See ``KeyExpression``."""
        secret = self._secret(secrets)
        if secret is not None:
            out.add_secret(secret)


class ExtendedKeyExpression(KeyExpression):
    """An extended key, the path from it, and whether a range of children follows."""

    __slots__ = ("_hardened", "_parent", "apostrophe", "children", "derivation", "params", "path", "root")

    is_extended = True

    def __init__(
        self, root: ExtendedKey, path: tuple[int, ...], derivation: Derivation, params: NetworkParams, apostrophe: bool
    ) -> None:
        self.root = root
        self.path = path
        self.derivation = derivation
        self.params = params
        self.apostrophe = apostrophe
        self.children: dict[int, ExtendedKey] = {}  # by position: hardened ones that were derived or remembered
        self._hardened: ExtendedKey | None = None
        self._parent: ExtendedKey | None = None

    @property
    def is_range(self) -> bool:
        """Whether it is a key for each position."""
        return self.derivation is not Derivation.FIXED

    def extended_keys(self) -> Iterator[ExtendedKeyExpression]:
        """See ``KeyExpression``."""
        yield self

    @property
    def hardened_steps(self) -> int:
        """Steps of the path up to the last hardened one."""
        return next((n for n in range(len(self.path), 0, -1) if self.path[n - 1] & HARDENED), 0)

    @property
    def hardened_key(self) -> ExtendedKey | None:
        """The key at the last hardened step of the path, once it was derived: what is derived from it is public."""
        return self._hardened

    def remember(self, pos: int, key: ExtendedKey) -> None:
        """Take over a key that was derived before: at a position, or (-1) at the last hardened step of the path."""
        if pos < 0:
            self._hardened = key
        else:
            self.children[pos] = key

    def _last_steps(self, pos: int) -> tuple[int, ...]:
        if self.derivation is Derivation.FIXED:
            return ()
        return (pos | HARDENED if self.derivation is Derivation.HARDENED_RANGED else pos,)

    def _derived_secret(self, pos: int, secrets: SigningProvider) -> ExtendedSecret | None:
        """The private key at a position."""
        key = self._root_secret(secrets)
        for step in self.path + self._last_steps(pos):
            key = key.derive(step) if key is not None else None
        return key

    def _root_secret(self, secrets: SigningProvider) -> ExtendedSecret | None:
        root, secret = self.root, secrets.secret(self.root.id)
        if secret is None:
            return None
        return ExtendedSecret(root.depth, root.parent, root.child, root.chain_code, secret.secret)

    def derive(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> bytes | None:
        """See ``KeyExpression``."""
        if self.derivation is Derivation.HARDENED_RANGED:
            final = self.children.get(pos)
            if final is None:
                secret = self._derived_secret(pos, secrets)
                final = secret.public() if secret else None
                if final is not None:
                    self.children[pos] = final
        else:
            final = self._public_parent(secrets)
            if final is not None and self.derivation is Derivation.RANGED:
                final = final.derive(pos)
        if final is None:
            return None
        key_id = final.id
        origin = KeyOrigin(self.root.id[:4], self.path + self._last_steps(pos))
        out.origins.setdefault(key_id, (final.pubkey, origin))
        out.pubkeys.setdefault(key_id, final.pubkey)
        return final.pubkey

    def _public_parent(self, secrets: SigningProvider) -> ExtendedKey | None:
        """The key at the end of the path, kept: a range asks for it at every position."""
        if self._parent is None:
            key = self._hardened_parent(secrets)
            for step in self.path[self.hardened_steps :]:
                key = key.derive(step) if key is not None else None
            self._parent = key
        return self._parent

    def _hardened_parent(self, secrets: SigningProvider) -> ExtendedKey | None:
        """The key at the last hardened step of the path, the root where there is none."""
        steps = self.hardened_steps
        if not steps:
            return self.root
        if self._hardened is None:
            secret = self._root_secret(secrets)
            for step in self.path[:steps]:
                secret = secret.derive(step) if secret is not None else None
            self._hardened = secret.public() if secret is not None else None
        return self._hardened

    def normalized_text(self, secrets: SigningProvider) -> str:
        """See ``KeyExpression``."""
        steps = self.hardened_steps
        if self.derivation is Derivation.HARDENED_RANGED or not steps:
            return self.root.text(self.params) + path_text(self.path) + self.derivation.value
        key = self._hardened_parent(secrets)
        if key is None:
            return self.text()
        origin = f"[{self.root.id[:4].hex()}{path_text(self.path[:steps])}]"
        return origin + key.text(self.params) + path_text(self.path[steps:]) + ("/*" if self.is_range else "")

    def _tail(self) -> str:
        tail = path_text(self.path, apostrophe=self.apostrophe) + self.derivation.value
        return tail[:-1] + "'" if self.apostrophe and self.derivation is Derivation.HARDENED_RANGED else tail

    def text(self) -> str:
        """See ``KeyExpression``."""
        return self.root.text(self.params) + self._tail()

    def private_text(self, secrets: SigningProvider) -> tuple[str, bool]:
        """See ``KeyExpression``."""
        key = self._root_secret(secrets)
        return (self.text(), False) if key is None else (key.text(self.params) + self._tail(), True)

    def add_secret(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> None:
        """See ``KeyExpression``."""
        key = self._derived_secret(pos, secrets)
        if key is not None:
            out.add_secret(Secret(key.secret))


class OriginKey(KeyExpression):
    """A key expression with ``[fingerprint/path]`` before it."""

    __slots__ = ("apostrophe", "inner", "origin")

    def __init__(self, origin: KeyOrigin, inner: KeyExpression, *, apostrophe: bool = False) -> None:
        self.origin = origin
        self.inner = inner
        self.apostrophe = apostrophe

    @property
    def is_range(self) -> bool:
        """Whether it is a key for each position."""
        return self.inner.is_range

    @property
    def size(self) -> int:
        """Bytes of the key."""
        return self.inner.size

    @property
    def is_extended(self) -> bool:
        """Whether it is an extended key."""
        return self.inner.is_extended

    def derive(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> bytes | None:
        """See ``KeyExpression``."""
        pubkey = self.inner.derive(pos, secrets, out)
        if pubkey is None:
            return None
        key_id = hash160(pubkey)
        known = out.origins[key_id][1]
        out.origins[key_id] = (pubkey, KeyOrigin(self.origin.fingerprint, self.origin.path + known.path))
        return pubkey

    def _head(self) -> str:
        return f"[{self.origin.fingerprint.hex()}{path_text(self.origin.path, apostrophe=self.apostrophe)}]"

    def text(self) -> str:
        """See ``KeyExpression``."""
        return self._head() + self.inner.text()

    def private_text(self, secrets: SigningProvider) -> tuple[str, bool]:
        """See ``KeyExpression``."""
        text, found = self.inner.private_text(secrets)
        return self._head() + text, found

    def normalized_text(self, secrets: SigningProvider) -> str:
        """See ``KeyExpression``."""
        text = self.inner.normalized_text(secrets)
        head = f"[{self.origin.fingerprint.hex()}{path_text(self.origin.path)}"
        return head + (text[9:] if text.startswith("[") else f"]{text}")  # one origin, the longer one

    def extended_keys(self) -> Iterator[ExtendedKeyExpression]:
        """See ``KeyExpression``."""
        yield from self.inner.extended_keys()

    def add_secret(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> None:
        """See ``KeyExpression``."""
        self.inner.add_secret(pos, secrets, out)


class AggregateKey(KeyExpression):
    """``musig(...)``: the MuSig2 aggregate of its sorted participants (BIP390), perhaps with derivation (BIP328)."""

    __slots__ = ("_aggregate", "_child", "derivation", "params", "participants", "path")

    size = 32

    def __init__(
        self,
        participants: Sequence[KeyExpression],
        path: tuple[int, ...],
        derivation: Derivation,
        params: NetworkParams,
    ) -> None:
        self.participants = tuple(participants)
        self.path = path
        self.derivation = derivation
        self.params = params
        self._aggregate: bytes | None = None
        self._child: KeyExpression | None = None

    @property
    def _ranged_participants(self) -> bool:
        return any(key.is_range for key in self.participants)

    @property
    def is_range(self) -> bool:
        """Whether it is a key for each position."""
        return self.derivation is not Derivation.FIXED or self._ranged_participants

    @property
    def is_extended(self) -> bool:
        """Whether all participants are extended keys."""
        return all(key.is_extended for key in self.participants)

    @property
    def key_count(self) -> int:
        """The participants and their aggregate."""
        return 1 + len(self.participants)

    def _sorted_keys(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> list[bytes] | None:
        keys = []
        for participant in self.participants:
            key = participant.derive(pos, secrets, out)
            if key is None:
                return None
            keys.append(key)
        return sorted(keys)

    def derive(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> bytes | None:
        """See ``KeyExpression``."""
        keys = self._sorted_keys(pos, secrets, out)
        if keys is None:
            return None
        if self._aggregate is None or self._child is None or self._ranged_participants:
            self._aggregate = musig_aggregate(keys)
            if self._aggregate is None:
                return None
            self._child = FixedKey(self._aggregate, self.params)
            if self.path or self.derivation is not Derivation.FIXED:
                root = musig_extended(self._aggregate)
                self._child = ExtendedKeyExpression(root, self.path, self.derivation, self.params, False)
        pubkey = self._child.derive(pos, SigningProvider(), out)
        if pubkey is not None:
            out.aggregates.setdefault(self._aggregate, keys)
        return pubkey

    def _tail(self) -> str:
        return ")" + path_text(self.path) + self.derivation.value

    def text(self) -> str:
        """See ``KeyExpression``."""
        return "musig(" + ",".join(key.text() for key in self.participants) + self._tail()

    def private_text(self, secrets: SigningProvider) -> tuple[str, bool]:
        """See ``KeyExpression``."""
        parts = [key.private_text(secrets) for key in self.participants]
        return "musig(" + ",".join(text for text, _ in parts) + self._tail(), any(found for _, found in parts)

    def add_secret(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> None:
        """See ``KeyExpression``."""
        for key in self.participants:
            key.add_secret(pos, secrets, out)

    def normalized_text(self, secrets: SigningProvider) -> str:
        """See ``KeyExpression``."""
        return "musig(" + ",".join(key.normalized_text(secrets) for key in self.participants) + self._tail()

    def extended_keys(self) -> Iterator[ExtendedKeyExpression]:
        """See ``KeyExpression``."""
        for key in self.participants:
            yield from key.extended_keys()
