"""Signatures on secp256k1, through a low-level binding of libsecp256k1 (``btcnode.libsecp256k1``).

Verification follows Bitcoin Core's ``CPubKey`` and ``XOnlyPubKey`` to the bit: ECDSA signatures are read as laxly as
they were before BIP66, a high S is normalised before the check, hybrid keys count. Every call allocates its own small
C structures (0.1 microseconds each), because the C calls release the GIL and a shared buffer could be overwritten by
another thread meanwhile.
"""

from __future__ import annotations

from typing import Any

from btcnode.libsecp256k1 import COMPRESSED, CONTEXT_NONE, UNCOMPRESSED, ffi, lib
from btcnode.primitives.hashes import sha256

CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

_NULL = ffi.NULL
_new = ffi.new
_buffer = ffi.buffer
_PUBKEY = ffi.typeof("secp256k1_pubkey *")
_XONLY = ffi.typeof("secp256k1_xonly_pubkey *")
_SIGNATURE = ffi.typeof("secp256k1_ecdsa_signature *")
_KEYPAIR = ffi.typeof("secp256k1_keypair *")

lib.secp256k1_selftest()
_VERIFY = lib.secp256k1_context_static
_SIGN = lib.secp256k1_context_create(CONTEXT_NONE)

_pubkey_parse = lib.secp256k1_ec_pubkey_parse
_parse_der = lib.secp256k1_ecdsa_signature_parse_der
_parse_compact = lib.secp256k1_ecdsa_signature_parse_compact
_normalize = lib.secp256k1_ecdsa_signature_normalize
_ecdsa_verify = lib.secp256k1_ecdsa_verify
_xonly_parse = lib.secp256k1_xonly_pubkey_parse
_schnorr_verify = lib.secp256k1_schnorrsig_verify

MAX_PARSED_KEYS = 16_384
"""Parsed ECDSA keys kept at most: 16,384 x about 300 bytes (key, C structure, dict slot) = 5 MB."""

_parsed_keys: dict[bytes, Any] = {}  # never changed once stored, so threads may share them

_TAP_TWEAK = sha256(sha256(b"TapTweak").digest() * 2)


def _lax_length(sig: bytes, pos: int) -> tuple[int, int]:
    """Length of an integer at ``pos`` (long form and zero padding allowed) and the position after it, or (-1, 0)."""
    size = len(sig)
    if pos == size:
        return -1, 0
    length = sig[pos]
    pos += 1
    if length & 0x80:
        width = length & 0x7F
        if width > size - pos:
            return -1, 0
        end = pos + width
        digits = sig[pos:end].lstrip(b"\0")
        if len(digits) >= 4:
            return -1, 0
        length = int.from_bytes(digits, "big")
        pos = end
    if length > size - pos:
        return -1, 0
    return length, pos


def parse_der_lax(sig: bytes) -> bytes | None:
    """Read an ECDSA signature (without hash type) the way consensus did before BIP66.

    Returns ``r[32] + s[32]`` big-endian, 64 zero bytes (a signature that never verifies) when a value does not fit
    or exceeds the curve order, or None when the structure cannot be read at all. Tolerated are: a wrong or long
    sequence length, negative and padded integers, long-form lengths, bytes left over (Core: ``pubkey.cpp``).
    """
    size = len(sig)
    if size < 2 or sig[0] != 0x30:
        return None
    pos = 2
    if sig[1] & 0x80:
        width = sig[1] & 0x7F
        if width > size - pos:
            return None
        pos += width
    values = []
    for _ in range(2):
        if pos == size or sig[pos] != 0x02:
            return None
        length, pos = _lax_length(sig, pos + 1)
        if length < 0:
            return None
        values.append(sig[pos : pos + length].lstrip(b"\0"))
        pos += length
    r, s = values
    if len(r) > 32 or len(s) > 32:
        return bytes(64)
    compact = r.rjust(32, b"\0") + s.rjust(32, b"\0")
    if int.from_bytes(r, "big") >= CURVE_ORDER or int.from_bytes(s, "big") >= CURVE_ORDER:
        return bytes(64)
    return compact


