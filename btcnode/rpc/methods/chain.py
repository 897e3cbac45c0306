"""The chain as a whole: state, tips, deployments, statistics, interventions, waiting."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Annotated, Any, NotRequired, TypedDict

from btcnode.consensus.deployments import buried_deployments, script_flags
from btcnode.consensus.pow import bits_to_target
from btcnode.errors import RuleViolation, StorageError
from btcnode.networks.parameters import NEVER_ACTIVE, Deployment
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.declare import Hex, Hint, Named, Real, Time, in_order, rpc
from btcnode.rpc.deprecated import ShownWarnings, shown_warnings
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.given import NO_TIME, Whole
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.lookup import difficulty, find_block, fork_height, is_active, parse_hash, uint256_hex
from btcnode.script.flags import flag_names
from btcnode.services.parts import NodeParts

MONTH_S = 30 * 24 * 60 * 60


class BackgroundValidation(TypedDict):
    """The chain below a loaded UTXO set."""

    snapshotheight: Annotated[int, "Height of the set's block, up to which it goes"]
    blocks: Annotated[int, "Height that it has"]
    bestblockhash: Annotated[str, "Hash of its tip"]
    mediantime: Annotated[Time, "Median time of its tip and the ten before it"]
    verificationprogress: Annotated[Real, "Share validated, 0 to 1"]
    chainwork: Annotated[Hex, "Hashes expected for it"]


class ChainInfo(TypedDict):
    """The chain and how far it is verified."""

    chain: Annotated[str, "Network: main, test, testnet4, signet, regtest"]
    blocks: Annotated[int, "Height of the active chain"]
    headers: Annotated[int, "Height of the best header chain"]
    bestblockhash: Annotated[str, "Hash of the tip"]
    bits: Annotated[Hex, "Target of the tip in compact form"]
    target: Annotated[Hex, "Target of the tip"]
    difficulty: Annotated[Real, "Difficulty of the tip"]
    time: Annotated[Time, "Time of the tip"]
    mediantime: Annotated[Time, "Median time of the tip and the ten before it"]
    verificationprogress: Annotated[Real, "Estimate of the share verified, 0 to 1"]
    initialblockdownload: Annotated[bool, "Whether the node is still far behind"]
    backgroundvalidation: Annotated[NotRequired[BackgroundValidation], "The chain below a loaded UTXO set"]
    chainwork: Annotated[Hex, "Hashes expected for the active chain"]
    size_on_disk: Annotated[int, "Bytes of block and undo files"]
    pruned: Annotated[bool, "Whether old blocks are deleted"]
    pruneheight: Annotated[NotRequired[int], "Height from which on all blocks are here"]
    automatic_pruning: Annotated[NotRequired[bool], "Whether that happens by itself"]
    prune_target_size: Annotated[NotRequired[int], "Bytes that block files may take, when it does"]
    signet_challenge: Annotated[NotRequired[Hex], "Script that signet blocks satisfy"]
    warnings: ShownWarnings


@rpc("blockchain")
def getblockchaininfo(node: NodeParts) -> ChainInfo:
    """State of the chain and of its verification."""
    tree, tip, params = node.chain.tree, node.chain.tip(), node.params
    bits = tree.bits(tip)
    result: ChainInfo = {
        "chain": params.chain,
        "blocks": tree.height(tip),
        "headers": tree.height(node.chain.best_header()),
        "bestblockhash": to_display(tree.hash(tip)),
        "bits": f"{bits:08x}",
        "target": uint256_hex(bits_to_target(bits)),
        "difficulty": double(difficulty(bits)),
        "time": tree.time(tip),
        "mediantime": tree.median_time_past(tip),
        "verificationprogress": double(node.chain.verification_progress(tip)),
        "initialblockdownload": node.chain.is_initial_block_download(),
        "chainwork": uint256_hex(tree.chainwork(tip)),
        "size_on_disk": node.chain.size_on_disk(),
        "pruned": node.settings.storage.prunes,
        "warnings": shown_warnings(node),
    }
    background = _background(node)
    if background is not None:
        result["backgroundvalidation"] = background
    if node.settings.storage.prunes:
        pruned, target = node.pruner.prune_height(), node.settings.storage.prune_target
        result["pruneheight"] = 0 if pruned is None else pruned + 1
        result["automatic_pruning"] = target is not None
        if target is not None:
            result["prune_target_size"] = target
    if params.signet_challenge is not None:
        result["signet_challenge"] = params.signet_challenge.hex()
    return in_order(ChainInfo, result)


def _background(node: NodeParts) -> BackgroundValidation | None:
    """The chain below a loaded UTXO set, where there is one."""
    parts = node.assumed.chain_parts()
    if len(parts) == 1 or parts[1].snapshot_base is None:
        return None
    tree, tip = node.chain.tree, parts[0].tip
    base = tree.find(parts[1].snapshot_base)
    total = node.chain.block_status(base).chain_tx
    return {
        "snapshotheight": tree.height(base),
        "blocks": tree.height(tip),
        "bestblockhash": to_display(tree.hash(tip)),
        "mediantime": tree.median_time_past(tip),
        "chainwork": uint256_hex(tree.chainwork(tip)),
        "verificationprogress": double(node.chain.block_status(tip).chain_tx / total if total else 0.0),
    }


def _tip_status(node: NodeParts, index: int) -> str:
    status = node.chain.block_status(index)
    if is_active(node, index):
        return "active"
    if status.failed:
        return "invalid"
    if not status.chain_tx:
        return "headers-only"
    return "valid-fork" if status.scripts_valid else "valid-headers"


class ChainTip(TypedDict):
    """A tip of the tree of headers."""

    height: Annotated[int, "Height of the tip"]
    hash: Annotated[Hex, "Its hash"]
    branchlen: Annotated[int, "Blocks since it left the active chain, 0 for the active tip"]
    status: Annotated[
        str,
        (
            "invalid (a block in it broke a rule), headers-only (blocks missing), valid-headers "
            "(never verified),\nvalid-fork (verified, not active) or active"
        ),
    ]


@rpc("blockchain")
def getchaintips(node: NodeParts) -> list[ChainTip]:
    """Tips of all known chains, the active one and the branches."""
    tree = node.chain.tree
    tips = sorted({*node.chain.leaves(), node.chain.tip()}, key=lambda index: (-tree.height(index), index))
    return [
        {
            "height": tree.height(index),
            "hash": to_display(tree.hash(index)),
            "branchlen": tree.height(index) - fork_height(node, index),
            "status": _tip_status(node, index),
        }
        for index in tips
    ]


def _bip9_json(node: NodeParts, index: int, deployment: Deployment) -> DeploymentState:
    status = node.chain.version_bits.status(index, deployment.name)
    vote: Vote = {
        "start_time": deployment.start_time,
        "timeout": deployment.timeout,
        "min_activation_height": deployment.min_activation_height,
        "status": str(status.state),
        "since": status.since,
        "status_next": str(status.next_state),
    }
    if status.stats is not None:
        stats = status.stats
        counts: VoteStatistics = {"period": stats.period, "elapsed": stats.elapsed, "count": stats.count}
        if stats.threshold > 0 or stats.possible:
            counts["threshold"] = stats.threshold
            counts["possible"] = stats.possible
        vote["bit"] = deployment.bit
        vote["statistics"] = counts
        vote["signalling"] = "".join("#" if signal else "-" for signal in status.signalling)
    since = status.active_since
    active = since is not None and since <= node.chain.tree.height(index) + 1
    result: DeploymentState = {"type": "bip9", "active": active, "bip9": in_order(Vote, vote)}
    if since is not None:
        result["height"] = since
    return in_order(DeploymentState, result)


class VoteStatistics(TypedDict):
    """The running period of a vote."""

    period: Annotated[int, "Blocks in it"]
    threshold: Annotated[NotRequired[int], "Blocks needed"]
    elapsed: Annotated[int, "Blocks so far"]
    count: Annotated[int, "Blocks that signal"]
    possible: Annotated[NotRequired[bool], "Whether the threshold is in reach"]


class Vote(TypedDict):
    """The vote on a soft fork."""

    bit: Annotated[NotRequired[int], "Bit in the version"]
    start_time: Annotated[Time, "Median time from which the bit counts"]
    timeout: Annotated[Time, "Median time at which the vote is lost"]
    min_activation_height: Annotated[int, "Least height with the rules"]
    status: Annotated[str, "defined, started, locked_in, active or failed"]
    since: Annotated[int, "Height at which the status began"]
    status_next: Annotated[str, "Status for the next block"]
    statistics: Annotated[NotRequired[VoteStatistics], "The running period"]
    signalling: Annotated[NotRequired[str], "# for a block that signals, - for others"]


class DeploymentState(TypedDict):
    """One soft fork."""

    type: Annotated[str, '"buried" or "bip9"']
    height: Annotated[NotRequired[int], "First height with the rules, where it is known"]
    active: Annotated[bool, "Whether the next block must follow the rules"]
    bip9: Annotated[NotRequired[Vote], "State of the vote"]


class Deployments(TypedDict):
    """Soft forks as of a block."""

    hash: Annotated[str, "Hash of the block"]
    height: Annotated[int, "Its height"]
    script_flags: Annotated[list[Annotated[str, "Flag"]], "Script rules for the block"]
    deployments: Annotated[dict[str, Annotated[DeploymentState, Named("xxxx")]], "By name"]


@rpc("blockchain")
def getdeploymentinfo(
    node: NodeParts, blockhash: Annotated[Hex | None, "The block", Hint('"hash of current chain tip"')] = None
) -> Deployments:
    """Soft forks as of a block: those in force, those being voted on."""
    index = node.chain.tip() if blockhash is None else find_block(node, blockhash)
    tree, params = node.chain.tree, node.params
    height = tree.height(index)
    deployments: dict[str, Any] = {
        name: {"type": "buried", "active": height + 1 >= start, "height": start}
        for name, start in buried_deployments(params)
    }
    for deployment in params.deployments:
        if deployment.start_time != NEVER_ACTIVE:
            deployments[deployment.name] = _bip9_json(node, index, deployment)
    return {
        "hash": to_display(tree.hash(index)),
        "height": height,
        "script_flags": flag_names(script_flags(height, tree.hash(index), params)),
        "deployments": deployments,
    }


class ChainTxStats(TypedDict):
    """Transactions in a window of the chain."""

    time: Annotated[Time, "Time of the last block"]
    txcount: Annotated[NotRequired[int], "Transactions in the chain up to it"]
    window_final_block_hash: Annotated[Hex, "Hash of the last block"]
    window_final_block_height: Annotated[int, "Its height"]
    window_block_count: Annotated[int, "Blocks in the window"]
    window_interval: Annotated[NotRequired[int], "Seconds in the window, by median times"]
    window_tx_count: Annotated[NotRequired[int], "Transactions in the window"]
    txrate: Annotated[NotRequired[Real], "Transactions per second"]


@rpc("blockchain", examples=((), (2016,)))
def getchaintxstats(
    node: NodeParts,
    nblocks: Annotated[Whole | None, "Blocks in the window", Hint("one month")] = None,
    blockhash: Annotated[Hex | None, "Last block of the window", Hint("chain tip")] = None,
) -> ChainTxStats:
    """Number and rate of transactions in a window of the chain."""
    tree = node.chain.tree
    index = node.chain.tip()
    if blockhash is not None:
        index = find_block(node, blockhash)
        if not is_active(node, index):
            raise RpcError(RpcCode.INVALID_PARAMETER, "Block is not in main chain")
    height = tree.height(index)
    if nblocks is None:
        count = max(0, min(MONTH_S // node.params.pow_target_spacing, height - 1))
    else:
        count = nblocks.read()
        if count < 0 or (count > 0 and count >= height):
            text = "Invalid block count: should be between 0 and the block's height - 1"
            raise RpcError(RpcCode.INVALID_PARAMETER, text)
    past = tree.ancestor(index, height - count)
    seconds = tree.median_time_past(index) - tree.median_time_past(past)
    result: ChainTxStats = {
        "time": tree.time(index),
        "window_final_block_hash": to_display(tree.hash(index)),
        "window_final_block_height": height,
        "window_block_count": count,
    }
    total, total_past = node.chain.block_status(index).chain_tx, node.chain.block_status(past).chain_tx
    if total:
        result["txcount"] = total
    if count > 0:
        result["window_interval"] = seconds
        if total and total_past:
            txs = total - total_past
            result["window_tx_count"] = txs
            if seconds > 0:
                result["txrate"] = double(txs / seconds)
    return in_order(ChainTxStats, result)


@rpc("hidden", examples=(("blockhash",),))
async def invalidateblock(node: NodeParts, blockhash: Annotated[Hex, "The block hash"]) -> None:
    """Treat a block as invalid, and leave its chain."""
    try:
        await node.chain.invalidate_block(find_block(node, blockhash))
    except StorageError as error:
        raise RpcError(RpcCode.DATABASE_ERROR, str(error)) from error


@rpc("hidden", examples=(("blockhash",),))
async def reconsiderblock(node: NodeParts, blockhash: Annotated[Hex, "The block hash"]) -> None:
    """Forget that a block, its ancestors and descendants are invalid. Undoes invalidateblock."""
    await node.chain.reconsider_block(find_block(node, blockhash))


@rpc("blockchain", examples=(("blockhash",),))
async def preciousblock(node: NodeParts, blockhash: Annotated[Hex, "The block hash"]) -> None:
    """Prefer a block to others of equal work, as if it had come first. A later call overrides it; so does a restart."""
    try:
        await node.chain.precious_block(find_block(node, blockhash))
    except RuleViolation as error:
        raise RpcError(RpcCode.DATABASE_ERROR, str(error)) from error


def _checked_timeout(timeout: Whole) -> int:
    """Milliseconds; raises RpcError."""
    milliseconds = timeout.read()
    if milliseconds < 0:
        raise RpcError(RpcCode.MISC_ERROR, "Negative timeout")
    return milliseconds


async def _wait(node: NodeParts, timeout_ms: int, done: Callable[[int], bool]) -> Tip:
    """Wait until ``done(tip)``; answers with the tip in any case."""
    deadline = monotonic() + timeout_ms / 1000 if timeout_ms else None
    tip = node.chain.tip()
    while not done(tip):
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            break
        before = tip
        await node.chain.wait_tip_changed(before, left)
        tip = node.chain.announced.tip
        if tip == before:  # time is up, or the node stops
            break
    return {"hash": to_display(node.chain.tree.hash(tip)), "height": node.chain.tree.height(tip)}


Timeout = Annotated[Whole, "Milliseconds to wait, 0 for no limit"]


class Tip(TypedDict):
    """The tip of the active chain."""

    hash: Annotated[Hex, "Hash of the tip"]
    height: Annotated[int, "Its height"]


@rpc("blockchain", examples=((1000,),), waits=True)
async def waitfornewblock(
    node: NodeParts,
    timeout: Timeout = NO_TIME,  # noqa: ASYNC109
    current_tip: Annotated[Hex | None, "Return at once when this is not the tip"] = None,
) -> Tip:
    """Wait until the tip changes, then tell it. Tells the current one when time is up."""
    milliseconds = _checked_timeout(timeout)
    start = node.chain.tip()
    if current_tip is not None:
        start = node.chain.tree.find(BlockHash(parse_hash(current_tip, "current_tip")))
    return await _wait(node, milliseconds, lambda tip: tip != start)


@rpc("blockchain", examples=(("blockhash", 1000),), waits=True)
async def waitforblock(
    node: NodeParts,
    blockhash: Annotated[Hex, "The block hash"],
    timeout: Timeout = NO_TIME,  # noqa: ASYNC109
) -> Tip:
    """Wait until the tip is a certain block, then tell it. Tells the current one when time is up."""
    wanted = parse_hash(blockhash, "blockhash")
    return await _wait(node, _checked_timeout(timeout), lambda tip: node.chain.tree.hash(tip) == wanted)


@rpc("blockchain", examples=((100, 1000),), waits=True)
async def waitforblockheight(
    node: NodeParts,
    height: Annotated[int, "The height"],
    timeout: Timeout = NO_TIME,  # noqa: ASYNC109
) -> Tip:
    """Wait until the chain has at least a certain height, then tell its tip. Tells the current one when time is up."""
    return await _wait(node, _checked_timeout(timeout), lambda tip: node.chain.tree.height(tip) >= height)


@rpc("hidden")
async def syncwithvalidationinterfacequeue(node: NodeParts) -> None:
    """Return when everything that follows from earlier blocks has been done, and wallets have it on disk."""
    if node.wallets is not None:
        await node.wallets.save_all()
