"""The way into the mempool: who overtakes whom, and that the outcome does not depend on it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from math import inf
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.chain.events import BlockConnected
from btcnode.mempool.pool import Mempool
from btcnode.mempool.rejection import Accepted, Rejection, TxResult, TxVerdict
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.tx import Tx
from btcnode.protocol.effects import ProcessTransactions, WithdrawTransactions
from btcnode.protocol.events import TransactionsProcessed, WorkMeasured
from btcnode.protocol.inputs import Input
from btcnode.services import transactions as service
from btcnode.services.transactions import DEAR_REFUSAL, MAX_COLD, MAX_WARM, Transactions
from btcnode.sync.tx_verifier import BATCHES_AHEAD, SPOT_INPUTS, verify_batch
from btcnode.sync.worker_tasks import TxTask
from tests.lib.block_lab import LabCoin
from tests.lib.mempool_lab import START, MempoolLab, coins_of, pay


class HeldPool:
    """Workers that take everything and answer when they are told to."""

    shards = 1
    usable = running = True

    def __init__(self) -> None:
        self.tasks: list[TxTask] = []

    def submit_transactions(self, task: TxTask) -> None:
        if task.urgent:
            self.tasks.insert(0, task)
        else:
            self.tasks.append(task)

    async def work(self, count: int = -1) -> None:
        """Answer the next tasks, all that there are by default."""
        while self.tasks and count:
            count -= 1
            task = self.tasks.pop(0)
            task.answer(verify_batch(task.jobs))
            for _ in range(3):
                await asyncio.sleep(0)


class HeldDisk:
    """Has coins when it is told to; ``cold``: it had to read them."""

    def __init__(self) -> None:
        self.cold = False
        self.asked: list[Sequence[bytes]] = []
        self.goes = asyncio.Event()
        self.goes.set()

    async def warm(self, outpoints: Sequence[bytes]) -> bool:
        self.asked.append(outpoints)
        await self.goes.wait()
        return self.cold


class Bench:
    """The service over a chain in memory, fed by peers and a user."""

    def __init__(self, lab: MempoolLab) -> None:
        self.lab = lab
        self.workers = HeldPool()
        self.answers: list[TransactionsProcessed] = []
        self.charged: list[tuple[int, float]] = []
        self.number = 0
        self.state = state = SimpleNamespace(
            params=lab.params, tree=lab.tree, tip=lab.tip, read_view=lab.coins, script_cache=None, active=None
        )
        self.disk = HeldDisk()
        driver = SimpleNamespace(
            chainstate=state, prefetcher=self.disk, listen=lambda listener: None, follow=lambda follower: None
        )
        clock = SimpleNamespace(now=lambda: START)
        self.transactions = Transactions(
            cast(Any, driver), cast(Any, None), cast(Any, clock), Mempool(), cast(Any, self.workers), self._feed, _raise
        )

    def _feed(self, happened: Sequence[Input]) -> None:
        for event in happened:
            if isinstance(event, TransactionsProcessed):
                self.answers.append(event)
            elif isinstance(event, WorkMeasured):
                self.charged += event.spent

    async def from_peer(self, *txs: Tx, peer: int = 1) -> None:
        for tx in txs:
            self.number += 1
            self.transactions.process_all([ProcessTransactions(peer, self.number, (tx,))])
        await asyncio.sleep(0)

    async def in_a_row(self, *txs: Tx, peer: int = 1) -> None:
        """The same, all handed over together."""
        effects = [ProcessTransactions(peer, self.number + n, (tx,)) for n, tx in enumerate(txs, 1)]
        self.number += len(txs)
        self.transactions.process_all(effects)
        await asyncio.sleep(0)

    @contextmanager
    def busy_workers(self) -> Iterator[None]:
        """Meanwhile everything waits in the verifier's own order."""
        verifier = self.transactions.verifier
        verifier._shards[0].ahead += BATCHES_AHEAD
        yield
        verifier._shards[0].ahead -= BATCHES_AHEAD
        verifier._flush()

    @property
    def pool(self) -> Mempool:
        return self.transactions.pool

    async def at_once(self, work: Awaitable[Any]) -> Any:
        """What is there without one answer of a worker, or None."""
        task = asyncio.ensure_future(cast("asyncio.Future[Any]", work))
        for _ in range(5):
            await asyncio.sleep(0)
        return task.result() if task.done() else None


