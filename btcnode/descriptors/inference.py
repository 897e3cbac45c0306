"""The descriptor of a script, as far as what is known about it goes (Core's ``InferDescriptor``)."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.descriptors.descriptor import (
    AddressDescriptor,
    Descriptor,
    MultisigDescriptor,
    PkDescriptor,
    PkhDescriptor,
    RawDescriptor,
    WpkhDescriptor,
)
from btcnode.descriptors.key_parser import Place
from btcnode.descriptors.keys import FixedKey, KeyExpression, OriginKey
from btcnode.descriptors.miniscript_decoder import decode_miniscript
from btcnode.descriptors.miniscript_parser import MAX_MULTI_A_KEYS
from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.solutions import script_number, solve
from btcnode.descriptors.taproot import infer_tree
from btcnode.descriptors.wrapping import (
    MiniscriptDescriptor,
    MultiADescriptor,
    RawTrDescriptor,
    ShDescriptor,
    TrDescriptor,
    WshDescriptor,
)
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.hashes import hash160, ripemd160
from btcnode.script.opcodes import OP_CHECKSIG, OP_CHECKSIGADD, OP_NUMEQUAL
from btcnode.script.scriptparse import iter_ops
from btcnode.script.signatures import is_valid_xonly
from btcnode.script.tapscript import LEAF_TAPSCRIPT

_SCRIPTS = (Place.TOP, Place.P2SH, Place.P2WSH)
_OUTER = (Place.TOP, Place.P2SH)


def infer_descriptor(script: bytes, provider: SigningProvider, params: NetworkParams) -> Descriptor:
    """The most telling descriptor of a script_pubkey: at least addr() or raw()."""
    found = _Inference(provider, params).script(script, Place.TOP)
    if found is not None:
        return found
    if address_for_script(script, params) is not None:
        return AddressDescriptor(script, params)
    return RawDescriptor(script)


def match_multi_a(script: bytes) -> tuple[int, list[bytes]] | None:
    """Threshold and x-only keys of the usual multisig of a taproot leaf."""
    if script[:1] != b"\x20" or script[-1] != OP_NUMEQUAL:
        return None
    keys: list[bytes] = []
    at = 0
    while len(script) - at >= 34:
        if script[at] != 32 or script[at + 33] != (OP_CHECKSIGADD if keys else OP_CHECKSIG):
            return None
        keys.append(script[at + 1 : at + 33])
        at += 34
    ops = list(iter_ops(script[at:]))
    if not 1 <= len(keys) <= MAX_MULTI_A_KEYS or len(ops) != 2 or ops[1] != (OP_NUMEQUAL, b""):
        return None
    threshold = script_number(*ops[0])
    return (threshold, keys) if threshold is not None and 1 <= threshold <= len(keys) else None


class _Inference:
    """Looks for descriptors with the help of what a provider knows."""

    def __init__(self, provider: SigningProvider, params: NetworkParams) -> None:
        self.provider = provider
        self.params = params

    def key(self, pubkey: bytes, place: Place) -> KeyExpression | None:
        """A key expression, None for a key that may not stand there."""
        if pubkey[0] in (6, 7) or (len(pubkey) != 33 and place not in _OUTER):
            return None
        key = FixedKey(pubkey, self.params)
        origin = self.provider.origin(hash160(pubkey))
        return OriginKey(origin, key) if origin else key

    def xonly(self, key: bytes) -> KeyExpression:
        """A key expression for an x-only key."""
        fixed = FixedKey(b"\x02" + key, self.params, xonly=True)
        origin = self.provider.origin_of_xonly(key)
        return OriginKey(origin, fixed) if origin else fixed

    def script(self, script: bytes, place: Place) -> Descriptor | None:
        """The descriptor of a script at this place, None when only addr() or raw() would do."""
        if place is Place.P2TR:
            if len(script) == 34 and script[0] == 32 and script[33] == OP_CHECKSIG:
                return PkDescriptor(self.xonly(script[1:33]), xonly=True)
            multi = match_multi_a(script)
            if multi is not None:
                return MultiADescriptor(multi[0], [self.xonly(key) for key in multi[1]])
        kind, data = solve(script)
        found = None
        if place in _SCRIPTS:
            found = self._keys(kind, data, place)
        if found is None and place in _OUTER:
            found = self._hashes(kind, data, place)
        if found is None and kind == "witness_v1_taproot" and place is Place.TOP:
            found = self._taproot(data[0])
        if found is None and place in (Place.P2WSH, Place.P2TR):
            found = self._miniscript(script, place)
        return found

    def _keys(self, kind: str, data: Sequence[bytes], place: Place) -> Descriptor | None:
        """pk, pkh, multi."""
        if kind == "pubkey":
            key = self.key(data[0], place)
            return PkDescriptor(key) if key else None
        if kind == "pubkeyhash":
            key = self._known(data[0], place)
            return PkhDescriptor((key,)) if key else None
        if kind == "multisig":
            keys = [self.key(pubkey, place) for pubkey in data[1:-1]]
            good = [key for key in keys if key is not None]
            return MultisigDescriptor(data[0][0], good) if len(good) == len(keys) else None
        return None

    def _known(self, key_hash: bytes, place: Place) -> KeyExpression | None:
        """The key behind a hash, where the provider has it."""
        pubkey = self.provider.pubkey(key_hash)
        return self.key(pubkey, place) if pubkey is not None else None

    def _hashes(self, kind: str, data: Sequence[bytes], place: Place) -> Descriptor | None:
        """wpkh, sh, wsh."""
        if kind == "witness_v0_keyhash":
            key = self._known(data[0], Place.P2WPKH)
            return WpkhDescriptor((key,)) if key else None
        if kind == "scripthash" and place is Place.TOP:
            inner = self._inner(data[0], Place.P2SH)
            return ShDescriptor(inner) if inner else None
        if kind == "witness_v0_scripthash":
            inner = self._inner(ripemd160(data[0]), Place.P2WSH)
            return WshDescriptor(inner) if inner else None
        return None

    def _inner(self, script_id: bytes, place: Place) -> Descriptor | None:
        script = self.provider.script(script_id)
        return self.script(script, place) if script is not None else None

    def _taproot(self, output_key: bytes) -> Descriptor | None:
        spend = self.provider.spend_data(output_key)
        leaves = infer_tree(spend, output_key) if spend is not None else None
        if spend is not None and leaves is not None:
            found = [
                self.script(leaf.script, Place.P2TR) if leaf.version == LEAF_TAPSCRIPT else None for leaf in leaves
            ]
            good = [leaf for leaf in found if leaf is not None]
            if len(good) == len(leaves):
                return TrDescriptor(self.xonly(spend.internal_key), good, [leaf.depth for leaf in leaves])
        return RawTrDescriptor((self.xonly(output_key),)) if is_valid_xonly(output_key) else None

    def _miniscript(self, script: bytes, place: Place) -> Descriptor | None:
        tapscript = place is Place.P2TR
        keys: list[KeyExpression] = []

        def remember(key: KeyExpression | None) -> int | None:
            if key is None:
                return None
            keys.append(key)
            return len(keys) - 1

        def read_key(data: bytes) -> int | None:
            if tapscript:
                return remember(self.xonly(data)) if len(data) == 32 else None
            return remember(self.key(data, place)) if len(data) == 33 and data[0] in (2, 3) else None

        node = decode_miniscript(script, tapscript, read_key, lambda digest: remember(self._known(digest, place)))
        if node is None:
            return None
        node.check_duplicates(lambda number: keys[number].derive(0, SigningProvider(), SigningProvider()))
        return MiniscriptDescriptor(keys, node) if node.is_sane else None
