"""A chain without coins: blocks connected by their proofs, taken back, begun again from disk, and forged proofs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.events import BlockConnected, BlockRejected, BlockUnproven, ChainEvent
from btcnode.chain.store import ChainStore
from btcnode.errors import (
    CorruptionError,
    ForgedProofError,
    MissingProofError,
    ProofError,
    RebuildError,
    RuleViolation,
    StorageError,
)
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.utreexo.coin_proof import CoinProof, ProvenCoin
from tests.lib.block_lab import Lab
from tests.lib.chain_generator import ChainGenerator
from tests.lib.utreexo_bridge import MemoryBridge

PARAMS = params_for("regtest")
NOW = 1_800_000_000


class Proofs(dict[BlockHash, bytes]):
    """Proofs by block hash."""


class World:
    """A compact chain and a bridge that is where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proofs = Proofs()
        self.bridge = MemoryBridge()
        self.state = self.open()

    def open(self) -> Chainstate:
        store = ChainStore.open(self.folder, PARAMS)
        return Chainstate.open(PARAMS, store, dbcache=1 << 20, proofs=self.proofs)

    def reopen(self, *, kill: bool = False) -> None:
        (self.state.release if kill else self.state.close)()
        self.state = self.open()

    def feed(self, raw: bytes) -> list[ChainEvent]:
        step = self.state.plan_store(raw, NOW, requested=True)
        assert step is not None
        return [*self.state.run(step), *self.state.activate_best_chain()]

    def take(self, raw: bytes) -> None:
        """A good block with its proof."""
        self.proofs[hash_of(raw)] = self.bridge.prove(raw)
        events = self.feed(raw)
        assert any(isinstance(event, BlockConnected) for event in events), events
        self.bridge.adopt(raw)
        self.check()

    def check(self) -> None:
        proven = self.state.proven
        assert proven is not None
        assert proven.at.stump == self.bridge.stump
        assert (proven.at.height, proven.at.block_hash) == (
            self.state.active.height,
            self.state.tree.hash(self.state.tip),
        )
        assert proven.at.height == self.bridge.height


def hash_of(raw: bytes) -> BlockHash:
    return header_hash(raw[:HEADER_SIZE])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def chain_of(busy: int = 6) -> list[bytes]:
    generator = ChainGenerator(PARAMS)
    return [*generator.spread(60), *(generator.busy(10) for _ in range(busy))]


def test_roots_are_those_of_the_forest_at_every_height(world: World) -> None:
    for raw in chain_of():
        world.take(raw)
    for height in range(world.state.active.height, 100, -1):
        index = world.state.active.at(height)
        assert world.state.proven is not None
        found = world.state.proven.roots_at(world.state.tree.hash(index), height)
        assert found is not None and found.stump == world.bridge.stump
        world.bridge.back()
    assert len(world.state.coins) and world.state.store.get_many([bytes(36)]) == [None]
    assert not world.state.store.own_coins.count()
    world.state.close()


@pytest.mark.parametrize("kill", [False, True])
def test_it_begins_again_where_it_was_written(world: World, *, kill: bool) -> None:
    chain = chain_of()
    for raw in chain[:-3]:
        world.take(raw)
    world.state.flush()
    for raw in chain[-3:]:
        world.take(raw)
    assert world.state.proven is not None and world.state.proven.written == len(chain) - 3
    world.reopen(kill=kill)
    assert world.state.proven is not None
    assert world.state.proven.written == world.state.active.height == len(chain) - 3 * kill
    world.state.activate_best_chain()  # after a kill: of index records that were not written nothing is left
    if kill:
        for raw in chain[-3:]:
            assert world.state.tree.find(hash_of(raw)) < 0
            world.feed(raw)
    world.check()
    world.state.close()


def test_blocks_are_taken_back(world: World) -> None:
    chain = chain_of()
    for raw in chain:
        world.take(raw)
    world.reopen()
    state = world.state
    for _ in range(5):
        state.invalidate(state.tip)
        state.activate_best_chain()
        world.bridge.back()
        world.check()
    state.reconsider(state.tree.find(hash_of(chain[-5])))
    state.reconsider(state.tree.find(hash_of(chain[-1])))
    state.activate_best_chain()  # by the proofs that are there still
    for raw in chain[-5:]:
        world.bridge.adopt(raw)
    world.check()
    state.close()


