"""The chain as a whole: state, tips, deployments, statistics, interventions, waiting."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from btcnode.consensus.deployments import buried_deployments, script_flags
from btcnode.consensus.pow import bits_to_target
from btcnode.errors import RuleViolation, StorageError
from btcnode.networks.parameters import NEVER_ACTIVE, Deployment
from btcnode.primitives.hashes import BlockHash, to_display
from btcnode.rpc.deprecated import shown_warnings
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import double
from btcnode.rpc.lookup import difficulty, find_block, fork_height, is_active, parse_hash, uint256_hex
from btcnode.rpc.spec import Arg, Kind, Result, arr, boolean, dyn, hexed, nothing, number, obj, real, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.script.flags import flag_names
from btcnode.services.parts import NodeParts

MONTH_S = 30 * 24 * 60 * 60

BLOCKHASH = Arg("blockhash", Kind.HEX, "The block hash")


@rpc(
    "blockchain",
    "State of the chain and of its verification.",
    returns=obj(
        "",
        "",
        string("chain", "Network: main, test, testnet4, signet, regtest"),
        number("blocks", "Height of the active chain"),
        number("headers", "Height of the best header chain"),
        string("bestblockhash", "Hash of the tip"),
        hexed("bits", "Target of the tip in compact form"),
        hexed("target", "Target of the tip"),
        real("difficulty", "Difficulty of the tip"),
        time_("time", "Time of the tip"),
        time_("mediantime", "Median time of the tip and the ten before it"),
        real("verificationprogress", "Estimate of the share verified, 0 to 1"),
        boolean("initialblockdownload", "Whether the node is still far behind"),
        obj(
            "backgroundvalidation",
            "The chain below a loaded UTXO set",
            number("snapshotheight", "Height of the set's block, up to which it goes"),
            number("blocks", "Height that it has"),
            string("bestblockhash", "Hash of its tip"),
            time_("mediantime", "Median time of its tip and the ten before it"),
            number("verificationprogress", "Share validated, 0 to 1"),
            hexed("chainwork", "Hashes expected for it"),
            optional=True,
        ),
        hexed("chainwork", "Hashes expected for the active chain"),
        number("size_on_disk", "Bytes of block and undo files"),
        boolean("pruned", "Whether old blocks are deleted"),
        number("pruneheight", "Height from which on all blocks are here", optional=True),
        boolean("automatic_pruning", "Whether that happens by itself", optional=True),
        number("prune_target_size", "Bytes that block files may take, when it does", optional=True),
        hexed("signet_challenge", "Script that signet blocks satisfy", optional=True),
        arr("warnings", "Warnings", string("", "Warning")),
    ),
)
def getblockchaininfo(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    tree, tip, params = node.chain.tree, node.chain.tip(), node.params
    bits = tree.bits(tip)
    result: dict[str, Any] = {
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
        **_background(node),
        "chainwork": uint256_hex(tree.chainwork(tip)),
        "size_on_disk": node.chain.size_on_disk(),
        "pruned": node.config.prunes,
    }
    if node.config.prunes:
        pruned, target = node.pruner.prune_height(), node.config.prune_target
        result["pruneheight"] = 0 if pruned is None else pruned + 1
        result["automatic_pruning"] = target is not None
        if target is not None:
            result["prune_target_size"] = target
    if params.signet_challenge is not None:
        result["signet_challenge"] = params.signet_challenge.hex()
    result["warnings"] = shown_warnings(node)
    return result


def _background(node: NodeParts) -> dict[str, Any]:
    """The chain below a loaded UTXO set, where there is one."""
    parts = node.assumed.chain_parts()
    if len(parts) == 1 or parts[1].snapshot_base is None:
        return {}
    tree, tip = node.chain.tree, parts[0].tip
    base = tree.find(parts[1].snapshot_base)
    total = node.chain.block_status(base).chain_tx
    return {
        "backgroundvalidation": {
            "snapshotheight": tree.height(base),
            "blocks": tree.height(tip),
            "bestblockhash": to_display(tree.hash(tip)),
            "mediantime": tree.median_time_past(tip),
            "chainwork": uint256_hex(tree.chainwork(tip)),
            "verificationprogress": double(node.chain.block_status(tip).chain_tx / total if total else 0.0),
        }
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


@rpc(
    "blockchain",
    "Tips of all known chains, the active one and the branches.",
    returns=arr(
        "",
        "",
        obj(
            "",
            "",
            number("height", "Height of the tip"),
            hexed("hash", "Its hash"),
            number("branchlen", "Blocks since it left the active chain, 0 for the active tip"),
            string(
                "status",
                "invalid (a block in it broke a rule), headers-only (blocks missing), valid-headers (never verified),\n"
                "valid-fork (verified, not active) or active",
            ),
        ),
    ),
)
def getchaintips(node: NodeParts) -> list[dict[str, Any]]:
    """See the declaration."""
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


_DEPLOYMENT_RESULT = (
    string("type", '"buried" or "bip9"'),
    number("height", "First height with the rules, where it is known", optional=True),
    boolean("active", "Whether the next block must follow the rules"),
    obj(
        "bip9",
        "State of the vote",
        number("bit", "Bit in the version", optional=True),
        time_("start_time", "Median time from which the bit counts"),
        time_("timeout", "Median time at which the vote is lost"),
        number("min_activation_height", "Least height with the rules"),
        string("status", "defined, started, locked_in, active or failed"),
        number("since", "Height at which the status began"),
        string("status_next", "Status for the next block"),
        obj(
            "statistics",
            "The running period",
            number("period", "Blocks in it"),
            number("elapsed", "Blocks so far"),
            number("count", "Blocks that signal"),
            number("threshold", "Blocks needed", optional=True),
            boolean("possible", "Whether the threshold is in reach", optional=True),
            optional=True,
        ),
        string("signalling", "# for a block that signals, - for others", optional=True),
        optional=True,
    ),
)


def _bip9_json(node: NodeParts, index: int, deployment: Deployment) -> dict[str, Any]:
    status = node.chain.version_bits.status(index, deployment.name)
    bip9: dict[str, Any] = {"bit": deployment.bit} if status.stats is not None else {}
    bip9 |= {
        "start_time": deployment.start_time,
        "timeout": deployment.timeout,
        "min_activation_height": deployment.min_activation_height,
        "status": str(status.state),
        "since": status.since,
        "status_next": str(status.next_state),
    }
    if status.stats is not None:
        stats = status.stats
        figures: dict[str, Any] = {"period": stats.period, "elapsed": stats.elapsed, "count": stats.count}
        if stats.threshold > 0 or stats.possible:
            figures |= {"threshold": stats.threshold, "possible": stats.possible}
        bip9["statistics"] = figures
        bip9["signalling"] = "".join("#" if signal else "-" for signal in status.signalling)
    result: dict[str, Any] = {"type": "bip9"}
    if status.active_since is not None:
        result["height"] = status.active_since
    result["active"] = status.active_since is not None and status.active_since <= node.chain.tree.height(index) + 1
    result["bip9"] = bip9
    return result


@rpc(
    "blockchain",
    "Soft forks as of a block: those in force, those being voted on.",
    Arg("blockhash", Kind.HEX, "The block", None, hint="hash of current chain tip"),
    returns=obj(
        "",
        "",
        string("hash", "Hash of the block"),
        number("height", "Its height"),
        arr("script_flags", "Script rules for the block", string("", "Flag")),
        dyn("deployments", "By name", obj("name", "", *_DEPLOYMENT_RESULT)),
    ),
)
def getdeploymentinfo(node: NodeParts, blockhash: str | None) -> dict[str, Any]:
    """See the declaration."""
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


@rpc(
    "blockchain",
    "Number and rate of transactions in a window of the chain.",
    Arg("nblocks", Kind.INT, "Blocks in the window", None, hint="one month"),
    Arg("blockhash", Kind.HEX, "Last block of the window", None, hint="chain tip"),
    returns=obj(
        "",
        "",
        time_("time", "Time of the last block"),
        number("txcount", "Transactions in the chain up to it", optional=True),
        hexed("window_final_block_hash", "Hash of the last block"),
        number("window_final_block_height", "Its height"),
        number("window_block_count", "Blocks in the window"),
        number("window_interval", "Seconds in the window, by median times", optional=True),
        number("window_tx_count", "Transactions in the window", optional=True),
        real("txrate", "Transactions per second", optional=True),
    ),
    examples=((), (2016,)),
)
def getchaintxstats(node: NodeParts, nblocks: int | None, blockhash: str | None) -> dict[str, Any]:
    """See the declaration."""
    tree = node.chain.tree
    index = node.chain.tip()
    if blockhash is not None:
        index = find_block(node, blockhash)
        if not is_active(node, index):
            raise RpcError(RpcCode.INVALID_PARAMETER, "Block is not in main chain")
    height = tree.height(index)
    if nblocks is None:
        count = max(0, min(MONTH_S // node.params.pow_target_spacing, height - 1))
    elif nblocks < 0 or (nblocks > 0 and nblocks >= height):
        text = "Invalid block count: should be between 0 and the block's height - 1"
        raise RpcError(RpcCode.INVALID_PARAMETER, text)
    else:
        count = nblocks
    past = tree.ancestor(index, height - count)
    seconds = tree.median_time_past(index) - tree.median_time_past(past)
    result: dict[str, Any] = {"time": tree.time(index)}
    total, total_past = node.chain.block_status(index).chain_tx, node.chain.block_status(past).chain_tx
    if total:
        result["txcount"] = total
    result["window_final_block_hash"] = to_display(tree.hash(index))
    result["window_final_block_height"] = height
    result["window_block_count"] = count
    if count > 0:
        result["window_interval"] = seconds
        if total and total_past:
            txs = total - total_past
            result["window_tx_count"] = txs
            if seconds > 0:
                result["txrate"] = double(txs / seconds)
    return result


@rpc(
    "hidden", "Treat a block as invalid, and leave its chain.", BLOCKHASH, returns=nothing(), examples=(("blockhash",),)
)
async def invalidateblock(node: NodeParts, blockhash: str) -> None:
    """See the declaration."""
    try:
        await node.chain.invalidate_block(find_block(node, blockhash))
    except StorageError as error:
        raise RpcError(RpcCode.DATABASE_ERROR, str(error)) from error


@rpc(
    "hidden",
    "Forget that a block, its ancestors and descendants are invalid. Undoes invalidateblock.",
    BLOCKHASH,
    returns=nothing(),
    examples=(("blockhash",),),
)
async def reconsiderblock(node: NodeParts, blockhash: str) -> None:
    """See the declaration."""
    await node.chain.reconsider_block(find_block(node, blockhash))


@rpc(
    "blockchain",
    "Prefer a block to others of equal work, as if it had come first. A later call overrides it; so does a restart.",
    BLOCKHASH,
    returns=nothing(),
    examples=(("blockhash",),),
)
async def preciousblock(node: NodeParts, blockhash: str) -> None:
    """See the declaration."""
    try:
        await node.chain.precious_block(find_block(node, blockhash))
    except RuleViolation as error:
        raise RpcError(RpcCode.DATABASE_ERROR, str(error)) from error


_TIP_RESULT: Result = obj("", "", hexed("hash", "Hash of the tip"), number("height", "Its height"))
_TIMEOUT = Arg("timeout", Kind.INT, "Milliseconds to wait, 0 for no limit", 0)


def _check_timeout(milliseconds: int) -> None:
    """Raises RpcError."""
    if milliseconds < 0:
        raise RpcError(RpcCode.MISC_ERROR, "Negative timeout")


async def _wait(node: NodeParts, timeout_ms: int, done: Callable[[int], bool]) -> dict[str, Any]:
    """Wait until ``done(tip)``; answers with the tip in any case."""
    _check_timeout(timeout_ms)
    deadline = monotonic() + timeout_ms / 1000 if timeout_ms else None
    tip = node.chain.tip()
    while not done(tip):
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            break
        before = tip
        await node.chain.wait_tip_changed(before, left)
        tip = node.chain.tip()
        if tip == before:  # time is up, or the node stops
            break
    return {"hash": to_display(node.chain.tree.hash(tip)), "height": node.chain.tree.height(tip)}


@rpc(
    "blockchain",
    "Wait until the tip changes, then tell it. Tells the current one when time is up.",
    _TIMEOUT,
    Arg("current_tip", Kind.HEX, "Return at once when this is not the tip", None),
    returns=_TIP_RESULT,
    examples=((1000,),),
    waits=True,
)
async def waitfornewblock(node: NodeParts, milliseconds: int, current_tip: str | None) -> dict[str, Any]:
    """See the declaration."""
    _check_timeout(milliseconds)
    start = node.chain.tip()
    if current_tip is not None:
        start = node.chain.tree.find(BlockHash(parse_hash(current_tip, "current_tip")))
    return await _wait(node, milliseconds, lambda tip: tip != start)


@rpc(
    "blockchain",
    "Wait until the tip is a certain block, then tell it. Tells the current one when time is up.",
    BLOCKHASH,
    _TIMEOUT,
    returns=_TIP_RESULT,
    examples=(("blockhash", 1000),),
    waits=True,
)
async def waitforblock(node: NodeParts, blockhash: str, milliseconds: int) -> dict[str, Any]:
    """See the declaration."""
    wanted = parse_hash(blockhash, "blockhash")
    return await _wait(node, milliseconds, lambda tip: node.chain.tree.hash(tip) == wanted)


@rpc(
    "blockchain",
    "Wait until the chain has at least a certain height, then tell its tip. Tells the current one when time is up.",
    Arg("height", Kind.INT, "The height"),
    _TIMEOUT,
    returns=_TIP_RESULT,
    examples=((100, 1000),),
    waits=True,
)
async def waitforblockheight(node: NodeParts, height: int, milliseconds: int) -> dict[str, Any]:
    """See the declaration."""
    return await _wait(node, milliseconds, lambda tip: node.chain.tree.height(tip) >= height)


@rpc("hidden", "Return when everything that follows from earlier blocks has been done.", returns=nothing())
async def syncwithvalidationinterfacequeue(node: NodeParts) -> None:
    """Nothing is queued behind the tip: what follows from a block is done before the tip shows it."""
