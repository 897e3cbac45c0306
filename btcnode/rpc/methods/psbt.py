"""The roles of a partially signed transaction."""

from __future__ import annotations

import os
from collections.abc import Iterable
from copy import deepcopy
from random import SystemRandom
from typing import Annotated, NotRequired, TypedDict

from btcnode.descriptors import psbt_roles
from btcnode.descriptors.provider import SecretNonces, SigningProvider
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_roles import (
    Analysis,
    InputAnalysis,
    Outcome,
    analyze,
    combine,
    drop_unneeded_transactions,
    join,
    sign_input,
    update_output,
)
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.descriptors.sign_transaction import with_scripts
from btcnode.descriptors.signing import is_segwit_output
from btcnode.primitives.coin import txout_script
from btcnode.rpc.declare import MUST, Coins, Hex, Named, in_order, rpc
from btcnode.rpc.descriptors import PsbtDescriptors, ScanItem, scan_scripts
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Items
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.methods.psbt_decode import PsbtText, parse_psbt
from btcnode.rpc.room import aside, beside, in_slices
from btcnode.rpc.transactions import (
    Inputs,
    IsWitness,
    LockTime,
    Outputs,
    Replaceable,
    SighashType,
    TxVersion,
    build_transaction,
    decode_transaction,
    find_transaction,
    find_txouts,
    parse_sighash,
)
from btcnode.services.parts import NodeParts


@rpc("rawtransactions", examples=(([{"txid": "myid", "vout": 0}], [{"address": 0.01}]),), pure=True)
def createpsbt(
    node: NodeParts,
    inputs: Inputs,
    outputs: Outputs,
    locktime: LockTime = 0,
    replaceable: Replaceable = None,
    version: TxVersion = 2,
) -> Annotated[str, "The PSBT"]:
    """A blank PSBT for a transaction of these inputs and outputs."""
    return encode_psbt(Psbt.of(build_transaction(inputs, outputs, locktime, replaceable, version, node.params)))


@rpc("rawtransactions", examples=(("rawtransaction",),), pure=True)
def converttopsbt(
    node: NodeParts,
    hexstring: Annotated[Hex, "The transaction"],
    permitsigdata: Annotated[bool, "Whether to drop signatures instead of refusing them"] = False,
    iswitness: IsWitness = None,
) -> Annotated[str, "The PSBT"]:
    """A blank PSBT for a transaction in hex."""
    tx = decode_transaction(hexstring, witness=iswitness)
    if (any(tx.script_sigs) or any(tx.witnesses)) and not permitsigdata:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Inputs must not have scriptSigs and scriptWitnesses")
    return encode_psbt(Psbt.of(with_scripts(tx, [b""] * len(tx.prevouts), [])))


@rpc("rawtransactions", examples=((["mybase64_1", "mybase64_2"],),), pure=True)
def combinepsbt(
    node: NodeParts, txs: Annotated[Items[Annotated[str, Named("psbt"), "A PSBT"]], "PSBTs in base64"]
) -> Annotated[str, "The PSBT"]:
    """One PSBT with all that several for the same transaction have."""
    if not txs:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Parameter 'txs' cannot be empty")
    combined = combine([parse_psbt(text) for text in txs])
    if combined is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, "PSBTs not compatible (different transactions)")
    return encode_psbt(combined)


class FinalizedPsbt(TypedDict):
    """A transaction, or the PSBT as far as it is."""

    psbt: Annotated[NotRequired[str], "The PSBT, when there is no transaction"]
    hex: Annotated[NotRequired[Hex], "The transaction"]
    complete: Annotated[bool, "Whether nothing is missing"]


@rpc("rawtransactions", examples=(("psbt",),), pure=True)
def finalizepsbt(
    node: NodeParts,
    psbt: PsbtText,
    extract: Annotated[bool, "Whether a complete transaction is returned instead of the PSBT"] = True,
) -> FinalizedPsbt:
    """Make final what has all its signatures, and take the transaction out when that is everything."""
    found = parse_psbt(psbt)
    complete = psbt_roles.finalize(found)
    if complete and extract:
        return {"hex": psbt_roles.extract(found).raw.hex(), "complete": complete}
    return {"psbt": encode_psbt(found), "complete": complete}


