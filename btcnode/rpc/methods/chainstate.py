"""The state of the chain on disk: chainstates, checks, blocks that are fetched by hand."""

from __future__ import annotations

from typing import Any

from btcnode.consensus.pow import bits_to_target
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.context import NodeApi
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.lookup import difficulty, parse_hash, uint256_hex
from btcnode.rpc.spec import Arg, Kind, arr, boolean, hexed, number, obj, real, rpc

MIB = 1 << 20


@rpc(
    "blockchain",
    "The chainstates. There is one; its database has no cache of its own.",
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
def getchainstates(node: NodeApi) -> dict[str, Any]:
    """See the declaration."""
    tree, tip = node.tree, node.tip()
    bits = tree.bits(tip)
    state = {
        "blocks": tree.height(tip),
        "bestblockhash": to_display(tree.hash(tip)),
        "bits": f"{bits:08x}",
        "target": uint256_hex(bits_to_target(bits)),
        "difficulty": double(difficulty(bits)),
        "verificationprogress": double(node.verification_progress(tip)),
        "coins_db_cache_bytes": 0,
        "coins_tip_cache_bytes": node.config.dbcache * MIB,
        "validated": True,
    }
    return {"headers": tree.height(node.best_header()), "chainstates": [state]}


@rpc(
    "blockchain",
    "Check the newest blocks on disk.",
    Arg("checklevel", Kind.INT, "How thoroughly, from 0 (read) to 4 (connect again, with scripts)", 3, hint="3, 0-4"),
    Arg("nblocks", Kind.INT, "How many blocks, 0 for all", 6, hint="6, 0=all"),
    returns=boolean("", "Whether nothing is wrong; the log says what is"),
)
async def verifychain(node: NodeApi, checklevel: int, nblocks: int) -> bool:
    """See the declaration."""
    return await node.verify_chain(max(nblocks, 0), min(max(checklevel, 0), 4))


@rpc(
    "blockchain",
    "Ask a peer for a block of which only the header is known. Others are not asked for it any more.",
    Arg("blockhash", Kind.HEX, "The block"),
    Arg("peer_id", Kind.INT, "The peer's id", bits=64),
    returns=obj("", "An empty object: the peer was asked"),
    examples=(("myblockhash", 0),),
)
def getblockfrompeer(node: NodeApi, blockhash: str, peer_id: int) -> dict[str, Any]:
    """See the declaration."""
    index = node.tree.find(BlockHash(parse_hash(blockhash, "blockhash")))
    if index < 0:
        raise RpcError(RpcCode.MISC_ERROR, "Block header missing")
    if node.block_status(index).have_data:
        raise RpcError(RpcCode.MISC_ERROR, "Block already downloaded")
    why = node.fetch_block(peer_id, index)
    if why is not None:
        raise RpcError(RpcCode.MISC_ERROR, why)
    return {}
