"""Damaged coins and blocks: the node says so, and never that a block is invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.chain import second_look
from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected
from btcnode.chain.pending_looks import MAX_PAUSE, MAX_WAITING, PendingLooks
from btcnode.chain.store import ChainStore
from btcnode.chain.stored_block import read_parsed
from btcnode.errors import CorruptionError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import to_display
from btcnode.storage.obfuscation import Obfuscation
from btcnode.testing.blocks import BlockTemplate
from tests.lib.mini_chain import NOW, MiniChain, spend

PARAMS = params_for("regtest")
MATURE = 101


def open_state(path: Path) -> Chainstate:
    return Chainstate.open(PARAMS, ChainStore.open(path, PARAMS))


def world(path: Path) -> tuple[MiniChain, Chainstate]:
    """A chain with one coin that can be spent, on disk."""
    chain, state = MiniChain(), open_state(path)
    for _ in range(MATURE):
        raw = chain.template().build()
        chain.accept(raw)
        state.process_block(raw, NOW)
    state.flush()
    return chain, state


def spender(chain: MiniChain) -> tuple[bytes, bytes]:
    """The outpoint of the oldest coinbase, and a valid block that spends it."""
    outpoint = chain.coinbases[1]
    return outpoint, chain.template(spend(outpoint, value=1000)).build()


@pytest.mark.parametrize("how", ["script", "amount", "missing", "height"])
def test_block_is_not_condemned_for_damage(tmp_path: Path, how: str) -> None:
    chain, state = world(tmp_path)
    outpoint, raw = spender(chain)
    coin = state.coins.get(outpoint)
    assert coin is not None
    wrong = {
        "script": coin[:12] + b"\x02\x00\x87",  # 0 = false
        "amount": coin[:4] + (1).to_bytes(8, "little") + coin[12:],
        "height": (2 * MATURE + 1).to_bytes(4, "little") + coin[4:],
        "missing": coin,
    }[how]
    # what a bit that flips in memory does: no checksum of the database sees it
    state.coins.apply_disconnect({} if how == "missing" else {outpoint: wrong}, [outpoint] if how == "missing" else [])
    with pytest.raises(CorruptionError, match=rf"btcnode\.mdb is damaged .*{to_display(outpoint[:32])}.*reindex-chain"):
        state.process_block(raw, NOW)
    assert not any(state.tree.is_failed(index) for index in range(len(state.tree)))
    state.release()
    again = open_state(tmp_path)
    assert again.process_block(raw, NOW)
    assert again.active.height == MATURE + 1
    again.close()


def test_invalid_block_is_condemned_as_ever(tmp_path: Path) -> None:
    chain, state = world(tmp_path)
    outpoint, _ = spender(chain)
    for tx in (spend(bytes(36), value=1), spend(outpoint, value=1000, script_sigs=[b"\x00"])):
        raw = chain.template(tx, fees=0).build() if tx.prevouts[0] == bytes(36) else None
        if raw is None:
            tip, time = chain.tree.hash(chain.tip), chain.tree.time(chain.tip) + 600
            bad = spend(outpoint, value=60 * 10**8)
            raw = BlockTemplate(PARAMS, tip, chain.tip + 1, time, PARAMS.pow_limit_bits, [bad]).build()
        with pytest.raises(RuleViolation, match="bad-txns-in"):
            state.process_block(raw, NOW)
    assert len([index for index in range(len(state.tree)) if state.tree.is_failed(index)]) == 2
    state.close()


def test_repair_judges_blocks_again(tmp_path: Path) -> None:
    chain, state = world(tmp_path)
    _, raw = spender(chain)
    step = state.plan_store(raw, NOW, requested=True)
    assert step is not None
    state.run(step)
    state.tree.mark_failed(step.index)  # what damage did before anything noticed it
    state.close()
    again = open_state(tmp_path)
    assert again.activate_best_chain() == []
    again.forget_verdicts()
    assert [type(event) for event in again.activate_best_chain()] == [BlockConnected]
    again.invalidate(again.active.at(50))
    again.activate_best_chain()
    again.forget_verdicts()  # that one was not judged, somebody said it
    again.activate_best_chain()
    assert again.active.height == 49
    again.close()


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("place", ["header", "transaction", "witness"])
def test_damaged_block_is_not_read(tmp_path: Path, place: str, known: bool) -> None:
    _, state = world(tmp_path)
    index = state.active.at(60)
    position = state.block_position(index)
    assert position is not None
    good = state.read_block(index)
    at = {"header": 40, "transaction": len(good) - 60, "witness": len(good) - 6}[place]
    path = state.store.files.block_path(position.file)
    xor = Obfuscation(state.store.files.xor_key)
    with path.open("r+b") as file:
        file.seek(position.pos + at)
        file.write(xor.apply(bytes([good[at] ^ 1]), position.pos + at))
    if not known:  # an index of an earlier version
        state.tree.columns.block_crc[index] = 0
    with pytest.raises(CorruptionError, match=r"blk00000\.dat is damaged .*reindex"):
        state.read_block(index)
    state.invalidate(state.active.at(60))
    with pytest.raises(CorruptionError):
        state.activate_best_chain()
    assert state.active.height == 60
    state.release()


# -- verdicts of this run, and second looks --------------------------------------------------------------------------


def bad_block(chain: MiniChain, extra: int = 0) -> bytes:
    """A child of the tip that spends more than there is."""
    tip, time = chain.tree.hash(chain.tip), chain.tree.time(chain.tip) + 600 + extra
    bad = spend(chain.coinbases[1], value=60 * 10**8)
    return BlockTemplate(PARAMS, tip, chain.tip + 1, time, PARAMS.pow_limit_bits, [bad]).build()


def header_on(state: Chainstate, index: int) -> bytes:
    """A header on top of another."""
    tree = state.tree
    when, height = tree.time(index) + 600, tree.height(index) + 1
    return BlockTemplate(PARAMS, tree.hash(index), height, when, PARAMS.pow_limit_bits, []).build()[:80]


def condemn(state: Chainstate, raw: bytes) -> int:
    """Let a bad block be judged, and nothing be looked at; its header."""
    step = state.plan_store(raw, NOW, requested=True)
    assert step is not None
    state.run(step)
    while (following := state.plan_step()) is not None:
        state.run(following)
    assert state.tree.is_failed(step.index)
    return step.index


@pytest.mark.parametrize("looked", [True, False])
def test_disk_hears_of_a_verdict_after_the_second_look(tmp_path: Path, looked: bool) -> None:
    chain, state = world(tmp_path)
    raw = bad_block(chain)
    index = condemn(state, raw)
    header = header_on(state, index)
    with pytest.raises(RuleViolation, match="bad-prevblk"):
        state.tree.add(header, NOW)
    if looked:
        state.activate_best_chain()
    state.close()
    again = open_state(tmp_path)
    assert again.tree.is_failed(index) == looked
    if not looked:
        again.activate_best_chain()
        assert again.tree.is_failed(index) and again.active.height == MATURE
    again.close()


def test_judging_bad_blocks_reads_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of them costs their own judgement; looks are few, and the chain goes on before them."""
    chain, state = world(tmp_path)
    reads: list[int] = []
    read = read_parsed

    def counted(*args: object) -> object:
        reads.append(1)
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(second_look, "read_parsed", counted)
    for number in range(3 * MAX_WAITING):
        condemn(state, bad_block(chain, number))
    good = chain.template().build()
    step = state.plan_store(good, NOW, requested=True)
    assert step is not None
    state.run(step)
    while (following := state.plan_step()) is not None:
        state.run(following)
    assert state.active.height == MATURE + 1 and not reads
    state.activate_best_chain()
    assert len(reads) == MAX_WAITING
    state.close()


