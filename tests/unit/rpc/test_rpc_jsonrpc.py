"""JSON-RPC 1.0, 1.1 and 2.0 as Bitcoin Core speaks them, over a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from btcnode.rpc import room
from btcnode.rpc.jsonrpc import BATCH_BODY, LARGE_BODY
from btcnode.rpc.large_json import WINDOW, Reader

Running = Any


def test_1x_success_has_result_error_and_id(running: Running) -> None:
    status, reply, response = running.post({"id": "x", "method": "getblockcount", "params": []})
    assert status == 200
    assert list(reply.items()) == [("result", 0), ("error", None), ("id", "x")]
    assert response.headers["Content-Type"] == "application/json"


def test_2_0_success_has_no_error_field(running: Running) -> None:
    status, reply, _ = running.post({"jsonrpc": "2.0", "id": 7, "method": "getblockcount"})
    assert (status, reply) == (200, {"jsonrpc": "2.0", "result": 0, "id": 7})


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"{", 500, -32700, "Parse error"),
        (b"", 500, -32700, "Parse error"),
        (b"\xff\xfe{}", 500, -32700, "Parse error"),
        (b"[" * 100_000, 500, -32700, "Parse error"),
        (b'{"id":1,"method":"uptime","params":[NaN]}', 500, -32700, "Parse error"),
        (b"3", 500, -32700, "Top-level object parse error"),
        (b'"x"', 500, -32700, "Top-level object parse error"),
        (b'{"id":1}', 400, -32600, "Missing method"),
        (b'{"id":1,"method":3}', 400, -32600, "Method must be a string"),
        (b'{"id":1,"method":"uptime","params":3}', 400, -32600, "Params must be an array or object"),
        (b'{"id":1,"method":"uptime","jsonrpc":2.0}', 400, -32600, "jsonrpc field must be a string"),
        (b'{"id":1,"method":"uptime","jsonrpc":"2.1"}', 400, -32600, "JSON-RPC version not supported"),
        (b'{"id":1,"method":"nosuch"}', 404, -32601, "Method not found"),
        (b'{"id":1,"method":"getblockhash","params":[77]}', 500, -8, "Block height out of range"),
        (b'{"id":1,"method":"getblockhash","params":[1.5]}', 500, -1, "JSON integer out of range"),
        (b'{"id":1,"method":"getblockhash","params":[99999999999]}', 500, -1, "JSON integer out of range"),
        (
            b'{"id":1,"method":"getblockhash","params":["x"]}',
            500,
            -3,
            'Wrong type passed:\n{\n    "Position 1 (height)": '
            '"JSON value of type string is not of expected type number"\n}',
        ),
    ],
)
def test_1x_errors_are_http_errors(running: Running, body: bytes, status: int, code: int, message: str) -> None:
    got, reply, _ = running.post(body)
    assert (got, reply["result"], reply["error"]) == (status, None, {"code": code, "message": message})
    assert "jsonrpc" not in reply
    assert reply["id"] == (1 if b'"id":1' in body and code != -32700 else None)


@pytest.mark.parametrize(("method", "code"), [("nosuch", -32601), ("getblockhash", -1)])
def test_2_0_errors_are_http_200(running: Running, method: str, code: int) -> None:
    status, reply, _ = running.post({"jsonrpc": "2.0", "id": 1, "method": method})
    assert status == 200
    assert reply["error"]["code"] == code
    assert set(reply) == {"jsonrpc", "error", "id"}


def test_2_0_request_that_cannot_be_read_is_http_400(running: Running) -> None:
    status, reply, _ = running.post({"jsonrpc": "2.0", "id": 4})
    assert (status, reply) == (
        400,
        {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Missing method"}, "id": 4},
    )


def test_notification_is_carried_out_and_not_answered(running: Running) -> None:
    status, body, response = running.post({"jsonrpc": "2.0", "method": "setmocktime", "params": [5]})
    assert (status, body) == (204, b"")
    assert "Content-Length" not in response.headers
    assert running.now == 5
    status, body, _ = running.post({"jsonrpc": "2.0", "method": "nosuch"})
    assert (status, body) == (204, b"")


def test_1x_without_id_is_answered_without_id(running: Running) -> None:
    status, reply, _ = running.post({"method": "getblockcount"})
    assert (status, reply) == (200, {"result": 0, "error": None})


@pytest.mark.parametrize("request_id", [None, "", "a", 0, -1, 1.5, [1, {"a": None}], {"x": "y"}, True])
def test_any_id_comes_back(running: Running, request_id: Any) -> None:
    _, reply, _ = running.post({"id": request_id, "method": "getblockcount"})
    assert reply["id"] == request_id


def test_batch_is_200_in_order_with_errors_inside(running: Running) -> None:
    status, replies, _ = running.post(
        [
            {"id": 1, "method": "getblockcount"},
            {"jsonrpc": "2.0", "id": 2, "method": "nosuch"},
            {"jsonrpc": "2.0", "method": "uptime"},
            {"id": 3, "method": "nosuch"},
            5,
            {"jsonrpc": "2.0", "id": 4, "method": "getblock", "params": ["00"]},
        ]
    )
    assert status == 200
    assert [reply["id"] for reply in replies] == [
        1,
        2,
        3,
        3,
        4,
    ]  # what is no object has the id of the request before it
    assert replies[0] == {"result": 0, "error": None, "id": 1}
    assert replies[1] == {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": 2}
    assert replies[3]["error"] == {"code": -32600, "message": "Invalid Request object"}
    assert replies[4]["error"]["message"] == "blockhash must be of length 64 (not 2, for '00')"


@pytest.mark.parametrize("size", [0, LARGE_BODY, BATCH_BODY])
def test_a_batch_may_begin_with_what_sets_itself_a_time(running: Running, size: int) -> None:
    """Only a task can be woken by a time that is over."""
    batch = json.dumps([{"id": n, "method": "waitfornewblock", "params": [20]} for n in range(2)])
    for _ in range(2):  # the second time the method is here already
        _, replies, _ = running.post(batch.encode() + b" " * size)
        assert [reply["result"]["height"] for reply in replies] == [0, 0]


def batch_of(size: int) -> bytes:
    """Calls of about so many bytes."""
    call = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "getblockcount", "params": []})
    return f"[{', '.join([call] * (size // len(call)))}]".encode()


@pytest.mark.parametrize(
    ("body", "beside"),
    [
        (batch_of(2 * LARGE_BODY), False),
        (batch_of(BATCH_BODY + 1000), True),
        (b"[" + b"[], " * LARGE_BODY + batch_of(100)[1:], True),  # few of its bytes are not brackets
        (b" " * LARGE_BODY + batch_of(100), True),
    ],
    ids=["usual", "large", "brackets", "space"],
)
def test_a_batch_of_usual_size_is_read_without_a_thread(
    running: Running, body: bytes, beside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[bool] = set()
    steps = Reader.steps

    def noted(reader: Reader) -> Iterator[None]:
        threads.add(threading.current_thread().name.startswith("asyncio_"))
        return steps(reader)

    monkeypatch.setattr(Reader, "steps", noted)
    status, replies, _ = running.post(body)
    right = [reply for reply in replies if reply.get("error") is None]
    assert status == 200
    assert right == [{"jsonrpc": "2.0", "result": 0, "id": 7}] * body.count(b"getblockcount")
    assert threads == {beside}
    assert running.post(body[:-1])[1]["error"] == {"code": -32700, "message": "Parse error"}


def test_others_have_their_turn_while_a_batch_is_read(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "SLICE_MONO", -1.0)  # each piece takes too long
    turns = 0
    sleep = asyncio.sleep

    async def counted(seconds: float) -> None:
        nonlocal turns
        turns += 1
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", counted)
    _, reply, _ = running.post(b"[1" + b", 1" * (LARGE_BODY // 2))  # its end is missing, so that no call is made
    assert reply["error"]["message"] == "Parse error"
    assert turns >= 1.5 * LARGE_BODY // WINDOW


def test_batches_of_many_are_read_one_after_the_other(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a turn for everybody else between two of them."""
    clients, most, at_once = 6, 0, 0
    between: list[int] = []
    steps = Reader.steps
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def noted(reader: Reader) -> Iterator[None]:
        nonlocal at_once, most
        between.append(turns)
        at_once += 1
        most = max(most, at_once)
        yield from steps(reader)
        at_once -= 1

    monkeypatch.setattr(room, "SLICE_MONO", 60.0)
    monkeypatch.setattr(Reader, "steps", noted)
    beside = asyncio.run_coroutine_threadsafe(others(), running.thread.loop)
    with ThreadPoolExecutor(clients) as asking:
        answers = list(asking.map(running.post, [batch_of(2 * LARGE_BODY)] * clients))
    beside.cancel()
    assert {status for status, _, _ in answers} == {200}
    assert most == 1
    assert len(between) == clients and all(b > a for a, b in pairwise(between))


