"""From what is wanted to a plan: everything that making a transaction depends on, read from wallet and node.

Reading happens on the loop thread, in steps. A plan is a value: choosing coins for it may go on elsewhere (build.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from btcnode.descriptors.descriptor import ComboDescriptor, Descriptor, OutputType
from btcnode.descriptors.inference import infer_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.mempool.bump_fees import BumpFees
from btcnode.mempool.feerate import fee_at
from btcnode.mempool.options import MAX_STANDARD_TX_WEIGHT, MempoolOptions
from btcnode.mempool.policy import MIN_STANDARD_NONWITNESS_SIZE, OutputPolicy
from btcnode.mempool.truc import TRUC_VERSION
from btcnode.primitives.amounts import format_money
from btcnode.primitives.coin import make_txout, txout_script
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.primitives.steps import Steps
from btcnode.script.solver import script_type
from btcnode.wallet.coins import STEP, CoinFilter
from btcnode.wallet.errors import WalletError
from btcnode.wallet.flags import WalletFlag
from btcnode.wallet.spending.choose import CHAIN_LIMIT, SelectionTerms
from btcnode.wallet.spending.coins import PricedCoin
from btcnode.wallet.spending.control import CoinControl, Recipient, Surroundings
from btcnode.wallet.spending.fee_rates import Rate, checked_rate, discard_rate
from btcnode.wallet.spending.random_selection import change_target
from btcnode.wallet.spending.sizes import NESTED_P2WPKH_VSIZE, InputSize, size_of_input
from btcnode.wallet.wallet import Reserved, Wallet

if TYPE_CHECKING:
    from random import Random

MIN_WEIGHT = MIN_STANDARD_NONWITNESS_SIZE * 4
MAX_TIP_AGE = 8 * 3600  # seconds: with an older tip the height says nothing that may not be told
_KIND_OF_SCRIPT = {
    "pubkeyhash": OutputType.LEGACY, "scripthash": OutputType.LEGACY, "witness_v0_keyhash": OutputType.BECH32,
    "witness_v0_scripthash": OutputType.BECH32, "witness_v1_taproot": OutputType.BECH32M,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What a transaction is made from.

    ``available`` are priced coins that may be added to ``presets``. ``change_script`` is empty where there is none:
    ``no_change`` says why. ``bump_fees`` has the unconfirmed ancestors of all coins. ``anchor`` is the height for the
    lock time that discourages fee sniping, 0 where the tip is too old, None where the user has set something else.
    """

    recipients: Sequence[Recipient]
    control: CoinControl
    rate: Rate
    terms: SelectionTerms
    target: int
    available: Sequence[PricedCoin]
    presets: Mapping[bytes, PricedCoin]
    bump_fees: BumpFees
    change_script: bytes
    no_change: str
    reserved: Reserved | None
    sequence: int
    anchor: int | None
    dust: OutputPolicy

    @property
    def amount(self) -> int:
        """What the recipients are to get together."""
        return sum(recipient.amount for recipient in self.recipients)


