"""The fee estimator in a market that changes, and files that it does not trust."""

from __future__ import annotations

import struct
from itertools import count
from random import Random

import pytest

from btcnode.errors import DecodeError
from btcnode.mempool.entry import LockPoints, MempoolEntry
from btcnode.mempool.fee_estimator import DOUBLE_SUCCESS, INFINITE, FeeEstimator, Horizon, make_bounds
from btcnode.mempool.fee_file import VERSION, decode_estimates, encode_estimates
from btcnode.mempool.fee_stats import ConfirmStats, add_each
from btcnode.testing.small_pool import coin, spend

BASE_FEE = 2000
SLACK = 500  # sat/kvB: what averages may be off


class Market:
    """A chain of blocks above an estimator; ten classes of transactions pay one to ten times the base fee."""

    def __init__(self, estimator: FeeEstimator | None = None, height: int = 0) -> None:
        self.estimator = estimator if estimator is not None else FeeEstimator()
        self.height = height
        self.waiting: list[list[MempoolEntry]] = [[] for _ in range(10)]
        self._numbers = count()

    def entry(self, fee: int, height: int | None = None) -> MempoolEntry:
        tx = spend([coin(next(self._numbers))], 1_000_000, fee)
        return MempoolEntry(
            tx, fee=fee, weight=4 * len(tx.raw), sigop_cost=0, time=0, sequence=1, spends_coinbase=False,
            height=self.height if height is None else height, lock_points=LockPoints(0, 0, -1),
        )  # fmt: skip

    @property
    def base_rate(self) -> int:
        entry = self.entry(BASE_FEE)
        return BASE_FEE * 1000 // entry.vsize

    def arrive(self, fee: int, counts: bool = True) -> MempoolEntry:
        entry = self.entry(fee)
        self.estimator.added(entry, counts=counts)
        return entry

    def crowd(self) -> None:
        """Four new transactions of each class."""
        for number, waiting in enumerate(self.waiting, 1):
            waiting += [self.arrive(BASE_FEE * number) for _ in range(4)]

    def mine(self, *entries: MempoolEntry, classes: int = 0) -> None:
        """A block with these and with all that waits of the best ``classes``."""
        block = list(entries)
        for waiting in self.waiting[10 - classes :]:
            block += waiting
            waiting.clear()
        self.height += 1
        self.estimator.block(block, self.height)

    def rate(self, target: int) -> int:
        return self.estimator.raw(target, DOUBLE_SUCCESS, Horizon.MEDIUM)[0]


@pytest.fixture(scope="module")
def busy() -> bytes:
    """The file after 200 blocks in which the best class is in every block, the next in nine of ten, and so on."""
    market = Market()
    for _ in range(200):
        market.crowd()
        market.mine(classes=market.height % 10 + 1)
    market.estimator.give_up()
    return encode_estimates(market.estimator)


def test_estimates_follow_the_market() -> None:
    """The facts of Core's policyestimator_tests."""
    market = Market()
    rate = market.base_rate
    for _ in range(200):
        market.crowd()
        market.mine(classes=market.height % 10 + 1)
        if market.height == 3:  # buckets have to be put together here
            assert abs(market.rate(2) - 9 * rate) < SLACK
    first = {target: market.rate(target) for target in range(2, 49)}
    assert all(first[target] <= first[target - 1] for target in range(3, 10))
    for target in (2, 4, 6, 8):  # the medium horizon tells two blocks apart
        assert abs(first[target] - (11 - target) * rate) < SLACK
    for _ in range(50):  # blocks without transactions change nothing
        market.mine()
    assert all(abs(market.rate(target) - first[target]) < SLACK for target in range(2, 10))
    for _ in range(15):  # nothing is mined
        market.crowd()
        market.mine()
    assert all(market.rate(target) == 0 or market.rate(target) > first[target] - SLACK for target in range(2, 10))
    market.mine(classes=10)
    assert all(market.rate(target) == 0 or market.rate(target) > first[target] - SLACK for target in range(2, 10))
    for _ in range(400):  # everything is mined at once
        market.crowd()
        market.mine(classes=10)
    assert all(market.rate(target) < first[target] - SLACK for target in range(2, 9))


def test_smart_estimates_are_bounded_by_what_was_seen(busy: bytes) -> None:
    estimator = FeeEstimator()
    assert estimator.smart(6, conservative=True).feerate == 0
    market = Market(estimator)
    for _ in range(21):
        market.crowd()
        market.mine(classes=10)
    found = estimator.smart(100, conservative=False)
    assert found.blocks == 10  # half of the twenty blocks since the first one with a transaction
    assert abs(found.feerate - market.base_rate) < SLACK
    assert estimator.smart(1, conservative=False).blocks == 2
    assert estimator.smart(0, conservative=False).feerate == 0
    assert estimator.smart(1009, conservative=False).feerate == 0


