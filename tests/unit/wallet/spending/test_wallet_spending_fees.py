"""Which feerate is paid, and why."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from btcnode.mempool.fee_estimator import FeeEstimator, FeeReason, SmartFee
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.pool import Mempool
from btcnode.settings.groups.wallet import WalletSettings
from btcnode.wallet.errors import WalletError
from btcnode.wallet.spending.control import CoinControl, FeeMode, Surroundings
from btcnode.wallet.spending.fee_rates import NO_ESTIMATE, checked_rate, discard_rate, per_vbyte, wanted_rate
from btcnode.wallet.spending.plan import MAX_TIP_AGE, anchor_height, sniping_lock
from tests.lib.node_parts import regtest_config

NOW = 1_700_000_000


class Estimator(FeeEstimator):
    """Says the same for every target, more when it is careful."""

    def __init__(self, feerate: int) -> None:
        super().__init__()
        self.feerate = feerate
        self.asked: list[tuple[int, bool]] = []

    def smart(self, target: int, *, conservative: bool) -> SmartFee:
        self.asked.append((target, conservative))
        return SmartFee(self.feerate * (1 + conservative), target, FeeReason.FULL_ESTIMATE)


def node(feerate: int | None = None, **options: Any) -> Surroundings:
    estimator = None if feerate is None else Estimator(feerate)
    return Surroundings(Mempool(MempoolOptions(**options)), estimator, NOW, 500, NOW, is_syncing=False)


@pytest.fixture
def options(tmp_path: Path) -> WalletSettings:
    return regtest_config(tmp_path, fallbackfee="0.0002", txconfirmtarget=9).wallet


def test_where_the_feerate_comes_from(options: WalletSettings) -> None:
    assert wanted_rate(CoinControl(rate=7000), options, node()) == (7000, FeeReason.NONE)
    assert wanted_rate(CoinControl(), options, node()) == (20_000, FeeReason.FALLBACK)
    assert wanted_rate(CoinControl(), options, node(0)) == (20_000, FeeReason.FALLBACK)
    assert wanted_rate(CoinControl(), options, node(3000)) == (3000, FeeReason.FULL_ESTIMATE)
    assert wanted_rate(CoinControl(), options, node(300)) == (1000, FeeReason.REQUIRED)
    assert wanted_rate(CoinControl(rate=500), options, node()) == (1000, FeeReason.REQUIRED)
    assert wanted_rate(CoinControl(rate=500, override_rate=True), options, node()) == (500, FeeReason.NONE)
    full = node(3000)
    full.pool._raise_minimum(4000)
    assert wanted_rate(CoinControl(), options, full) == (4000, FeeReason.MEMPOOL_MIN)


def test_who_cannot_replace_it_asks_more_carefully(options: WalletSettings) -> None:
    surroundings = node(3000)
    estimator = surroundings.estimator
    assert isinstance(estimator, Estimator)
    for control, expected in (
        (CoinControl(), (9, False)),
        (CoinControl(replaceable=False), (9, True)),
        (CoinControl(replaceable=False, fee_mode=FeeMode.ECONOMICAL), (9, False)),
        (CoinControl(fee_mode=FeeMode.CONSERVATIVE, target=2), (2, True)),
    ):
        wanted_rate(control, options, surroundings)
        assert estimator.asked[-1] == expected


def test_a_feerate_is_not_changed_behind_the_users_back(options: WalletSettings, tmp_path: Path) -> None:
    with pytest.raises(WalletError) as caught:
        checked_rate(CoinControl(rate=999), options, node(min_relay_feerate=200))
    assert str(caught.value) == (
        "Fee rate (0.999 sat/vB) is lower than the minimum fee rate setting (1.000 sat/vB).\n"
        "Consider modifying -mintxfee (1.000 sat/vB) or -minrelaytxfee (0.200 sat/vB)."
    )
    without = regtest_config(tmp_path / "b").wallet
    with pytest.raises(WalletError) as caught:
        checked_rate(CoinControl(), without, node())
    assert str(caught.value) == NO_ESTIMATE
    assert per_vbyte(12_345) == "12.345 sat/vB"


def test_change_is_given_up_at_what_waiting_costs(options: WalletSettings) -> None:
    assert discard_rate(options, node()) == options.discardfee == 10_000
    assert discard_rate(options, node(5000)) == 5000
    assert discard_rate(options, node(50_000)) == 10_000
    assert discard_rate(options, node(500)) == 3000  # the dust limit


def test_lock_times_discourage_fee_sniping() -> None:
    fresh = node()
    assert anchor_height(fresh) == 500
    old = Surroundings(fresh.pool, None, NOW, 500, NOW - MAX_TIP_AGE - 1, is_syncing=False)
    syncing = Surroundings(fresh.pool, None, NOW, 500, NOW, is_syncing=True)
    assert anchor_height(old) == anchor_height(syncing) == 0
    locks = [sniping_lock(500, Random(seed)) for seed in range(300)]
    assert min(locks) > 400 and max(locks) == 500
    assert 10 < sum(lock < 500 for lock in locks) < 60
    assert sniping_lock(0, Random(1)) == 0 and min(sniping_lock(5, Random(seed)) for seed in range(300)) == 0