class Sizer:
    """Sizes of inputs that spend a wallet's outputs, or what else is known how to spend."""

    def __init__(self, wallet: Wallet, control: CoinControl | None = None) -> None:
        self._wallet = wallet
        self._control = control or CoinControl()
        self._by_descriptor: dict[bytes, InputSize] = {}
        # other signers may not take the trouble to make short signatures
        self._low_r = not wallet.has(WalletFlag.DISABLE_PRIVATE_KEYS)

    def own(self, script: bytes) -> InputSize | None:
        """Of an input that spends an output of the wallet's; None for another one."""
        known = self._wallet.parents(script)
        if not known:
            return None
        keys = known[0]
        if isinstance(keys.descriptor, ComboDescriptor):
            return size_of_input(self._inferred(script, keys.provider(script)), low_r=self._low_r)
        if keys.id not in self._by_descriptor:
            self._by_descriptor[keys.id] = size_of_input(keys.descriptor, low_r=self._low_r)
        return self._by_descriptor[keys.id]

    def _inferred(self, script: bytes, provider: SigningProvider | None) -> Descriptor:
        return infer_descriptor(script, provider or SigningProvider(), self._wallet.params)

    def of(self, outpoint: bytes, script: bytes) -> InputSize:
        """Of any input, as far as it is known."""
        preset, given = self._control.presets.get(outpoint), self._control.weights.get(outpoint)
        own = self.own(script)
        if own is not None and own.is_known:
            return own._replace(given=given)
        foreign = preset is not None and preset.txout is not None
        return size_of_input(
            self._inferred(script, self._control.external), low_r=self._low_r and not foreign, given=given
        )

    def kind(self, script: bytes, size: InputSize) -> OutputType | None:
        """The type that coins are told apart by: P2SH counts as segwit where it is known to be that."""
        found = _KIND_OF_SCRIPT.get(script_type(script))
        wraps = found is OutputType.LEGACY and size.is_segwit
        return OutputType.P2SH_SEGWIT if wraps else found


def change_type(wallet: Wallet, control: CoinControl, recipients: Iterable[Recipient]) -> OutputType:
    """The kind of address for change: as chosen, else like what is paid to, so that it does not stand out."""
    chosen = control.change_type or wallet.change_type
    if chosen is not None:
        return chosen
    if wallet.address_type is OutputType.LEGACY:
        return OutputType.LEGACY
    paid = {script_type(recipient.script) for recipient in recipients}
    likely = (
        ("witness_v1_taproot", OutputType.BECH32M), ("witness_v0_keyhash", OutputType.BECH32),
        ("scripthash", OutputType.P2SH_SEGWIT), ("pubkeyhash", OutputType.LEGACY),
    )  # fmt: skip
    for name, kind in likely:
        if name in paid and (kind, True) in wallet.active:
            return kind
    for kind in (OutputType.BECH32M, OutputType.BECH32):
        if (kind, True) in wallet.active:
            return kind
    return wallet.address_type


def coin_filter(wallet: Wallet, control: CoinControl, *, min_value: int = 1) -> CoinFilter:
    """Which of the wallet's coins may be added to a transaction."""
    return CoinFilter(
        min_depth=control.min_depth,
        max_depth=control.max_depth,
        unsafe_too=control.include_unsafe,
        used_too=not (wallet.has(WalletFlag.AVOID_REUSE) and control.avoid_reuse),
        truc=control.version == TRUC_VERSION,
        excluded=frozenset(control.presets),
        min_value=min_value,
    )


def available_coins(
    wallet: Wallet, control: CoinControl, node: Surroundings, sizer: Sizer, wanted: CoinFilter
) -> Steps[list[PricedCoin]]:
    """The coins that may be added, not priced yet."""
    found: list[PricedCoin] = []
    coins = yield from wallet.coins.available_steps(wanted)
    for number, coin in enumerate(coins):
        if not number % STEP:
            yield
        size = sizer.own(coin.script)
        known = size if size is not None and size.is_known else None
        ancestors = cluster = 0
        entry = node.pool.get(coin.outpoint[:32]) if coin.depth == 0 else None
        if entry is not None:
            ancestors, cluster = len(node.pool.ancestors(entry)) + 1, len(entry.cluster.entries)
        kind = sizer.kind(coin.script, size) if size is not None else None
        txout = make_txout(coin.value, coin.script)
        found.append(PricedCoin(coin.outpoint, txout, known, coin.depth, kind, coin.from_me, ancestors, cluster))
    return found


