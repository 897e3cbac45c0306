"""Answers to unusual and wrong parameters: what bitcoind says, in its order of telling faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from btcnode.primitives.addresses import base58check_decode, base58check_encode
from btcnode.services.file_names import joined, system_name
from btcnode.wire.subnet import SubNet, ipv4_short
from tests.unit.conftest import Running

UNKNOWN = "00" * 32
BURNS = "0200000001" + "11" * 36 + "00ffffffff" + "01" + "e803000000000000016a" + "00000000"


def error(code: int, message: str) -> dict[str, Any]:
    return {"code": code, "message": message}


@pytest.mark.parametrize(
    ("method", "params", "expected"),
    [
        ("getblock", ["é"], error(-8, "blockhash must be of length 64 (not 2, for 'é')")),
        ("getblock", [UNKNOWN, 0.5], error(-1, "JSON integer out of range")),
        ("getblock", [UNKNOWN], error(-5, "Block not found")),
        ("waitfornewblock", [-1, ""], error(-1, "Negative timeout")),
        ("testmempoolaccept", [[], "x"], error(-8, "Array must contain between 1 and 25 transactions.")),
        ("testmempoolaccept", [[], 5], error(-8, "Array must contain between 1 and 25 transactions.")),
        (
            "combinerawtransaction",
            [["020000000001000000000000001a015100000000"]],
            error(-22, "TX decode failed for tx 0. Make sure the tx has at least one input."),
        ),
        (
            "signrawtransactionwithkey",
            ["0200000000010000000000000000015100000000", ["a"]],
            error(-22, "TX decode failed. Make sure the tx has at least one input."),
        ),
        ("gettxout", ["zz", -1], error(-8, "txid must be of length 64 (not 2, for 'zz')")),
        ("gettxout", [UNKNOWN, -1], error(-1, "JSON integer out of range")),
        ("getblockfrompeer", ["zz", 0.5], error(-8, "blockhash must be of length 64 (not 2, for 'zz')")),
        ("waitforblock", ["zz", 1 << 31], error(-8, "blockhash must be of length 64 (not 2, for 'zz')")),
        ("pruneblockchain", [0.5], error(-1, "Cannot prune blocks because node is not in prune mode.")),
        ("setban", ["nowhere", "add", 0.5], error(-30, "Error: Invalid IP/Subnet")),
        ("setban", ["1.2.3.4", "add", 0.5], error(-1, "JSON integer out of range")),
        (
            "setban",
            ["1", "remove"],
            error(-30, "Error: Unban failed. Requested address/subnet was not previously manually banned."),
        ),
        ("scanblocks", ["x", [], 0.5], error(-8, "Invalid action 'x'")),
        ("scanblocks", ["status", [], 0.5], None),
        ("scantxoutset", ["start"], error(-1, "scanobjects argument is required for the start action")),
        ("scantxoutset", ["start", None], error(-3, "JSON value of type null is not of expected type array")),
        ("scantxoutset", ["abort", None], False),
        (
            "deriveaddresses",
            ["raw(51)#8lvh9jxk", None],
            error(-8, "Range should not be specified for an un-ranged descriptor"),
        ),
        (
            "dumptxoutset",
            ["x", "y", {"rollback": -1, "in_memory": 0}],
            error(-8, 'Invalid snapshot type "y" specified with rollback option'),
        ),
        (
            "submitpackage",
            [[BURNS, "x"]],
            error(-25, "Unspendable output exceeds maximum configured by user (maxburnamount)"),
        ),
        ("getchaintxstats", [0.5, "zz"], error(-8, "blockhash must be of length 64 (not 2, for 'zz')")),
        ("getchaintxstats", [0.5], error(-1, "JSON integer out of range")),
        (
            "getblocktemplate",
            [{"mode": "x", "rules": [5]}],
            error(-3, "JSON value of type number is not of expected type string"),
        ),
        (
            "gettxspendingprevout",
            [[{"txid": "zz", "vout": 0.5}]],
            error(-8, "txid must be of length 64 (not 2, for 'zz')"),
        ),
        ("gettxspendingprevout", [[{"txid": UNKNOWN, "vout": 0.5}]], error(-1, "JSON integer out of range")),
        ("generatetoaddress", [0, "x", 1 << 31], error(-1, "JSON integer out of range")),
        ("sendmsgtopeer", [99, "ping", "0 0"], error(-8, "Error parsing input for msg")),
        ("sendmsgtopeer", [99, "ping", " 00 00"], error(-1, "Error: Could not send message to peer")),
        ("prioritisetransaction", ["zz", 0, 0.5], error(-8, "txid must be of length 64 (not 2, for 'zz')")),
        ("prioritisetransaction", [UNKNOWN, 0.0, 5], True),
        ("prioritisetransaction", [UNKNOWN, -0.0, 5], True),
        (
            "prioritisetransaction",
            [UNKNOWN, 0.1, 5],
            error(-8, "Priority is no longer supported, dummy argument to prioritisetransaction must be 0."),
        ),
        ("addnode", ["a b", "add"], None),
    ],
)
def test_answer(running: Running, method: str, params: list[Any], expected: Any) -> None:
    assert running.call(method, *params) == expected


def test_outputs_are_echoed_as_they_were_written(running: Running) -> None:
    body = f'{{"id":1,"method":"gettxspendingprevout","params":[[{{"vout":-0,"txid":"{UNKNOWN}"}}]]}}'
    connection = running.connect()
    connection.request("POST", "/", body, {"Authorization": running.authorization})
    answer = connection.getresponse().read()
    assert answer == (f'{{"result":[{{"vout":-0,"txid":"{UNKNOWN}"}}],"error":null,"id":1}}\n'.encode())


def test_categories_before_a_wrong_one_stay_switched(running: Running) -> None:
    assert running.call("logging", ["zmq", "nope"]) == error(-8, "unknown logging category nope")
    assert running.call("logging")["zmq"] is True
    assert running.call("logging", [], ["zmq"])["zmq"] is False


def test_base58_may_stand_between_white_space() -> None:
    text = base58check_encode(b"\x6f" + bytes(20))
    assert base58check_decode(f" \n{text}\t\v") == b"\x6f" + bytes(20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", "0.0.0.1"), ("1.2", "1.0.0.2"), ("1.2.3", "1.2.0.3"), ("0x7f.1", "127.0.0.1"), ("017.1", "15.0.0.1"),
        ("4294967295", "255.255.255.255"), ("4294967296", None), ("1.2.3.4.5", None), ("256.1", None), ("", None),
        ("08", None), ("1..2", None), ("+1", None), (" 1", None), ("٣", None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_short_forms_of_an_ipv4_address(text: str, expected: str | None) -> None:
    raw = ipv4_short(text)
    assert (raw and ".".join(map(str, raw))) == expected


def test_a_subnet_takes_the_short_forms() -> None:
    assert str(SubNet.parse("10.1")) == "10.0.0.1/32"


def test_names_of_files_are_told_as_given_and_end_for_the_system_at_a_nul(tmp_path: Path) -> None:
    assert joined(tmp_path, ".") == f"{tmp_path}/."
    assert joined(tmp_path, "") == str(tmp_path)
    assert joined(tmp_path, "/x//y/") == "/x//y/"
    assert system_name("a\0b") == "a"
    assert system_name("a\ud800") == "a?"
