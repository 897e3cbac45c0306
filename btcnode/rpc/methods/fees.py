"""Fee estimates."""

from __future__ import annotations

from math import floor
from typing import Any

from btcnode.mempool.fee_estimator import FeeEstimator, Horizon
from btcnode.mempool.fee_stats import BucketRange
from btcnode.rpc.amounts import real_number
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import Number, amount, double
from btcnode.rpc.spec import Arg, Kind, arr, coins, ellipsis, number, obj, real, rpc, string
from btcnode.services.parts import NodeParts

MODES = ("unset", "economical", "conservative")
_TARGET = Arg("conf_target", Kind.INT, "Confirmation target in blocks (1 - 1008)")


def _estimator(node: NodeParts) -> FeeEstimator:
    if node.fees is None:
        raise RpcError(RpcCode.INTERNAL_ERROR, "Fee estimation disabled")
    return node.fees.estimator


def _check_target(target: int, highest: int) -> None:
    if not 1 <= target <= highest:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid conf_target, must be between 1 and {highest}")


@rpc(
    "util",
    "The feerate for a transaction to confirm within so many blocks, as far as it can be known from what was seen.",
    _TARGET,
    Arg(
        "estimate_mode",
        Kind.STR,
        '"economical" follows falling fees soon, "conservative" looks back farther; "unset" is the default mode',
        "economical",
    ),
    returns=obj(
        "",
        "",
        coins("feerate", "Feerate in BTC/kvB; absent when it is not known", optional=True),
        arr("errors", "Why it is not known", string("", "Error"), optional=True),
        number("blocks", "The target that the estimate is for: at least 2, and no farther than there are data for"),
    ),
    examples=((6,),),
)
def estimatesmartfee(node: NodeParts, target: int, mode: str) -> dict[str, Any]:
    """See the declaration."""
    estimator, pool = _estimator(node), node.mempool
    _check_target(target, estimator.highest_target())
    if mode.lower() not in MODES:
        names = '", "'.join(MODES)
        raise RpcError(RpcCode.INVALID_PARAMETER, f'Invalid estimate_mode parameter, must be one of: "{names}"')
    found = estimator.smart(target, conservative=mode.lower() == "conservative")
    if not found.feerate:
        return {"errors": ["Insufficient data or no feerate found"], "blocks": found.blocks}
    feerate = max(found.feerate, pool.minimum_feerate(node.clock.now()), pool.options.min_relay_feerate)
    return {"feerate": amount(feerate), "blocks": found.blocks}


_RANGE_RESULT = (
    real("startrange", "Lowest feerate, sat/kvB"),
    real("endrange", "Highest feerate"),
    real("withintarget", "Transactions that confirmed within the target"),
    real("totalconfirmed", "Transactions that confirmed"),
    real("inmempool", "Transactions that wait for as long as the target"),
    real("leftmempool", "Transactions that left the mempool unconfirmed after the target"),
)
_HORIZON_RESULT = (
    coins("feerate", "Feerate in BTC/kvB", optional=True),
    real("decay", "What is left of a count after a block"),
    number("scale", "Blocks of a period"),
    obj("pass", "The lowest feerates that met the threshold", *_RANGE_RESULT, optional=True),
    obj("fail", "The highest feerates that did not", ellipsis(), optional=True),
    arr("errors", "Why there is no feerate", string("error", ""), optional=True),
)


def _whole(value: float) -> Number:
    return double(floor(value + 0.5) if value >= 0 else -floor(-value + 0.5))


def _hundredths(value: float) -> Number:
    return double(floor(value * 100 + 0.5) / 100)


def _range_json(run: BucketRange) -> dict[str, Any]:
    return {
        "startrange": _whole(run.start),
        "endrange": _whole(run.end),
        "withintarget": _hundredths(run.within_target),
        "totalconfirmed": _hundredths(run.total_confirmed),
        "inmempool": _hundredths(run.in_mempool),
        "leftmempool": _hundredths(run.left_mempool),
    }


@rpc(
    "hidden",
    "What the estimates of each time horizon rest on. Form and contents may change.",
    _TARGET,
    Arg("threshold", Kind.NUM, "Share that must have confirmed within the target", 0.95),
    returns=obj(
        "",
        "",
        obj("short", "The short horizon", *_HORIZON_RESULT, optional=True),
        obj("medium", "The medium horizon", ellipsis(), optional=True),
        obj("long", "The long horizon", ellipsis(), optional=True),
    ),
    examples=((6, 0.9),),
)
def estimaterawfee(node: NodeParts, target: int, threshold: Any) -> dict[str, Any]:
    """See the declaration."""
    estimator = _estimator(node)
    _check_target(target, estimator.highest_target())
    share = real_number(threshold)
    if not 0 <= share <= 1:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid threshold")
    result: dict[str, Any] = {}
    for horizon in Horizon:
        if target > estimator.highest_target(horizon):
            continue
        feerate, found = estimator.raw(target, share, horizon)
        shape: dict[str, Any] = {"decay": double(found.decay), "scale": found.scale}
        if feerate:
            shape = {"feerate": amount(feerate)} | shape | {"pass": _range_json(found.passed)}
            if found.failed.start != -1:
                shape["fail"] = _range_json(found.failed)
        else:
            shape["fail"] = _range_json(found.failed)
            shape["errors"] = ["Insufficient data or no feerate found which meets threshold"]
        result[horizon.value] = shape
    return result
