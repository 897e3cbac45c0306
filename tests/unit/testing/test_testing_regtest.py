"""The pytest fixture's node: its purse follows the chain, its blocks differ, its thread ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

import btcnode
from btcnode.errors import BtcnodeError, ConfigError, DecodeError, StorageError
from btcnode.rpc.errors import RpcError
from btcnode.testing import regtest
from btcnode.testing.regtest import RegtestNode

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


def test_three_coins(btcnode_regtest: RegtestNode) -> None:
    for _ in range(3):
        btcnode_regtest.pay(ADDRESS, "49.9999")
    with pytest.raises(ValueError, match="too few mature coins"):
        btcnode_regtest.pay(ADDRESS, 1)


def test_blocks_on_one_parent_differ(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    node.rpc.setmocktime(2_000_000_000)  # it stays the same second
    height, seen = node.rpc.getblockcount(), set()
    for _ in range(5):
        seen.update(node.mine())
        node.rpc.invalidateblock(node.rpc.getbestblockhash())
        assert node.rpc.getblockcount() == height
    assert len(seen) == 5
    # the RPC method is Bitcoin Core's: what is the same block is refused
    found = node.rpc.generatetoaddress(1, ADDRESS)
    node.rpc.invalidateblock(found[0])
    with pytest.raises(RpcError, match="not accepted"):
        node.rpc.generatetoaddress(1, ADDRESS)


def test_two_nodes_mine_different_blocks() -> None:
    with RegtestNode() as one, RegtestNode() as two:
        for node in (one, two):
            node.rpc.setmocktime(2_000_000_000)
        assert one.mine(2) != two.mine(2)


def test_the_purse_survives_a_reorganisation(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    left = node.mine(2)
    paid = node.pay(ADDRESS, 120)
    node.mine()
    assert node.rpc.getrawmempool() == []
    node.rpc.invalidateblock(left[0])
    # 3 coins were mature; the payment spent three of them, is in the mempool again, and its change can be spent
    assert node.rpc.getrawmempool() in ([paid], [])
    node.mine(4)
    assert node.rpc.getrawmempool() == []
    for _ in range(3):
        assert node.pay(ADDRESS, 40) in node.rpc.getrawmempool()
    node.mine()
    assert node.rpc.getrawmempool() == []


def test_coins_that_are_gone_are_not_spent(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    node.rpc.invalidateblock(node.rpc.getblockhash(1))  # every coin of the purse
    assert node.rpc.getblockcount() == 0
    with pytest.raises(ValueError, match="too few mature coins"):
        node.pay(ADDRESS, 1)
    node.mine(100)
    node.pay(ADDRESS, 1)
    with pytest.raises(ValueError, match="too few mature coins"):
        node.pay(ADDRESS, 49)  # the change is spent once
        node.pay(ADDRESS, 49)


def test_coins_sent_to_the_purse_are_seen(tmp_path: Path) -> None:
    with RegtestNode(datadir=tmp_path) as node:
        node.rpc.generatetoaddress(1, node.address)
        node.mine(100, ADDRESS)
        node.pay(node.address, "1.5")  # the change and the payment, unconfirmed
        node.pay(ADDRESS, 49)
        node.mine(1, ADDRESS)
        with pytest.raises(ValueError, match="too few"):
            node.pay(ADDRESS, 2)
    with RegtestNode(datadir=tmp_path) as again:
        again.pay(ADDRESS, Decimal("0.9"))


def test_many_payments(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    txids = {node.pay(ADDRESS, 0.1) for _ in range(40)}
    assert set(node.rpc.getrawmempool()) == txids
    node.mine()
    assert node.rpc.getrawmempool() == []


def test_payments_from_several_threads(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    threads = [threading.Thread(target=node.pay, args=(ADDRESS, "0.1")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(node.rpc.getrawmempool()) == 8


def test_what_is_no_payment(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    for amount in ("1_0", " 1", "nan", float("nan"), float("inf"), -1, "0", 0, "0.000000001", Decimal("1e-9"), "1e999"):
        with pytest.raises(ValueError, match="mount"):
            node.pay(ADDRESS, amount)
    with pytest.raises(ValueError, match="mount"):
        node.pay(ADDRESS, Decimal("1e999999999"))
    for wrong in (None, True, b"1", [1]):
        with pytest.raises(TypeError, match="an amount is text or a number"):
            node.pay(ADDRESS, cast(Any, wrong))
    for address in ("", "nobody", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"):
        with pytest.raises(DecodeError):
            node.pay(address, 1)
        with pytest.raises(DecodeError):
            node.mine(1, address)
    assert node.rpc.getrawmempool() == []
    assert node.rpc.getblockcount() == 102


def test_typed_methods_and_addresses(btcnode_regtest: RegtestNode) -> None:
    node = btcnode_regtest
    assert node.rpc.getblockchaininfo()["blocks"] == 102
    assert node.node.rpc_address[0] in ("127.0.0.1", "::1")
    with pytest.raises(BtcnodeError, match="another event loop"):
        node.node.events()

    async def first_tip() -> int:
        tips = node.node.events(btcnode.NewTip)
        await node.node.rpc.generatetoaddress(1, ADDRESS)
        return (await anext(tips)).height

    assert node.run(first_tip()) == 103


def test_closed_and_misused(monkeypatch: pytest.MonkeyPatch) -> None:
    node = RegtestNode()

    async def inside() -> None:
        with pytest.raises(BtcnodeError, match="own thread"):
            node.mine()
        with pytest.raises(BtcnodeError, match="own thread"):
            node.rpc.getblockcount()

    node.run(inside())
    monkeypatch.setattr(regtest, "CALL_TIMEOUT", 0.05)
    cancelled: list[bool] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.append(True)

    with pytest.raises(TimeoutError):
        node.run(endless())
    node.close()
    assert cancelled == [True]
    node.close()
    with pytest.raises(BtcnodeError, match="closed"):
        node.rpc.getblockcount()
    with pytest.raises(BtcnodeError, match="closed"):
        node.mine()


def test_a_start_that_fails() -> None:
    with pytest.raises(ConfigError):
        RegtestNode(no_such_option=1)
    with pytest.raises(ConfigError, match="always on regtest"):
        RegtestNode(network="signet")
    with pytest.raises(BtcnodeError):
        RegtestNode(datadir="/proc/nowhere")


def test_a_node_that_fails() -> None:
    node = RegtestNode()

    async def fail() -> None:
        node.node._check().node.assembled.opened.launch.failure.report(StorageError("the disk is gone"))

    node.run(fail())
    with pytest.raises(StorageError, match="the disk is gone"):
        node.close()
    node.close()


def test_a_wallet_is_made_once(tmp_path: Path) -> None:
    with RegtestNode(datadir=tmp_path, keypool=2) as node:
        node.mine(1, node.wallet().getnewaddress())
        assert node.wallet() is node.wallet("test") is not node.wallet("other")
        assert node.wallet("other").getwalletinfo()["txcount"] == 0
        node.rpc.unloadwallet("test")
    with RegtestNode(datadir=tmp_path, keypool=2) as node:
        assert node.wallet().getbalances()["mine"]["immature"] == 50
        assert node.rpc.listwallets() == ["test"]
