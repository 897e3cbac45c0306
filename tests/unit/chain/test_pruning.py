"""Deleting old block files: which go, what a crash leaves, how the chain goes on without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.pruning import files_beyond, files_within, last_prunable, lock_height, prunable_heights
from btcnode.chain.store import ChainStore
from btcnode.chain.verify_db import verify_recent
from btcnode.errors import RebuildError, StorageError
from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.blockfiles import BlockFiles, FileInfo
from btcnode.storage.database import Database
from btcnode.testing.blocks import BlockTemplate

PARAMS = params_for("regtest")
NOW = 2_000_000_000
MIB = 1 << 20


def child(prev: bytes, height: int, extra: bytes) -> bytes:
    time = int.from_bytes(PARAMS.genesis_block[68:72], "little") + 600 * height
    return BlockTemplate(PARAMS, prev, height, time, PARAMS.pow_limit_bits, extra=extra).build()


def grow(state: Chainstate, tip: int, count: int, extra: bytes = b"\x00") -> list[bytes]:
    """Blocks on top of a header, each processed."""
    blocks = []
    prev, height = state.tree.hash(tip), state.tree.height(tip)
    for _ in range(count):
        height += 1
        blocks.append(child(prev, height, extra))
        prev = header_hash(blocks[-1][:HEADER_SIZE])
        state.process_block(blocks[-1], NOW)
    return blocks


def open_state(path: Path, *, prune: bool = True) -> Chainstate:
    return Chainstate.open(PARAMS, ChainStore.open(path, PARAMS, small_files=True, prune=prune))


def prune(state: Chainstate, last: int) -> tuple[int, ...]:
    state.flush()
    files = state.store.files
    step = state.plan_prune(files_within(files.infos, prunable_heights(last), files.writing))
    assert step is not None
    state.run(step)
    return step.prune


def below(infos: list[FileInfo], last: int) -> list[int]:
    return files_within(infos, prunable_heights(last), [len(infos) - 1])


def test_which_files_go() -> None:
    infos = [FileInfo(100, 128 * MIB, 16 * MIB, 100 * n, 100 * n + 99) for n in range(6)]
    assert below(infos, 299) == [0, 1, 2] and below(infos, 298) == [0, 1]
    assert below(infos, 10_000) == [0, 1, 2, 3, 4]  # the last one is being written
    prunable = below(infos, 399)
    assert files_beyond(infos, prunable, 900 * MIB) == []
    assert files_beyond(infos, prunable, 880 * MIB) == [0]
    assert files_beyond(infos, prunable, 550 * MIB) == [0, 1, 2]
    assert files_beyond(infos, below(infos, 199), 550 * MIB) == [0, 1]
    assert files_beyond(infos, prunable, 880 * MIB, blocks_to_come=300) == [0, 1]
    infos[1] = FileInfo()
    assert below(infos, 299) == [0, 2]
    assert last_prunable(1000, 900) == 712 and last_prunable(1000, 500) == 500 and last_prunable(100, 50) == 0
    assert lock_height(700) == 689


def test_which_files_go_with_a_loaded_set() -> None:
    """What is above the chain below the set, up to the set's block, has to be connected yet."""
    infos = [FileInfo(100, 128 * MIB, 16 * MIB, 100 * n, 100 * n + 99) for n in range(10)]
    assert files_within(infos, prunable_heights(750, 499, 250), (3, 9)) == [0, 1, 5, 6]
    assert files_within(infos, prunable_heights(750, 499, 450), (5,)) == [0, 1, 2, 3, 6]
    infos[5].height_first = 499  # the set's own block is in it
    assert files_within(infos, prunable_heights(750, 499, 250), ()) == [0, 1, 6]


def test_blocks_above_a_loaded_set_have_files_of_their_own(tmp_path: Path) -> None:
    """Old and new blocks arrive in turn; in one file they would keep each other from being pruned."""
    database = Database.open(tmp_path)
    files = BlockFiles.open(tmp_path / "blocks", PARAMS.magic, database, max_file_size=4000)
    raw = PARAMS.genesis_block
    files.append_block(raw, 0)
    files.split_at(500)
    for n in range(1, 100):
        files.append_block(raw, n)
        files.append_block(raw, 500 + n)
        written = files.writing
        assert all(info.height_last <= 500 or info.height_first > 500 for info in files.infos)
    sizes = [info.size for number, info in enumerate(files.infos) if number not in written]
    assert min(sizes) > 3500, "files are left half full"
    changes = files.take_changes()
    database.commit(meta_puts=changes.records)
    files.close()
    again = BlockFiles.open(tmp_path / "blocks", PARAMS.magic, database, max_file_size=4000)
    again.split_at(500)
    assert set(again.writing) == set(written)
    assert files_within(again.infos, prunable_heights(599, 500, 99), again.writing) == [
        number for number in range(len(again.infos)) if number not in written
    ]
    again.close()
    database.close()


