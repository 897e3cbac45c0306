"""Which block is judged next: the first received, and once a bad one was met, the one whose source has earned most."""

from __future__ import annotations

from pathlib import Path

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.standing import MAX_REMEMBERED, Standing, Standings
from btcnode.chain.steps import ConnectStep
from btcnode.chain.store import ChainStore
from btcnode.networks.parameters import params_for
from btcnode.testing.blocks import BlockTemplate
from tests.lib.mini_chain import NOW, MiniChain

PARAMS = params_for("regtest")


def world(path: Path) -> tuple[MiniChain, Chainstate]:
    chain, state = MiniChain(), Chainstate.open(PARAMS, ChainStore.open(path, PARAMS))
    for _ in range(3):
        raw = chain.template().build()
        chain.accept(raw)
        state.process_block(raw, NOW)
    return chain, state


def child(chain: MiniChain, number: int, *, bad: bool = False) -> bytes:
    """A block on the tip, another one for each number; a bad one takes too much."""
    tip, time = chain.tree.hash(chain.tip), chain.tree.time(chain.tip) + 600 + number
    value = 10**15 if bad else None
    return BlockTemplate(PARAMS, tip, chain.tip + 1, time, PARAMS.pow_limit_bits, [], coinbase_value=value).build()


def store(state: Chainstate, raw: bytes, standing: Standing) -> int:
    step = state.plan_store(raw, NOW, requested=True)
    assert step is not None
    state.standings.set(step.index, standing)
    state.run(step)
    return step.index


def judged(state: Chainstate) -> list[int]:
    """Connect until nothing is left to do; the blocks that were tried, in order."""
    tried = []
    while (step := state.plan_step()) is not None:
        if isinstance(step, ConnectStep):
            tried.append(step.index)
        state.run(step)
    return tried


def test_flood_of_bad_blocks_holds_an_honest_one_up_once(tmp_path: Path) -> None:
    chain, state = world(tmp_path)
    bad = [store(state, child(chain, n, bad=True), Standing.ASKED) for n in range(8)]
    good = store(state, child(chain, 100), Standing.PROVEN)
    assert judged(state) == [bad[0], good]
    assert state.active.tip == good
    state.close()


def test_without_a_bad_block_the_first_received_counts(tmp_path: Path) -> None:
    chain, state = world(tmp_path)
    first = store(state, child(chain, 0), Standing.UNASKED)
    store(state, child(chain, 1), Standing.PROVEN)
    assert judged(state) == [first]
    state.close()


def test_who_was_passed_over_does_not_come_back(tmp_path: Path) -> None:
    """Equal work: the tip stays, whatever was received before it; more work wins as ever."""
    chain, state = world(tmp_path)
    store(state, child(chain, 0, bad=True), Standing.ASKED)
    passed = store(state, child(chain, 1), Standing.ASKED)
    good = store(state, child(chain, 2), Standing.PROVEN)
    judged(state)
    assert state.active.tip == good
    assert judged(state) == []
    when = state.tree.time(passed) + 600
    longer = BlockTemplate(PARAMS, state.tree.hash(passed), chain.tip + 2, when, PARAMS.pow_limit_bits, []).build()
    last = store(state, longer, Standing.UNASKED)
    assert judged(state) == [passed, last]
    assert state.active.tip == last
    state.close()


def test_siege_ends_with_the_next_tip(tmp_path: Path) -> None:
    chain, state = world(tmp_path)
    store(state, child(chain, 0, bad=True), Standing.ASKED)
    judged(state)
    assert state.besieged
    raw = child(chain, 1)
    store(state, raw, Standing.ASKED)
    judged(state)
    chain.accept(raw)
    assert not state.besieged
    first = store(state, child(chain, 0), Standing.UNASKED)
    store(state, child(chain, 1), Standing.PROVEN)
    assert judged(state) == [first]
    state.close()


def test_who_brought_a_bad_block_loses_the_place_of_others(tmp_path: Path) -> None:
    chain, state = world(tmp_path)
    store(state, child(chain, 0, bad=True), Standing.PROVEN)
    other = store(state, child(chain, 1, bad=True), Standing.PROVEN)
    honest = store(state, child(chain, 2), Standing.UNASKED)
    step = state.plan_step()
    assert step is not None
    state.run(step)
    state.standings.degrade([other])
    assert judged(state) == [honest]
    state.close()


def test_standings_are_bounded_and_the_best_source_counts() -> None:
    standings = Standings()
    standings.set(1, Standing.ASKED)
    standings.set(1, Standing.PROVEN)
    standings.set(1, Standing.UNASKED)
    assert standings.of(1) is Standing.PROVEN
    standings.degrade([1, 2])
    assert standings.of(1) is Standing.BAD and standings.of(2) is Standing.OWN
    standings.set(1, Standing.ASKED)  # somebody else has it
    assert standings.of(1) is Standing.ASKED
    for index in range(2, MAX_REMEMBERED + 10):
        standings.set(index, Standing.BAD)
    assert sum(standings.of(index) is Standing.BAD for index in range(MAX_REMEMBERED + 10)) <= MAX_REMEMBERED
