"""Text that users send: amounts, numbers and JSON that only a lenient reader would take, over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from btcnode.rpc.methods import every_method

Running = Any
ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def raw(running: Running, body: str) -> tuple[int, Any]:
    status, reply, _ = running.post(body.encode())
    return status, reply["error"] or reply["result"]


def pay(running: Running, amount: str) -> Any:
    """What createrawtransaction answers to an amount written as ``amount`` in the request."""
    return raw(running, f'{{"id":1,"method":"createrawtransaction","params":[[],{{"{ADDRESS}":{amount}}}]}}')[1]


@pytest.mark.parametrize(
    "text",
    [
        " 1", "1 ", "1\\n", "\u00a01", "+1", "1_000", "_1_", "\u0967", "\uff11", "1.", ".1", "01", "00.1", "0e1000000",
        "NaN", "Infinity", "-", "", "1e", "0x1", "1\\u0000",
    ],
)  # fmt: skip
def test_amounts_as_strings(running: Running, text: str) -> None:
    assert pay(running, f'"{text}"') == {"code": -3, "message": "Invalid amount"}


@pytest.mark.parametrize("text", ["0e99999999", "1e-999999999", "1e999999", "0.000000001", "9" * 5000, "1e20"])
def test_amounts_as_numbers(running: Running, text: str) -> None:
    assert pay(running, text) == pay(running, f'"{text}"') == {"code": -3, "message": "Invalid amount"}


@pytest.mark.parametrize(
    ("text", "message"), [("-1", "Amount out of range"), ("21000000.00000001", "Amount out of range")]
)
def test_amounts_out_of_range(running: Running, text: str, message: str) -> None:
    assert pay(running, text) == pay(running, f'"{text}"') == {"code": -3, "message": message}


@pytest.mark.parametrize("text", ["1", "1.00000000", "1e0", "100000000e-8", "0.1e1", "1.000000000000000000000000"])
def test_amounts_that_are_one_coin(running: Running, text: str) -> None:
    tx = pay(running, text)
    assert pay(running, f'"{text}"') == tx
    assert running.call("decoderawtransaction", tx)["vout"][0]["value"] == 1


@pytest.mark.parametrize("amount", ["true", "null", "[]", "{}"])
def test_what_is_no_amount_at_all(running: Running, amount: str) -> None:
    assert pay(running, amount) == {"code": -3, "message": "Amount is not a number or string"}


@pytest.mark.parametrize(
    "body",
    [
        '{"id":1,"method":"echo","params":["\\ud83d"]}',
        '{"id":1,"method":"echo","params":["\\udc00"]}',
        '{"id":1,"method":"echo","params":["a\\ud83d\\u0041"]}',
        '{"id":"\\ud83d","method":"uptime"}',
        '{"id":1,"method":"echo","params":' + "[" * 512 + "]" * 512 + "}",
        '{"id":1,"method":"echo","params":' + "[" * 513 + "]" * 513 + "}",
    ],
)
def test_what_is_no_json(running: Running, body: str) -> None:
    assert raw(running, body) == (500, {"code": -32700, "message": "Parse error"})


@pytest.mark.parametrize("depth", [510, 511])
def test_deep_requests(running: Running, depth: int) -> None:
    body = '{"id":1,"method":"echo","params":' + "[" * depth + "]" * depth + "}"
    assert raw(running, body)[0] == 200


@pytest.mark.parametrize(
    "params",
    [
        "-0",
        "1.50",
        "1e5",
        "9" * 5000,
        '"\\u007f"',
        '{"a":1,"a":[2],"a":1.0}',
        '"\\u0000-1000000000000000000000000",1.5',
    ],
)
def test_what_is_echoed_as_it_came(running: Running, params: str) -> None:
    connection = running.connect()
    body = f'{{"id":{params.partition(",")[0] if params[0] != "{" else 1},"method":"echo","params":[{params}]}}'
    connection.request("POST", "/", body, {"Authorization": running.authorization})
    answer = connection.getresponse().read().decode()
    assert answer.startswith(f'{{"result":[{params}],"error":null,"id":')
    connection.close()


def test_numbers_never_leak_their_form(running: Running) -> None:
    status, error = raw(running, '{"id":1,"method":"getblockstats","params":[0,[1.5]]}')
    assert (status, error["code"]) == (500, -3)
    assert error["message"] == "JSON value of type number is not of expected type string"


@pytest.mark.parametrize(
    ("threshold", "error"),
    [
        ("9" * 400, {"code": -1, "message": "JSON double out of range"}),
        ("1e400", {"code": -1, "message": "JSON double out of range"}),
        ("9" * 5000, {"code": -1, "message": "JSON double out of range"}),
        ("-0.1", {"code": -8, "message": "Invalid threshold"}),
    ],
)
def test_thresholds(running: Running, threshold: str, error: dict[str, Any]) -> None:
    assert raw(running, f'{{"id":1,"method":"estimaterawfee","params":[6,{threshold}]}}') == (500, error)


@pytest.mark.parametrize("height", ["-1e0", "0.0", "9" * 5000, "18446744073709551616", "1e1"])
def test_whole_numbers(running: Running, height: str) -> None:
    got = raw(running, f'{{"id":1,"method":"getblockhash","params":[{height}]}}')
    assert got == (500, {"code": -1, "message": "JSON integer out of range"})


def test_minus_nothing_is_nothing(running: Running) -> None:
    assert raw(running, '{"id":1,"method":"getblockhash","params":[-0]}')[1] == running.call("getblockhash", 0)


@pytest.mark.parametrize("number", ["", "5", "\u00b2", "\u0663", "9" * 5000, "-1", " 1x"])
def test_numbers_in_a_longpollid(running: Running, number: str) -> None:
    request = {"rules": ["segwit"], "longpollid": "11" * 32 + number}
    assert running.call("getblocktemplate", request) == running.call("getblocktemplate", {"rules": ["segwit"]})


def test_conversions_tell_an_argument_before_its_members(running: Running) -> None:
    told = running.call("help", "dump_all_command_conversions")
    assert [row for row in told if row[0] == "gettxspendingprevout"] == [
        ["gettxspendingprevout", 0, "outputs", False],
        ["gettxspendingprevout", 1, "options", False],
        ["gettxspendingprevout", 1, "mempool_only", False],
        ["gettxspendingprevout", 1, "return_spending_tx", False],
    ]


def test_conversions_are_those_of_a_bitcoind(running: Running) -> None:
    told = {row[0] for row in running.call("help", "dump_all_command_conversions")}
    own = {method.name for method in every_method() if method.own}
    assert len(own) > 10
    assert not told & own


def test_categories_are_those_of_a_bitcoind(running: Running) -> None:
    titles = [line[3:-3] for line in running.call("help").splitlines() if line.startswith("==")]
    assert set(titles) == {
        "Blockchain", "Control", "Mining", "Network", "Rawtransactions", "Signer", "Util", "Wallet", "Zmq"
    }  # fmt: skip


def test_a_member_named_twice_is_echoed_twice(running: Running) -> None:
    outpoint = f'{{"txid":"{"11" * 32}","vout":0,"vout":7}}'
    _, result = raw(running, f'{{"id":1,"method":"gettxspendingprevout","params":[[{outpoint}]]}}')
    assert result == [{"txid": "11" * 32, "vout": 7}]  # the test's parser takes the last one


def test_an_address_given_twice_is_refused_before_its_second_amount(running: Running) -> None:
    address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
    answer = running.call("createrawtransaction", [], [{address: 0.1}, {address: "no amount"}])
    assert answer == {"code": -8, "message": f"Invalid parameter, duplicated address: {address}"}
    assert running.call("createrawtransaction", [], [{address: "no amount"}, {address: 0.1}])["code"] == -3
