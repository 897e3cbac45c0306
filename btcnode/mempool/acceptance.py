"""Admission to the mempool in all its forms: single transactions, packages, tests (see ``single`` for how)."""

from __future__ import annotations

from collections.abc import Sequence

from btcnode.mempool.package_acceptance import SubmissionSteps, submission_steps, test_steps
from btcnode.mempool.rejection import PackageResult
from btcnode.mempool.single import SingleAdmission
from btcnode.primitives.tx import Tx
from btcnode.script.verify import verify_transaction


class Admission(SingleAdmission):
    """What may enter one pool.

    The ``..._steps`` leave the scripts to whoever drives them: they yield script jobs, take one verdict for each by
    ``send`` and return the result; pool and chain may change in between.
    """

    def package_steps(self, txs: Sequence[Tx], now: int, *, max_feerate: int | None = None) -> SubmissionSteps:
        """Submit a package, parents first and their child last; ``max_feerate`` (sat/kvB) bounds each transaction's."""
        return submission_steps(self, txs, now, max_feerate)

    def test_steps(self, txs: Sequence[Tx], now: int) -> SubmissionSteps:
        """Judge one or several transactions as ``testmempoolaccept`` does, parents first."""
        return test_steps(self, txs, now)

    def accept_package(self, txs: Sequence[Tx], now: int, *, max_feerate: int | None = None) -> PackageResult:
        """``package_steps``, scripts included."""
        return drive(self.package_steps(txs, now, max_feerate=max_feerate))

    def test_accept(self, txs: Sequence[Tx], now: int) -> PackageResult:
        """``test_steps``, scripts included."""
        return drive(self.test_steps(txs, now))


def drive(steps: SubmissionSteps) -> PackageResult:
    """Run the steps to their end, scripts here and now."""
    try:
        jobs = next(steps)
        while True:
            jobs = steps.send([verify_transaction(job.raw_tx, job.spent, job.flags) for job in jobs])
    except StopIteration as end:
        result: PackageResult = end.value
        return result
