"""``gettxoutsetinfo``: statistics of the UTXO set, from a walk over it or from the coinstatsindex."""

from __future__ import annotations

from typing import Any

from btcnode.errors import StorageError
from btcnode.indexes.coinstats import CoinStats
from btcnode.primitives.hashes import to_display
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import find_by_hash_or_height
from btcnode.rpc.spec import Arg, Kind, coins, hexed, number, obj, rpc
from btcnode.services.indexes import CoinStatsIndex
from btcnode.services.parts import NodeParts

HASH_TYPES = ("hash_serialized_3", "muhash", "none")


@rpc(
    "blockchain",
    "Statistics of the set of unspent outputs. Without coinstatsindex it reads the whole set, which takes a while.",
    Arg("hash_type", Kind.STR, 'Hash over the set: "hash_serialized_3", "muhash" or "none"', "hash_serialized_3"),
    Arg(
        "hash_or_height",
        Kind.INT,
        "Hash or height of the block after which (with coinstatsindex only)",
        None,
        hint="the current best block",
        any_type=True,
    ),
    Arg("use_index", Kind.BOOL, "Whether coinstatsindex may answer", True),
    returns=obj(
        "",
        "",
        number("height", "Height of the block the set belongs to"),
        hexed("bestblock", "Hash of that block"),
        number("txouts", "Unspent outputs"),
        number("bogosize", "A measure of the set's size that does not depend on how it is stored"),
        hexed("hash_serialized_3", "Serialised hash", optional=True),
        hexed("muhash", "Hash that does not depend on the order", optional=True),
        number("transactions", "Transactions with unspent outputs (not from coinstatsindex)", optional=True),
        number("disk_size", "Estimated bytes on disk (not from coinstatsindex)", optional=True),
        coins("total_amount", "Sum of all outputs"),
        coins("total_unspendable_amount", "Coins that are in no set (from coinstatsindex)", optional=True),
        obj(
            "block_info",
            "What the block did (from coinstatsindex)",
            coins("prevout_spent", "Sum of what it spent"),
            coins("coinbase", "Sum of its coinbase's outputs"),
            coins("new_outputs_ex_coinbase", "Sum of its other outputs"),
            coins("unspendable", "Sum of what nobody can spend"),
            obj(
                "unspendables",
                "The same by reason",
                coins("genesis_block", "The output of the genesis block"),
                coins("bip30", "Coinbases that were overwritten"),
                coins("scripts", "Scripts like OP_RETURN"),
                coins("unclaimed_rewards", "What the miner did not take"),
            ),
            optional=True,
        ),
    ),
    examples=((), ("none",), ("none", 1000)),
)
async def gettxoutsetinfo(node: NodeParts, hash_type: str, hash_or_height: Any, use_index: bool) -> dict[str, Any]:
    """See the declaration."""
    if hash_type not in HASH_TYPES:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"'{hash_type}' is not a valid hash_type")
    index, block = node.indexes.coinstats, None
    if hash_or_height is not None:
        if index is None:
            why = "Querying specific block heights requires coinstatsindex"
        elif hash_type == "hash_serialized_3":
            why = "hash_serialized_3 hash type cannot be queried for a specific block"
        elif not use_index:
            why = "Cannot set use_index to false when querying for a specific block"
        else:
            why = ""
        if why:
            raise RpcError(RpcCode.INVALID_PARAMETER, why)
        block = find_by_hash_or_height(node, hash_or_height)
    if index is None or not use_index:
        return await _from_the_set(node, hash_type)
    if not await index.until_synced() and block is not None and node.chain.tree.height(block) > index.state().height:
        why = "Unable to get data because coinstatsindex is still syncing. Current height:"
        raise RpcError(RpcCode.INTERNAL_ERROR, f"{why} {index.state().height}")
    if hash_type == "hash_serialized_3":
        return await _from_the_set(node, hash_type)
    return _from_the_index(node, index, node.chain.tip() if block is None else block, hash_type)


async def _from_the_set(node: NodeParts, hash_type: str) -> dict[str, Any]:
    stats = await node.chain.utxo_stats(hash_type)
    result: dict[str, Any] = {
        "height": stats.height,
        "bestblock": to_display(stats.block_hash),
        "txouts": stats.txouts,
        "bogosize": stats.bogosize,
    }
    if stats.hash is not None:
        result[hash_type] = to_display(stats.hash)
    result["total_amount"] = amount(stats.total_amount)
    result["transactions"] = stats.transactions
    result["disk_size"] = stats.disk_size
    return result


def _from_the_index(node: NodeParts, index: CoinStatsIndex, block: int, hash_type: str) -> dict[str, Any]:
    tree = node.chain.tree
    stats, before = _stats(node, index, block), CoinStats()
    if tree.height(block):
        before = _stats(node, index, tree.prev(block))
    result: dict[str, Any] = {
        "height": tree.height(block),
        "bestblock": to_display(tree.hash(block)),
        "txouts": stats.txouts,
        "bogosize": stats.bogosize,
    }
    if hash_type == "muhash":
        result["muhash"] = to_display(stats.muhash)
    result["total_amount"] = amount(stats.total_amount)
    result["total_unspendable_amount"] = amount(stats.unspendable)
    result["block_info"] = {
        "prevout_spent": amount(stats.prevout_spent - before.prevout_spent),
        "coinbase": amount(stats.coinbase - before.coinbase),
        "new_outputs_ex_coinbase": amount(stats.new_outputs_ex_coinbase - before.new_outputs_ex_coinbase),
        "unspendable": amount(stats.unspendable - before.unspendable),
        "unspendables": {
            "genesis_block": amount(stats.genesis_block - before.genesis_block),
            "bip30": amount(stats.bip30 - before.bip30),
            "scripts": amount(stats.scripts - before.scripts),
            "unclaimed_rewards": amount(stats.unclaimed_rewards - before.unclaimed_rewards),
        },
    }
    return result


def _stats(node: NodeParts, index: CoinStatsIndex, block: int) -> CoinStats:
    """The statistics after a block; raises RpcError when there are none."""
    try:
        stats = index.get(node.chain.tree.hash(block))
    except StorageError:
        stats = None
    if stats is None:
        raise RpcError(RpcCode.INTERNAL_ERROR, "Unable to read UTXO set")
    return stats
