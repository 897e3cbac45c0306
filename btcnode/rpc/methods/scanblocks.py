"""Looking for the blocks that concern descriptors, over the index of block filters."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from btcnode.errors import StorageError
from btcnode.primitives.block import ParsedBlock, parse_block
from btcnode.primitives.coin import coin_script, txout_script
from btcnode.primitives.gcs import matches_any
from btcnode.primitives.hashes import to_display
from btcnode.rpc.descriptors import scan_needles
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.lookup import require_data
from btcnode.rpc.methods.blocks import read_block, read_undo
from btcnode.rpc.methods.scan import SCAN_OBJECTS
from btcnode.rpc.spec import Arg, Kind, arr, boolean, hexed, nothing, number, obj, rpc
from btcnode.services.chain import CoinScan
from btcnode.services.indexes import FilterIndex
from btcnode.services.parts import NodeParts

FILTERS_AT_ONCE = 100  # matched off the loop between two looks at whether to go on; mainnet's take 2 MB


@rpc(
    "blockchain",
    "Blocks that may pay to or spend from descriptors; needs the index of block filters.",
    Arg("action", Kind.STR, '"start", "abort" the scan under way, or its "status"'),
    Arg("scanobjects", Kind.ARR, "Descriptors, for start", None, inner=SCAN_OBJECTS, oneline="[scanobjects,...]"),
    Arg("start_height", Kind.INT, "First height", 0),
    Arg("stop_height", Kind.INT, "Last height", None, hint="chain tip"),
    Arg("filtertype", Kind.STR, "The type of the filters", "basic"),
    Arg(
        "options",
        Kind.OBJ,
        "What else is wanted",
        None,
        inner=(
            Arg(
                "filter_false_positives",
                Kind.BOOL,
                "Read each block to leave out those found by chance; fails where blocks were deleted",
                False,
            ),
        ),
        oneline="options",
        by_name=True,
    ),
    returns=(
        nothing("", "", when="when action=='status' and no scan is in progress"),
        obj(
            "",
            "",
            number("from_height", "First height that was looked at"),
            number("to_height", "Last height that was looked at"),
            arr("relevant_blocks", "What was found", hexed("blockhash", "A block")),
            boolean("completed", "Whether the scan was not aborted"),
            when="when action=='start'; only returns after scan completes",
        ),
        obj(
            "",
            "",
            number("progress", "Percent done"),
            number("current_height", "Height that is looked at"),
            when="when action=='status' and a scan is currently in progress",
        ),
        boolean("", "Whether there was a scan to abort", when="when action=='abort'"),
    ),
    examples=(("start", ["addr(bcrt1q4u4nsgk6ug0sqz7r3rj9tykjxrsl0yy4d0wwte)"], 300000), ("status",)),
    heavy=True,
)
async def scanblocks(
    node: NodeParts,
    action: str,
    scanobjects: list[Any] | None,
    start_height: int,
    stop_height: int | None,
    filtertype: str,
    options: dict[str, Any] | None,
) -> Any:
    """See the declaration."""
    scan = node.chain.block_scan
    if action == "status":
        return {"progress": scan.percent, "current_height": scan.height} if scan.running else None
    if action == "abort":
        scan.aborted = scan.running
        return scan.running
    if action != "start":
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid action '{action}'")
    if scan.running:
        raise RpcError(RpcCode.INVALID_PARAMETER, 'Scan already in progress, use action "abort" or "status"')
    if filtertype != "basic":
        raise RpcError(RpcCode.INVALID_ADDRESS_OR_KEY, "Unknown filtertype")
    index = node.indexes.filters
    if index is None:
        raise RpcError(RpcCode.MISC_ERROR, f"Index is not enabled for filtertype {filtertype}")
    tip_height = node.chain.tree.height(node.chain.tip())
    if not 0 <= start_height <= tip_height:
        raise RpcError(RpcCode.MISC_ERROR, "Invalid start_height")
    last = tip_height if stop_height is None else stop_height
    if not start_height <= last <= tip_height:
        raise RpcError(RpcCode.MISC_ERROR, "Invalid stop_height")
    if scanobjects is None:
        raise RpcError(RpcCode.MISC_ERROR, "scanobjects argument is required for the start action")
    certain = bool((options or {}).get("filter_false_positives"))
    scan.running, scan.aborted, scan.percent, scan.height = True, False, 0, start_height
    try:
        needles = await asyncio.to_thread(scan_needles, scanobjects, node.params)
        return await _scan(node, index, needles, range(start_height, last + 1), certain, scan)
    finally:
        scan.running = False


async def _scan(
    node: NodeParts, index: FilterIndex, needles: Collection[bytes], heights: range, certain: bool, scan: CoinScan
) -> dict[str, Any]:
    tree, tip, found = node.chain.tree, node.chain.tip(), []
    reached = heights.start
    for start in range(heights.start, heights.stop, FILTERS_AT_ONCE):
        if scan.aborted or node.chain.stopping():
            break
        part = [tree.ancestor(tip, height) for height in range(start, min(start + FILTERS_AT_ONCE, heights.stop))]
        for block in await asyncio.to_thread(_matching, node, index, needles, part):
            if not certain or await _concerns(node, block, needles):
                found.append(to_display(tree.hash(block)))
        reached = scan.height = start + len(part) - 1
        scan.percent = 100 * (reached - heights.start + 1) // len(heights)
    else:
        return _result(heights.start, reached, found, completed=True)
    return _result(heights.start, reached, found, completed=False)


def _result(first: int, last: int, found: list[str], *, completed: bool) -> dict[str, Any]:
    return {"from_height": first, "to_height": last, "relevant_blocks": found, "completed": completed}


def _matching(node: NodeParts, index: FilterIndex, needles: Collection[bytes], blocks: list[int]) -> list[int]:
    """Those of the blocks whose filter, where there is one, has any of the scripts."""
    matching = []
    for block in blocks:
        block_hash = node.chain.tree.hash(block)
        try:
            item = index.get(block_hash)
        except StorageError as error:
            raise RpcError(RpcCode.MISC_ERROR, f"Unable to read filter from disk: {error}") from None
        if item is not None and matches_any(item.data, block_hash, needles):
            matching.append(block)
    return matching


async def _concerns(node: NodeParts, index: int, scripts: Collection[bytes]) -> bool:
    """Whether the block really has any of the scripts, in an output or in what it spends; raises RpcError."""
    raw = await read_block(node, index)
    undo: list[list[bytes]] = []
    if node.chain.tree.height(index):
        require_data(node, index, undo=True)
        undo = await read_undo(node, index) or []
    return await asyncio.to_thread(_has_script, parse_block(raw), undo, scripts)


def _has_script(block: ParsedBlock, undo: list[list[bytes]], scripts: Collection[bytes]) -> bool:
    created = (txout_script(txout) for n in range(block.n_tx) for txout in block.tx(n).txouts)
    spent = (coin_script(coin) for coins in undo for coin in coins)
    return any(script in scripts for script in created) or any(script in scripts for script in spent)
