"""The index of Utreexo proofs: what it makes of blocks, its way back, what is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from btcnode.errors import CorruptionError, ProofError
from btcnode.indexes import utreexo
from btcnode.indexes.recipe import KeepingRecipe, PureRecipe
from btcnode.indexes.store import Batch, IndexStore
from btcnode.indexes.utreexo import NO_BLOCK, ForestRecord, ForestWalk, UtreexoRecipe
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_height
from btcnode.primitives.hashes import BlockHash
from btcnode.utreexo.blocks import added_leaves, spent_leaves
from btcnode.utreexo.hashing import leaf_hash
from btcnode.utreexo.stump import Stump
from tests.lib.utreexo_chain import MemoryState, UtreexoChain
from tests.lib.utreexo_fuzz import naive_roots

PARAMS = params_for("regtest")
RECIPE = UtreexoRecipe()


@pytest.fixture(scope="module")
def chain() -> UtreexoChain:
    return UtreexoChain(PARAMS)


def index(state: MemoryState, chain: UtreexoChain, first: int, last: int, slice_: int = 7) -> None:
    """Index blocks in slices."""
    for begin in range(first, last + 1, slice_):
        maker = RECIPE.begin(state, chain.hashes[begin - 1] if begin else NO_BLOCK)
        end = min(begin + slice_, last + 1)
        records = {chain.hashes[n]: maker.make(chain.blocks[n]).record for n in range(begin, end)}
        assert maker.size > 0
        state.put(records, maker.nodes(), chain.hashes[end - 1])


def test_a_verifier_follows_the_chain_with_roots_only(chain: UtreexoChain) -> None:
    """Leaves are worked out from the blocks; every proof leads from one block's roots to the next one's."""
    state, stump = MemoryState(), Stump()
    slots: list[bytes | None] = []
    index(state, chain, 0, len(chain.blocks) - 1)
    proven = 0
    for block in chain.blocks:
        record = ForestRecord.unpack(state.records[block.block_hash])
        assert ForestRecord.unpack(record.pack()) == record
        parsed = parse_block(block.raw)
        spent = spent_leaves(parsed, block.spent) if block.height else []
        leaves = [leaf_hash(chain.hashes[coin_height(coin)], outpoint, coin) for outpoint, coin in spent]
        assert list(record.hashes) == leaves
        added = added_leaves(parsed, block.height)
        stump = stump.after(leaves, record.proof, added)
        assert record.stump == stump
        for leaf in leaves:
            slots[slots.index(leaf)] = None
        slots += added
        assert naive_roots(slots) == stump.roots
        proven += len(leaves)
    assert proven > 50


def test_the_way_back(chain: UtreexoChain) -> None:
    """At every block the forest is what it was, and going on from there makes the same records."""
    state, last = MemoryState(), len(chain.blocks) - 1
    index(state, chain, 0, last)
    records = dict(state.records)
    walk = ForestWalk(state)
    for height in range(last, 0, -1):
        assert walk.forest.stump() == walk.stump == ForestRecord.unpack(records[chain.hashes[height]]).stump
        walk.back()
        assert walk.at == chain.hashes[height - 1]
    walk.back()
    assert (walk.at, walk.forest.leaves) == (NO_BLOCK, 0)
    index(state, chain, last - 4, last)
    index(state, chain, 0, last, slice_=1000)
    assert state.records == records


def test_another_chain(chain: UtreexoChain) -> None:
    """A block on an earlier parent, as after a reorganisation, gives what a fresh index gives."""
    fork = len(chain.blocks) - 4
    other = UtreexoChain(PARAMS, busy=2)
    other.append(other.generator.busy(3))
    other.append(other.generator.busy(30))
    assert other.hashes[fork - 2] == chain.hashes[fork - 2]
    assert other.hashes[-1] not in chain.hashes
    fresh, moved = MemoryState(), MemoryState()
    index(moved, chain, 0, len(chain.blocks) - 1)
    first = next(n for n, pair in enumerate(zip(chain.hashes, other.hashes, strict=False)) if pair[0] != pair[1])
    index(moved, other, first, len(other.blocks) - 1)
    index(fresh, other, 0, len(other.blocks) - 1)
    assert moved.records.items() >= fresh.records.items()
    chunks = [{key: value for key, value in state.nodes.items() if key[0] < 0xFF} for state in (fresh, moved)]
    assert chunks[0] == chunks[1]


@pytest.mark.parametrize("what", ["chunk lost", "chunk wrong", "table lost", "record lost", "spent twice"])
def test_damage_is_noticed(chain: UtreexoChain, what: str) -> None:
    state, last = MemoryState(), len(chain.blocks) - 1
    index(state, chain, 0, last - 1)
    maker_parent = chain.hashes[last - 1]
    block = chain.blocks[last]
    if what == "chunk lost":
        for key in [key for key in state.nodes if key[0] == 0]:
            del state.nodes[key]
    elif what == "chunk wrong":
        for key in [key for key in state.nodes if key[0] == 1]:
            value = state.nodes[key]
            state.nodes[key] = value[:2] + bytes(byte ^ 1 for byte in value[2:])
    elif what == "table lost":
        for key in [key for key in state.nodes if key[0] == 0xFF]:
            del state.nodes[key]
    elif what == "record lost":
        maker_parent = chain.hashes[last - 3]
        del state.records[chain.hashes[last - 2]]
    elif what == "spent twice":
        block = replace(chain.blocks[last - 1], block_hash=BlockHash(b"\x01" * 32))
    with pytest.raises(CorruptionError):
        RECIPE.begin(state, maker_parent).make(block)


def test_records_have_one_form(chain: UtreexoChain) -> None:
    state = MemoryState()
    index(state, chain, 0, len(chain.blocks) - 1)
    record = state.records[chain.hashes[-1]]
    for bad in (b"", record[:-1], record + b"\x00", record[:40], b"\xff" * 200):
        with pytest.raises(CorruptionError, match="utreexoindex"):
            ForestRecord.unpack(bad)


def test_nodes_are_stored_with_the_records(tmp_path: Path) -> None:
    path, block = tmp_path / "index.mdb", BlockHash(b"\x01" * 32)
    store = IndexStore(path, keeps=True)
    store.put(Batch({block: b"record"}, nodes={b"a": b"1", b"b": b"2"}), block)
    with store.moment() as moment:
        store.put(Batch(nodes={b"a": None, b"b": b"3", b"c": None}), BlockHash(b"\x02" * 32))
        assert (moment.best(), moment.record(block)) == (block, b"record")
        assert (moment.node(b"a"), moment.node(b"b")) == (b"1", b"2")
    store.close()
    store = IndexStore(path, keeps=True)
    assert (store.node(b"a"), store.node(b"b"), store.best()) == (None, b"3", b"\x02" * 32)
    store.close()


def test_a_damaged_node_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "index.mdb"
    store = IndexStore(path, keeps=True)
    store.put(Batch({BlockHash(b"\x01" * 32): b""}, nodes={b"key": b"a long enough value"}), BlockHash(b"\x01" * 32))
    store.close()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a long enough value", b"a wrong enough value"[:19]))
    with pytest.raises(CorruptionError, match="a part of its state"):
        IndexStore(path, keeps=True)


def test_the_way_back_is_measured_before_it_is_gone(chain: UtreexoChain) -> None:
    """A block that is too deep, or on no way back, costs reading records; the forest stays where it is."""
    state, last = MemoryState(), len(chain.blocks) - 1
    index(state, chain, 0, last)
    walk = ForestWalk(state)
    roots = walk.forest.stump()
    with pytest.raises(ProofError, match="more than 3 blocks deep"):
        walk.back_to(chain.hashes[last - 4], 3)
    with pytest.raises(CorruptionError, match="does not lead to block"):
        walk.back_to(BlockHash(b"?" * 32))
    assert (walk.at, walk.forest.stump(), walk.forest.changed) == (chain.hashes[last], roots, 0)
    walk.back_to(chain.hashes[last - 3], 3)
    assert walk.at == chain.hashes[last - 3]


def test_tables_that_are_kept_are_bounded_by_their_bytes(chain: UtreexoChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are read again, with the same outcome."""
    usual, few, last = MemoryState(), MemoryState(), len(chain.blocks) - 1
    index(usual, chain, 0, last)
    monkeypatch.setattr(utreexo, "_TABLE_BYTES", 2000)
    maker = RECIPE.begin(few, NO_BLOCK)
    for block in chain.blocks:
        maker.make(block)
        kept = sum(utreexo._TABLE_COST + len(table or b"") for table in maker._tables.values())
        assert kept == maker._table_bytes
        assert kept <= 2000 or len(maker._tables) == 1
    index(few, chain, 0, last)
    assert few.records == usual.records


def test_a_recipe_that_keeps_a_state_makes_nothing_of_a_block_alone() -> None:
    assert isinstance(RECIPE, KeepingRecipe) and not isinstance(RECIPE, PureRecipe)
