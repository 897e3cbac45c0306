from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import RebuildError
from btcnode.networks.parameters import NetworkParams, params_for
from btcnode.node.chain_loader import ChainLoader
from btcnode.services.clock import Clock
from btcnode.sync.driver import ChainDriver
from btcnode.testing.memory_chain import mine_chain
from tests.lib.settings import settings_of

REGTEST = params_for("regtest")


def open_with(path: Path, params: NetworkParams) -> Chainstate:
    """The chain under ``path`` as the node loads it under these rules."""
    settings = settings_of(network="regtest", datadir=path)
    loader = ChainLoader(settings, params, Clock(2_000_000_000), lambda _: None, lambda: None)
    return loader.load(loader.open_store(), None)


def test_blocks_from_before_segwit_was_known_must_be_looked_at_again(tmp_path: Path) -> None:
    late = replace(REGTEST, segwit_height=10)
    directory = settings_of(network="regtest", datadir=tmp_path).net_dir
    directory.mkdir(parents=True)

    async def run() -> None:
        state = Chainstate.open(late, ChainStore.open(directory, late))
        driver = ChainDriver(state, on_fatal=lambda error: pytest.fail(str(error)))
        for raw in mine_chain(late, 8, 1_999_999_000):
            await driver.store_block(raw, 2_000_000_000, requested=True)
        await driver.settled()
        assert state.active.height == 8
        await driver.close()

    asyncio.run(run())
    with pytest.raises(RebuildError, match="Witness data for blocks after height 5 requires validation"):
        open_with(tmp_path, replace(REGTEST, segwit_height=5))
