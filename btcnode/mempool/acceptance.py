"""Admission to the mempool: Bitcoin Core 31's ``AcceptToMemoryPool``, ``AcceptPackage`` and ``testmempoolaccept``.

``prepare`` does everything but the scripts and gives a ``Candidate`` with a job; the caller runs the job wherever it
likes; ``commit`` puts the transaction in. A script verdict never grows old, because the wtxid commits to all that is
spent. Everything else might: ``commit`` looks whether pool and tip are as they were, or have changed in nothing that
matters, and judges anew otherwise. What may take several scripts (packages, tests) is a generator of steps: it yields
script jobs, takes one verdict for each by ``send`` and returns the result; pool and chain may change in between.

Scripts run under the standard flags only. These contain every flag of any block, and a script that is valid under
some flags is valid under fewer, so what passes is known to be valid in the next block too, and is remembered as such.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from btcnode.mempool import ephemeral, replacement, truc
from btcnode.mempool.entry import MempoolEntry, RemovalReason
from btcnode.mempool.feerate import format_rate, is_higher
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.packages import is_child_with_parents, package_problem
from btcnode.mempool.policy_inputs import spends_witness_program
from btcnode.mempool.precheck import ActiveTip, Beforehand, Candidate, CoinSource, PreChecks, Rules
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
from btcnode.primitives.hashes import Wtxid, to_display
from btcnode.primitives.tx import Tx
from btcnode.script.flags import STANDARD_VERIFY_FLAGS
from btcnode.script.verify import ExecutionCache, ScriptFailure, ScriptJob, verify_transaction

if TYPE_CHECKING:
    from btcnode.mempool.pool import Mempool, Staged

Jobs = Sequence[ScriptJob]
Verdicts = Sequence[ScriptFailure | None]
SubmissionSteps = Generator[Jobs, Verdicts, PackageResult]
"""A package under way: yields script jobs, takes one verdict for each, returns the result."""

_WEIGHT_PER_VBYTE = 4
_TX_FAILED = "transaction failed"
_RETRIED = (TxResult.RECONSIDERABLE, TxResult.MISSING_INPUTS)
_TOO_LARGE_CLUSTER = Rejection(TxResult.MEMPOOL_POLICY, "too-large-cluster")
_MAX_FEERATE = Rejection(TxResult.MEMPOOL_POLICY, "max feerate exceeded")
_MEMPOOL_FULL = Rejection(TxResult.RECONSIDERABLE, "mempool full")
_PACKAGE_FULL = Rejection(TxResult.MEMPOOL_POLICY, "mempool full")

_SINGLE = Rules()
_SINGLE_TEST = Rules(test=True)
_SINGLE_BYPASS = Rules(bypass_limits=True)
_SINGLE_BYPASS_TEST = Rules(test=True, bypass_limits=True)
_TEST_SEVERAL = Rules(test=True, allow_replacement=False, allow_sibling_eviction=False)


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


class Admission:
    """What may enter one pool.

    ``cache`` remembers whose scripts are valid; block connection may share it. ``reevaluated`` counts the commits that
    had to judge anew.
    """

    def __init__(
        self,
        pool: Mempool,
        coins: CoinSource,
        chain: ActiveTip,
        options: MempoolOptions,
        cache: ExecutionCache | None = None,
    ) -> None:
        self.pool = pool
        self.options = options
        self.checks = PreChecks(pool, coins, chain, options)
        self.reevaluated = 0
        self._chain = chain
        self._cache = cache
        self._cluster_weight = options.cluster_vbytes * _WEIGHT_PER_VBYTE

    # -- one transaction -----------------------------------------------------------------------------------------

    def prepare(
        self,
        tx: Tx,
        now: int,
        *,
        time: int | None = None,
        test: bool = False,
        bypass_limits: bool = False,
        known: Beforehand | None = None,
    ) -> Candidate | Rejection:
        """Everything but the scripts, at ``now`` (Unix seconds); ``time`` is when a stored one came first.

        ``test`` changes nothing, ``bypass_limits`` is for transactions of disconnected blocks. ``known`` was seen at
        this tip (``PreChecks.look_ahead``).
        """
        if bypass_limits:
            rules = _SINGLE_BYPASS_TEST if test else _SINGLE_BYPASS
        else:
            rules = _SINGLE_TEST if test else _SINGLE
        candidate = self._evaluate(tx, now, rules, known)
        if time is not None and not isinstance(candidate, Rejection):
            candidate.entry.time = time
        return candidate

    def commit(self, candidate: Candidate, failure: ScriptFailure | None, now: int) -> TxVerdict:
        """Put a candidate in, or say why not; ``failure`` is the verdict of its job."""
        if failure is not None:
            return _script_rejection(candidate, failure)
        self._remember(candidate)
        if not self._is_current(candidate, now):
            self.reevaluated += 1
            again = self._evaluate(candidate.tx, now, candidate.rules)
            if isinstance(again, Rejection):
                return again
            again.entry.time = candidate.entry.time
            candidate = again
        if candidate.rules.test:
            return _accepted(candidate)
        return self._submit(candidate, now)

    def accept(self, tx: Tx, now: int, *, test: bool = False, bypass_limits: bool = False) -> TxVerdict:
        """``prepare``, scripts and ``commit`` in one."""
        candidate = self.prepare(tx, now, test=test, bypass_limits=bypass_limits)
        if isinstance(candidate, Rejection):
            return candidate
        return self.commit(candidate, _run_job(candidate), now)

    def _evaluate(self, tx: Tx, now: int, rules: Rules, known: Beforehand | None = None) -> Candidate | Rejection:
        """Judge a transaction by itself, all but its scripts."""
        candidate = self.checks.check(tx, now, rules, known=known)
        if isinstance(candidate, Rejection):
            return candidate
        rejection = self._beside_pool(candidate)
        if rejection is not None:
            return rejection
        if not rules.bypass_limits and self.options.require_standard and candidate.parents:
            rejection = ephemeral.check_spends(tx, candidate.parents, {}, self.checks.outputs)
            if rejection is not None:
                return rejection
        self._add_job(candidate)
        return candidate

    def _beside_pool(self, candidate: Candidate) -> Rejection | None:
        """Replacement, cluster limits and the caller's own limit of the feerate."""
        entry, conflicts = candidate.entry, candidate.conflicts
        if conflicts:
            rejection = self._replaces(candidate)
            if rejection is not None:
                return rejection
            ancestors = list(candidate.parents)
            for parent in candidate.parents:
                ancestors += self.pool.ancestors(parent)
            debug = replacement.spends_conflict(entry.txid, ancestors, conflicts)
            if debug:
                return Rejection(TxResult.CONSENSUS, "bad-txns-spends-conflicting-tx", debug)
        elif candidate.parents or candidate.rules.bypass_limits:
            candidate.staged = self.pool.stage([], [entry])
            if candidate.staged.oversized:
                return _TOO_LARGE_CLUSTER
        elif max(entry.weight, entry.sigop_cost * self.options.bytes_per_sigop) > self._cluster_weight:
            return _TOO_LARGE_CLUSTER
        limit = candidate.rules.max_feerate
        if limit is not None and is_higher((entry.modified_fee, entry.vsize), (limit, 1000)):
            return _MAX_FEERATE
        return None

    def _replaces(self, candidate: Candidate) -> Rejection | None:
        """Core's ``ReplacementChecks``."""
        pool, entry = self.pool, candidate.entry
        sibling = " (including sibling eviction)" if candidate.sibling_eviction else ""
        direct = list(candidate.conflicts.values())
        debug = replacement.too_many_clusters(pool, entry.txid, direct)
        if debug:
            return Rejection(TxResult.MEMPOOL_POLICY, f"too many potential replacements{sibling}", debug)
        candidate.replaced = replaced = replacement.with_descendants(pool, direct)
        debug = replacement.pays_too_little(
            sum(old.modified_fee for old in replaced),
            entry.modified_fee,
            entry.vsize,
            self.options.incremental_feerate,
            entry.txid,
        )
        if debug:
            return Rejection(TxResult.RECONSIDERABLE, f"insufficient fee{sibling}", debug)
        candidate.staged = staged = pool.stage(replaced, [entry])
        if staged.oversized:
            return _TOO_LARGE_CLUSTER
        if not replacement.improves(staged):
            return Rejection(TxResult.RECONSIDERABLE, "replacement-failed", replacement.NO_IMPROVEMENT)
        return None

    def _add_job(self, candidate: Candidate) -> None:
        """Give a candidate its job, unless its scripts are known to be valid."""
        cache = self._cache
        if cache is None or not cache.contains(candidate.tx.wtxid, STANDARD_VERIFY_FLAGS):
            candidate.job = ScriptJob(candidate.tx.raw, candidate.spent, STANDARD_VERIFY_FLAGS)

    def _remember(self, candidate: Candidate) -> None:
        """The scripts of a candidate are valid: under the standard flags, and so under the current block's."""
        if self._cache is not None and candidate.job is not None:
            wtxid = candidate.tx.wtxid
            self._cache.add(wtxid, STANDARD_VERIFY_FLAGS)
            self._cache.add(wtxid, self.checks.facts().flags)

    def _is_current(self, candidate: Candidate, now: int) -> bool:
        """Whether a verdict still holds: nothing has changed, or nothing that a transaction without relatives in the
        pool depends on."""
        pool = self.pool
        if candidate.tip != self._chain.tip:
            return False
        if candidate.version == pool.version:
            return True
        if candidate.staged is not None or candidate.parents or candidate.conflicts:
            return False
        entry = candidate.entry
        if pool.delta(entry.txid) != entry.delta or not pool.is_unrelated(candidate.tx):
            return False
        return not self.checks.is_below_minimum(entry.modified_fee, entry.vsize, now)

    def limit(self, now: int) -> None:
        """Expire what is too old, and bring the pool within its memory (Core's ``LimitMempoolSize``)."""
        self.pool.expire(now - self.options.expiry_s)
        self.pool.trim(self.pool.max_bytes, now)

    def _submit(self, candidate: Candidate, now: int) -> TxVerdict:
        """Carry out what has been judged."""
        entry, pool, rules = candidate.entry, self.pool, candidate.rules
        entry.sequence = 0 if rules.bypass_limits else pool.sequence
        staged = candidate.staged
        if staged is None:
            pool.add_alone(entry, now)
        else:
            staged.apply(RemovalReason.REPLACED, now)
        if not rules.package_submission and not rules.bypass_limits and pool.wants_limits(now - self.options.expiry_s):
            self.limit(now)
            if pool.get(entry.txid) is None:
                return _MEMPOOL_FULL
        return _accepted(candidate)

    # -- packages ------------------------------------------------------------------------------------------------

    def test_steps(self, txs: Sequence[Tx], now: int) -> SubmissionSteps:
        """Judge one or several transactions as ``testmempoolaccept`` does, parents first.

        One is judged as it would be submitted, several without replacement.
        """
        if len(txs) == 1:
            verdict = yield from self._single(txs[0], now, _SINGLE_TEST)
            result = PackageResult(transactions={txs[0].wtxid: verdict})
            return result.fail(PackageFault.TX, _TX_FAILED) if isinstance(verdict, Rejection) else result
        result = yield from self._several(txs, now, _TEST_SEVERAL)
        return result

    def package_steps(self, txs: Sequence[Tx], now: int, *, max_feerate: int | None = None) -> SubmissionSteps:
        """Submit a child with its parents, parents first; ``max_feerate`` (sat/kvB) bounds each transaction's.

        Each is tried by itself, then what pays too little alone as a package.
        """
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
            existing = self.pool.get(tx.txid)
            if existing is not None:
                same = existing.wtxid == tx.wtxid
                final[tx.wtxid] = AlreadyThere(existing.vsize, existing.fee) if same else OtherWitness(existing.wtxid)
                continue
            verdict = yield from self._single(tx, now, rules)
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
                result = yield from self._several(together, now, rules)
            else:
                single = Rules(package_submission=True, max_feerate=max_feerate)
                verdict = yield from self._single(together[0], now, single)
                result = PackageResult(transactions={together[0].wtxid: verdict})
                if isinstance(verdict, Rejection):
                    result.fail(PackageFault.TX, _TX_FAILED)
        self.limit(now)
        return self._final(txs, result, final, alone)

    def _final(
        self,
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
            if not isinstance(verdict, Rejection) and self.pool.get(tx.txid) is None:
                result.fail(PackageFault.TX, _TX_FAILED)
                verdict = _PACKAGE_FULL
            verdicts[wtxid] = verdict
        result.transactions = verdicts
        return result

    def _single(self, tx: Tx, now: int, rules: Rules) -> Generator[Jobs, Verdicts, TxVerdict]:
        candidate = self._evaluate(tx, now, rules)
        if isinstance(candidate, Rejection):
            return candidate
        failure = None
        if candidate.job is not None:
            (failure,) = yield [candidate.job]
        return self.commit(candidate, failure, now)

    def _several(self, txs: Sequence[Tx], now: int, rules: Rules) -> SubmissionSteps:
        """Core's ``AcceptMultipleTransactions``: dependent on each other or not, parents first."""
        judged = self._judge(txs, now, rules)
        if isinstance(judged, PackageResult):
            return judged
        waiting = [candidate for candidate in judged.candidates if candidate.job is not None]
        if waiting:
            verdicts = yield [candidate.job for candidate in waiting if candidate.job is not None]
            failures = {candidate.tx.wtxid: failure for candidate, failure in zip(waiting, verdicts, strict=True)}
            failed = self._first_failure(judged, failures, rules)
            if failed is not None:
                return failed
            if not self._are_current(judged):
                self.reevaluated += 1
                again = self._judge(txs, now, rules)
                if isinstance(again, PackageResult):
                    return again
                judged = again
        if not rules.test and judged.staged is not None:
            for entry in judged.entries:
                entry.sequence = self.pool.sequence
            judged.staged.apply(RemovalReason.REPLACED, now)
        return PackageResult(transactions=_accepted_together(judged, rules))

    def _are_current(self, judged: _Together) -> bool:
        first = judged.candidates[0]
        return first.version == self.pool.version and first.tip == self.checks.facts().tip

    def _first_failure(
        self, judged: _Together, failures: dict[Wtxid, ScriptFailure | None], rules: Rules
    ) -> PackageResult | None:
        """The first script that failed; a test has verdicts on the transactions before it too."""
        result = PackageResult()
        for candidate in judged.candidates:
            wtxid = candidate.tx.wtxid
            failure = failures.get(wtxid)
            if failure is not None:
                result.transactions[wtxid] = _script_rejection(candidate, failure)
                return result.fail(PackageFault.TX, _TX_FAILED)
            self._remember(candidate)
            if rules.test:
                result.transactions[wtxid] = _accepted(candidate)
        return None

    def _judge(self, txs: Sequence[Tx], now: int, rules: Rules) -> _Together | PackageResult:
        """Everything but the scripts."""
        result = PackageResult()
        problem = package_problem(txs)
        if problem:
            return result.fail(PackageFault.POLICY, problem)
        candidates: list[Candidate] = []
        package: dict[bytes, MempoolEntry] = {}
        for tx in txs:
            found = self.checks.check(tx, now, rules, package)
            if isinstance(found, Candidate) and rules.max_feerate is not None:
                entry = found.entry
                if is_higher((entry.modified_fee, entry.vsize), (rules.max_feerate, 1000)):
                    found = _MAX_FEERATE
            if isinstance(found, Rejection):
                result.transactions[tx.wtxid] = found
                return result.fail(PackageFault.TX, _TX_FAILED)
            candidates.append(found)
            package[tx.txid] = found.entry
        for candidate in candidates:
            debug = truc.check_package(self.pool, candidate.tx, candidate.entry.vsize, txs, candidate.parents)
            if debug:
                return result.fail(PackageFault.POLICY, "TRUC-violation", debug)
        together = _Together(candidates)
        if rules.package_feerates:
            rejection = self.checks.too_low(together.fee, together.vsize, now)
            if rejection is not None:
                result.transactions[txs[-1].wtxid] = rejection
                return result.fail(PackageFault.TX, _TX_FAILED)
        return self._package_beside_pool(together, package, result) or together

    def _package_beside_pool(
        self, together: _Together, package: dict[bytes, MempoolEntry], result: PackageResult
    ) -> PackageResult | None:
        """Replacement, cluster limits, dust."""
        if any(candidate.conflicts for candidate in together.candidates):
            reason, debug = self._package_replaces(together)
            if reason:
                return result.fail(PackageFault.POLICY, reason, debug)
        else:
            together.staged = self.pool.stage([], together.entries)
            if together.staged.oversized:
                return result.fail(PackageFault.POLICY, "too-large-cluster")
        for candidate in together.candidates:
            if self.options.require_standard:
                rejection = ephemeral.check_spends(candidate.tx, candidate.parents, package, self.checks.outputs)
                if rejection is not None:
                    result.transactions[candidate.tx.wtxid] = rejection
                    return result.fail(PackageFault.TX, "unspent-dust")
        for candidate in together.candidates:
            self._add_job(candidate)
        return None

    def _package_replaces(self, together: _Together) -> tuple[str, str]:
        """Core's ``PackageRBFChecks``: reason and debug message, "" for nothing wrong."""
        candidates, pool = together.candidates, self.pool
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
        rate = self.options.incremental_feerate
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


def _run_job(candidate: Candidate) -> ScriptFailure | None:
    """Run a candidate's scripts here and now."""
    if candidate.job is None:
        return None
    return verify_transaction(candidate.tx, candidate.job.spent, candidate.job.flags)


def _accepted(candidate: Candidate) -> Accepted:
    """The verdict on a candidate that was judged by its own feerate."""
    entry = candidate.entry
    return Accepted(
        entry,
        entry.modified_fee,
        entry.vsize,
        (entry.wtxid,),
        tuple([old.tx for old in candidate.replaced]),
    )


def _script_rejection(candidate: Candidate, failure: ScriptFailure) -> Rejection:
    """Core's words for a failed script; without any witness where one belongs, that is what is wrong."""
    tx, index = candidate.tx, failure.input_index
    prevout = tx.prevouts[index]
    stripped = not tx.has_witness and spends_witness_program(tx, candidate.coins)
    return Rejection(
        TxResult.WITNESS_STRIPPED if stripped else TxResult.NOT_STANDARD,
        f"mempool-script-verify-flag-failed ({failure.error.text})",
        f"input {index} of {to_display(tx.txid)} (wtxid {to_display(tx.wtxid)}), "
        f"spending {to_display(prevout[:32])}:{int.from_bytes(prevout[32:], 'little')}",
    )


def _accepted_together(judged: _Together, rules: Rules) -> dict[Wtxid, PackageTxVerdict]:
    if not rules.package_feerates:
        return {candidate.tx.wtxid: _accepted(candidate) for candidate in judged.candidates}
    wtxids = tuple([candidate.tx.wtxid for candidate in judged.candidates])
    replaced = tuple([old.tx for candidate in judged.candidates for old in candidate.replaced])
    verdicts: dict[Wtxid, PackageTxVerdict] = {}
    for candidate in judged.candidates:
        verdicts[candidate.tx.wtxid] = Accepted(candidate.entry, judged.fee, judged.vsize, wtxids, replaced)
        replaced = ()  # told once
    return verdicts