def _raise(error: BaseException) -> None:
    raise error


@cache
def lab() -> MempoolLab:
    """Prepared once, and copied by who uses it."""
    return MempoolLab(free=200)


def run(scene: Callable[[Bench], Awaitable[None]]) -> None:
    async def play() -> None:
        bench = Bench(lab().copy())
        await scene(bench)
        await bench.workers.work()
        assert not bench.transactions._verifying and not bench.transactions._claims
        assert not bench.transactions._waits_for and not bench.transactions._hurried
        assert not bench.transactions._peers_offers
        assert bench.transactions.verifier.open == 0
        await bench.transactions.close()

    asyncio.run(play())


def large(lab: MempoolLab, fee: int = 20_000) -> Tx:
    """One that is not verified on the spot."""
    return pay([lab.coin() for _ in range(SPOT_INPUTS + 4)], fee, 20)


def test_the_users_transaction_does_not_wait_for_the_strangers() -> None:
    async def scene(bench: Bench) -> None:
        await bench.from_peer(*(pay([bench.lab.coin()], 500) for _ in range(30)))
        assert not len(bench.pool)
        tx, tested = pay([bench.lab.coin()], 500), pay([bench.lab.coin()], 500)
        assert isinstance(await bench.at_once(bench.transactions.accept(tx, urgent=True)), Accepted)
        result = await bench.at_once(bench.transactions.test_accept([tested]))
        assert isinstance(result.transactions[tested.wtxid], Accepted)
        parent = pay([bench.lab.coin()], 500)
        child = pay(coins_of(parent), 500)
        result = await bench.at_once(bench.transactions.submit_package([parent, child]))
        assert result.text == "" and {tx.txid, parent.txid, child.txid} == {entry.txid for entry in bench.pool}
        await bench.workers.work()
        assert len(bench.pool) == 33

    run(scene)