def _load_signature(sig_der: bytes) -> Any:
    """The parsed C signature, or None when ``sig_der`` cannot be read even laxly."""
    sig = _new(_SIGNATURE)
    size = len(sig_der)
    # The strict parser takes negative integers as zero where the lax one takes them as unsigned: both must be positive.
    if (
        8 <= size < 0x80
        and _parse_der(_VERIFY, sig, sig_der, size)
        and sig_der[4] < 0x80
        and sig_der[sig_der[3] + 6] < 0x80
    ):
        return sig
    compact = parse_der_lax(sig_der)
    if compact is None:
        return None
    _parse_compact(_VERIFY, sig, compact)
    return sig


def _parse_pubkey(pubkey: bytes) -> Any:
    """The parsed key, or None when it is none. Addresses are used again: two of three keys of a block come twice."""
    key = _new(_PUBKEY)
    if not _pubkey_parse(_VERIFY, key, pubkey, len(pubkey)):
        return None
    if len(_parsed_keys) >= MAX_PARSED_KEYS:
        _parsed_keys.clear()
    _parsed_keys[pubkey] = key
    return key


def forget_parsed_keys() -> None:
    """Empty the store of parsed keys: benchmarks measure without it."""
    _parsed_keys.clear()


def verify_ecdsa(pubkey: bytes, sig_der: bytes, msg32: bytes) -> bool:
    """Whether ``sig_der`` (DER, laxly read, without the hash type byte) signs the 32-byte ``msg32`` with ``pubkey``.

    ``pubkey`` is 33 bytes (02, 03) or 65 bytes (04, hybrid 06, 07 with the parity of Y); anything else is False.
    Raises ValueError when ``msg32`` is not 32 bytes.
    """
    if len(msg32) != 32:
        raise ValueError("an ECDSA message is a 32-byte hash")
    key = _parsed_keys.get(pubkey) or _parse_pubkey(pubkey)
    if key is None:
        return False
    sig = _load_signature(sig_der)
    if sig is None:
        return False
    _normalize(_VERIFY, sig, sig)
    return bool(_ecdsa_verify(_VERIFY, sig, msg32, key))


def verify_ecdsa_strict(pubkey: bytes, sig_der: bytes, msg32: bytes, low_s: bool) -> bool:
    """``verify_ecdsa`` for signatures in strict DER only, and with ``low_s`` for those with a low S only.

    True means that the encoding passes BIP66: libsecp256k1's parser is strict but for negative and oversized integers,
    which it turns into zero, and a zero never verifies. False decides nothing: ask the lax way why.
    """
    if len(msg32) != 32:
        raise ValueError("an ECDSA message is a 32-byte hash")
    sig = _new(_SIGNATURE)
    key = _parsed_keys.get(pubkey) or _parse_pubkey(pubkey)
    if key is None or not _parse_der(_VERIFY, sig, sig_der, len(sig_der)):
        return False
    if _normalize(_VERIFY, sig, sig) and low_s:
        return False
    return bool(_ecdsa_verify(_VERIFY, sig, msg32, key))


def is_low_der_s(sig_der: bytes) -> bool:
    """Whether the S of ``sig_der`` (without the hash type byte) is at most half the order (Core: ``CheckLowS``)."""
    sig = _load_signature(sig_der)
    return sig is not None and not _normalize(_VERIFY, _NULL, sig)


def is_valid_pubkey(pubkey: bytes) -> bool:
    """Whether ``pubkey`` (33 or 65 bytes) is a point on the curve."""
    return bool(_pubkey_parse(_VERIFY, _new(_PUBKEY), pubkey, len(pubkey)))


def uncompressed_pubkey(pubkey: bytes) -> bytes:
    """The 65 bytes (04, x, y) of a public key in any form; raises ValueError for one that is off the curve."""
    key = _new(_PUBKEY)
    if not _pubkey_parse(_VERIFY, key, pubkey, len(pubkey)):
        raise ValueError("not a public key")
    return _serialize_pubkey(key, compressed=False)