def test_a_conservative_estimate_remembers_longer() -> None:
    market = Market()
    for _ in range(100):
        market.crowd()
        market.mine(classes=5)
    for _ in range(120):
        market.crowd()
        market.mine(classes=10)
    economical = market.estimator.smart(2, conservative=False).feerate
    conservative = market.estimator.smart(2, conservative=True).feerate
    assert 0 < economical < conservative


def test_the_memory_fades_bucket_by_bucket() -> None:
    stats = ConfirmStats(make_bounds(), 2, 0.5, 1)
    bucket = stats.bucket_of(150.0)
    stats.record(1, bucket, [148])
    stats.record(2, bucket, [150])
    stats.next_block(1)
    stats.apply_decay()
    assert (stats.counts[bucket], stats.feerates[bucket]) == (1.0, 149.0)
    assert [row[bucket] for row in stats.confirmed] == [0.5, 1.0]


def test_buckets() -> None:
    buckets = make_bounds()
    assert (len(buckets), buckets[0], buckets[1], buckets[-1]) == (237, 100.0, 105.0, INFINITE)
    stats = ConfirmStats(buckets, 1, 0.5, 1)
    assert [stats.bucket_of(rate) for rate in (0.0, 100.0, 100.5, 105.0, 1e8)] == [0, 0, 1, 1, 236]


def test_the_file_brings_everything_back(busy: bytes) -> None:
    with pytest.raises(DecodeError, match="more behind"):
        decode_estimates(busy + b"more")
    estimator = decode_estimates(busy)
    assert (estimator.best_height, estimator.history) == (200, (1, 200))
    assert encode_estimates(estimator) == busy
    found = estimator.smart(4, conservative=True)
    assert (found.blocks, found.feerate > 0) == (4, True)
    assert estimator.smart(1008, conservative=False).blocks == 99
    market = Market(estimator, height=200 + 6 * 1008)
    market.mine()  # too long ago
    assert estimator.smart(4, conservative=False).feerate == 0


def test_a_short_run_does_not_forget_the_longer_one(busy: bytes) -> None:
    estimator = decode_estimates(busy)
    market = Market(estimator, height=200)
    for _ in range(50):
        market.crowd()
        market.mine(classes=10)
    assert decode_estimates(encode_estimates(estimator)).history == (1, 200)
    for _ in range(52):
        market.crowd()
        market.mine(classes=10)
    assert decode_estimates(encode_estimates(estimator)).history == (201, 302)


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (0, "<i", VERSION + 1),
        (4, "<I", 3),  # best seen below the statistics
        (8, "<I", 500),  # first above best
        (16, "<B", 1),  # one bucket
        (16, "<B", 0),
        (17, "<d", 1e300),  # buckets do not ascend
        (17, "<d", float("nan")),
        (17 + 237 * 8, "<d", 1.0),  # decay
        (17 + 237 * 8, "<d", float("nan")),
        (25 + 237 * 8, "<I", 0),  # scale
        (25 + 237 * 8, "<I", 43),
        (30 + 237 * 8, "<d", float("inf")),  # a sum of feerates
        (30 + 237 * 8, "<d", -1.0),
    ],
)
def test_a_damaged_file_is_refused(busy: bytes, at: int, form: str, value: float) -> None:
    data = bytearray(busy)
    struct.pack_into(form, data, at, value)
    with pytest.raises(DecodeError):
        decode_estimates(bytes(data))


def test_no_file_breaks_more_than_itself(busy: bytes) -> None:
    """Truncated anywhere it is refused; what passes with flipped bytes can be estimated from and written again."""
    rng = Random(5)
    for _ in range(60):
        with pytest.raises(DecodeError):
            decode_estimates(busy[: rng.randrange(len(busy))])
    for _ in range(60):
        data = bytearray(busy)
        for _ in range(4):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            estimator = decode_estimates(bytes(data))
        except DecodeError:
            continue
        for target in (1, 2, 12, 48, 1008):
            estimator.smart(target, conservative=True)
        assert encode_estimates(estimator)


def test_many_at_once_round_as_one_by_one() -> None:
    rng = Random(11)
    for _ in range(2000):
        value = rng.choice([0.0, rng.random() * 10 ** rng.randrange(-8, 16)])
        addends = [rng.choice([1, 1, 1000, rng.randrange(1, 10**9)]) for _ in range(rng.randrange(1, 50))]
        one_by_one = value
        for addend in addends:
            one_by_one += addend
        assert add_each(value, addends) == one_by_one
