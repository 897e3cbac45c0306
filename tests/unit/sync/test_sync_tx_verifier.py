"""Scripts of unconfirmed transactions: every job gets its own verdict, whoever verifies and whatever happens to him."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import cast

import pytest

from btcnode import compiled
from btcnode.compiled.kernels import Kernels, Proven
from btcnode.errors import DecodeError
from btcnode.networks.parameters import params_for
from btcnode.script.errors import ScriptError
from btcnode.script.flags import STANDARD_VERIFY_FLAGS
from btcnode.script.verify import ScriptFailure, ScriptJob
from btcnode.sync import tx_verifier
from btcnode.sync.tx_verifier import BATCH_BYTES, BATCH_INPUTS, BATCHES_AHEAD, TxVerifier, verify_batch, verify_beside
from btcnode.sync.worker_codec import pack_failures, unpack_failures
from btcnode.sync.worker_pool import WorkerPool
from btcnode.sync.worker_tasks import BatchResult, TxTask
from tests.lib.kernels import compiled_kernels, plain_kernels, with_kernels
from tests.lib.mempool_lab import MempoolLab, pay

PARAMS = params_for("regtest")


@pytest.fixture(scope="module")
def jobs() -> list[tuple[ScriptJob, bytes, bool]]:
    """Jobs, their txids, and whether they are valid: every fifth one is not."""
    lab = MempoolLab(free=60)
    found: list[tuple[ScriptJob, bytes, bool]] = []
    for n in range(30):
        coins = [lab.coin(), lab.coin()]
        tx = pay(coins, 500)
        spent = [lab.coins.coins[coin.outpoint][4:] for coin in coins]
        good = n % 5 != 2
        if not good:
            spent[1] = spent[1][:-1] + bytes([spent[1][-1] ^ 1])  # another script than the one that was signed for
        found.append((ScriptJob(tx.raw, spent, STANDARD_VERIFY_FLAGS), tx.txid, good))
    return found


def check(verdicts: dict[bytes, ScriptFailure | None], jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    assert len(verdicts) == len(jobs)
    for _, txid, good in jobs:
        failure = verdicts[txid]
        if good:
            assert failure is None
        else:
            assert failure is not None and failure.input_index == 1
            assert failure.error is ScriptError.WITNESS_PROGRAM_MISMATCH


async def run(
    pool: WorkerPool | None,
    jobs: list[tuple[ScriptJob, bytes, bool]],
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[dict[bytes, ScriptFailure | None], int]:
    """The verdicts, and how many jobs the node's own thread was given."""
    verifier = TxVerifier(pool)
    here: list[int] = []
    submit = verifier._thread.submit

    def counted(function: Callable[..., BatchResult], batch: Sequence[ScriptJob]) -> Future[BatchResult]:
        here.append(len(batch))
        return submit(function, batch)

    verifier._thread.submit = counted  # type: ignore[method-assign,assignment]
    verdicts: dict[bytes, ScriptFailure | None] = {}
    ready = asyncio.Event()

    def record(txid: bytes, failure: ScriptFailure | None, seconds: float) -> None:
        assert txid not in verdicts
        assert seconds > 0 or failure is None
        verdicts[txid] = failure
        if len(verdicts) == len(jobs):
            ready.set()

    for job, txid, _ in jobs:
        verifier.submit(job, txid, lambda *verdict, txid=txid: record(txid, *verdict))
    await asyncio.sleep(0)
    meanwhile()
    await asyncio.wait_for(ready.wait(), 60)
    assert verifier.open == 0 and verifier.verified == len(jobs)
    verifier.close()
    return verdicts, sum(here)


class Batches:
    """A pool that takes batches and gives no verdict until it is told to."""

    shards, usable, running = 1, True, True

    def __init__(self) -> None:
        self.tasks: list[TxTask] = []

    def submit_transactions(self, task: TxTask) -> None:
        self.tasks.append(task)


