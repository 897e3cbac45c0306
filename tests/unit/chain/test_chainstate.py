from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockDisconnected, BlockRejected, Flushed
from btcnode.chain.steps import ConnectStep, EndFlushStep, FlushStep
from btcnode.chain.store import ChainStore
from btcnode.chain.verify_db import verify_recent
from btcnode.consensus.deployments import script_flags
from btcnode.errors import CorruptionError, DatadirLockedError, DecodeError, DiskFullError, Fault, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.tx import Tx
from btcnode.script.flags import VERIFY_WITNESS
from btcnode.script.verify import ScriptJob, verify_jobs
from btcnode.testing.blocks import BlockTemplate
from tests.lib.chain_generator import ChainGenerator

PARAMS = params_for("regtest")
NOW = 2_000_000_000


def note(done: list[tuple[int, int]], number: int, total: int) -> None:
    done.append((number, total))


def open_state(path: Path, **options: Any) -> Chainstate:
    return Chainstate.open(PARAMS, ChainStore.open(path, PARAMS), **options)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Chainstate]:
    chainstate = open_state(tmp_path)
    yield chainstate
    chainstate.store.close()


def child(prev: bytes, height: int, *, extra: bytes = b"\x00", **more: object) -> bytes:
    time = int.from_bytes(PARAMS.genesis_block[68:72], "little") + 600 * height
    return BlockTemplate(PARAMS, prev, height, time, PARAMS.pow_limit_bits, extra=extra, **more).build()  # type: ignore[arg-type]


def chain(length: int, prev: bytes = PARAMS.genesis_hash, first: int = 1, extra: bytes = b"\x00") -> list[bytes]:
    blocks = []
    for height in range(first, first + length):
        blocks.append(child(prev, height, extra=extra))
        prev = header_hash(blocks[-1][:HEADER_SIZE])
    return blocks


def name(raw: bytes) -> bytes:
    return header_hash(raw[:HEADER_SIZE])


def test_a_new_directory_begins_at_genesis(state: Chainstate) -> None:
    assert state.active.height == 0
    assert state.read_block(0) == PARAMS.genesis_block
    assert state.store.tip_hash() == PARAMS.genesis_hash
    assert state.store.coins.count() == 0  # its coinbase can never be spent


