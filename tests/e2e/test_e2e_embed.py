"""A node inside a program, and the pytest plugin's fixture."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import btcnode
from btcnode.errors import BtcnodeError, ConfigError
from btcnode.rpc.errors import RpcError
from btcnode.testing.regtest import RegtestNode

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
OTHER = "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry"


def test_methods_and_events() -> None:
    async def main() -> None:
        async with btcnode.Node(network="regtest") as node:
            tips = node.events(btcnode.NewTip)
            hashes = await node.rpc.generatetoaddress(3, ADDRESS)
            seen = [await anext(tips) for _ in range(3)]
            assert [tip.block_hash for tip in seen] == hashes
            assert [tip.height for tip in seen] == [1, 2, 3]
            stats = await node.rpc.getblockstats(hash_or_height=3, stats=["txs"])
            assert stats == {"txs": 1}
            with pytest.raises(RpcError, match="Block height out of range"):
                await node.rpc.getblockhash(4)
            every = node.events()
            await node.rpc.invalidateblock(hashes[1])
            await node.rpc.generatetoaddress(1, OTHER)
            assert await anext(every) == btcnode.Reorganisation(1, (hashes[2], hashes[1]))
            tip = await anext(every)
            assert isinstance(tip, btcnode.NewTip)
            assert tip.height == 2
            assert node.rpc_address[1]
        assert [event async for event in every] == []
        with pytest.raises(BtcnodeError, match="not running"):
            node.events()

    asyncio.run(main())


def test_two_nodes_and_a_directory(tmp_path: Path) -> None:
    async def main() -> None:
        one = btcnode.Node(datadir=tmp_path, listen=True, bind=("127.0.0.1",), port=0)
        async with one, btcnode.Node() as two:
            came = one.events(btcnode.PeerCame, btcnode.PeerLeft)
            host, port = one.p2p_address
            await two.rpc.addnode(f"{host}:{port}", "onetry")
            peer = await asyncio.wait_for(anext(came), 20)
            assert isinstance(peer, btcnode.PeerCame)
            assert peer.inbound
            tips = two.events(btcnode.NewTip)
            await one.rpc.generatetoaddress(1, ADDRESS)
            assert (await asyncio.wait_for(anext(tips), 20)).height == 1
        async with btcnode.Node(datadir=tmp_path) as again:
            assert await again.rpc.getblockcount() == 1

    asyncio.run(main())


def test_wrong_options() -> None:
    with pytest.raises(ConfigError):
        btcnode.Node(network="regtest", no_such_option=1)


def test_fixture(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    txid = node.pay(ADDRESS, "0.5")
    assert node.rpc.getrawmempool() == [txid]
    second = node.pay(ADDRESS, 60)
    node.mine(1)
    paid, more = node.rpc.gettxout(txid, 0), node.rpc.gettxout(second, 0)
    assert paid is not None
    assert paid["confirmations"] == 1
    assert more is not None
    assert more["value"] == 60
    with pytest.raises(ValueError, match="too few mature coins"):
        node.pay(ADDRESS, 5000)
