"""Descriptors: what stands in the brackets, and the scripts it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from typing import ClassVar

from btcnode.descriptors.checksum import with_checksum
from btcnode.descriptors.keys import ExtendedKeyExpression, KeyExpression
from btcnode.descriptors.miniscript import number_script
from btcnode.descriptors.provider import SigningProvider
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.hashes import hash160, sha256
from btcnode.script.opcodes import OP_CHECKMULTISIG, OP_CHECKSIG
from btcnode.script.scriptparse import push_data
from btcnode.script.solver import script_type

KeyText = Callable[[KeyExpression], str]
"""Writes a key into the text of a descriptor."""


def public_text(key: KeyExpression) -> str:
    """A key in a descriptor's text, without private keys."""
    return key.text()


class OutputType(StrEnum):
    """Kinds of address, named as in RPC arguments."""

    LEGACY = "legacy"
    P2SH_SEGWIT = "p2sh-segwit"
    BECH32 = "bech32"
    BECH32M = "bech32m"


_TYPE_OF_SCRIPT = {
    "pubkeyhash": OutputType.LEGACY, "scripthash": OutputType.LEGACY, "witness_v0_keyhash": OutputType.BECH32,
    "witness_v0_scripthash": OutputType.BECH32, "witness_v1_taproot": OutputType.BECH32M,
    "witness_unknown": OutputType.BECH32M, "anchor": OutputType.BECH32M,
}  # fmt: skip


def p2pkh_script(key_hash: bytes) -> bytes:
    """Pay to the hash of a public key."""
    return b"\x76\xa9\x14" + key_hash + b"\x88\xac"


def p2sh_script(inner: bytes) -> bytes:
    """Pay to the hash of a redeem script."""
    return b"\xa9\x14" + hash160(inner) + b"\x87"


def p2wsh_script(inner: bytes) -> bytes:
    """Pay to the hash of a witness script."""
    return b"\x00\x20" + sha256(inner).digest()


def multisig_script(threshold: int, pubkeys: Sequence[bytes]) -> bytes:
    """Bare multisig of up to 20 keys."""
    keys = b"".join(map(push_data, pubkeys))
    return number_script(threshold) + keys + number_script(len(pubkeys)) + bytes((OP_CHECKMULTISIG,))


