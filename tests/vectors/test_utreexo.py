"""The vectors of the Utreexo drafts, and the leaves that BIP 182 names."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import ProofError
from btcnode.primitives.block import parse_block
from btcnode.utreexo.blocks import OVERWRITTEN_LEAVES, added_leaves
from btcnode.utreexo.forest import Forest
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump


def cases(vectors: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((vectors / "utreexo/stump_cases.json").read_text())[kind]
    assert found
    return found


def leaves(preimages: list[int]) -> list[bytes]:
    return [sha256(bytes([n])).digest() for n in preimages]


def proof(targets: list[int], hashes: list[str]) -> Proof:
    return Proof(tuple(targets), tuple(bytes.fromhex(text) for text in hashes))


def roots(texts: list[str]) -> tuple[bytes | None, ...]:
    return tuple(None if not text or not int(text, 16) else bytes.fromhex(text) for text in texts)


def test_insertions(vectors: Path) -> None:
    for case in cases(vectors, "insertion_tests"):
        added, expected = leaves(case["leaf_preimages"]), roots(case["expected_roots"])
        assert Stump().plus(added).roots == expected
        forest = Forest(lambda _: None)
        forest.add(added)
        assert forest.stump() == Stump(len(added), expected)


def test_proofs(vectors: Path) -> None:
    verdicts = set()
    for case in cases(vectors, "proof_tests"):
        stump = Stump(case["numleaves"], roots(case["roots"]))
        given = leaves(case["target_preimages"]), proof(case["targets"], case["proofhashes"])
        verdicts.add(case["expected"])
        if case["expected"]:
            stump.verify(*given)
        else:
            with pytest.raises(ProofError):
                stump.verify(*given)
    assert verdicts == {True, False}


def test_deletions(vectors: Path) -> None:
    for case in cases(vectors, "deletion_tests"):
        added, targets = leaves(case["leaf_preimages"]), case["target_values"]
        forest = Forest(lambda _: None)
        forest.add(added)
        made = forest.prove(targets)
        assert made == proof(targets, case["proofhashes"])
        expected = roots(case["expected_roots"])
        assert forest.stump().after([added[n] for n in targets], made, []).roots == expected
        forest.delete(targets)
        assert forest.stump().roots == expected


def test_the_overwritten_coinbase_has_the_leaf_that_the_draft_names(vectors: Path) -> None:
    block = parse_block((vectors / "raito/raw/block91722.raw").read_bytes())
    (leaf,) = added_leaves(block, 91722)
    assert leaf.hex() == "84b3af0783b410b4564c5d1f361868559f7cf77cfc65ce2be951210357022fe3"
    assert leaf in OVERWRITTEN_LEAVES