def preset_coins(wallet: Wallet, control: CoinControl, sizer: Sizer) -> dict[bytes, PricedCoin]:
    """The coins that are spent in any case, in order, not priced yet. Raises WalletError."""
    found = {}
    for outpoint, preset in control.presets.items():
        own = wallet.ledger.transactions.get(outpoint[:32])
        vout = int.from_bytes(outpoint[32:], "little")
        name = f"COutPoint({to_display(outpoint[:32])[:10]}, {vout})"
        if own is not None and outpoint in wallet.ledger.coins:
            txout = own.tx.txouts[vout]
            if wallet.ledger.depth(own) == 0:
                check_versions(own.tx.version, control.version)
        elif preset.txout is not None:
            txout = preset.txout
        else:
            raise WalletError(f"Not found pre-selected input {name}")
        size = sizer.of(outpoint, txout_script(txout))
        if not size.is_known:
            raise WalletError(f"Not solvable pre-selected input {name}")
        found[outpoint] = PricedCoin(outpoint, txout, size)
    return found


def check_versions(spent: int, version: int) -> None:
    """Raise WalletError where an unconfirmed transaction of one version cannot be spent by one of the other."""
    if spent == TRUC_VERSION and version != TRUC_VERSION:
        raise WalletError(f"Can't spend unconfirmed version 3 pre-selected input with a version {version} tx")
    if version == TRUC_VERSION and spent != TRUC_VERSION:
        raise WalletError(f"Can't spend unconfirmed version {spent} pre-selected input with a version 3 tx")


def make_plan(
    wallet: Wallet, node: Surroundings, recipients: Sequence[Recipient], control: CoinControl, random: Random
) -> Steps[Plan]:
    """Look everything up, in steps: what is spent meanwhile is found out when the transaction is committed.

    Raises WalletError; an address for change is given back then, and where the steps are not gone to their end.
    """
    if not recipients:
        raise WalletError("Transaction must have at least one recipient")
    if any(recipient.amount < 0 for recipient in recipients):
        raise WalletError("Transaction amounts must not be negative")
    max_weight = MAX_STANDARD_TX_WEIGHT if control.max_weight is None else control.max_weight
    if not MIN_WEIGHT <= max_weight <= MAX_STANDARD_TX_WEIGHT:
        raise WalletError(f"Maximum transaction weight must be between {MIN_WEIGHT} and {MAX_STANDARD_TX_WEIGHT}")
    dust = OutputPolicy(node.pool.options)
    for number, recipient in enumerate(recipients):
        if number % STEP == STEP - 1:
            yield
        if recipient.amount < dust.dust_limit(make_txout(recipient.amount, recipient.script)):
            raise WalletError("Transaction amount too small")
    script, reserved, no_change = control.change_script, None, ""
    if script is None:
        try:
            reserved = wallet.reserve_change(change_type(wallet, control, recipients))
            script = reserved.script
        except WalletError as error:
            no_change = f"Transaction needs a change address, but we can't generate it. {error}"
    try:
        change = script or b"", no_change, reserved
        return (yield from _plan(wallet, node, recipients, control, random, change, max_weight))
    except BaseException:
        if reserved is not None:
            wallet.give_back(reserved)
        raise


