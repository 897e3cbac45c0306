"""Funding and signing transactions that the user puts together, and their PSBTs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from btcnode.descriptors import psbt_roles
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.jsonvalue import amount, type_name
from btcnode.rpc.methods.psbt_decode import parse_psbt
from btcnode.rpc.methods.rawtransactions import SignedTx, signed_json
from btcnode.rpc.room import aside
from btcnode.rpc.spending.options import Raw, fee_payers, flag, invalid, recipients_of, with_input_weights
from btcnode.rpc.spending.sending import fill_psbt, fund, payments
from btcnode.rpc.transactions import (
    NO_INPUT_HINT,
    construct_transaction,
    decode_transaction,
    find_txouts,
    parse_prevouts,
    parse_sighash,
)
from btcnode.rpc.wallets import check_unlocked
from btcnode.services.loop_turns import in_turns
from btcnode.services.parts import NodeParts
from btcnode.services.spending import FEW_INPUTS, beside_if
from btcnode.wallet.spending.control import CoinControl
from btcnode.wallet.wallet import Wallet


async def fund_raw(node: NodeParts, wallet: Wallet, text: str, options: Any, witness: bool | None) -> dict[str, Any]:
    """What ``fundrawtransaction`` answers; raises RpcError."""
    tx = await aside(lambda: decode_transaction(text, witness=witness))
    raw: Raw = options if type_name(options) == "object" else {}
    if options is not None and type_name(options) not in ("object", "bool"):
        raise RpcError(RpcCode.TYPE_ERROR, f"JSON value of type {type_name(options)} is not of expected type object")
    payers = fee_payers(raw.get("subtractFeeFromOutputs"), ["dummy"] * len(tx.txouts))
    recipients = recipients_of(tx.txouts, payers)
    empty = Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, [], tx.witnesses or None, tx.lock_time)
    async with wallet.turn:
        created = await fund(node, wallet, empty, recipients, raw, CoinControl(), override=True)
    place = -1 if created.change_place is None else created.change_place
    return {"hex": created.tx.raw.hex(), "fee": amount(created.fee), "changepos": place}


async def create_funded_psbt(
    node: NodeParts,
    wallet: Wallet,
    inputs: Any,
    outputs: Any,
    locktime: Whole,
    options: Raw,
    *,
    origins: bool,
    version: int,
) -> dict[str, Any]:
    """What ``walletcreatefundedpsbt`` answers; raises RpcError."""
    given, replaceable = options, wallet.options.walletrbf
    if options.get("replaceable") is not None:
        replaceable = flag(options, "replaceable", True)
    tx = await aside(lambda: construct_transaction(inputs, outputs, locktime.read(), replaceable, version, node.params))
    recipients = await aside(lambda: payments(node, outputs, given.get("subtractFeeFromOutputs")))
    control = CoinControl(version=version, others_allowed=not tx.prevouts)
    options = with_input_weights(inputs, options)
    async with wallet.turn:
        created = await fund(node, wallet, _without_outputs(tx), recipients, options, control, override=True)
        psbt = Psbt.of(created.tx)
        await fill_psbt(node, wallet, psbt, None, sign=False, origins=origins)
    place = -1 if created.change_place is None else created.change_place
    text = await aside(lambda: encode_psbt(psbt))
    return {"psbt": text, "fee": amount(created.fee), "changepos": place}


def _without_outputs(tx: Tx) -> Tx:
    return Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, [], None, tx.lock_time)


async def process_psbt(
    node: NodeParts,
    wallet: Wallet,
    text: str,
    sighash: str | None,
    *,
    sign: bool,
    origins: bool,
    finalize: bool,
) -> dict[str, Any]:
    """What ``walletprocesspsbt`` answers; raises RpcError."""
    psbt = await aside(lambda: parse_psbt(text))
    hash_type = parse_sighash(sighash)
    if sign:
        check_unlocked(wallet)
    complete = await fill_psbt(node, wallet, psbt, hash_type, sign=sign, origins=origins, finalize=finalize)
    return await aside(lambda: _processed(psbt, complete=complete))


def _processed(psbt: Psbt, *, complete: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"psbt": encode_psbt(psbt), "complete": complete}
    if complete:
        copy = deepcopy(psbt)
        psbt_roles.finalize(copy)
        result["hex"] = psbt_roles.extract(copy).raw.hex()
    return result


async def sign_raw(node: NodeParts, wallet: Wallet, text: str, prevtxs: Any, sighash: str | None) -> SignedTx:
    """What ``signrawtransactionwithwallet`` answers; raises RpcError."""
    tx = await aside(lambda: decode_transaction(text, witness=None, error=NO_INPUT_HINT))
    check_unlocked(wallet)
    txouts = await find_txouts(node, tx.prevouts)
    parse_prevouts(prevtxs or [], None, txouts)
    hash_type = parse_sighash(sighash) or 0
    if not wallet.descriptors:  # nobody has looked at an input, so nothing is said of any
        return {"hex": tx.raw.hex(), "complete": False}
    scripts = [txout_script(txouts[prevout]) for prevout in tx.prevouts if prevout in txouts]
    provider = await in_turns(wallet.signing_provider(scripts))
    large = len(tx.prevouts) > FEW_INPUTS
    return await beside_if(large, lambda: signed_json(tx, provider, txouts, hash_type))


async def simulate(node: NodeParts, wallet: Wallet, texts: Sequence[str]) -> dict[str, Any]:
    """What ``simulaterawtransaction`` answers; raises RpcError."""
    change, made, spent, ledger = 0, dict[bytes, int](), set[bytes](), wallet.ledger
    for text in texts:
        tx = await aside(partial(decode_transaction, text, error="Transaction hex string decoding failure."))
        known = await find_txouts(node, tx.prevouts)
        for prevout in tx.prevouts:
            if prevout in spent:
                raise invalid("Transaction(s) are spending the same output more than once")
            if prevout in made:
                change -= made.pop(prevout)
            elif prevout not in known:
                raise invalid("One or more transaction inputs are missing or have been spent already")
            elif prevout in ledger.coins:
                change -= ledger.coins[prevout].value
            spent.add(prevout)
        for number, txout in enumerate(tx.txouts):
            value = txout_value(txout) if ledger.is_mine(txout_script(txout)) else 0
            made[tx.txid + number.to_bytes(4, "little")] = value
            change += value
    return {"balance_change": amount(change)}