def _serialize_pubkey(point: Any, *, compressed: bool) -> bytes:
    out, size = _new("unsigned char[65]"), _new("size_t *", 65)
    form = COMPRESSED if compressed else UNCOMPRESSED
    lib.secp256k1_ec_pubkey_serialize(_VERIFY, out, size, point, form)
    return bytes(_buffer(out, size[0]))


def verify_schnorr(xonly32: bytes, sig64: bytes, msg: bytes) -> bool:
    """BIP340 verification of ``sig64`` over ``msg`` (any length) with the 32-byte x-only key.

    Raises ValueError when key or signature have another size.
    """
    if len(xonly32) != 32 or len(sig64) != 64:
        raise ValueError("BIP340 takes a 32-byte key and a 64-byte signature")
    key = _new(_XONLY)
    if not _xonly_parse(_VERIFY, key, xonly32):
        return False
    return bool(_schnorr_verify(_VERIFY, sig64, msg, len(msg), key))


def is_valid_xonly(xonly32: bytes) -> bool:
    """Whether the 32 bytes are the X coordinate of a point on the curve."""
    return len(xonly32) == 32 and bool(_xonly_parse(_VERIFY, _new(_XONLY), xonly32))


def tap_tweak_hash(internal_x: bytes, merkle_root: bytes = b"") -> bytes:
    """BIP341 tweak of an internal key: tagged hash ``TapTweak`` of key and merkle root (empty for none)."""
    hasher = _TAP_TWEAK.copy()
    hasher.update(internal_x + merkle_root)
    return hasher.digest()


def check_taproot_tweak(output_x: bytes, parity: int, internal_x: bytes, tweak: bytes) -> bool:
    """Whether ``internal_x + tweak * G`` has X coordinate ``output_x`` and Y parity ``parity`` (0 or 1).

    All three byte strings are 32 bytes (ValueError otherwise); False also for an internal key off the curve.
    """
    if len(output_x) != 32 or len(internal_x) != 32 or len(tweak) != 32:
        raise ValueError("a taproot key or tweak is 32 bytes")
    key = _new(_XONLY)
    if not _xonly_parse(_VERIFY, key, internal_x):
        return False
    return bool(lib.secp256k1_xonly_pubkey_tweak_add_check(_VERIFY, output_x, parity, key, tweak))


def taproot_tweak_pubkey(internal_x: bytes, merkle_root: bytes = b"") -> tuple[bytes, int]:
    """The BIP341 output key of an internal key: ``(x[32], parity of Y)``; raises ValueError for an invalid key."""
    key = _new(_XONLY)
    if len(internal_x) != 32 or not _xonly_parse(_VERIFY, key, internal_x):
        raise ValueError("not an x-only public key")
    output = _new(_PUBKEY)
    if not lib.secp256k1_xonly_pubkey_tweak_add(_VERIFY, output, key, tap_tweak_hash(internal_x, merkle_root)):
        raise ValueError("the tweak leads to no valid key")
    return _serialize_xonly(output)


def _serialize_xonly(point: Any) -> tuple[bytes, int]:
    """X coordinate and Y parity of a parsed public key."""
    xonly, parity, out = _new(_XONLY), _new("int *"), _new("unsigned char[32]")
    lib.secp256k1_xonly_pubkey_from_pubkey(_VERIFY, xonly, parity, point)
    lib.secp256k1_xonly_pubkey_serialize(_VERIFY, out, xonly)
    return bytes(_buffer(out)), int(parity[0])


# ---- signing: regtest helpers, signet mining, tests and benchmarks; no wallet keys pass here


def pubkey_create(seckey: bytes, *, compressed: bool = True) -> bytes:
    """The serialised public key (33 or 65 bytes) of a 32-byte secret; raises ValueError for an invalid secret."""
    point = _new(_PUBKEY)
    if len(seckey) != 32 or not lib.secp256k1_ec_pubkey_create(_SIGN, point, seckey):
        raise ValueError("not a secp256k1 secret")
    return _serialize_pubkey(point, compressed=compressed)


