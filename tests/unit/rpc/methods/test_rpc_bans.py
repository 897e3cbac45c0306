from __future__ import annotations

import socket
from typing import Any

import pytest

from btcnode.wire.messages import Pong

Running = Any


def test_bans_are_set_listed_and_lifted(running: Running) -> None:
    now = running.now
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


def test_a_ban_beyond_all_time_is_over_at_once(running: Running) -> None:
    running.call("setban", "1.2.3.4", "add", 2**63 - 1)
    assert running.call("listbanned") == []
    running.call("setban", "1.2.3.4", "add", 2**63 - 1, True)
    assert running.call("listbanned")[0]["banned_until"] == 2**63 - 1


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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        opened = {"address": address, "connection_type": "addr-fetch"}
        assert running.call("addconnection", address, "addr-fetch", False) == opened
    unlimited = running.call("addconnection", "127.0.0.1:1", "feeler", False)
    assert "code" not in unlimited
    peer = running.add_peer("192.0.2.1:18444")
    (info,) = [info for info in running.call("getpeerinfo") if info["inbound"]]
    assert running.call("sendmsgtopeer", info["id"], "pong", "0102030405060708") == {}
    pong = peer.expect(Pong)
    assert isinstance(pong, Pong)
    assert pong.nonce == 0x0807060504030201
    gone = {"code": -1, "message": "Error: Could not send message to peer"}
    assert running.call("sendmsgtopeer", 99, "addr", "00") == gone
    bad = {"code": -8, "message": "Error parsing input for msg"}
    assert running.call("sendmsgtopeer", info["id"], "addr", "0") == bad
    long = {"code": -8, "message": "Error: msg_type too long, max length is 12"}
    assert running.call("sendmsgtopeer", info["id"], "a" * 13, "00") == long
