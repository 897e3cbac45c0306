"""Every case of the block catalogue without coins: each block with a forged proof, then with the right one.

A forged proof says nothing of the block. With the right one the verdict is the catalogue's, reason and all, but for
what nobody can prove: a coin that is not in the set makes the block unproven. It does not become part of the chain, and
is not held against its header either.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockRejected, BlockUnproven
from btcnode.chain.store import ChainStore
from btcnode.errors import DecodeError, ForgedProofError, RuleViolation
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.utreexo.block_proof import outside_inputs
from tests.lib.block_catalogue import CASES, Case
from tests.lib.block_lab import Lab
from tests.lib.utreexo_bridge import MemoryBridge

PARAMS = params_for("regtest")
NOW = 1_800_000_000
UNPROVEN = "unproven"
seen: Counter[str] = Counter()


class World:
    """A lab's chain, a compact chain and a bridge."""

    def __init__(self, folder: Path) -> None:
        self.proofs: dict[BlockHash, bytes] = {}
        self.state = Chainstate.open(PARAMS, ChainStore.open(folder, PARAMS), proofs=self.proofs)
        self.bridge = MemoryBridge()
        self.lab = Lab(PARAMS, now=NOW)
        for raw in self.lab.prepare():
            assert self.verdict(raw, self.bridge.prove(raw)) == ""
            self.bridge.adopt(raw)

    def verdict(self, raw: bytes, proof: bytes) -> str:
        """The reason for which a block is refused, empty when it is connected."""
        state, block_hash = self.state, header_hash(raw[:HEADER_SIZE])
        self.proofs[block_hash] = proof
        try:
            step = state.plan_store(raw, NOW, requested=True)
        except DecodeError:
            return "undecodable"
        except RuleViolation as violation:
            return violation.code
        if step is None:
            return "known"
        for event in [*state.run(step), *state.activate_best_chain()]:
            if isinstance(event, BlockRejected):
                return event.violation.code
            if isinstance(event, BlockUnproven):
                assert type(event.error) is ForgedProofError
                assert not state.tree.is_failed(event.index) and not state.tree.has_data(event.index)
                return UNPROVEN
            if isinstance(event, BlockConnected) and state.tree.hash(event.index) == block_hash:
                return ""
        return "waits"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("compact"))


def right_proof(world: World, raw: bytes) -> tuple[bytes, bytes, bool]:
    """The best proof that there is for a block, a forged one, and whether the first one proves all that it spends."""
    try:
        block = parse_block(raw, exact=False)
    except DecodeError:
        return b"", b"", True
    proof, outside = world.bridge.prove(raw), outside_inputs(block)
    forged = proof[:-1] + bytes([proof[-1] ^ 1]) if outside else b"\1" + bytes(31) + b"\1\0\0"
    return proof, forged, len(world.bridge.spent(block)) == len(outside)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(case: Case, world: World) -> None:
    lab = world.lab
    for step in case.build(lab):
        if not step.tip or step.raw[4:36] != lab.tip_hash:
            continue
        proof, forged, whole = right_proof(world, step.raw)
        before = world.state.tip
        wrong = world.verdict(step.raw, forged)
        assert wrong in (UNPROVEN, step.reason or UNPROVEN)  # what needs no coins is found before
        assert world.state.tip == before
        verdict = world.verdict(step.raw, proof)
        if verdict == "duplicate-invalid" and wrong == step.reason:
            verdict = wrong
        assert verdict == (step.reason if whole or wrong == step.reason else UNPROVEN)
        seen[verdict] += 1
        seen["forged"] += wrong == UNPROVEN
        if not step.reason:
            lab.adopt(step.raw)
            world.bridge.adopt(step.raw)
        assert world.state.proven is not None
        assert world.state.proven.at.stump == world.bridge.stump
        assert world.state.tree.hash(world.state.tip) == lab.tip_hash


def test_most_of_the_catalogue_was_judged() -> None:
    if sum(seen.values()) < 300:
        pytest.skip("only part of the cases ran")
    assert seen[""] >= 50 and sum(seen.values()) - seen["forged"] >= 330
    assert seen["forged"] >= 100 and seen[UNPROVEN] <= 20
