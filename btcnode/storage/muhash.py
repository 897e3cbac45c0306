"""MuHash3072: a hash of a set that does not depend on the order of its elements (Core's crypto/muhash.h).

Each element becomes a number modulo 2^3072 - 1103717: the ChaCha20 key stream under the SHA-256 of its bytes. The
hash is SHA-256 of the product.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

MODULUS = 2**3072 - 1103717
SHORTFALL = 1103717
NUMBER_SIZE = 384
_MASK = 2**3072 - 1
_ZEROS = bytes(NUMBER_SIZE)  # what is encrypted to see the key stream
_START = bytes(16)  # block counter and nonce


def _times(x: int, y: int) -> int:
    """Product modulo the modulus, not fully reduced: below 2^3072 + 2^22."""
    product = x * y
    product = (product & _MASK) + (product >> 3072) * SHORTFALL
    return (product & _MASK) + (product >> 3072) * SHORTFALL


class MuHash:
    """A running set hash."""

    def __init__(self, number: int = 1) -> None:
        """Begin with the set that ``number`` was told of; 1 is the empty set."""
        self._product = number
        self._divisor = 1

    def insert_many(self, elements: Iterable[bytes]) -> None:
        """Add elements."""
        self._product = _multiply(self._product, elements)

    def remove_many(self, elements: Iterable[bytes]) -> None:
        """Take elements out again; whether they were in is not known."""
        self._divisor = _multiply(self._divisor, elements)

    def number(self) -> int:
        """The whole state, below the modulus."""
        if self._divisor == 1:
            return self._product % MODULUS
        return self._product * pow(self._divisor, -1, MODULUS) % MODULUS

    def digest(self) -> bytes:
        """The 32 bytes of the set, in the order in which Core holds a uint256."""
        return number_digest(self.number())


def number_digest(number: int) -> bytes:
    """The digest of the set with this ``MuHash.number``."""
    return sha256(number.to_bytes(NUMBER_SIZE, "little")).digest()


def _multiply(product: int, elements: Iterable[bytes]) -> int:
    for element in elements:
        cipher = Cipher(algorithms.ChaCha20(sha256(element).digest(), _START), None)
        product = _times(product, int.from_bytes(cipher.encryptor().update(_ZEROS), "little"))
    return product
