"""Reading key expressions (BIP380, BIP389, BIP390), with Core's messages for what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from btcnode.descriptors.bip32 import HARDENED, KeyOrigin, parse_xprv, parse_xpub
from btcnode.descriptors.cursor import WHITE_SPACE, Cursor, is_hex, parse_number
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.keys import (
    AggregateKey,
    Derivation,
    ExtendedKeyExpression,
    FixedKey,
    KeyExpression,
    OriginKey,
)
from btcnode.descriptors.provider import Secret, SigningProvider
from btcnode.errors import DecodeError
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import secret_decode
from btcnode.script.encoding import is_sized_pubkey
from btcnode.script.signatures import is_valid_pubkey

Path = tuple[int, ...]


class Place(Enum):
    """Where an expression stands."""

    TOP = "top"
    P2SH = "sh"
    P2WPKH = "wpkh"
    P2WSH = "wsh"
    P2TR = "tr"
    MUSIG = "musig"


class KeyReader:
    """Reads keys of a network; private ones go to ``secrets``."""

    __slots__ = ("params", "secrets")

    def __init__(self, params: NetworkParams, secrets: SigningProvider) -> None:
        self.params = params
        self.secrets = secrets

    def read(self, text: str, place: Place) -> list[KeyExpression]:
        """The key expression, once for each of its multipath branches; raises DescriptorError."""
        if text.startswith("musig("):
            return self._aggregate(text, place)
        parts = text.split("]")
        if len(parts) > 2:
            raise DescriptorError("Multiple ']' characters found for a single pubkey")
        marks = _Marks()
        if len(parts) == 1:
            return self._plain(text, place, marks)
        head, key_text = parts
        if not head.startswith("["):
            raise DescriptorError(
                f"Key origin start '[ character expected but not found, got '{head[:1] or ']'}' instead"
            )
        fingerprint, *steps = head[1:].split("/")
        if len(fingerprint) != 8:
            raise DescriptorError(f"Fingerprint is not 4 bytes ({len(fingerprint)} characters instead of 8 characters)")
        if not is_hex(fingerprint):
            raise DescriptorError(f"Fingerprint '{fingerprint}' is not hex")
        origin = KeyOrigin(bytes.fromhex(fingerprint), _paths(steps, marks, multipath=False)[0])
        keys = self._plain(key_text, place, marks)
        return [OriginKey(origin, key, apostrophe=marks.apostrophe) for key in keys]

    def _plain(self, text: str, place: Place, marks: _Marks) -> list[KeyExpression]:
        """A key without origin."""
        head, *steps = text.split("/")
        if not head:
            raise DescriptorError("No key provided")
        if head[0] in WHITE_SPACE or head[-1] in WHITE_SPACE:
            raise DescriptorError(f"Key '{head}' is invalid due to whitespace")
        if not steps:
            if is_hex(head):
                return [self._hex_key(head, place)]
            key = self._secret_key(head, place)
            if key is not None:
                return [key]
        private = parse_xprv(head, self.params)
        root = private.public() if private else parse_xpub(head, self.params)
        if root is None:
            raise DescriptorError(f"key '{head}' is not valid")
        derivation = _derivation(steps, marks)
        paths = _paths(steps, marks, multipath=True)
        if private is not None:
            self.secrets.add_secret(Secret(private.secret))
        return [ExtendedKeyExpression(root, path, derivation, self.params, marks.apostrophe) for path in paths]

    def _hex_key(self, text: str, place: Place) -> KeyExpression:
        key = bytes.fromhex(text)
        if is_sized_pubkey(key) and key[0] in (6, 7):
            raise DescriptorError("Hybrid public keys are not allowed")
        if is_sized_pubkey(key) and is_valid_pubkey(key):
            if len(key) == 65 and place not in (Place.TOP, Place.P2SH):
                raise DescriptorError("Uncompressed keys are not allowed")
            return FixedKey(key, self.params)
        if len(key) == 32 and place is Place.P2TR and is_valid_pubkey(b"\x02" + key):
            return FixedKey(b"\x02" + key, self.params, xonly=True)
        raise DescriptorError(f"Pubkey '{text}' is invalid")

    def _secret_key(self, text: str, place: Place) -> KeyExpression | None:
        try:
            secret = Secret(*secret_decode(text, self.params))
        except DecodeError:
            return None
        if not secret.compressed and place not in (Place.TOP, Place.P2SH):
            raise DescriptorError("Uncompressed keys are not allowed")
        self.secrets.add_secret(secret)
        return FixedKey(secret.pubkey, self.params, xonly=place is Place.P2TR)

    # -- musig()

    def _aggregate(self, text: str, place: Place) -> list[KeyExpression]:
        if place is not Place.P2TR:
            raise DescriptorError("musig() is only allowed in tr() and rawtr()")
        head, *tails = text.split(")")
        if len(tails) > 1:
            raise DescriptorError("Too many ')' in musig() expression")
        if not tails:
            raise DescriptorError("Invalid musig() expression")
        participants = self._participants(Cursor(head + ")"))
        derivation: Derivation = Derivation.FIXED
        paths: list[Path] = [()]
        if tails[0].startswith("/"):
            derivation, paths = _aggregate_derivation(tails[0], participants)
        branches = max(map(len, participants))
        if branches > 1 and len(paths) > 1:
            raise DescriptorError("musig(): Cannot have multipath participant keys if musig() is also multipath")
        if any(len(keys) not in (1, branches) for keys in participants):
            raise DescriptorError("musig(): Multipath derivation paths have mismatched lengths")
        return [
            AggregateKey(
                [keys[n if len(keys) > 1 else 0] for keys in participants],
                paths[n if len(paths) > 1 else 0],
                derivation,
                self.params,
            )
            for n in range(max(branches, len(paths)))
        ]

    def _participants(self, inner: Cursor) -> list[list[KeyExpression]]:
        inner.enter("musig")
        result: list[list[KeyExpression]] = []
        while inner:
            if result and not inner.take(","):
                raise DescriptorError(f"musig(): expected ',', got '{inner.first}'")
            try:
                result.append(self.read(inner.expression().rest, Place.MUSIG))
            except DescriptorError as error:
                raise DescriptorError(f"musig(): {error}") from None
        if not result:
            raise DescriptorError("musig(): Must contain key expressions")
        return result


class _Marks:
    """How hardened steps were marked, and whether there were any."""

    __slots__ = ("apostrophe", "hardened")

    def __init__(self) -> None:
        self.apostrophe = False
        self.hardened = False


def _aggregate_derivation(tail: str, participants: Sequence[Sequence[KeyExpression]]) -> tuple[Derivation, list[Path]]:
    """Range and paths behind the closing parenthesis of musig()."""
    if not all(keys[0].is_extended for keys in participants):
        raise DescriptorError("musig(): derivation requires all participants to be xpubs or xprvs")
    if any(keys[0].is_range for keys in participants):
        raise DescriptorError("musig(): Cannot have ranged participant keys if musig() also has derivation")
    marks, steps = _Marks(), tail.split("/")[1:]
    derivation = _derivation(steps, marks)
    if derivation is Derivation.HARDENED_RANGED:
        raise DescriptorError("musig(): Cannot have hardened child derivation")
    try:
        paths = _paths(steps, marks, multipath=True)
    except DescriptorError as error:
        raise DescriptorError(f"musig(): {error}") from None
    if marks.hardened:
        raise DescriptorError("musig(): cannot have hardened derivation steps")
    return derivation, paths


def _derivation(steps: list[str], marks: _Marks) -> Derivation:
    """Takes a range off the end of a path."""
    last = steps[-1] if steps else ""
    if last == "*":
        steps.pop()
        return Derivation.RANGED
    if last in ("*'", "*h"):
        marks.apostrophe = last == "*'"
        steps.pop()
        return Derivation.HARDENED_RANGED
    return Derivation.FIXED


def _step(text: str, marks: _Marks) -> int:
    hardened = text[-1:] in ("'", "h") and text != ""
    if hardened:
        marks.apostrophe = text[-1] == "'"
        text = text[:-1]
    value = parse_number(text, 1 << 32)
    if value is None:
        raise DescriptorError(f"Key path value '{text}' is not a valid uint32")
    if value >= HARDENED:
        raise DescriptorError(f"Key path value {value} is out of range")
    marks.hardened = marks.hardened or hardened
    return value | HARDENED if hardened else value


def _paths(steps: Sequence[str], marks: _Marks, *, multipath: bool) -> list[Path]:
    """The path of the steps, or one for each branch of its multipath step (``<0;1>``)."""
    path: list[int] = []
    place, branches = -1, [0]
    for text in steps:
        if text.startswith("<") and text.endswith(">"):
            if not multipath:
                raise DescriptorError(
                    f"Key path value '{text}' specifies multipath in a section where multipath is not allowed"
                )
            if place >= 0:
                raise DescriptorError("Multiple multipath key path specifiers found")
            items = text[1:-1].split(";")
            if len(items) < 2:
                raise DescriptorError("Multipath key path specifiers must have at least two items")
            place, branches = len(path), []
            for item in items:
                value = _step(item, marks)
                if value in branches:
                    raise DescriptorError(f"Duplicated key path value {value} in multipath specifier")
                branches.append(value)
            path.append(0)
        else:
            path.append(_step(text, marks))
    if place < 0:
        return [tuple(path)]
    return [(*path[:place], branch, *path[place + 1 :]) for branch in branches]
