"""From a plan to a transaction without signatures: coins, change, fee. Reads nothing but the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from btcnode.mempool.feerate import fee_at
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.wallet.errors import WalletError
from btcnode.wallet.spending.choose import choose
from btcnode.wallet.spending.coins import NoSelection, PricedCoin, Selection
from btcnode.wallet.spending.plan import Plan, shortfall, sniping_lock
from btcnode.wallet.spending.sizes import signed_weight, vsize_of

if TYPE_CHECKING:
    from random import Random

TOO_LARGE = "Transaction too large"
MAX_FEE_EXCEEDED = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"


@dataclass(frozen=True, slots=True)
class Built:
    """A transaction without the signatures that are still to be made.

    ``change_place`` is the number of the change output, None for none. ``coins`` are what is spent, in the order of the
    inputs. ``other_fee`` is what the transaction would have cost with coins of a script apart if they are together, or
    the other way round; None where that was not tried. ``is_grouped``: they are together. ``takes_another``: a second
    address for change is taken, see ``build``.
    """

    tx: Tx
    fee: int
    change_place: int | None
    coins: Sequence[PricedCoin]
    selection: Selection
    weight: int
    other_fee: int | None = None
    is_grouped: bool = False
    takes_another: bool = False

    def with_change_to(self, script: bytes) -> Built:
        """The same with its change, if there is any, going to another script of the same size."""
        if self.change_place is None:
            return self
        tx, txouts = self.tx, list(self.tx.txouts)
        value = int.from_bytes(txouts[self.change_place][:8], "little")
        txouts[self.change_place] = make_txout(value, script)
        changed = Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, txouts, tx.witnesses, tx.lock_time)
        return replace(self, tx=changed)


def build(
    plan: Plan, random: Random, *, max_fee: int, change_place: int | None = None, max_extra_fee: int = -1
) -> Built:
    """Choose coins and make the transaction, its change at ``change_place`` (None: a random one). Raises WalletError.

    Where that costs no more than ``max_extra_fee`` satoshi, all coins of a script are spent together; -1: do not try.
    Each of both tries takes an address for change, as in Core, but that the second one has the first one's if that
    needs it: so wallets with the same keys give out the same addresses.
    """
    first = _build(plan, random, max_fee, change_place)
    if first.fee == 0 or max_extra_fee < 0 or plan.terms.avoid_partial_spends:
        return first
    grouped = replace(plan, terms=replace(plan.terms, avoid_partial_spends=True))
    try:
        second = _build(grouped, random, max_fee, change_place)
    except WalletError:
        return first
    another = first.change_place is None
    if second.fee <= first.fee + max_extra_fee:
        return replace(second, other_fee=first.fee, is_grouped=True, takes_another=another)
    return replace(first, other_fee=second.fee, takes_another=another)


def _build(plan: Plan, random: Random, max_fee: int, change_place: int | None) -> Built:
    terms, control = plan.terms, plan.control
    try:
        selection = choose(
            plan.available,
            plan.presets,
            plan.target,
            terms,
            random,
            plan.bump_fees.together,
            others_allowed=control.others_allowed,
        )
    except NoSelection as error:
        raise WalletError(str(error) or shortfall(plan)) from None
    amounts = [recipient.amount for recipient in plan.recipients]
    scripts = [recipient.script for recipient in plan.recipients]
    change = selection.change(terms.min_viable_change, terms.change_fee)
    if change <= 0:
        change_place = None
    else:
        if change_place is None:
            change_place = random.randrange(len(amounts) + 1)
        elif change_place > len(amounts):
            raise WalletError("Transaction change output index out of range")
        amounts.insert(change_place, change)
        scripts.insert(change_place, plan.change_script)
    coins = _ordered(selection, plan, random)
    prototype = [make_txout(amount, script) for amount, script in zip(amounts, scripts, strict=True)]
    weight = signed_weight([coin.size for coin in coins], prototype)
    if weight is None:
        raise WalletError("Missing solving data for estimating transaction size")
    needed = fee_at(terms.rate, vsize_of(weight)) + selection.bump_fees
    paid = selection.value - sum(amounts)
    if paid < 0:
        raise WalletError("the coins that were chosen are worth less than what is paid")
    if change_place is not None and needed < paid:
        amounts[change_place] += paid - needed
    if terms.by_value:
        _reduce(plan, amounts, scripts, change_place, needed - (selection.value - sum(amounts)))
    fee = selection.value - sum(amounts)
    if fee < needed:
        raise WalletError("the fee is less than what is needed")
    if change_place is not None and not plan.change_script:
        raise WalletError(plan.no_change)
    if weight > MAX_STANDARD_TX_WEIGHT:
        raise WalletError(TOO_LARGE)
    if fee > max_fee:
        raise WalletError(MAX_FEE_EXCEEDED)
    txouts = [make_txout(amount, script) for amount, script in zip(amounts, scripts, strict=True)]
    return Built(_transaction(plan, coins, txouts, random), fee, change_place, coins, selection, weight)


def _ordered(selection: Selection, plan: Plan, random: Random) -> list[PricedCoin]:
    """What is chosen in random order, behind what the user has put in order."""
    placed = dict.fromkeys(out for out, preset in plan.control.presets.items() if preset.is_placed)
    others = [coin for coin in selection.coins if coin.outpoint not in placed]
    random.shuffle(others)
    return [*(plan.presets[outpoint] for outpoint in placed), *others]


def _reduce(plan: Plan, amounts: list[int], scripts: Sequence[bytes], change_place: int | None, missing: int) -> None:
    """Take what is missing from those that pay the fee, to equal parts; the first pays what is left of the division.

    Raises WalletError when one would get too little.
    """
    places = [place for place in range(len(amounts)) if place != change_place]
    payers = [place for place, recipient in zip(places, plan.recipients, strict=True) if recipient.pays_fee]
    # as C divides: change that came out too small leaves less than nothing missing
    sign = -1 if missing < 0 else 1
    share, rest = divmod(abs(missing), len(payers))
    for number, place in enumerate(payers):
        amounts[place] -= sign * (share + (rest if number == 0 else 0))
        if amounts[place] < plan.dust.dust_limit(make_txout(amounts[place], scripts[place])):
            if amounts[place] < 0:
                raise WalletError("The transaction amount is too small to pay the fee")
            raise WalletError("The transaction amount is too small to send after the fee has been deducted")


def _transaction(plan: Plan, coins: Sequence[PricedCoin], txouts: Sequence[bytes], random: Random) -> Tx:
    presets, control = plan.control.presets, plan.control
    sequences, script_sigs, witnesses = [], [], []
    for coin in coins:
        preset = presets.get(coin.outpoint)
        own = preset.sequence if preset is not None else None
        sequences.append(plan.sequence if own is None else own)
        script_sigs.append(preset.script_sig if preset is not None else b"")
        witnesses.append(list(preset.witness) if preset is not None else [])
    lock_time = control.lock_time or 0
    if plan.anchor is not None:
        lock_time = sniping_lock(plan.anchor, random)
    return Tx(
        control.version,
        [coin.outpoint for coin in coins],
        script_sigs,
        sequences,
        list(txouts),
        witnesses if any(witnesses) else None,
        lock_time,
    )
