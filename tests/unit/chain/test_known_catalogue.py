"""Every case of the block catalogue, put together of transactions that are known: verdicts and coins are the same.

What is known of a transaction is what a mempool at the parent would have found out; what it refuses, and in every
second block one of three, is not known.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockRejected, ChainEvent
from btcnode.chain.store import ChainStore
from btcnode.consensus.blocks import check_block, contextual_check_block
from btcnode.consensus.connect import connect_block, connect_context
from btcnode.consensus.known_txs import assemble, connect_known, passes_alone, passes_in_context
from btcnode.errors import DecodeError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.block_catalogue import CASES, Case
from tests.lib.block_lab import Lab
from tests.lib.judged import Judged, judge_all

PARAMS = params_for("regtest")
NOW = 1_800_000_000
seen: Counter[str] = Counter()


class World:
    """A lab's chain, and a chain that gets its blocks put together."""

    def __init__(self, folder: Path) -> None:
        self.state = Chainstate.open(PARAMS, ChainStore.open(folder, PARAMS))
        self.lab = Lab(PARAMS, now=NOW)
        self.count = 0
        for raw in self.lab.prepare():
            assert self.verdict(raw) == ""

    def known(self, raw: bytes) -> tuple[Judged | None, ...]:
        """What is known of a block's transactions before it comes."""
        try:
            block = parse_block(raw, exact=False)
        except DecodeError:
            return ()
        self.count += 1
        found = judge_all(block, self.lab.height + 1, self.state.coins.get_many)
        return tuple(None if self.count % 2 and n % 3 == 2 else one for n, one in enumerate(found))

    def verdict(self, raw: bytes) -> str:
        """The reason for which a block is refused, empty when it is connected."""
        state, block_hash = self.state, header_hash(raw[:HEADER_SIZE])
        known = self.known(raw) if raw[4:36] == self.lab.tip_hash else ()
        try:
            step = state.plan_store(raw, NOW, requested=True)
        except DecodeError:
            return "undecodable"
        except RuleViolation as violation:
            return violation.code
        if step is None:
            return "known"
        if known and step.prev == state.tip:
            self.compare(raw, known, step.prev)
        events: list[ChainEvent] = [*state.run(replace(step, parsed=None, known=known)), *state.activate_best_chain()]
        for event in events:
            if isinstance(event, BlockRejected):
                return event.violation.code
            if isinstance(event, BlockConnected) and state.tree.hash(event.index) == block_hash:
                return ""
        return "waits"

    def compare(self, raw: bytes, known: tuple[Judged | None, ...], prev: int) -> None:
        """Each quick yes is a yes of the exact rules, with the same outcome."""
        it = assemble(raw, known)
        if it is None:
            return
        state, block, height = self.state, parse_block(raw), self.lab.height + 1
        for name in ("raw", "hash", "n_tx", "tx_pos", "txids", "wtxids", "stripped_size", "weight"):
            assert getattr(it.block, name) == getattr(block, name)
        assert it.block.prevouts() == block.prevouts()
        if not passes_alone(it, PARAMS):
            return
        seen["alone"] += 1
        check_block(block, PARAMS)
        if passes_in_context(it, state.tree, prev, PARAMS):
            seen["in context"] += 1
            contextual_check_block(block, state.tree, prev, PARAMS)
        context = connect_context(state.tree, prev, block.hash, PARAMS, with_jobs=False)
        delta = connect_known(it, height, state.coins, context)
        if delta is not None:
            seen["connected"] += 1
            exact = connect_block(block, height, state.coins, context)
            assert delta == exact
            assert list(delta.created) == list(exact.created)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("known"))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, world: World) -> None:
    for step in case.build(world.lab):
        verdict = world.verdict(step.raw)
        if not step.tip:
            continue
        assert verdict == step.reason
        if not step.reason:
            world.lab.adopt(step.raw)
        assert world.state.tree.hash(world.state.tip) == world.lab.tip_hash
        seen[verdict] += 1


def test_most_of_the_catalogue_was_known() -> None:
    if sum(seen.values()) < 300:
        pytest.skip("only part of the cases ran")
    assert seen["alone"] > 250 and seen["in context"] > 200 and seen["connected"] > 200, seen
