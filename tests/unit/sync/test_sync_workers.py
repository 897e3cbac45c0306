"""Worker processes: the same verdicts as without them, whatever happens to them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pytest

from btcnode import compiled
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockRejected, ChainEvent
from btcnode.chain.script_checks import BlockScripts, Verdict
from btcnode.chain.steps import ConnectStep, FinishStep, RetreatStep
from btcnode.chain.store import ChainStore
from btcnode.consensus.blocks import check_block
from btcnode.consensus.commitment import commitment_index, witness_merkle_root
from btcnode.consensus.connect import connect_block, connect_context
from btcnode.consensus.subsidy import block_subsidy
from btcnode.errors import DecodeError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import make_txout
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.script.errors import ScriptError
from btcnode.script.flags import STANDARD_VERIFY_FLAGS
from btcnode.script.verify import ScriptFailure, ScriptJob, verify_jobs
from btcnode.settings.groups.storage import MAX_PROCESSES
from btcnode.sync import checker, worker_pool
from btcnode.sync.checker import PooledChecker
from btcnode.sync.chunks import Chunk, PooledCheck, inputs_together
from btcnode.sync.driver import ChainDriver
from btcnode.sync.work_estimate import longest_verification
from btcnode.sync.worker_codec import (
    ANSWER,
    CONFIG,
    INVALID,
    READY,
    VALID,
    Answer,
    AnswerReader,
    decode_columns,
    encode_columns,
    pack_answer,
    pack_request,
)
from btcnode.sync.worker_pool import SENT_CHUNKS, WorkerPool, worker_count
from btcnode.sync.worker_process import WorkerProcess
from btcnode.sync.worker_tasks import DecodeTask, TxTask
from btcnode.testing.blocks import BlockTemplate
from tests.lib.chain_generator import BLOCK_SPACING, ChainGenerator
from tests.lib.kernels import compiled_kernels, with_kernels
from tests.lib.mempool_lab import MempoolLab, pay

PARAMS = params_for("regtest")
NOW = 2_000_000_000
BUSY = 4
BUSY_TXS = 260  # about 480 inputs: four chunks


@lru_cache(1)
def chain() -> tuple[bytes, ...]:
    generator = ChainGenerator(PARAMS)
    return (*generator.spread(3500), *(generator.busy(BUSY_TXS) for _ in range(BUSY)), generator.block())


def name(raw: bytes) -> BlockHash:
    return header_hash(raw[:HEADER_SIZE])


def spoil(tx: Tx) -> Tx:
    """The same transaction with one bit of its first signature turned."""
    witnesses, scripts = [list(stack) for stack in tx.witnesses], list(tx.script_sigs)
    for stack in witnesses:
        for at, item in enumerate(stack):
            if len(item) in (64, 65, 70, 71, 72):
                stack[at] = item[:20] + bytes([item[20] ^ 1]) + item[21:]
                return Tx(tx.version, tx.prevouts, scripts, tx.sequences, tx.txouts, witnesses, tx.lock_time)
    script = scripts[0]
    scripts[0] = script[:20] + bytes([script[20] ^ 1]) + script[21:]
    return Tx(tx.version, tx.prevouts, scripts, tx.sequences, tx.txouts, witnesses, tx.lock_time)


def rebuilt(raw: bytes, height: int, bad: tuple[int, ...] = (), prev: bytes | None = None) -> bytes:
    """A block with the same transactions, those in ``bad`` (1 is the first after the coinbase) spoilt."""
    block = parse_block(raw)
    txs = [spoil(block.tx(i)) if i in bad else block.tx(i) for i in range(1, block.n_tx)]
    coinbase = block.tx(0)
    fees = coinbase.outputs[0].value - block_subsidy(height, PARAMS)
    return BlockTemplate(
        PARAMS,
        block.prev_hash if prev is None else prev,
        height,
        int.from_bytes(raw[68:72], "little") + BLOCK_SPACING // 2,
        PARAMS.pow_limit_bits,
        txs=txs,
        fees=fees,
        script_pubkey=coinbase.outputs[0].script_pubkey,
        commit=True,
    ).build()


def _pool() -> Iterator[WorkerPool]:
    made = WorkerPool(2, PARAMS)
    made.start()
    wait_for(lambda: sum(worker.ready for worker in made._workers) == 2)
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    yield from _pool()


@pytest.fixture(params=["plain", "kernels"])
def any_pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    """A pool whose workers, and the node's thread, have kernels or none."""
    found = compiled_kernels() if request.param == "kernels" else None
    if found is None and request.param == "kernels":
        pytest.skip("numba is not installed")
    monkeypatch.setattr(compiled, "_allowed", found is not None)
    with with_kernels(found):
        yield from _pool()


