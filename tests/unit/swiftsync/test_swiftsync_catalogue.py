"""Every case of the block catalogue with the coins that its block spends: verified in full as in the usual sync.

What the block's own coins do not show (an output that was never made, or is spent already) the sums do: told coins that
are not among the unspent ones count as found here.
"""

from __future__ import annotations

from collections import Counter

import pytest

from btcnode.errors import DecodeError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_prefix, make_coin
from btcnode.swiftsync.fold import Fold, FoldJob, output_end, spendable_outputs
from btcnode.swiftsync.full_fold import TimesWanted, fold_any
from tests.lib.block_catalogue import CASES, Case
from tests.lib.block_lab import Lab
from tests.lib.spent import tell

PARAMS = params_for("regtest")
NOW = 1_800_000_000
OF_HEADERS = {
    "bad-diffbits", "time-too-old", "time-too-new", "prev-blk-not-found", "bad-prevblk", "duplicate-invalid",
}  # fmt: skip
MADE_UP = make_coin(1, False, 10**8, b"\x51")  # told of an output that never was
seen: Counter[bool] = Counter()


class World:
    """A lab's chain, and what its blocks made and left unspent."""

    def __init__(self) -> None:
        self.lab = Lab(PARAMS, now=NOW)
        self.made: dict[bytes, bytes] = {}
        self.unspent: set[bytes] = set()
        for raw in self.lab.prepare():
            self.take(raw, self.lab.height)

    def outputs(self, block: ParsedBlock, height: int) -> dict[bytes, bytes]:
        """The coins that a block makes, those included that nobody can spend."""
        made = {}
        for i, txid in enumerate(block.txids):
            for vout, k in enumerate(range(block.first_out[i], block.first_out[i + 1])):
                txout = block.raw[block.out_pos[k] : output_end(block, k)]
                made[txid + vout.to_bytes(4, "little")] = coin_prefix(height, i == 0) + txout
        return made

    def take(self, raw: bytes, height: int) -> None:
        """The block is the tip."""
        block = parse_block(raw, exact=False)
        self.made |= self.outputs(block, height)
        self.unspent |= set(spendable_outputs(block))
        self.unspent -= set(block.prevouts())

    def verdict(self, raw: bytes) -> bool:
        """Whether a full sync takes the block on the tip, its coins told as well as they can be."""
        height = self.lab.height + 1
        try:
            block = parse_block(raw, exact=False)
        except DecodeError:
            return False
        own = self.outputs(block, height)
        known = self.made | own
        inputs = block.prevouts()[1:]
        told = tell([known.get(outpoint, MADE_UP) for outpoint in inputs])
        job = FoldJob(bytes(16), height, self.lab.median_time, False, b"\0", told)
        try:
            result = fold_any(raw, job, PARAMS)
            if isinstance(result, TimesWanted):
                times = tuple((at, self.lab.median_time_at(at)) for at in result.heights)
                result = fold_any(raw, job._replace(times=times), PARAMS)
        except (DecodeError, RuleViolation):
            return False
        repeated = any(outpoint in self.made for outpoint in own)  # the coinbases or the coins show it at the end
        return isinstance(result, Fold) and not repeated and self.unspent.issuperset(set(inputs) - set(own))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, world: World) -> None:
    lab = world.lab
    for step in case.build(lab):
        if not step.tip or step.raw[4:36] != lab.tip_hash:
            continue
        if step.reason in OF_HEADERS or step.reason.startswith("bad-version"):
            continue
        assert world.verdict(step.raw) is not bool(step.reason), step.reason
        seen[not step.reason] += 1
        if not step.reason:
            lab.adopt(step.raw)
            world.take(step.raw, lab.height)


def test_most_of_the_catalogue_was_judged() -> None:
    if sum(seen.values()) < 300:
        pytest.skip("only part of the cases ran")
    assert seen[True] >= 50 and seen[False] >= 280
