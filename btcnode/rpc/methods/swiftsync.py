"""SwiftSync: hints for other nodes, and how far the own sync is."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from btcnode.errors import StorageError
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import MAY_HOLD_EQUALS, Hex, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.services.file_names import joined
from btcnode.services.parts import NodeParts
from btcnode.services.snapshot_files import SnapshotFileError
from btcnode.services.swift_sync import NO_PROGRESS


class DumpedHints(TypedDict):
    """A hintsfile that was written."""

    path: Annotated[str, "The file"]
    height: Annotated[int, "Height of the block that the hints are for"]
    blockhash: Annotated[Hex, "That block"]
    coins: Annotated[int, "Outputs that are unspent after it"]
    size: Annotated[int, "Bytes of the file"]


class SwiftSyncInfo(TypedDict):
    """How far a sync with hints is."""

    running: Annotated[bool, "Whether blocks up to the hints' one are being worked on"]
    full: Annotated[bool, "Whether every script is verified (-swiftsync-full)"]
    height: Annotated[int, "Height of the hints' block, 0 without hints"]
    blockhash: NotRequired[Annotated[Hex, "That block, once the headers say which it is"]]
    blocks: Annotated[int, "Blocks that are done, in whatever order"]
    inputs: Annotated[int, "Inputs of these"]
    coins: Annotated[int, "Outputs of these that stay unspent, as far as they are on the disk"]
    progress: Annotated[float, "Share of the blocks that are done, from 0 to 1"]
    blocks_per_second: Annotated[float, "In the last ten seconds"]
    inputs_per_second: Annotated[float, "In the last ten seconds"]
    seconds_left: NotRequired[Annotated[int, "Until all blocks are done, at the present pace of blocks"]]
    failure: NotRequired[Annotated[str, "Why it was given up: the node syncs as usual then"]]


@rpc("blockchain", own=True, examples=((),))
def getswiftsyncinfo(node: NodeParts) -> SwiftSyncInfo:
    """Tell how far the sync with hints is that this node was started for (-swiftsync)."""
    swift = node.swiftsync
    progress = NO_PROGRESS if swift is None else swift.progress()
    left = progress.height - progress.blocks
    info: SwiftSyncInfo = {
        "running": progress.running,
        "full": node.settings.storage.swiftsyncfull,
        "height": progress.height,
        "blocks": progress.blocks,
        "inputs": progress.inputs,
        "coins": progress.coins,
        "progress": progress.blocks / progress.height if progress.height else 0.0,
        "blocks_per_second": progress.blocks_rate,
        "inputs_per_second": progress.inputs_rate,
    }
    if progress.target is not None:
        info["blockhash"] = to_display(progress.target)
    if progress.running and progress.blocks_rate:
        info["seconds_left"] = int(left / progress.blocks_rate)
    if progress.failure:
        info["failure"] = progress.failure
    return info


@rpc("blockchain", own=True, examples=(("bitcoin.hints",), ("bitcoin.hints", 900_000)), heavy=True)
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
