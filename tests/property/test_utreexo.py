"""The Utreexo forest against a naive one; ``scripts/fuzz/utreexo.py`` does more of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btcnode.errors import ProofError
from btcnode.utreexo.forest import Forest
from btcnode.utreexo.hashing import EMPTY
from btcnode.utreexo.proof import MAX_TARGETS, Proof
from btcnode.utreexo.stump import Stump
from tests.lib.utreexo_fuzz import ForestLab, fuzz, naive_roots

BLOCKS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40), st.integers(0, 2)), max_size=12)


@given(st.integers(0, 2**32), BLOCKS)
def test_forest_and_roots_are_those_of_a_naive_one(seed: int, blocks: list[tuple[int, int, int]]) -> None:
    lab = ForestLab(seed)
    for deleted, added, undone in blocks:
        lab.block(deleted, added)
        for _ in range(undone):
            lab.undo()
        assert naive_roots(lab.slots) == lab.stump.roots
        lab.forge()


@given(st.integers(1, 200), st.data())
def test_every_leaf_proves_itself(leaves: int, data: st.DataObject) -> None:
    lab = ForestLab(leaves)
    lab.block(0, leaves)
    lab.block(data.draw(st.integers(0, leaves)), 0)
    for slot in lab.alive:
        leaf = lab.slots[slot]
        assert leaf is not None
        lab.stump.verify([leaf], lab.forest.prove([slot]))
    chosen = data.draw(st.lists(st.sampled_from(lab.alive), unique=True)) if lab.alive else []
    lab.stump.verify([lab.slots[slot] or b"" for slot in chosen], lab.forest.prove(chosen))


@given(st.lists(st.integers(0, 2**64 - 1)), st.lists(st.binary(min_size=32, max_size=32), max_size=8), st.data())
def test_any_proof_is_refused_or_reads_as_it_was_written(
    targets: list[int], hashes: list[bytes], data: st.DataObject
) -> None:
    hashes = [hash_ for hash_ in hashes if hash_ != EMPTY]
    proof = Proof(tuple(targets), tuple(hashes))
    assert Proof.decode(proof.encode()) == (proof, len(proof.encode()))
    stump = Stump().plus([bytes([n + 1]) * 32 for n in range(data.draw(st.integers(0, 20)))])
    if targets or hashes:
        with pytest.raises(ProofError):
            stump.verify([b"\xff" * 32] * len(targets), proof)


def test_more_leaves_than_one_block_can_delete_go_in_several() -> None:
    lab = ForestLab(1)
    lab.block(0, MAX_TARGETS + 100)
    lab.clear()
    assert lab.seen["deleted"] == MAX_TARGETS + 100 and not lab.alive


def test_a_short_run_of_the_fuzzer() -> None:
    seen = fuzz(20_000, 1, sizes=(0, 1, 3, 20, 100))
    assert min(seen[what] for what in ("deleted", "undone", "empty", "bytes refused", "refused: ancestor")) > 5


def test_a_slot_is_deleted_once() -> None:
    forest = Forest(lambda _: None)
    forest.add([b"\x01" * 32, b"\x02" * 32])
    for slots in ([0, 0], [2], [-1]):
        with pytest.raises(ProofError, match="no leaf to delete"):
            forest.delete(slots)
    forest.delete([0])
    with pytest.raises(ProofError, match="no leaf to prove"):
        forest.prove([0])
    with pytest.raises(ProofError, match="cannot have a leaf back"):
        forest.restore({1: b"\x03" * 32})