def test_files_are_gone_and_the_chain_goes_on(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    grow(state, 0, 1200)
    files = state.store.files
    last = files.infos[1].height_last
    assert prune(state, last) == (0, 1)
    assert [files.block_path(n).exists() or files.undo_path(n).exists() for n in range(3)] == [False, False, True]
    assert state.block_position(state.active.at(last)) is None and state.undo_position(state.active.at(last)) is None
    assert state.read_block(state.active.at(last + 1))
    assert state.tree.columns.n_tx[state.active.at(5)] == 1
    assert not verify_recent(state, 0, 3, lambda *_: None) and verify_recent(state, 50, 3, lambda *_: None)
    grow(state, state.tip, 5)
    state.close()
    with pytest.raises(RebuildError, match="go back to unpruned mode"):
        open_state(tmp_path, prune=False)
    state = open_state(tmp_path)
    assert state.active.height == 1205 and state.store.files.pruned_numbers() == [0, 1]
    assert prune(state, state.store.files.infos[2].height_last - 1) == ()
    grow(state, state.tip, 5)
    state.close()


def test_a_crash_before_the_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(tmp_path / "one")
    grow(state, 0, 600)
    files = state.store.files

    def crash(numbers: object) -> None:
        raise StorageError("killed")

    monkeypatch.setattr(files, "remove", crash)
    with pytest.raises(StorageError, match="killed"):
        prune(state, files.infos[0].height_last)
    assert files.block_path(0).exists()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    state = open_state(tmp_path / "two")
    assert not (tmp_path / "two" / "blocks" / "blk00000.dat").exists()
    assert not (tmp_path / "two" / "blocks" / "rev00000.dat").exists()
    assert state.active.height == 600 and state.block_position(state.active.at(1)) is None
    grow(state, state.tip, 3)
    state.close()


def test_a_crash_before_the_commit_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = open_state(tmp_path / "one")
    grow(state, 0, 600)
    state.flush()

    def crash(**_: object) -> None:
        raise StorageError("killed")

    monkeypatch.setattr(state.store.database, "commit", crash)
    with pytest.raises(StorageError, match="killed"):
        prune(state, state.store.files.infos[0].height_last)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    state = open_state(tmp_path / "two", prune=False)
    assert state.read_block(state.active.at(1)) and verify_recent(state, 0, 3, lambda *_: None)
    state.close()


def test_a_branch_whose_blocks_are_gone_waits_for_them(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    branch = grow(state, 0, 3, b"\x01")
    stale = state.tip
    grow(state, 0, 600)
    assert state.active.height == 600
    prune(state, state.store.files.infos[0].height_last)
    state.tree.mark_failed(state.active.at(1))  # nothing but the branch is left, and it is not here
    assert state.tree.best_candidate(0) == 0
    assert state.plan_store(branch[1], NOW, requested=False) is None
    for raw in reversed(branch):
        step = state.plan_store(raw, NOW, requested=True)
        assert step is not None
        state.run(step)
    assert state.tree.best_candidate(0) == stale
    state.reconsider(state.active.at(1))
    state.close()
    state = open_state(tmp_path)
    assert state.active.height == 600 and state.tree.has_data(stale)
    state.close()


def test_a_deleted_block_that_comes_back_stays(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    blocks = grow(state, 0, 600)
    prune(state, state.store.files.infos[0].height_last)
    second = state.active.at(2)
    step = state.plan_store(blocks[1], NOW, requested=True)
    assert step is not None
    state.run(step)
    assert state.read_block(second) == blocks[1] and state.tip == state.active.at(600)
    assert state.activate_best_chain() == []
    state.close()


def test_a_reindex_of_what_pruning_has_left_begins_anew(tmp_path: Path) -> None:
    state = open_state(tmp_path)
    grow(state, 0, 600)
    prune(state, state.store.files.infos[0].height_last)
    state.close()
    store = ChainStore.open(tmp_path, PARAMS, small_files=True, prune=True, reindex=True)
    assert list((tmp_path / "blocks").glob("*0?.dat")) == []
    store.close()
