"""Templates for miners: what a pool does with getblocktemplate, on a real node."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from btcnode.consensus.commitment import witness_commitment
from btcnode.mining.assembler import coinbase_transaction, grind
from btcnode.networks.parameters import params_for
from btcnode.primitives.block import parse_block
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import Header
from btcnode.primitives.merkle import merkle_root
from btcnode.primitives.tx import Tx
from tests.lib.block_lab import LabCoin
from tests.lib.mempool_lab import FREE, coins_of, pay
from tests.lib.process import NodeProcess, RpcFailure, wait_until
from tests.lib.rpc_watch import http_post

PARAMS = params_for("regtest")
REQUEST = {"rules": ["segwit"]}


def make_node(stack: ExitStack, base: Path, title: str, *options: str) -> NodeProcess:
    directory = base / title
    directory.mkdir(exist_ok=True)
    return stack.enter_context(NodeProcess(directory, "regtest", *options))


def build(template: dict[str, Any], *, value: int | None = None) -> bytes:
    """The block that a miner makes of a template, solved."""
    txs = [Tx.parse(bytes.fromhex(item["data"])) for item in template["transactions"]]
    height = template["height"]
    paid = template["coinbasevalue"] if value is None else value
    coinbase = coinbase_transaction(height, paid, FREE.script_pubkey, txs, with_witness=True)
    assert coinbase.outputs[1].script_pubkey.hex() == template["default_witness_commitment"]
    root, _ = merkle_root([coinbase.txid, *(tx.txid for tx in txs)])
    prev = BlockHash(bytes.fromhex(template["previousblockhash"])[::-1])
    header = Header(template["version"], prev, root, template["curtime"], int(template["bits"], 16), 0).serialize()
    solved, _ = grind(header, 1 << 20)
    assert solved is not None and solved[::-1].hex() is not None
    return b"".join((solved, compact_size(1 + len(txs)), coinbase.raw, *(tx.raw for tx in txs)))


def funded(node: NodeProcess, count: int) -> list[LabCoin]:
    """Coins that anybody may spend, mature."""
    coins = []
    for _ in range(count):
        raw = build(node.rpc("getblocktemplate", REQUEST))
        assert node.rpc("submitblock", raw.hex()) is None
        coins += coins_of(parse_block(raw).tx(0))[:1]
    node.rpc("generatetodescriptor", 100, "raw(51)")
    return coins


def test_a_pool_mines_what_the_mempool_has(tmp_path: Path) -> None:
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        with pytest.raises(RpcFailure, match="segwit rule set"):
            node.rpc("getblocktemplate", {})
        with pytest.raises(RpcFailure, match="Invalid mode"):
            node.rpc("getblocktemplate", {"mode": "nonsense"})
        coins = funded(node, 4)
        parent = pay([coins[0]], 1_000, outputs=2)
        child = pay(coins_of(parent)[:1], 50_000)
        dear = pay([coins[1]], 20_000)
        for tx in (parent, child, dear):
            node.rpc("sendrawtransaction", tx.raw.hex())
        node.rpc("setmocktime", int(time.time()) + 10)  # a changed mempool alone makes a new template after 5 seconds
        template = node.rpc("getblocktemplate", REQUEST)
        assert [item["txid"] for item in template["transactions"]] == [
            tx.txid[::-1].hex() for tx in (parent, child, dear)
        ]
        assert [item["depends"] for item in template["transactions"]] == [[], [1], []]
        assert [item["fee"] for item in template["transactions"]] == [1_000, 50_000, 20_000]
        assert template["coinbasevalue"] == 50 * 10**8 + 71_000
        assert template["weightlimit"] == 4_000_000 and template["sigoplimit"] == 80_000

        good = build(template)
        assert witness_commitment(parse_block(good)) is not None
        assert node.rpc("getblocktemplate", {"mode": "proposal", "data": good.hex()}) is None
        greedy = build(template, value=template["coinbasevalue"] + 1)
        assert node.rpc("getblocktemplate", {"mode": "proposal", "data": greedy.hex()}) == "bad-cb-amount"
        stale = good[:4] + bytes(32) + good[36:]
        answer = node.rpc("getblocktemplate", {"mode": "proposal", "data": stale.hex()})
        assert answer == "inconclusive-not-best-prevblk"
        with pytest.raises(RpcFailure, match="Block decode failed"):
            node.rpc("getblocktemplate", {"mode": "proposal", "data": "00"})
        assert node.rpc("getblockcount") == template["height"] - 1  # nothing was stored

        assert node.rpc("submitblock", good.hex()) is None
        assert node.rpc("getblockcount") == template["height"] and node.rpc("getrawmempool") == []
        assert node.rpc("getblocktemplate", {"mode": "proposal", "data": good.hex()}) == "duplicate"
        assert node.stop() == 0


def test_a_long_poll_ends_with_the_next_block(tmp_path: Path) -> None:
    with ExitStack() as stack:
        node = make_node(stack, tmp_path, "node").start()
        node.rpc("generatetodescriptor", 1, "raw(51)")
        name = node.rpc("getblocktemplate", REQUEST)["longpollid"]
        answers: list[dict[str, Any]] = []
        waiting = threading.Thread(
            target=lambda: answers.append(node.rpc("getblocktemplate", REQUEST | {"longpollid": name}))
        )
        waiting.start()
        time.sleep(0.5)
        assert not answers
        node.rpc("generatetodescriptor", 1, "raw(51)")
        wait_until(lambda: bool(answers), 10, "the end of the long poll")
        waiting.join()
        assert answers[0]["height"] == 3 and answers[0]["longpollid"] != name
        assert node.stop() == 0


def test_a_search_for_work_that_takes_hours_ends_with_the_node(tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "testnet4", "--connect", "0") as node:
        node.start()
        login = (node.net_dir / ".cookie").read_text().strip()
        body = b'{"method": "generatetodescriptor", "params": [1, "raw(51)", 4000000000]}'
        with socket.create_connection(("127.0.0.1", node.rpc_port), 60) as client:
            client.sendall(http_post(login, body))
            wait_until(lambda: len(node.rpc("getrpcinfo")["active_commands"]) == 2, 20)
            assert node.rpc("getdescriptorinfo", "raw(51)")["isrange"] is False
            assert node.stop() == 0
