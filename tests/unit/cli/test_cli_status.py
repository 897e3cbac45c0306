"""``btcnode status`` of a node that starts, and of what is no node."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from btcnode.cli.status import status_text
from btcnode.rpc.client import RpcClient
from tests.lib.node_parts import START, NodeLab, regtest_config


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[NodeLab]:
    lab = NodeLab(regtest_config(tmp_path, rpcuser="u", rpcpassword="p"))
    yield lab
    lab.close()


def asked(lab: NodeLab, password: str = "p") -> tuple[int, str]:
    assert lab.opened.rpc is not None
    with RpcClient("127.0.0.1", lab.opened.rpc.addresses[0][1], "u", password) as client:
        return status_text(client, lambda: START + 60.0, "there")


def test_a_node_that_is_up_or_starts(lab: NodeLab) -> None:
    code, text = asked(lab)
    assert code == 0 and "btcnode regtest" in text and "0 of 0" in text
    lab.thread.call(lambda: lab.warm_up("Verifying blocks…"))
    assert asked(lab) == (2, "The node is starting: Verifying blocks…")
    assert asked(lab, "wrong")[0] == 1
    lab.thread.call(lambda: lab.warm_up(None))


def test_what_is_wrong_is_shown(lab: NodeLab) -> None:
    lab.parts.contact.advice = "Try this."
    text = asked(lab)[1]
    assert text.splitlines()[-1] == "Try this." or "Try this." in text.splitlines()
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"junk\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
    ],
)
def test_what_is_no_node_gets_one_line(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with RpcClient("127.0.0.1", server.getsockname()[1], timeout=10) as client:
            code, text = status_text(client, lambda: 0.0, "there")
    assert code == 1 and "\n" not in text and "there" in text
