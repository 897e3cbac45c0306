"""Damaged coins and blocks: the node says so, and never that a block is invalid."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected
from btcnode.chain.store import ChainStore
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
