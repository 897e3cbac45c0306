"""estimatesmartfee and estimaterawfee."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.mempool.entry import LockPoints, MempoolEntry
from btcnode.testing.small_pool import coin, spend

Running = Any


def learn(running: Running, blocks: int) -> None:
    """Four transactions of 10 sat/vB in every block."""
    assert running.parts.fees is not None
    estimator = running.parts.fees.estimator
    estimator.block([], 1)
    for height in range(1, blocks + 1):
        entries = []
        for n in range(4):
            tx = spend([coin(height * 10 + n)], 1_000_000, 0)
            entry = MempoolEntry(
                tx, fee=10 * len(tx.raw), weight=4 * len(tx.raw), sigop_cost=0, time=0, height=height, sequence=1,
                spends_coinbase=False, lock_points=LockPoints(0, 0, -1),
            )  # fmt: skip
            estimator.added(entry, counts=True)
            entries.append(entry)
        estimator.block(entries, height + 1)


def test_without_data(running: Running) -> None:
    errors = ["Insufficient data or no feerate found"]
    assert running.call("estimatesmartfee", 6) == {"errors": errors, "blocks": 0}
    raw = running.call("estimaterawfee", 13)
    assert list(raw) == ["medium", "long"]
    assert raw["medium"] == {
        "decay": 0.9952,
        "scale": 2,
        "fail": {
            "startrange": 0, "endrange": 1e99, "withintarget": 0, "totalconfirmed": 0, "inmempool": 0, "leftmempool": 0,
        },
        "errors": ["Insufficient data or no feerate found which meets threshold"],
    }  # fmt: skip


def test_with_data(running: Running) -> None:
    learn(running, 20)
    assert running.call("estimatesmartfee", 6) == {"feerate": 0.0001, "blocks": 6}
    assert running.call("estimatesmartfee", 1, "CONSERVATIVE") == {"feerate": 0.0001, "blocks": 2}
    running.parts.mempool._raise_minimum(20_000)
    assert running.call("estimatesmartfee", 6, "unset") == {"feerate": 0.0002, "blocks": 6}
    short = running.call("estimaterawfee", 2)["short"]
    assert (short["feerate"], short["scale"], short["pass"]["inmempool"]) == (0.0001, 1, 0)
    assert short["pass"]["startrange"] < 10_000 <= short["pass"]["endrange"]
    assert short["pass"]["withintarget"] == short["pass"]["totalconfirmed"] == pytest.approx(56.75, abs=1)


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("estimatesmartfee", [0], -8, "Invalid conf_target, must be between 1 and 1008"),
        ("estimatesmartfee", [1009], -8, "Invalid conf_target, must be between 1 and 1008"),
        (
            "estimatesmartfee", [1, "foo"], -8,
            'Invalid estimate_mode parameter, must be one of: "unset", "economical", "conservative"',
        ),
        ("estimatesmartfee", ["foo"], -3, "JSON value of type string is not of expected type number"),
        ("estimatesmartfee", [1, 1], -3, "JSON value of type number is not of expected type string"),
        ("estimaterawfee", [1, "foo"], -3, "JSON value of type string is not of expected type number"),
        ("estimaterawfee", [0], -8, "Invalid conf_target, must be between 1 and 1008"),
        ("estimaterawfee", [1, 1.5], -8, "Invalid threshold"),
    ],
)  # fmt: skip
def test_refusals(running: Running, method: str, params: list[object], code: int, message: str) -> None:
    error = running.call(method, *params)
    assert error["code"] == code
    assert message in error["message"]


def test_disabled_with_blocksonly(run_server: Any) -> None:
    running = run_server(blocksonly=True)
    for method in ("estimatesmartfee", "estimaterawfee"):
        assert running.call(method, 6) == {"code": -32603, "message": "Fee estimation disabled"}
