"""What peers are answered who ask for Utreexo proofs: all of it, a part, and what a part costs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from btcnode.indexes.utreexo import NO_BLOCK, ForestRecord, UtreexoRecipe, stump_of
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.steps import at_once
from btcnode.services.utreexo_answers import bits_of, utreexo_steps
from btcnode.storage.undo import encode_undo
from btcnode.utreexo import compact
from btcnode.utreexo.compact import block_leaves
from btcnode.wire.messages import GetUtreexoProof, GetUtreexoRoot, UtreexoRoot
from btcnode.wire.messages.utreexo import ALL_LEAVES
from tests.lib.utreexo_chain import MemoryState, UtreexoChain

PARAMS = params_for("regtest")


class World:
    """A chain that was indexed, with its last block, which spends a lot."""

    def __init__(self) -> None:
        chain, state = UtreexoChain(PARAMS), MemoryState()
        maker = UtreexoRecipe().begin(state, NO_BLOCK)
        self.records = {block.block_hash: maker.make(block).record for block in chain.blocks}
        last = chain.blocks[-1]
        self.name, self.raw = last.block_hash, last.raw
        self.undo = encode_undo(last.spent)
        self.leaves = block_leaves(parse_block(last.raw), last.spent)
        self.index = cast("Any", SimpleNamespace(get=self._get, roots=self._roots))

    def _get(self, name: BlockHash) -> ForestRecord | None:
        record = self.records.get(name)
        return None if record is None else ForestRecord.unpack(record)

    def _roots(self, name: BlockHash) -> object:
        record = self.records.get(name)
        return None if record is None else stump_of(record)

    def ask(self, request: GetUtreexoProof | GetUtreexoRoot) -> bytes | None:
        return at_once(utreexo_steps(self.index, request, self.raw, self.undo))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_one_leaf_costs_one_leaf(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty bytes that ask for a leaf do not have thousands of scripts hashed."""
    made: list[bytes] = []
    make = compact.compact_leaf

    def counted(coin: bytes, script_sig: bytes, witness: Any) -> bytes:
        made.append(coin)
        return make(coin, script_sig, witness)

    monkeypatch.setattr(compact, "compact_leaf", counted)
    assert len(world.leaves) > 8
    for n in (0, 5, len(world.leaves) - 1):
        made.clear()
        bitmap = (1 << n).to_bytes(n // 8 + 1, "little")
        answer = world.ask(GetUtreexoProof(world.name, 0, b"", bitmap))
        assert answer == world.name + b"\0\0" + b"\x01" + world.leaves[n]
        assert len(made) == 1
    everything = world.ask(GetUtreexoProof(world.name, ALL_LEAVES))
    assert everything == world.name + b"\0\0" + compact_size(len(world.leaves)) + b"".join(world.leaves)


def test_roots_cost_no_proof(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForestRecord, "unpack", lambda _: pytest.fail("the proof was read out"))
    answer = world.ask(GetUtreexoRoot(world.name))
    assert answer is not None
    assert UtreexoRoot.decode(answer).leaves == stump_of(world.records[world.name]).leaves
    assert world.ask(GetUtreexoRoot(b"?" * 32)) is None


def test_bits_are_made_as_they_are_looked_at() -> None:
    bits = bits_of(b"\x05" + bytes(100_000))
    assert [next(bits) for _ in range(4)] == [True, False, True, False]
    assert list(bits_of(b"\x80")) == [False] * 7 + [True]
