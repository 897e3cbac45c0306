"""What a reindex leaves of blocks that are in the files and not on the chain."""

from __future__ import annotations

import asyncio
from pathlib import Path

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.networks.parameters import params_for
from btcnode.node import Node
from btcnode.primitives.header import HEADER_SIZE, header_hash
from tests.lib.chain_generator import ChainGenerator
from tests.lib.settings import settings_of

PARAMS = params_for("regtest")
FRAME = 8  # bytes before each block
EMPTY_UNDO = FRAME + 1 + 32  # of a block whose only transaction is its coinbase


def branches() -> tuple[list[bytes], list[bytes]]:
    """Two blocks after genesis, and three others."""
    early, late = ChainGenerator(PARAMS), ChainGenerator(PARAMS)
    late.time += 1
    return [early.block() for _ in range(2)], [late.block() for _ in range(3)]


def test_blocks_that_lead_nowhere_are_not_counted(tmp_path: Path) -> None:
    """As in Core, which connects blocks when all are read: a branch that was overtaken has no undo data."""
    old, new = branches()
    net_dir = settings_of(network="regtest", datadir=tmp_path).net_dir
    state = Chainstate.open(PARAMS, ChainStore.open(net_dir, PARAMS))
    for raw in (*old, *new):
        state.process_block(raw, 2_000_000_000)
    before = state.store.files.total_size
    lone = ChainGenerator(PARAMS)
    lone.tip_hash, lone.height = bytes(32), 7  # nobody knows the parent
    state.store.files.append_block(lone.block(), 8)
    assert state.store.files.total_size > before
    state.flush()
    state.close()

    async def sizes(*, reindex: bool) -> tuple[int, int, list[int]]:
        settings = settings_of(
            network="regtest", datadir=tmp_path, listen=False, dnsseed=False, rpcport=0, par=1, reindex=reindex
        )
        async with Node(settings).life() as running:
            opened = running.assembled.opened
            assert opened.state.tree.hash(opened.state.tip) == header_hash(new[-1][:HEADER_SIZE])
            (info,) = opened.store.files.infos
            tree = opened.state.tree
            undone = [tree.columns.undo_pos[tree.find(header_hash(raw[:HEADER_SIZE]))] for raw in old]
            return info.size, info.undo_size, undone

    blocks = sum(FRAME + len(raw) for raw in (PARAMS.genesis_block, *old, *new))
    for reindex in (True, False):
        size, undo_size, undone = asyncio.run(sizes(reindex=reindex))
        assert size == blocks
        assert undo_size == len(new) * EMPTY_UNDO
        assert not any(undone)
