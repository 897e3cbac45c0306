"""A node over the world: blocks, branches and mempool given to it by RPC."""

from __future__ import annotations

import time
from pathlib import Path

from btcnode.primitives.header import HEADER_SIZE

from .assumed import AssumedWorld, load_set
from .nodes import Node
from .text import Tree, parse, request
from .world import World

INDEX_TIMEOUT_S = 60.0


def feed_chain(node: Node, world: World, utxo_set: Path | None = None) -> None:
    """Give the chain and what is beside it; raises RuntimeError when the tip is not the world's.

    With the file of a ``utxo_set`` (of an ``AssumedWorld``) the chain begins with that one.
    """
    if utxo_set is None:
        for raw in world.blocks:
            node.result(request("submitblock", [raw.hex()]))
    else:
        assert isinstance(world, AssumedWorld)
        load_set(node, world, utxo_set)
    for raw in (*world.side_blocks, *world.bad_blocks):
        node.call(request("submitblock", [raw.hex()]))
    for raw in world.lone_headers:
        node.call(request("submitheader", [raw[:HEADER_SIZE].hex()]))
    tip = node.result(request("getbestblockhash", []))
    if tip != world.hashes[-1]:
        raise RuntimeError(f"{node.name} has another tip: {tip}")
    wait_for_indexes(node)


def wait_for_indexes(node: Node) -> None:
    """Wait until every index is at the tip; raises TimeoutError."""
    deadline = time.monotonic() + INDEX_TIMEOUT_S
    while not all(index["synced"] for index in node.result(request("getindexinfo", [])).values()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{node.name}: indexes do not catch up")
        time.sleep(0.05)


def feed_mempool(node: Node, world: World) -> None:
    """Give the transactions; raises RuntimeError when one is refused."""
    for txs in world.mempool:
        if len(txs) == 1:
            node.result(request("sendrawtransaction", [txs[0].raw.hex()]))
            continue
        answer = node.result(request("submitpackage", [[tx.raw.hex() for tx in txs]]))
        if answer["package_msg"] != "success":
            raise RuntimeError(f"{node.name}: {answer}")
    node.result(request("syncwithvalidationinterfacequeue", []))


def prepare(node: Node, world: World, utxo_set: Path | None = None, *, without_old_blocks: bool = False) -> None:
    """Fill a new node, save its directory, and leave it running.

    ``without_old_blocks``: the node prunes what it may; raises RuntimeError when that is nothing.
    """
    node.start()
    feed_chain(node, world, utxo_set)
    if without_old_blocks and int(node.result(request("pruneblockchain", [world.height]))) < 0:
        raise RuntimeError(f"{node.name} has pruned nothing")
    feed_mempool(node, world)
    node.result(request("savemempool", []))
    node.stop()
    node.save()
    node.start()
    wait_for_mempool(node)


def wait_for_mempool(node: Node) -> None:
    """Wait until the mempool is loaded and the indexes are at the tip; raises TimeoutError."""
    deadline = time.monotonic() + INDEX_TIMEOUT_S
    while not node.result(request("getmempoolinfo", []))["loaded"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{node.name}: the mempool does not load")
        time.sleep(0.05)
    wait_for_indexes(node)


def tips_in_order(tips: list[Tree]) -> list[Tree]:
    """Chain tips by height and hash: bitcoind orders those of one height by where they lie in its memory."""
    return sorted(tips, key=lambda tip: (-int(tip["height"]), tip["hash"]))


def state(node: Node) -> list[object]:
    """What a state-changing call may have changed."""
    calls = (
        "getbestblockhash",
        "getchaintips",
        "getrawmempool",
        "getprioritisedtransactions",
        "listbanned",
        "getaddednodeinfo",
        "logging",
        "getindexinfo",
        "getmempoolfeeratediagram",
    )
    wait_for_indexes(node)
    found: list[object] = []
    for method in calls:
        _, data, _ = node.call(request(method, []))
        answer = parse(data)["result"]
        found.append(tips_in_order(answer) if method == "getchaintips" else answer)
    found.append([(peer["id"], peer["subver"]) for peer in node.result(request("getpeerinfo", []))])
    return found
