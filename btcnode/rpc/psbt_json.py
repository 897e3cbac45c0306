"""Partially signed transactions as the JSON of ``decodepsbt``; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, NamedTuple, NotRequired, TypedDict

from btcnode.descriptors.bip32 import KeyOrigin, path_text
from btcnode.descriptors.miniscript_types import Fragment
from btcnode.descriptors.psbt import GlobalXpub, Proprietary, Psbt, PsbtInput, PsbtOutput
from btcnode.descriptors.sigdata import AggregateLeaf, LeafOrigin
from btcnode.descriptors.taproot import NO_KEY, control_order
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.addresses import base58check_encode
from btcnode.primitives.amounts import MAX_MONEY
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.rpc.declare import TOLD_OTHERWISE, Coins, Elided, Hex, Named
from btcnode.rpc.decode import SIGHASH_NAMES, ScriptSigJson, TxJson, UtxoScript, script_asm, script_json, tx_json
from btcnode.rpc.jsonvalue import amount
from btcnode.script.solver import script_type


class GlobalXpubJson(TypedDict):
    """An extended key and where it comes from."""

    xpub: Annotated[str, "The key"]
    master_fingerprint: Annotated[Hex, "First four bytes of the hash of the root key"]
    path: Annotated[str, "The path from there"]


class ProprietaryJson(TypedDict):
    """A field for own uses."""

    identifier: Annotated[Hex, "Whose it is"]
    subtype: Annotated[int, "Kind"]
    key: Annotated[Hex, "The whole key"]
    value: Annotated[Hex, "The value"]


class WitnessUtxo(TypedDict):
    """The output that a segwit input spends."""

    amount: Annotated[Coins, "Its amount"]
    scriptPubKey: Annotated[UtxoScript, "Its script"]


class PsbtScript(TypedDict):
    """A script that an address is the hash of."""

    asm: Annotated[str, "In words"]
    hex: Annotated[Hex, "In hex"]
    type: Annotated[str, "Its type"]


class KeyOriginJson(TypedDict):
    """A key and where it comes from."""

    pubkey: Annotated[str, "The key"]
    master_fingerprint: Annotated[str, "First four bytes of the hash of the root key"]
    path: Annotated[str, "The path from there"]


class LeafSignature(TypedDict):
    """A signature for a leaf."""

    pubkey: Annotated[str, "Key"]
    leaf_hash: Annotated[str, "Leaf"]
    sig: Annotated[str, "Signature"]


class LeafScript(TypedDict):
    """A leaf and where it is in the tree."""

    script: Annotated[Hex, "Script"]
    leaf_ver: Annotated[int, "Version"]
    control_blocks: Annotated[list[Annotated[Hex, "Control block"]], "Control blocks"]


class TaprootKeyOrigin(TypedDict):
    """An x-only key, where it comes from and which leaves have it."""

    pubkey: Annotated[str, "The key"]
    master_fingerprint: Annotated[str, "First four bytes of the hash of the root key"]
    path: Annotated[str, "The path from there"]
    leaf_hashes: Annotated[list[Annotated[Hex, "Hash of a leaf"]], "The leaves"]


class AggregateKey(TypedDict):
    """An aggregate key and whose keys are in it."""

    aggregate_pubkey: Annotated[Hex, "The aggregate key"]
    participant_pubkeys: Annotated[list[Annotated[Hex, "A key"]], "The keys in it"]


class MusigNonce(TypedDict):
    """A public nonce."""

    participant_pubkey: Annotated[Hex, "Whose it is"]
    aggregate_pubkey: Annotated[Hex, "The aggregate key it is for"]
    leaf_hash: Annotated[NotRequired[Hex], "The leaf it is for; none for the key path"]
    pubnonce: Annotated[Hex, "The value"]


class MusigSignature(TypedDict):
    """A partial signature."""

    participant_pubkey: Annotated[Hex, "Whose it is"]
    aggregate_pubkey: Annotated[Hex, "The aggregate key it is for"]
    leaf_hash: Annotated[NotRequired[Hex], "The leaf it is for; none for the key path"]
    partial_sig: Annotated[Hex, "The value"]


class TreeLeafJson(TypedDict):
    """A leaf of the tree of an output."""

    depth: Annotated[int, "Depth"]
    leaf_ver: Annotated[int, "Version"]
    script: Annotated[str, "Script"]


class LegacyFields(TypedDict):
    """Scripts and keys of an input or output."""

    redeem_script: Annotated[NotRequired[PsbtScript], "Redeem script"]
    witness_script: Annotated[NotRequired[PsbtScript], "Witness script"]
    bip32_derivs: Annotated[NotRequired[list[KeyOriginJson]], "Where keys come from"]


class OwnFields(TypedDict):
    """What ends an input or output."""

    unknown: Annotated[NotRequired[dict[str, Annotated[Hex, Named("key"), "A field"]]], "Unknown fields"]
    proprietary: Annotated[NotRequired[list[ProprietaryJson]], "Fields for own uses"]


class SpentFields(TypedDict):
    """What an input spends, and the signatures for it."""

    non_witness_utxo: Annotated[
        NotRequired[TxJson], "The transaction it spends from", Elided("As from decoderawtransaction")
    ]
    witness_utxo: Annotated[NotRequired[WitnessUtxo], "The output it spends"]
    partial_signatures: Annotated[
        NotRequired[dict[str, Annotated[str, Named("pubkey"), "Signature"]]], "Signatures by key"
    ]
    sighash: Annotated[NotRequired[str], "Hash type to sign with"]


Preimages = dict[str, Annotated[str, Named("hash"), "Preimage"]]


class FinalFields(TypedDict):
    """Final scripts of an input, and preimages."""

    final_scriptSig: Annotated[NotRequired[ScriptSigJson], "Final script"]
    final_scriptwitness: Annotated[NotRequired[list[Annotated[Hex, "Element"]]], "Final witness"]
    ripemd160_preimages: Annotated[NotRequired[Preimages], "Preimages by hash"]
    sha256_preimages: Annotated[NotRequired[Preimages], "Preimages by hash"]
    hash160_preimages: Annotated[NotRequired[Preimages], "Preimages by hash"]
    hash256_preimages: Annotated[NotRequired[Preimages], "Preimages by hash"]


class TaprootFields(TypedDict):
    """What an input has for Taproot and MuSig2."""

    taproot_key_path_sig: Annotated[NotRequired[Hex], "Signature for the key path"]
    taproot_script_path_sigs: Annotated[
        NotRequired[list[Annotated[LeafSignature, TOLD_OTHERWISE]]], "Signatures for leaves"
    ]
    taproot_scripts: Annotated[NotRequired[list[LeafScript]], "Leaves"]
    taproot_bip32_derivs: Annotated[
        NotRequired[list[TaprootKeyOrigin]], "Where x-only keys come from, and the hashes of the leaves that have them"
    ]
    taproot_internal_key: Annotated[NotRequired[Hex], "The internal key"]
    taproot_merkle_root: Annotated[NotRequired[Hex], "Root of the tree"]
    musig2_participant_pubkeys: Annotated[NotRequired[list[AggregateKey]], "Aggregate keys and whose keys are in them"]
    musig2_pubnonces: Annotated[NotRequired[list[MusigNonce]], "Public nonces"]
    musig2_partial_sigs: Annotated[NotRequired[list[MusigSignature]], "Partial signatures"]


class OutputTaprootFields(TypedDict):
    """What an output has for Taproot and MuSig2."""

    taproot_internal_key: Annotated[NotRequired[Hex], "The internal key"]
    taproot_tree: Annotated[
        NotRequired[list[Annotated[TreeLeafJson, TOLD_OTHERWISE]]], "The leaves of the tree, depth first"
    ]
    taproot_bip32_derivs: Annotated[
        NotRequired[list[TaprootKeyOrigin]], "Where x-only keys come from, and the hashes of the leaves that have them"
    ]
    musig2_participant_pubkeys: Annotated[NotRequired[list[AggregateKey]], "Aggregate keys and whose keys are in them"]


class PsbtInputJson(SpentFields, LegacyFields, FinalFields, TaprootFields, OwnFields):
    """An input."""


class PsbtOutputJson(LegacyFields, OutputTaprootFields, OwnFields):
    """An output."""


class PsbtJson(TypedDict):
    """A whole partially signed transaction."""

    tx: Annotated[TxJson, "The transaction", Elided("As from decoderawtransaction")]
    global_xpubs: Annotated[list[GlobalXpubJson], "Extended keys"]
    psbt_version: Annotated[int, "Version of the format"]
    proprietary: Annotated[list[ProprietaryJson], "Fields for own uses"]
    unknown: Annotated[dict[str, Annotated[Hex, Named("key"), "A field"]], "Unknown fields"]
    inputs: Annotated[list[PsbtInputJson], "Inputs"]
    outputs: Annotated[list[PsbtOutputJson], "Outputs"]
    fee: Annotated[NotRequired[Coins], "The fee, when all amounts are known"]


_PreimageField = Literal["ripemd160_preimages", "sha256_preimages", "hash160_preimages", "hash256_preimages"]
_PREIMAGES: tuple[tuple[Fragment, _PreimageField], ...] = (
    (Fragment.RIPEMD160, "ripemd160_preimages"),
    (Fragment.SHA256, "sha256_preimages"),
    (Fragment.HASH160, "hash160_preimages"),
    (Fragment.HASH256, "hash256_preimages"),
)


def _path(origin: KeyOrigin) -> str:
    return "m" + path_text(origin.path)


def _xpub(xpub: GlobalXpub) -> GlobalXpubJson:
    return {
        "xpub": base58check_encode(xpub.raw),
        "master_fingerprint": xpub.origin.fingerprint.hex(),
        "path": _path(xpub.origin),
    }


def _origins(origins: Mapping[bytes, KeyOrigin]) -> list[KeyOriginJson]:
    return [
        {"pubkey": key.hex(), "master_fingerprint": origin.fingerprint.hex(), "path": _path(origin)}
        for key, origin in sorted(origins.items())
    ]


def _taproot_origins(origins: Mapping[bytes, LeafOrigin]) -> list[TaprootKeyOrigin]:
    return [
        {
            "pubkey": key.hex(),
            "master_fingerprint": origin.fingerprint.hex(),
            "path": _path(origin),
            "leaf_hashes": [leaf.hex() for leaf in sorted(leaves)],
        }
        for key, (leaves, origin) in sorted(origins.items())
    ]


def _script(script: bytes) -> PsbtScript:
    return {"asm": script_asm(script), "hex": script.hex(), "type": script_type(script)}


def _proprietary(items: Iterable[Proprietary]) -> list[ProprietaryJson]:
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


def _aggregates(aggregates: Mapping[bytes, list[bytes]]) -> list[AggregateKey]:
    return [
        {"aggregate_pubkey": key.hex(), "participant_pubkeys": [part.hex() for part in parts]}
        for key, parts in sorted(aggregates.items())
    ]


class _Participation(NamedTuple):
    """Whose value it is, and for which key of which leaf."""

    participant: bytes
    aggregate: bytes
    leaf: bytes
    value: bytes


def _by_participant(values: Mapping[AggregateLeaf, Mapping[bytes, bytes]]) -> list[_Participation]:
    return [
        _Participation(participant, aggregate, leaf, value)
        for (aggregate, leaf), items in sorted(values.items())
        for participant, value in sorted(items.items())
    ]


def _nonce(item: _Participation) -> MusigNonce:
    participant, aggregate, value = item.participant.hex(), item.aggregate.hex(), item.value.hex()
    if item.leaf == NO_KEY:
        return {"participant_pubkey": participant, "aggregate_pubkey": aggregate, "pubnonce": value}
    leaf = item.leaf.hex()
    return {"participant_pubkey": participant, "aggregate_pubkey": aggregate, "leaf_hash": leaf, "pubnonce": value}


def _signature(item: _Participation) -> MusigSignature:
    participant, aggregate, value = item.participant.hex(), item.aggregate.hex(), item.value.hex()
    if item.leaf == NO_KEY:
        return {"participant_pubkey": participant, "aggregate_pubkey": aggregate, "partial_sig": value}
    leaf = item.leaf.hex()
    return {"participant_pubkey": participant, "aggregate_pubkey": aggregate, "leaf_hash": leaf, "partial_sig": value}


def _own_fields(item: PsbtInput | PsbtOutput) -> OwnFields:
    result: OwnFields = {}
    if item.proprietary:
        result["proprietary"] = _proprietary(item.proprietary.values())
    if item.unknown:
        result["unknown"] = _unknown(item.unknown)
    return result


def _legacy_fields(item: PsbtInput | PsbtOutput) -> LegacyFields:
    result: LegacyFields = {}
    if item.redeem_script:
        result["redeem_script"] = _script(item.redeem_script)
    if item.witness_script:
        result["witness_script"] = _script(item.witness_script)
    if item.origins:
        result["bip32_derivs"] = _origins(item.origins)
    return result


def _final_fields(item: PsbtInput) -> FinalFields:
    result: FinalFields = {}
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


def _taproot_fields(item: PsbtInput) -> TaprootFields:
    result: TaprootFields = {}
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
        result["musig2_pubnonces"] = [*map(_nonce, _by_participant(item.pubnonces))]
    if item.musig_sigs:
        result["musig2_partial_sigs"] = [*map(_signature, _by_participant(item.musig_sigs))]
    return result


def _input(item: PsbtInput, params: NetworkParams) -> PsbtInputJson:
    result: SpentFields = {}
    if item.witness_utxo is not None:
        result["witness_utxo"] = {
            "amount": amount(txout_value(item.witness_utxo)),
            "scriptPubKey": script_json(txout_script(item.witness_utxo), params),
        }
    if item.non_witness_utxo is not None:
        result["non_witness_utxo"] = tx_json(item.non_witness_utxo, params)
    if item.partial_sigs:
        result["partial_signatures"] = {key.hex(): sig.hex() for _, (key, sig) in sorted(item.partial_sigs.items())}
    if item.sighash is not None:
        result["sighash"] = SIGHASH_NAMES.get(item.sighash & 0xFF, "")
    return {
        **result,
        **_legacy_fields(item),
        **_final_fields(item),
        **_taproot_fields(item),
        **_own_fields(item),
    }


def _output(item: PsbtOutput) -> PsbtOutputJson:
    result: OutputTaprootFields = {}
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
    return {**_legacy_fields(item), **result, **_own_fields(item)}


def _sum(txouts: Iterable[bytes | None]) -> int | None:
    """The amounts together; None when one is missing or out of range."""
    total = 0
    for txout in txouts:
        value = -1 if txout is None else txout_value(txout)
        if not 0 <= value <= MAX_MONEY or total + value > MAX_MONEY:
            return None
        total += value
    return total


def psbt_json(psbt: Psbt, params: NetworkParams) -> PsbtJson:
    """Everything in a PSBT; ``fee`` is there when all amounts are known."""
    result: PsbtJson = {
        "tx": tx_json(psbt.tx, params),
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
