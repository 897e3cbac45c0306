from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from btcnode.chain.chainstate import Chainstate
from btcnode.chain.store import ChainStore
from btcnode.errors import RebuildError, StorageError
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
    store = loader.open_store()
    try:
        return loader.load(store, None)
    except StorageError:
        store.close()
        raise


async def _mine(directory: Path, params: NetworkParams, count: int) -> None:
    """Blocks 1 to ``count``, stored under ``directory`` by a node that knows ``params``."""
    state = Chainstate.open(params, ChainStore.open(directory, params))
    driver = ChainDriver(state, on_fatal=lambda error: pytest.fail(str(error)))
    for raw in mine_chain(params, count, 1_999_999_000):
        await driver.store_block(raw, 2_000_000_000, requested=True)
    await driver.settled()
    assert state.active.height == count
    await driver.close()


@pytest.mark.parametrize(
    ("gone", "text", "detail"),
    [
        ("chainstate/btcnode.mdb", "Error opening block database", "chainstate/btcnode.mdb is missing"),
        ("chainstate/coins/*.mdb", "Error opening coins database", "is missing"),
        ("blocks/blk00000.dat", "Error loading block database", "blk00000.dat is missing"),
        ("blocks/rev00000.dat", "Error loading block database", "rev00000.dat is missing"),
        ("blocks/xor.dat", "", ""),
    ],
)
def test_files_that_are_gone_end_the_start_in_core_s_words(tmp_path: Path, gone: str, text: str, detail: str) -> None:
    directory = settings_of(network="regtest", datadir=tmp_path).net_dir
    directory.mkdir(parents=True)
    asyncio.run(_mine(directory, REGTEST, 8))
    for path in directory.glob(gone):
        path.unlink()
    if not text:  # made again from what the database knows
        assert open_with(tmp_path, REGTEST).active.height == 8
        return
    for _ in range(2):
        with pytest.raises(RebuildError) as caught:
            open_with(tmp_path, REGTEST)
        assert str(caught.value) == text
        assert detail in caught.value.detail


def test_blocks_from_before_segwit_was_known_must_be_looked_at_again(tmp_path: Path) -> None:
    late = replace(REGTEST, segwit_height=10)
    directory = settings_of(network="regtest", datadir=tmp_path).net_dir
    asyncio.run(_mine(directory, late, 8))
    with pytest.raises(RebuildError, match="Witness data for blocks after height 5 requires validation"):
        open_with(tmp_path, replace(REGTEST, segwit_height=5))
