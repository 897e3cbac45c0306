"""MuHash3072: a hash of a set that does not depend on the order of its elements (Core's crypto/muhash.h).

Each element becomes a number modulo 2^3072 - 1103717: the ChaCha20 key stream under the SHA-256 of its bytes. The
hash is SHA-256 of the product. The key streams of many elements are computed at once: a big int holds one 32-bit word
of every block in 64-bit lanes, so that an addition or exclusive-or of ChaCha20 is one operation for all of them.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from hashlib import sha256

MODULUS = 2**3072 - 1103717
SHORTFALL = 1103717
NUMBER_SIZE = 384
BLOCKS = 6  # ChaCha20 blocks of 64 bytes for one number
LANES_ELEMENTS = 256  # elements per pass
CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)
# (a, b, c, d) of a double round's eight quarter rounds
QUARTERS = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip


def _key_streams(keys: Sequence[bytes]) -> bytes:
    """384 bytes of ChaCha20 key stream (nonce 0, counter from 0) for each 32-byte key, joined."""
    count = len(keys)
    lanes = count * BLOCKS
    ones = int.from_bytes(b"\x01\x00\x00\x00\x00\x00\x00\x00" * lanes, "little")
    mask = ones * 0xFFFFFFFF
    words = array("I")
    words.frombytes(b"".join(keys))
    if sys.byteorder == "big":
        words.byteswap()
    start = [ones * constant for constant in CONSTANTS]
    start += [_lanes([word for word in words[k::8] for _ in range(BLOCKS)]) for k in range(8)]
    start += [_lanes(list(range(BLOCKS)) * count), 0, 0, 0]
    state = list(start)
    for _ in range(10):
        for a, b, c, d in QUARTERS:
            wa, wb, wc, wd = state[a], state[b], state[c], state[d]
            wa = (wa + wb) & mask
            wd ^= wa
            wd = (wd << 16 | wd >> 16) & mask
            wc = (wc + wd) & mask
            wb ^= wc
            wb = (wb << 12 | wb >> 20) & mask
            wa = (wa + wb) & mask
            wd ^= wa
            wd = (wd << 8 | wd >> 24) & mask
            wc = (wc + wd) & mask
            wb ^= wc
            wb = (wb << 7 | wb >> 25) & mask
            state[a], state[b], state[c], state[d] = wa, wb, wc, wd
    out = bytearray(64 * lanes)
    target = memoryview(out).cast("I")
    for k in range(16):
        lane = ((state[k] + start[k]) & mask).to_bytes(8 * lanes, "little")
        target[k::16] = memoryview(lane).cast("I")[::2]
    return bytes(out)


def _lanes(words: Sequence[int]) -> int:
    """One big int with each 32-bit word in the low half of a 64-bit lane."""
    packed = array("Q", words)
    if sys.byteorder == "big":
        packed.byteswap()
    return int.from_bytes(packed.tobytes(), "little")


def _times(x: int, y: int) -> int:
    """Product modulo the modulus, not fully reduced: below 2^3072 + 2^22."""
    product = x * y
    mask = (1 << 3072) - 1
    product = (product & mask) + (product >> 3072) * SHORTFALL
    return (product & mask) + (product >> 3072) * SHORTFALL


class MuHash:
    """A running set hash."""

    def __init__(self, number: int = 1) -> None:
        """Begin with the set that ``number`` was told of; 1 is the empty set."""
        self._product = number
        self._divisor = 1

    def insert_many(self, elements: Sequence[bytes]) -> None:
        """Add elements."""
        self._product = _multiply(self._product, elements)

    def remove_many(self, elements: Sequence[bytes]) -> None:
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


def _multiply(product: int, elements: Sequence[bytes]) -> int:
    for start in range(0, len(elements), LANES_ELEMENTS):
        keys = [sha256(element).digest() for element in elements[start : start + LANES_ELEMENTS]]
        stream = _key_streams(keys)
        for at in range(0, len(stream), NUMBER_SIZE):
            product = _times(product, int.from_bytes(stream[at : at + NUMBER_SIZE], "little"))
    return product
