"""Hints for SwiftSync."""

from __future__ import annotations

from typing import Annotated, TypedDict

from btcnode.errors import StorageError
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import MAY_HOLD_EQUALS, Hex, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.services.file_names import joined
from btcnode.services.parts import NodeParts
from btcnode.services.snapshot_files import SnapshotFileError


class DumpedHints(TypedDict):
    """A hintsfile that was written."""

    path: Annotated[str, "The file"]
    height: Annotated[int, "Height of the block that the hints are for"]
    blockhash: Annotated[Hex, "That block"]
    coins: Annotated[int, "Outputs that are unspent after it"]
    size: Annotated[int, "Bytes of the file"]


@rpc("blockchain", examples=(("bitcoin.hints",), ("bitcoin.hints", 900_000)), heavy=True)
async def dumphints(
    node: NodeParts,
    path: Annotated[str, "The file, relative to the network's directory", MAY_HOLD_EQUALS],
    height: Annotated[int, "Height of the block that the hints are for, -1 for the tip"] = -1,
) -> DumpedHints:
    """Write hints that let another node sync without lookups (its option -swiftsync): which outputs of every block are
    unspent after a block of the active chain. Every block up to that one has to be here, and the undo data of those
    above. It takes about as long as reading all blocks; the log tells how far it is.
    """
    chain = node.chain
    target = chain.tip() if height == -1 else chain.driver.chainstate.active.at(height)
    if height == -1 and target == 0:
        raise RpcError(RpcCode.MISC_ERROR, "There are no blocks above genesis to make hints from")
    if target <= 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Block height {height} is not between 1 and the tip's")
    place = joined(node.settings.net_dir, path)
    try:
        written = await node.hints.write(place, target)
    except SnapshotFileError as error:
        raise RpcError(RpcCode.INVALID_PARAMETER, str(error)) from None
    except StorageError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    return {
        "path": place,
        "height": chain.tree.height(target),
        "blockhash": to_display(chain.tree.hash(target)),
        "coins": written.coins,
        "size": written.size,
    }
