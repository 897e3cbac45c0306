"""Fee estimates."""

from __future__ import annotations

from math import floor
from typing import Annotated, NotRequired, TypedDict

from btcnode.mempool.fee_estimator import FeeEstimator, Horizon
from btcnode.mempool.fee_stats import BucketRange
from btcnode.rpc.amounts import real_number
from btcnode.rpc.declare import AnyNumber, Coins, Elided, Real, in_order, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.jsonvalue import Number, amount, double
from btcnode.services.parts import NodeParts

MODES = ("unset", "economical", "conservative")


def _estimator(node: NodeParts) -> FeeEstimator:
    if node.fees is None:
        raise RpcError(RpcCode.INTERNAL_ERROR, "Fee estimation disabled")
    return node.fees.estimator


def _check_target(target: int, highest: int) -> None:
    if not 1 <= target <= highest:
        raise RpcError(RpcCode.INVALID_PARAMETER, f"Invalid conf_target, must be between 1 and {highest}")


class FeeEstimate(TypedDict):
    """A feerate, or why there is none."""

    feerate: Annotated[NotRequired[Coins], "Feerate in BTC/kvB; absent when it is not known"]
    errors: Annotated[NotRequired[list[Annotated[str, "Error"]]], "Why it is not known"]
    blocks: Annotated[int, ("The target that the estimate is for: at least 2, and no farther than there are data for")]


@rpc("util", examples=((6,),))
def estimatesmartfee(
    node: NodeParts,
    conf_target: Annotated[int, "Confirmation target in blocks (1 - 1008)"],
    estimate_mode: Annotated[
        str, ('"economical" follows falling fees soon, "conservative" looks back farther; "unset" is the default mode')
    ] = "economical",
) -> FeeEstimate:
    """The feerate for a transaction to confirm within so many blocks, as far as it can be known from what was seen."""
    estimator, pool = _estimator(node), node.mempool
    _check_target(conf_target, estimator.highest_target())
    if estimate_mode.lower() not in MODES:
        names = '", "'.join(MODES)
        raise RpcError(RpcCode.INVALID_PARAMETER, f'Invalid estimate_mode parameter, must be one of: "{names}"')
    found = estimator.smart(conf_target, conservative=estimate_mode.lower() == "conservative")
    if not found.feerate:
        return {"errors": ["Insufficient data or no feerate found"], "blocks": found.blocks}
    feerate = max(found.feerate, pool.minimum_feerate(node.clock.now()), pool.options.min_relay_feerate)
    return {"feerate": amount(feerate), "blocks": found.blocks}


def _whole(value: float) -> Number:
    return double(floor(value + 0.5) if value >= 0 else -floor(-value + 0.5))


def _hundredths(value: float) -> Number:
    return double(floor(value * 100 + 0.5) / 100)


def _range_json(run: BucketRange) -> FeeRange:
    return {
        "startrange": _whole(run.start),
        "endrange": _whole(run.end),
        "withintarget": _hundredths(run.within_target),
        "totalconfirmed": _hundredths(run.total_confirmed),
        "inmempool": _hundredths(run.in_mempool),
        "leftmempool": _hundredths(run.left_mempool),
    }


class FeeRange(TypedDict):
    """A range of feerates and what became of its transactions."""

    startrange: Annotated[Real, "Lowest feerate, sat/kvB"]
    endrange: Annotated[Real, "Highest feerate"]
    withintarget: Annotated[Real, "Transactions that confirmed within the target"]
    totalconfirmed: Annotated[Real, "Transactions that confirmed"]
    inmempool: Annotated[Real, "Transactions that wait for as long as the target"]
    leftmempool: Annotated[Real, "Transactions that left the mempool unconfirmed after the target"]


HorizonEstimate = TypedDict(
    "HorizonEstimate",
    {
        "feerate": Annotated[NotRequired[Coins], "Feerate in BTC/kvB"],
        "decay": Annotated[Real, "What is left of a count after a block"],
        "scale": Annotated[int, "Blocks of a period"],
        "pass": Annotated[NotRequired[FeeRange], "The lowest feerates that met the threshold"],
        "fail": Annotated[NotRequired[FeeRange], "The highest feerates that did not", Elided("")],
        "errors": Annotated[NotRequired[list[str]], "Why there is no feerate"],
    },
)


class RawFeeEstimates(TypedDict):
    """What estimates rest on, by time horizon."""

    short: Annotated[NotRequired[HorizonEstimate], "The short horizon"]
    medium: Annotated[NotRequired[HorizonEstimate], "The medium horizon", Elided("")]
    long: Annotated[NotRequired[HorizonEstimate], "The long horizon", Elided("")]


@rpc("hidden", examples=((6, 0.9),))
def estimaterawfee(
    node: NodeParts,
    conf_target: Annotated[int, "Confirmation target in blocks (1 - 1008)"],
    threshold: Annotated[AnyNumber, "Share that must have confirmed within the target"] = 0.95,
) -> RawFeeEstimates:
    """What the estimates of each time horizon rest on. Form and contents may change."""
    estimator = _estimator(node)
    _check_target(conf_target, estimator.highest_target())
    share = real_number(threshold)
    if not 0 <= share <= 1:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Invalid threshold")
    result: RawFeeEstimates = {}
    for horizon in Horizon:
        if conf_target > estimator.highest_target(horizon):
            continue
        feerate, found = estimator.raw(conf_target, share, horizon)
        shape: HorizonEstimate = {"decay": double(found.decay), "scale": found.scale}
        if feerate:
            shape["feerate"] = amount(feerate)
            shape["pass"] = _range_json(found.passed)
            if found.failed.start != -1:
                shape["fail"] = _range_json(found.failed)
        else:
            shape["fail"] = _range_json(found.failed)
            shape["errors"] = ["Insufficient data or no feerate found which meets threshold"]
        result[horizon.value] = in_order(HorizonEstimate, shape)
    return result
