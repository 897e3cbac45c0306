from __future__ import annotations

from typing import Any

import pytest

Running = Any


def test_bans_are_set_listed_and_lifted(running: Running) -> None:
    now = running.node.now()
    assert running.call("setban", "10.1.2.3/8", "add", 60) is None
    running.call("setban", "1.2.3.4", "add", now + 10, True)
    assert running.call("listbanned") == [
        {
            "address": "1.2.3.4/32",
            "ban_created": now,
            "banned_until": now + 10,
            "ban_duration": 10,
            "time_remaining": 10,
        },
        {
            "address": "10.0.0.0/8",
            "ban_created": now,
            "banned_until": now + 60,
            "ban_duration": 60,
            "time_remaining": 60,
        },
    ]
    running.call("setban", "1.2.3.4", "remove")
    assert len(running.call("listbanned")) == 1
    running.call("clearbanned")
    assert running.call("listbanned") == []


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (("127.0.0.1/42", "add"), -30, "Error: Invalid IP/Subnet"),
        (("localhost", "add"), -30, "Error: Invalid IP/Subnet"),
        (("0.0.0.0", "add"), -30, "Error: Invalid IP/Subnet"),
        (("10.0.0.1", "add"), -23, "Error: IP/Subnet already banned"),
        (("10.0.0.0/24", "add"), -23, "Error: IP/Subnet already banned"),
        (("127.27.0.1", "add", 123, True), -8, "Error: Absolute timestamp is in the past"),
        (
            ("10.0.0.1", "remove"),
            -30,
            "Error: Unban failed. Requested address/subnet was not previously manually banned.",
        ),
    ],
)
def test_wrong_bans_are_told(running: Running, params: tuple[Any, ...], code: int, message: str) -> None:
    running.call("setban", "10.0.0.0/24", "add")
    assert running.call("setban", *params) == {"code": code, "message": message}


def test_connections_and_messages_for_tests(running: Running) -> None:
    opened = {"address": "1.2.3.4:5", "connection_type": "addr-fetch"}
    assert running.call("addconnection", "1.2.3.4:5", "addr-fetch", False) == opened
    full = {"code": -34, "message": "Error: Already at capacity for specified connection type."}
    assert running.call("addconnection", "1.2.3.4:5", "feeler", False) == full
    assert running.call("sendmsgtopeer", 7, "addr", "00") == {}
    gone = {"code": -1, "message": "Error: Could not send message to peer"}
    assert running.call("sendmsgtopeer", 8, "addr", "00") == gone
    bad = {"code": -8, "message": "Error parsing input for msg"}
    assert running.call("sendmsgtopeer", 7, "addr", "0") == bad
    long = {"code": -8, "message": "Error: msg_type too long, max length is 12"}
    assert running.call("sendmsgtopeer", 7, "a" * 13, "00") == long