def test_empty_batch_and_batch_of_notifications(running: Running) -> None:
    assert running.post([])[:2] == (200, [])
    assert running.post([{"jsonrpc": "2.0", "method": "uptime"}] * 2)[:2] == (204, b"")


def test_named_arguments(running: Running) -> None:
    def call(params: dict[str, Any]) -> Any:
        _, reply, _ = running.post({"id": 1, "method": "getblockheader", "params": params})
        return reply["error"] or reply["result"]

    genesis = running.call("getblockhash", 0)
    assert call({"blockhash": genesis})["height"] == 0
    assert len(call({"verbose": False, "blockhash": genesis})) == 160
    assert len(call({"args": [genesis], "verbose": False})) == 160
    assert call({"args": [genesis], "blockhash": genesis}) == {
        "code": -8,
        "message": "Parameter blockhash specified twice both as positional and named argument",
    }
    no_arrays: tuple[Any, ...] = (None, 1, {}, "x")
    for no_array in no_arrays:
        assert call({"args": no_array, "blockhash": genesis})["height"] == 0
    assert call({"blockhash": genesis, "x": 1}) == {"code": -8, "message": "Unknown named parameter x"}
    body = json.dumps({"id": 1, "method": "getblockheader", "params": {"a": 1}}).replace('"a": 1', '"a": 1, "a": 2')
    assert running.post(body.encode())[1]["error"] == {
        "code": -8,
        "message": "Parameter a specified multiple times",
    }


