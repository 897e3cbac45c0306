"""What a table of methods keeps of the calls in progress and of those that have ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from btcnode.rpc import table as of_table
from btcnode.rpc.declare import rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.table import CALL_BOUNDS
from btcnode.services.parts import NodeParts

Running = Any


def shown(running: Running, body: Any, padding: int) -> list[str]:
    """The calls in progress as a request tells them that is a batch, or none, with white space behind it."""
    _, reply, _ = running.post(json.dumps(body).encode() + b" " * padding)
    answer = reply[0] if isinstance(reply, list) else reply
    return [call["method"] for call in answer["result"]["active_commands"]]


@pytest.mark.parametrize("padding", [0, 40_000, 250_000])
def test_a_call_is_in_progress_while_it_is_answered(running: Running, padding: int) -> None:
    ask = {"id": 1, "method": "getrpcinfo"}
    running.post([ask])  # the method is loaded
    for body in (ask, [ask]):
        assert shown(running, body, padding) == ["getrpcinfo"]
    waiting = running.connect()
    wait = json.dumps({"id": 1, "method": "waitfornewblock", "params": [60_000]})
    waiting.request("POST", "/", wait, {"Authorization": running.authorization})
    deadline = time.monotonic() + 20
    while not running.table.in_progress() and time.monotonic() < deadline:
        time.sleep(0.01)
    for body in (ask, [ask]):
        assert shown(running, body, padding) == ["waitfornewblock", "getrpcinfo"]
    running.call("generatetodescriptor", 1, "raw(51)")
    waiting.getresponse().read()
    assert running.call("getblockhash", 99)["code"] == -8
    assert running.table.in_progress() == []


def test_calls_are_counted_by_how_long_they_took(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    now, takes = 0.0, 0.0

    def timed(node: NodeParts, fails: Annotated[bool, "Whether"]) -> Annotated[int, "One"]:
        """Take a while."""
        nonlocal now
        now = takes
        if fails:
            raise RpcError(RpcCode.MISC_ERROR, "failed")
        return 1

    method = rpc("hidden")(timed)
    monkeypatch.setattr(of_table, "monotonic", lambda: now)
    call: Callable[..., Any] = running.table.call
    for takes in (0.0005, 0.0009, CALL_BOUNDS[0], 0.5, 20.0):  # noqa: B007 - the method reads it
        now = 0.0
        call(method, [False])
        now = 0.0
        with pytest.raises(RpcError):
            call(method, [True])
    tally = running.table.tallies["timed"]
    assert (tally.failed, tally.quick) == (5, 4)
    assert tally.seconds.counts == [6, 0, 0, 2, 0, 2]
    assert tally.seconds.sum == pytest.approx(2 * (0.0005 + 0.0009 + 0.001 + 0.5 + 20.0))
    assert running.table.in_progress() == []
