"""MuHash3072: a hash of a set that does not depend on the order of its elements (Core's crypto/muhash.h).

Each element becomes a number modulo 2^3072 - 1103717: the ChaCha20 key stream under the SHA-256 of its bytes. The
hash is SHA-256 of the product.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from hashlib import sha256

from btcnode.side_processes import SideProcesses
from btcnode.tuples import NamedTuple

MODULUS = 2**3072 - 1103717
SHORTFALL = 1103717
NUMBER_SIZE = 384
_MASK = 2**3072 - 1
_ZEROS = bytes(NUMBER_SIZE)  # what is encrypted to see the key stream
_START = bytes(16)  # block counter and nonce
ELEMENTS_AT_ONCE = 500  # five milliseconds; to be handed over costs a tenth of one
FEWEST_AWAY = 100


def _times(x: int, y: int) -> int:
    """Product modulo the modulus, not fully reduced: below 2^3072 + 2^22."""
    product = x * y
    product = (product & _MASK) + (product >> 3072) * SHORTFALL
    return (product & _MASK) + (product >> 3072) * SHORTFALL


def product_of(*elements: bytes) -> tuple[bytes]:
    """The product of elements, as a process beside the node is asked for it."""
    return ((_multiply(1, elements) % MODULUS).to_bytes(NUMBER_SIZE, "little"),)


class _Away(NamedTuple):
    """Elements whose product a process works out."""

    answer: Future[Sequence[bytes] | None]
    elements: Sequence[bytes]
    removed: bool


class MuHash:
    """A running set hash: a fraction, since an inverse costs as much as a hundred products.

    With ``processes`` these work out products of many elements meanwhile, as far as they have time.
    """

    def __init__(self, number: int = 1, processes: SideProcesses | None = None) -> None:
        """Begin with the set that ``number`` was told of; 1 is the empty set."""
        self._product = number
        self._divisor = 1
        self._processes = processes
        self._away: deque[_Away] = deque()  # few: processes take no more than they have time for

    def insert_many(self, elements: Sequence[bytes]) -> None:
        """Add elements."""
        self._take(elements, removed=False)

    def remove_many(self, elements: Sequence[bytes]) -> None:
        """Take elements out again; whether they were in is not known."""
        self._take(elements, removed=True)

    def _take(self, elements: Sequence[bytes], *, removed: bool) -> None:
        for at in range(0, len(elements), ELEMENTS_AT_ONCE):
            part = elements[at : at + ELEMENTS_AT_ONCE]
            if len(part) < FEWEST_AWAY or self._processes is None:
                self._multiply(part, removed=removed)
                continue
            answer = self._processes.submit(product_of, part)
            if answer is None:
                self._multiply(part, removed=removed)
            else:
                self._away.append(_Away(answer, part, removed))
            while self._away and self._away[0].answer.done():
                self._take_over(self._away.popleft())

    def _multiply(self, elements: Iterable[bytes], *, removed: bool) -> None:
        if removed:
            self._divisor = _multiply(self._divisor, elements)
        else:
            self._product = _multiply(self._product, elements)

    def _take_over(self, away: _Away) -> None:
        """Take the product over, or work it out."""
        found = away.answer.result()
        if found is None:
            self._multiply(away.elements, removed=away.removed)
        elif away.removed:
            self._divisor = _times(self._divisor, int.from_bytes(found[0], "little"))
        else:
            self._product = _times(self._product, int.from_bytes(found[0], "little"))

    def number(self) -> int:
        """The whole state, below the modulus."""
        while self._away:
            self._take_over(self._away.popleft())
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
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms  # a node without statistics does without

    for element in elements:
        cipher = Cipher(algorithms.ChaCha20(sha256(element).digest(), _START), None)
        product = _times(product, int.from_bytes(cipher.encryptor().update(_ZEROS), "little"))
    return product