def test_blocks_connect_and_survive_a_restart(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    blocks = [*generator.spread(300), generator.busy(50), generator.busy(50)]
    state = open_state(tmp_path)
    for raw in blocks:
        events = state.process_block(raw, NOW)
        assert any(isinstance(event, BlockConnected) for event in events)
    state.close()
    stats = None
    for _ in range(2):
        state = open_state(tmp_path)
        assert state.active.height == len(blocks)
        assert state.tree.hash(state.tip) == name(blocks[-1])
        assert [state.read_block(state.active.at(h + 1)) for h in range(len(blocks))] == blocks
        now = state.store.coins.utxo_stats()
        assert stats is None or now == stats
        stats = now
        state.close()


def test_what_was_not_flushed_is_done_again(tmp_path: Path) -> None:
    blocks = chain(20)
    state = open_state(tmp_path)
    for raw in blocks[:10]:
        state.process_block(raw, NOW)
    state.flush()
    for raw in blocks[10:]:
        state.process_block(raw, NOW)
    state.store.close()  # as a kill: no flush
    state = open_state(tmp_path)
    assert state.active.height == 10
    for raw in blocks:
        state.process_block(raw, NOW)
    assert state.active.height == 20
    state.close()


def test_reorganisation_gives_the_same_coins_as_the_straight_way(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    common = list(generator.spread(200))
    busy = [generator.busy(20) for _ in range(3)]
    fork = chain(5, name(common[-1]), len(common) + 1, extra=b"\x51")
    crooked, straight = open_state(tmp_path / "a"), open_state(tmp_path / "b")
    for raw in [*common, *busy]:
        crooked.process_block(raw, NOW)
    events = [event for raw in fork for event in crooked.process_block(raw, NOW)]
    assert sum(isinstance(event, BlockDisconnected) for event in events) == 3
    for raw in [*common, *fork]:
        straight.process_block(raw, NOW)
    for state in (crooked, straight):
        assert state.tree.hash(state.tip) == name(fork[-1])
        state.flush()
    assert crooked.store.coins.utxo_stats().hash == straight.store.coins.utxo_stats().hash
    # and back, by a longer continuation of the first chain
    more = chain(4, name(busy[-1]), len(common) + 4)
    for raw in more:
        crooked.process_block(raw, NOW)
    again = open_state(tmp_path / "c")
    for raw in [*common, *busy, *more]:
        again.process_block(raw, NOW)
    for state in (crooked, again):
        state.flush()
        assert state.tree.hash(state.tip) == name(more[-1])
    assert crooked.store.coins.utxo_stats().hash == again.store.coins.utxo_stats().hash
    for state in (crooked, straight, again):
        state.close()


def test_blocks_in_any_order(state: Chainstate) -> None:
    blocks = chain(6)
    for raw in blocks:
        state.tree.add(raw[:HEADER_SIZE], NOW)
    for raw in (blocks[3], blocks[5], blocks[1], blocks[4], blocks[2]):
        state.process_block(raw, NOW)
        assert state.active.height == 0
    state.process_block(blocks[0], NOW)
    assert state.active.height == 6


def test_equal_work_does_not_displace_the_first(state: Chainstate) -> None:
    first, second = chain(3), chain(3, extra=b"\x52")
    for raw in [*first, *second]:
        state.process_block(raw, NOW)
    assert state.tree.hash(state.tip) == name(first[-1])
    state.prefer(state.tree.find(name(second[-1])))
    state.activate_best_chain()
    assert state.tree.hash(state.tip) == name(second[-1])


def test_after_a_restart_the_active_chain_comes_first(tmp_path: Path) -> None:
    """Also for a block of it that was not the tip: who received it first is not known any more."""
    first, second = chain(3), chain(3, extra=b"\x52")
    state = open_state(tmp_path)
    for raw in [*first[:2], *second, first[2]]:
        state.process_block(raw, NOW)
    state.close()
    again = open_state(tmp_path)
    assert again.tree.hash(again.tip) == name(second[-1])
    again.invalidate(again.tip)
    again.activate_best_chain()
    assert again.tree.hash(again.tip) == name(first[-1])
    again.invalidate(again.tip)
    again.activate_best_chain()
    assert again.tree.hash(again.tip) == name(second[-2])  # received after the other of its height
    again.close()


def test_invalid_block_is_remembered_and_its_children_refused(state: Chainstate) -> None:
    blocks = chain(3)
    for raw in blocks:
        state.process_block(raw, NOW)
    bad = child(name(blocks[-1]), 4, coinbase_value=51 * 10**8)
    with pytest.raises(RuleViolation) as caught:
        state.process_block(bad, NOW)
    assert caught.value.code == "bad-cb-amount"
    assert state.active.height == 3
    with pytest.raises(RuleViolation) as caught:
        state.process_block(bad, NOW)
    assert caught.value.code == "duplicate-invalid"
    with pytest.raises(RuleViolation) as caught:
        state.process_block(child(name(bad), 5), NOW)
    assert caught.value.code == "bad-prevblk"


def test_a_bad_block_in_a_longer_fork_leads_back(state: Chainstate) -> None:
    good, base = chain(3), chain(1, extra=b"\x53")
    for raw in good:
        state.process_block(raw, NOW)
    bad = child(name(base[0]), 2, coinbase_value=51 * 10**8)
    rest = chain(4, name(bad), 3)
    for raw in [*base, bad, *rest]:
        state.tree.add(raw[:HEADER_SIZE], NOW)
    events = [event for raw in [*rest, bad, *base] for event in state.process_block(raw, NOW)]
    rejected = [event for event in events if isinstance(event, BlockRejected)]
    assert [event.violation.code for event in rejected] == ["bad-cb-amount"]
    assert rejected[0].connecting
    assert state.tree.hash(state.tip) == name(good[-1])
    assert state.active.height == 3


def test_mutated_block_does_not_condemn_the_hash(state: Chainstate) -> None:
    generator = ChainGenerator(PARAMS)
    for raw in generator.spread(60):
        state.process_block(raw, NOW)
    honest = generator.busy(3)
    block = parse_block(honest)
    swapped = honest[:HEADER_SIZE] + b"\x04" + b"".join(block.tx_raw(i) for i in (0, 2, 1, 3))
    state.tree.add(honest[:HEADER_SIZE], NOW)
    with pytest.raises(RuleViolation) as caught:
        state.process_block(swapped, NOW)
    assert (caught.value.code, caught.value.fault) == ("bad-txnmrklroot", Fault.MUTATED)
    with pytest.raises(RuleViolation) as caught:
        state.process_block(honest[:-10], NOW)
    assert caught.value.fault is Fault.MUTATED
    state.process_block(honest, NOW)
    assert state.tree.hash(state.tip) == name(honest)


def test_undecodable_block_brings_no_header_in(state: Chainstate) -> None:
    raw = chain(1)[0]
    with pytest.raises(DecodeError):
        state.process_block(raw[:-1], NOW)
    assert len(state.tree) == 1


def test_bytes_behind_a_block_are_cut_off(state: Chainstate) -> None:
    raw = chain(1)[0]
    state.process_block(raw + b"rest", NOW)
    assert state.active.height == 1
    assert state.read_block(state.tip) == raw


def test_unrequested_blocks_need_work_and_nearness(state: Chainstate) -> None:
    blocks = chain(300)
    for raw in blocks:
        state.tree.add(raw[:HEADER_SIZE], NOW)
    assert state.plan_store(blocks[299], NOW, requested=False) is None
    assert state.plan_store(blocks[299], NOW, requested=True) is not None
    assert state.plan_store(blocks[287], NOW, requested=False) is not None
    for raw in blocks[:5]:
        state.process_block(raw, NOW, requested=False)
    side = chain(2, extra=b"\x54")
    assert state.process_block(side[0], NOW, requested=False) == []
    assert not state.tree.has_data(state.tree.find(name(side[0])))


def test_invalidate_and_reconsider(state: Chainstate) -> None:
    blocks = chain(8)
    for raw in blocks:
        state.process_block(raw, NOW)
    state.invalidate(state.active.at(5))
    state.activate_best_chain()
    assert state.active.height == 4
    state.reconsider(state.tree.find(name(blocks[4])))
    state.activate_best_chain()
    assert state.active.height == 8
    with pytest.raises(ValueError, match="genesis"):
        state.invalidate(0)


def test_the_best_header_is_the_active_chains_among_equals(state: Chainstate) -> None:
    """Headers that nobody has blocks for came first; what is left of the tip's chain wins when it has their work."""
    ahead, blocks = chain(4, extra=b"\x53"), chain(6)
    for raw in ahead:
        state.tree.add(raw[:HEADER_SIZE], NOW)
    for raw in blocks:
        state.process_block(raw, NOW)
    index = [state.tree.find(name(raw)) for raw in blocks]
    state.invalidate(index[4])
    assert state.tree.best_header == index[3]
    state.invalidate(index[3])
    assert state.tree.best_header == state.tree.find(name(ahead[3]))  # it has more work than the tip
    state.reconsider(index[4])
    assert state.tree.best_header == index[5]


def test_steps_come_one_at_a_time(state: Chainstate) -> None:
    blocks = chain(2)
    for raw in blocks:
        step = state.plan_store(raw, NOW, requested=True)
        assert step is not None
        state.run(step)
    connect = state.plan_step()
    assert isinstance(connect, ConnectStep)
    assert state.plan_step() is None
    assert state.plan_flush() is None
    state.run(connect)
    assert state.active.height == 1
    state.activate_best_chain()
    assert state.active.height == 2


def test_small_cache_flushes_by_itself(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    state = open_state(tmp_path, dbcache=200_000)
    flushes = 0
    for raw in [*generator.spread(2000), *(generator.busy(100) for _ in range(5))]:
        events = state.process_block(raw, NOW)
        flushes += sum(type(event).__name__ == "Flushed" for event in events)
    assert flushes >= 2
    state.close()


def test_a_failed_flush_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(tmp_path)
    for raw in chain(5):
        state.process_block(raw, NOW)

    def full(*_: object) -> None:
        raise DiskFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(state.store, "commit", full)
        with pytest.raises(DiskFullError):
            state.flush()
    state.flush()
    state.store.close()
    state = open_state(tmp_path)
    assert state.active.height == 5
    state.close()


def test_a_flush_is_due_after_a_while(tmp_path: Path) -> None:
    clock = [0.0]
    state = Chainstate.open(PARAMS, ChainStore.open(tmp_path, PARAMS), clock=lambda: clock[0])
    blocks = chain(3)
    state.process_block(blocks[0], NOW)
    assert state.plan_step() is None
    clock[0] = 3600.0
    step = state.plan_step()
    assert isinstance(step, FlushStep)
    state.run(step)
    assert state.plan_flush() is None
    state.process_block(blocks[1], NOW)  # blocks go on while it is written
    end = state.plan_end_flush()
    if end is not None:
        assert isinstance(end, EndFlushStep)
        assert state.run(end) == [Flushed(len(blocks[:1]), 0)]
    assert state.store.tip_hash() == name(blocks[0])
    state.close()


def test_a_node_that_simulates_crashes_writes_only_in_steps_of_blocks(tmp_path: Path) -> None:
    clock = [0.0]
    store = ChainStore.open(tmp_path, PARAMS, crash_ratio=1 << 40)
    state = Chainstate.open(PARAMS, store, clock=lambda: clock[0])
    state.process_block(chain(1)[0], NOW)
    clock[0] = 3600.0
    assert state.plan_step() is None  # one who waits for the next block's answer learns of no other crash
    state.close()


def test_a_flush_beside_that_fails_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(tmp_path)
    blocks = chain(4)
    state.process_block(blocks[0], NOW)
    state.flush()
    state.process_block(blocks[1], NOW)
    full = DiskFullError("no room left")

    def refuse(*_: object, **__: object) -> None:
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(state.store.database, "commit", refuse)
        step = state._pending = state._flush_step(beside=True)
        state.run(step)
        end = state.plan_end_flush()
        assert end is not None
        with pytest.raises(DiskFullError):
            state.run(end)
    assert state.store.tip_hash() == name(blocks[0])
    state.process_block(blocks[2], NOW)
    state.close()
    again = open_state(tmp_path)
    assert again.tree.hash(again.tip) == name(blocks[2])
    verify_recent(again, 0, 4, lambda *_: None)
    again.close()


def test_verify_recent_finds_damage(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    state = open_state(tmp_path)
    blocks = [*generator.spread(60), generator.busy(10)]
    for raw in blocks:
        state.process_block(raw, NOW)
    for level in range(5):
        done: list[tuple[int, int]] = []
        verify_recent(state, 0, level, partial(note, done))
        assert done[-1] == (len(blocks), len(blocks))
    position = state.block_position(state.tip)
    assert position is not None
    state.close()
    path = tmp_path / "blocks/blk00000.dat"
    data = bytearray(path.read_bytes())
    data[position.pos + 200] ^= 1
    path.write_bytes(data)
    state = open_state(tmp_path)
    with pytest.raises(CorruptionError, match="--reindex"):
        verify_recent(state, 6, 3, lambda *_: None)
    state.store.close()


def test_lost_coin_is_noticed(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    for raw in chain(3):
        state.process_block(raw, NOW)
    coin = parse_block(state.read_block(state.tip)).txids[0] + bytes(4)
    state.close()
    store = ChainStore.open(tmp_path, PARAMS)
    store.database.commit(coins_delete=[coin])
    state = Chainstate.open(PARAMS, store)
    with pytest.raises(CorruptionError, match="does not fit"):
        verify_recent(state, 6, 3, lambda *_: None)
    store.close()


def test_directory_of_another_network_or_in_use_is_refused(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    with pytest.raises(DatadirLockedError):
        ChainStore.open(tmp_path, PARAMS)
    state.close()
    with pytest.raises(CorruptionError, match="another network"):
        ChainStore.open(tmp_path, params_for("testnet4"))


def test_forgetting_the_coins_rebuilds_them(tmp_path: Path) -> None:
    generator = ChainGenerator(PARAMS)
    state = open_state(tmp_path)
    for raw in [*generator.spread(100), generator.busy(10)]:
        state.process_block(raw, NOW)
    height = state.active.height
    state.flush()
    before = state.store.coins.utxo_stats()
    state.store.forget_coins(PARAMS.genesis_hash)
    state.store.close()
    state = open_state(tmp_path)
    assert state.active.height == 0
    state.activate_best_chain()
    assert state.active.height == height
    state.flush()
    assert state.store.coins.utxo_stats().hash == before.hash
    state.close()


def test_many_headers_are_stored_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.chain.chainstate.HEADERS_PER_FLUSH", 40)
    state = open_state(tmp_path)
    blocks = chain(130)
    for raw in blocks:
        state.tree.add(raw[:HEADER_SIZE], NOW)
    for raw in blocks[:10]:
        state.process_block(raw, NOW)
    state.store.close()  # as a kill: the headers were stored on the way, the coins were not
    state = open_state(tmp_path)
    assert len(state.tree) >= 121
    assert state.active.height == 0
    for raw in blocks:
        state.process_block(raw, NOW)
    state.close()
    state = open_state(tmp_path)
    assert (len(state.tree), state.active.height) == (131, 130)
    verify_recent(state, 0, 4, lambda *_: None)
    state.close()


@pytest.mark.parametrize("missing", [0, 1, 7, 30])
def test_known_transactions_are_not_verified_again(
    state: Chainstate, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    """A block of transactions that were verified before connects without touching their scripts."""
    generator = ChainGenerator(PARAMS)
    for raw in generator.spread(300):
        state.process_block(raw, NOW)
    raw = generator.busy(30)
    block = parse_block(raw)
    flags = script_flags(generator.height, block.hash, PARAMS)
    unknown = set(range(1, block.n_tx)) if missing == 30 else set(range(3, 3 + missing))
    for i in range(1, block.n_tx):
        if i not in unknown:
            state.script_cache.add(block.wtxids[i], flags)
        state.script_cache.add(block.wtxids[i], flags & ~VERIFY_WITNESS)  # other flags are another matter
    verified: list[bytes] = []

    def count(jobs: list[ScriptJob]) -> object:
        verified.extend(job.raw_tx for job in jobs)
        return verify_jobs(jobs)

    monkeypatch.setattr("btcnode.chain.script_checks.verify_jobs", count)
    state.process_block(raw, NOW)
    assert state.tree.hash(state.tip) == block.hash
    assert verified == [block.tx_raw(i) for i in sorted(unknown)]


def test_a_bad_script_among_known_transactions_is_found(state: Chainstate) -> None:
    generator = ChainGenerator(PARAMS, mix={"p2wpkh": 1})
    for raw in generator.spread(300):
        state.process_block(raw, NOW)
    parent, height, time = generator.tip_hash, generator.height + 1, generator.time + 600
    block = parse_block(generator.busy(30))
    txs = [block.tx(i) for i in range(1, block.n_tx)]
    flags = script_flags(height, parent, PARAMS)
    spoilt = txs[17]
    witness = [list(stack) for stack in spoilt.witnesses]
    witness[-1][0] = witness[-1][0][:20] + bytes([witness[-1][0][20] ^ 1]) + witness[-1][0][21:]
    txs[17] = Tx(spoilt.version, spoilt.prevouts, spoilt.script_sigs, spoilt.sequences, spoilt.txouts, witness)
    for tx in (*txs[:17], *txs[18:], spoilt):
        state.script_cache.add(tx.wtxid, flags)
    bad = BlockTemplate(PARAMS, parent, height, time, PARAMS.pow_limit_bits, txs=txs).build()
    with pytest.raises(RuleViolation, match="block-script-verify-flag-failed"):
        state.process_block(bad, NOW)