def xonly(seckey: bytes) -> bytes:
    """The 32-byte x-only public key of a secret."""
    return pubkey_create(seckey)[1:]


def sign_ecdsa(seckey: bytes, msg32: bytes, *, grind: bool = False) -> bytes:
    """Strict DER signature with low S (RFC 6979 nonce), without a hash type.

    ``grind`` repeats with a counter until R is below 2**255 (71 bytes at most), as Core's wallet does.
    """
    if len(seckey) != 32 or len(msg32) != 32:
        raise ValueError("secret and message are 32 bytes")
    sig = _new(_SIGNATURE)
    out = _new("unsigned char[72]")
    counter = 0
    while True:
        extra = counter.to_bytes(32, "little") if counter else _NULL
        data = extra if extra is _NULL else ffi.from_buffer(extra)
        if not lib.secp256k1_ecdsa_sign(_SIGN, sig, msg32, seckey, _NULL, data):
            raise ValueError("not a secp256k1 secret")
        size = _new("size_t *", 72)
        lib.secp256k1_ecdsa_signature_serialize_der(_VERIFY, out, size, sig)
        der = bytes(_buffer(out, size[0]))
        if not grind or der[3] <= 32:
            return der
        counter += 1


def recover_compact(compact: bytes, recovery_id: int, msg32: bytes, *, compressed: bool = True) -> bytes | None:
    """The public key that made ``r[32] + s[32]`` over ``msg32`` (``recovery_id`` 0..3), or None when there is none."""
    if len(compact) != 64 or len(msg32) != 32 or not 0 <= recovery_id <= 3:
        raise ValueError("a recoverable signature has 64 bytes, an id of 0..3 and a 32-byte message")
    sig, point = _new("secp256k1_ecdsa_recoverable_signature *"), _new(_PUBKEY)
    if not lib.secp256k1_ecdsa_recoverable_signature_parse_compact(_VERIFY, sig, compact, recovery_id):
        return None
    if not lib.secp256k1_ecdsa_recover(_VERIFY, point, sig, msg32):
        return None
    return _serialize_pubkey(point, compressed=compressed)


def sign_schnorr(seckey: bytes, msg: bytes, aux: bytes | None = None) -> bytes:
    """BIP340 signature (64 bytes) over ``msg``; ``aux`` is 32 bytes of auxiliary randomness or None.

    Messages of any length are signed (BIP340); raises ValueError for an invalid secret.
    """
    pair, out = _keypair(seckey), _new("unsigned char[64]")
    extra = _new("secp256k1_schnorrsig_extraparams *")
    extra.magic = (0xDA, 0x6F, 0xB3, 0x8C)
    entropy = ffi.from_buffer(aux) if aux else _NULL
    extra.ndata = entropy
    if not lib.secp256k1_schnorrsig_sign_custom(_SIGN, out, msg, len(msg), pair, extra):
        raise ValueError("signing failed")
    return bytes(_buffer(out))


def _keypair(seckey: bytes) -> Any:
    """The parsed key pair of a secret; raises ValueError for an invalid one."""
    pair = _new(_KEYPAIR)
    if len(seckey) != 32 or not lib.secp256k1_keypair_create(_SIGN, pair, seckey):
        raise ValueError("not a secp256k1 secret")
    return pair


def taproot_tweak_seckey(seckey: bytes, merkle_root: bytes = b"") -> bytes:
    """The secret of the BIP341 output key that belongs to ``taproot_tweak_pubkey(xonly(seckey), merkle_root)``."""
    pair, out = _keypair(seckey), _new("unsigned char[32]")
    if not lib.secp256k1_keypair_xonly_tweak_add(_SIGN, pair, tap_tweak_hash(xonly(seckey), merkle_root)):
        raise ValueError("the tweak leads to no valid key")
    lib.secp256k1_keypair_sec(_VERIFY, out, pair)
    return bytes(_buffer(out))
