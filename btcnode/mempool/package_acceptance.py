"""Admission of packages (Core's ``AcceptPackage``, ``AcceptMultipleTransactions``), as steps between script checks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from btcnode.mempool import ephemeral, replacement, truc
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.mempool.feerate import format_rate, is_higher
from btcnode.mempool.packages import is_child_with_parents, package_problem
from btcnode.mempool.precheck import Candidate, Rules
from btcnode.mempool.rejection import (
    Accepted,
    AlreadyThere,
    OtherWitness,
    PackageFault,
    PackageResult,
    PackageTxVerdict,
    Rejection,
    TxResult,
    TxVerdict,
)
from btcnode.mempool.single import MAX_FEERATE, SingleAdmission, accepted, script_rejection
from btcnode.primitives.hashes import Wtxid
from btcnode.primitives.tx import Tx
from btcnode.script.verify import ScriptFailure, ScriptJob

if TYPE_CHECKING:
    from btcnode.mempool.pool import Staged

Jobs = Sequence[ScriptJob]
Verdicts = Sequence[ScriptFailure | None]
SubmissionSteps = Generator[Jobs, Verdicts, PackageResult]
"""A package under way: yields script jobs, takes one verdict for each, returns the result."""

_TX_FAILED = "transaction failed"
_FULL = Rejection(TxResult.MEMPOOL_POLICY, "mempool full")
_RETRIED = (TxResult.RECONSIDERABLE, TxResult.MISSING_INPUTS)


class _Together:
    """Transactions that have passed everything but their scripts, together."""

    __slots__ = ("candidates", "fee", "staged", "vsize")

    def __init__(self, candidates: list[Candidate]) -> None:
        self.candidates = candidates
        self.fee = sum(candidate.entry.modified_fee for candidate in candidates)
        self.vsize = sum(candidate.entry.vsize for candidate in candidates)
        self.staged: Staged | None = None

    @property
    def entries(self) -> list[MempoolEntry]:
        """In the package's order."""
        return [candidate.entry for candidate in self.candidates]


def test_steps(admission: SingleAdmission, txs: Sequence[Tx], now: int) -> SubmissionSteps:
    """Judge transactions as ``testmempoolaccept`` does: one as it would be submitted, several without replacement."""
    if len(txs) == 1:
        verdict = yield from _single(admission, txs[0], now, Rules(test=True))
        result = PackageResult(transactions={txs[0].wtxid: verdict})
        return result.fail(PackageFault.TX, _TX_FAILED) if isinstance(verdict, Rejection) else result
    rules = Rules(test=True, allow_replacement=False, allow_sibling_eviction=False)
    result = yield from _several(admission, txs, now, rules)
    return result


def submission_steps(
    admission: SingleAdmission, txs: Sequence[Tx], now: int, max_feerate: int | None
) -> SubmissionSteps:
    """Submit a child with its parents, parents first: each by itself, then what pays too little alone as a package."""
    early = PackageResult()
    problem = package_problem(txs)
    if problem:
        return early.fail(PackageFault.POLICY, problem)
    if len(txs) > 1 and not is_child_with_parents(txs):
        return early.fail(PackageFault.POLICY, "package-not-child-with-parents")
    final: dict[Wtxid, PackageTxVerdict] = {}
    alone: dict[Wtxid, Rejection] = {}
    together: list[Tx] = []
    rules = Rules(package_submission=True, max_feerate=max_feerate)
    for tx in txs:
        existing = admission.pool.get(tx.txid)
        if existing is not None:
            same = existing.wtxid == tx.wtxid
            final[tx.wtxid] = AlreadyThere(existing.vsize, existing.fee) if same else OtherWitness(existing.wtxid)
            continue
        verdict = yield from _single(admission, tx, now, rules)
        if isinstance(verdict, Accepted):
            final[tx.wtxid] = verdict
            continue
        alone[tx.wtxid] = verdict
        if len(txs) == 1 or verdict.result not in _RETRIED:
            early.fail(PackageFault.TX, _TX_FAILED)
        else:
            together.append(tx)
    result = early
    if not early.fault and together:
        rules = Rules(
            allow_sibling_eviction=False, package_submission=True, package_feerates=True, max_feerate=max_feerate
        )
        if len(together) > 1:
            result = yield from _several(admission, together, now, rules)
        else:
            single = Rules(package_submission=True, max_feerate=max_feerate)
            verdict = yield from _single(admission, together[0], now, single)
            result = PackageResult(transactions={together[0].wtxid: verdict})
            if isinstance(verdict, Rejection):
                result.fail(PackageFault.TX, _TX_FAILED)
    admission.limit(now)
    return _settle(admission, txs, result, final, alone)


