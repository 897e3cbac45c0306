"""The bytes of a partially signed transaction, fields in Core's order."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping

from btcnode.descriptors import psbt_reader as types
from btcnode.descriptors.bip32 import KeyOrigin
from btcnode.descriptors.psbt import Proprietary, Psbt, PsbtInput, PsbtOutput
from btcnode.descriptors.sigdata import AggregateLeaf, LeafOrigin
from btcnode.descriptors.taproot import NO_KEY, control_order
from btcnode.primitives.compactsize import compact_size

_SEPARATOR = b"\0"


def _sized(data: bytes) -> bytes:
    return compact_size(len(data)) + data


def _field(kind: int, value: bytes, key: bytes = b"") -> bytes:
    return _sized(bytes((kind,)) + key) + _sized(value)


def _origin(origin: KeyOrigin) -> bytes:
    return origin.fingerprint + b"".join(step.to_bytes(4, "little") for step in origin.path)


def _origins(kind: int, origins: Mapping[bytes, KeyOrigin]) -> list[bytes]:
    return [_field(kind, _origin(origin), key) for key, origin in sorted(origins.items())]


def _taproot_origins(kind: int, origins: Mapping[bytes, LeafOrigin]) -> list[bytes]:
    return [
        _field(kind, compact_size(len(leaves)) + b"".join(sorted(leaves)) + _origin(origin), key)
        for key, (leaves, origin) in sorted(origins.items())
    ]


def _aggregates(kind: int, aggregates: Mapping[bytes, list[bytes]]) -> list[bytes]:
    return [_field(kind, b"".join(keys), aggregate) for aggregate, keys in sorted(aggregates.items())]


def _by_participant(kind: int, values: Mapping[AggregateLeaf, Mapping[bytes, bytes]]) -> list[bytes]:
    return [
        _field(kind, value, participant + aggregate + (leaf if leaf != NO_KEY else b""))
        for (aggregate, leaf), items in sorted(values.items())
        for participant, value in sorted(items.items())
    ]


def _proprietary(fields: Mapping[bytes, Proprietary]) -> list[bytes]:
    return [_sized(key) + _sized(item.value) for key, item in sorted(fields.items())]


def _unknown(fields: Mapping[bytes, bytes]) -> list[bytes]:
    return [_sized(key) + _sized(value) for key, value in sorted(fields.items())]


def _unless_empty(fields: Iterable[tuple[int, bytes]]) -> list[bytes]:
    return [_field(kind, value) for kind, value in fields if value and value != NO_KEY]


def _signing_fields(item: PsbtInput) -> list[bytes]:
    """What is of no more use once an input is final."""
    parts = [_field(types.IN_PARTIAL_SIG, sig, key) for _, (key, sig) in sorted(item.partial_sigs.items())]
    if item.sighash is not None:
        parts.append(_field(types.IN_SIGHASH, item.sighash.to_bytes(4, "little", signed=True)))
    parts += _unless_empty(((types.IN_REDEEM, item.redeem_script), (types.IN_WITNESS, item.witness_script)))
    parts += _origins(types.IN_BIP32, item.origins)
    for kind, fragment in types.IN_HASHES.items():
        found = sorted((digest, preimage) for (f, digest), preimage in item.preimages.items() if f is fragment)
        parts += [_field(kind, preimage, digest) for digest, preimage in found]
    parts += _unless_empty(((types.IN_TAP_KEY_SIG, item.key_path_sig),))
    for (key, leaf), sig in sorted(item.script_path_sigs.items()):
        parts.append(_field(types.IN_TAP_SCRIPT_SIG, sig, key + leaf))
    for (script, version), controls in sorted(item.leaf_scripts.items()):
        for control in sorted(controls, key=control_order):
            parts.append(_field(types.IN_TAP_LEAF, script + bytes((version,)), control))
    parts += _taproot_origins(types.IN_TAP_BIP32, item.taproot_origins)
    parts += _unless_empty(((types.IN_TAP_KEY, item.internal_key), (types.IN_TAP_ROOT, item.merkle_root)))
    parts += _aggregates(types.IN_MUSIG_KEYS, item.aggregates)
    parts += _by_participant(types.IN_MUSIG_NONCE, item.pubnonces)
    parts += _by_participant(types.IN_MUSIG_SIG, item.musig_sigs)
    return parts


def _input(item: PsbtInput) -> list[bytes]:
    parts = []
    if item.non_witness_utxo is not None:
        parts.append(_field(types.IN_NON_WITNESS_UTXO, item.non_witness_utxo.stripped()))
    if item.witness_utxo is not None:
        parts.append(_field(types.IN_WITNESS_UTXO, item.witness_utxo))
    if not item.is_final:
        parts += _signing_fields(item)
    parts += _unless_empty(((types.IN_SCRIPT_SIG, item.final_script_sig),))
    if item.final_witness:
        stack = compact_size(len(item.final_witness)) + b"".join(map(_sized, item.final_witness))
        parts.append(_field(types.IN_SCRIPT_WITNESS, stack))
    return [*parts, *_proprietary(item.proprietary), *_unknown(item.unknown), _SEPARATOR]


def _output(item: PsbtOutput) -> list[bytes]:
    parts = _unless_empty(((types.OUT_REDEEM, item.redeem_script), (types.OUT_WITNESS, item.witness_script)))
    parts += _origins(types.OUT_BIP32, item.origins)
    parts += _proprietary(item.proprietary)
    parts += _unless_empty(((types.OUT_TAP_KEY, item.internal_key),))
    tree = b"".join(bytes((leaf.depth, leaf.version)) + _sized(leaf.script) for leaf in item.tree)
    parts += _unless_empty(((types.OUT_TAP_TREE, tree),))
    parts += _taproot_origins(types.OUT_TAP_BIP32, item.taproot_origins)
    parts += _aggregates(types.OUT_MUSIG_KEYS, item.aggregates)
    return [*parts, *_unknown(item.unknown), _SEPARATOR]


def write_psbt(psbt: Psbt) -> bytes:
    """The bytes of a PSBT. As Core does, previous transactions are written without their witness."""
    parts = [types.MAGIC, _field(types.GLOBAL_TX, psbt.tx.stripped())]
    for xpub in sorted(psbt.xpubs, key=lambda item: item.order):
        parts.append(_field(types.GLOBAL_XPUB, _origin(xpub.origin), xpub.raw))
    if psbt.version:
        parts.append(_field(types.GLOBAL_VERSION, psbt.version.to_bytes(4, "little")))
    parts += [*_proprietary(psbt.proprietary), *_unknown(psbt.unknown), _SEPARATOR]
    for item in psbt.inputs:
        parts += _input(item)
    for output in psbt.outputs:
        parts += _output(output)
    return b"".join(parts)


def encode_psbt(psbt: Psbt) -> str:
    """A PSBT in base64."""
    return b64encode(write_psbt(psbt)).decode()
