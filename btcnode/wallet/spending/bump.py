"""Replacing a transaction of one's own by one that pays more (BIP125)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from enum import Enum, auto

from btcnode.mempool.bump_fees import BumpFees
from btcnode.mempool.entry import WITNESS_SCALE_FACTOR
from btcnode.mempool.feerate import fee_at, rate_of
from btcnode.primitives.amounts import format_money
from btcnode.primitives.coin import txout_script, txout_value
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.script.scriptparse import BAD_OP, iter_ops
from btcnode.wallet.errors import WalletError
from btcnode.wallet.spending.control import CoinControl, Recipient, Surroundings
from btcnode.wallet.spending.fee_rates import required_rate, wanted_rate
from btcnode.wallet.spending.plan import Sizer
from btcnode.wallet.spending.sizes import InputSize, signed_weight, vsize_of
from btcnode.wallet.states import WalletTx
from btcnode.wallet.wallet import Wallet

MAX_ECDSA = 72  # bytes of a signature with its hash type
WALLET_INCREMENT = 5000  # sat/kvB that a replacement pays more than what it replaces, lest the network ask for more
ENORMOUS_CLUSTER = (
    "Failed to calculate bump fees, because unconfirmed UTXOs depend on an enormous cluster of unconfirmed"
    " transactions."
)


class BumpFault(Enum):
    """Whose fault it is that a transaction cannot be replaced, for whoever answers a user."""

    NO_SUCH_TRANSACTION = auto()
    PARAMETER = auto()
    WALLET = auto()
    OTHER = auto()


class CannotBump(WalletError):
    """A transaction cannot be replaced; the text is Core's."""

    def __init__(self, text: str, fault: BumpFault) -> None:
        super().__init__(text)
        self.fault = fault


class Replacement:
    """What a replacement is made from: recipients, control, and the fee of what it replaces."""

    def __init__(self, recipients: Sequence[Recipient], control: CoinControl, old_fee: int) -> None:
        self.recipients = recipients
        self.control = control
        self.old_fee = old_fee


def check_replaceable(wallet: Wallet, node: Surroundings, entry: WalletTx, *, all_mine: bool) -> None:
    """Raise CannotBump for what nothing can or should replace; ``all_mine``: every input has to be the wallet's."""
    ledger = wallet.ledger
    if ledger.has_spent_output(entry.tx):
        raise CannotBump("Transaction has descendants in the wallet", BumpFault.PARAMETER)
    known = node.pool.get(entry.txid)
    if known is not None and node.pool.children(known):
        raise CannotBump("Transaction has descendants in the mempool", BumpFault.PARAMETER)
    if ledger.depth(entry) != 0:
        why = "Transaction has been mined, or is conflicted with a mined transaction"
        raise CannotBump(why, BumpFault.WALLET)
    if "replaced_by_txid" in entry.notes:
        by = entry.notes["replaced_by_txid"]
        why = f"Cannot bump transaction {to_display(entry.txid)} which was already bumped by transaction {by}"
        raise CannotBump(why, BumpFault.WALLET)
    if all_mine and not all(prevout in ledger.coins for prevout in entry.tx.prevouts):
        raise CannotBump("Transaction contains inputs that don't belong to this wallet", BumpFault.WALLET)


def plan_replacement(
    wallet: Wallet,
    node: Surroundings,
    txid: bytes,
    spent: Mapping[bytes, bytes],
    control: CoinControl,
    *,
    all_mine: bool,
    outputs: Sequence[bytes] = (),
    change_index: int | None = None,
) -> Replacement:
    """What replaces a transaction: the same inputs, its payments or ``outputs``, and a higher feerate.

    ``spent`` has the txouts that its inputs spend, as mempool and UTXO set have them. ``change_index`` names the output
    that pays more or less; else it is the one that looks like change. Raises CannotBump.
    """
    if outputs and change_index is not None:
        raise CannotBump(
            "The options 'outputs' and 'original_change_index' are incompatible. You can only either specify a new set"
            " of outputs, or designate a change output to be recycled.",
            BumpFault.PARAMETER,
        )
    entry = wallet.ledger.transactions.get(txid)
    if entry is None:
        raise CannotBump("Invalid or non-wallet transaction id", BumpFault.NO_SUCH_TRANSACTION)
    tx = entry.tx
    if change_index is not None and change_index >= len(tx.txouts):
        raise CannotBump("Change position is out of range", BumpFault.PARAMETER)
    control = copy(control)
    control.presets, control.weights = {}, dict(control.weights)
    for number, prevout in enumerate(tx.prevouts):
        if prevout not in spent:
            vout = int.from_bytes(prevout[32:], "little")
            raise CannotBump(f"{to_display(prevout[:32])}:{vout} is already spent", BumpFault.OTHER)
        preset = control.preset(prevout)
        if prevout not in wallet.ledger.coins:
            preset.txout = spent[prevout]
            control.weights[prevout] = _weight_of_input(tx, number)
    check_replaceable(wallet, node, entry, all_mine=all_mine)
    old_fee = sum(map(_value, spent.values())) - sum(map(_value, tx.txouts))
    txouts = outputs or tx.txouts
    recipients = _recipients(wallet, txouts, control, change_index)
    if control.rate is not None:
        _check_rate(wallet, node, tx, txouts, spent, control, old_fee)
    else:
        control.rate = _higher_rate(wallet, node, tx, old_fee, control)
    control.others_allowed = True
    control.min_depth = 1  # nothing unconfirmed may be added (rule 2)
    return Replacement(recipients, control, old_fee)