def _settle(
    admission: SingleAdmission,
    txs: Sequence[Tx],
    result: PackageResult,
    final: dict[Wtxid, PackageTxVerdict],
    alone: dict[Wtxid, Rejection],
) -> PackageResult:
    """One verdict for each transaction, after the pool has been trimmed."""
    verdicts: dict[Wtxid, PackageTxVerdict] = {}
    for tx in txs:
        wtxid = tx.wtxid
        verdict = result.transactions.get(wtxid) or final.get(wtxid) or alone.get(wtxid)
        if verdict is None:
            continue
        if not isinstance(verdict, Rejection) and admission.pool.get(tx.txid) is None:
            result.fail(PackageFault.TX, _TX_FAILED)
            verdict = _FULL
        verdicts[wtxid] = verdict
    result.transactions = verdicts
    return result


def _single(admission: SingleAdmission, tx: Tx, now: int, rules: Rules) -> Generator[Jobs, Verdicts, TxVerdict]:
    candidate = admission.evaluate(tx, now, rules)
    if isinstance(candidate, Rejection):
        return candidate
    failure = None
    if candidate.job is not None:
        (failure,) = yield [candidate.job]
    return admission.commit(candidate, failure, now)


def _several(admission: SingleAdmission, txs: Sequence[Tx], now: int, rules: Rules) -> SubmissionSteps:
    """Core's ``AcceptMultipleTransactions``: dependent on each other or not, parents first."""
    judged = _judge(admission, txs, now, rules)
    if isinstance(judged, PackageResult):
        return judged
    waiting = [candidate for candidate in judged.candidates if candidate.job is not None]
    if waiting:
        verdicts = yield [candidate.job for candidate in waiting if candidate.job is not None]
        failures = {candidate.tx.wtxid: failure for candidate, failure in zip(waiting, verdicts, strict=True)}
        failed = _first_failure(admission, judged, failures, rules)
        if failed is not None:
            return failed
        if not _is_current(admission, judged):
            admission.reevaluated += 1
            again = _judge(admission, txs, now, rules)
            if isinstance(again, PackageResult):
                return again
            judged = again
    if not rules.test and judged.staged is not None:
        for entry in judged.entries:
            entry.sequence = admission.pool.sequence
        judged.staged.apply(RemovalReason.REPLACED, now)
    return PackageResult(transactions=_accepted(judged, rules))


def _is_current(admission: SingleAdmission, judged: _Together) -> bool:
    first = judged.candidates[0]
    return first.version == admission.pool.version and first.tip == admission.checks.facts().tip


def _accepted(judged: _Together, rules: Rules) -> dict[Wtxid, PackageTxVerdict]:
    if not rules.package_feerates:
        return {candidate.tx.wtxid: accepted(candidate) for candidate in judged.candidates}
    wtxids = tuple([candidate.tx.wtxid for candidate in judged.candidates])
    replaced = tuple([old.tx for candidate in judged.candidates for old in candidate.replaced])
    verdicts: dict[Wtxid, PackageTxVerdict] = {}
    for candidate in judged.candidates:
        verdicts[candidate.tx.wtxid] = Accepted(
            candidate.entry, judged.fee, judged.vsize, wtxids, replaced, bool(candidate.parents), in_package=True
        )
        replaced = ()  # told once
    return verdicts


def _first_failure(
    admission: SingleAdmission, judged: _Together, failures: dict[Wtxid, ScriptFailure | None], rules: Rules
) -> PackageResult | None:
    """The first script that failed; a test has verdicts on the transactions before it too."""
    result = PackageResult()
    for candidate in judged.candidates:
        wtxid = candidate.tx.wtxid
        failure = failures.get(wtxid)
        if failure is not None:
            result.transactions[wtxid] = script_rejection(candidate, failure)
            return result.fail(PackageFault.TX, _TX_FAILED)
        admission.remember(candidate)
        if rules.test:
            result.transactions[wtxid] = accepted(candidate)
    return None


