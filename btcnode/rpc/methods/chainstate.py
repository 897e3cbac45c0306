"""The state of the chain on disk: chainstates, checks, blocks that are fetched by hand."""

from __future__ import annotations

import asyncio
from typing import Annotated, NotRequired, TypedDict

from btcnode.consensus.pow import bits_to_target
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.declare import Bits, Empty, Hex, Hint, Real, picked, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Whole
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.lookup import difficulty, parse_hash, uint256_hex
from btcnode.services.assumed_chain import ChainPart
from btcnode.services.parts import NodeParts
from btcnode.services.utxo_fetch import FetchState, FetchStatus

LAST_HEIGHT = 1_000_000_000  # numbers above are times
TIMESTAMP_WINDOW_S = 2 * 60 * 60  # by which blocks may claim to be older or younger than they are


class ChainstateInfo(TypedDict):
    """One chainstate."""

    blocks: Annotated[int, "Height"]
    bestblockhash: Annotated[Hex, "Tip"]
    bits: Annotated[Hex, "Target of the tip in compact form"]
    target: Annotated[Hex, "Target of the tip"]
    difficulty: Annotated[Real, "Difficulty of the tip"]
    verificationprogress: Annotated[Real, "Share of all transactions, 0 to 1"]
    snapshot_blockhash: Annotated[NotRequired[Hex], "Block of the snapshot it started from"]
    coins_db_cache_bytes: Annotated[int, "0: its database has no cache of its own"]
    coins_tip_cache_bytes: Annotated[int, "Most bytes that the coin cache may take"]
    validated: Annotated[bool, "Whether all its blocks were validated"]


class UtxoSetDownload(TypedDict):
    """A UTXO set that peers tell."""

    blockhash: Annotated[Hex, "The block after which it is"]
    height: Annotated[int, "Its height"]
    state: Annotated[str, f"How far it is: {', '.join(state.value for state in FetchState)}"]
    chunks: Annotated[int, "Chunks in all, 0 before peers have told"]
    chunks_stored: Annotated[int, "Chunks that are here"]
    size: Annotated[int, "Bytes in all"]
    peers: Annotated[int, "Peers that are known to have it"]
    error: Annotated[NotRequired[str], "Why it was given up"]


class Chainstates(TypedDict):
    """The chainstates."""

    headers: Annotated[int, "Height of the best header"]
    chainstates: Annotated[list[ChainstateInfo], "The chainstates, the active one last"]
    utxo_set_download: Annotated[NotRequired[UtxoSetDownload], "The set that peers were asked for last since the start"]


@rpc("blockchain")
def getchainstates(node: NodeParts) -> Chainstates:
    """The chainstates: one, and another below a loaded UTXO set until that is validated. With them how far the
    download of a UTXO set is, once peers were asked for one (downloadutxoset, -downloadutxoset).
    """
    states = [_part_json(node, part) for part in node.assumed.chain_parts()]
    result: Chainstates = {"headers": node.chain.tree.height(node.chain.best_header()), "chainstates": states}
    status = node.utxo_fetch.status()
    if status is not None:
        result["utxo_set_download"] = _download_json(status)
    return result


def _download_json(status: FetchStatus) -> UtxoSetDownload:
    result: UtxoSetDownload = {
        "blockhash": to_display(status.known.block_hash),
        "height": status.known.height,
        "state": status.state.value,
        "chunks": status.chunks,
        "chunks_stored": status.stored,
        "size": status.length,
        "peers": status.sources,
    }
    if status.problem:
        result["error"] = status.problem
    return result


def _part_json(node: NodeParts, part: ChainPart) -> ChainstateInfo:
    tree, tip = node.chain.tree, part.tip
    bits = tree.bits(tip)
    result: ChainstateInfo = {
        "blocks": tree.height(tip),
        "bestblockhash": to_display(tree.hash(tip)),
        "bits": f"{bits:08x}",
        "target": uint256_hex(bits_to_target(bits)),
        "difficulty": double(difficulty(bits)),
        "verificationprogress": double(node.chain.verification_progress(tip)),
        "coins_db_cache_bytes": 0,
        "coins_tip_cache_bytes": part.cache,
        "validated": part.validated,
    }
    if part.snapshot_base is not None:  # answered after the caches, as by Core, whose help has it before them
        result["snapshot_blockhash"] = to_display(part.snapshot_base)
    return picked(result, [*(key for key in result if key != "validated"), "validated"])


@rpc("blockchain")
async def verifychain(
    node: NodeParts,
    checklevel: Annotated[
        int, "How thoroughly, from 0 (read) to 4 (connect again, with scripts)", Hint("3, range=0-4")
    ] = 3,
    nblocks: Annotated[int, "How many blocks, 0 for all", Hint("6, 0=all")] = 6,
) -> Annotated[bool, "Whether nothing is wrong; the log says what is"]:
    """Check the newest blocks on disk."""
    return await node.chain.verify_chain(max(nblocks, 0), min(max(checklevel, 0), 4))


@rpc("blockchain", examples=((1000,),))
async def pruneblockchain(
    node: NodeParts,
    height: Annotated[Whole, "The height, or a time (Unix seconds) two hours after the last block to delete"],
) -> Annotated[int, "Height of the last block deleted, -1 when there is none"]:
    """Delete the block files that hold blocks up to a height only. The node must run with -prune."""
    if not node.settings.storage.prunes:
        raise RpcError(RpcCode.MISC_ERROR, "Cannot prune blocks because node is not in prune mode.")
    wanted = height.read()
    if wanted < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Negative block height.")
    if wanted > LAST_HEIGHT:
        wanted = await asyncio.to_thread(_first_since, node, wanted - TIMESTAMP_WINDOW_S)
    tip_height = node.chain.height()
    if tip_height < node.params.prune_after_height:
        raise RpcError(RpcCode.MISC_ERROR, "Blockchain is too short for pruning.")
    if wanted > tip_height:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Blockchain is shorter than the attempted prune height.")
    await node.pruner.prune_to(wanted)
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


@rpc("blockchain", examples=(("myblockhash", 0),))
def getblockfrompeer(
    node: NodeParts, blockhash: Annotated[Hex, "The block"], peer_id: Annotated[Whole, "The peer's id", Bits(64)]
) -> Annotated[Empty, "An empty object: the peer was asked"]:
    """Ask a peer for a block of which only the header is known. Others are not asked for it any more."""
    index = node.chain.tree.find(BlockHash(parse_hash(blockhash, "blockhash")))
    peer = peer_id.read()
    if index < 0:
        raise RpcError(RpcCode.MISC_ERROR, "Block header missing")
    if node.settings.storage.prunes and node.chain.tree.height(index) > node.chain.height():
        why = "In prune mode, only blocks that the node has already synced previously can be fetched from a peer"
        raise RpcError(RpcCode.MISC_ERROR, why)
    if node.chain.block_status(index).have_data:
        raise RpcError(RpcCode.MISC_ERROR, "Block already downloaded")
    problem = node.peers.fetch_block(peer, index)
    if problem is not None:
        raise RpcError(RpcCode.MISC_ERROR, problem)
    return {}