class Descriptor(ABC):
    """An expression over keys and other descriptors."""

    name: ClassVar[str] = ""
    is_solvable_itself: ClassVar[bool] = True
    output_type: OutputType | None = None

    def __init__(self, keys: Sequence[KeyExpression] = (), subs: Sequence[Descriptor] = ()) -> None:
        self.keys = tuple(keys)
        self.subs = tuple(subs)

    # -- scripts

    @abstractmethod
    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """The script_pubkeys from its own keys and the scripts of its parts; what spending takes goes to ``out``."""

    def expand(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> list[bytes] | None:
        """The scripts at a position; None when a private key is needed that ``secrets`` has not.

        ``out`` learns keys, origins, scripts and trees.
        """
        found = SigningProvider()
        pubkeys: list[bytes] = []
        for key in self.keys:
            pubkey = key.derive(pos, secrets, found)
            if pubkey is None:
                return None
            pubkeys.append(pubkey)
        scripts: list[bytes] = []
        for sub in self.subs:
            made = sub.expand(pos, secrets, found)
            if made is None:
                return None
            scripts.append(made[0])
        out.merge(found)
        return self.make_scripts(pubkeys, scripts, out)

    def add_secrets(self, pos: int, secrets: SigningProvider, out: SigningProvider) -> None:
        """Put the private keys at a position into ``out``, as far as ``secrets`` leads to them."""
        for key in self.keys:
            key.add_secret(pos, secrets, out)
        for sub in self.subs:
            sub.add_secrets(pos, secrets, out)

    # -- text

    def arguments(self) -> list[str]:
        """What stands before keys and scripts."""
        return []

    def body(self, key_text: KeyText = public_text) -> str:
        """The text without checksum; ``key_text`` writes each key."""
        inside = [*self.arguments(), *map(key_text, self.keys), *self._sub_texts(key_text)]
        return f"{self.name}({','.join(inside)})"

    def _sub_texts(self, key_text: KeyText) -> list[str]:
        return [sub.body(key_text) for sub in self.subs]

    def text(self) -> str:
        """The descriptor with public keys only and its checksum."""
        return with_checksum(self.body())

    def private_text(self, secrets: SigningProvider) -> str:
        """The descriptor with the private keys that ``secrets`` has, and its checksum."""
        return with_checksum(self.body(lambda key: key.private_text(secrets)[0]))

    def normalized_text(self, secrets: SigningProvider) -> str:
        """Public keys only, those behind hardened steps in the place of what they derive from; with its checksum.

        A key that cannot be derived stays as it is.
        """
        return with_checksum(self.body(lambda key: key.normalized_text(secrets)))

    def extended_keys(self) -> Iterator[ExtendedKeyExpression]:
        """Its extended keys, those inside of others too, in the order of the text."""
        for key in self.keys:
            yield from key.extended_keys()
        for sub in self.subs:
            yield from sub.extended_keys()

    # -- properties

    @property
    def is_range(self) -> bool:
        """Whether it makes other scripts at every position."""
        return any(key.is_range for key in self.keys) or any(sub.is_range for sub in self.subs)

    @property
    def is_solvable(self) -> bool:
        """Whether it tells, apart from private keys, how to spend."""
        return self.is_solvable_itself and all(sub.is_solvable for sub in self.subs)

    @property
    def key_count(self) -> int:
        """Keys in all of it."""
        return sum(key.key_count for key in self.keys) + sum(sub.key_count for sub in self.subs)

    @property
    def warnings(self) -> list[str]:
        """What is unsafe about it although it is valid."""
        return [line for sub in self.subs for line in sub.warnings]


class AddressDescriptor(Descriptor):
    """``addr()``: any script that has an address."""

    name = "addr"
    is_solvable_itself = False

    def __init__(self, script: bytes, params: NetworkParams) -> None:
        super().__init__()
        self._script = script
        self._params = params
        self.output_type = _TYPE_OF_SCRIPT.get(script_type(script))

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        return [self._script]

    def arguments(self) -> list[str]:
        """The address of the script, which is all that stands between the brackets."""
        return [address_for_script(self._script, self._params) or ""]


class RawDescriptor(Descriptor):
    """``raw()``: any script, in hex."""

    name = "raw"
    is_solvable_itself = False

    def __init__(self, script: bytes) -> None:
        super().__init__()
        self._script = script
        self.output_type = _TYPE_OF_SCRIPT.get(script_type(script))

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        return [self._script]

    def arguments(self) -> list[str]:
        """The script in hex."""
        return [self._script.hex()]


class PkDescriptor(Descriptor):
    """``pk()``: pay to public key; in a taproot leaf to an x-only one."""

    name = "pk"

    def __init__(self, key: KeyExpression, *, xonly: bool = False) -> None:
        super().__init__((key,))
        self._xonly = xonly

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        key = pubkeys[0][1:] if self._xonly else pubkeys[0]
        return [push_data(key) + bytes((OP_CHECKSIG,))]


class PkhDescriptor(Descriptor):
    """``pkh()``: pay to the hash of a public key."""

    name = "pkh"
    output_type = OutputType.LEGACY

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        return [p2pkh_script(hash160(pubkeys[0]))]


class WpkhDescriptor(Descriptor):
    """``wpkh()``: pay to the hash of a public key, in the witness."""

    name = "wpkh"
    output_type = OutputType.BECH32

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        return [b"\x00\x14" + hash160(pubkeys[0])]


class ComboDescriptor(Descriptor):
    """``combo()``: every usual script of one key."""

    name = "combo"

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        key = pubkeys[0]
        result = [push_data(key) + bytes((OP_CHECKSIG,)), p2pkh_script(hash160(key))]
        if len(key) == 33:
            program = b"\x00\x14" + hash160(key)
            out.add_script(program)
            result += [program, p2sh_script(program)]
        return result


class ThresholdDescriptor(Descriptor):
    """So many of some keys; ``name`` is that of the form that keeps the keys in their order."""

    def __init__(self, threshold: int, keys: Sequence[KeyExpression], *, sort: bool = False) -> None:
        super().__init__(keys)
        self.threshold = threshold
        self._sort = sort

    def arguments(self) -> list[str]:
        """How many of the keys have to sign."""
        return [str(self.threshold)]

    def body(self, key_text: KeyText = public_text) -> str:
        """See ``Descriptor``."""
        return ("sorted" if self._sort else "") + super().body(key_text)

    def ordered(self, pubkeys: list[bytes]) -> list[bytes]:
        """The keys in the order in which the script has them."""
        return sorted(pubkeys) if self._sort else pubkeys


class MultisigDescriptor(ThresholdDescriptor):
    """``multi()`` and ``sortedmulti()``."""

    name = "multi"

    def make_scripts(self, pubkeys: list[bytes], scripts: list[bytes], out: SigningProvider) -> list[bytes]:
        """See ``Descriptor``."""
        return [multisig_script(self.threshold, self.ordered(pubkeys))]