def wait_for(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def open_state(path: Path, pool: WorkerPool | None) -> Chainstate:
    return Chainstate.open(PARAMS, ChainStore.open(path, PARAMS), checker=None if pool is None else PooledChecker(pool))


def store_all(state: Chainstate, blocks: tuple[bytes, ...] | list[bytes]) -> None:
    for raw in blocks:
        step = state.plan_store(raw, NOW, requested=True)
        assert step is not None
        state.run(step)


Told = list[tuple[object, ...]]


def told(events: list[ChainEvent]) -> Told:
    """Events as plain values that can be compared."""
    return [
        (event.index, event.violation.code, str(event.violation), event.violation.fault, event.connecting)
        if isinstance(event, BlockRejected)
        else (event,)
        for event in events
    ]


def sync(path: Path, blocks: list[bytes], pool: WorkerPool | None) -> tuple[Told, str, int]:
    """All blocks stored, then connected: the events, the hash of the coins, the height."""
    state = open_state(path, pool)
    store_all(state, blocks)
    events = state.activate_best_chain()
    state.flush()
    digest = state.store.coins.utxo_stats().hash
    assert digest is not None
    result = (told(events), digest.hex(), state.active.height)
    state.close()
    return result


def scripts_of(path: Path, number: int) -> BlockScripts:
    """The scripts of the busy block ``number``."""
    at = len(chain()) - 1 - BUSY + number
    state = open_state(path, None)
    store_all(state, chain()[:at])
    state.activate_best_chain()
    block = parse_block(chain()[at])
    context = connect_context(state.tree, state.tip, block.hash, PARAMS, with_jobs=False)
    delta = connect_block(block, at + 1, state.coins, context)
    state.store.close()
    return BlockScripts(block, delta.undo, context.flags)


# -- the same as without ---------------------------------------------------------------------------------------------


def test_a_valid_chain_gives_the_same_events_and_coins(tmp_path: Path, any_pool: WorkerPool) -> None:
    with with_kernels(None):
        alone = sync(tmp_path / "alone", list(chain()), None)
    shared = sync(tmp_path / "shared", list(chain()), any_pool)
    assert alone == shared
    assert alone[2] == len(chain())
    assert sum(worker.answers for worker in any_pool._workers) > 0
    assert any_pool.replaced == 0


@pytest.mark.parametrize(
    "bad", [(1,), (2,), (BUSY_TXS // 2,), (BUSY_TXS,), (7, 200), (200, 201), (1, BUSY_TXS)], ids=str
)
def test_invalid_scripts_give_the_first_failure(tmp_path: Path, any_pool: WorkerPool, bad: tuple[int, ...]) -> None:
    at = len(chain()) - 1 - BUSY
    broken = rebuilt(chain()[at], at + 1, bad)
    blocks = [*chain()[:at], broken]
    with with_kernels(None):
        alone = sync(tmp_path / "alone", blocks, None)
    shared = sync(tmp_path / "shared", blocks, any_pool)
    assert alone == shared
    ((_, code, text, _, connecting),) = [event for event in shared[0] if len(event) > 1]
    txid = parse_block(broken).tx(bad[0]).txid[::-1].hex()
    assert str(code).startswith("block-script-verify-flag-failed")
    assert txid in str(text)
    assert connecting
    assert shared[2] == at


def test_blocks_on_top_of_an_invalid_one_are_undone(tmp_path: Path, pool: WorkerPool) -> None:
    at = len(chain()) - 1 - BUSY
    broken = rebuilt(chain()[at], at + 1, (BUSY_TXS,))
    second = rebuilt(chain()[at + 1], at + 2, (), prev=name(broken))
    third = rebuilt(chain()[at + 2], at + 3, (), prev=name(second))
    good = rebuilt(chain()[at], at + 1, ())
    results = []
    for path, workers in (("alone", None), ("shared", pool)):
        state = open_state(tmp_path / path, workers)
        store_all(state, [*chain()[:at], broken, second, third, good])
        kinds, most_ahead = [], 0
        events = []
        while (step := state.plan_step()) is not None:
            kinds.append(type(step))
            events += state.run(step)
            most_ahead = max(most_ahead, len(state._ahead))
        assert state.tree.hash(state.tip) == name(good)
        assert state.executor.tip == state.tip
        assert (most_ahead > 1) == (workers is not None)
        assert (FinishStep in kinds) == (workers is not None)
        state.flush()
        results.append((told(events), state.store.coins.utxo_stats()))
        state.close()
    assert results[0] == results[1]


def test_a_rule_broken_on_top_of_unverified_blocks_is_judged_later(tmp_path: Path, pool: WorkerPool) -> None:
    """The block on top repeats transactions; the blocks below are valid, and the reason must be its own."""
    at = len(chain()) - 1 - BUSY
    double = rebuilt(chain()[at], at + 3, (), prev=name(chain()[at + 1]))
    blocks = [*chain()[: at + 2], double]
    alone, shared = sync(tmp_path / "alone", blocks, None), sync(tmp_path / "shared", blocks, pool)
    assert alone == shared
    assert shared[2] == at + 2
    assert [event[1] for event in shared[0] if len(event) > 1] == ["bad-txns-BIP30"]


def test_nothing_ahead_is_seen_before_its_scripts_are_verified(tmp_path: Path, pool: WorkerPool) -> None:
    at = len(chain()) - 1 - BUSY
    state = open_state(tmp_path, pool)
    store_all(state, chain()[:at])
    state.activate_best_chain()
    store_all(state, chain()[at:])
    step = state.plan_step()
    assert isinstance(step, ConnectStep)
    assert state.run(step) == []
    assert state.active.height == at
    assert state.executor.tip != state.tip
    assert state.plan_flush() is None
    finish = state.plan_drain()
    assert isinstance(finish, FinishStep)
    (event,) = state.run(finish)
    assert isinstance(event, BlockConnected)
    assert state.active.height == at + 1
    assert state.plan_drain() is None
    # and given up instead
    before = {outpoint: state.coins.get(outpoint) for outpoint in parse_block(chain()[at + 1]).prevouts()}
    step = state.plan_step()
    assert isinstance(step, ConnectStep)
    state.run(step)
    assert {outpoint: state.coins.get(outpoint) for outpoint in before} != before
    retreat = state.plan_retreat()
    assert isinstance(retreat, RetreatStep)
    assert state.run(retreat) == []
    assert {outpoint: state.coins.get(outpoint) for outpoint in before} == before
    assert state.executor.tip == state.tip
    state.activate_best_chain()
    assert state.active.height == len(chain())
    state.close()


def test_invalidating_a_block_that_is_ahead_gives_it_up(tmp_path: Path, pool: WorkerPool) -> None:
    at = len(chain()) - 1 - BUSY
    state = open_state(tmp_path, pool)
    store_all(state, chain())
    while not state._ahead:
        step = state.plan_step()
        assert step is not None
        state.run(step)
    state.invalidate(state._ahead[0].index)
    step = state.plan_step()
    assert isinstance(step, RetreatStep)
    state.run(step)
    assert state.activate_best_chain() == []
    assert state.executor.tip == state.tip
    assert state.active.height in (at, at - 1)
    state.close()


# -- workers that fail -----------------------------------------------------------------------------------------------


def test_killed_workers_are_replaced_and_their_work_is_redone(tmp_path: Path, pool: WorkerPool) -> None:
    stop = threading.Event()
    rng = random.Random(5)
    victims: list[int] = []

    def assassin() -> None:
        while not stop.wait(0.05):
            pids = pool.pids
            if pids:
                victims.append(rng.choice(pids))
                with contextlib.suppress(ProcessLookupError):  # it was gone already
                    os.kill(victims[-1], signal.SIGKILL)

    killer = threading.Thread(target=assassin)
    killer.start()
    try:
        killed = sync(tmp_path / "killed", list(chain()), pool)
    finally:
        stop.set()
        killer.join()
    assert victims
    assert killed == sync(tmp_path / "alone", list(chain()), None)


def test_pieces_are_small_where_nothing_else_waits() -> None:
    """The last piece of one process is what the others wait for."""
    assert [inputs_together(inputs, alone=True) for inputs in (1, 64, 500, 2048, 20_000)] == [16, 16, 31, 128, 128]
    assert inputs_together(64, alone=False) == 128


def test_a_block_alone_is_cut_finer_than_one_of_many(tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path, 0)
    pool = WorkerPool(1, PARAMS)
    try:
        pool.start()
        wait_for(lambda: pool.running)
        taken: list[int] = []

        class Watched(PooledCheck):
            def answer(self, chunk: Chunk, verdict: Verdict | None) -> None:
                taken.append(chunk.inputs)
                super().answer(chunk, verdict)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checker, "PooledCheck", Watched)
            check = PooledChecker(pool, min_inputs=1).start(scripts)
        assert check is not None and check.finish() is None
        assert len(taken) > 1 + scripts.inputs // 128 and sum(taken) == scripts.inputs
    finally:
        pool.close()


def test_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path, 0)
    pool = WorkerPool(1, PARAMS, answer_timeout=0.5)
    try:
        pool.start()
        assert pool.submit_decode(chain()[-2]).result(30) is not None
        first = pool.pids[0]
        check = PooledCheck(scripts, pool.take_chunk, pool.forget)
        os.kill(first, signal.SIGSTOP)
        pool.submit_check(check)
        assert check.finish() is None
        wait_for(lambda: pool.replaced == 1)
        wait_for(lambda: pool.running)
        assert pool.pids != [first]
    finally:
        pool.close()


def test_a_worker_without_memory_says_so_in_one_line(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    pool = WorkerPool(1, PARAMS)
    try:
        pool.start()
        assert pool.submit_decode(chain()[-2]).result(30) is not None
        resource.prlimit(pool.pids[0], resource.RLIMIT_AS, (1 << 20, 1 << 20))  # less than it has: nothing more
        assert pool.submit_decode(bytes(3_000_000)).result(30) is None
        wait_for(lambda: pool.replaced == 1)
        wait_for(lambda: pool.running)
        assert pool.submit_decode(chain()[-2]).result(30) is not None
    finally:
        pool.close()
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        next(record.message for record in caplog.records if "it has run out of memory" in record.message)
    ]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGILL, signal.SIGKILL])
