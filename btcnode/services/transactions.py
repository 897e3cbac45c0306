"""Unconfirmed transactions in the node: from peers, RPC and disconnected blocks into the mempool, and out with blocks.

Admission is optimistic: a transaction is judged against the pool and the tip as they are, its scripts are verified in
worker processes while the loop goes on, and when the verdict is there it is taken in if what it rests on still holds,
else judged again. A child whose parent is being verified waits for it. While the chain goes from one branch to another
nothing is judged; then the transactions of the blocks that were left come back in order.

What spends the same coins as a transaction in verification waits for it, too: whoever came first is judged first, in
whatever order scripts are verified. What the user hands in overtakes the strangers', and takes along what it waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice, zip_longest
from math import inf
from time import perf_counter, thread_time
from typing import Protocol, cast

from btcnode.chain.events import BlockConnected, BlockDisconnected, BlockInvalidated, BlockRejected, ChainEvent
from btcnode.consensus.ancestry import Ancestry
from btcnode.consensus.locks import is_final, sequence_locks, sequence_locks_met
from btcnode.consensus.transactions import COINBASE_MATURITY
from btcnode.errors import StorageError
from btcnode.mempool.acceptance import Admission, SubmissionSteps
from btcnode.mempool.audit import PoolAudit
from btcnode.mempool.entry import LockPoints, MempoolEntry, RemovalReason
from btcnode.mempool.pool import Mempool
from btcnode.mempool.precheck import Beforehand, Candidate
from btcnode.mempool.rejection import Accepted, PackageResult, PackageTxVerdict, Rejection, TxResult, TxVerdict
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.coin import coin_height, coin_is_coinbase
from btcnode.primitives.tx import Tx
from btcnode.protocol import commands, events
from btcnode.protocol.chain_view import ChainView, PoolEntry
from btcnode.protocol.effects import ProcessTransactions, WithdrawTransactions
from btcnode.protocol.inputs import Input
from btcnode.record import struct
from btcnode.script.verify import ScriptFailure, ScriptJob
from btcnode.services.clock import Clock
from btcnode.sync.driver import ChainDriver
from btcnode.sync.job_clock import JobClock
from btcnode.sync.prefetch import thread_disk_reads
from btcnode.sync.tx_verifier import NOBODY, SLICE, TxVerifier
from btcnode.sync.worker_pool import WorkerPool

MAX_DISCONNECTED_BYTES = 20_000_000  # transactions of disconnected blocks kept for coming back (Core's limit)
AUDIT_ENTRIES = 1000  # examined every second in the audit after an eviction: a few ms
FIT_ENTRIES = 500  # examined in one turn of the loop after a reorganisation: a few ms
DEAR_REFUSAL = 0.005  # seconds of processor time; a refusal that took longer is charged also if we asked for it
MAX_COLD = 32  # inputs whose coins are looked up on the loop: ten milliseconds each, where a slow disk has them
COLD_SECONDS = 10.0  # that all coins are looked up beside the loop first, once a look-up has read from the disk
WARM_AT_ONCE = 512  # inputs of small transactions
MAX_WARM = 2_500  # inputs: no standard transaction has more
AFTER_BLOCK = 0.25  # seconds from a block to what can wait until everybody has been told of it, here and elsewhere
MAX_HURRIED = 64  # transactions in verification that the user's may take along: as many as may depend on each other

log = logging.getLogger("btcnode.mempool")

Done = Callable[[TxVerdict], None]
_GONE = Rejection(TxResult.UNKNOWN, "the node is stopping")
_WITHDRAWN = Rejection(TxResult.UNKNOWN, "its peer is gone")


@struct(eq=False)
class _Offer:
    """A transaction on its way in. ``job``: its scripts, while they are verified. ``withdrawn``: nobody wants it."""

    tx: Tx
    done: Done
    time: int | None = None  # of a stored one
    bypass_limits: bool = False
    test: bool = False
    source: int = NOBODY  # the peer that it came from
    urgent: bool = False  # the user waits
    job: ScriptJob | None = None
    withdrawn: bool = False


class BlockObserver(Protocol):
    """Who wants to hear of blocks and of what they do to the mempool, in one order."""

    def block_connected(self, event: BlockConnected) -> None:
        """A block was connected, and the mempool has given up what it holds and contradicts."""

    def block_disconnected(self, event: BlockDisconnected) -> None:
        """A block was disconnected; the mempool will hear of it next."""

    def reorganised(self) -> None:
        """After disconnections: what could return to the mempool is there, and the chain goes on, if it does."""


class ActiveTipView:
    """The chain as admission wants to see it."""

    def __init__(self, driver: ChainDriver) -> None:
        self._state = driver.chainstate

    @property
    def params(self) -> NetworkParams:
        """The network."""
        return self._state.params

    @property
    def tree(self) -> Ancestry:
        """The headers."""
        return self._state.tree

    @property
    def tip(self) -> int:
        """Header index of the active tip."""
        return self._state.tip


class PoolSource:
    """The mempool as the protocol sees it."""

    def __init__(self, pool: Mempool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock

    @property
    def sequence(self) -> int:
        """The mempool sequence."""
        return self._pool.sequence

    def find_tx(self, tx_hash: bytes, by_wtxid: bool) -> MempoolEntry | None:
        """By txid or wtxid."""
        return self._pool.get_by_wtxid(tx_hash) if by_wtxid else self._pool.get(tx_hash)

    def by_wtxid(self) -> Mapping[bytes, MempoolEntry]:
        """All of them."""
        return self._pool.by_wtxid

    def parents(self, entry: PoolEntry) -> list[MempoolEntry]:
        """Those it spends from."""
        return self._pool.parents(cast(MempoolEntry, entry))

    def chunk_feerate(self, entry: PoolEntry) -> float:
        """Satoshi per vbyte of its chunk."""
        chunk = cast(MempoolEntry, entry).chunk
        return 4 * chunk.fee / chunk.size

    def in_order(self) -> Iterator[MempoolEntry]:
        """All of this moment, in the order of mining."""
        return self._pool.moment().entries()

    def best(self, count: int) -> list[MempoolEntry]:
        """At most ``count`` from the top."""
        return self._pool.best(count)

    def minimum_feerate(self) -> int:
        """What the full pool asks for, sat/kvB."""
        return self._pool.minimum_feerate(self._clock.now())

    def relay_feerate(self) -> int:
        """``--minrelaytxfee``."""
        return self._pool.options.min_relay_feerate

    def unbroadcast(self) -> Collection[bytes]:
        """Txids of the user's transactions that no peer has asked for yet."""
        return self._pool.unbroadcast

    def asked_for(self, txid: bytes, group: int) -> None:
        """A peer of this group has asked for this one."""
        self._pool.remove_unbroadcast(txid)
        entry = self._pool.get(txid)
        if entry is not None:
            self._pool.touch(entry, self._clock.now(), group)


