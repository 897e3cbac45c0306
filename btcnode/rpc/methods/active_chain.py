"""The active chain: its height, and which block is where.

What nearly everybody asks a node first: loaded with little else.
"""

from __future__ import annotations

from typing import Annotated

from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import Hex, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.services.parts import NodeParts


@rpc("blockchain")
def getblockcount(node: NodeParts) -> Annotated[int, "The height; that of genesis is 0"]:
    """Height of the active chain's tip."""
    return node.chain.height()


@rpc("blockchain")
def getbestblockhash(node: NodeParts) -> Annotated[Hex, "The block hash"]:
    """Hash of the active chain's tip."""
    return to_display(node.chain.tree.hash(node.chain.tip()))


@rpc("blockchain", examples=((1000,),))
def getblockhash(node: NodeParts, height: Annotated[int, "The height"]) -> Annotated[Hex, "The block hash"]:
    """Hash of the block at a height of the active chain."""
    tree, tip = node.chain.tree, node.chain.tip()
    if not 0 <= height <= tree.height(tip):
        raise RpcError(RpcCode.INVALID_PARAMETER, "Block height out of range")
    return to_display(tree.hash(tree.ancestor(tip, height)))
