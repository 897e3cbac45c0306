"""Addresses and private keys as text: base58check, bech32 (BIP173) and bech32m (BIP350)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import sha256d
from btcnode.record import record

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_WHITE_SPACE = " \f\n\r\t\v"
_BASE58_VALUES = {c: i for i, c in enumerate(_BASE58)}
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_VALUES = {c: i for i, c in enumerate(_BECH32)}
_BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
BECH32 = 1
BECH32M = 0x2BC830A3
MAX_BECH32_LENGTH = 90
MAX_BASE58_LENGTH = 512  # characters; decoding is quadratic, and addresses and keys are far shorter

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@record
class AddressPrefixes:
    """What tells the addresses and keys of one network from another's; the prefixes of base58 texts are bytes."""

    name: str
    pubkey_prefix: bytes
    script_prefix: bytes
    secret_prefix: bytes
    xpub_prefix: bytes
    xprv_prefix: bytes
    bech32_hrp: str


def base58_encode(data: bytes) -> str:
    """Base58 of ``data``: one ``1`` for each leading zero byte."""
    value = int.from_bytes(data, "big")
    digits = []
    while value:
        value, digit = divmod(value, 58)
        digits.append(_BASE58[digit])
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + "".join(reversed(digits))


def base58_decode(text: str) -> bytes:
    """The bytes of a base58 text, white space around it left out as in Core; raises DecodeError."""
    text = text.strip(_WHITE_SPACE)
    if len(text) > MAX_BASE58_LENGTH:
        raise DecodeError(f"base58 text of {len(text)} characters")
    value = 0
    for c in text:
        digit = _BASE58_VALUES.get(c)
        if digit is None:
            raise DecodeError(f"{c!r} is not a base58 character")
        value = value * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")


def base58check_encode(data: bytes) -> str:
    """Base58 of ``data`` with its checksum."""
    return base58_encode(data + sha256d(data)[:4])


def base58check_decode(text: str) -> bytes:
    """The bytes of a base58check text without the checksum; raises DecodeError."""
    data = base58_decode(text)
    if len(data) < 4 or sha256d(data[:-4])[:4] != data[-4:]:
        raise DecodeError("wrong base58 checksum")
    return data[:-4]


