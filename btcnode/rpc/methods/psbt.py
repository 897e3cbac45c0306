"""The roles of a partially signed transaction."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from random import SystemRandom
from typing import Any

from btcnode.descriptors.provider import SigningProvider
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_roles import (
    Analysis,
    InputAnalysis,
    Outcome,
    analyze,
    combine,
    drop_unneeded_transactions,
    extract,
    finalize,
    join,
    sign_input,
    update_output,
)
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.descriptors.sign_transaction import with_scripts
from btcnode.descriptors.signing import is_segwit_output
from btcnode.primitives.coin import txout_script
from btcnode.rpc.descriptors import scan_objects, scan_scripts
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.methods.psbt_decode import PSBT_ARG, parse_psbt
from btcnode.rpc.methods.rawtransactions import CREATE_ARGS, SIGHASH_ARG
from btcnode.rpc.spec import Arg, Kind, arr, boolean, coins, hexed, number, obj, rpc, string
from btcnode.rpc.transactions import build_transaction, decode_transaction, find_transaction, find_txouts, parse_sighash
from btcnode.services.parts import NodeParts

_PSBTS_ARG = Arg("txs", Kind.ARR, "PSBTs in base64", inner=(Arg("psbt", Kind.STR, "A PSBT", None),))
_SCAN_OBJECTS = scan_objects()


@rpc(
    "rawtransactions",
    "A blank PSBT for a transaction of these inputs and outputs.",
    *CREATE_ARGS,
    returns=string("", "The PSBT"),
    examples=(([{"txid": "myid", "vout": 0}], [{"address": 0.01}]),),
)
def createpsbt(
    node: NodeParts, inputs: list[Any], outputs: Any, locktime: int, replaceable: bool | None, version: int
) -> str:
    """See the declaration."""
    return encode_psbt(Psbt.of(build_transaction(inputs, outputs, locktime, replaceable, version, node.params)))


@rpc(
    "rawtransactions",
    "A blank PSBT for a transaction in hex.",
    Arg("hexstring", Kind.HEX, "The transaction"),
    Arg("permitsigdata", Kind.BOOL, "Whether to drop signatures instead of refusing them", False),
    Arg("iswitness", Kind.BOOL, "Whether it is in the form with witness", None, hint="depends on heuristic tests"),
    returns=string("", "The PSBT"),
    examples=(("rawtransaction",),),
)
def converttopsbt(node: NodeParts, hexstring: str, permitsigdata: bool, iswitness: bool | None) -> str:
    """See the declaration."""
    tx = decode_transaction(hexstring, witness=iswitness)
    if (any(tx.script_sigs) or any(tx.witnesses)) and not permitsigdata:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, "Inputs must not have scriptSigs and scriptWitnesses")
    return encode_psbt(Psbt.of(with_scripts(tx, [b""] * len(tx.prevouts), [])))


@rpc(
    "rawtransactions",
    "One PSBT with all that several for the same transaction have.",
    _PSBTS_ARG,
    returns=string("", "The PSBT"),
    examples=((["mybase64_1", "mybase64_2"],),),
)
def combinepsbt(node: NodeParts, txs: list[Any]) -> str:
    """See the declaration."""
    if not txs:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Parameter 'txs' cannot be empty")
    combined = combine([parse_psbt(text) for text in txs])
    if combined is None:
        raise RpcError(RpcCode.INVALID_PARAMETER, "PSBTs not compatible (different transactions)")
    return encode_psbt(combined)


@rpc(
    "rawtransactions",
    "Make final what has all its signatures, and take the transaction out when that is everything.",
    PSBT_ARG,
    Arg("extract", Kind.BOOL, "Whether a complete transaction is returned instead of the PSBT", True),
    returns=obj(
        "",
        "",
        string("psbt", "The PSBT, when there is no transaction", optional=True),
        hexed("hex", "The transaction", optional=True),
        boolean("complete", "Whether nothing is missing"),
    ),
    examples=(("psbt",),),
)
def finalizepsbt(node: NodeParts, psbt: str, take_out: bool) -> dict[str, Any]:
    """See the declaration."""
    found = parse_psbt(psbt)
    complete = finalize(found)
    if complete and take_out:
        return {"hex": extract(found).raw.hex(), "complete": complete}
    return {"psbt": encode_psbt(found), "complete": complete}


@rpc(
    "rawtransactions",
    "One PSBT with the inputs and outputs of several; no input may be in two of them.",
    Arg("txs", Kind.ARR, "PSBTs in base64", inner=(Arg("psbt", Kind.STR, "A PSBT"),)),
    returns=string("", "The PSBT"),
    examples=((["psbt1", "psbt2"],),),
)
def joinpsbts(node: NodeParts, txs: list[Any]) -> str:
    """See the declaration."""
    if len(txs) <= 1:
        raise RpcError(RpcCode.INVALID_PARAMETER, "At least two PSBTs are required to join PSBTs.")
    psbts = [parse_psbt(text) for text in txs]
    try:
        return encode_psbt(join(psbts, SystemRandom().shuffle))
    except ValueError as error:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Input {error} exists in multiple PSBTs") from None


def _input_json(item: InputAnalysis) -> dict[str, Any]:
    result: dict[str, Any] = {"has_utxo": item.has_utxo, "is_final": item.is_final, "next": item.next.name.lower()}
    told = item.missing
    missing: dict[str, Any] = {}
    if told.missing_pubkeys:
        missing["pubkeys"] = [key.hex() for key in told.missing_pubkeys]
    if told.missing_redeem_script:
        missing["redeemscript"] = told.missing_redeem_script.hex()
    if told.missing_witness_script:
        missing["witnessscript"] = told.missing_witness_script.hex()
    if told.missing_sigs:
        missing["signatures"] = [key.hex() for key in told.missing_sigs]
    return result | ({"missing": missing} if missing else {})


def _analysis_json(found: Analysis) -> dict[str, Any]:
    result: dict[str, Any] = {}
    if found.inputs:
        result["inputs"] = [_input_json(item) for item in found.inputs]
    if found.vsize is not None:
        result["estimated_vsize"] = found.vsize
        if found.fee is not None:
            result["estimated_feerate"] = amount(found.fee * 1000 // found.vsize)
    if found.fee is not None:
        result["fee"] = amount(found.fee)
    result["next"] = found.next.name.lower()
    if found.error:
        result["error"] = found.error
    return result


@rpc(
    "rawtransactions",
    "What a PSBT still needs, and who is next.",
    PSBT_ARG,
    returns=obj(
        "",
        "",
        arr(
            "inputs",
            "Inputs",
            obj(
                "",
                "",
                boolean("has_utxo", "Whether what it spends is there"),
                boolean("is_final", "Whether it is final"),
                obj(
                    "missing",
                    "What is missing",
                    arr("pubkeys", "HASH160 of keys of which the origin is missing", hexed("", ""), optional=True),
                    arr("signatures", "HASH160 of keys whose signature is missing", hexed("", ""), optional=True),
                    hexed("redeemscript", "HASH160 of the redeem script", optional=True),
                    hexed("witnessscript", "SHA256 of the witness script", optional=True),
                    optional=True,
                ),
                string("next", "Role of who is next", optional=True),
            ),
            optional=True,
        ),
        number("estimated_vsize", "Virtual size of the signed transaction", optional=True),
        coins("estimated_feerate", "Feerate of the signed transaction in BTC/kvB", optional=True),
        coins("fee", "The fee, when all amounts are known", optional=True),
        string("next", "Role of who is next"),
        string("error", "Why it can come to nothing", optional=True),
    ),
    examples=(("psbt",),),
)
def analyzepsbt(node: NodeParts, psbt: str) -> dict[str, Any]:
    """See the declaration."""
    return _analysis_json(analyze(parse_psbt(psbt)))


async def _process(
    node: NodeParts, text: str, provider: SigningProvider, hash_type: int | None, *, final: bool
) -> Psbt:
    """A PSBT with what mempool, UTXO set, txindex and provider know of its inputs and outputs, signed if possible."""
    psbt = parse_psbt(text)
    if node.indexes.transactions is not None:
        await node.indexes.transactions.until_synced()
    missing = []
    for item, outpoint in zip(psbt.inputs, psbt.tx.prevouts, strict=True):
        if item.non_witness_utxo is None:
            found = await find_transaction(node, outpoint[:32])
            item.non_witness_utxo = found.tx if found is not None else None
        if item.non_witness_utxo is None:
            missing.append(outpoint)
    txouts = await find_txouts(node, missing)
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
    return psbt


async def _provider(node: NodeParts, descriptors: list[Any], *, with_secrets: bool) -> SigningProvider:
    """What the descriptors tell."""
    provider = SigningProvider()

    def learn() -> None:
        for item in descriptors:
            scan_scripts(item, node.params, provider, with_secrets=with_secrets)

    await asyncio.to_thread(learn)
    return provider


@rpc(
    "rawtransactions",
    "A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs and its outputs.",
    PSBT_ARG,
    Arg("descriptors", Kind.ARR, "Descriptors", None, inner=_SCAN_OBJECTS),
    returns=string("", "The PSBT"),
    examples=(("psbt",),),
)
async def utxoupdatepsbt(node: NodeParts, psbt: str, descriptors: list[Any] | None) -> str:
    """See the declaration."""
    provider = await _provider(node, descriptors or [], with_secrets=False)
    provider.hide_secrets = True
    return encode_psbt(await _process(node, psbt, provider, None, final=False))


@rpc(
    "rawtransactions",
    "A PSBT with what descriptors, UTXO set and mempool tell about its segwit inputs, signed with the keys in them.",
    PSBT_ARG,
    Arg("descriptors", Kind.ARR, "Descriptors", inner=_SCAN_OBJECTS),
    SIGHASH_ARG,
    Arg("bip32derivs", Kind.BOOL, "Whether to tell where keys come from", True),
    Arg("finalize", Kind.BOOL, "Whether to make complete inputs final", True),
    returns=obj(
        "",
        "",
        string("psbt", "The PSBT"),
        boolean("complete", "Whether nothing is missing"),
        hexed("hex", "The transaction, when nothing is missing", optional=True),
    ),
    examples=(("psbt", ["descriptor1", "descriptor2"]), ("psbt", [{"desc": "mydescriptor", "range": 21}])),
)
async def descriptorprocesspsbt(
    node: NodeParts, psbt: str, descriptors: list[Any], sighashtype: str | None, bip32derivs: bool, final: bool
) -> dict[str, Any]:
    """See the declaration."""
    provider = await _provider(node, descriptors, with_secrets=True)
    provider.hide_origins = not bip32derivs
    found = await _process(node, psbt, provider, parse_sighash(sighashtype), final=final)
    complete = all(item.is_final for item in found.inputs)
    result: dict[str, Any] = {"psbt": encode_psbt(found), "complete": complete}
    if complete:
        copy = deepcopy(found)
        finalize(copy)
        result["hex"] = extract(copy).raw.hex()
    return result