@rpc("rawtransactions", examples=((["psbt1", "psbt2"],),), pure=True)
def joinpsbts(
    node: NodeParts, txs: Annotated[Items[Annotated[str, Named("psbt"), "A PSBT", MUST]], "PSBTs in base64"]
) -> Annotated[str, "The PSBT"]:
    """One PSBT with the inputs and outputs of several; no input may be in two of them."""
    if len(txs) <= 1:
        raise RpcError(RpcCode.INVALID_PARAMETER, "At least two PSBTs are required to join PSBTs.")
    psbts = [parse_psbt(text) for text in txs]
    try:
        return encode_psbt(join(psbts, SystemRandom().shuffle))
    except ValueError as error:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Input {error} exists in multiple PSBTs") from None


class MissingParts(TypedDict):
    """What an input does not have."""

    pubkeys: Annotated[NotRequired[list[Hex]], "HASH160 of keys of which the origin is missing"]
    signatures: Annotated[NotRequired[list[Hex]], "HASH160 of keys whose signature is missing"]
    redeemscript: Annotated[NotRequired[Hex], "HASH160 of the redeem script"]
    witnessscript: Annotated[NotRequired[Hex], "SHA256 of the witness script"]


class PsbtInputAnalysis(TypedDict):
    """What an input needs."""

    has_utxo: Annotated[bool, "Whether what it spends is there"]
    is_final: Annotated[bool, "Whether it is final"]
    missing: Annotated[NotRequired[MissingParts], "What is missing"]
    next: Annotated[NotRequired[str], "Role of who is next"]


class PsbtAnalysis(TypedDict):
    """What a PSBT needs."""

    inputs: Annotated[NotRequired[list[PsbtInputAnalysis]], "Inputs"]
    estimated_vsize: Annotated[NotRequired[int], "Virtual size of the signed transaction"]
    estimated_feerate: Annotated[NotRequired[Coins], "Feerate of the signed transaction in BTC/kvB"]
    fee: Annotated[NotRequired[Coins], "The fee, when all amounts are known"]
    next: Annotated[str, "Role of who is next"]
    error: Annotated[NotRequired[str], "Why it can come to nothing"]


def _input_json(item: InputAnalysis) -> PsbtInputAnalysis:
    result: PsbtInputAnalysis = {"has_utxo": item.has_utxo, "is_final": item.is_final, "next": item.next.name.lower()}
    told = item.missing
    missing: MissingParts = {}
    if told.missing_pubkeys:
        missing["pubkeys"] = [key.hex() for key in told.missing_pubkeys]
    if told.missing_redeem_script:
        missing["redeemscript"] = told.missing_redeem_script.hex()
    if told.missing_witness_script:
        missing["witnessscript"] = told.missing_witness_script.hex()
    if told.missing_sigs:
        missing["signatures"] = [key.hex() for key in told.missing_sigs]
    if missing:
        result["missing"] = missing
    return result


