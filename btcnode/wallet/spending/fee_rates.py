"""Which feerate a transaction pays, and why; satoshi per kvB."""

from __future__ import annotations

from typing import NamedTuple

from btcnode.mempool.fee_estimator import FeeReason
from btcnode.mempool.options import MempoolOptions
from btcnode.settings.groups.wallet import WalletSettings
from btcnode.wallet.errors import WalletError
from btcnode.wallet.spending.control import CoinControl, FeeMode, Surroundings

NO_ESTIMATE = "Fee estimation failed. Fallbackfee is disabled. Wait a few blocks or enable -fallbackfee."


class Rate(NamedTuple):
    """A feerate, and where it comes from."""

    rate: int
    reason: FeeReason = FeeReason.NONE


def required_rate(options: WalletSettings, pool: MempoolOptions) -> int:
    """The least that is paid."""
    return max(options.mintxfee, pool.min_relay_feerate)


def wanted_rate(control: CoinControl, options: WalletSettings, node: Surroundings) -> Rate:
    """What the user said, or what the estimator or the fallback says, within the limits of mempool and wallet."""
    if control.rate is not None:
        found = Rate(control.rate)
        if control.override_rate:
            return found
    else:
        replaceable = options.walletrbf if control.replaceable is None else control.replaceable
        conservative = not replaceable
        if control.fee_mode is not FeeMode.UNSET:
            conservative = control.fee_mode is FeeMode.CONSERVATIVE
        target = options.txconfirmtarget if control.target is None else control.target
        found = _estimate(node, target, conservative=conservative)
        if not found.rate:
            found = Rate(options.fallbackfee, FeeReason.FALLBACK)
            if not options.fallbackfee:
                return found
        least = node.pool.minimum_feerate(node.now)
        if found.rate < least:
            found = Rate(least, FeeReason.MEMPOOL_MIN)
    required = required_rate(options, node.pool.options)
    return Rate(required, FeeReason.REQUIRED) if required > found.rate else found


def _estimate(node: Surroundings, target: int, *, conservative: bool) -> Rate:
    if node.estimator is None:
        return Rate(0)
    found = node.estimator.smart(target, conservative=conservative)
    return Rate(found.feerate, found.reason)


def checked_rate(control: CoinControl, options: WalletSettings, node: Surroundings) -> Rate:
    """The same. Raises WalletError when that is not what the user said, or when there is none."""
    found = wanted_rate(control, options, node)
    if control.rate is not None and found.rate > control.rate:
        text = (
            f"Fee rate ({per_vbyte(control.rate)}) is lower than the minimum fee rate setting"
            f" ({per_vbyte(found.rate)})."
        )
        if found.reason is FeeReason.REQUIRED:
            own, relay = per_vbyte(options.mintxfee), per_vbyte(node.pool.options.min_relay_feerate)
            text += f"\nConsider modifying -mintxfee ({own}) or -minrelaytxfee ({relay})."
        raise WalletError(text)
    if found.reason is FeeReason.FALLBACK and not options.fallbackfee:
        raise WalletError(NO_ESTIMATE)
    return found


def discard_rate(options: WalletSettings, node: Surroundings) -> int:
    """At which change that costs more than it is worth is given up: not above what waiting long would cost."""
    rate = options.discardfee
    if node.estimator is not None:
        longest = node.estimator.smart(node.estimator.highest_target(), conservative=False).feerate
        rate = min(longest, rate) if longest else rate
    return max(rate, node.pool.options.dust_feerate)


def per_vbyte(rate: int) -> str:
    """As Core's texts have it: ``1.000 sat/vB``."""
    return f"{rate // 1000}.{rate % 1000:03d} sat/vB"
