"""Output descriptors of one fixed script (BIP380 and following), as ``generatetodescriptor`` takes them.

Keys are hex public keys: no extended keys, no derivation. Enough to say where a block reward goes.
"""

from __future__ import annotations

from hashlib import sha256

from btcnode.errors import DecodeError
from btcnode.params import NetworkParams
from btcnode.primitives.addresses import script_for_address
from btcnode.primitives.hashes import hash160
from btcnode.rpc.decode import descriptor_checksum
from btcnode.script.encoding import is_compressed_or_uncompressed_pubkey, is_compressed_pubkey
from btcnode.script.scriptparse import push_data
from btcnode.script.signatures import is_valid_pubkey, is_valid_xonly

MAX_BARE_KEYS = 3
MAX_KEYS = 16  # thresholds and counts are OP_1 to OP_16 here


def script_of_descriptor(text: str, params: NetworkParams) -> bytes:
    """The script_pubkey of a descriptor; raises DecodeError with the reason."""
    body, hash_sign, checksum = text.partition("#")
    expected = descriptor_checksum(body)
    if not expected:
        raise DecodeError("Invalid characters in payload")
    if hash_sign and checksum != expected:
        if len(checksum) != 8:
            raise DecodeError(f"Expected 8 character checksum, not {len(checksum)} characters")
        raise DecodeError(f"Provided checksum '{checksum}' does not match computed checksum '{expected}'")
    name, inner = _split(body)
    if name == "addr":
        try:
            return script_for_address(inner, params)
        except DecodeError:
            raise DecodeError("Address is not valid") from None
    if name == "raw":
        try:
            return bytes.fromhex(inner)
        except ValueError:
            raise DecodeError("Raw script is not hex") from None
    if name == "rawtr":
        key = _hex(inner)
        if len(key) != 32 or not is_valid_xonly(key):
            raise DecodeError(f"rawtr(): key '{inner}' is not valid")
        return b"\x51\x20" + key
    return _script(name, inner, "top")


def _split(text: str) -> tuple[str, str]:
    """``name(inner)``; raises DecodeError."""
    name, opening, rest = text.partition("(")
    if not opening or not rest.endswith(")"):
        raise DecodeError(f"'{text}' is not a valid descriptor function")
    return name, rest[:-1]


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise DecodeError(f"key '{text}' is not valid") from None


def _key(text: str, *, compressed: bool) -> bytes:
    key = _hex(text)
    if not is_compressed_or_uncompressed_pubkey(key) or not is_valid_pubkey(key):
        raise DecodeError(f"Pubkey '{text}' is invalid")
    if compressed and not is_compressed_pubkey(key):
        raise DecodeError("Uncompressed keys are not allowed")
    return key


def _script(name: str, inner: str, place: str) -> bytes:
    """The script of an expression; ``place`` is "top", "sh" or "wsh"."""
    compressed = place == "wsh"
    if name == "pk":
        return push_data(_key(inner, compressed=compressed)) + b"\xac"
    if name == "pkh":
        return b"\x76\xa9\x14" + hash160(_key(inner, compressed=compressed)) + b"\x88\xac"
    if name == "wpkh" and place != "wsh":
        return b"\x00\x14" + hash160(_key(inner, compressed=True))
    if name == "multi":
        return _multi(inner, place)
    if name == "sh" and place == "top":
        return b"\xa9\x14" + hash160(_script(*_split(inner), "sh")) + b"\x87"
    if name == "wsh" and place != "wsh":
        return b"\x00\x20" + sha256(_script(*_split(inner), "wsh")).digest()
    raise DecodeError(f"'{name}({inner})' is not a valid descriptor function")


def _multi(inner: str, place: str) -> bytes:
    threshold_text, *key_texts = inner.split(",")
    if not (threshold_text.isascii() and threshold_text.isdigit()):
        raise DecodeError(f"Multi threshold '{threshold_text}' is not valid")
    threshold, count = int(threshold_text), len(key_texts)
    if not 1 <= count <= MAX_KEYS:
        raise DecodeError(f"Cannot have {count} keys in multisig; must have between 1 and {MAX_KEYS} keys, inclusive")
    if not 1 <= threshold <= count:
        raise DecodeError(f"Multisig threshold cannot be {threshold}, with {count} keys")
    if place == "top" and count > MAX_BARE_KEYS:
        raise DecodeError(f"Cannot have {count} pubkeys in bare multisig; only at most {MAX_BARE_KEYS} pubkeys")
    keys = b"".join(push_data(_key(text, compressed=place == "wsh")) for text in key_texts)
    return bytes((0x50 + threshold,)) + keys + bytes((0x50 + count, 0xAE))
