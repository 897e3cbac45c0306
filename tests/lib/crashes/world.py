"""The chains that the situations work on, and the UTXO set that some of them load."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.networks import assumeutxo
from btcnode.networks.assumeutxo import AssumeUtxo
from btcnode.networks.parameters import params_for
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.storage.utxo_snapshot import SnapshotHeader, write_coins
from tests.lib.chain_generator import ChainGenerator
from tests.lib.coins import all_coins
from tests.lib.utreexo_bridge import MemoryBridge

PARAMS = params_for("regtest")
NOW = 2_000_000_000  # later than every block
SET_HEIGHT = 115
TIP = 165
FORK = 110  # where the other branch leaves the chain
LONG = 560


@dataclass(frozen=True)
class World:
    """``chain`` with a longer ``branch`` beside its last blocks, and a ``long`` chain whose files can be pruned.

    ``proofs`` of what the blocks of the first two spend are by block hash, with the block's height.
    """

    chain: list[bytes]
    branch: list[bytes]
    long: list[bytes]
    utxo_file: Path
    proofs: dict[BlockHash, tuple[int, bytes]]


def make_world(directory: Path) -> World:
    """Make it, with the file of the set after block SET_HEIGHT in ``directory``; this process then knows that set."""
    generator = ChainGenerator(PARAMS)
    chain = [*generator.spread(400)]
    chain += [generator.busy(4) for _ in range(FORK - len(chain))]
    other = deepcopy(generator)
    other._rng = Random(99)
    chain += [generator.busy(4) for _ in range(TIP - FORK)]
    branch = [other.busy(4) for _ in range(TIP - FORK + 1)]
    long = ChainGenerator(PARAMS, seed=3)
    blocks = [*long.spread(1500)]
    blocks += [long.busy(5) for _ in range(LONG - len(blocks))]
    return World(chain, branch, blocks, make_set(directory, chain, SET_HEIGHT), proofs_of(chain, branch))


def proofs_of(chain: Sequence[bytes], branch: Sequence[bytes]) -> dict[BlockHash, tuple[int, bytes]]:
    """What a bridge tells of a chain, and of a branch that leaves it at FORK."""
    bridge, proofs = MemoryBridge(), dict[BlockHash, tuple[int, bytes]]()

    def take(raw: bytes) -> None:
        proofs[header_hash(raw[:HEADER_SIZE])] = bridge.height + 1, bridge.prove(raw)
        bridge.adopt(raw)

    for raw in chain:
        take(raw)
    for _ in range(len(chain) - FORK):
        bridge.back()
    for raw in branch:
        take(raw)
    return proofs


def make_set(directory: Path, chain: Sequence[bytes], height: int) -> Path:
    """The file of the set after a chain's block of this height; this process then knows that set of regtest."""
    path = directory / "utxo.dat"
    state = Chainstate.open(PARAMS, ChainStore.open(directory / "source", PARAMS))
    for raw in chain[:height]:
        state.process_block(raw, NOW)
    state.flush()
    block_hash = header_hash(chain[height - 1][:HEADER_SIZE])
    rows = all_coins(state.store.coins)
    with path.open("wb") as out:
        out.write(SnapshotHeader(block_hash, len(rows)).pack(PARAMS))
        written = write_coins(out, [rows], lambda: None)
    known = AssumeUtxo(height, block_hash, written.utxo_hash, state.tree.columns.chain_tx[state.tip])
    state.close()
    assumeutxo._SETS = {**assumeutxo._SETS, "regtest": (known,)}
    return path
