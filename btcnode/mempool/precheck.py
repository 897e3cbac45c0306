"""What is checked of a transaction before its scripts: cheap, as any peer may ask for it (Core's ``PreChecks``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.deployments import script_flags
from btcnode.consensus.locks import is_final, sequence_locks, sequence_locks_met
from btcnode.consensus.transactions import check_transaction, check_tx_inputs
from btcnode.errors import RuleViolation
from btcnode.mempool import ephemeral, truc
from btcnode.mempool.entry import LockPoints, MempoolEntry
from btcnode.mempool.feerate import fee_at
from btcnode.mempool.options import MempoolOptions
from btcnode.mempool.policy import (
    MAX_DUST_OUTPUTS,
    MAX_STANDARD_SIGOPS_COST,
    MIN_STANDARD_NONWITNESS_SIZE,
    OutputPolicy,
    OutputScan,
    standard_reason,
)
from btcnode.mempool.policy_inputs import NOT_PLAIN, check_inputs, is_witness_standard, plain_sigop_cost, sigop_cost
from btcnode.mempool.rejection import Rejection, TxResult
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.tx import NULL_OUTPOINT, Tx
from btcnode.script.verify import ScriptJob
from btcnode.tuples import NamedTuple

if TYPE_CHECKING:
    from btcnode.mempool.pool import Mempool, Staged

MEMPOOL_HEIGHT = 0x7FFFFFFF
_MEMPOOL_COIN = (MEMPOOL_HEIGHT << 1).to_bytes(4, "little")  # what stands before the txout of an unconfirmed coin
_RELATIVE_LOCK = 1 << 31  # a sequence number below may be a relative lock
_NO_LOCKS = LockPoints(-1, -1, -1)
_NO_PACKAGE: Mapping[bytes, MempoolEntry] = {}
_SIGOP_WEIGHT = 4

_COINBASE = Rejection(TxResult.CONSENSUS, "coinbase")
_TOO_SMALL = Rejection(TxResult.NOT_STANDARD, "tx-size-small")
_NON_FINAL = Rejection(TxResult.PREMATURE_SPEND, "non-final")
_NON_BIP68_FINAL = Rejection(TxResult.PREMATURE_SPEND, "non-BIP68-final")
_IN_MEMPOOL = Rejection(TxResult.CONFLICT, "txn-already-in-mempool")
_SAME_TXID = Rejection(TxResult.CONFLICT, "txn-same-nonwitness-data-in-mempool")
_ALREADY_KNOWN = Rejection(TxResult.CONFLICT, "txn-already-known")
_NO_REPLACEMENT = Rejection(TxResult.MEMPOOL_POLICY, "bip125-replacement-disallowed")
_BAD_WITNESS = Rejection(TxResult.WITNESS_MUTATED, "bad-witness-nonstandard")


class CoinSource(Protocol):
    """The coins at the active tip."""

    def get_many(self, outpoints: Sequence[bytes]) -> list[bytes | None]:
        """The packed coin of each 36-byte outpoint, None where there is none unspent."""


class ActiveTip(Protocol):
    """The chain that the coins are at the tip of."""

    @property
    def params(self) -> NetworkParams:
        """The network."""

    @property
    def tree(self) -> Ancestry:
        """The headers."""

    @property
    def tip(self) -> int:
        """Header index of the active tip."""


class TipFacts(NamedTuple):
    """What admission wants to know of a tip: index, height, median time past, and the script flags of its block."""

    tip: int
    height: int
    median_time: int
    flags: int


class Rules(NamedTuple):
    """How a transaction is offered (Core's ``ATMPArgs``); feerates in sat/kvB, ``max_feerate`` None for no limit."""

    test: bool = False  # judge only
    bypass_limits: bool = False  # a block had it before a reorganisation
    allow_replacement: bool = True
    allow_sibling_eviction: bool = True
    package_submission: bool = False  # the caller trims the pool
    package_feerates: bool = False
    max_feerate: int | None = None


class OwnTraits(NamedTuple):
    """What a transaction shows by itself: weight, the sum of its outputs in satoshi, and what these are."""

    weight: int
    value_out: int
    scan: OutputScan


class Beforehand(NamedTuple):
    """What was seen of a transaction, with others, a moment ago.

    ``coins``, one per input, are those of one that had no relatives and no rivals in the pool of this ``version``.
    """

    own: OwnTraits | Rejection
    coins: list[bytes | None] | None
    version: int


class _Around(NamedTuple):
    """What a transaction has around it: parents and conflicts in the pool, and its coins."""

    parents: list[MempoolEntry]
    conflicts: dict[bytes, MempoolEntry]
    coins: list[bytes | None]


class Candidate:
    """A transaction that has passed everything but its scripts, and what that verdict rests on.

    ``coins`` are the packed coins it spends, ``parents`` its parents in the pool by ascending txid, ``conflicts`` the
    entries that it puts out directly (a TRUC sibling included), ``replaced`` these and their descendants. ``job`` is
    None when the scripts are known to be valid. ``tip`` and pool ``version`` are those of the verdict.
    """

    __slots__ = (
        "coins", "conflicts", "entry", "job", "parents", "replaced", "rules", "sibling_eviction", "staged", "tip", "tx",
        "version",
    )  # fmt: skip

    def __init__(
        self,
        tx: Tx,
        entry: MempoolEntry,
        coins: list[bytes],
        parents: list[MempoolEntry],
        conflicts: dict[bytes, MempoolEntry],
        rules: Rules,
        tip: int,
        version: int,
    ) -> None:
        self.tx = tx
        self.entry = entry
        self.coins = coins
        self.parents = parents
        self.conflicts = conflicts
        self.rules = rules
        self.tip = tip
        self.version = version
        self.sibling_eviction = False
        self.replaced: list[MempoolEntry] = []
        self.staged: Staged | None = None
        self.job: ScriptJob | None = None

    @property
    def spent(self) -> list[bytes]:
        """The txouts that it spends, one per input."""
        return [coin[4:] for coin in self.coins]


class PreChecks:
    """Core's ``PreChecks`` over one pool, one set of coins and one chain; changes nothing."""

    def __init__(self, pool: Mempool, coins: CoinSource, chain: ActiveTip, options: MempoolOptions) -> None:
        self.outputs = OutputPolicy(options)
        self._pool = pool
        self.coins = coins
        self._chain = chain
        self._options = options
        self._facts = TipFacts(-1, -1, 0, 0)

    def facts(self) -> TipFacts:
        """The facts of the active tip."""
        tip = self._chain.tip
        if tip != self._facts.tip:
            tree = self._chain.tree
            height = tree.height(tip)
            flags = script_flags(height, tree.hash(tip), self._chain.params)
            self._facts = TipFacts(tip, height, tree.median_time_past(tip), flags)
        return self._facts

    def too_low(self, fee: int, vsize: int, now: int) -> Rejection | None:
        """Why a modified fee for a size is below what the pool asks for."""
        minimum = fee_at(self._pool.minimum_feerate(now), vsize)
        if minimum > 0 and fee < minimum:
            return Rejection(TxResult.RECONSIDERABLE, "mempool min fee not met", f"{fee} < {minimum}")
        minimum = fee_at(self._options.min_relay_feerate, vsize)
        if fee < minimum:
            return Rejection(TxResult.RECONSIDERABLE, "min relay fee not met", f"{fee} < {minimum}")
        return None

    def is_below_minimum(self, fee: int, vsize: int, now: int) -> bool:
        """Whether a modified fee for a size is below what the pool asks for while it is full."""
        rate = self._pool.minimum_feerate(now)
        return rate > 0 and fee < fee_at(rate, vsize)

    def look_ahead(self, txs: Sequence[Tx]) -> list[Beforehand]:
        """What can be seen of several transactions at once; their coins are looked up together.

        ``check`` takes it as long as the tip is the same.
        """
        facts, pool = self.facts(), self._pool
        seen: list[tuple[OwnTraits | Rejection, int]] = []  # with the number of coins that were asked for
        wanted: list[bytes] = []
        for tx in txs:
            own = self._by_itself(tx, facts)
            alone = not isinstance(own, Rejection) and pool.is_unrelated(tx)
            seen.append((own, len(tx.prevouts) if alone else 0))
            if alone:
                wanted += tx.prevouts
        coins = self.coins.get_many(wanted) if wanted else []
        found = []
        at = 0
        for own, count in seen:
            found.append(Beforehand(own, coins[at : at + count] if count else None, pool.version))
            at += count
        return found

    def check(
        self,
        tx: Tx,
        now: int,
        rules: Rules,
        package: Mapping[bytes, MempoolEntry] = _NO_PACKAGE,
        known: Beforehand | None = None,
    ) -> Candidate | Rejection:
        """Judge a transaction at ``now`` (Unix seconds); ``package`` has those before it in its package, by txid.

        ``known`` is from ``look_ahead`` at the same tip.
        """
        facts, pool = self.facts(), self._pool
        own = known.own if known is not None else self._by_itself(tx, facts)
        if isinstance(own, Rejection):
            return own
        if known is not None and known.coins is not None and known.version == pool.version:
            around = _Around([], {}, known.coins)
        else:
            looked_up = self._around(tx, rules, package)
            if isinstance(looked_up, Rejection):
                return looked_up
            around = looked_up
        coins = [coin for coin in around.coins if coin is not None]
        if len(coins) != len(around.coins):
            return self._missing(tx, around.coins, package)
        lock_points = _NO_LOCKS
        if tx.version >= 2 and min(tx.sequences) < _RELATIVE_LOCK:
            locked = self._lock_points(tx, coins, facts)
            if locked is None:
                return _NON_BIP68_FINAL
            lock_points = locked
        judged = self._spends(tx, coins, own, facts.height + 1)
        if isinstance(judged, Rejection):
            return judged
        fee, cost = judged
        entry = MempoolEntry(
            tx=tx,
            fee=fee,
            delta=pool.delta(tx.txid),
            weight=own.weight,
            sigop_cost=cost,
            time=now,
            height=facts.height,
            sequence=0 if rules.bypass_limits else pool.sequence,
            spends_coinbase=max([coin[0] & 1 for coin in coins]) == 1,
            lock_points=lock_points,
            bytes_per_sigop=self._options.bytes_per_sigop,
        )
        candidate = Candidate(tx, entry, coins, around.parents, around.conflicts, rules, facts.tip, pool.version)
        return self._by_fee_and_kind(candidate, own.scan, now) or candidate

    def _around(self, tx: Tx, rules: Rules, package: Mapping[bytes, MempoolEntry]) -> _Around | Rejection:
        """OwnTraits for a transaction, what it conflicts with and what it spends."""
        existing = self._pool.get(tx.txid)
        if existing is not None:
            return _IN_MEMPOOL if existing.wtxid == tx.wtxid else _SAME_TXID
        spender_of = self._pool.spender_of
        conflicts: dict[bytes, MempoolEntry] = {}
        for prevout in tx.prevouts:
            spender = spender_of(prevout)
            if spender is not None:
                if not rules.allow_replacement:
                    return _NO_REPLACEMENT
                conflicts[spender.txid] = spender
        parents, coins = self._inputs(tx, package)
        return _Around(parents, conflicts, coins)

    def _by_itself(self, tx: Tx, facts: TipFacts) -> OwnTraits | Rejection:
        """What can be said without a look at pool and coins."""
        weight = tx.weight
        try:
            value_out = check_transaction(tx)
        except RuleViolation as violation:
            return Rejection(TxResult.CONSENSUS, violation.code, violation.debug)
        if tx.prevouts[0] == NULL_OUTPOINT:
            return _COINBASE
        standard = self._options.require_standard
        reason = standard_reason(tx, weight) if standard else ""
        if reason:
            return Rejection(TxResult.NOT_STANDARD, reason)
        scan = self.outputs.scan(tx.txouts)
        if standard and (scan.reason or len(scan.dust) > MAX_DUST_OUTPUTS):
            return Rejection(TxResult.NOT_STANDARD, scan.reason or "dust")
        if (weight - len(tx.raw)) // 3 < MIN_STANDARD_NONWITNESS_SIZE:
            return _TOO_SMALL
        if tx.lock_time and not is_final(tx.lock_time, tx.sequences, facts.height + 1, facts.median_time):
            return _NON_FINAL
        return OwnTraits(weight, value_out, scan)

    def _inputs(self, tx: Tx, package: Mapping[bytes, MempoolEntry]) -> tuple[list[MempoolEntry], list[bytes | None]]:
        """The parents in the pool by ascending txid, and one packed coin per input, None where there is none."""
        prevouts = tx.prevouts
        get = self._pool.get
        parents: dict[bytes, MempoolEntry] = {}
        unconfirmed: dict[int, bytes | None] = {}
        for n, prevout in enumerate(prevouts):
            txid = prevout[:32]
            source = get(txid)
            if source is not None:
                parents[txid] = source
            else:
                source = package.get(txid)
                if source is None:
                    continue
            vout = int.from_bytes(prevout[32:], "little")
            txouts = source.tx.txouts
            unconfirmed[n] = _MEMPOOL_COIN + txouts[vout] if vout < len(txouts) else None
        if not unconfirmed:
            return [], self.coins.get_many(prevouts)
        confirmed = iter(self.coins.get_many([prevout for n, prevout in enumerate(prevouts) if n not in unconfirmed]))
        coins = [unconfirmed[n] if n in unconfirmed else next(confirmed) for n in range(len(prevouts))]
        return [parents[txid] for txid in sorted(parents)], coins

    def _missing(self, tx: Tx, coins: list[bytes | None], package: Mapping[bytes, MempoolEntry]) -> Rejection:
        """A coin is missing: because the transaction is in the chain already, or its parent is not."""
        own = [tx.txid + n.to_bytes(4, "little") for n in range(len(tx.txouts))]
        if any(coin is not None for coin in self.coins.get_many(own)):
            return _ALREADY_KNOWN
        unknown = dict.fromkeys(prevout[:32] for prevout, coin in zip(tx.prevouts, coins, strict=True) if coin is None)
        parents = tuple(txid for txid in unknown if txid not in package and self._pool.get(txid) is None)
        return Rejection(TxResult.MISSING_INPUTS, "bad-txns-inputs-missingorspent", missing_parents=parents)

    def _lock_points(self, tx: Tx, coins: Sequence[bytes], facts: TipFacts) -> LockPoints | None:
        """The relative locks, None when the next block is not behind them (BIP68).

        Parents in the pool count as confirmed in the next block.
        """
        tree, tip, next_height = self._chain.tree, facts.tip, facts.height + 1
        heights = [min(int.from_bytes(coin[:4], "little") >> 1, next_height) for coin in coins]
        locks = sequence_locks(
            tx.version, tx.sequences, heights, lambda height: tree.median_time_past(tree.ancestor(tip, height))
        )
        if not sequence_locks_met(locks, next_height, facts.median_time):
            return None
        last = max(
            (
                height
                for height, sequence in zip(heights, tx.sequences, strict=True)
                if sequence < _RELATIVE_LOCK and height < next_height
            ),
            default=0,
        )
        return LockPoints(*locks, tree.ancestor(tip, last))

    def _spends(self, tx: Tx, coins: list[bytes], own: OwnTraits, height: int) -> tuple[int, int] | Rejection:
        """Fee and sigop cost, or what is wrong with the spends."""
        try:
            fee = check_tx_inputs(coins, own.value_out, height)
        except RuleViolation as violation:
            premature = violation.code == "bad-txns-premature-spend-of-coinbase"
            result = TxResult.PREMATURE_SPEND if premature else TxResult.CONSENSUS
            return Rejection(result, violation.code, violation.debug)
        if not self._options.require_standard:
            return fee, sigop_cost(tx, coins)
        cost = plain_sigop_cost(tx, coins)
        if cost != NOT_PLAIN:
            return fee, cost + own.scan.sigops * _SIGOP_WEIGHT
        rejection = check_inputs(tx, coins)
        if rejection is not None:
            return rejection
        if tx.witnesses and not is_witness_standard(tx, coins):
            return _BAD_WITNESS
        return fee, sigop_cost(tx, coins)

    def _by_fee_and_kind(self, candidate: Candidate, scan: OutputScan, now: int) -> Rejection | None:
        """Dust, sigops, feerate and TRUC rules; may add a TRUC sibling to the conflicts."""
        entry, rules, tx = candidate.entry, candidate.rules, candidate.tx
        fee = entry.modified_fee
        if scan.dust and self._options.require_standard and (entry.fee or fee):
            return ephemeral.NO_FEE_WANTED
        if entry.sigop_cost > MAX_STANDARD_SIGOPS_COST:
            return Rejection(TxResult.NOT_STANDARD, "bad-txns-too-many-sigops", str(entry.sigop_cost))
        if rules.bypass_limits:
            return None
        if not rules.package_feerates:
            rejection = self.too_low(fee, entry.vsize, now)
            if rejection is not None:
                return rejection
        if tx.version != truc.TRUC_VERSION and not candidate.parents:
            return None
        problem = truc.check_single(self._pool, tx, entry.vsize, candidate.parents, candidate.conflicts)
        if problem is None:
            return None
        debug, sibling = problem
        if not rules.allow_sibling_eviction or sibling is None:
            return Rejection(TxResult.MEMPOOL_POLICY, "TRUC-violation", debug)
        candidate.conflicts[sibling.txid] = sibling
        candidate.sibling_eviction = True
        return None
