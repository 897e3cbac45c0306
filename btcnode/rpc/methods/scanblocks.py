"""Looking for the blocks that concern descriptors, over the index of block filters."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from itertools import chain
from typing import Annotated, Any, TypedDict

from btcnode.errors import StorageError
from btcnode.primitives.block import parse_block
from btcnode.primitives.coin import coin_script, txout_script
from btcnode.primitives.gcs import matching, matching_of_bytes
from btcnode.primitives.hashes import to_display
from btcnode.rpc.declare import BY_NAME, NO_NULL, NOTHING, AnyNumber, Default, Hex, Hint, Oneline, When, rpc
from btcnode.rpc.descriptors import ScanObjects, scan_needles
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import Lenient
from btcnode.rpc.lookup import require_data
from btcnode.rpc.methods.blocks import read_block, read_undo
from btcnode.rpc.room import beside, elsewhere
from btcnode.rpc.shapes import whole_number, wrong_type
from btcnode.services.chain import CoinScan
from btcnode.services.index_readers import FilterIndex
from btcnode.services.parts import NodeParts

MOST_SENT = 5000  # scripts that a process is told each time; with more of them the node does it all itself
FILTERS_TOGETHER = 25  # of these, that one process is asked for at a time
FILTERS_AT_ONCE = 100  # matched off the loop between two looks at whether to go on; mainnet's take 2 MB


class ScanBlocksOptions(TypedDict):
    """How blocks are scanned."""

    filter_false_positives: Annotated[
        bool,
        "Read each block to leave out those found by chance; fails where blocks were deleted",
        Default(False),
        NO_NULL,
    ]


class BlockScanResult(TypedDict):
    """What a scan of blocks found."""

    from_height: Annotated[int, "First height that was looked at"]
    to_height: Annotated[int, "Last height that was looked at"]
    relevant_blocks: Annotated[list[Annotated[Hex, "A block"]], "What was found"]
    completed: Annotated[bool, "Whether the scan was not aborted"]


class BlockScanProgress(TypedDict):
    """How far a scan of blocks is."""

    progress: Annotated[int, "Percent done"]
    current_height: Annotated[int, "Height that is looked at"]


@rpc(
    "blockchain",
    examples=(("start", ["addr(bcrt1q4u4nsgk6ug0sqz7r3rj9tykjxrsl0yy4d0wwte)"], 300000), ("status",)),
    heavy=True,
)
async def scanblocks(
    node: NodeParts,
    action: Annotated[str, '"start", "abort" the scan under way, or its "status"'],
    scanobjects: Annotated[ScanObjects | None, "Descriptors, for start", Oneline("[scanobjects,...]")] = None,
    start_height: Annotated[AnyNumber, "First height"] = 0,
    stop_height: Annotated[AnyNumber | None, "Last height", Hint("chain tip")] = None,
    filtertype: Annotated[str, "The type of the filters"] = "basic",
    options: Annotated[Lenient[ScanBlocksOptions], BY_NAME, Oneline("options")] = NOTHING,
) -> (
    Annotated[None, When("when action=='status' and no scan is in progress - possibly already completed")]
    | Annotated[BlockScanResult, When("When action=='start'; only returns after scan completes")]
    | Annotated[BlockScanProgress, When("when action=='status' and a scan is currently in progress")]
    | Annotated[bool, "Whether there was a scan to abort", When("when action=='abort'")]
):
    """Blocks that may pay to or spend from descriptors; needs the index of block filters."""
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
    certain = options.read()["filter_false_positives"]
    index = node.indexes.filters
    if index is None:
        raise RpcError(RpcCode.MISC_ERROR, f"Index is not enabled for filtertype {filtertype}")
    heights = _heights(node.chain.height(), start_height, stop_height)
    if scanobjects is None:
        raise wrong_type(None, "array")
    scan.running, scan.aborted, scan.percent, scan.height = True, False, 0, heights.start
    try:
        needles = await beside(partial(scan_needles, scanobjects, node.params))
        return await _scan(node, index, needles, heights, certain, scan)
    finally:
        scan.running = False


def _heights(tip_height: int, start: Any, stop: Any) -> range:
    """What is to be looked at; raises RpcError."""
    first = whole_number(start)
    if not 0 <= first <= tip_height:
        raise RpcError(RpcCode.MISC_ERROR, "Invalid start_height")
    last = tip_height if stop is None else whole_number(stop)
    if not first <= last <= tip_height:
        raise RpcError(RpcCode.MISC_ERROR, "Invalid stop_height")
    return range(first, last + 1)


async def _scan(
    node: NodeParts, index: FilterIndex, needles: Collection[bytes], heights: range, certain: bool, scan: CoinScan
) -> BlockScanResult:
    tree, tip, found = node.chain.tree, node.chain.tip(), []
    reached = heights.start
    for start in range(heights.start, heights.stop, FILTERS_AT_ONCE):
        if scan.aborted or node.chain.stopping():
            break
        part = [tree.ancestor(tip, height) for height in range(start, min(start + FILTERS_AT_ONCE, heights.stop))]
        runs = [part[at : at + FILTERS_TOGETHER] for at in range(0, len(part), FILTERS_TOGETHER)]
        matched = await asyncio.gather(*(_matching(node, index, needles, run) for run in runs))
        for block in chain.from_iterable(matched):
            if not certain or await _concerns(node, block, needles):
                found.append(to_display(tree.hash(block)))
        reached = scan.height = start + len(part) - 1
        scan.percent = 100 * (reached - heights.start + 1) // len(heights)
    else:
        return _result(heights.start, reached, found, completed=True)
    return _result(heights.start, reached, found, completed=False)


def _result(first: int, last: int, found: list[str], *, completed: bool) -> BlockScanResult:
    return {"from_height": first, "to_height": last, "relevant_blocks": found, "completed": completed}


async def _matching(
    node: NodeParts, index: FilterIndex, needles: Collection[bytes], blocks: Sequence[int]
) -> list[int]:
    """Those of the blocks whose filter, where there is one, has any of the scripts; raises RpcError, DecodeError."""
    found = await beside(partial(_read_filters, node, index, blocks))
    pairs = [(node.chain.tree.hash(block), data) for block, data in found]
    told = None
    if len(needles) <= MOST_SENT:
        told = await elsewhere(matching_of_bytes, b"%d" % len(needles), *needles, *chain.from_iterable(pairs))
    matches = list(map(bool, told[0])) if told else await beside(lambda: matching(needles, pairs))
    return [block for (block, _), matched in zip(found, matches, strict=True) if matched]


def _read_filters(node: NodeParts, index: FilterIndex, blocks: Sequence[int]) -> list[tuple[int, bytes]]:
    """The filters of those blocks that have one."""
    found = []
    for block in blocks:
        try:
            item = index.get(node.chain.tree.hash(block))
        except StorageError as error:
            raise RpcError(RpcCode.MISC_ERROR, f"Unable to read filter from disk: {error}") from None
        if item is not None:
            found.append((block, item.data))
    return found


async def _concerns(node: NodeParts, index: int, scripts: Collection[bytes]) -> bool:
    """Whether the block really has any of the scripts, in an output or in what it spends; raises RpcError."""
    raw = await read_block(node, index)
    undo: list[list[bytes]] = []
    if node.chain.tree.height(index):
        require_data(node, index, undo=True)
        undo = await read_undo(node, index) or []
    return await beside(partial(_has_script, raw, undo, scripts))


def _has_script(raw: bytes, undo: list[list[bytes]], scripts: Collection[bytes]) -> bool:
    block = parse_block(raw)
    created = (txout_script(txout) for n in range(block.n_tx) for txout in block.tx(n).txouts)
    spent = (coin_script(coin) for coins in undo for coin in coins)
    return any(script in scripts for script in created) or any(script in scripts for script in spent)
