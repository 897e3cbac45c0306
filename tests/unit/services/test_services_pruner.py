"""Automatic pruning while an index, or whoever else, still needs the blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from btcnode.chain import pruning
from btcnode.primitives.header import HEADER_SIZE
from btcnode.services import pruner as pruner_module
from btcnode.services.pruner import Pruner
from btcnode.testing.memory_chain import mine_chain
from tests.lib.node_parts import START, NodeLab, regtest_config

BLOCKS = 1150  # 425 in a file of 64 KiB: two may go


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodeLab:
    monkeypatch.setattr(pruning, "ALLOCATION", 0)
    monkeypatch.setattr(pruner_module, "MIN_PRUNE_TARGET", 1)
    monkeypatch.setattr(pruner_module, "HELD_SECONDS", 0.01)
    return NodeLab(regtest_config(tmp_path, fastprune=True, prune=1))


def test_what_was_held_back_goes_without_another_block(lab: NodeLab) -> None:
    held = 0
    chain, files = lab.parts.chain, lab.opened.store.files

    async def start() -> Pruner:
        for raw in mine_chain(lab.launch.params, BLOCKS, START - BLOCKS):
            await chain.driver.store_block(raw, START, requested=True)
        await chain.driver.settled()
        pruner = Pruner(chain, {"slow index": lambda: held}, 1, enabled=True)
        pruner.start()
        return pruner

    try:
        pruner = lab.do(start())
        last = files.infos[0].height_last
        held = last  # not yet
        lab.do(chain.driver.prune(lambda: []))
        assert files.infos[0].size and files.block_path(0).exists()
        held = last + 1 + pruning.PRUNE_LOCK_BUFFER
        lab.until(lambda: not files.infos[0].size)
        assert files.infos[1].size
        held = BLOCKS
        lab.until(lambda: not files.infos[1].size)
        lab.do(pruner.close())
    finally:
        lab.close()


def test_blocks_that_were_stored_before_are_pruned_when_the_chain_reaches_them(lab: NodeLab) -> None:
    chain, files = lab.parts.chain, lab.opened.store.files
    first, *others = mine_chain(lab.launch.params, BLOCKS, START - BLOCKS)

    async def start() -> Pruner:
        for raw in (first, *others):
            chain.tree.add(raw[:HEADER_SIZE], START)
        for raw in others:
            await chain.driver.store_block(raw, START, requested=True)
        pruner = Pruner(chain, {}, 1, enabled=True)
        pruner.start()
        await chain.driver.store_block(first, START, requested=True)
        await chain.driver.settled()
        return pruner

    try:
        pruner = lab.do(start())
        lab.until(lambda: not files.infos[0].size)
        lab.do(pruner.close())
    finally:
        lab.close()


def test_closing_does_not_wait_for_who_holds_back(lab: NodeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner_module, "HELD_SECONDS", 1e6)
    chain = lab.parts.chain

    async def start_and_close() -> None:
        for raw in mine_chain(lab.launch.params, BLOCKS, START - BLOCKS):
            await chain.driver.store_block(raw, START, requested=True)
        await chain.driver.settled()
        pruner = Pruner(chain, {"slow index": lambda: 0}, 1, enabled=True)
        pruner.start()
        await chain.driver.prune(lambda: [])
        await pruner.close()

    try:
        lab.do(start_and_close())
        assert lab.opened.store.files.infos[0].size
    finally:
        lab.close()