def test_a_worker_that_its_kernels_may_have_ended_has_a_follower_without(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """They would end it as well, for ever. A kill (of the system, which has no memory left) says nothing of them."""
    remembered: list[str] = []
    compiled.allow(make=False, remember=remembered.append)
    monkeypatch.setattr(compiled, "look_for", lambda: None)
    pool = WorkerPool(1, PARAMS)
    try:
        pool.start()
        wait_for(lambda: bool(pool._workers) and pool._workers[0].ready)
        (first,) = pool._workers
        os.kill(first.pid, number)
        wait_for(lambda: bool(pool._workers) and pool._workers[0] is not first and pool._workers[0].ready)
        kernels = number is signal.SIGKILL
        assert first.kernels and pool._workers[0].kernels is kernels is compiled.is_allowed()
        assert remembered == ([] if kernels else [f"a worker process was ended by {number.name}"])
        assert pool.submit_decode(chain()[-2]).result(30) is not None
    finally:
        pool.close()


def test_a_worker_that_has_closed_its_socket_may_end_by_itself() -> None:
    """On a busy machine its end is seen by the socket before it has a status, which says why."""
    program = [sys.executable, "-c", "import os, time; os.close(0); time.sleep(0.1); os._exit(7)"]
    worker = WorkerProcess.__new__(WorkerProcess)
    worker.sock, other = socket.socketpair()
    worker._process = subprocess.Popen(program, stdin=other.fileno())
    other.close()
    assert worker.sock.recv(1) == b""
    assert worker.end(grace=10) == 7


def test_all_workers_stopped_at_once_are_replaced() -> None:
    lab = MempoolLab(free=4)
    coins = [lab.coin() for _ in range(4)]
    jobs = [
        ScriptJob(pay([coin], 500).raw, [lab.coins.coins[coin.outpoint][4:]], STANDARD_VERIFY_FLAGS) for coin in coins
    ]
    pool = WorkerPool(3, PARAMS, answer_timeout=0.5)
    try:
        pool.start()
        wait_for(lambda: sum(worker.ready for worker in pool._workers) == 3)
        stopped = pool.pids
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        tasks = [TxTask([job], n) for n, job in enumerate(jobs)]
        for task in tasks:
            pool.submit_transactions(task)
        for task in tasks:
            assert task.future.result(30) is None or verdict(task, 30) == (1, None)
        wait_for(lambda: not set(stopped) & set(pool.pids))
        wait_for(lambda: sum(worker.ready for worker in pool._workers) == 3)
    finally:
        pool.close()
    assert not zombies()


def test_a_worker_that_may_have_no_thread_works(tmp_path: Path) -> None:
    program = (
        "import sys, threading\n"
        'def start(thread): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = start\n"
        "from btcnode.sync.worker import main\n"
        "main(int(sys.argv[1]))\n"
    )
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", program, str(os.getpid())]
    with ours, subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE) as worker:
        theirs.close()
        ours.settimeout(30)
        ours.sendall(b"".join(pack_request(0, CONFIG, pickle.dumps(PARAMS))))
        (answer,) = AnswerReader().feed(ours.recv(4096))
        assert answer.status == READY
        ours.close()
        assert worker.stderr is not None and worker.stderr.read() == b""
        assert worker.wait(30) == 0


