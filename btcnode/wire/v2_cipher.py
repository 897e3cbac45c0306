"""The ciphers of the version 2 transport (BIP324): forward-secret ChaCha20 and ChaCha20-Poly1305, and their keys.

Both ciphers change their key after every ``REKEY_INTERVAL`` packets, so that a key which leaks later opens only the
packets since the last change. Packets are ``length[3, encrypted] header+contents[1 + n, encrypted] tag[16]``.
Encryption is the ``cryptography`` package's (OpenSSL), one call for each packet whatever its size.
"""

from __future__ import annotations

import hmac
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from btcnode.wire.framing import TransportError

REKEY_INTERVAL = 224  # packets under one key
LENGTH_SIZE = 3
HEADER_SIZE = 1
TAG_SIZE = 16
EXPANSION = LENGTH_SIZE + HEADER_SIZE + TAG_SIZE  # what a packet adds to its contents
MAX_CONTENTS = (1 << 8 * LENGTH_SIZE) - 1
IGNORE_BIT = 0x80  # of the header byte: a decoy
TERMINATOR_SIZE = 16
KEY_SIZE = 32

_HASH = "sha256"
_NONCE = Struct("<IQ")  # packet number under this key, number of the key
_STREAM_NONCE = Struct("<IIQ")  # ChaCha20's block counter in front
_KEY_PACKET = 0xFFFFFFFF  # packet number whose key stream is the next key
_HEADER, _DECOY_HEADER = b"\0", bytes((IGNORE_BIT,))


class FSChaCha20:
    """Forward-secret ChaCha20 for chunks of one size (BIP324's ``FSChaCha20``, there for packet lengths).

    The key stream of all chunks under one key is made at once; its last 32 bytes are the next key.
    """

    __slots__ = ("_chunk", "_interval", "_keys", "_pos", "_stream")

    def __init__(self, key: bytes, chunk_size: int = LENGTH_SIZE, interval: int = REKEY_INTERVAL) -> None:
        self._chunk = chunk_size
        self._interval = interval
        self._keys = 0
        self._start(key)

    def _start(self, key: bytes) -> None:
        nonce = _STREAM_NONCE.pack(0, 0, self._keys)
        size = self._chunk * self._interval + KEY_SIZE
        self._stream = Cipher(algorithms.ChaCha20(key, nonce), mode=None).encryptor().update(bytes(size))
        self._pos = 0

    def crypt(self, chunk: bytes) -> bytes:
        """Encrypt or decrypt the next chunk, which has the size given at the start."""
        pos, size = self._pos, self._chunk
        if len(chunk) != size:
            raise ValueError(f"a chunk is {size} bytes")
        self._pos = end = pos + size
        out = int.from_bytes(chunk, "little") ^ int.from_bytes(self._stream[pos:end], "little")
        if end == size * self._interval:
            self._keys += 1
            self._start(self._stream[end:])
        return out.to_bytes(size, "little")


class FSChaCha20Poly1305:
    """Forward-secret ChaCha20-Poly1305 (BIP324's ``FSChaCha20Poly1305``); one direction of a connection."""

    __slots__ = ("_aead", "_interval", "_keys", "_packets")

    def __init__(self, key: bytes, interval: int = REKEY_INTERVAL) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._interval = interval
        self._packets = 0
        self._keys = 0

    def _next_packet(self) -> None:
        self._packets += 1
        if self._packets == self._interval:
            nonce = _NONCE.pack(_KEY_PACKET, self._keys)
            # encrypting zeros shows the key stream from block 1 on
            self._aead = ChaCha20Poly1305(self._aead.encrypt(nonce, bytes(KEY_SIZE), None)[:KEY_SIZE])
            self._packets = 0
            self._keys += 1

    def encrypt(self, plain: bytes, aad: bytes = b"") -> bytes:
        """Ciphertext and tag."""
        sealed = self._aead.encrypt(_NONCE.pack(self._packets, self._keys), plain, aad)
        self._next_packet()
        return sealed

    def decrypt(self, sealed: bytes | memoryview, aad: bytes = b"") -> bytes:
        """The plaintext; raises TransportError when the tag is wrong."""
        try:
            plain = self._aead.decrypt(_NONCE.pack(self._packets, self._keys), sealed, aad)
        except InvalidTag:
            size = len(sealed) - EXPANSION + LENGTH_SIZE
            raise TransportError(f"V2 transport error: packet decryption failure ({size} bytes)") from None
        self._next_packet()
        return plain


