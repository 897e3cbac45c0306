"""Maps from addresses to autonomous systems, in Bitcoin Core's asmap format.

A map is a program over the bits of a 16-byte address: a string of bits, lowest bit of each byte first, of instructions
*return* an ASN, *jump* if the next address bit is set, *match* some address bits or return the default, *set the
default*. Numbers are written as a class in unary and the place within the class, highest bit first.
"""

from __future__ import annotations

from btcnode.primitives.hashes import sha256d
from btcnode.tuples import NamedTuple

ADDRESS_BITS = 128
_RETURN, _JUMP, _MATCH, _DEFAULT = range(4)
_INVALID = -1
_BITS_OF_BYTE = [f"{value:08b}"[::-1] for value in range(256)]


class _Code(NamedTuple):
    """A way of writing numbers: bits of the place within each class, and the lowest number of each class."""

    sizes: tuple[int, ...]
    lowest: tuple[int, ...]


def _code(minimum: int, sizes: tuple[int, ...]) -> _Code:
    lowest = tuple(minimum + sum(1 << size for size in sizes[:k]) for k in range(len(sizes)))
    return _Code(sizes, lowest)


_TYPE = _code(0, (0, 0, 1))
_ASN = _code(1, tuple(range(15, 25)))
_PATTERN = _code(2, tuple(range(1, 9)))
_OFFSET = _code(17, tuple(range(5, 31)))
_ARGUMENT = (_ASN, _OFFSET, _PATTERN, _ASN)  # of each kind of instruction


def _read(text: str, pos: int, code: _Code) -> tuple[int, int]:
    """The number at ``pos`` of a text of bits and the place behind it; the number is -1 when the text ends within."""
    sizes = code.sizes
    last = len(sizes) - 1
    stop = text.find("0", pos, pos + last)
    if stop < 0:
        start, size = pos + last, sizes[last]
        lowest = code.lowest[last]
    else:
        start, size = stop + 1, sizes[stop - pos]
        lowest = code.lowest[stop - pos]
    end = start + size
    if end > len(text):
        return _INVALID, len(text)
    return lowest + int(text[start:end], 2) if size else lowest, end


def _as_text(data: bytes) -> str:
    return "".join([_BITS_OF_BYTE[byte] for byte in data])


def lookup(text: str, address: bytes) -> int:
    """The ASN of a 16-byte ``address`` in the bits of a map that ``is_sane`` accepts; 0 for none."""
    pos, end = 0, len(text)
    bits, left = int.from_bytes(address, "big"), ADDRESS_BITS
    default = 0
    while pos < end:
        kind, pos = _read(text, pos, _TYPE)
        if kind == _INVALID:
            break
        value, pos = _read(text, pos, _ARGUMENT[kind])
        if value == _INVALID:
            break
        if kind == _RETURN:
            return value
        if kind == _DEFAULT:
            default = value
        elif kind == _JUMP:
            if not left:
                break
            left -= 1
            if bits >> left & 1:
                pos += value
        else:
            size = value.bit_length() - 1
            if size > left:
                break
            left -= size
            if (bits >> left) & ((1 << size) - 1) != value ^ (1 << size):
                return default
    return 0


class _Walk:
    """The state of ``is_sane``: where jumps lead to and how many address bits are left there."""

    __slots__ = ("bits", "incomplete", "jumps", "pos", "previous", "text")

    def __init__(self, text: str, bits: int) -> None:
        self.text = text
        self.bits = bits
        self.pos = 0
        self.jumps: list[tuple[int, int]] = []
        self.previous = _JUMP
        self.incomplete = False

    def leave(self) -> bool | None:
        """After a return: True at a sane end of the map, False at a broken one, None when a jump leads on."""
        if self.jumps:
            target, self.bits = self.jumps.pop()
            self.previous = _JUMP
            return None if target == self.pos else False
        padding = self.text[self.pos :]
        return len(padding) <= 7 and "1" not in padding

    def jump(self, offset: int) -> bool:
        """Note where a jump leads to."""
        target = self.pos + offset
        if target > len(self.text) or not self.bits:
            return False
        self.bits -= 1
        if self.jumps and target >= self.jumps[-1][0]:
            return False
        self.jumps.append((target, self.bits))
        self.previous = _JUMP
        return True

    def match(self, pattern: int) -> bool:
        """Take the bits of a match; in a row of them one at most may be shorter than 8."""
        size = pattern.bit_length() - 1
        if self.previous != _MATCH:
            self.incomplete = False
        if size < 8 and self.incomplete:
            return False
        self.incomplete = size < 8
        self.bits -= size
        self.previous = _MATCH
        return self.bits >= 0


def is_sane(text: str, bits: int = ADDRESS_BITS) -> bool:
    """Whether every way through the map ends in a return, without waste: what Core accepts as a map."""
    walk = _Walk(text, bits)
    end = len(text)
    while walk.pos != end:
        if walk.jumps and walk.pos >= walk.jumps[-1][0]:
            return False
        kind, pos = _read(text, walk.pos, _TYPE)
        if kind == _INVALID:
            return False
        value, walk.pos = _read(text, pos, _ARGUMENT[kind])
        if value == _INVALID:
            return False
        if kind == _RETURN:
            if walk.previous == _DEFAULT:
                return False
            outcome = walk.leave()
            if outcome is not None:
                return outcome
        elif kind == _DEFAULT:
            if walk.previous == _DEFAULT:
                return False
            walk.previous = _DEFAULT
        elif not (walk.jump(value) if kind == _JUMP else walk.match(value)):
            return False
    return False


class AsMap:
    """A map in memory (8 bytes for each of the file), with the hash that identifies it (32 bytes, zeros for none)."""

    def __init__(self, data: bytes = b"") -> None:
        self._text = _as_text(data)
        self.version = sha256d(data) if data else bytes(32)

    def __bool__(self) -> bool:
        return bool(self._text)

    def is_sane(self) -> bool:
        """Whether the map can be used."""
        return is_sane(self._text)

    def lookup(self, address: bytes) -> int:
        """The ASN of 16 bytes (IPv4 within ``::ffff:0:0/96``); 0 for none."""
        return lookup(self._text, address) if self._text else 0
