"""Extended keys (BIP32): derivation and the 78 bytes behind xpub and xprv."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha512

from btcnode.descriptors.curve import pubkey_tweak_add, seckey_tweak_add
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import base58check_decode, base58check_encode
from btcnode.primitives.hashes import hash160, sha256
from btcnode.script.encoding import is_compressed_pubkey
from btcnode.script.signatures import CURVE_ORDER, is_valid_pubkey, pubkey_create
from btcnode.tuples import NamedTuple

HARDENED = 1 << 31
MAX_DEPTH = 255
EXTENDED_SIZE = 74  # without the four bytes of the version
MUSIG_CHAIN_CODE = sha256(b"MuSig2MuSig2MuSig2").digest()  # BIP328


def path_text(path: Iterable[int], *, apostrophe: bool = False) -> str:
    """``/44h/0h/1``: a path with its leading slashes; empty for an empty path."""
    mark = "'" if apostrophe else "h"
    return "".join(f"/{step & ~HARDENED}{mark if step & HARDENED else ''}" for step in path)


class KeyOrigin(NamedTuple):
    """Where a key comes from: first four bytes of the hash of the root key, and the path from there."""

    fingerprint: bytes
    path: tuple[int, ...] = ()

    @property
    def order(self) -> tuple[bytes, int, tuple[int, ...]]:
        """Sorts as Core's maps do."""
        return self.fingerprint, len(self.path), self.path


class ExtendedKey(NamedTuple):
    """An extended public key; ``pubkey`` is 33 bytes."""

    depth: int
    parent: bytes
    child: int
    chain_code: bytes
    pubkey: bytes

    @property
    def id(self) -> bytes:
        """HASH160 of the public key."""
        return hash160(self.pubkey)

    def derive(self, step: int) -> ExtendedKey | None:
        """The unhardened child ``step``; None at depth 255 and for the one in 2**127 steps that is no key."""
        derived = self.derive_with_tweak(step)
        return derived[0] if derived else None

    def derive_with_tweak(self, step: int) -> tuple[ExtendedKey, bytes] | None:
        """As ``derive``, with the 32 bytes whose multiple of G was added."""
        if self.depth == MAX_DEPTH:
            return None
        if step & HARDENED:
            raise ValueError("a hardened step needs the private key")
        tweak, chain_code = _child_hash(self.chain_code, self.pubkey, step)
        pubkey = pubkey_tweak_add(self.pubkey, tweak)
        if pubkey is None:
            return None
        return ExtendedKey(self.depth + 1, self.id[:4], step, chain_code, pubkey), tweak

    def encode(self) -> bytes:
        """The 74 bytes that follow the version."""
        head = bytes((self.depth,)) + self.parent + self.child.to_bytes(4, "big")
        return head + self.chain_code + self.pubkey

    def text(self, params: NetworkParams) -> str:
        """``xpub...`` or ``tpub...``."""
        return base58check_encode(params.xpub_prefix + self.encode())


class ExtendedSecret(NamedTuple):
    """An extended private key; ``secret`` is 32 bytes."""

    depth: int
    parent: bytes
    child: int
    chain_code: bytes
    secret: bytes

    def __repr__(self) -> str:
        return "ExtendedSecret(...)"

    @classmethod
    def from_seed(cls, seed: bytes) -> ExtendedSecret:
        """The master key of a seed; raises ValueError for the one in 2**127 that has none."""
        digest = hmac.digest(b"Bitcoin seed", seed, sha512)
        if not 0 < int.from_bytes(digest[:32], "big") < CURVE_ORDER:
            raise ValueError("a seed without a key")
        return cls(0, bytes(4), 0, digest[32:], digest[:32])

    def public(self) -> ExtendedKey:
        """Its public half."""
        return ExtendedKey(self.depth, self.parent, self.child, self.chain_code, pubkey_create(self.secret))

    def derive(self, step: int) -> ExtendedSecret | None:
        """The child ``step`` (hardened when its top bit is set); None at depth 255 and where there is no key."""
        if self.depth == MAX_DEPTH:
            return None
        pubkey = pubkey_create(self.secret)
        tweak, chain_code = _child_hash(self.chain_code, b"\0" + self.secret if step & HARDENED else pubkey, step)
        secret = seckey_tweak_add(self.secret, tweak)
        if secret is None:
            return None
        return ExtendedSecret(self.depth + 1, hash160(pubkey)[:4], step, chain_code, secret)

    def text(self, params: NetworkParams) -> str:
        """``xprv...`` or ``tprv...``."""
        head = bytes((self.depth,)) + self.parent + self.child.to_bytes(4, "big")
        return base58check_encode(params.xprv_prefix + head + self.chain_code + b"\0" + self.secret)


def _child_hash(chain_code: bytes, key: bytes, step: int) -> tuple[bytes, bytes]:
    """Tweak and chain code of a child: HMAC-SHA512 over 33 bytes of key and the step."""
    digest = hmac.digest(chain_code, key + step.to_bytes(4, "big"), sha512)
    return digest[:32], digest[32:]


def decode_extended(raw: bytes) -> ExtendedKey | None:
    """The key in 74 bytes; None when the root claims a parent or the key is not on the curve."""
    depth, parent, child = raw[0], raw[1:5], int.from_bytes(raw[5:9], "big")
    pubkey = raw[41:74]
    if (depth == 0 and (child or any(parent))) or not is_compressed_pubkey(pubkey) or not is_valid_pubkey(pubkey):
        return None
    return ExtendedKey(depth, parent, child, raw[9:41], pubkey)


def _payload(text: str, prefix: bytes) -> bytes | None:
    try:
        data = base58check_decode(text)
    except DecodeError:
        return None
    return data[4:] if len(data) == EXTENDED_SIZE + 4 and data[:4] == prefix else None


def parse_xpub(text: str, params: NetworkParams) -> ExtendedKey | None:
    """An extended public key of the network, None for any other text."""
    raw = _payload(text, params.xpub_prefix)
    return decode_extended(raw) if raw is not None else None


def parse_xprv(text: str, params: NetworkParams) -> ExtendedSecret | None:
    """An extended private key of the network, None for any other text."""
    raw = _payload(text, params.xprv_prefix)
    if raw is None:
        return None
    depth, parent, child, secret = raw[0], raw[1:5], int.from_bytes(raw[5:9], "big"), raw[42:]
    if raw[41] or (depth == 0 and (child or any(parent))) or not 0 < int.from_bytes(secret, "big") < CURVE_ORDER:
        return None
    return ExtendedSecret(depth, parent, child, raw[9:41], secret)


def musig_extended(aggregate: bytes) -> ExtendedKey:
    """The extended key from which children of an aggregate key derive (BIP328)."""
    return ExtendedKey(0, bytes(4), 0, MUSIG_CHAIN_CODE, aggregate)
