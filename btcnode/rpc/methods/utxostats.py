"""``gettxoutsetinfo``: statistics of the UTXO set, from a walk over it or from the coinstatsindex."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.errors import StorageError
from btcnode.indexes.coinstats import CoinStats
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import JSON_OR_TEXT, Coins, Hex, Hint, Label, Like, picked, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import amount
from btcnode.rpc.lookup import find_by_hash_or_height, require_coins
from btcnode.services.index_readers import CoinStatsIndex
from btcnode.services.parts import NodeParts

HASH_TYPES = ("hash_serialized_3", "muhash", "none")


class UnspendableCoins(TypedDict):
    """Coins that are in no set, by reason."""

    genesis_block: Annotated[Coins, "The output of the genesis block"]
    bip30: Annotated[Coins, "Coinbases that were overwritten"]
    scripts: Annotated[Coins, "Scripts like OP_RETURN"]
    unclaimed_rewards: Annotated[Coins, "What the miner did not take"]


class BlockCoins(TypedDict):
    """What a block did to the set."""

    prevout_spent: Annotated[Coins, "Sum of what it spent"]
    coinbase: Annotated[Coins, "Sum of its coinbase's outputs"]
    new_outputs_ex_coinbase: Annotated[Coins, "Sum of its other outputs"]
    unspendable: Annotated[Coins, "Sum of what nobody can spend"]
    unspendables: Annotated[UnspendableCoins, "The same by reason"]


class TxoutSetInfo(TypedDict):
    """Statistics of the set of unspent outputs."""

    height: Annotated[int, "Height of the block the set belongs to"]
    bestblock: Annotated[Hex, "Hash of that block"]
    txouts: Annotated[int, "Unspent outputs"]
    bogosize: Annotated[int, "A measure of the set's size that does not depend on how it is stored"]
    hash_serialized_3: Annotated[NotRequired[Hex], "Serialised hash"]
    muhash: Annotated[NotRequired[Hex], "Hash that does not depend on the order"]
    transactions: Annotated[NotRequired[int], "Transactions with unspent outputs (not from coinstatsindex)"]
    disk_size: Annotated[NotRequired[int], "Estimated bytes on disk (not from coinstatsindex)"]
    total_amount: Annotated[Coins, "Sum of all outputs"]
    total_unspendable_amount: Annotated[NotRequired[Coins], "Coins that are in no set (from coinstatsindex)"]
    block_info: Annotated[NotRequired[BlockCoins], "What the block did (from coinstatsindex)"]


@rpc("blockchain", examples=((), ("none",), ("none", 1000)))
async def gettxoutsetinfo(
    node: NodeParts,
    hash_type: Annotated[str, 'Hash over the set: "hash_serialized_3", "muhash" or "none"'] = "hash_serialized_3",
    hash_or_height: Annotated[
        Any,
        "Hash or height of the block after which (with coinstatsindex only)",
        Hint("the current best block"),
        Like(int),
        Label("string or numeric"),
        JSON_OR_TEXT,
    ] = None,
    use_index: Annotated[bool, "Whether coinstatsindex may answer"] = True,
) -> TxoutSetInfo:
    """Statistics of the set of unspent outputs. Without coinstatsindex it reads the whole set, which takes a while."""
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
        require_coins(node)
        return await _from_the_set(node, hash_type)
    if not await index.until_synced() and block is not None and node.chain.tree.height(block) > index.state().height:
        why = "Unable to get data because coinstatsindex is still syncing. Current height:"
        raise RpcError(RpcCode.INTERNAL_ERROR, f"{why} {index.state().height}")
    if hash_type == "hash_serialized_3":
        return await _from_the_set(node, hash_type)
    return _from_the_index(node, index, node.chain.tip() if block is None else block, hash_type)


async def _from_the_set(node: NodeParts, hash_type: str) -> TxoutSetInfo:
    stats = await node.chain.utxo_stats(hash_type)
    result: TxoutSetInfo = {
        "height": stats.height,
        "bestblock": to_display(stats.block_hash),
        "txouts": stats.txouts,
        "bogosize": stats.bogosize,
        "total_amount": amount(stats.total_amount),
        "transactions": stats.transactions,
        "disk_size": stats.disk_size,
    }
    if stats.hash is not None and hash_type == "muhash":
        result["muhash"] = to_display(stats.hash)
    elif stats.hash is not None:
        result["hash_serialized_3"] = to_display(stats.hash)
    return _in_order(result)


_ORDER = (
    "height", "bestblock", "txouts", "bogosize", "hash_serialized_3", "muhash", "total_amount",
    "total_unspendable_amount", "transactions", "disk_size", "block_info",
)  # fmt: skip


def _in_order(result: TxoutSetInfo) -> TxoutSetInfo:
    """In the order of Core's answer, which is not the one of its help."""
    return picked(result, [key for key in _ORDER if key in result])


def _from_the_index(node: NodeParts, index: CoinStatsIndex, block: int, hash_type: str) -> TxoutSetInfo:
    tree = node.chain.tree
    stats, before = _stats(node, index, block), CoinStats()
    if tree.height(block):
        before = _stats(node, index, tree.prev(block))
    result: TxoutSetInfo = {
        "height": tree.height(block),
        "bestblock": to_display(tree.hash(block)),
        "txouts": stats.txouts,
        "bogosize": stats.bogosize,
        "total_amount": amount(stats.total_amount),
        "total_unspendable_amount": amount(stats.unspendable),
        "block_info": {
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
        },
    }
    if hash_type == "muhash":
        result["muhash"] = to_display(stats.muhash)
    return _in_order(result)


def _stats(node: NodeParts, index: CoinStatsIndex, block: int) -> CoinStats:
    """The statistics after a block; raises RpcError when there are none."""
    try:
        stats = index.get(node.chain.tree.hash(block))
    except StorageError:
        stats = None
    if stats is None:
        raise RpcError(RpcCode.INTERNAL_ERROR, "Unable to read UTXO set")
    return stats