def test_batches_are_large_and_few_are_ahead(jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    """A batch ends with the job that fills it, and before one that makes its bytes too many."""

    async def work() -> None:
        pool = Batches()
        verifier = TxVerifier(cast(WorkerPool, pool))
        small, inputs = jobs[0][0], len(jobs[0][0].spent)
        many = 1 + (BATCHES_AHEAD + 1) * BATCH_INPUTS // inputs
        for n in range(many):
            verifier.submit(small, n.to_bytes(32, "big"), lambda failure, seconds: None)
        await asyncio.sleep(0)
        full = -(-BATCH_INPUTS // inputs)
        assert [len(task.jobs) for task in pool.tasks] == [full] * BATCHES_AHEAD
        pool.tasks[0].answer(BatchResult(full, None, 1.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [len(task.jobs) for task in pool.tasks[BATCHES_AHEAD:]] == [full]
        verifier.close()
        large = small._replace(raw_tx=bytes(BATCH_BYTES // 2 - 1))
        pool = Batches()
        verifier = TxVerifier(cast(WorkerPool, pool))
        for n in range(5):
            verifier.submit(large, n.to_bytes(32, "big"), lambda failure, seconds: None)
        await asyncio.sleep(0)
        assert [len(task.jobs) for task in pool.tasks] == [2, 2, 1]
        verifier.close()

    asyncio.run(work())


def test_without_workers_a_thread_verifies(jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    verdicts, here = asyncio.run(run(None, jobs))
    check(verdicts, jobs)
    assert here >= len(jobs)


def test_a_thread_verifies_with_kernels(
    jobs: list[tuple[ScriptJob, bytes, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = compiled_kernels()
    if kernels is None:
        pytest.skip("numba is not installed")
    looks: list[int] = []
    monkeypatch.setattr(tx_verifier, "look_for", lambda: looks.append(1))
    with with_kernels(kernels):
        check(asyncio.run(run(None, jobs))[0], jobs)
        monkeypatch.setattr(tx_verifier, "verify_transaction", None)  # the plain way is not asked for what is valid
        good = [each for each in jobs if each[2]] * 2
        assert verify_beside([job for job, _, _ in good])[:2] == (len(good), None)
    assert len(looks) == 1  # batches of fewer inputs are not worth the loading of kernels


def test_workers_verify(jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    pool = WorkerPool(2, PARAMS)
    try:
        verdicts, here = asyncio.run(run(pool, jobs))
    finally:
        pool.close()
    check(verdicts, jobs)
    assert here == 0


def test_bad_ones_cost_the_others_no_second_look(
    jobs: list[tuple[ScriptJob, bytes, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels look at a whole batch, so what is behind a bad signature is known: a flood cost ten times as much."""
    looked: list[int] = []
    verify_spends = Kernels.verify_spends

    def counted(self: Kernels, raw: bytes, coins: bytes, jobs: int, flags: int) -> Proven | None:
        looked.append(jobs)
        return verify_spends(self, raw, coins, jobs, flags)

    monkeypatch.setattr(Kernels, "verify_spends", counted)
    monkeypatch.setattr(tx_verifier, "verify_transaction", lambda *job: pytest.fail("looked at twice"))
    with with_kernels(plain_kernels()):
        verdicts, _ = asyncio.run(run(None, jobs))
    check(verdicts, jobs)
    assert sum(looked) == len(jobs)


def test_a_worker_with_kernels_answers_once_about_a_batch(
    jobs: list[tuple[ScriptJob, bytes, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled_kernels() is None:
        pytest.skip("numba is not installed")
    compiled.allow(make=False)
    pool = WorkerPool(1, PARAMS)
    sent: list[int] = []
    submit = pool.submit_transactions

    def counted(task: TxTask) -> None:
        sent.append(len(task.jobs))
        submit(task)

    monkeypatch.setattr(pool, "submit_transactions", counted)
    try:
        verdicts, here = asyncio.run(run(pool, jobs))
    finally:
        pool.close()
    check(verdicts, jobs)
    assert sum(sent) == len(jobs) and here == 0


@pytest.mark.parametrize("who", ["a pool that ends as well", "the thread"])
def test_what_is_answered_after_the_end_is_of_no_interest(
    jobs: list[tuple[ScriptJob, bytes, bool]], caplog: pytest.LogCaptureFixture, who: str
) -> None:
    """A node that stops while it reads its mempool: workers give back what they had, and nobody does it any more."""

    async def stop() -> None:
        pool = WorkerPool(1, PARAMS) if who != "the thread" else None
        verifier = TxVerifier(pool)
        for job, txid, _ in jobs * 40:
            verifier.submit(job, txid, lambda failure, seconds: None)
        await asyncio.sleep(0)
        verifier.close()
        if pool is not None:
            await asyncio.to_thread(pool.close)
        await asyncio.sleep(0.2)

    asyncio.run(stop())
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


def test_failures_survive_the_way_to_the_node() -> None:
    failures = [
        (0, ScriptFailure(7, ScriptError.SIG_DER), 12),
        (3, ScriptFailure(0, ScriptError.EVAL_FALSE), 2**32 - 1),
    ]
    body = pack_failures(failures)
    assert unpack_failures(body) == failures
    for wrong in (b"", body[:-1], body[:5], body + b"\0", body + body, body.replace(b"EVAL", b"EVIL")):
        with pytest.raises(DecodeError):
            unpack_failures(wrong)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    pool = WorkerPool(2, PARAMS)
    try:
        check(asyncio.run(run(pool, jobs))[0], jobs)
        victim = pool.pids[0]
        verdicts, _ = asyncio.run(run(pool, jobs * 1, lambda: os.kill(victim, signal.SIGKILL)))
    finally:
        pool.close()
    check(verdicts, jobs)


def test_a_closed_pool_leaves_the_work_to_the_node(jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    pool = WorkerPool(1, PARAMS)
    pool.close()
    verdicts, here = asyncio.run(run(pool, jobs))
    check(verdicts, jobs)
    assert here >= len(jobs)


def test_repeats_meet_the_same_worker() -> None:
    pool = WorkerPool(4, PARAMS)
    try:
        shards: list[int] = []
        pool.submit_transactions = lambda task: (shards.append(task.shard), task.answer(BatchResult(1, None, 0.0)))  # type: ignore[method-assign,assignment,func-returns-value]

        async def twice() -> None:
            verifier = TxVerifier(pool)
            job = ScriptJob(b"", [b""], 0)
            for _ in range(2):
                for n in range(8):
                    await verifier.verify(job, bytes([n]) + bytes(31))
            verifier.close()

        asyncio.run(twice())
    finally:
        pool.close()
    assert shards[:8] == shards[8:] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_a_batch_ends_at_its_first_failure(jobs: list[tuple[ScriptJob, bytes, bool]]) -> None:
    valid, failure, seconds, _ = verify_batch([job for job, _, _ in jobs])
    assert valid == 2 and failure is not None and seconds > 0
    assert TxTask([job for job, _, _ in jobs], 0).inputs == 60
