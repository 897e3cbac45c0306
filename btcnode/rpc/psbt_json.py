"""Partially signed transactions as the JSON of ``decodepsbt``; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from btcnode.descriptors.bip32 import KeyOrigin, path_text
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.psbt import GlobalXpub, Proprietary, Psbt, PsbtInput, PsbtOutput
from btcnode.descriptors.psbt_roles import txout_amount
from btcnode.descriptors.sigdata import AggregateLeaf, LeafOrigin
from btcnode.descriptors.taproot import NO_KEY, control_order
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import base58check_encode
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import txout_script
from btcnode.rpc.decode import SIGHASH_NAMES, script_asm, script_json, tx_json
from btcnode.rpc.jsonvalue import amount
from btcnode.script.solver import script_type

_PREIMAGES = (
    (Fragment.RIPEMD160, "ripemd160_preimages"),
    (Fragment.SHA256, "sha256_preimages"),
    (Fragment.HASH160, "hash160_preimages"),
    (Fragment.HASH256, "hash256_preimages"),
)


def _origin(origin: KeyOrigin) -> dict[str, Any]:
    return {"master_fingerprint": origin.fingerprint.hex(), "path": "m" + path_text(origin.path)}


def _xpub(xpub: GlobalXpub) -> dict[str, Any]:
    return {"xpub": base58check_encode(xpub.raw)} | _origin(xpub.origin)


def _origins(origins: Mapping[bytes, KeyOrigin]) -> list[dict[str, Any]]:
    return [{"pubkey": key.hex()} | _origin(origin) for key, origin in sorted(origins.items())]


def _taproot_origins(origins: Mapping[bytes, LeafOrigin]) -> list[dict[str, Any]]:
    return [
        {"pubkey": key.hex()} | _origin(origin) | {"leaf_hashes": [leaf.hex() for leaf in sorted(leaves)]}
        for key, (leaves, origin) in sorted(origins.items())
    ]


def _script(script: bytes) -> dict[str, Any]:
    return {"asm": script_asm(script), "hex": script.hex(), "type": script_type(script)}


def _proprietary(items: Iterable[Proprietary]) -> list[dict[str, Any]]:
    return [
        {
            "identifier": item.identifier.hex(),
            "subtype": item.subtype,
            "key": item.key.hex(),
            "value": item.value.hex(),
        }
        for item in sorted(items, key=lambda item: item.key)
    ]


def _unknown(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.hex(): value.hex() for key, value in sorted(fields.items())}


def _aggregates(aggregates: Mapping[bytes, list[bytes]]) -> list[dict[str, Any]]:
    return [
        {"aggregate_pubkey": key.hex(), "participant_pubkeys": [part.hex() for part in parts]}
        for key, parts in sorted(aggregates.items())
    ]


def _by_participant(values: Mapping[AggregateLeaf, Mapping[bytes, bytes]], name: str) -> list[dict[str, Any]]:
    result = []
    for (aggregate, leaf), items in sorted(values.items()):
        for participant, value in sorted(items.items()):
            entry = {"participant_pubkey": participant.hex(), "aggregate_pubkey": aggregate.hex()}
            if leaf != NO_KEY:
                entry["leaf_hash"] = leaf.hex()
            result.append(entry | {name: value.hex()})
    return result


def _own_fields(item: PsbtInput | PsbtOutput) -> dict[str, Any]:
    """What ends both an input and an output."""
    result: dict[str, Any] = {}
    if item.proprietary:
        result["proprietary"] = _proprietary(item.proprietary.values())
    if item.unknown:
        result["unknown"] = _unknown(item.unknown)
    return result


def _legacy_fields(item: PsbtInput | PsbtOutput) -> dict[str, Any]:
    """Scripts and keys."""
    result: dict[str, Any] = {}
    if item.redeem_script:
        result["redeem_script"] = _script(item.redeem_script)
    if item.witness_script:
        result["witness_script"] = _script(item.witness_script)
    if item.origins:
        result["bip32_derivs"] = _origins(item.origins)
    return result


def _final_fields(item: PsbtInput) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if item.final_script_sig:
        asm = script_asm(item.final_script_sig, sighash=True)
        result["final_scriptSig"] = {"asm": asm, "hex": item.final_script_sig.hex()}
    if item.final_witness:
        result["final_scriptwitness"] = [element.hex() for element in item.final_witness]
    for fragment, name in _PREIMAGES:
        found = {digest: value for (kind, digest), value in sorted(item.preimages.items()) if kind is fragment}
        if found:
            result[name] = _unknown(found)
    return result


def _taproot_fields(item: PsbtInput) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if item.key_path_sig:
        result["taproot_key_path_sig"] = item.key_path_sig.hex()
    if item.script_path_sigs:
        result["taproot_script_path_sigs"] = [
            {"pubkey": key.hex(), "leaf_hash": leaf.hex(), "sig": sig.hex()}
            for (key, leaf), sig in sorted(item.script_path_sigs.items())
        ]
    if item.leaf_scripts:
        result["taproot_scripts"] = [
            {
                "script": script.hex(),
                "leaf_ver": version,
                "control_blocks": [block.hex() for block in sorted(blocks, key=control_order)],
            }
            for (script, version), blocks in sorted(item.leaf_scripts.items())
        ]
    if item.taproot_origins:
        result["taproot_bip32_derivs"] = _taproot_origins(item.taproot_origins)
    if item.internal_key != NO_KEY:
        result["taproot_internal_key"] = item.internal_key.hex()
    if item.merkle_root != NO_KEY:
        result["taproot_merkle_root"] = item.merkle_root.hex()
    if item.aggregates:
        result["musig2_participant_pubkeys"] = _aggregates(item.aggregates)
    if item.pubnonces:
        result["musig2_pubnonces"] = _by_participant(item.pubnonces, "pubnonce")
    if item.musig_sigs:
        result["musig2_partial_sigs"] = _by_participant(item.musig_sigs, "partial_sig")
    return result


def _input(item: PsbtInput, params: NetworkParams) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if item.witness_utxo is not None:
        result["witness_utxo"] = {
            "amount": amount(txout_amount(item.witness_utxo)),
            "scriptPubKey": script_json(txout_script(item.witness_utxo), params),
        }
    if item.non_witness_utxo is not None:
        result["non_witness_utxo"] = tx_json(item.non_witness_utxo, params, include_hex=False)
    if item.partial_sigs:
        result["partial_signatures"] = {key.hex(): sig.hex() for _, (key, sig) in sorted(item.partial_sigs.items())}
    if item.sighash is not None:
        result["sighash"] = SIGHASH_NAMES.get(item.sighash & 0xFF, "")
    return result | _legacy_fields(item) | _final_fields(item) | _taproot_fields(item) | _own_fields(item)


def _output(item: PsbtOutput) -> dict[str, Any]:
    result = _legacy_fields(item)
    if item.internal_key != NO_KEY:
        result["taproot_internal_key"] = item.internal_key.hex()
    if item.tree:
        result["taproot_tree"] = [
            {"depth": leaf.depth, "leaf_ver": leaf.version, "script": leaf.script.hex()} for leaf in item.tree
        ]
    if item.taproot_origins:
        result["taproot_bip32_derivs"] = _taproot_origins(item.taproot_origins)
    if item.aggregates:
        result["musig2_participant_pubkeys"] = _aggregates(item.aggregates)
    return result | _own_fields(item)


def _sum(txouts: Iterable[bytes | None]) -> int | None:
    """The amounts together; None when one is missing or out of range."""
    total = 0
    for txout in txouts:
        value = -1 if txout is None else txout_amount(txout)
        if not 0 <= value <= MAX_MONEY or total + value > MAX_MONEY:
            return None
        total += value
    return total


def psbt_json(psbt: Psbt, params: NetworkParams) -> dict[str, Any]:
    """Everything in a PSBT; ``fee`` is there when all amounts are known."""
    result: dict[str, Any] = {
        "tx": tx_json(psbt.tx, params, include_hex=False),
        "global_xpubs": [_xpub(xpub) for xpub in sorted(psbt.xpubs, key=lambda xpub: xpub.order)],
        "psbt_version": psbt.version or 0,
        "proprietary": _proprietary(psbt.proprietary.values()),
        "unknown": _unknown(psbt.unknown),
        "inputs": [_input(item, params) for item in psbt.inputs],
        "outputs": [_output(item) for item in psbt.outputs],
    }
    total_in, total_out = _sum(psbt.spent()), _sum(psbt.tx.txouts)
    if total_in is not None and total_out is not None:
        result["fee"] = amount(total_in - total_out)
    return result