def _polymod(values: Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            if top >> i & 1:
                check ^= _BECH32_GENERATOR[i]
    return check


def _expand(hrp: str) -> list[int]:
    return [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]


def bech32_residue(hrp: str, values: Sequence[int]) -> int:
    """The remainder of a whole text, checksum included: ``BECH32`` or ``BECH32M`` when it is right."""
    return _polymod([*_expand(hrp), *values])


def bech32_values(text: str) -> list[int] | int:
    """The 5-bit values of lower-case characters, or the position of the first that stands for none."""
    values = []
    for at, c in enumerate(text):
        value = _BECH32_VALUES.get(c)
        if value is None:
            return at
        values.append(value)
    return values


def bech32_encode(hrp: str, data: list[int], constant: int) -> str:
    """The text of 5-bit values; ``constant`` is ``BECH32`` or ``BECH32M``."""
    check = _polymod(_expand(hrp) + data + [0] * 6) ^ constant
    values = data + [check >> 5 * (5 - i) & 31 for i in range(6)]
    return hrp + "1" + "".join(_BECH32[value] for value in values)


def bech32_decode(text: str) -> tuple[str, list[int], int]:
    """Prefix (lower case), 5-bit values without checksum, and the constant of the checksum; raises DecodeError."""
    if len(text) > MAX_BECH32_LENGTH:
        raise DecodeError(f"bech32 text of {len(text)} characters")
    if any(not 33 <= ord(c) <= 126 for c in text):
        raise DecodeError("bech32 text with a character that is not printable ASCII")
    lower = text.lower()
    if text not in (lower, text.upper()):
        raise DecodeError("bech32 text mixes cases")
    hrp, separator, tail = lower.rpartition("1")
    if not separator or not hrp or len(tail) < 6:
        raise DecodeError("bech32 text without prefix or checksum")
    try:
        values = [_BECH32_VALUES[c] for c in tail]
    except KeyError as exc:
        raise DecodeError(f"{exc.args[0]!r} is not a bech32 character") from None
    constant = _polymod(_expand(hrp) + values)
    if constant not in (BECH32, BECH32M):
        raise DecodeError("wrong bech32 checksum")
    return hrp, values[:-6], constant


def _to_five_bits(data: bytes) -> list[int]:
    """Groups of five bits, the last one filled with zeros."""
    size = (len(data) * 8 + 4) // 5
    value = int.from_bytes(data, "big") << size * 5 - len(data) * 8
    return [value >> 5 * (size - 1 - i) & 31 for i in range(size)]


def _from_five_bits(values: list[int]) -> bytes:
    """The bytes of five-bit groups; raises DecodeError unless fewer than five bits, all zero, are left over."""
    bits = len(values) * 5
    rest = bits % 8
    total = 0
    for value in values:
        total = total << 5 | value
    if rest >= 5 or total & (1 << rest) - 1:
        raise DecodeError("bech32 data is not padded with zero bits")
    return (total >> rest).to_bytes(bits // 8, "big")


def witness_address(version: int, program: bytes, hrp: str) -> str:
    """The address of a witness program: bech32 for version 0, else bech32m."""
    return bech32_encode(hrp, [version, *_to_five_bits(program)], BECH32M if version else BECH32)


def address_for_script(script: bytes, params: AddressPrefixes) -> str | None:
    """The address of a script_pubkey; None for one that has no address.

    Those with an address: P2PKH, P2SH and every witness program whose form is known (v0 of 20 and 32 bytes, and
    all of v1 to v16, pay-to-anchor included).
    """
    size = len(script)
    if size == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return base58check_encode(params.pubkey_prefix + script[3:23])
    if size == 23 and script[:2] == b"\xa9\x14" and script[22] == 0x87:
        return base58check_encode(params.script_prefix + script[2:22])
    if 4 <= size <= 42 and script[1] == size - 2:
        if script[0] == 0 and size in (22, 34):
            return witness_address(0, script[2:], params.bech32_hrp)
        if 0x51 <= script[0] <= 0x60:
            return witness_address(script[0] - 0x50, script[2:], params.bech32_hrp)
    return None


def script_for_address(text: str, params: AddressPrefixes) -> bytes:
    """The script_pubkey of an address of the network; raises DecodeError with the reason."""
    if text[: len(params.bech32_hrp)].lower() == params.bech32_hrp:
        return _witness_script(text, params.bech32_hrp)
    data = base58check_decode(text)
    prefix, payload = data[:1], data[1:]
    if prefix not in (params.pubkey_prefix, params.script_prefix):
        raise DecodeError(f"address is not one of {params.name}")
    if len(payload) != 20:
        raise DecodeError(f"address of {len(payload)} bytes, not 20")
    if prefix == params.pubkey_prefix:
        return b"\x76\xa9\x14" + payload + b"\x88\xac"
    return b"\xa9\x14" + payload + b"\x87"


def _witness_script(text: str, expected_hrp: str) -> bytes:
    """The script of a segwit address."""
    hrp, values, constant = bech32_decode(text)
    if hrp != expected_hrp:
        raise DecodeError(f"address begins with {hrp!r}, not {expected_hrp!r}")
    if not values:
        raise DecodeError("address without data")
    version = values[0]
    if constant != (BECH32M if version else BECH32):
        raise DecodeError(
            f"address of witness version {version} has the checksum of {'bech32' if version else 'bech32m'}"
        )
    program = _from_five_bits(values[1:])
    if version > 16:
        raise DecodeError(f"witness version {version} does not exist")
    if len(program) not in (20, 32) if version == 0 else not 2 <= len(program) <= 40:
        raise DecodeError(f"witness program of version {version} with {len(program)} bytes")
    return bytes([version + 0x50 if version else 0, len(program)]) + program


def secret_encode(secret: bytes, compressed: bool, params: AddressPrefixes) -> str:
    """A 32-byte private key in wallet import format; ``compressed`` tells the form of its public key."""
    return base58check_encode(params.secret_prefix + secret + (b"\x01" if compressed else b""))


def secret_decode(text: str, params: AddressPrefixes) -> tuple[bytes, bool]:
    """The private key of a text in wallet import format, and whether its public key is compressed.

    Raises DecodeError, also for a number that is no key of secp256k1.
    """
    data = base58check_decode(text)
    if data[:1] != params.secret_prefix:
        raise DecodeError(f"not a private key of {params.name}")
    secret, tail = data[1:33], data[33:]
    if len(secret) != 32 or tail not in (b"", b"\x01"):
        raise DecodeError("private key of a wrong length")
    if not 0 < int.from_bytes(secret, "big") < _CURVE_ORDER:
        raise DecodeError("private key out of range")
    return secret, tail == b"\x01"
