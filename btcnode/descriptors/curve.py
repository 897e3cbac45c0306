"""Arithmetic on keys that verification has no need of: tweaks, recoverable signatures, MuSig2 (BIP327).

Through a low-level binding of libsecp256k1, as ``script/signatures.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from btcnode.libsecp256k1 import COMPRESSED, CONTEXT_NONE, ffi, lib
from btcnode.tuples import NamedTuple

_NULL = ffi.NULL
_new = ffi.new
_VERIFY = lib.secp256k1_context_static
_SIGN = lib.secp256k1_context_create(CONTEXT_NONE)

PUBNONCE_SIZE = 66
Tweak = tuple[bytes, bool]
"""32 bytes, and whether the key is taken as x-only before it is added."""


def _parse(pubkey: bytes) -> Any:
    point = _new("secp256k1_pubkey *")
    if not lib.secp256k1_ec_pubkey_parse(_VERIFY, point, pubkey, len(pubkey)):
        raise ValueError("not a public key")
    return point


def _serialize(point: Any) -> bytes:
    out, size = _new("unsigned char[33]"), _new("size_t *", 33)
    lib.secp256k1_ec_pubkey_serialize(_VERIFY, out, size, point, COMPRESSED)
    return bytes(ffi.buffer(out))


def pubkey_tweak_add(pubkey: bytes, tweak: bytes) -> bytes | None:
    """``pubkey + tweak * G``, compressed; None when that is no key. Raises ValueError for an invalid ``pubkey``."""
    point = _parse(pubkey)
    if not lib.secp256k1_ec_pubkey_tweak_add(_VERIFY, point, tweak):
        return None
    return _serialize(point)


def seckey_tweak_add(secret: bytes, tweak: bytes) -> bytes | None:
    """``secret + tweak`` modulo the group order; None when that is no key."""
    out = _new("unsigned char[32]", secret)
    if not lib.secp256k1_ec_seckey_tweak_add(_VERIFY, out, tweak):
        return None
    return bytes(ffi.buffer(out))


def sign_recoverable(secret: bytes, msg32: bytes) -> tuple[bytes, int]:
    """ECDSA signature ``r[32] + s[32]`` (RFC 6979) and its recovery id 0..3; raises ValueError."""
    sig = _new("secp256k1_ecdsa_recoverable_signature *")
    if not lib.secp256k1_ecdsa_sign_recoverable(_SIGN, sig, msg32, secret, _NULL, _NULL):
        raise ValueError("not a secp256k1 secret")
    out, recovery = _new("unsigned char[64]"), _new("int *")
    lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(_VERIFY, out, recovery, sig)
    return bytes(ffi.buffer(out)), int(recovery[0])


# ---- MuSig2


def _pointers(kind: str, items: Sequence[Any]) -> Any:
    return _new(f"const {kind} *[]", list(items))


def _aggregate(pubkeys: Sequence[bytes]) -> tuple[Any, list[Any]]:
    """The key aggregation cache and the parsed keys; raises ValueError for a key that is none."""
    points = [_parse(key) for key in pubkeys]
    cache = _new("secp256k1_musig_keyagg_cache *")
    if not lib.secp256k1_musig_pubkey_agg(_VERIFY, _NULL, cache, _pointers("secp256k1_pubkey", points), len(points)):
        raise ValueError("the keys do not aggregate")
    return cache, points


def _aggregate_key(cache: Any) -> bytes:
    point = _new("secp256k1_pubkey *")
    lib.secp256k1_musig_pubkey_get(_VERIFY, point, cache)
    return _serialize(point)


def musig_aggregate(pubkeys: Sequence[bytes]) -> bytes | None:
    """The aggregate (33 bytes) of compressed keys in this order; None when they do not aggregate."""
    if not pubkeys:
        return None
    try:
        cache, _ = _aggregate(pubkeys)
    except ValueError:
        return None
    return _aggregate_key(cache)


def musig_nonce(
    secret: bytes, pubkey: bytes, aggregate: bytes, pubkeys: Sequence[bytes], msg32: bytes, entropy32: bytes
) -> tuple[bytes, Any] | None:
    """A nonce of one participant for one message; None when ``aggregate`` is not that of ``pubkeys``.

    66 public bytes, and what ``musig_partial_signature`` takes once: used twice it would give the private key away.
    """
    cache, _ = _aggregate(pubkeys)
    if _aggregate_key(cache) != aggregate:
        return None
    secnonce, pubnonce = _new("secp256k1_musig_secnonce *"), _new("secp256k1_musig_pubnonce *")
    session = _new("unsigned char[32]", entropy32)
    if not lib.secp256k1_musig_nonce_gen(
        _SIGN, secnonce, pubnonce, session, secret, _parse(pubkey), msg32, cache, _NULL
    ):
        return None
    out = _new("unsigned char[66]")
    lib.secp256k1_musig_pubnonce_serialize(_VERIFY, out, pubnonce)
    return bytes(ffi.buffer(out)), secnonce


class _Session(NamedTuple):
    cache: Any
    points: list[Any]
    nonces: list[Any]
    session: Any


def _begin(
    pubkeys: Sequence[bytes], aggregate: bytes, tweaks: Sequence[Tweak], msg32: bytes, pubnonces: Sequence[bytes]
) -> _Session | None:
    """What all signers of a message have in common; None where it does not go together."""
    try:
        cache, points = _aggregate(pubkeys)
    except ValueError:
        return None
    if _aggregate_key(cache) != aggregate:
        return None
    nonces = []
    for raw_nonce in pubnonces:
        nonce = _new("secp256k1_musig_pubnonce *")
        if len(raw_nonce) != PUBNONCE_SIZE or not lib.secp256k1_musig_pubnonce_parse(_VERIFY, nonce, raw_nonce):
            return None
        nonces.append(nonce)
    total = _new("secp256k1_musig_aggnonce *")
    if not lib.secp256k1_musig_nonce_agg(_VERIFY, total, _pointers("secp256k1_musig_pubnonce", nonces), len(nonces)):
        return None
    for tweak, xonly in tweaks:
        add = lib.secp256k1_musig_pubkey_xonly_tweak_add if xonly else lib.secp256k1_musig_pubkey_ec_tweak_add
        if not add(_VERIFY, _NULL, cache, tweak):
            return None
    session = _new("secp256k1_musig_session *")
    if not lib.secp256k1_musig_nonce_process(_VERIFY, session, total, msg32, cache):
        return None
    return _Session(cache, points, nonces, session)


def musig_partial_signature(
    secret: bytes,
    secnonce: Any,
    number: int,
    pubkeys: Sequence[bytes],
    aggregate: bytes,
    tweaks: Sequence[Tweak],
    msg32: bytes,
    pubnonces: Sequence[bytes],
) -> bytes | None:
    """The partial signature (32 bytes) of the participant with this number; None where something does not fit.

    ``secnonce`` is of ``musig_nonce`` for this message; no other call may ever get it. ``pubnonces`` stand in the order
    of ``pubkeys``.
    """
    found = _begin(pubkeys, aggregate, tweaks, msg32, pubnonces)
    keypair, partial = _new("secp256k1_keypair *"), _new("secp256k1_musig_partial_sig *")
    if found is None or not lib.secp256k1_keypair_create(_SIGN, keypair, secret):
        return None
    if not lib.secp256k1_musig_partial_sign(_SIGN, partial, secnonce, keypair, found.cache, found.session):
        return None
    if not lib.secp256k1_musig_partial_sig_verify(
        _VERIFY, partial, found.nonces[number], found.points[number], found.cache, found.session
    ):
        return None
    out = _new("unsigned char[32]")
    lib.secp256k1_musig_partial_sig_serialize(_VERIFY, out, partial)
    return bytes(ffi.buffer(out))


def musig_signature(
    pubkeys: Sequence[bytes],
    aggregate: bytes,
    tweaks: Sequence[Tweak],
    msg32: bytes,
    pubnonces: Sequence[bytes],
    partial_sigs: Sequence[bytes],
) -> bytes | None:
    """The BIP340 signature (64 bytes) from the partial signatures of all ``pubkeys``, None when one is wrong.

    Nonces and partial signatures stand in the order of ``pubkeys``.
    """
    found = _begin(pubkeys, aggregate, tweaks, msg32, pubnonces)
    if found is None:
        return None
    partials = []
    for raw_sig, nonce, point in zip(partial_sigs, found.nonces, found.points, strict=True):
        partial = _new("secp256k1_musig_partial_sig *")
        if not lib.secp256k1_musig_partial_sig_parse(_VERIFY, partial, raw_sig):
            return None
        if not lib.secp256k1_musig_partial_sig_verify(_VERIFY, partial, nonce, point, found.cache, found.session):
            return None
        partials.append(partial)
    out = _new("unsigned char[64]")
    lib.secp256k1_musig_partial_sig_agg(
        _VERIFY, out, found.session, _pointers("secp256k1_musig_partial_sig", partials), len(partials)
    )
    return bytes(ffi.buffer(out))
