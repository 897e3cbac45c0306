"""Sending: to addresses, by outputs, and all that there is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from btcnode.descriptors import psbt_roles
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_roles import Outcome
from btcnode.descriptors.psbt_writer import encode_psbt
from btcnode.mempool.bump_fees import BumpFees
from btcnode.mempool.feerate import fee_at
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.mempool.policy import OutputPolicy
from btcnode.mempool.truc import CHILD_MAX_VSIZE, TRUC_VERSION
from btcnode.primitives.addresses import address_for_script
from btcnode.primitives.coin import make_txout, txout_script, txout_value
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.jsonvalue import type_name
from btcnode.rpc.room import aside
from btcnode.rpc.shapes import whole_number
from btcnode.rpc.spending.options import (
    TRUC_MAX_WEIGHT,
    Raw,
    check_outdated,
    fee_payers,
    flag,
    invalid,
    recipients_of,
    set_fee,
    take_depths,
    take_fund_options,
    take_sizes,
    with_fee_options,
    with_input_weights,
)
from btcnode.rpc.transactions import construct_transaction, find_txouts, make_outputs, output_pairs
from btcnode.rpc.wallets import check_unlocked, wallet_errors, wallets_of
from btcnode.services.external_signer import find_signer
from btcnode.services.loop_turns import in_turns
from btcnode.services.parts import NodeParts
from btcnode.services.spending import (
    FEW_INPUTS,
    Created,
    beside_if,
    create_transaction,
    fund_transaction,
    surroundings,
)
from btcnode.wallet.errors import WalletError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.spending.build import MAX_FEE_EXCEEDED
from btcnode.wallet.spending.control import CoinControl, Recipient
from btcnode.wallet.spending.fee_rates import checked_rate
from btcnode.wallet.spending.plan import (
    Sizer,
    anchor_height,
    available_coins,
    check_versions,
    coin_filter,
    sniping_lock,
)
from btcnode.wallet.spending.sign import add_transactions, prepare_filling
from btcnode.wallet.spending.sizes import signed_weight, vsize_of
from btcnode.wallet.wallet import Wallet

REPLACEABLE, NOT_REPLACEABLE, FINAL = 0xFFFFFFFD, 0xFFFFFFFE, 0xFFFFFFFF


def refuse_without_keys(wallet: Wallet) -> None:
    """Raise RpcError for a wallet that never has private keys."""
    if wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS):
        raise RpcError(RpcCode.WALLET_ERROR, "Error: Private keys are disabled for this wallet")


async def send_money(
    node: NodeParts, wallet: Wallet, recipients: Sequence[Recipient], control: CoinControl, notes: dict[str, str]
) -> Created:
    """Make a transaction, sign it, keep it, broadcast it; raises RpcError."""
    check_unlocked(wallet)
    refuse_without_keys(wallet)
    shuffled = list(recipients)
    SystemRandom().shuffle(shuffled)
    async with wallet.turn:
        try:
            created = await create_transaction(node, wallet, shuffled, control, sign=True)
        except WalletError as error:
            raise RpcError(RpcCode.INSUFFICIENT_FUNDS, str(error)) from None
        with wallet_errors():
            await wallets_of(node).broadcast.commit(wallet, created.tx, notes, chosen=created.chosen)
    return created


def payments(node: NodeParts, outputs: Any, payers: Any) -> list[Recipient]:
    """Whom the outputs of a parameter pay; raises RpcError."""
    pairs = output_pairs(outputs)
    txouts = make_outputs(pairs, node.params)
    return recipients_of(txouts, fee_payers(payers, [name for name, _ in pairs]))


# ---- send


async def send(
    node: NodeParts, wallet: Wallet, outputs: Any, fees: tuple[Any, Any, Any], given: Raw, version: Whole
) -> dict[str, Any]:
    """What ``send`` answers; ``fees`` are the target, mode and rate of its own arguments. Raises RpcError."""
    options = with_fee_options(given, *fees)
    check_outdated(options)
    replaceable = flag(options, "replaceable", wallet.options.walletrbf)
    recipients = await aside(lambda: payments(node, outputs, options.get("subtract_fee_from_outputs")))
    control = CoinControl(version=version.read())
    tx = await aside(
        lambda: construct_transaction(
            options.get("inputs"), outputs, options.get("locktime"), replaceable, control.version, node.params
        )
    )
    control.others_allowed = not tx.prevouts
    if "max_tx_weight" in options:
        control.max_weight = whole_number(options["max_tx_weight"])
    options = with_input_weights(options.get("inputs"), options)
    async with wallet.turn:
        created = await fund(node, wallet, tx, recipients, options, control, override=False)
        return await _finish(node, wallet, options, created.tx, created.chosen)


async def fund(
    node: NodeParts,
    wallet: Wallet,
    tx: Tx,
    recipients: Sequence[Recipient],
    options: Raw,
    control: CoinControl,
    *,
    override: bool,
) -> Created:
    """Add coins to the inputs of a transaction by what the options say; raises RpcError.

    For who has ``wallet.turn``.
    """
    place, lock = take_fund_options(node, options, control, len(recipients), override=override)
    take_sizes(node, options, control, tx.version)
    if not recipients:
        raise invalid("TX must have at least one output")
    txouts = await find_txouts(node, tx.prevouts)
    try:
        return await fund_transaction(node, wallet, tx, txouts, recipients, control, change_place=place, lock=lock)
    except WalletError as error:
        raise RpcError(RpcCode.WALLET_ERROR, str(error)) from None
    finally:
        with wallet_errors():
            await wallets_of(node).disk.save(wallet)


async def _finish(node: NodeParts, wallet: Wallet, options: Raw, tx: Tx, chosen: Collection[bytes]) -> dict[str, Any]:
    """Sign as far as possible; broadcast what is complete, unless the user wants to see it. Raises RpcError."""
    untouched = all(sequence in (NOT_REPLACEABLE, REPLACEABLE) for sequence in tx.sequences)
    lock_time = tx.lock_time
    if "locktime" not in options and untouched:
        lock_time = sniping_lock(anchor_height(surroundings(node, wallet)), SystemRandom())
    tx = Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, tx.witnesses or None, lock_time)
    psbt = Psbt.of(Tx(tx.version, tx.prevouts, [b""] * len(tx.prevouts), tx.sequences, tx.txouts, None, lock_time))
    await fill_psbt(node, wallet, psbt, None, sign=False, origins=True)
    await fill_psbt(node, wallet, psbt, None, sign=True, origins=False)
    complete = await beside_if(len(psbt.inputs) > FEW_INPUTS, lambda: psbt_roles.finalize(psbt))
    wants_psbt = flag(options, "psbt", False)
    keep = flag(options, "add_to_wallet", True)
    result: dict[str, Any] = {}
    if wants_psbt or not complete or not keep:
        result["psbt"] = await aside(lambda: encode_psbt(psbt))
    if complete:
        signed = psbt_roles.extract(psbt)
        result["txid"] = to_display(signed.txid)
        if keep and not wants_psbt:
            with wallet_errors():
                await wallets_of(node).broadcast.commit(wallet, signed, {}, chosen=chosen)
        else:
            result["hex"] = signed.raw.hex()
    result["complete"] = complete
    return result


async def fill_psbt(
    node: NodeParts,
    wallet: Wallet,
    psbt: Psbt,
    hash_type: int | None,
    *,
    sign: bool,
    origins: bool,
    finalize: bool = True,
) -> bool:
    """Update a PSBT with what the wallet knows, and sign it; whether nothing is missing. Raises RpcError.

    Where an external signer has the keys it is asked to sign, and what is known of the inputs has to be there.
    """
    if sign and wallet.has(WalletFlag.EXTERNAL_SIGNER) and wallet.descriptors:
        return await _sign_outside(node, wallet, psbt, finalize=finalize)
    try:
        filling = await in_turns(prepare_filling(wallet, psbt, sign=sign, origins=origins))
    except WalletError as error:
        raise RpcError(RpcCode.VERIFY_ERROR, str(error)) from None
    large = len(psbt.inputs) + len(psbt.outputs) > FEW_INPUTS
    outcome = await beside_if(large, lambda: filling.fill(psbt, hash_type, finalize=finalize))
    if outcome is Outcome.SIGHASH_MISMATCH:
        why = "Specified sighash value does not match value stored in PSBT"
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, why)
    if outcome is Outcome.MISSING_INPUTS:
        raise RpcError(RpcCode.VERIFY_ERROR, "Inputs missing or spent")
    return outcome is Outcome.DONE


async def _sign_outside(node: NodeParts, wallet: Wallet, psbt: Psbt, *, finalize: bool) -> bool:
    """Have the external signer sign what is not signed; whether nothing is missing. Raises RpcError."""
    add_transactions(wallet, psbt)
    if not all(item.is_final for item in psbt.inputs):
        rpc, params = node.settings.rpc, node.params
        with wallet_errors():
            signer = await find_signer(rpc.signer, params.chain)
            if signer is None:
                raise RpcError(RpcCode.VERIFY_ERROR, "External signer not found")
            signed = await signer.sign(psbt)
        if signed is None:
            raise RpcError(RpcCode.VERIFY_ERROR, "External signer failed to sign")
        psbt.become(signed)
        if finalize:
            psbt_roles.finalize(psbt)
    psbt_roles.drop_unneeded_transactions(psbt)
    return psbt_roles.is_complete(psbt)


# ---- sendall


@dataclass(frozen=True, slots=True)
class _Everything:
    """Who shares what there is: addresses that were named without amount, and pairs for all outputs."""

    sharers: set[str]
    pairs: list[dict[str, Any]]


def _everything(recipients: Sequence[Any]) -> _Everything:
    sharers, pairs = set(), []
    for item in recipients:
        if type_name(item) == "string":
            pairs.append({item: 0})
            sharers.add(item)
        else:
            pairs.append(item)
    if not sharers:
        raise invalid("Must provide at least one address without a specified amount")
    return _Everything(sharers, pairs)


async def send_all(
    node: NodeParts, wallet: Wallet, recipients: Sequence[Any], fees: tuple[Any, Any, Any], given: Raw
) -> dict[str, Any]:
    """What ``sendall`` answers; raises RpcError."""
    options = with_fee_options(given, *fees)
    check_outdated(options)
    wanted = _everything(recipients)
    control = CoinControl()
    set_fee(node, control, options.get("conf_target"), options.get("estimate_mode"), options.get("fee_rate"))
    if "minconf" in options and whole_number(options["minconf"]) < 0:
        raise invalid(f"Invalid minconf (minconf cannot be negative): {whole_number(options['minconf'])}")
    take_depths(options, control, "")
    if "version" in options:
        control.version = whole_number(options["version"], -32)
    control.max_weight = TRUC_MAX_WEIGHT if control.version == TRUC_VERSION else MAX_STANDARD_TX_WEIGHT
    replaceable = flag(options, "replaceable", wallet.options.walletrbf)
    async with wallet.turn:
        rate = _rate(node, wallet, control)
        tx = await aside(
            lambda: construct_transaction(
                options.get("inputs"), wanted.pairs, options.get("locktime"), replaceable, control.version, node.params
            )
        )
        sizer = Sizer(wallet)
        tx, total = await _with_inputs(node, wallet, tx, options, control, rate, sizer, replaceable=replaceable)
        tx = _shared_out(
            node, wallet, tx, total, wanted.sharers, control, rate, sizer, send_max=flag(options, "send_max", False)
        )
        if flag(options, "lock_unspents", False):
            for outpoint in tx.prevouts:
                wallet.ledger.lock_coin(outpoint)
        return await _finish(node, wallet, options, tx, () if "inputs" in options else tx.prevouts)


def _rate(node: NodeParts, wallet: Wallet, control: CoinControl) -> int:
    try:
        return checked_rate(control, wallet.options, surroundings(node, wallet)).rate
    except WalletError as error:
        code = RpcCode.WALLET_ERROR if control.rate is None else RpcCode.INVALID_PARAMETER
        raise RpcError(code, str(error)) from None


async def _with_inputs(
    node: NodeParts,
    wallet: Wallet,
    tx: Tx,
    options: Raw,
    control: CoinControl,
    rate: int,
    sizer: Sizer,
    *,
    replaceable: bool,
) -> tuple[Tx, int]:
    """The transaction with the inputs that the user names, or else with all coins; and their value. Raises RpcError."""
    send_max = flag(options, "send_max", False)
    if "inputs" in options:
        if "send_max" in options:
            raise invalid("Cannot combine send_max with specific inputs.")
        if "minconf" in options or "maxconf" in options:
            raise invalid("Cannot combine minconf or maxconf with specific inputs.")
        return tx, sum(_named_value(wallet, outpoint, control.version) for outpoint in tx.prevouts)
    prevouts, total = [], 0
    wanted = coin_filter(wallet, control, min_value=0)
    available = await in_turns(available_coins(wallet, control, surroundings(node, wallet), sizer, wanted))
    for coin in available:
        if send_max and fee_at(rate, coin.vsize) > coin.value:
            continue
        if coin.depth == 0 and control.version == TRUC_VERSION:
            control.max_weight = CHILD_MAX_VSIZE * 4
        prevouts.append(coin.outpoint)
        total += coin.value
    sequence = REPLACEABLE if replaceable else FINAL
    count = len(prevouts)
    return Tx(tx.version, prevouts, [b""] * count, [sequence] * count, tx.txouts, lock_time=tx.lock_time), total


def _named_value(wallet: Wallet, outpoint: bytes, version: int) -> int:
    """What an input that the user names is worth; raises RpcError."""
    ledger = wallet.ledger
    name = f"{to_display(outpoint[:32])}:{int.from_bytes(outpoint[32:], 'little')}"
    if ledger.is_spent(outpoint):
        raise invalid(f"Input not available. UTXO ({name}) was already spent.")
    own = ledger.coins.get(outpoint)
    if own is None:
        raise invalid(f"Input not found. UTXO ({name}) is not part of wallet.")
    if ledger.depth(own.entry) == 0:
        try:
            check_versions(own.entry.tx.version, version)
        except WalletError as error:
            raise invalid(str(error)) from None
    return own.value


def _shared_out(
    node: NodeParts,
    wallet: Wallet,
    tx: Tx,
    total: int,
    sharers: set[str],
    control: CoinControl,
    rate: int,
    sizer: Sizer,
    *,
    send_max: bool,
) -> Tx:
    """The transaction with what is left of the coins in the outputs without amount; raises RpcError."""
    coins = wallet.ledger.coins
    weight = signed_weight([sizer.own(coins[prevout].script) for prevout in tx.prevouts], tx.txouts)
    if weight is None:
        raise RpcError(
            RpcCode.WALLET_ERROR,
            "Unable to determine the size of the transaction, the wallet contains unsolvable descriptors",
        )
    fee = fee_at(rate, vsize_of(weight))
    bump = BumpFees(node.mempool, tx.prevouts).together(tx.prevouts, rate) or 0
    left = total - fee - bump
    if fee > wallet.options.maxtxfee:
        raise RpcError(RpcCode.WALLET_ERROR, MAX_FEE_EXCEEDED)
    if left <= 0:
        hint = (
            ", try using lower feerate."
            if send_max
            else ". Try using lower feerate or excluding uneconomic UTXOs with 'send_max' option."
        )
        raise RpcError(RpcCode.INSUFFICIENT_FUNDS, f"Total value of UTXO pool too low to pay for transaction{hint}")
    if weight > (control.max_weight or MAX_STANDARD_TX_WEIGHT):
        raise RpcError(RpcCode.WALLET_ERROR, "Transaction too large.")
    claimed = sum(txout_value(txout) for txout in tx.txouts)
    if claimed > total:
        raise RpcError(RpcCode.INSUFFICIENT_FUNDS, "Assigned more value to outputs than available funds.")
    if left < claimed:
        raise RpcError(RpcCode.INSUFFICIENT_FUNDS, "Insufficient funds for fees after creating specified outputs.")
    txouts = _divided(node, tx.txouts, left - claimed, sharers)
    return Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, txouts, lock_time=tx.lock_time)


def _divided(node: NodeParts, txouts: Sequence[bytes], rest: int, sharers: set[str]) -> list[bytes]:
    """The outputs with equal parts of what is left, the first with what cannot be divided; raises RpcError."""
    dust, made, first = OutputPolicy(node.mempool.options), [], True
    part, surplus = divmod(rest, len(sharers))
    for txout in txouts:
        script = txout_script(txout)
        address = address_for_script(script, node.params) or ""
        shares = address in sharers
        if shares:
            txout = make_txout(part + (surplus if first else 0), script)
            first = False
        if txout_value(txout) < dust.dust_limit(txout):
            if shares:
                why = "Dynamically assigned remainder results in dust output."
                raise RpcError(RpcCode.INSUFFICIENT_FUNDS, why)
            raise invalid(f"Specified output amount to {address} is below dust threshold.")
        made.append(txout)
    return made
