"""Replacing own transactions by ones that pay more."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from btcnode.descriptors import psbt_roles
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount, type_name
from btcnode.rpc.lookup import parse_hash
from btcnode.rpc.shapes import whole_number
from btcnode.rpc.spending.options import Raw, check_types, flag, invalid, set_fee
from btcnode.rpc.spending.sending import fill_psbt
from btcnode.rpc.transactions import find_txouts, make_outputs, output_pairs
from btcnode.rpc.wallets import check_unlocked, wallet_errors, wallets_of
from btcnode.services.loop_turns import in_turns
from btcnode.services.parts import NodeParts
from btcnode.services.spending import FEW_INPUTS, beside_if, create_transaction, surroundings
from btcnode.wallet.errors import WalletError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.spending.bump import BumpFault, CannotBump, Replacement, check_replaceable, plan_replacement
from btcnode.wallet.spending.control import CoinControl
from btcnode.wallet.spending.sign import prepare_signing
from btcnode.wallet.wallet import Wallet

_CODES = {
    BumpFault.NO_SUCH_TRANSACTION: RpcCode.INVALID_ADDRESS_OR_KEY,
    BumpFault.PARAMETER: RpcCode.INVALID_PARAMETER,
    BumpFault.WALLET: RpcCode.WALLET_ERROR,
    BumpFault.OTHER: RpcCode.MISC_ERROR,
}
_TYPES = {
    "confTarget": "number", "conf_target": "number", "fee_rate": None, "replaceable": "bool",
    "estimate_mode": "string", "outputs": None, "original_change_index": "number",
}  # fmt: skip


class _Wishes:
    """The options of ``bumpfee``; raises RpcError."""

    def __init__(self, node: NodeParts, raw: Raw) -> None:
        self.control = CoinControl(replaceable=True)
        self.outputs: list[bytes] = []
        self.change_index: int | None = None
        check_types(raw, _TYPES)
        if "confTarget" in raw and "conf_target" in raw:
            raise invalid(
                "confTarget and conf_target options should not both be set. Use conf_target (confTarget is deprecated)."
            )
        target = raw.get("confTarget", raw.get("conf_target"))
        self.control.replaceable = flag(raw, "replaceable", True)
        set_fee(node, self.control, target, raw.get("estimate_mode"), raw.get("fee_rate"))
        outputs = raw.get("outputs")
        if outputs is not None:
            if type_name(outputs) == "array" and not outputs:
                raise invalid("Invalid parameter, output argument cannot be an empty array")
            self.outputs = make_outputs(output_pairs(outputs), node.params)
        if "original_change_index" in raw:
            self.change_index = whole_number(raw["original_change_index"], -32)


async def bump(node: NodeParts, wallet: Wallet, txid_text: str, raw: Raw, *, wants_psbt: bool) -> dict[str, Any]:
    """What ``bumpfee`` and ``psbtbumpfee`` answer; raises RpcError."""
    if _has_no_keys(wallet) and not wants_psbt:
        raise RpcError(
            RpcCode.WALLET_ERROR,
            "bumpfee is not available with wallets that have private keys disabled. Use psbtbumpfee instead.",
        )
    txid = parse_hash(txid_text, "txid")
    wishes = _Wishes(node, raw)
    check_unlocked(wallet)
    async with wallet.turn:
        entry = wallet.ledger.transactions.get(txid)
        spent = await find_txouts(node, entry.tx.prevouts) if entry is not None else {}
        try:
            found = plan_replacement(
                wallet, surroundings(node, wallet), txid, spent, wishes.control,
                all_mine=not wants_psbt, outputs=wishes.outputs, change_index=wishes.change_index,
            )  # fmt: skip
        except CannotBump as error:
            raise RpcError(_CODES[error.fault], str(error)) from None
        return await _replace(node, wallet, txid, found, wants_psbt=wants_psbt)


async def _replace(
    node: NodeParts, wallet: Wallet, txid: bytes, found: Replacement, *, wants_psbt: bool
) -> dict[str, Any]:
    """Make the replacement, and commit it unless a PSBT of it is wanted; raises RpcError."""
    try:
        created = await create_transaction(node, wallet, found.recipients, found.control)
    except WalletError as error:
        raise RpcError(RpcCode.WALLET_ERROR, f"Unable to create transaction. {error}") from None
    result: dict[str, Any]
    if wants_psbt:
        psbt = Psbt.of(_blank(created.tx))
        await fill_psbt(node, wallet, psbt, None, sign=False, origins=True)
        result = {"psbt": encode_psbt(psbt)}
        with wallet_errors():
            await wallets_of(node).disk.save(wallet)
    else:
        tx = await _signed(node, wallet, created.tx)
        await _commit(node, wallet, txid, tx, created.chosen)
        result = {"txid": to_display(tx.txid)}
    return {**result, "origfee": amount(found.old_fee), "fee": amount(created.fee), "errors": []}


def _blank(tx: Tx) -> Tx:
    return Tx(tx.version, tx.prevouts, [b""] * len(tx.prevouts), tx.sequences, tx.txouts, lock_time=tx.lock_time)


def _has_no_keys(wallet: Wallet) -> bool:
    """Whether nobody can sign for the wallet."""
    return wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS) and not wallet.has(WalletFlag.EXTERNAL_SIGNER)


async def _signed(node: NodeParts, wallet: Wallet, tx: Tx) -> Tx:
    if wallet.has(WalletFlag.EXTERNAL_SIGNER):
        psbt = Psbt.of(_blank(tx))
        await fill_psbt(node, wallet, psbt, None, sign=False, origins=True)
        try:
            await fill_psbt(node, wallet, psbt, None, sign=True, origins=False)
            complete = psbt_roles.finalize(psbt)
        except RpcError as error:
            if error.code != RpcCode.VERIFY_ERROR:
                raise
            complete = False
        if not complete:
            raise RpcError(RpcCode.WALLET_ERROR, "Transaction incomplete. Try psbtbumpfee instead.")
        return psbt_roles.extract(psbt)
    signing = await in_turns(prepare_signing(wallet, tx))
    try:
        return await beside_if(len(tx.prevouts) > FEW_INPUTS, lambda: signing.sign(tx))
    except WalletError:
        raise RpcError(RpcCode.WALLET_ERROR, "Can't sign transaction.") from None


async def _commit(node: NodeParts, wallet: Wallet, old: bytes, tx: Tx, chosen: Collection[bytes]) -> None:
    """Keep the replacement and that it is one, at once; then broadcast it. Raises RpcError."""
    entry = wallet.ledger.transactions.get(old)
    try:
        if entry is None:
            raise CannotBump("Invalid or non-wallet transaction id", BumpFault.OTHER)
        check_replaceable(wallet, surroundings(node, wallet), entry, all_mine=False)  # it may have confirmed by now
    except CannotBump as error:
        raise RpcError(RpcCode.WALLET_ERROR, str(error)) from None
    notes = {**entry.notes, "replaces_txid": to_display(old)}
    with wallet_errors():
        await wallets_of(node).broadcast.commit(wallet, tx, notes, chosen=chosen, replaces=old)
