"""Admission to the mempool: Bitcoin Core 31's ``AcceptToMemoryPool``, with the script checks left to the caller.

``prepare`` does everything but the scripts and gives a ``Candidate`` with a job; the caller runs the job wherever it
likes; ``commit`` puts the transaction in. A script verdict never grows old, because the wtxid commits to all that is
spent. Everything else might: ``commit`` looks whether pool and tip are as they were, or have changed in nothing that
matters, and judges anew otherwise.

Scripts run under the standard flags only. These contain every flag of any block, and a script that is valid under
some flags is valid under fewer, so what passes is known to be valid in the next block too, and is remembered as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from btcnode.mempool import ephemeral, replacement
from btcnode.mempool.entry import RemovalReason
from btcnode.mempool.feerate import is_higher
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.policy_inputs import spends_witness_program
from btcnode.mempool.precheck import ActiveTip, Candidate, CoinSource, PreChecks, Rules
from btcnode.mempool.rejection import Accepted, Rejection, TxResult, TxVerdict
from btcnode.primitives.hashes import to_display
from btcnode.primitives.tx import Tx
from btcnode.script.flags import STANDARD_VERIFY_FLAGS
from btcnode.script.verify import ExecutionCache, ScriptFailure, ScriptJob, verify_transaction

if TYPE_CHECKING:
    from btcnode.mempool.pool import Mempool

_TOO_LARGE_CLUSTER = Rejection(TxResult.MEMPOOL_POLICY, "too-large-cluster")
MAX_FEERATE = Rejection(TxResult.MEMPOOL_POLICY, "max feerate exceeded")
_MEMPOOL_FULL = Rejection(TxResult.RECONSIDERABLE, "mempool full")
_WEIGHT_PER_VBYTE = 4

_SINGLE = Rules()
_SINGLE_TEST = Rules(test=True)
_SINGLE_BYPASS = Rules(bypass_limits=True)
_SINGLE_BYPASS_TEST = Rules(test=True, bypass_limits=True)


def run_job(candidate: Candidate) -> ScriptFailure | None:
    """Run a candidate's scripts here and now."""
    if candidate.job is None:
        return None
    return verify_transaction(candidate.tx, candidate.job.spent, candidate.job.flags)


class SingleAdmission:
    """What may enter one pool by itself.

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

    def prepare(self, tx: Tx, now: int, *, test: bool = False, bypass_limits: bool = False) -> Candidate | Rejection:
        """Everything but the scripts, at ``now`` (Unix seconds). ``test`` changes nothing, ``bypass_limits`` is for
        transactions of disconnected blocks."""
        if bypass_limits:
            return self.evaluate(tx, now, _SINGLE_BYPASS_TEST if test else _SINGLE_BYPASS)
        return self.evaluate(tx, now, _SINGLE_TEST if test else _SINGLE)

    def commit(self, candidate: Candidate, failure: ScriptFailure | None, now: int) -> TxVerdict:
        """Put a candidate in, or say why not; ``failure`` is the verdict of its job."""
        if failure is not None:
            return script_rejection(candidate, failure)
        self.remember(candidate)
        if not self.is_current(candidate, now):
            self.reevaluated += 1
            again = self.evaluate(candidate.tx, now, candidate.rules)
            if isinstance(again, Rejection):
                return again
            candidate = again
        if candidate.rules.test:
            return accepted(candidate)
        return self._submit(candidate, now)

    def accept(self, tx: Tx, now: int, *, test: bool = False, bypass_limits: bool = False) -> TxVerdict:
        """``prepare``, scripts and ``commit`` in one."""
        return self._accept(tx, now, self.prepare(tx, now, test=test, bypass_limits=bypass_limits))

    def _accept(self, tx: Tx, now: int, candidate: Candidate | Rejection) -> TxVerdict:
        if isinstance(candidate, Rejection):
            return candidate
        return self.commit(candidate, run_job(candidate), now)

    # -- parts, for packages too -----------------------------------------------------------------------------------

    def evaluate(self, tx: Tx, now: int, rules: Rules) -> Candidate | Rejection:
        """Judge a transaction by itself, all but its scripts."""
        candidate = self.checks.check(tx, now, rules)
        if isinstance(candidate, Rejection):
            return candidate
        rejection = self._beside_pool(candidate)
        if rejection is not None:
            return rejection
        if not rules.bypass_limits and self.options.require_standard and candidate.parents:
            rejection = ephemeral.check_spends(tx, candidate.parents, {}, self.checks.outputs)
            if rejection is not None:
                return rejection
        self.add_job(candidate)
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
            return MAX_FEERATE
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

    def add_job(self, candidate: Candidate) -> None:
        """Give a candidate its job, unless its scripts are known to be valid."""
        cache = self._cache
        if cache is None or not cache.contains(candidate.tx.wtxid, STANDARD_VERIFY_FLAGS):
            candidate.job = ScriptJob(candidate.tx.raw, candidate.spent, STANDARD_VERIFY_FLAGS)

    def remember(self, candidate: Candidate) -> None:
        """The scripts of a candidate are valid: under the standard flags, and so under the current block's."""
        if self._cache is not None and candidate.job is not None:
            wtxid = candidate.tx.wtxid
            self._cache.add(wtxid, STANDARD_VERIFY_FLAGS)
            self._cache.add(wtxid, self.checks.facts().flags)

    def is_current(self, candidate: Candidate, now: int) -> bool:
        """Whether a verdict still holds: nothing has changed, or nothing that a transaction without relatives in the
        pool depends on."""
        pool = self.pool
        if candidate.tip != self._chain.tip:
            return False
        if candidate.version == pool.version:
            return True
        if candidate.staged is not None or candidate.parents or candidate.conflicts:
            return False
        entry, spender_of = candidate.entry, pool.spender_of
        if pool.get(entry.txid) is not None or pool.delta(entry.txid) != entry.delta:
            return False
        for prevout in candidate.tx.prevouts:
            if spender_of(prevout) is not None:
                return False
        return self.checks.too_low(entry.modified_fee, entry.vsize, now) is None

    def limit(self, now: int) -> None:
        """Expire what is too old, and bring the pool within its memory (Core's ``LimitMempoolSize``)."""
        self.pool.expire(now - self.options.expiry_s)
        self.pool.trim(self.options.max_bytes, now)

    def _submit(self, candidate: Candidate, now: int) -> TxVerdict:
        """Carry out what has been judged."""
        entry, pool, rules = candidate.entry, self.pool, candidate.rules
        entry.sequence = 0 if rules.bypass_limits else pool.sequence
        staged = candidate.staged
        if staged is None:
            staged = pool.stage([], [entry])
        staged.apply(RemovalReason.REPLACED, now)
        if not rules.package_submission and not rules.bypass_limits:
            self.limit(now)
            if pool.get(entry.txid) is None:
                return _MEMPOOL_FULL
        return accepted(candidate)


def accepted(candidate: Candidate) -> Accepted:
    """The verdict on a candidate that was judged by its own feerate."""
    entry = candidate.entry
    return Accepted(
        entry,
        entry.modified_fee,
        entry.vsize,
        (entry.wtxid,),
        tuple([old.tx for old in candidate.replaced]),
        bool(candidate.parents),
        candidate.rules.package_submission,
    )


def script_rejection(candidate: Candidate, failure: ScriptFailure) -> Rejection:
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