def _judge(admission: SingleAdmission, txs: Sequence[Tx], now: int, rules: Rules) -> _Together | PackageResult:
    """Everything but the scripts."""
    result = PackageResult()
    problem = package_problem(txs)
    if problem:
        return result.fail(PackageFault.POLICY, problem)
    candidates: list[Candidate] = []
    package: dict[bytes, MempoolEntry] = {}
    for tx in txs:
        found = admission.checks.check(tx, now, rules, package)
        if isinstance(found, Candidate) and rules.max_feerate is not None:
            entry = found.entry
            if is_higher((entry.modified_fee, entry.vsize), (rules.max_feerate, 1000)):
                found = MAX_FEERATE
        if isinstance(found, Rejection):
            result.transactions[tx.wtxid] = found
            return result.fail(PackageFault.TX, _TX_FAILED)
        candidates.append(found)
        package[tx.txid] = found.entry
    for candidate in candidates:
        debug = truc.check_package(admission.pool, candidate.tx, candidate.entry.vsize, txs, candidate.parents)
        if debug:
            return result.fail(PackageFault.POLICY, "TRUC-violation", debug)
    together = _Together(candidates)
    if rules.package_feerates:
        rejection = admission.checks.too_low(together.fee, together.vsize, now)
        if rejection is not None:
            result.transactions[txs[-1].wtxid] = rejection
            return result.fail(PackageFault.TX, _TX_FAILED)
    return _beside_pool(admission, together, package, result) or together


def _beside_pool(
    admission: SingleAdmission, together: _Together, package: dict[bytes, MempoolEntry], result: PackageResult
) -> PackageResult | None:
    """Replacement, cluster limits, dust."""
    if any(candidate.conflicts for candidate in together.candidates):
        reason, debug = _replaces(admission, together)
        if reason:
            return result.fail(PackageFault.POLICY, reason, debug)
    else:
        together.staged = admission.pool.stage([], together.entries)
        if together.staged.oversized:
            return result.fail(PackageFault.POLICY, "too-large-cluster")
    for candidate in together.candidates:
        if admission.options.require_standard:
            rejection = ephemeral.check_spends(candidate.tx, candidate.parents, package, admission.checks.outputs)
            if rejection is not None:
                result.transactions[candidate.tx.wtxid] = rejection
                return result.fail(PackageFault.TX, "unspent-dust")
    for candidate in together.candidates:
        admission.add_job(candidate)
    return None


def _replaces(admission: SingleAdmission, together: _Together) -> tuple[str, str]:
    """Core's ``PackageRBFChecks``: reason and debug message, "" for nothing wrong."""
    candidates, pool = together.candidates, admission.pool
    if len(candidates) != 2 or not is_child_with_parents([candidate.tx for candidate in candidates]):
        return "package RBF failed: package must be 1-parent-1-child", ""
    if any(candidate.parents for candidate in candidates):
        return "package RBF failed: new transaction cannot have mempool ancestors", ""
    direct = {txid: entry for candidate in candidates for txid, entry in candidate.conflicts.items()}
    parent, child = candidates[0].entry, candidates[1].entry
    debug = replacement.too_many_clusters(pool, child.txid, list(direct.values()))
    if debug:
        return "package RBF failed: too many potential replacements", debug
    replaced = replacement.with_descendants(pool, direct.values())
    old_fee = sum(entry.modified_fee for entry in replaced)
    rate = admission.options.incremental_feerate
    debug = replacement.pays_too_little(old_fee, together.fee, together.vsize, rate, child.txid)
    if debug:
        return "package RBF failed: insufficient anti-DoS fees", debug
    if not is_higher((together.fee, together.vsize), (parent.modified_fee, parent.vsize)):
        whole, first = format_rate(together.fee, together.vsize), format_rate(parent.modified_fee, parent.vsize)
        return (
            "package RBF failed: package feerate is less than or equal to parent feerate",
            f"package feerate {whole} <= parent feerate is {first}",
        )
    together.staged = staged = pool.stage(replaced, together.entries)
    candidates[0].replaced = replaced
    if staged.oversized:
        return "too-large-cluster", ""
    if not replacement.improves(staged):
        return f"package RBF failed: {replacement.NO_IMPROVEMENT}", ""
    return "", ""
