"""Compact blocks between real nodes: what is in both pools is not sent again, what is missing takes one round trip."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.e2e.test_e2e_mempool import Wallet, make_node, name, pool_of
from tests.lib.process import NodeProcess, wait_until


def count(node: NodeProcess, direction: str, command: str) -> int:
    """Bytes of messages of one kind that the node has sent or received over its connections."""
    return sum(int(peer[f"bytes{direction}_per_msg"].get(command, 0)) for peer in node.rpc("getpeerinfo"))


def test_blocks_of_known_transactions_take_no_round_trip(tmp_path: Path) -> None:
    wallet = Wallet()
    with ExitStack() as stack:
        first = make_node(stack, tmp_path, "first").start()
        wallet.learn(first, first.rpc("generatetoaddress", 12, wallet.address))
        first.rpc("generatetoaddress", 100, wallet.address)
        second = make_node(stack, tmp_path, "second", "--connect", first.address).start()
        second.wait_height(112)
        wait_until(lambda: not second.rpc("getblockchaininfo")["initialblockdownload"], 30, "the end of the sync")
        block = first.rpc("generatetoaddress", 1, wallet.address)[0]
        wait_until(lambda: second.rpc("getbestblockhash") == block, 30, "the first block")
        wait_until(lambda: second.rpc("getpeerinfo")[0]["bip152_hb_to"] is True, 30, "high-bandwidth mode")
        wait_until(lambda: first.rpc("getpeerinfo")[0]["bip152_hb_from"] is True, 30, "high-bandwidth mode")
        blocks_before = count(second, "recv", "block")

        known = [wallet.pay(10_000) for _ in range(8)]
        for tx in known:
            first.rpc("sendrawtransaction", tx.serialize().hex())
        wait_until(lambda: len(pool_of(second)) == len(known), 60, "the relay")
        block = first.rpc("generatetoaddress", 1, wallet.address)[0]
        wait_until(lambda: second.rpc("getbestblockhash") == block, 30, "the block")
        assert set(second.rpc("getblock", block)["tx"][1:]) == {name(tx) for tx in known}
        assert count(second, "sent", "getblocktxn") == 0
        assert count(second, "recv", "cmpctblock") > 0

        # transactions that only the miner knows
        fresh = [wallet.pay(10_000) for _ in range(3)]
        raws = [tx.serialize().hex() for tx in fresh]
        block = first.rpc("generateblock", wallet.address, raws)["hash"]
        wait_until(lambda: second.rpc("getbestblockhash") == block, 30, "the block with unknown transactions")
        asked = count(second, "sent", "getblocktxn")
        assert asked > 0
        assert count(second, "recv", "blocktxn") > sum(len(raw) // 2 for raw in raws)
        assert count(second, "recv", "block") == blocks_before  # nothing came in full
        for node in (first, second):
            assert node.stop() == 0


def test_thin_blocks_where_both_sides_prefer_them(tmp_path: Path) -> None:
    wallet = Wallet()
    options = ("--xthin", "--block-relay", "xthin")
    with ExitStack() as stack:
        first = make_node(stack, tmp_path, "first", *options).start()
        wallet.learn(first, first.rpc("generatetoaddress", 8, wallet.address))
        first.rpc("generatetoaddress", 100, wallet.address)
        second = make_node(stack, tmp_path, "second", "--connect", first.address, *options).start()
        second.wait_height(108)
        wait_until(lambda: not second.rpc("getblockchaininfo")["initialblockdownload"], 30, "the end of the sync")
        assert "XTHIN" in second.rpc("getpeerinfo")[0]["servicesnames"]
        blocks_before = count(second, "recv", "block")
        known = [wallet.pay(10_000) for _ in range(5)]
        for tx in known:
            first.rpc("sendrawtransaction", tx.serialize().hex())
        wait_until(lambda: len(pool_of(second)) == len(known), 60, "the relay")
        raws = [tx.serialize().hex() for tx in (wallet.pay(10_000), wallet.pay(10_000))]
        block = first.rpc("generateblock", wallet.address, [*(name(tx) for tx in known), *raws])["hash"]
        wait_until(lambda: second.rpc("getbestblockhash") == block, 30, "the block")
        assert second.rpc("getblock", block, 0) == first.rpc("getblock", block, 0)  # witnesses too
        assert count(second, "sent", "get_xthin") > 0
        size = count(second, "recv", "xthinblock") + count(second, "recv", "xblocktx")
        assert sum(len(raw) // 2 for raw in raws) < size
        assert count(second, "recv", "block") == blocks_before
        for node in (first, second):
            assert node.stop() == 0