def count_look_ups(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> list[Sequence[bytes]]:
    """What is looked up on the loop from now on."""
    real, asked = bench.lab.coins.get_many, []

    def look_up(wanted: Sequence[bytes]) -> Any:
        asked.append(wanted)
        return real(wanted)

    monkeypatch.setattr(bench.lab.coins, "get_many", look_up)
    return asked


def test_many_coins_are_looked_up_beside_the_loop_first(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        looked_up = count_look_ups(monkeypatch, bench)
        bench.disk.goes.clear()
        many = pay([bench.lab.coin() for _ in range(MAX_COLD + 1)], 20_000)
        child, other = pay(coins_of(many)[:1], 500), pay([bench.lab.coin()], 500)
        await bench.from_peer(many)
        await bench.from_peer(child, other)
        assert bench.disk.asked == [many.prevouts] and not looked_up and not bench.answers
        bench.disk.goes.set()
        for _ in range(4):
            await asyncio.sleep(0)
        assert bench.disk.asked == [many.prevouts, child.prevouts + other.prevouts]  # these waited behind it
        await bench.workers.work()
        assert {many.txid, child.txid, other.txid} == {entry.txid for entry in bench.pool}
        bench.disk.asked.clear()
        await bench.from_peer(pay([bench.lab.coin()], 500))
        assert not bench.disk.asked  # they were in memory: few are asked for on the loop again

    run(scene)


def test_a_disk_that_is_met_is_met_beside_the_loop_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        looked_up = count_look_ups(monkeypatch, bench)
        monkeypatch.setattr(service, "thread_disk_reads", lambda: len(looked_up))  # each of them reads
        await bench.from_peer(pay([bench.lab.coin()], 500))
        assert len(looked_up) == 1 and not bench.disk.asked
        second = pay([bench.lab.coin()], 500)
        await bench.from_peer(second)
        assert bench.disk.asked == [second.prevouts]
        await bench.workers.work()
        assert len(bench.pool) == 2

    monkeypatch.setattr(service, "COLD_SECONDS", inf)
    run(scene)


def test_a_run_of_more_coins_is_looked_up_in_parts_until_the_disk_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        looked_up = count_look_ups(monkeypatch, bench)
        monkeypatch.setattr(service, "thread_disk_reads", lambda: len(looked_up) // 2)  # every other one reads
        run_of = [pay([bench.lab.coin() for _ in range(MAX_COLD // 4)], 5_000) for _ in range(16)]
        await bench.in_a_row(*run_of)
        assert all(len(outpoints) <= MAX_COLD for outpoints in looked_up)
        assert sum(map(len, bench.disk.asked)) == 8 * MAX_COLD // 4  # two parts here, two beside the loop
        await bench.workers.work()
        await bench.workers.work()
        assert {entry.txid for entry in bench.pool} == {tx.txid for tx in run_of}

    monkeypatch.setattr(service, "COLD_SECONDS", inf)
    run(scene)


def test_what_waited_for_its_coins_is_judged_a_run_at_a_time_and_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        bench.disk.goes.clear()
        passes, taken = itertools.count(), []
        real = bench.transactions._take

        def take(offers: Any) -> None:
            taken.append(now)
            real(offers)

        monkeypatch.setattr(bench.transactions, "_take", take)
        await bench.from_peer(pay([bench.lab.coin() for _ in range(MAX_COLD + 1)], 20_000))
        for peer in range(2, 8):
            await bench.in_a_row(pay([bench.lab.coin()], 500), pay([bench.lab.coin()], 500), peer=peer)
        bench.disk.goes.set()
        while len(taken) < 7:
            now = next(passes)
            await asyncio.sleep(0)
        assert len(bench.disk.asked) == 2 and len(set(taken)) == 7
        assert {peer for peer, seconds in bench.charged if seconds > 0} == set(range(1, 8))

    ticks = itertools.count()
    monkeypatch.setattr(service, "thread_time", lambda: float(next(ticks)))
    run(scene)


def test_only_as_many_coins_are_warmed_as_a_standard_transaction_has() -> None:
    async def scene(bench: Bench) -> None:
        huge = Tx(2, [bytes(32) + n.to_bytes(4, "little") for n in range(MAX_WARM + 1)], [b""] * (MAX_WARM + 1),
                  [0] * (MAX_WARM + 1), [make_txout(1_000, b"\x51")])  # fmt: skip
        await bench.from_peer(huge)
        assert [len(asked) for asked in bench.disk.asked] == [MAX_WARM]
        await bench.at_once(asyncio.sleep(0))
        assert bench.answers

    run(scene)


def test_a_large_one_overtakes_what_has_not_been_sent() -> None:
    async def scene(bench: Bench) -> None:
        flood = [pay([bench.lab.coin()], 500) for _ in range(100)]
        await bench.from_peer(*flood)
        waiting = asyncio.ensure_future(bench.transactions.accept(large(bench.lab), urgent=True))
        await asyncio.sleep(0)
        assert bench.workers.tasks[0].urgent
        await bench.workers.work(1)
        assert isinstance(waiting.result(), Accepted) and len(bench.pool) == 1
        package = [large(bench.lab)]
        package.append(pay(coins_of(package[0])[:1], 500))
        both = asyncio.ensure_future(bench.transactions.submit_package(package))
        await asyncio.sleep(0)
        assert bench.workers.tasks[0].urgent
        await bench.workers.work()
        assert (await both).text == "" and len(bench.pool) == 103

    run(scene)


def test_the_users_transaction_takes_its_strangers_along() -> None:
    async def scene(bench: Bench) -> None:
        first = pay([bench.lab.coin()], 500)
        second = pay(coins_of(first), 500)
        third = pay(coins_of(second), 500)
        await bench.from_peer(*(pay([bench.lab.coin()], 500) for _ in range(20)), first, second, third)
        own = pay(coins_of(third), 500)
        assert isinstance(await bench.at_once(bench.transactions.accept(own, urgent=True)), Accepted)
        assert [entry.txid for entry in bench.pool] == [first.txid, second.txid, third.txid, own.txid]
        await bench.workers.work()
        assert len(bench.pool) == 24
        assert len({outcome.txid for answer in bench.answers for outcome in answer.results}) == 23

    run(scene)


def test_the_same_transaction_from_a_peer_and_the_user() -> None:
    async def scene(bench: Bench) -> None:
        tx = pay([bench.lab.coin()], 500)
        await bench.from_peer(tx)
        verdict = await bench.at_once(bench.transactions.accept(tx, urgent=True))
        assert isinstance(verdict, Rejection) and verdict.reason == "txn-already-in-mempool"
        (answer,) = bench.answers
        assert answer.results[0].result is None and tx.txid in bench.pool

    run(scene)


def test_a_large_parent_of_a_stranger_keeps_its_place_before_the_child() -> None:
    async def scene(bench: Bench) -> None:
        parent = large(bench.lab)
        await bench.from_peer(parent)
        child = asyncio.ensure_future(bench.transactions.accept(pay(coins_of(parent)[:1], 500), urgent=True))
        await asyncio.sleep(0)
        assert not child.done()
        await bench.workers.work()
        assert isinstance(child.result(), Accepted)

    run(scene)


def test_a_chain_that_is_too_long_is_judged_in_its_turn() -> None:
    async def scene(bench: Bench) -> None:
        txs = [pay([bench.lab.coin()], 500)]
        for _ in range(120):
            txs.append(pay(coins_of(txs[-1]), 200))
        await bench.from_peer(*txs[:-1])
        last: asyncio.Future[TxVerdict] = asyncio.ensure_future(bench.transactions.accept(txs[-1], urgent=True))
        await asyncio.sleep(0)
        assert not last.done()
        while not last.done():
            await bench.workers.work()
            await asyncio.sleep(0)
        verdict = last.result()
        assert isinstance(verdict, Rejection) and verdict.result is TxResult.MISSING_INPUTS
        assert len(bench.pool) == 64

    run(scene)


def test_what_follows_from_verdicts_lets_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was verified and the children that waited for it are taken in one after the other."""
    for module in ("btcnode.sync.tx_verifier", "btcnode.services.transactions"):
        monkeypatch.setattr(f"{module}.SLICE", -1.0)

    async def scene(bench: Bench) -> None:
        parents = [large(bench.lab) for _ in range(4)]
        children = [pay(coins_of(parents[0])[n : n + 1], 500) for n in range(20)]
        await bench.from_peer(*parents, *children)
        seen: list[int] = []
        while len(bench.pool) < len(parents) + len(children) or not seen:
            while bench.workers.tasks:
                task = bench.workers.tasks.pop(0)
                task.answer(verify_batch(task.jobs))
            await asyncio.sleep(0)
            seen.append(len(bench.pool))
            assert len(seen) < 1_000
        most = max(after - before for before, after in itertools.pairwise(seen))
        assert most <= len(parents), seen  # each has a call of its own

    run(scene)


def test_the_users_transaction_finds_what_waits_for_its_turn_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.services.transactions.SLICE", -1.0)

    async def scene(bench: Bench) -> None:
        parent = large(bench.lab)
        children = [pay(coins_of(parent)[n : n + 1], 500) for n in range(10)]
        await bench.from_peer(parent, *children)
        task = bench.workers.tasks.pop(0)
        task.answer(verify_batch(task.jobs))
        for _ in range(3):
            await asyncio.sleep(0)
        assert parent.txid in bench.pool and children[-1].txid not in bench.pool
        result = await bench.transactions.submit_package([pay(coins_of(children[-1])[:1], 500)])
        assert children[-1].txid in bench.pool, result

    run(scene)


def test_rivals_are_judged_in_the_order_in_which_they_came() -> None:
    async def scene(bench: Bench) -> None:
        # the second pays a better feerate and less in all: it must not come in, whoever is verified first
        coins = [bench.lab.coin() for _ in range(6)]
        first, second = pay(coins, 3000, 30), pay(coins[:1], 1000)
        with bench.busy_workers():
            await bench.from_peer(first, peer=1)
            await bench.from_peer(second, peer=2)
        await bench.workers.work()
        assert first.txid in bench.pool and second.txid not in bench.pool
        refused = [outcome for answer in bench.answers for outcome in answer.results if outcome.result is not None]
        assert [outcome.txid for outcome in refused] == [second.txid]
        assert "insufficient fee" in refused[0].reason

    run(scene)


def test_strangers_come_in_by_feerate() -> None:
    async def scene(bench: Bench) -> None:
        came = [pay([bench.lab.coin()], fee) for fee in (300, 9000, 800, 4000)]
        bench.pool.listen(lambda entry: order.append(entry.txid), lambda entry, reason: None)
        order: list[bytes] = []
        with bench.busy_workers():
            await bench.from_peer(*came)
        await bench.workers.work()
        assert order == [came[n].txid for n in (1, 3, 2, 0)]

    run(scene)


def spoilt(coins: list[LabCoin]) -> Tx:
    tx = pay(coins, 500)
    return Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, [[b"\1", b""]], tx.lock_time)


def test_invalid_scripts_are_told_as_ever() -> None:
    async def scene(bench: Bench) -> None:
        bad = spoilt([bench.lab.coin()])
        verdict = await bench.at_once(bench.transactions.accept(bad, urgent=True))
        assert isinstance(verdict, Rejection) and not len(bench.pool)
        await bench.from_peer(pay([bench.lab.coin()], 500), spoilt([bench.lab.coin()]), pay([bench.lab.coin()], 500))
        await bench.workers.work()
        assert len(bench.pool) == 2 and len(bench.answers) == 3

    run(scene)


def test_what_a_gone_peer_sent_is_not_verified_unless_that_has_begun() -> None:
    async def scene(bench: Bench) -> None:
        begun, waiting, others = (pay([bench.lab.coin()], 500) for _ in range(3))
        await bench.from_peer(begun)
        with bench.busy_workers():
            await bench.from_peer(waiting)
            await bench.from_peer(others, peer=2)
            bench.transactions.withdraw_transactions(WithdrawTransactions((1, 2)))
            assert [answer.number for answer in bench.answers] == [2]
            assert bench.answers[0].results[0].result is TxResult.UNKNOWN
        await bench.workers.work()
        assert {begun.txid, others.txid} == {entry.txid for entry in bench.pool}
        await bench.from_peer(waiting)  # nothing is left of it
        await bench.workers.work()
        assert waiting.txid in bench.pool

    run(scene)


def forms_of(tx: Tx, count: int) -> list[Tx]:
    """The same transaction with other witnesses, none of them valid."""
    stacks = [[bytes([n]), b""] for n in range(1, count + 1)]
    return [Tx(tx.version, tx.prevouts, tx.script_sigs, tx.sequences, tx.txouts, [stack], 0) for stack in stacks]


def test_each_form_of_a_transaction_is_judged_by_itself() -> None:
    async def scene(bench: Bench) -> None:
        good = pay([bench.lab.coin()], 500)
        await bench.from_peer(*forms_of(good, 5), peer=1)
        await bench.from_peer(*forms_of(good, 8)[5:], good, peer=2)
        child = pay(coins_of(good), 500)
        await bench.from_peer(child, peer=3)
        await bench.workers.work()
        assert [answer.number for answer in bench.answers] == list(range(1, 11))
        refused = [answer.number for answer in bench.answers if answer.results[0].result is not None]
        assert refused == list(range(1, 9))
        assert {good.txid, child.txid} == {entry.txid for entry in bench.pool}

    run(scene)


def test_of_many_forms_of_one_transaction_the_gone_peers_are_passed_over() -> None:
    async def scene(bench: Bench) -> None:
        good = pay([bench.lab.coin()], 500)
        await bench.from_peer(*forms_of(good, 19))
        await bench.from_peer(good, peer=2)
        bench.transactions.withdraw_transactions(WithdrawTransactions(tuple(range(1, 20))))
        await bench.workers.work()
        assert good.txid in bench.pool
        assert bench.transactions.verifier.verified == 2  # the one that had been begun, and the good one

    run(scene)


def test_the_user_still_gets_a_gone_peers_parents() -> None:
    async def scene(bench: Bench) -> None:
        first = large(bench.lab)
        second = pay(coins_of(first)[:1], 500)
        with bench.busy_workers():
            await bench.from_peer(first, second)
            child = bench.transactions.accept(pay(coins_of(second), 500), urgent=True)
            verdict = asyncio.ensure_future(child)
            await asyncio.sleep(0)
            bench.transactions.withdraw_transactions(WithdrawTransactions((1, 2)))
            await bench.workers.work()
            assert isinstance(await verdict, Accepted)

    run(scene)


def test_verifying_in_vain_is_charged_and_accepted_ones_are_not() -> None:
    async def scene(bench: Bench) -> None:
        await bench.from_peer(pay([bench.lab.coin()], 500), peer=1)
        await bench.from_peer(spoilt([bench.lab.coin()]), peer=2)
        await bench.workers.work()
        assert [peer for peer, _ in bench.charged] == [2]
        assert bench.charged[0][1] > 0
        parent = pay([bench.lab.coin()], 0, 2)
        child = spoilt(coins_of(parent)[:1])
        effect = ProcessTransactions(3, 99, (parent, child), package=True)
        bench.transactions.process_all([effect])
        for _ in range(5):
            await asyncio.sleep(0)
            await bench.workers.work()
        assert bench.answers[-1].number == 99
        assert 3 in {peer for peer, _ in bench.charged}

    run(scene)


def test_a_refusal_that_was_dear_is_charged_before_any_script(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(bench: Bench) -> None:
        took = {1: 0.5 * DEAR_REFUSAL, 2: 2 * DEAR_REFUSAL}
        for peer, seconds in took.items():
            clock = SimpleNamespace(
                next=lambda: None, is_beyond=lambda limit, took=seconds: took > limit, last=lambda took=seconds: took
            )
            monkeypatch.setattr(service, "JobClock", lambda clock=clock: clock)
            await bench.from_peer(pay([bench.lab.coin()], 0), peer=peer)  # pays nothing
        assert [answer.results[0].result for answer in bench.answers] == [TxResult.RECONSIDERABLE] * 2
        ((peer, seconds),) = bench.charged
        assert peer == 2 and seconds == pytest.approx(2 * DEAR_REFUSAL)

    run(scene)


def test_a_stored_transaction_keeps_its_time_when_it_is_judged_again() -> None:
    async def scene(bench: Bench) -> None:
        came = START - 1000
        parent = pay([bench.lab.coin()], 500, 2)
        assert isinstance(await bench.at_once(bench.transactions.accept(parent, urgent=True)), Accepted)
        children = [pay([coin], 500) for coin in coins_of(parent)]
        waiting = asyncio.gather(*(bench.transactions.accept(tx, time=came) for tx in children))
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(bench.pool) == 1  # both are judged beside the parent alone
        await bench.workers.work()
        assert waiting.done()
        assert all(isinstance(verdict, Accepted) for verdict in await waiting)
        assert bench.transactions.admission.reevaluated == 1
        assert [entry.time for entry in bench.pool.in_order()] == [START, came, came]

    run(scene)


def variety(lab: MempoolLab) -> list[Tx]:
    """What a peer may send in a row: loose ones, families, rivals, the same again, dust, orphans, invalid ones."""
    loose = [pay([lab.coin() for _ in range(n)], 500 + n) for n in (1, 2, 3)]
    shared = lab.coin()
    rivals = [pay([shared], 500), pay([shared], 5000)]
    parent = pay([lab.coin()], 500, 3)
    child = pay(coins_of(parent)[:1], 500)
    grandchild = pay(coins_of(child)[:1], 500)
    cheap, orphan = pay([lab.coin()], 0), pay(coins_of(pay([lab.coin()], 500))[:1], 500)
    dust = pay([lab.coin()], 500, extra=[make_txout(1, b"\x00\x14" + bytes(20))])
    bad = spoilt([lab.coin()])
    return [*loose, parent, rivals[0], child, dust, loose[0], grandchild, rivals[1], cheap, orphan, bad, orphan]


@pytest.mark.parametrize("seed", range(6))
def test_what_comes_together_is_judged_as_if_it_came_one_by_one(seed: int) -> None:
    found: list[object] = []
    for together in (False, True):

        async def scene(bench: Bench, together: bool = together) -> None:
            txs = variety(bench.lab)
            Random(seed).shuffle(txs)
            first, rest = txs[: seed * 2], txs[seed * 2 :]
            for some in (first, rest):
                if together:
                    await bench.in_a_row(*some)
                else:
                    await bench.from_peer(*some)
                while bench.workers.tasks:
                    await bench.workers.work()
            names = {tx.wtxid: n for n, tx in enumerate(txs)}
            answers = sorted((answer.number, answer.results[0].reason) for answer in bench.answers)
            assert [number for number, _ in answers] == list(range(1, len(txs) + 1))
            found.append((answers, [names[entry.wtxid] for entry in bench.pool], bench.pool.memory_usage))

        run(scene)
    assert found[0] == found[1]


def test_the_coins_of_all_that_comes_together_are_looked_up_once() -> None:
    async def scene(bench: Bench) -> None:
        asked: list[int] = []
        coins = bench.lab.coins
        look_up = coins.get_many
        coins.get_many = lambda outpoints: (asked.append(len(outpoints)), look_up(outpoints))[1]  # type: ignore
        txs = [pay([bench.lab.coin() for _ in range(n)], 500 + n) for n in (1, 2, 3)]
        await bench.in_a_row(*txs)
        await bench.workers.work()
        assert asked == [6] and len(bench.pool) == 3

    run(scene)


def test_what_a_block_leaves_in_the_order_is_given_up_turn_by_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.mempool.pool.BULK", 0)
    monkeypatch.setattr("btcnode.mempool.pool.TIDY_AT_ONCE", 2)

    async def scene(bench: Bench) -> None:
        bench.transactions._view = cast(Any, SimpleNamespace(is_initial_block_download=lambda now: True))
        txs = [pay([bench.lab.coin()], 500 + n) for n in range(5)]
        await bench.in_a_row(*txs)
        await bench.workers.work()
        assert len(bench.pool) == 5
        bench.lab.mine(*txs)
        block = parse_block(bench.lab.raws[-1])
        bench.transactions._on_connected(BlockConnected(bench.lab.tip, bench.lab.height, 5, 5, 0, block))
        assert not len(bench.pool) and not list(bench.pool.chunks())
        await asyncio.sleep(0)
        left = [bench.pool._index.untidy]  # who waits for the block is told first
        while bench.pool.is_untidy:
            if (untidy := bench.pool._index.untidy) != left[-1]:
                left.append(untidy)
            await asyncio.sleep(0)
        assert left == [5, 3, 1]

    run(scene)


def test_a_block_between_two_looks_makes_what_was_seen_before_it_worthless() -> None:
    """What was seen of several at once is used in the same moment only: their verdicts meet another tip."""

    async def scene(bench: Bench) -> None:
        txs = [pay([bench.lab.coin()], 500) for _ in range(3)]
        await bench.in_a_row(*txs)
        bench.lab.mine(txs[0])
        bench.state.tip = bench.lab.tip
        await bench.workers.work()
        assert {answer.number: answer.results[0].reason for answer in bench.answers} == {
            1: "txn-already-known",
            2: "",
            3: "",
        }

    run(scene)
