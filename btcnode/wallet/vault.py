"""Encryption of private keys: one master key, sealed with a key that scrypt makes of the passphrase.

Both layers are ChaCha20-Poly1305 (RFC 8439) as `cryptography` has it: who changes a byte is found out. What is sealed
is bound to what it belongs to (associated data), so that no sealed key can stand in another's place.
"""

from __future__ import annotations

import secrets
from hashlib import sha512
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from btcnode.errors import CorruptionError
from btcnode.wallet.errors import Trouble, WalletError, WalletLockedError

KEY_SIZE, SALT_SIZE, NONCE_SIZE = 32, 16, 12
SCRYPT_N, SCRYPT_R, SCRYPT_P = 1 << 15, 8, 3  # 32 MiB, three tenths of a second: what OWASP advises at that size
MAX_SCRYPT_BYTES, MAX_SCRYPT_P = 1 << 30, 16  # of what a file may ask for
_MASTER = b"btcnode wallet master key"


class SealedMaster(NamedTuple):
    """The master key as it lies on disk, with what scrypt needs besides the passphrase."""

    salt: bytes
    n: int
    r: int
    p: int
    sealed: bytes


def _seal(key: bytes, plain: bytes, bound: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_SIZE)
    return nonce + ChaCha20Poly1305(key).encrypt(nonce, plain, bound)


def _open(key: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(sealed[:NONCE_SIZE], sealed[NONCE_SIZE:], bound)
    except (InvalidTag, ValueError):
        return None


def _stretch(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    text = passphrase.encode("utf-8", "surrogatepass")
    # scrypt begins with HMAC, for which a key and the same key with zero bytes behind it are one
    return Scrypt(salt=salt, length=KEY_SIZE, n=n, r=r, p=p).derive(sha512(text).digest())


def seal_master(master: bytes, passphrase: str) -> SealedMaster:
    """Seal a master key; takes three tenths of a second."""
    salt = secrets.token_bytes(SALT_SIZE)
    key = _stretch(passphrase, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    return SealedMaster(salt, SCRYPT_N, SCRYPT_R, SCRYPT_P, _seal(key, master, _MASTER))


def open_master(record: SealedMaster, passphrase: str) -> bytes | None:
    """The master key, None for a wrong passphrase; takes three tenths of a second. Raises CorruptionError."""
    n, r, p = record.n, record.r, record.p
    is_known = all(isinstance(value, int) for value in (n, r, p)) and n > 1 and r > 0 and 0 < p <= MAX_SCRYPT_P
    if not is_known or n & (n - 1) or 128 * n * r > MAX_SCRYPT_BYTES:
        raise CorruptionError("the wallet's master key asks for what no wallet of this program has")
    return _open(_stretch(passphrase, record.salt, record.n, record.r, record.p), record.sealed, _MASTER)


class Vault:
    """Whether a wallet is encrypted, and the master key while it is unlocked."""

    __slots__ = ("_master", "record")

    def __init__(self, record: SealedMaster | None = None) -> None:
        self.record = record
        self._master: bytes | None = None

    def __repr__(self) -> str:
        return f"<Vault {'encrypted' if self.is_encrypted else 'open'}>"

    @property
    def is_encrypted(self) -> bool:
        """Whether there is a passphrase."""
        return self.record is not None

    @property
    def is_locked(self) -> bool:
        """Whether private keys cannot be had."""
        return self.is_encrypted and self._master is None

    def begin(self, record: SealedMaster, master: bytes) -> None:
        """From now on there is a passphrase; the vault is unlocked."""
        self.record, self._master = record, master

    def unlock(self, master: bytes) -> None:
        """The passphrase was right."""
        self._master = master

    def lock(self) -> None:
        """Forget the master key."""
        self._master = None

    def seal(self, plain: bytes, bound: bytes) -> bytes:
        """Seal a private key; raises WalletLockedError."""
        return _seal(self._key(), plain, bound)

    def open(self, sealed: bytes, bound: bytes) -> bytes:
        """The private key; raises WalletLockedError, WalletError where the file is damaged."""
        plain = _open(self._key(), sealed, bound)
        if plain is None:
            raise WalletError("A private key of the wallet cannot be decrypted: its file is damaged", Trouble.OTHER)
        return plain

    def _key(self) -> bytes:
        if self._master is None:
            raise WalletLockedError
        return self._master


def new_master() -> bytes:
    """A random master key."""
    return secrets.token_bytes(KEY_SIZE)