def _plan(
    wallet: Wallet,
    node: Surroundings,
    recipients: Sequence[Recipient],
    control: CoinControl,
    random: Random,
    change: tuple[bytes, str, Reserved | None],
    max_weight: int,
) -> Steps[Plan]:
    script, no_change, reserved = change
    options, sizer = wallet.options, Sizer(wallet, control)
    rate = checked_rate(control, options, node)
    terms = replace(
        _change_terms(wallet, node, recipients, rate.rate, script, random),
        max_weight=max_weight,
        version=control.version,
        avoid_partial_spends=control.avoid_partial_spends or options.avoidpartialspends,
        include_unsafe=control.include_unsafe,
        spend_zero_conf_change=options.spendzeroconfchange,
        reject_long_chains=options.walletrejectlongchains,
        chain_limit=min(CHAIN_LIMIT, node.pool.max_cluster_count),
    )
    fixed_fee = 0 if terms.by_value else fee_at(rate.rate, terms.base_vsize)
    target = sum(recipient.amount for recipient in recipients) + fixed_fee
    if target == 0 and not control.presets:
        raise WalletError(
            "Transaction requires one destination of non-zero value, a non-zero feerate, or a pre-selected input"
        )
    presets = preset_coins(wallet, control, sizer)
    available: list[PricedCoin] = []
    if control.others_allowed:
        available = yield from available_coins(wallet, control, node, sizer, coin_filter(wallet, control))
    bump_fees = BumpFees(node.pool, [*presets, *(coin.outpoint for coin in available if coin.depth == 0)])
    bumps = bump_fees.each(presets, rate.rate)
    bumps |= bump_fees.each([coin.outpoint for coin in available if coin.depth == 0], rate.rate)

    def priced(coin: PricedCoin) -> PricedCoin:
        return coin.priced(rate.rate, terms.long_term_rate, bumps.get(coin.outpoint, 0))

    for start in range(0, len(available), STEP):
        yield
        available[start : start + STEP] = map(priced, available[start : start + STEP])
    replaceable = options.walletrbf if control.replaceable is None else control.replaceable
    untouched = control.lock_time is None and all(preset.sequence is None for preset in control.presets.values())
    return Plan(
        recipients, control, rate, terms, target, available,
        {outpoint: priced(coin) for outpoint, coin in presets.items()}, bump_fees, script, no_change, reserved,
        0xFFFFFFFD if replaceable else 0xFFFFFFFE, anchor_height(node) if untouched else None,
        OutputPolicy(node.pool.options),
    )  # fmt: skip


def _change_terms(
    wallet: Wallet, node: Surroundings, recipients: Sequence[Recipient], rate: int, script: bytes, random: Random
) -> SelectionTerms:
    """Sizes and fees of the outputs, and of spending the change one day."""
    outputs = sum(len(make_txout(recipient.amount, recipient.script)) for recipient in recipients)
    prototype = make_txout(0, script)
    size = Sizer(wallet).own(script) if script else None
    spend_vsize = size.vsize if size is not None and size.is_known else NESTED_P2WPKH_VSIZE
    discard = discard_rate(wallet.options, node)
    spend_fee, change_fee = fee_at(discard, spend_vsize), fee_at(rate, len(prototype))
    average = sum(recipient.amount for recipient in recipients) // len(recipients)
    dust = OutputPolicy(MempoolOptions(dust_feerate=discard)).dust_limit(prototype)
    return SelectionTerms(
        rate=rate,
        long_term_rate=wallet.options.consolidatefeerate,
        base_vsize=10 + len(compact_size(len(recipients))) + outputs,
        change_vsize=len(prototype),
        change_fee=change_fee,
        cost_of_change=spend_fee + change_fee,
        min_change_target=change_target(average, change_fee, random),
        min_viable_change=max(spend_fee + 1, dust),
        by_value=any(recipient.pays_fee for recipient in recipients),
    )


def anchor_height(node: Surroundings) -> int:
    """The height that a transaction may be locked to, so that it pays who builds on the best block; 0 for none."""
    if node.is_syncing or node.tip_time < node.now - MAX_TIP_AGE:
        return 0
    return node.tip_height


def sniping_lock(anchor: int, random: Random) -> int:
    """A lock time of about this height: mostly it, now and then earlier, for the privacy of those that were delayed."""
    if anchor and random.randrange(10) == 0:
        return max(0, anchor - random.randrange(100))
    return anchor


def shortfall(plan: Plan) -> str:
    """Why no coins were found: Core's words."""
    balance = sum(coin.value for coin in (*plan.available, *plan.presets.values()))
    effective = sum(coin.effective_value for coin in (*plan.available, *plan.presets.values()))
    if balance >= plan.amount and effective < plan.target:
        fee = format_money(plan.target - plan.amount)
        return f"The total exceeds your balance when the {fee} transaction fee is included."
    return "Insufficient funds"
