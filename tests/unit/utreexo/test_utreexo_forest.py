"""The forest's own: positions, chunks, what is damaged."""

from __future__ import annotations

import pytest

from btcnode.errors import CorruptionError, DecodeError, ProofError
from btcnode.utreexo import forest as forests
from btcnode.utreexo.forest import Forest, pack_chunk, unpack_chunk
from btcnode.utreexo.hashing import EMPTY, parent_hash
from btcnode.utreexo.positions import MAX_ROWS, place, position, root_index, root_rows, tree_rows
from btcnode.utreexo.proof import Proof
from btcnode.utreexo.stump import Stump
from tests.lib.utreexo_fuzz import ForestLab

LEAVES = [bytes([n + 1]) * 32 for n in range(20)]


def test_positions_are_those_of_the_draft() -> None:
    rows = [[position(row, index, 3) for index in range(8 >> row)] for row in range(4)]
    assert rows == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11], [12, 13], [14]]
    assert [place(number, 3) for number in (0, 7, 8, 11, 12, 14)] == [(0, 0), (0, 7), (1, 0), (1, 3), (2, 0), (3, 0)]
    assert [tree_rows(leaves) for leaves in (0, 1, 2, 3, 4, 5, 8, 9)] == [0, 0, 1, 2, 2, 3, 3, 4]
    assert root_rows(6) == [2, 1]
    assert [position(row, root_index(6, row), 3) for row in root_rows(6)] == [12, 10]
    assert place(2**64 - 2, MAX_ROWS) == (MAX_ROWS, 0)


@pytest.mark.parametrize("number", [15, 16, 2**64 - 1, -1])
def test_no_node_has_another_number(number: int) -> None:
    with pytest.raises(ProofError):
        place(number, 3)


def test_a_lone_leaf_moves_up() -> None:
    forest = Forest(lambda _: None)
    forest.add(LEAVES[:4])
    forest.delete([0, 1, 2])
    assert forest.stump() == Stump(4, (LEAVES[3],))
    assert forest.prove([3]) == Proof((6,), ())
    forest.add(LEAVES[4:6])
    assert forest.prove([3]) == Proof((12,), ())
    forest.delete([3])
    assert forest.stump() == Stump(6, (None, parent_hash(LEAVES[4], LEAVES[5])))


def test_chunks() -> None:
    chunk: list[bytes | None] = [None] * forests.FAN
    assert pack_chunk(chunk) is None
    chunk[3], chunk[15] = LEAVES[3], LEAVES[15]
    packed = pack_chunk(chunk)
    assert packed is not None
    assert unpack_chunk(packed) == chunk
    for damaged in (packed[:-1], packed + b"\x00", b"", b"\x00\x00"):
        with pytest.raises(CorruptionError):
            unpack_chunk(damaged)


def test_memory_is_that_of_what_was_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forests, "CACHED_CHUNKS", 8)
    lab = ForestLab(1)
    lab.block(0, 5000)
    lab.store()
    for slot in range(0, 5000, 16):
        assert lab.forest.leaf(slot) == lab.slots[slot]
        lab.forest.prove([slot])
        assert len(lab.forest._chunks) <= 16
        assert len(lab.forest._inner) <= 16


def test_roots_have_one_form() -> None:
    stump = Stump(3, (LEAVES[0], None))
    assert stump.pack() == (3).to_bytes(8, "little") + LEAVES[0] + EMPTY
    assert Stump.unpack(stump.pack()) == stump
    for bad in (stump.pack()[:-1], b"", (2**64 - 1).to_bytes(8, "little") + EMPTY * 64):
        with pytest.raises(DecodeError):
            Stump.unpack(bad)


def test_proofs_have_bounds() -> None:
    for bad in ("fe43600000", "00feffffff01", "000220", "0001" + "00" * 32, ""):
        with pytest.raises(DecodeError):
            Proof.decode(bytes.fromhex(bad))
