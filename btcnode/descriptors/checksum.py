"""The checksum behind the ``#`` of a descriptor (BIP380)."""

from __future__ import annotations

from btcnode.descriptors.errors import DescriptorError

CHECKSUM_LENGTH = 8
_INPUT = "0123456789()[],'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#\"\\ "
_VALUES = {c: i for i, c in enumerate(_INPUT)}
_OUTPUT = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0xF5DEE51989, 0xA9FDCA3312, 0x1BAB10E32D, 0x3706B1677A, 0x644D626FFD)


def _step_table() -> list[int]:
    """What the five bits shifted out of the register feed back into it."""
    table = []
    for top in range(32):
        value = 0
        for bit, term in enumerate(_GENERATOR):
            if top >> bit & 1:
                value ^= term
        table.append(value)
    return table


_FEEDBACK = _step_table()


def descriptor_checksum(text: str) -> str:
    """The eight characters for a descriptor without ``#``; empty when it has a character it may not have."""
    check, group, count = 1, 0, 0
    feedback, values = _FEEDBACK, _VALUES
    for c in text:
        value = values.get(c)
        if value is None:
            return ""
        check = ((check & 0x7FFFFFFFF) << 5) ^ (value & 31) ^ feedback[check >> 35]
        group, count = group * 3 + (value >> 5), count + 1
        if count == 3:
            check = ((check & 0x7FFFFFFFF) << 5) ^ group ^ feedback[check >> 35]
            group = count = 0
    if count:
        check = ((check & 0x7FFFFFFFF) << 5) ^ group ^ feedback[check >> 35]
    for _ in range(CHECKSUM_LENGTH):
        check = ((check & 0x7FFFFFFFF) << 5) ^ feedback[check >> 35]
    check ^= 1
    return "".join(_OUTPUT[check >> 5 * (7 - i) & 31] for i in range(CHECKSUM_LENGTH))


def with_checksum(text: str) -> str:
    """A descriptor with its checksum."""
    return f"{text}#{descriptor_checksum(text)}"


def split_checksum(text: str, *, required: bool = False) -> tuple[str, str]:
    """The descriptor without its checksum, and the checksum that it must have; raises DescriptorError."""
    body, *given = text.split("#")
    if len(given) > 1:
        raise DescriptorError("Multiple '#' symbols")
    if not given and required:
        raise DescriptorError("Missing checksum")
    length = len(given[0].encode()) if given else CHECKSUM_LENGTH  # bytes, as Core counts characters
    if length != CHECKSUM_LENGTH:
        raise DescriptorError(f"Expected 8 character checksum, not {length} characters")
    expected = descriptor_checksum(body)
    if not expected:
        raise DescriptorError("Invalid characters in payload")
    if given and given[0] != expected:
        raise DescriptorError(f"Provided checksum '{given[0]}' does not match computed checksum '{expected}'")
    return body, expected