def bent(place: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    def bend(proof: bytes) -> bytes:
        at = place(proof)
        return proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]

    return bend


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "of nothing": lambda _: b"\0\0\0",
    "truncated": lambda proof: proof[:-1],
    "longer": lambda proof: proof + b"\0",
    "a hash": bent(lambda _: 5),
    "no hashes": lambda proof: b"\0" + proof[1 + 32 * proof[0] :],
    "a hash too many": lambda proof: bytes([proof[0] + 1]) + bytes(31) + b"\1" + proof[1:],
    "an empty hash": lambda proof: proof[:1] + bytes(32) + proof[33:],
    "a position": bent(lambda proof: 2 + 32 * proof[0]),
    "twice the same position": lambda proof: (
        proof[: 2 + 32 * proof[0]] + 2 * proof[2 + 32 * proof[0] :][:1] + proof[4 + 32 * proof[0] :]
    ),
    "a position far outside": lambda proof: (
        proof[: 2 + 32 * proof[0]] + b"\xff" + b"\xff" * 8 + proof[3 + 32 * proof[0] :]
    ),
    "millions of hashes": lambda proof: b"\xfe\xff\xff\xff\x00" + proof[1:],
    "a leaf": bent(lambda proof: len(proof) - 2),
    "of another block": lambda _: b"",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_a_forged_proof_says_nothing_of_the_block(world: World, how: str) -> None:
    chain = chain_of()
    for raw in chain[:-2]:
        world.take(raw)
    good, last = chain[-2], chain[-1]
    proof = world.bridge.prove(good)
    forged = world.proofs[hash_of(chain[-3])] if how == "of another block" else FORGERIES[how](proof)
    assert forged != proof
    world.proofs[hash_of(good)] = forged
    before = world.state.tip
    events = world.feed(good)
    [error] = [event.error for event in events if isinstance(event, BlockUnproven)]
    assert isinstance(error, ForgedProofError) and error.proof == forged and str(error)
    index = world.state.tree.find(hash_of(good))
    assert not world.state.tree.is_failed(index) and not world.state.tree.has_data(index)
    assert world.state.tip == before
    world.check()
    if how == "empty":  # what follows waits, also where it is here already
        world.feed(last)
        assert world.state.tip == before
        world.proofs[hash_of(good)] = proof
        world.feed(good)
        [missing] = [event for event in world.feed(last) if isinstance(event, BlockUnproven)]
        assert isinstance(missing.error, MissingProofError)
        world.bridge.adopt(good)
    else:
        world.take(good)
    world.check()
    world.take(last)
    world.state.close()


def test_a_bad_block_with_a_good_proof_is_invalid(world: World) -> None:
    lab = Lab(PARAMS, now=NOW)
    for raw in lab.prepare():
        world.take(raw)
    raw = lab.block(coinbase_value=lab.subsidy + 1)
    events = world.feed(raw)
    [violation] = [event.violation for event in events if isinstance(event, BlockRejected)]
    assert isinstance(violation, RuleViolation) and violation.code == "bad-cb-amount"
    assert world.state.tree.is_failed(world.state.tree.find(hash_of(raw)))
    world.state.close()


def test_shown_coins_are_known_until_they_are_spent(world: World) -> None:
    chain = chain_of()
    for raw in chain[:-1]:
        world.take(raw)
    state, proven = world.state, world.state.proven
    assert proven is not None
    block = parse_block(chain[-1])
    spent = world.bridge.spent(block)
    outpoint, (known, _) = next(item for item in spent.items())
    world.reopen()  # nothing is known any more
    state, proven = world.state, world.state.proven
    assert proven is not None
    assert state.read_view.get(outpoint) is None
    height = int.from_bytes(known.coin[:4], "little") >> 1
    coin = ProvenCoin(state.tree.hash(state.active.at(height)), outpoint, known.coin)
    proof = world.bridge.forest.prove([world.bridge._slots[known.leaf]])
    good = CoinProof(state.tree.hash(state.tip), (coin,), proof)
    wrong = ProvenCoin(coin.block_hash, outpoint, known.coin[:-1] + b"?")
    with pytest.raises(ProofError):
        proven.show(CoinProof(good.after, (wrong,), proof))
    with pytest.raises(ProofError, match="the tip is"):
        proven.show(CoinProof(coin.block_hash, (coin,), proof))
    assert state.read_view.get(outpoint) is None
    proven.show(good)
    assert state.read_view.get(outpoint) == known.coin
    world.take(chain[-1])
    assert state.read_view.get(outpoint) is None
    state.invalidate(state.tip)
    state.activate_best_chain()
    assert state.read_view.get(outpoint) == known.coin
    made = next(iter(world.bridge.coins))
    assert world.bridge.coins[made]
    state.close()


def test_directories_with_coins_and_without_are_told_apart(tmp_path: Path) -> None:
    with_coins = Chainstate.open(PARAMS, ChainStore.open(tmp_path / "full", PARAMS))
    with_coins.close()
    store = ChainStore.open(tmp_path / "full", PARAMS)
    with pytest.raises(RebuildError, match="reindex"):
        Chainstate.open(PARAMS, store, proofs=Proofs())
    store.close()
    World(tmp_path / "compact").state.close()
    store = ChainStore.open(tmp_path / "compact", PARAMS)
    with pytest.raises(RebuildError, match="utreexo-csn"):
        Chainstate.open(PARAMS, store)
    store.close()


def test_roots_that_are_not_kept_any_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btcnode.storage.layout.ROOTS_KEPT", 16)
    monkeypatch.setattr("btcnode.chain.chainstate.ROOTS_KEPT", 16)
    lab = Lab(PARAMS, now=NOW)
    for _ in range(40):
        raw = lab.block()
        lab.adopt(raw)
        world.take(raw)
    world.reopen()
    state = world.state
    with pytest.raises(StorageError, match="cannot be taken back"):
        state.invalidate(state.active.at(24))
    state.invalidate(state.active.at(26))
    state.activate_best_chain()
    assert state.active.height == 25
    proven = state.proven
    assert proven is not None and proven.roots_at(state.tree.hash(state.active.at(3)), 3) is None
    with pytest.raises(CorruptionError):
        proven.open_at(state.tree.hash(state.active.at(3)), 3)
    state.close()