def _analysis_json(found: Analysis) -> PsbtAnalysis:
    result: PsbtAnalysis = {"next": found.next.name.lower()}
    if found.inputs:
        result["inputs"] = [_input_json(item) for item in found.inputs]
    if found.vsize is not None:
        result["estimated_vsize"] = found.vsize
        if found.fee is not None:
            result["estimated_feerate"] = amount(found.fee * 1000 // found.vsize)
    if found.fee is not None:
        result["fee"] = amount(found.fee)
    if found.error:
        result["error"] = found.error
    return in_order(PsbtAnalysis, result)


@rpc("rawtransactions", examples=(("psbt",),), pure=True)
def analyzepsbt(node: NodeParts, psbt: PsbtText) -> PsbtAnalysis:
    """What a PSBT still needs, and who is next."""
    return _analysis_json(analyze(parse_psbt(psbt)))


async def _update_psbt(
    node: NodeParts, text: str, provider: SigningProvider, hash_type: int | None, *, final: bool
) -> Psbt:
    """A PSBT with what mempool, UTXO set, txindex and provider know of its inputs and outputs, signed if possible."""
    psbt = await aside(lambda: parse_psbt(text))
    if node.indexes.transactions is not None:
        await node.indexes.transactions.until_synced()
    missing = []
    async for item, outpoint in in_slices(zip(psbt.inputs, psbt.tx.prevouts, strict=True)):
        if item.non_witness_utxo is None:
            found = await find_transaction(node, outpoint[:32])
            item.non_witness_utxo = found.tx if found is not None else None
        if item.non_witness_utxo is None:
            missing.append(outpoint)
    txouts = await find_txouts(node, missing)
    await aside(lambda: _fill(psbt, provider, txouts, hash_type, final=final))
    return psbt


def _fill(
    psbt: Psbt, provider: SigningProvider, txouts: dict[bytes, bytes], hash_type: int | None, *, final: bool
) -> None:
    """Take over what the inputs spend and what the provider knows, and sign what can be signed; raises RpcError."""
    for item, outpoint in zip(psbt.inputs, psbt.tx.prevouts, strict=True):
        txout = txouts.get(outpoint) if item.non_witness_utxo is None else None
        if txout is not None and is_segwit_output(txout_script(txout), provider):
            item.witness_utxo = txout
    for index, item in enumerate(psbt.inputs):
        if item.is_final:
            continue
        if sign_input(provider, psbt, index, hash_type=hash_type, finalize=final) is Outcome.SIGHASH_MISMATCH:
            why = "Specified sighash value does not match value stored in PSBT"
            raise RpcError(RpcCode.DESERIALIZATION_ERROR, why)
    for index in range(len(psbt.outputs)):
        update_output(provider, psbt, index)
    drop_unneeded_transactions(psbt)


async def _provider(node: NodeParts, descriptors: Iterable[ScanItem], *, with_secrets: bool) -> SigningProvider:
    """What the descriptors tell."""
    provider = SigningProvider(SecretNonces(os.urandom) if with_secrets else None)

    def learn() -> None:
        for item in descriptors:
            scan_scripts(item, node.params, provider, with_secrets=with_secrets)

    await beside(learn)
    return provider


@rpc("rawtransactions", examples=(("psbt",),))
async def utxoupdatepsbt(
    node: NodeParts,
    psbt: PsbtText,
    descriptors: PsbtDescriptors | None = None,
) -> Annotated[str, "The PSBT"]:
    """A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs and its outputs."""
    provider = await _provider(node, descriptors or [], with_secrets=False)
    provider.hide_secrets = True
    found = await _update_psbt(node, psbt, provider, None, final=False)
    return await aside(lambda: encode_psbt(found))


class ProcessedPsbt(TypedDict):
    """A PSBT after its update."""

    psbt: Annotated[str, "The PSBT"]
    complete: Annotated[bool, "Whether nothing is missing"]
    hex: Annotated[NotRequired[Hex], "The transaction, when nothing is missing"]


@rpc(
    "rawtransactions",
    examples=(("psbt", ["descriptor1", "descriptor2"]), ("psbt", [{"desc": "mydescriptor", "range": 21}])),
)
async def descriptorprocesspsbt(
    node: NodeParts,
    psbt: PsbtText,
    descriptors: PsbtDescriptors,
    sighashtype: SighashType = None,
    bip32derivs: Annotated[bool, "Whether to tell where keys come from"] = True,
    finalize: Annotated[bool, "Whether to make complete inputs final"] = True,
) -> ProcessedPsbt:
    """A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs, signed with the keys in them."""
    provider = await _provider(node, descriptors, with_secrets=True)
    provider.hide_origins = not bip32derivs
    found = await _update_psbt(node, psbt, provider, parse_sighash(sighashtype), final=finalize)
    return await aside(lambda: _processed(found))


def _processed(found: Psbt) -> ProcessedPsbt:
    complete = all(item.is_final for item in found.inputs)
    result: ProcessedPsbt = {"psbt": encode_psbt(found), "complete": complete}
    if complete:
        copy = deepcopy(found)
        psbt_roles.finalize(copy)
        result["hex"] = psbt_roles.extract(copy).raw.hex()
    return result
