"""Signed messages: a recoverable signature over a text with a prefix that no transaction begins with."""

from __future__ import annotations

from btcnode.descriptors.curve import sign_recoverable
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import sha256d
from btcnode.script.signatures import recover_compact

MAGIC = b"Bitcoin Signed Message:\n"
SIGNATURE_SIZE = 65


def message_hash(message: str) -> bytes:
    """What is signed: 32 bytes."""
    text = message.encode("utf-8", "surrogatepass")
    return sha256d(compact_size(len(MAGIC)) + MAGIC + compact_size(len(text)) + text)


def sign_message(message: str, secret: bytes, *, compressed: bool) -> bytes:
    """The 65-byte signature: 27 + recovery id (+ 4 for a compressed key), r, s."""
    compact, recovery = sign_recoverable(secret, message_hash(message))
    return bytes((27 + recovery + (4 if compressed else 0),)) + compact


def recover_message_key(message: str, signature: bytes) -> bytes | None:
    """The public key that made the signature, None when it is none."""
    if len(signature) != SIGNATURE_SIZE:
        return None
    head = (signature[0] - 27) & 0xFF
    return recover_compact(signature[1:], head & 3, message_hash(message), compressed=bool(head & 4))