def test_named_arguments_with_a_gap_and_an_alias(running: Running) -> None:
    _, reply, _ = running.post({"id": 1, "method": "waitfornewblock", "params": {"current_tip": "00" * 32}})
    assert reply["result"]["height"] == 0
    genesis = running.call("getblockhash", 0)
    _, reply, _ = running.post({"id": 1, "method": "getblock", "params": {"blockhash": genesis, "verbose": False}})
    assert len(reply["result"]) == 285 * 2


def test_members_by_name(running: Running) -> None:
    def call(params: dict[str, Any]) -> Any:
        _, reply, _ = running.post({"id": 1, "method": "gettxspendingprevout", "params": params})
        return reply["error"] or reply["result"]

    outputs = [{"txid": "11" * 32, "vout": 0}]
    assert call({"outputs": outputs, "mempool_only": True}) == outputs
    assert call({"args": [outputs], "mempool_only": True, "return_spending_tx": True}) == outputs
    assert call({"outputs": outputs, "options": {"mempool_only": False}})["code"] == -1
    assert call({"outputs": outputs, "mempool_only": False})["code"] == -1
    assert call({"outputs": outputs, "options": {}, "mempool_only": True}) == {
        "code": -8,
        "message": "Parameter options conflicts with parameter mempool_only",
    }


def test_warm_up(running: Running) -> None:
    running.warm_up("Loading block index…")
    status, reply, _ = running.post({"id": 1, "method": "getblockcount"})
    assert (status, reply["error"]) == (500, {"code": -28, "message": "Loading block index…"})
    assert running.call("nosuch")["code"] == -28
    running.warm_up(None)
    assert running.call("getblockcount") == 0


def test_stop_works_during_warm_up(running: Running) -> None:
    running.warm_up("Verifying blocks…")
    assert running.call("stop") == "btcnode stopping"
    assert running.launch.control.stop_requested.is_set()


def test_an_unexpected_failure_is_an_internal_error_and_the_server_goes_on(
    running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(running.launch.control, "uptime", broken)
    assert running.call("uptime")["code"] == -32603
    assert "oops" in caplog.text
    monkeypatch.setattr(running.launch.control, "uptime", object)
    assert running.call("uptime")["code"] == -32603
    assert running.call("getblockcount") == 0


def test_numbers_are_written_as_core_writes_them(running: Running) -> None:
    connection = running.connect()

    def raw(method: str, *params: Any) -> str:
        body = json.dumps({"id": 1, "method": method, "params": params})
        connection.request("POST", "/", body, {"Authorization": running.authorization})
        answer: bytes = connection.getresponse().read()
        return answer.decode()

    assert raw("getdifficulty") == '{"result":4.656542373906925e-10,"error":null,"id":1}\n'
    assert '"relayfee":0.00000100' in raw("getnetworkinfo")
    running.add_peer("192.0.2.1:18444")
    assert '"minfeefilter":0.00000000' in raw("getpeerinfo")
    assert raw("echojson", 'é\u0001"') == '{"result":["é\\u0001\\""],"error":null,"id":1}\n'
    connection.close()


def test_numbers_of_a_request_keep_their_form(running: Running) -> None:
    body = b'{"id":1.50,"method":"echojson","params":[1.10,1e5,12345678901234567890,-0]}'
    connection = running.connect()
    connection.request("POST", "/", body, {"Authorization": running.authorization})
    answer = connection.getresponse().read()
    assert answer == b'{"result":[1.10,1e5,12345678901234567890,-0],"error":null,"id":1.50}\n'
    connection.close()
