"""Optional indexes."""

from __future__ import annotations

from typing import Annotated, TypedDict

from btcnode.primitives.hashes import BlockHash
from btcnode.rpc.declare import Hex, Named, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import parse_hash
from btcnode.services.parts import NodeParts


class BlockFilter(TypedDict):
    """A filter and its header."""

    filter: Annotated[Hex, "The filter"]
    header: Annotated[Hex, "The filter header"]


@rpc("blockchain", examples=(("000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943",),))
async def getblockfilter(
    node: NodeParts,
    blockhash: Annotated[Hex, "The block's hash"],
    filtertype: Annotated[str, "The type of the filter"] = "basic",
) -> BlockFilter:
    """The BIP157 filter of a block."""
    block_hash = BlockHash(parse_hash(blockhash, "blockhash"))
    if filtertype != "basic":
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Unknown filtertype")
    index = node.indexes.filters
    if index is None:
        raise RpcError(RpcCode.MISC_ERROR, f"Index is not enabled for filtertype {filtertype}")
    at = node.chain.tree.find(block_hash)
    if at < 0:
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Block not found")
    ready = await index.until_synced()
    item = index.get(block_hash)
    if item is None:
        if not node.chain.block_status(at).scripts_valid:
            why = "Filter not found. Block was not connected to active chain."
            raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, why)
        if not ready:
            why = "Filter not found. Block filters are still in the process of being indexed."
            raise RpcError(RpcCode.MISC_ERROR, why)
        why = "Filter not found. This error is unexpected and indicates index corruption."
        raise RpcError(RpcCode.INTERNAL_ERROR, why)
    return {"filter": item.data.hex(), "header": item.header[::-1].hex()}


class IndexInfo(TypedDict):
    """How far an index is."""

    synced: Annotated[bool, "Whether it has the tip"]
    best_block_height: Annotated[int, "The height up to which it has come"]


@rpc("util", examples=((), ("txindex",)))
def getindexinfo(
    node: NodeParts, index_name: Annotated[str | None, "One index alone"] = None
) -> dict[str, Annotated[IndexInfo, Named("name"), "The index"]]:
    """The state of the indexes that run."""
    return {
        state.name: {"synced": state.synced, "best_block_height": state.height}
        for state in node.indexes.states()
        if not index_name or state.name == index_name
    }