class Transactions:
    """Owns the mempool and everything that changes it."""

    def __init__(
        self,
        driver: ChainDriver,
        view: ChainView,
        clock: Clock,
        pool: Mempool,
        workers: WorkerPool | None,
        feed: Callable[[Sequence[Input]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        """``feed`` takes what the protocol has to hear, all of one moment; ``on_fatal`` is told of what the node cannot
        go on with."""
        state = driver.chainstate
        self.pool = pool
        self.options = options = pool.options
        self.verifier = TxVerifier(workers, self._tell_answers)
        self.admission = Admission(pool, state.read_view, ActiveTipView(driver), options, state.script_cache)
        self._state = state
        self._driver = driver
        self._view = view
        self._clock = clock
        self._on_fatal = on_fatal
        self._feed = feed
        self._verifying: dict[bytes, list[_Offer]] = {}  # by txid: who waits for this one's verdict
        self._claims: dict[bytes, bytes] = {}  # outpoint -> txid of the transaction in verification that spends it
        self._waits_for: dict[bytes, bytes] = {}  # txid -> txid whose verdict it waits for
        self._peers_offers: dict[int, _Offer] = {}  # not answered yet, by number of the ProcessTransactions
        self._answers: list[Input] = []  # not told yet
        self._taking = False  # several offers: what is known at once of them is told together
        self._hurried: dict[bytes, None] = {}  # txids of those that the user's transactions wait for
        self._after_verdicts: deque[_Offer] = deque()  # what they waited for is judged, and they are to be
        self._judging = False  # these; it goes on until none is left
        self._cold: deque[list[_Offer]] = deque()  # what peers have sent together, until its coins are in memory
        self._warming = False  # they are being looked up; what comes later waits behind
        self._disk_met = -inf  # when a look-up last had to read from a disk (perf_counter)
        self._held: list[_Offer] = []  # until a reorganisation is over
        self._disconnected: dict[bytes, Tx] = {}  # by txid, in the order in which they are to come back
        self._disconnected_bytes = 0
        self._left_work = 0  # of the tip that a reorganisation has left
        self._at_rest = asyncio.Event()  # no reorganisation is under way
        self._at_rest.set()
        self._caught_up = asyncio.Event()  # the pool is right for the tip, or the chain goes on before it has to be
        self._caught_up.set()
        self._pool_audit = PoolAudit(pool)
        self._tidying = False  # the pool's order, after a block
        self.accepted = 0  # since the start, test runs left out
        self.rejected = dict.fromkeys(TxResult, 0)
        self.in_package = False  # what comes into the pool at this moment comes with its package
        self._confirmed_listeners: list[Callable[[list[MempoolEntry], int], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._observers: list[BlockObserver] = []
        driver.listen(self._on_events)
        driver.follow(self._caught_up.wait)

    def observe(self, observer: BlockObserver) -> None:
        """Tell ``observer`` of blocks in the order in which they change the mempool."""
        self._observers.append(observer)

    def listen_confirmed(self, listener: Callable[[list[MempoolEntry], int], None]) -> None:
        """Call ``listener`` with the entries that a block has confirmed, and its height."""
        self._confirmed_listeners.append(listener)

    @property
    def _reorganising(self) -> bool:
        return not self._at_rest.is_set()

    async def close(self) -> None:
        """Judge nothing more."""
        self._stopped = True
        self._at_rest.set()
        self._caught_up.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.verifier.close()

    async def at_rest(self) -> None:
        """Wait until no reorganisation is under way: the pool is that of the tip then."""
        await self._at_rest.wait()

    def _spawn(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_fatal(error)

    # -- one transaction -----------------------------------------------------------------------------------------

    def offer(self, tx: Tx, done: Done) -> None:
        """Judge a transaction and take it in; ``done`` is called with the verdict, perhaps before this returns."""
        self._admit(_Offer(tx, done), JobClock())

    async def accept(
        self,
        tx: Tx,
        *,
        time: int | None = None,
        bypass_limits: bool = False,
        test: bool = False,
        urgent: bool = False,
    ) -> TxVerdict:
        """Judge a transaction and, unless it is a ``test``, take it in; ``time`` is when a stored one came first.

        ``urgent``: the user waits for it.
        """
        answer: asyncio.Future[TxVerdict] = asyncio.get_running_loop().create_future()

        def done(verdict: TxVerdict) -> None:
            if not test:
                self._count(verdict)
            if not answer.done():
                answer.set_result(verdict)

        self._admit(_Offer(tx, done, time, bypass_limits, test, urgent=urgent), JobClock())
        return await answer

    def _admit(self, offer: _Offer, clock: JobClock, known: Beforehand | None = None) -> None:
        """Begin to judge an offer, as the next job of ``clock``; ``known``: what was seen of it in this very moment."""
        clock.next()
        if self._stopped:
            offer.done(_GONE)
            return
        if offer.withdrawn and offer.tx.txid not in self._hurried:
            offer.done(_WITHDRAWN)
            return
        if self._reorganising and not offer.bypass_limits:
            self._held.append(offer)
            return
        tx = offer.tx
        urgent = offer.urgent or tx.txid in self._hurried
        first = self._awaited(tx) if self._verifying else None
        if first is not None:
            self._verifying[first].append(offer)
            if first != tx.txid:
                self._verifying.setdefault(tx.txid, [])  # who spends what waits, waits too
                self._waits_for[tx.txid] = first
            if urgent:
                self._hurry(first)
            return
        self._hurried.pop(tx.txid, None)
        now = self._clock.now()
        try:
            candidate = self.admission.prepare(
                tx, now, time=offer.time, test=offer.test, bypass_limits=offer.bypass_limits, known=known
            )
            if isinstance(candidate, Rejection):
                if clock.is_beyond(DEAR_REFUSAL) and (seconds := clock.last()) > DEAR_REFUSAL:
                    self._charge(offer.source, seconds)
                offer.done(candidate)
            elif candidate.job is None:
                offer.done(self.admission.commit(candidate, None, self._clock.now()))
            else:
                self._verify(offer, candidate, urgent=urgent)
        except StorageError as error:
            self._on_fatal(error)
            offer.done(_GONE)

    def _awaited(self, tx: Tx) -> bytes | None:
        """The txid in verification that a transaction has to wait for: its own, a parent's or a rival's."""
        verifying, claims = self._verifying, self._claims
        if tx.txid in verifying:
            return tx.txid
        for prevout in tx.prevouts:
            if prevout[:32] in verifying:
                return prevout[:32]
            if prevout in claims:
                return claims[prevout]
        return None

    def _hurry(self, txid: bytes) -> None:
        """The user's transaction waits for this one: let it, and what that waits for itself, overtake the others."""
        chain = [txid]
        while (first := self._waits_for.get(chain[-1])) is not None:
            chain.append(first)
            if len(chain) > MAX_HURRIED:
                return  # it would be refused: no more than that may depend on each other
        self._hurried.update(dict.fromkeys(chain[:-1]))
        self.verifier.promote(chain[-1])

    def _verify(self, offer: _Offer, candidate: Candidate, *, urgent: bool) -> None:
        txid = offer.tx.txid
        self._verifying[txid] = []
        self._claims.update(dict.fromkeys(offer.tx.prevouts, txid))
        job, entry = candidate.job, candidate.entry
        assert job is not None
        offer.job = job
        feerate = 1000 * entry.modified_fee / entry.vsize
        done = partial(self._verified, offer, candidate)
        self.verifier.submit(job, txid, done, source=offer.source, feerate=feerate, urgent=urgent)

    def _verified(self, offer: _Offer, candidate: Candidate, failure: ScriptFailure | None, seconds: float) -> None:
        """The verdict on a candidate's scripts is there, after so many seconds of processor time."""
        waiting = self._end_verifying(offer)
        if not self._at_rest.is_set() and not offer.bypass_limits:
            self._held.append(offer)
        elif self._stopped:
            offer.done(_GONE)
        else:
            try:
                verdict = self.admission.commit(candidate, failure, self._clock.now())
            except StorageError as error:
                self._on_fatal(error)
                verdict = _GONE
            if isinstance(verdict, Rejection):
                self._charge(offer.source, seconds)
            offer.done(verdict)
        if waiting:
            self._admit_waiting(waiting)

    def _end_verifying(self, offer: _Offer) -> list[_Offer]:
        """Returns who has waited for the verdict."""
        offer.job = None
        for prevout in offer.tx.prevouts:
            del self._claims[prevout]
        return self._verifying.pop(offer.tx.txid)

    def _charge(self, peer_id: int, seconds: float) -> None:
        """Work was done for this peer outside its turns."""
        if peer_id != NOBODY and seconds > 0:
            self._feed((events.WorkMeasured(((peer_id, seconds),)),))

    def _admit_waiting(self, offers: Sequence[_Offer]) -> None:
        """Judge offers that waited, and those that waited for one of them unless that is being verified now.

        Some milliseconds at a time: a cluster of many may be dear. Who waits for one that has not had its turn goes on
        waiting for it.
        """
        self._after_verdicts.extend(offers)
        if not self._judging:
            self._judging = True
            self._judge_on()

    def _judge_on(self, *, to_the_end: bool = False) -> None:
        queue, end = self._after_verdicts, perf_counter() + SLICE
        clock = JobClock()
        while queue:
            offer = queue.popleft()
            txid = offer.tx.txid
            waited = self._waits_for.pop(txid, None) is not None  # else another form of it is verified by now
            behind = self._verifying.pop(txid) if waited else []
            self._admit(offer, clock)
            if txid in self._verifying:
                self._verifying[txid] += behind
            else:
                queue.extend(behind)
            if queue and not to_the_end and perf_counter() > end:
                asyncio.get_running_loop().call_soon(self._judge_on)
                return
        self._judging = False

    def audit_pool(self) -> None:
        """A piece of the audit that follows an eviction: called every second, so that a flood does not pay for it."""
        if not self._reorganising and not self._stopped:
            self._pool_audit.examine(self._have_coins, AUDIT_ENTRIES)

    def limit_memory(self, max_bytes: int) -> None:
        """The pool may have so many bytes from now on."""
        self.pool.max_bytes = max_bytes
        self.shrink(max_bytes)

    def shrink(self, max_bytes: int) -> None:
        """Bring the pool below so many bytes, unless a reorganisation is under way (it ends with that)."""
        if not self._reorganising and not self._stopped:
            self.pool.trim(max_bytes, self._clock.now())

    def _have_coins(self, outpoints: Sequence[bytes]) -> list[bool]:
        return [coin is not None for coin in self._state.read_view.get_many(outpoints)]

    # -- packages ------------------------------------------------------------------------------------------------

    async def submit_package(self, txs: Sequence[Tx], max_feerate: int | None = None) -> PackageResult:
        """Judge and take in the user's child with its parents; ``max_feerate`` in sat/kvB bounds each one's."""
        self._hurry_for(txs)
        steps = self.admission.package_steps(txs, self._clock.now(), max_feerate=max_feerate)
        result = await self._drive(steps)
        self._count_all(result)
        return result

    def _count_all(self, result: PackageResult) -> None:
        for verdict in result.transactions.values():
            self._count(verdict)

    def _count(self, verdict: PackageTxVerdict) -> None:
        """For the metrics: what became of a transaction that was to be taken in."""
        if isinstance(verdict, Rejection):
            self.rejected[verdict.result] += 1
        elif isinstance(verdict, Accepted):
            self.accepted += 1

    async def test_accept(self, txs: Sequence[Tx]) -> PackageResult:
        """Judge only, as testmempoolaccept does."""
        self._hurry_for(txs)
        return await self._drive(self.admission.test_steps(txs, self._clock.now()))

    def _hurry_for(self, txs: Sequence[Tx]) -> None:
        """Have what these wait for judged before them."""
        if self._judging:
            self._judge_on(to_the_end=True)
        for tx in txs:
            while self._verifying and (first := self._awaited(tx)) is not None:
                self._hurry(first)
                if first in self._verifying:
                    break  # it is large: a worker has it

    async def _drive(self, steps: SubmissionSteps, peer: int | None = None) -> PackageResult:
        """Judge a package of the user's, or of a ``peer``."""
        await self.at_rest()
        verdicts: list[ScriptFailure | None] | None = None
        try:
            while True:
                self.in_package = True
                try:
                    jobs = next(steps) if verdicts is None else steps.send(verdicts)
                finally:
                    self.in_package = False
                if peer is None:
                    verdicts = await self.verifier.verify_urgent(jobs)
                    continue
                # a job is named by its bytes: good enough to choose who verifies it
                work = (self.verifier.verify(job, job.raw_tx[-4:], source=peer) for job in jobs)
                told = await asyncio.gather(*work)
                verdicts = [failure for failure, _ in told]
                if any(verdicts):
                    self._charge(peer, sum(seconds for _, seconds in told))
        except StopIteration as end:
            result: PackageResult = end.value
            return result

    # -- for the protocol ----------------------------------------------------------------------------------------

    def process_all(self, effects: Sequence[ProcessTransactions]) -> None:
        """Judge what peers have sent, in its order; each is answered by ``TransactionsProcessed``.

        What several need is done for all at once: their coins are looked up together.
        """
        offers: list[_Offer] = []
        for effect in effects:
            if effect.package and len(effect.txs) > 1:
                self._spawn(asyncio.get_running_loop().create_task(self._process_package(effect)))
            else:
                (tx,) = effect.txs
                offer = _Offer(tx, partial(self._judged, effect), test=effect.test, source=effect.peer_id)
                self._peers_offers[effect.number] = offer
                offers.append(offer)
        if offers:
            self._take_or_warm(offers)

    def _take_or_warm(self, offers: list[_Offer]) -> None:
        """Judge offers a few coins at a time, until one has to be read from a disk: the rest waits for its coins."""
        for some in _parts(offers):
            if self._warming or self._may_be_cold(_inputs(some)):
                self._cold.append(some)
                if not self._warming:
                    self._warming = True
                    self._spawn(asyncio.get_running_loop().create_task(self._warm_up()))
                continue
            before = thread_disk_reads()
            self._take(some)
            if thread_disk_reads() != before:
                self._disk_met = perf_counter()

    def _may_be_cold(self, inputs: int) -> bool:
        """Whether coins are better looked up beside the loop first: they may have to come from a disk."""
        return inputs > MAX_COLD or perf_counter() < self._disk_met + COLD_SECONDS

    async def _warm_up(self) -> None:
        """Judge what waits for its coins, in its order; everybody else has a turn between what came together."""
        while self._cold:
            batches = [self._cold.popleft()]
            while self._cold and _inputs(self._cold[0]) + sum(map(_inputs, batches)) <= WARM_AT_ONCE:
                batches.append(self._cold.popleft())
            await self._warm([offer.tx for offers in batches for offer in offers])
            for offers in batches:
                begun = thread_time()
                self._take(offers)
                self._charge(offers[0].source, thread_time() - begun)  # it is not done in the peer's turn
                await asyncio.sleep(0)
        self._warming = False

    async def _warm(self, txs: Sequence[Tx]) -> None:
        """Have coins looked up beside the loop; those of what is too large to be taken may stay where they are."""
        prevouts = [prevout for tx in txs for prevout in islice(tx.prevouts, MAX_WARM)]
        if await self._driver.prefetcher.warm(prevouts):
            self._disk_met = perf_counter()

    def _take(self, offers: Sequence[_Offer]) -> None:
        """Judge what peers have sent together."""
        clock, self._taking = JobClock(), True
        try:
            for offer, known in zip_longest(offers, self._look_ahead(offers)):
                self._admit(offer, clock, known)
        finally:
            self._taking = False
            self._tell_answers()

    def _look_ahead(self, offers: Sequence[_Offer]) -> list[Beforehand]:
        """What can be seen of all at once, nothing if it cannot be used now."""
        if self._stopped or self._reorganising:
            return []
        try:
            return self.admission.checks.look_ahead([offer.tx for offer in offers])
        except StorageError as error:
            self._on_fatal(error)
            return []

    def _judged(self, effect: ProcessTransactions, verdict: TxVerdict) -> None:
        """What a peer has sent is judged."""
        if not effect.test:
            self._count(verdict)
        self._peers_offers.pop(effect.number, None)
        self._answer(effect, (_outcome(effect.txs[0], verdict),))

    def withdraw_transactions(self, effect: WithdrawTransactions) -> None:
        """Do not judge what nobody has begun to judge of these; each is answered all the same, as not judged."""
        for number in effect.numbers:
            offer = self._peers_offers.get(number)
            if offer is None:
                continue
            offer.withdrawn = True
            if offer.job is not None and self.verifier.withdraw(offer.tx.txid, offer.job):
                waiting = self._end_verifying(offer)
                offer.done(_WITHDRAWN)
                self._admit_waiting(waiting)

    async def _process_package(self, effect: ProcessTransactions) -> None:
        if self._may_be_cold(sum(len(tx.prevouts) for tx in effect.txs)):
            await self._warm(effect.txs)
        try:
            steps = self.admission.package_steps(effect.txs, self._clock.now())
            result = await self._drive(steps, effect.peer_id)
        except StorageError as error:
            self._on_fatal(error)
            return
        self._count_all(result)
        outcomes = [
            _outcome(tx, verdict) for tx in effect.txs if (verdict := result.transactions.get(tx.wtxid)) is not None
        ]
        self._answer(effect, tuple(outcomes))

    def _answer(self, effect: ProcessTransactions, outcomes: tuple[events.TxOutcome, ...]) -> None:
        self._answers.append(events.TransactionsProcessed(effect.peer_id, effect.number, outcomes))
        if not self._taking and not self.verifier.telling:
            self._tell_answers()

    def _tell_answers(self) -> None:
        """Let the protocol know what became of what peers have sent, all that is known by now at once."""
        if self._answers:
            answers, self._answers = self._answers, []
            self._feed(answers)

    def announce(self, entry: MempoolEntry) -> None:
        """Tell all peers of a transaction that the user is interested in."""
        self.pool.touch(entry, self._clock.now())
        self._feed((events.TransactionAdded(entry.txid, entry.wtxid),))

    def broadcast_privately(self, tx: Tx) -> None:
        """Send a transaction of the user's over connections of its own."""
        self._feed((commands.BroadcastPrivately(tx),))

    # -- blocks --------------------------------------------------------------------------------------------------

    def _on_events(self, chain_events: list[ChainEvent]) -> None:
        turn = False
        for event in chain_events:
            if isinstance(event, BlockConnected):
                self._on_connected(event)
                for observer in self._observers:
                    observer.block_connected(event)
            elif isinstance(event, BlockDisconnected):
                for observer in self._observers:
                    observer.block_disconnected(event)
                self._on_disconnected(event)
            turn = turn or self._is_turn(event)
        if turn and self._reorganising and self._caught_up.is_set() and not self._stopped:
            self._caught_up.clear()
            self._spawn(asyncio.get_running_loop().create_task(self._catch_up()))

    def _is_turn(self, event: ChainEvent) -> bool:
        """Whether Core would bring the pool in line with the tip now, in the course of a reorganisation.

        It does as soon as the new chain is better than the old one, or breaks a rule, and after each of the last blocks
        that the user invalidates.
        """
        if isinstance(event, BlockConnected):
            return self._state.tree.chainwork(event.index) > self._left_work or self._chain_is_best()
        if isinstance(event, BlockDisconnected):
            return (event.by_hand and event.returns) or self._chain_is_best()
        return isinstance(event, BlockInvalidated) or (isinstance(event, BlockRejected) and event.connecting)

    def _chain_is_best(self) -> bool:
        state = self._state
        return state.tree.best_candidate(state.tip) == state.tip

    def _on_connected(self, event: BlockConnected) -> None:
        block = event.block
        confirmed = self.pool.remove_for_block(block, self._clock.now())
        if self.pool.is_untidy and not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_later(AFTER_BLOCK, self._tidy)
        for listener in self._confirmed_listeners:
            listener(confirmed, event.height)
        if self._disconnected:
            for txid in block.txids:
                tx = self._disconnected.pop(txid, None)
                if tx is not None:
                    self._disconnected_bytes -= len(tx.raw)
        if not self._view.is_initial_block_download(self._clock.now()):
            self._feed((events.TransactionsConfirmed(block),))

    def _tidy(self) -> None:
        """What a block has left in the order of mining goes in turns of a few milliseconds."""
        self.pool.tidy()
        self._tidying = self.pool.is_untidy
        if self._tidying:
            asyncio.get_running_loop().call_soon(self._tidy)

    def _on_disconnected(self, event: BlockDisconnected) -> None:
        block = event.block
        if not self._reorganising:
            self._left_work = self._state.tree.chainwork(event.index)
            self._at_rest.clear()
        again = {block.txids[i]: block.tx(i) for i in range(block.n_tx)}
        if not event.returns:
            for txid, tx in again.items():
                self._forget_dependents(txid, tx)
            again = {}
        # blocks are disconnected newest first: this one's come before those that are kept already
        self._disconnected = again | self._disconnected
        self._disconnected_bytes += sum(len(tx.raw) for tx in again.values())
        while self._disconnected_bytes > MAX_DISCONNECTED_BYTES:
            txid, tx = self._disconnected.popitem()  # the newest go first: nothing kept depends on them
            self._disconnected_bytes -= len(tx.raw)
            self._forget_dependents(txid, tx)
        self._feed((events.TransactionsUnconfirmed(block.hash),))

    def _forget_dependents(self, txid: bytes, tx: Tx) -> None:
        """What spends outputs of a transaction that exists nowhere any more cannot stay."""
        spenders = [self.pool.spender_of(txid + n.to_bytes(4, "little")) for n in range(len(tx.txouts))]
        self.pool.remove([entry for entry in dict.fromkeys(spenders) if entry is not None], RemovalReason.REORG)

    async def _catch_up(self) -> None:
        """Transactions of the blocks that were left come back, what no longer holds goes; the chain waits."""
        try:
            returning, self._disconnected, self._disconnected_bytes = self._disconnected, {}, 0
            for txid, tx in returning.items():
                if tx.is_coinbase or isinstance(await self.accept(tx, bypass_limits=True), Rejection):
                    self._forget_dependents(txid, tx)
            self.pool.join([entry for txid in returning if (entry := self.pool.get(txid)) is not None])
            await self._remove_unfit()
            self.admission.limit(self._clock.now())
            for observer in self._observers:
                observer.reorganised()
            self._at_rest.set()
            held, self._held = self._held, []
            for offer in held:
                self._admit(offer, JobClock())
        finally:
            self._caught_up.set()

    async def _remove_unfit(self) -> None:
        """Take out what is not final, not mature or without coins at the tip (Core's removeForReorg)."""
        unfit: list[MempoolEntry] = []
        for n, entry in enumerate(list(self.pool), 1):  # what comes meanwhile is judged at this tip
            if not self._fits(entry):
                unfit.append(entry)
            if not n % FIT_ENTRIES:
                await asyncio.sleep(0)
        self.pool.remove([entry for entry in unfit if entry.txid in self.pool], RemovalReason.REORG)

    def _fits(self, entry: MempoolEntry) -> bool:
        state, tx = self._state, entry.tx
        tree, tip = state.tree, state.tip
        height, median = tree.height(tip), tree.median_time_past(tip)
        if not is_final(tx.lock_time, tx.sequences, height + 1, median):
            return False
        outside = [prevout for prevout in tx.prevouts if prevout[:32] not in self.pool]
        found = dict(zip(outside, state.read_view.get_many(outside), strict=True)) if outside else {}
        for coin in found.values():
            if coin is None:
                return False
            if coin_is_coinbase(coin) and height + 1 - coin_height(coin) < COINBASE_MATURITY:
                return False
        if tx.version < 2:
            return True
        locks = entry.lock_points
        if locks.max_input_index < 0 or not state.active.contains(locks.max_input_index):
            heights = [
                height + 1 if (coin := found.get(prevout)) is None else coin_height(coin) for prevout in tx.prevouts
            ]
            lock = sequence_locks(
                tx.version, tx.sequences, heights, lambda at: tree.median_time_past(tree.ancestor(tip, at))
            )
            below = [at for at in heights if at <= height]
            entry.lock_points = locks = LockPoints(*lock, tree.ancestor(tip, max(below, default=0)))
        return sequence_locks_met((locks.height, locks.time), height + 1, median)


def _parts(offers: list[_Offer]) -> list[list[_Offer]]:
    """In order, each with ``MAX_COLD`` inputs at most, or a single offer."""
    if _inputs(offers) <= MAX_COLD:
        return [offers]
    parts: list[list[_Offer]] = []
    left = 0
    for offer in offers:
        count = len(offer.tx.prevouts)
        if count > left:
            parts.append([])
            left = MAX_COLD
        parts[-1].append(offer)
        left -= count
    return parts


def _inputs(offers: Sequence[_Offer]) -> int:
    return sum(len(offer.tx.prevouts) for offer in offers)


def _outcome(tx: Tx, verdict: PackageTxVerdict) -> events.TxOutcome:
    if isinstance(verdict, Rejection):
        return events.TxOutcome(tx.txid, tx.wtxid, verdict.result, verdict.reason, verdict.missing_parents)
    replaced = verdict.replaced if isinstance(verdict, Accepted) else ()
    return events.TxOutcome(tx.txid, tx.wtxid, replaced=replaced)
