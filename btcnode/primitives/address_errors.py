"""Where a mistyped segwit address is wrong: the BCH code of bech32 locates up to two wrong characters (BIP173)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from btcnode.primitives.addresses import (
    BECH32,
    BECH32M,
    MAX_BECH32_LENGTH,
    bech32_residue,
    bech32_values,
)

_CHECKSUM_SIZE = 6
_ORDER = 1023  # of the multiplicative group of GF(1024)
_ROOTS = (997, 998, 999)  # powers of the generator at which every codeword vanishes
_INVERSE_FIRST = _ORDER - 997
_SUBFIELD = 33  # every 33rd power of the generator lies in GF(32)


def _times32(a: int, b: int) -> int:
    """Product in GF(32): polynomials over GF(2) modulo x^5 + x^3 + 1."""
    result = 0
    for bit in range(5):
        if b >> bit & 1:
            result ^= a << bit
    for bit in range(8, 4, -1):
        if result >> bit & 1:
            result ^= 0b101001 << bit - 5
    return result


def _field() -> tuple[list[int], list[int]]:
    """Powers and logarithms in GF(1024) = GF(32)[e] with e^2 = 9e + 23; the logarithm of 0 is -1."""
    powers, logs = [0] * _ORDER, [-1] * 1024
    value = 1
    for n in range(_ORDER):
        powers[n] = value
        logs[value] = n
        high, low = value >> 5, value & 31
        value = (_times32(9, high) ^ low) << 5 | _times32(23, high)
    return powers, logs


_POW, _LOG = _field()


def _times(value: int, power: int) -> int:
    """A field element times a power of the generator."""
    return _POW[(_LOG[value] + power) % _ORDER] if value else 0


def _syndromes(residue: int) -> tuple[int, int, int]:
    """What the error polynomial is at the three roots."""
    sums = []
    for root in _ROOTS:
        total = 0
        for k in range(6):
            total ^= _times(residue >> 5 * k & 31, root * k)
        sums.append(total)
    return sums[0], sums[1], sums[2]


def _one_error(s: tuple[int, int, int], length: int) -> list[int] | None:
    """The position (from the right) of a single error; None when there are more, empty when it lies outside."""
    if 0 in s:
        return None
    steps = {(_LOG[b] - _LOG[a]) % _ORDER for a, b in pairwise(s)}
    if len(steps) > 1:
        return None
    position = steps.pop()
    inside = position < length and (_LOG[s[0]] + _INVERSE_FIRST * position) % _SUBFIELD == 0
    return [position] if inside else []


def _two_errors(s: tuple[int, int, int], length: int) -> list[int]:
    """Positions (from the right, larger first) of two errors, empty when no pair fits."""
    s0, s1, s2 = s
    for first in range(length):
        a, b = s2 ^ _times(s1, first), s1 ^ _times(s0, first)
        if not a or not b:
            continue
        second = (_LOG[a] - _LOG[b]) % _ORDER
        if second >= length or second == first:
            continue
        c = s1 ^ _times(s0, second)
        if not c:
            continue
        inverse = _ORDER - _LOG[_POW[first] ^ _POW[second]]
        if (_LOG[b] + inverse + _INVERSE_FIRST * second) % _SUBFIELD:
            continue
        if (_LOG[c] + inverse + _INVERSE_FIRST * first) % _SUBFIELD:
            continue
        return sorted((first, second), reverse=True)
    return []


def _misplaced(text: str) -> list[int]:
    """Characters of another case than the first letter's, and those that are not printable ASCII."""
    seen = ""
    wrong = []
    for at, char in enumerate(text):
        if "a" <= char <= "z" or "A" <= char <= "Z":
            case = "lower" if char >= "a" else "upper"
            seen = seen or case
            if case != seen:
                wrong.append(at)
        elif not 33 <= ord(char) <= 126:
            wrong.append(at)
    return wrong


def _checksum_errors(text: str, hrp: str, values: Sequence[int]) -> tuple[str, list[int]]:
    found: list[int] = []
    name = ""
    for constant, said in ((BECH32, "Bech32 "), (BECH32M, "Bech32m ")):
        residue = bech32_residue(hrp, values) ^ constant
        if not residue:
            return "", []
        syndromes = _syndromes(residue)
        positions = _one_error(syndromes, len(values))
        if positions is None:
            positions = _two_errors(syndromes, len(values))
        if positions and (not found or len(positions) < len(found)):
            found, name = [len(text) - 1 - position for position in positions], said
    return f"Invalid {name}checksum", found


def locate_bech32_errors(text: str) -> tuple[str, list[int]]:
    """What is wrong with a text that is no bech32 or bech32m, and at which bytes (of UTF-8) as far as that can be told.

    The message is empty for a text without errors.
    """
    text = text.encode("utf-8", "surrogateescape").decode("latin-1")
    if len(text) > MAX_BECH32_LENGTH:
        return "Bech32 string too long", list(range(MAX_BECH32_LENGTH, len(text)))
    wrong = _misplaced(text)
    if wrong:
        return "Invalid character or mixed case", wrong
    separator = text.rfind("1")
    if separator < 0:
        return "Missing separator", []
    if separator == 0 or separator + _CHECKSUM_SIZE >= len(text):
        return "Invalid separator position", [separator]
    lower = text.lower()
    values = bech32_values(lower[separator + 1 :])
    if isinstance(values, int):
        return "Invalid Base 32 character", [separator + 1 + values]
    return _checksum_errors(text, lower[:separator], values)