class SessionKeys(NamedTuple):
    """Everything that BIP324 derives from the shared secret; keys are 32 bytes, terminators 16."""

    initiator_length: bytes
    initiator_packet: bytes
    responder_length: bytes
    responder_packet: bytes
    initiator_terminator: bytes
    responder_terminator: bytes
    session_id: bytes


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """RFC 5869 with SHA-256: the 32-byte pseudorandom key."""
    return hmac.digest(salt, secret, _HASH)


def hkdf_expand(key: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256: the first 32 bytes of output for ``info``."""
    return hmac.digest(key, info + b"\1", _HASH)


def derive_keys(shared_secret: bytes, magic: bytes) -> SessionKeys:
    """The session's keys from the key exchange's 32 bytes and the network's magic."""
    prk = hkdf_extract(b"bitcoin_v2_shared_secret" + magic, shared_secret)
    terminators = hkdf_expand(prk, b"garbage_terminators")
    return SessionKeys(
        hkdf_expand(prk, b"initiator_L"),
        hkdf_expand(prk, b"initiator_P"),
        hkdf_expand(prk, b"responder_L"),
        hkdf_expand(prk, b"responder_P"),
        terminators[:TERMINATOR_SIZE],
        terminators[TERMINATOR_SIZE:],
        hkdf_expand(prk, b"session_id"),
    )


class PacketCipher:
    """Both directions of a session: contents to packets, and packets to contents.

    Receiving takes two steps for each packet: ``decrypt_length`` of its first 3 bytes, once, then ``decrypt`` of the
    ``length + EXPANSION - LENGTH_SIZE`` bytes that follow.
    """

    __slots__ = (
        "_receive_length", "_receive_packet", "_send_length", "_send_packet", "receive_terminator", "send_terminator",
        "session_id",
    )  # fmt: skip

    def __init__(self, keys: SessionKeys, *, initiator: bool) -> None:
        lengths = (FSChaCha20(keys.initiator_length), FSChaCha20(keys.responder_length))
        packets = (FSChaCha20Poly1305(keys.initiator_packet), FSChaCha20Poly1305(keys.responder_packet))
        terminators = (keys.initiator_terminator, keys.responder_terminator)
        mine, theirs = (0, 1) if initiator else (1, 0)
        self._send_length, self._receive_length = lengths[mine], lengths[theirs]
        self._send_packet, self._receive_packet = packets[mine], packets[theirs]
        self.send_terminator, self.receive_terminator = terminators[mine], terminators[theirs]
        self.session_id = keys.session_id

    def encrypt(self, *contents: bytes, aad: bytes = b"", ignore: bool = False) -> bytes:
        """One packet of the joined ``contents``; ``ignore`` makes it a decoy.

        Raises ValueError beyond ``MAX_CONTENTS`` bytes.
        """
        plain = b"".join((_DECOY_HEADER if ignore else _HEADER, *contents))
        size = len(plain) - HEADER_SIZE
        if size > MAX_CONTENTS:
            raise ValueError(f"contents of {size} bytes do not fit into a packet")
        length = self._send_length.crypt(size.to_bytes(LENGTH_SIZE, "little"))
        return length + self._send_packet.encrypt(plain, aad)

    def decrypt_length(self, sealed: bytes) -> int:
        """Size of the next packet's contents; the sender's word for it, not authenticated yet."""
        return int.from_bytes(self._receive_length.crypt(sealed), "little")

    def decrypt(self, sealed: bytes | memoryview, aad: bytes = b"") -> tuple[bytes, bool]:
        """``(header byte + contents, whether it is a decoy)``; raises TransportError when the tag is wrong.

        The header byte stays in front, so that megabytes are not copied once more.
        """
        plain = self._receive_packet.decrypt(sealed, aad)
        return plain, bool(plain[0] & IGNORE_BIT)
