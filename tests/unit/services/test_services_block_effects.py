"""What is made of blocks for peers is made for those who are still there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock, MagicMock

import pytest

from btcnode.networks.parameters import params_for
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.services.block_effects import BlockEffects
from btcnode.wire.bloom_filter import BloomFilter
from btcnode.wire.messages import GetUtxoTree, GetXThin

GENESIS = params_for("regtest").genesis_block
PEER = 7


@pytest.mark.parametrize("here", [True, False])
@pytest.mark.parametrize(
    "effect",
    [
        fx.MatchBlock(PEER, 0, BloomFilter(b"\xff", 1, 0, 0)),
        fx.ReadBlock(PEER, 0, witness=False),
        fx.MakeThin(PEER, 0, GetXThin(bytes(32), b"", 0, 0), None),
    ],
    ids=["filtered", "stripped", "thin"],
)
def test_nothing_is_made_for_who_has_gone(
    tmp_path: Path, effect: fx.MatchBlock | fx.ReadBlock | fx.MakeThin, here: bool
) -> None:
    async def run() -> tuple[list[ev.Event], int]:
        reactor, chain, answered = MagicMock(), MagicMock(), asyncio.Event()
        reactor.feed.side_effect = lambda _: answered.set()
        reactor.connections = {PEER: object()} if here else {}
        chain.driver.read_block = AsyncMock(return_value=GENESIS)
        effects = BlockEffects(reactor, chain, MagicMock(), MagicMock(), None, MagicMock(), tmp_path)
        reactor.execute_with.call_args[0][0][type(effect)](effect)
        await answered.wait()
        await effects.close()
        fed = [call.args[0] for call in reactor.feed.call_args_list]
        return fed, chain.driver.read_block.await_count

    (answer,), reads = asyncio.run(run())
    made = {ev.BlockMatched: "found", ev.BlockRead: "raw", ev.ThinMade: "made"}[type(answer)]
    assert (getattr(answer, made) is not None) is here
    assert reads == here


def test_no_task_begins_for_a_set_that_is_not_shared(tmp_path: Path) -> None:
    """A request for nothing costs an answer of nothing: no turn beside the loop, no thread."""

    async def run() -> tuple[list[ev.Event], int]:
        reactor, shares = MagicMock(), MagicMock()
        shares.has.return_value = False
        effects = BlockEffects(
            reactor, MagicMock(), MagicMock(), MagicMock(), None, MagicMock(), tmp_path, utxo_shares=shares
        )
        effect = fx.ReadUtxoSet(PEER, 5, GetUtxoTree(bytes(32)))
        reactor.execute_with.call_args[0][0][type(effect)](effect)
        fed, tasks = [call.args[0] for call in reactor.feed.call_args_list], len(asyncio.all_tasks())
        await effects.close()
        return fed, tasks

    assert asyncio.run(run()) == ([ev.UtxoSetRead(PEER, 5, None)], 1)
