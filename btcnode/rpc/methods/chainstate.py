"""The state of the chain on disk: chainstates, checks, blocks that are fetched by hand."""

from __future__ import annotations

import asyncio
from typing import Any

from btcnode.consensus.pow import bits_to_target
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.lookup import difficulty, parse_hash, uint256_hex
from btcnode.rpc.spec import Arg, Kind, arr, boolean, hexed, number, obj, real, rpc
from btcnode.services.assumed_chain import ChainPart
from btcnode.services.parts import NodeParts

LAST_HEIGHT = 1_000_000_000  # numbers above are times
TIMESTAMP_WINDOW_S = 2 * 60 * 60  # by which blocks may claim to be older or younger than they are


@rpc(
    "blockchain",
    "The chainstates: one, and another below a loaded UTXO set until that is validated. Their databases have no cache.",
    returns=obj(
        "",
        "",
        number("headers", "Height of the best header"),
        arr(
            "chainstates",
            "The chainstates, the active one last",
            obj(
                "",
                "",
                number("blocks", "Height"),
                hexed("bestblockhash", "Tip"),
                hexed("bits", "Target of the tip in compact form"),
                hexed("target", "Target of the tip"),
                real("difficulty", "Difficulty of the tip"),
                real("verificationprogress", "Share of all transactions, 0 to 1"),
                hexed("snapshot_blockhash", "Block of the snapshot it started from", optional=True),
                number("coins_db_cache_bytes", "Cache of the database"),
                number("coins_tip_cache_bytes", "Most bytes that the coin cache may take"),
                boolean("validated", "Whether all its blocks were validated"),
            ),
        ),
    ),
)
def getchainstates(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    states = [_part_json(node, part) for part in node.assumed.chain_parts()]
    return {"headers": node.chain.tree.height(node.chain.best_header()), "chainstates": states}


def _part_json(node: NodeParts, part: ChainPart) -> dict[str, Any]:
    tree, tip = node.chain.tree, part.tip
    bits = tree.bits(tip)
    result: dict[str, Any] = {
        "blocks": tree.height(tip),
        "bestblockhash": to_display(tree.hash(tip)),
        "bits": f"{bits:08x}",
        "target": uint256_hex(bits_to_target(bits)),
        "difficulty": double(difficulty(bits)),
        "verificationprogress": double(node.chain.verification_progress(tip)),
        "coins_db_cache_bytes": 0,
        "coins_tip_cache_bytes": part.cache,
    }
    if part.snapshot_base is not None:
        result["snapshot_blockhash"] = to_display(part.snapshot_base)
    result["validated"] = part.validated
    return result


@rpc(
    "blockchain",
    "Check the newest blocks on disk.",
    Arg("checklevel", Kind.INT, "How thoroughly, from 0 (read) to 4 (connect again, with scripts)", 3, hint="3, 0-4"),
    Arg("nblocks", Kind.INT, "How many blocks, 0 for all", 6, hint="6, 0=all"),
    returns=boolean("", "Whether nothing is wrong; the log says what is"),
)
async def verifychain(node: NodeParts, checklevel: int, nblocks: int) -> bool:
    """See the declaration."""
    return await node.chain.verify_chain(max(nblocks, 0), min(max(checklevel, 0), 4))


@rpc(
    "blockchain",
    "Delete the block files that hold blocks up to a height only. The node must run with -prune.",
    Arg("height", Kind.INT, "The height, or a time (Unix seconds) two hours after the last block to delete"),
    returns=number("", "Height of the last block deleted, -1 when there is none"),
    examples=((1000,),),
)
async def pruneblockchain(node: NodeParts, height: int) -> int:
    """See the declaration."""
    if not node.config.prunes:
        raise RpcError(RpcCode.MISC_ERROR, "Cannot prune blocks because node is not in prune mode.")
    if height < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Negative block height.")
    if height > LAST_HEIGHT:
        height = await asyncio.to_thread(_first_since, node, height - TIMESTAMP_WINDOW_S)
    tip_height = node.chain.tree.height(node.chain.tip())
    if tip_height < node.params.prune_after_height:
        raise RpcError(RpcCode.MISC_ERROR, "Blockchain is too short for pruning.")
    if height > tip_height:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Blockchain is shorter than the attempted prune height.")
    await node.pruner.prune_to(height)
    pruned = node.pruner.prune_height()
    return -1 if pruned is None else pruned


def _first_since(node: NodeParts, time: int) -> int:
    """Height of the first block of the active chain that is not older; raises RpcError."""
    tree, tip = node.chain.tree, node.chain.tip()
    path = [tip]
    while (index := tree.prev(path[-1])) >= 0:
        path.append(index)
    for height, index in enumerate(reversed(path)):
        if tree.time(index) >= time:
            return height
    raise RpcError(RpcCode.INVALID_PARAMETER, "Could not find block with at least the specified timestamp.")


@rpc(
    "blockchain",
    "Ask a peer for a block of which only the header is known. Others are not asked for it any more.",
    Arg("blockhash", Kind.HEX, "The block"),
    Arg("peer_id", Kind.INT, "The peer's id", bits=64),
    returns=obj("", "An empty object: the peer was asked"),
    examples=(("myblockhash", 0),),
)
def getblockfrompeer(node: NodeParts, blockhash: str, peer_id: int) -> dict[str, Any]:
    """See the declaration."""
    index = node.chain.tree.find(BlockHash(parse_hash(blockhash, "blockhash")))
    if index < 0:
        raise RpcError(RpcCode.MISC_ERROR, "Block header missing")
    if node.chain.block_status(index).have_data:
        raise RpcError(RpcCode.MISC_ERROR, "Block already downloaded")
    if node.config.prunes and node.chain.tree.height(index) > node.chain.tree.height(node.chain.tip()):
        why = "In prune mode, only blocks that the node has already synced previously can be fetched from a peer"
        raise RpcError(RpcCode.MISC_ERROR, why)
    problem = node.peers.fetch_block(peer_id, index)
    if problem is not None:
        raise RpcError(RpcCode.MISC_ERROR, problem)
    return {}