def test_block_without_a_look_is_judged_anew_when_its_branch_is_the_best(tmp_path: Path) -> None:
    """Damage behind a flood of bad blocks is met all the same."""
    chain, state = world(tmp_path)
    outpoint, raw = spender(chain)
    coin = state.coins.get(outpoint)
    assert coin is not None
    for number in range(MAX_WAITING):
        condemn(state, bad_block(chain, number))
    index, _ = state.tree.add(raw[:80], NOW)
    state.tree.add(header_on(state, index), NOW)
    state.coins.apply_disconnect({outpoint: coin[:4] + (1).to_bytes(8, "little") + coin[12:]}, [])
    assert condemn(state, raw) == index
    with pytest.raises(CorruptionError, match="is not what block 1 has made"):
        state.activate_best_chain()
    state.release()


def test_looks_rest_longer_and_longer() -> None:
    now = 100.0
    looks = PendingLooks(lambda: now)
    assert looks.idle and not looks.wait
    looks.did(0.02, over=False)
    assert looks.wait == pytest.approx(0.06)
    pauses = []
    for _ in range(20):
        looks.did(0.0, over=True)
        pauses.append(looks.wait)
    assert pauses[:3] == [1, 2, 4] and pauses[-1] == MAX_PAUSE
    looks.note_connected()
    looks.did(0.0, over=True)
    assert looks.wait == MAX_PAUSE / 2
