"""ElligatorSwift keys and BIP324's key exchange, through libsecp256k1.

An encoding is ``u[32] t[32]``, big-endian field elements; every 64 bytes encode some public key, and a key's
encodings look like random bytes. All arithmetic on secrets happens in libsecp256k1, in constant time. Python cannot
wipe the bytes that hold a secret; they live no longer than the handshake.
"""

from __future__ import annotations

from btcnode.libsecp256k1 import COMPRESSED, CONTEXT_NONE, ffi, lib

ENCODING_SIZE = 64
SECRET_SIZE = 32

_NULL = ffi.NULL


def create(seckey: bytes, entropy: bytes) -> bytes:
    """A random-looking encoding of the public key of ``seckey``; 32 fresh random bytes choose among its encodings.

    Raises ValueError for an invalid secret (zero, or not below the group's order).
    """
    if len(seckey) != SECRET_SIZE or len(entropy) != SECRET_SIZE:
        raise ValueError("secret and entropy are 32 bytes")
    # a context of its own, blinded by the same entropy: the shared ones belong to other threads too
    context = ffi.gc(lib.secp256k1_context_create(CONTEXT_NONE), lib.secp256k1_context_destroy)
    out = ffi.new("unsigned char[64]")
    if not lib.secp256k1_context_randomize(context, entropy):
        raise ValueError("the context cannot be blinded")
    if not lib.secp256k1_ellswift_create(context, out, seckey, entropy):
        raise ValueError("not a secp256k1 secret")
    return bytes(ffi.buffer(out))


def decode(encoding: bytes) -> bytes:
    """The compressed public key (33 bytes) that 64 bytes encode; there always is one."""
    if len(encoding) != ENCODING_SIZE:
        raise ValueError("an ElligatorSwift encoding is 64 bytes")
    point, out, size = ffi.new("secp256k1_pubkey *"), ffi.new("unsigned char[33]"), ffi.new("size_t *", 33)
    lib.secp256k1_ellswift_decode(lib.secp256k1_context_static, point, encoding)
    lib.secp256k1_ec_pubkey_serialize(lib.secp256k1_context_static, out, size, point, COMPRESSED)
    return bytes(ffi.buffer(out))


def shared_secret(seckey: bytes, ours: bytes, theirs: bytes, *, initiator: bool) -> bytes:
    """BIP324's ``v2_ecdh``: 32 bytes from our secret, both encodings, and who opened the connection."""
    if len(seckey) != SECRET_SIZE or len(ours) != ENCODING_SIZE or len(theirs) != ENCODING_SIZE:
        raise ValueError("a secret is 32 bytes, an ElligatorSwift encoding 64")
    first, second = (ours, theirs) if initiator else (theirs, ours)
    out = ffi.new("unsigned char[32]")
    if not lib.secp256k1_ellswift_xdh(
        lib.secp256k1_context_static,
        out,
        first,
        second,
        seckey,
        0 if initiator else 1,
        lib.secp256k1_ellswift_xdh_hash_function_bip324,
        _NULL,
    ):
        raise ValueError("not a secp256k1 secret")
    return bytes(ffi.buffer(out))