def _value(txout: bytes) -> int:
    return txout_value(txout)


def _weight_of_input(tx: Tx, number: int) -> int:
    """Of a foreign input as it is, with signatures that are as long as they may become."""
    script_sig, witness = tx.script_sigs[number], tx.witnesses[number] if tx.witnesses else []
    weight = (32 + 4 + 4 + len(compact_size(len(script_sig))) + len(script_sig)) * WITNESS_SCALE_FACTOR
    weight += len(compact_size(len(witness))) + sum(len(compact_size(len(item))) + len(item) for item in witness)
    pushed = [data for op, data in iter_ops(script_sig) if op != BAD_OP]
    growth = sum(map(_growth, pushed)) * WITNESS_SCALE_FACTOR + sum(map(_growth, witness))
    return weight + growth


def _growth(item: bytes) -> int:
    """By how many bytes another signature in the place of what looks like one may be longer."""
    is_signature = 9 <= len(item) < MAX_ECDSA and item[0] == 0x30 and item[1] == len(item) - 3
    return MAX_ECDSA - len(item) if is_signature else 0


def _recipients(
    wallet: Wallet, txouts: Sequence[bytes], control: CoinControl, change_index: int | None
) -> list[Recipient]:
    """The payments among outputs; the change's script goes into ``control``. Raises CannotBump."""
    recipients, total = [], 0
    for number, txout in enumerate(txouts):
        script = txout_script(txout)
        is_change = wallet.is_change(script) if change_index is None else change_index == number
        if is_change:
            control.change_script = script
        else:
            recipients.append(Recipient(script, _value(txout)))
        total += _value(txout)
    if recipients:
        return recipients
    if control.change_script is None:
        why = "Unable to create transaction. Transaction must have at least one recipient"
        raise CannotBump(why, BumpFault.PARAMETER)
    # all goes to an own address: that one pays the fee
    script, control.change_script = control.change_script, None
    return [Recipient(script, total, pays_fee=True)]


def _check_rate(
    wallet: Wallet,
    node: Surroundings,
    tx: Tx,
    txouts: Sequence[bytes],
    spent: Mapping[bytes, bytes],
    control: CoinControl,
    old_fee: int,
) -> None:
    """Whether the feerate that the user wants suffices for mempool and network; raises CannotBump."""
    rate, pool = control.rate or 0, node.pool
    least = pool.minimum_feerate(node.now)
    if rate < least:
        raise CannotBump(
            f"New fee rate ({format_money(rate)}) is lower than the minimum fee rate ({format_money(least)}) to get"
            " into the mempool -- ",
            BumpFault.WALLET,
        )
    sizer = Sizer(wallet, control)
    sizes: list[InputSize | None] = [sizer.of(prevout, txout_script(spent[prevout])) for prevout in tx.prevouts]
    weight = signed_weight(sizes, txouts)
    if weight is None:
        raise CannotBump("Missing solving data for estimating transaction size", BumpFault.WALLET)
    vsize = vsize_of(weight)
    bump = BumpFees(pool, tx.prevouts).together(tx.prevouts, rate)
    if bump is None:
        raise CannotBump(ENORMOUS_CLUSTER, BumpFault.WALLET)
    fee, increment = fee_at(rate, vsize) + bump, fee_at(pool.options.incremental_feerate, vsize)
    if fee < old_fee + increment:
        raise CannotBump(
            f"Insufficient total fee {format_money(fee)}, must be at least {format_money(old_fee + increment)}"
            f" (oldFee {format_money(old_fee)} + incrementalFee {format_money(increment)})",
            BumpFault.PARAMETER,
        )
    required = fee_at(required_rate(wallet.options, pool.options), vsize)
    if fee < required:
        why = f"Insufficient total fee (cannot be less than required fee {format_money(required)})"
        raise CannotBump(why, BumpFault.PARAMETER)
    if fee > wallet.options.maxtxfee:
        raise CannotBump(
            f"Specified or calculated fee {format_money(fee)} is too high (cannot be higher than -maxtxfee"
            f" {format_money(wallet.options.maxtxfee)})",
            BumpFault.WALLET,
        )


def _higher_rate(wallet: Wallet, node: Surroundings, tx: Tx, old_fee: int, control: CoinControl) -> int:
    """What pays enough more, and as much as any new transaction would."""
    rate = rate_of(old_fee, tx.vsize) + 1 + max(node.pool.options.incremental_feerate, WALLET_INCREMENT)
    return max(rate, wanted_rate(control, wallet.options, node).rate)
