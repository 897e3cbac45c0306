"""Floods over real connections: whoever asks meanwhile is answered, blocks connect, memory stays bounded.

Figures, and all kinds: ``scripts/bench/hostile.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lib.hostile.catalogue import KINDS
from tests.lib.hostile.siege import attack
from tests.lib.hostile.sites import Node, Stable
from tests.lib.hostile.world import World, make_world

PEERS = 12
SECONDS = 1.0
MEMORY = 600 << 20  # bytes
NAMES = (
    "getblocks, 69 bytes",
    "empty frames, wrong checksum",
    "getblocktxn, 65,535 of an unknown block",
    "orphans with 2,400 inputs",
    "getcfheaders, 2,000",
    "mempool, matched by a filter of 50 functions",
    "get_xthin of two blocks in turn",
)


@dataclass
class Ground:
    """A node, and what it was made of."""

    world: World
    node: Node


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    world = make_world(100, 40, 100, height=300, busy_txs=1_000)
    stable = Stable(tmp_path_factory.mktemp("hostile"), world, None)
    stable.prepare()
    with stable.node(pool=True) as node:
        yield Ground(world, node)


@pytest.mark.parametrize("name", NAMES)
def test_the_node_answers_during_a_flood(ground: Ground, name: str) -> None:
    kind = next(kind for kind in KINDS if kind.name == name)
    world, node = ground.world, ground.node
    result = attack(node, kind, kind.prepare(world, PEERS), PEERS, SECONDS, world)
    seen = result.seen
    assert result.tally.connected >= PEERS
    assert result.tally.frames > 0
    for delays in (seen.call, seen.new_call, seen.health, seen.ping):
        assert not delays.failed
        assert delays.seconds
    assert not seen.block.failed
    assert seen.block.seconds
    assert result.memory < MEMORY
    assert node.settle()
