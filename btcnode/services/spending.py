"""Transactions of a node's wallets: made, signed, kept, broadcast.

Coins and keys are looked up on the loop, choosing and signing go on beside it where there is much to do. Whoever makes
a transaction holds ``wallet.turn`` until it is committed, or others would choose the same coins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import TypeVar

from btcnode.mempool.bump_fees import fits_cluster_limits
from btcnode.mempool.fee_estimator import FeeReason
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT
from btcnode.primitives.tx import Tx
from btcnode.services.loop_turns import in_turns
from btcnode.services.parts import NodeParts
from btcnode.wallet.errors import WalletError
from btcnode.wallet.spending.build import TOO_LARGE, Built, build
from btcnode.wallet.spending.control import CoinControl, Recipient, Surroundings
from btcnode.wallet.spending.plan import change_type, make_plan
from btcnode.wallet.spending.sign import prepare_signing
from btcnode.wallet.wallet import Reserved, Wallet

FEW_COINS = 20  # up to here choosing takes a few milliseconds
FEW_RECIPIENTS = 100  # each takes some 20 us
FEW_INPUTS = 5  # signing one takes some 200 us
CHAIN_TOO_LONG = "too many unconfirmed transactions in cluster"

T = TypeVar("T")

log = logging.getLogger("btcnode.wallet")


@dataclass(frozen=True, slots=True)
class Created:
    """A transaction that is not committed yet; ``change_place`` is the number of its change output, None for none.

    ``chosen`` are the outpoints of the coins that nobody has named.
    """

    tx: Tx
    fee: int
    change_place: int | None
    reason: FeeReason
    chosen: frozenset[bytes]


async def beside_if(large: bool, work: Callable[[], T]) -> T:
    """Do work in a thread when it is a large one, else at once."""
    return await asyncio.to_thread(work) if large else work()


def surroundings(node: NodeParts, wallet: Wallet) -> Surroundings:
    """What the node says at this moment about making transactions."""
    now, tree, tip = node.clock.now(), node.chain.tree, node.chain.tip()
    return Surroundings(
        pool=node.mempool,
        estimator=None if node.fees is None else node.fees.estimator,
        now=now,
        tip_height=max(0, wallet.ledger.tip_height),
        tip_time=tree.time(tip),
        is_syncing=node.chain.is_initial_block_download(),
    )


def _log_choice(wallet: Wallet, built: Built) -> None:
    """Say in the log how the coins were chosen, in Core's words."""
    name, selection = wallet.name or "default wallet", built.selection
    log.info("[%s] Coin Selection: Algorithm:%s, Waste Metric Score:%d", name, selection.algorithm, selection.waste)
    if built.other_fee is not None:
        apart, together = (built.other_fee, built.fee) if built.is_grouped else (built.fee, built.other_fee)
        used = "grouped" if built.is_grouped else "non-grouped"
        log.info("[%s] Fee non-grouped = %d, grouped = %d, using %s", name, apart, together, used)


def _reserve(wallet: Wallet, recipients: Sequence[Recipient], control: CoinControl) -> Reserved | None:
    """One more address for change, None where the wallet has no more."""
    try:
        return wallet.reserve_change(change_type(wallet, control, recipients))
    except WalletError:
        return None


async def create_transaction(
    node: NodeParts,
    wallet: Wallet,
    recipients: Sequence[Recipient],
    control: CoinControl,
    *,
    change_place: int | None = None,
    sign: bool = False,
) -> Created:
    """Make a transaction and, with ``sign``, sign it. An address for change is taken for good then.

    Raises WalletError; nothing has changed then.
    """
    random, options = SystemRandom(), wallet.options
    plan, another = await in_turns(make_plan(wallet, surroundings(node, wallet), recipients, control, random)), None
    try:
        many = len(plan.available) > FEW_COINS or len(recipients) > FEW_RECIPIENTS
        built = await beside_if(
            many,
            lambda: build(
                plan, random, max_fee=options.maxtxfee, change_place=change_place, max_extra_fee=options.maxapsfee
            ),
        )
        if plan.reserved is not None and built.takes_another:
            another = _reserve(wallet, recipients, control)
            if another is not None and built.is_grouped:
                built = built.with_change_to(another.script)
        tx = built.tx
        _log_choice(wallet, built)
        if sign:
            signing = await in_turns(prepare_signing(wallet, tx))
            tx = await beside_if(len(tx.prevouts) > FEW_INPUTS, lambda: signing.sign(built.tx))
            if tx.weight > MAX_STANDARD_TX_WEIGHT:
                raise WalletError(TOO_LARGE)
        if options.walletrejectlongchains and not fits_cluster_limits(node.mempool, tx):
            raise WalletError(CHAIN_TOO_LONG)
    except BaseException:
        for reserved in (another, plan.reserved):
            if reserved is not None:
                wallet.give_back(reserved)
        raise
    return Created(tx, built.fee, built.change_place, plan.rate.reason, frozenset(tx.prevouts) - control.presets.keys())


async def fund_transaction(
    node: NodeParts,
    wallet: Wallet,
    tx: Tx,
    txouts: Mapping[bytes, bytes],
    recipients: Sequence[Recipient],
    control: CoinControl,
    *,
    change_place: int | None = None,
    lock: bool = False,
) -> Created:
    """Add coins to the inputs of ``tx``, which has no outputs, so that they pay the recipients.

    ``txouts`` has what inputs spend that is not the wallet's, as far as it is there. With ``lock`` no other
    transaction is to spend the coins. Raises WalletError.
    """
    control.lock_time, control.version = tx.lock_time, tx.version
    for number, outpoint in enumerate(tx.prevouts):
        preset = control.preset(outpoint)
        if outpoint not in wallet.ledger.coins:
            if outpoint not in txouts:
                raise WalletError("Unable to find UTXO for external input")
            preset.txout = txouts[outpoint]
        preset.sequence, preset.script_sig = tx.sequences[number], tx.script_sigs[number]
        preset.witness = list(tx.witnesses[number]) if tx.witnesses else []
    created = await create_transaction(node, wallet, recipients, control, change_place=change_place)
    if lock:
        for outpoint in created.tx.prevouts:
            wallet.ledger.lock_coin(outpoint)
    return created