class Liar(WorkerProcess):
    """Changes each answer about scripts on its way."""

    def __init__(self, lie: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._lie = lie

    def receive(self) -> list[Answer]:
        answers = super().receive()
        reader = AnswerReader()
        told = []
        for answer in answers:
            data = pack_answer(
                answer.id, answer.status, answer.body, jobs=answer.jobs, inputs=answer.inputs,
                failed_job=answer.failed_job, failed_input=answer.failed_input,
            )  # fmt: skip
            told += reader.feed(self._lie(data) if answer.id else data)
        return told


def changed(at: int, value: int) -> Callable[[bytes], bytes]:
    """A lie that puts ``value`` into field ``at`` of the answer."""

    def lie(data: bytes) -> bytes:
        fields = list(ANSWER.unpack_from(data))
        fields[at] = value
        return ANSWER.pack(*fields) + data[ANSWER.size :]

    return lie


@pytest.mark.parametrize(
    "lie",
    [changed(0, 77), changed(1, 9), changed(2, 1), changed(3, 0), changed(6, 1 << 31), changed(7, 5), lambda _: b""],
    ids=["id", "status", "jobs", "inputs", "size", "checksum", "silence"],
)
def test_nonsense_is_never_a_yes(
    tmp_path: Path, lie: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = scripts_of(tmp_path, 0)
    bad = list(scripts.undo)
    bad[-1] = [coin[:4] + b"\1" + coin[5:] for coin in bad[-1]]  # another amount
    monkeypatch.setattr(worker_pool, "WorkerProcess", lambda _: Liar(lie))
    pool = WorkerPool(1, PARAMS, answer_timeout=1.0)
    try:
        pool.start()
        for undo in (scripts.undo, bad):
            work = BlockScripts(scripts.block, undo, scripts.flags)
            check = PooledCheck(work, pool.take_chunk, pool.forget)
            pool.submit_check(check)
            assert check.finish() == work.verify(0, len(work))
    finally:
        pool.close()


def test_a_false_accusation_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scripts = scripts_of(tmp_path, 0)

    def lie(data: bytes) -> bytes:
        number = int.from_bytes(data[:8], "little")
        return pack_answer(number, INVALID, b"EVAL_FALSE", jobs=1, inputs=1, failed_job=0, failed_input=0)

    monkeypatch.setattr(worker_pool, "WorkerProcess", lambda _: Liar(lie))
    pool = WorkerPool(2, PARAMS)
    try:
        pool.start()
        wait_for(lambda: pool.running)
        check = PooledCheck(scripts, pool.take_chunk, pool.forget)
        pool.submit_check(check)
        wait_for(lambda: len(check._unanswered) < len(check._ranges))
        assert check.finish() is None
    finally:
        pool.close()
    assert "that is valid" in caplog.text


def test_a_block_is_let_go_with_its_verdict(tmp_path: Path) -> None:
    """Not by the collector, which comes when more garbage has gathered than a node may take."""
    scripts = scripts_of(tmp_path, 0)
    pool = WorkerPool(1, PARAMS)
    try:
        pool.start()
        wait_for(lambda: pool.running)
        gc.disable()
        check = PooledCheck(scripts, pool.take_chunk, pool.forget)
        alive = weakref.ref(check)
        pool.submit_check(check)
        assert check.finish() is None
        del check
        wait_for(lambda: alive() is None)  # the pool's thread may have the last answer in hand
    finally:
        gc.enable()
        pool.close()


def test_what_ends_two_workers_is_done_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = scripts_of(tmp_path, 1)
    pool = WorkerPool(1, PARAMS)
    check = PooledCheck(scripts, pool.take_chunk, pool.forget)
    chunk = check._pending[1]
    receive = WorkerProcess.receive
    deaths = []

    def deadly(worker: WorkerProcess) -> list[Answer]:
        if worker.sent and worker.sent[0][1] is chunk:
            deaths.append(worker.pid)
            raise EOFError("dead")
        return receive(worker)

    monkeypatch.setattr(WorkerProcess, "receive", deadly)
    try:
        pool.start()
        pool.submit_check(check)
        wait_for(lambda: chunk.local_only and check._unanswered == {chunk.first})  # nobody helps here
        assert len(deaths) == 2
        assert check.finish() is None
        assert not check._unanswered
    finally:
        pool.close()


def test_without_any_worker_everything_is_done_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    pool = WorkerPool(2, PARAMS)
    try:
        pool.start()
        wait_for(lambda: not pool.usable)
        assert sync(tmp_path, list(chain()), pool)[2] == len(chain())
        assert pool.submit_decode(chain()[-2]).result(5) is None
    finally:
        pool.close()


def test_closing_answers_what_waits(tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path, 0)
    pool = WorkerPool(1, PARAMS)
    check = PooledCheck(scripts, pool.take_chunk, pool.forget)
    pool.submit_check(check)
    decoding = [pool.submit_decode(chain()[-2]) for _ in range(5)]
    pool.close()
    assert check.finish() is None
    blocks = [future.result(5) for future in decoding]
    assert all(block is None or block.hash == name(chain()[-2]) for block in blocks)
    assert pool.submit_decode(chain()[-2]).result(5) is None


def test_workers_end_with_a_killed_node(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from btcnode.networks.parameters import params_for\n"
        "from btcnode.sync.worker_pool import WorkerPool\n"
        "pool = WorkerPool(3, params_for('regtest'))\n"
        "pool.start()\n"
        "while sum(worker.ready for worker in pool._workers) < 3: time.sleep(0.01)\n"
        "print(*pool.pids, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        pids = [int(word) for word in node.stdout.readline().split()]
        assert len(pids) == 3
        for pid in pids:  # Ctrl-C and a polite kill are the node's affair
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGUSR1)  # to a whole group, for its stacks
        time.sleep(0.2)
        assert all(map(is_alive, pids))
        os.kill(pids[0], signal.SIGSTOP)  # even one that does nothing any more
        node.kill()
    wait_for(lambda: not any(map(is_alive, pids[1:])))
    os.kill(pids[0], signal.SIGCONT)
    wait_for(lambda: not is_alive(pids[0]))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_internal_error_leaves_the_node_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(worker: WorkerProcess) -> list[Answer]:
        raise ZeroDivisionError

    scripts = scripts_of(tmp_path, 0)
    monkeypatch.setattr(WorkerProcess, "receive", broken)
    pool = WorkerPool(2, PARAMS)
    decoding = pool.submit_decode(chain()[-2])
    check = PooledCheck(scripts, pool.take_chunk, pool.forget)
    pool.submit_check(check)
    pool.start()
    assert check.finish() is None
    assert decoding.result(30) is None
    assert not pool.usable
    pool.close()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def zombies() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = path.read_text().rsplit(")", 1)[1].split()
            if words[0] == "Z" and int(words[1]) == os.getpid():
                found.append(int(path.parent.name))
    return found


def test_workers_that_always_end_are_started_for_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scripts = scripts_of(tmp_path, 0)
    before = descriptors()
    pool = WorkerPool(2, PARAMS)
    try:
        pool.start()
        seen: set[int] = set()
        while len(seen) < 12:  # far more than were ever forgiven
            for pid in pool.pids:
                seen.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        wait_for(lambda: pool.running)
        decoded = pool.submit_decode(chain()[-2]).result(30)
        assert decoded is not None
        check = PooledCheck(scripts, pool.take_chunk, pool.forget)
        pool.submit_check(check)
        assert check.finish() is None
        assert pool.failed_starts + pool.replaced >= 10
    finally:
        pool.close()
    assert descriptors() == before
    assert not zombies()
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert 1 <= len(warnings) <= 4 and "keep failing" in warnings[-1].message


def test_a_system_without_processes_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there_are_none = [True]

    def start(processors: Collection[int]) -> WorkerProcess:
        if there_are_none[0]:
            raise BlockingIOError("Resource temporarily unavailable")
        return WorkerProcess(processors)

    monkeypatch.setattr(worker_pool, "WorkerProcess", start)
    pool = WorkerPool(2, PARAMS)
    try:
        pool.start()
        wait_for(lambda: pool.failed_starts >= 3)
        assert pool.submit_decode(chain()[-2]).result(5) is None
        assert sync(tmp_path, list(chain()), pool)[2] == len(chain())
        there_are_none[0] = False
        wait_for(lambda: pool.running)
        assert pool.submit_decode(chain()[-2]).result(30) is not None
    finally:
        pool.close()


def test_a_system_without_threads_leaves_the_work_to_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = WorkerPool(1, PARAMS)
    decoding = pool.submit_decode(chain()[-2])
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        pool.start()
        pool.start()
    assert decoding.result(1) is None

    def started() -> bool:
        pool.start()
        return pool.running

    wait_for(started)
    assert pool.submit_decode(chain()[-2]).result(30) is not None
    pool.close()


def test_memory_that_is_short_costs_the_workers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(1, PARAMS)
    send, short = WorkerProcess.send, [True]

    def send_or_fail(worker: WorkerProcess, parts: Iterable[bytes]) -> None:
        if worker.ready and short[0]:
            short[0] = False
            raise MemoryError
        send(worker, parts)

    monkeypatch.setattr(WorkerProcess, "send", send_or_fail)
    try:
        pool.start()
        wait_for(lambda: pool.running)
        decoded = pool.submit_decode(chain()[-2]).result(30)
        assert not short[0] and (decoded is None or decoded.hash == name(chain()[-2]))
        wait_for(lambda: pool.running)
        assert pool.submit_decode(chain()[-2]).result(30) is not None
    finally:
        pool.close()


def test_work_that_may_take_long_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = scripts_of(tmp_path, 0)
    monkeypatch.setattr(Chunk, "longest", lambda chunk: 30.0)
    pool = WorkerPool(1, PARAMS, answer_timeout=0.2)
    try:
        pool.start()
        wait_for(lambda: pool.running)
        (pid,) = pool.pids
        check = PooledCheck(scripts, pool.take_chunk, pool.forget)
        os.kill(pid, signal.SIGSTOP)
        pool.submit_check(check)
        wait_for(lambda: any(worker.examined for worker in pool._workers))
        time.sleep(0.5)
        assert pool.pids == [pid] and not pool.replaced
        os.kill(pid, signal.SIGCONT)
        assert check.finish() is None
        assert pool.pids == [pid]
    finally:
        pool.close()


def verdict(task: TxTask, seconds: float) -> tuple[int, ScriptFailure | None]:
    """How many of its jobs are valid, and what failed; the worker must have told what that took."""
    result = task.future.result(seconds)
    assert result is not None and result.seconds > 0
    return result.valid, result.failure


def test_others_take_over_from_a_worker_that_is_stuck() -> None:
    lab = MempoolLab(free=8)
    coins = [lab.coin() for _ in range(8)]
    spent = [[lab.coins.coins[coin.outpoint][4:]] for coin in coins]
    jobs = [ScriptJob(pay([coins[n]], 500).raw, spent[n], STANDARD_VERIFY_FLAGS) for n in range(8)]
    pool = WorkerPool(2, PARAMS)
    try:
        pool.start()
        wait_for(lambda: sum(worker.ready for worker in pool._workers) == 2)
        stuck = next(worker for worker in pool._workers if worker.slot == 0)
        os.kill(stuck.pid, signal.SIGSTOP)
        tasks = [TxTask([job], 0) for job in jobs]
        for task in tasks:
            pool.submit_transactions(task)
        for task in tasks[SENT_CHUNKS:]:
            assert verdict(task, 4) == (1, None)  # before the worker is given up
        urgent = TxTask(jobs, 0, urgent=True)
        pool.submit_transactions(urgent)
        assert verdict(urgent, 4) == (8, None)
        for task in tasks:
            assert verdict(task, 30) == (1, None)
    finally:
        pool.close()


def test_urgent_work_comes_before_blocks_and_strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(1, PARAMS)
    job = ScriptJob(b"", [b""], 0)
    pool.submit_transactions(TxTask([job], 0))
    pool.submit_decode(chain()[-2])
    urgent = [TxTask([job], n, urgent=True) for n in range(2)]
    for task in urgent:
        pool.submit_transactions(task)
    with pool._lock:
        order = [pool._take_task(0) for _ in range(5)]
    assert order[:2] == urgent and isinstance(order[2], DecodeTask)
    assert isinstance(order[3], TxTask) and order[4] is None
    pool.close()


@pytest.mark.parametrize(
    ("script", "least"),
    [(b"\xac" * 200, 200 * 0.00006), (b"\xae" * 200, 4000 * 0.00006), (b"\x51", 0.00006)],
)
def test_the_longest_time_counts_every_signature(script: bytes, least: float) -> None:
    tx = Tx(2, [bytes(36)], [b""], [0], [make_txout(1, b"\x51")], [])
    coin = bytes(4) + make_txout(1, script)
    assert longest_verification(tx.raw * 3, coin * 3) >= 3 * least
    assert longest_verification(tx.raw * 3, coin * 3) < 3 * least + 0.01


def test_the_longest_time_of_legacy_signatures_grows_with_the_square() -> None:
    def seconds(inputs: int) -> float:
        tx = Tx(2, [bytes([n % 256, n // 256]) * 18 for n in range(inputs)], [b""] * inputs, [0] * inputs, [], [])
        return longest_verification(tx.raw, (bytes(4) + make_txout(1, b"\xac" * 201)) * inputs)

    assert seconds(2000) > 3.5 * seconds(1000) - 4 * 1000 * 201 * 0.00006
    assert seconds(2000) > 2000 * 201 * 80_000 * 1e-9


# -- the second engine, and the driver -------------------------------------------------------------------------------


class Recorder:
    """A second engine that only listens."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, BlockHash, int, object]] = []

    def selects(self, height: int) -> bool:
        return height % 2 == 0

    def check_block(self, height: int, block_hash: BlockHash, jobs: Sequence[ScriptJob], verdict: object) -> None:
        assert verify_jobs(jobs) == verdict
        self.calls.append((height, block_hash, len(jobs), verdict))

    def summary(self) -> str:
        return f"{len(self.calls)} blocks"

    def counts(self) -> dict[str, int]:
        return {}


def test_the_second_engine_is_asked_before_a_block_is_accepted(tmp_path: Path, pool: WorkerPool) -> None:
    at = len(chain()) - 1 - BUSY
    bad_at = at + 1 if at % 2 else at + 2  # height of the spoilt block is even
    blocks = [*chain()[: bad_at - 1], rebuilt(chain()[bad_at - 1], bad_at, (9,))]
    told_by = []
    for path, workers in (("alone", None), ("shared", pool)):
        state = open_state(tmp_path / path, workers)
        recorder = Recorder()
        state.executor.shadow = recorder
        store_all(state, blocks)
        state.activate_best_chain()
        state.close()
        told_by.append(recorder.calls)
    assert told_by[0] == told_by[1]
    height, block_hash, jobs, verdict = told_by[0][-1]
    assert (height, block_hash, jobs) == (bad_at, name(blocks[-1]), BUSY_TXS)
    assert verdict is not None


def test_the_driver_stops_at_the_height_it_was_told(tmp_path: Path, pool: WorkerPool) -> None:
    target = len(chain()) - BUSY

    async def run() -> tuple[int, int]:
        stopped = asyncio.Event()
        state = open_state(tmp_path, pool)
        store_all(state, chain())
        driver = ChainDriver(
            state, on_fatal=lambda error: None, stop_at_height=target, on_stop_height=stopped.set, pool=pool
        )
        await driver.settled()
        assert stopped.is_set()
        height, tip = state.active.height, await driver.in_chain_thread(lambda: state.executor.tip)
        await driver.close()
        return height, tip

    height, tip = asyncio.run(run())
    assert height == target
    state = open_state(tmp_path, None)
    assert state.tip == tip
    assert state.active.height == target
    state.store.close()


def test_readers_of_coins_see_the_active_tip(tmp_path: Path, pool: WorkerPool) -> None:
    async def run() -> None:
        state = open_state(tmp_path, pool)
        store_all(state, chain())
        driver = ChainDriver(state, on_fatal=lambda error: None, pool=pool)
        driver.kick()
        while state.active.height < len(chain()):
            tips = await driver.in_chain_thread(lambda: (state.executor.tip, state.tip))
            assert tips[0] == tips[1]
            await asyncio.sleep(0.01)
        await driver.close()

    asyncio.run(run())


# -- decoding --------------------------------------------------------------------------------------------------------


def slots(block: ParsedBlock) -> dict[str, object]:
    return {slot: getattr(block, slot) for slot in ParsedBlock.__slots__}


def test_columns_survive_the_way(pool: WorkerPool) -> None:
    roots: list[bytes] = []
    for raw in (*chain()[-3:], chain()[-2] + b"left over"):
        block = parse_block(raw, exact=False)
        check_block(block, PARAMS)
        assert slots(decode_columns(raw, encode_columns(block))) == slots(block)
        decoded = pool.submit_decode(raw).result(30)
        assert decoded is not None
        if block.n_tx > 1 and commitment_index(block) >= 0:  # then a worker has worked the root out
            roots.append(witness_merkle_root(block))
        assert slots(decoded) == slots(block) == slots(decode_columns(raw, encode_columns(block)))
    assert any(roots)


def test_columns_of_another_block_are_refused() -> None:
    first, second = chain()[-3], chain()[-2]
    block = parse_block(first)
    body = encode_columns(block)
    for raw, data in ((second, body), (first, body[:-1]), (first, b""), (first[:-1], body)):
        with pytest.raises(DecodeError):
            decode_columns(raw, data)


def test_a_block_at_fault_is_left_to_the_node(pool: WorkerPool) -> None:
    raw = chain()[-2]
    assert pool.submit_decode(raw[:-1]).result(30) is None
    assert pool.submit_decode(raw[:36] + bytes(32) + raw[68:]).result(30) is None
    assert pool.replaced == 0


def test_an_answer_may_come_in_pieces() -> None:
    data = pack_answer(1, VALID, jobs=3, inputs=4) + pack_answer(2, INVALID, b"SIG_DER", jobs=1, inputs=1, failed_job=0)
    reader = AnswerReader()
    answers = [answer for at in range(len(data)) for answer in reader.feed(data[at : at + 1])]
    heads = [(answer.id, answer.status, answer.body) for answer in answers]
    assert heads == [(1, VALID, b""), (2, INVALID, b"SIG_DER")]
    assert ScriptError(answers[1].body.decode()) is ScriptError.SIG_DER


def test_ranges_cover_every_job_once(tmp_path: Path) -> None:
    scripts = scripts_of(tmp_path, 0)
    for target in (1, 2, 50, 10_000):
        ranges = scripts.split(target)
        assert [job for first, last in ranges for job in range(first, last)] == list(range(len(scripts)))
        assert sum(scripts.inputs_of(*pair) for pair in ranges) == scripts.inputs
        assert all(scripts.inputs_of(first, last - 1) < target for first, last in ranges)


def test_a_block_at_fault_brings_its_own_reason(tmp_path: Path, pool: WorkerPool) -> None:
    state = open_state(tmp_path, pool)
    store_all(state, chain()[:-2])
    state.activate_best_chain()
    broken = rebuilt(chain()[-2], len(chain()) - 1, (1,))
    with pytest.raises(RuleViolation, match="block-script-verify-flag-failed"):
        state.process_block(broken, NOW)
    state.process_block(chain()[-2], NOW)
    assert state.active.height == len(chain()) - 1
    state.close()


@pytest.mark.parametrize(
    ("par", "cores", "workers"), [(0, 1, 0), (0, 2, 1), (0, 8, 7), (1, 8, 0), (4, 2, 3), (-1, 4, 2), (-9, 4, 0)]
)
def test_par_counts_the_nodes_own_process(par: int, cores: int, workers: int) -> None:
    assert worker_count(par, cores) == workers
    assert worker_count(1000) == MAX_PROCESSES - 1
