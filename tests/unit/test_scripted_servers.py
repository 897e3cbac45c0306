"""The peers that tests talk to: one that has left is not there any more."""

from __future__ import annotations

import socket
import time

import pytest

from btcnode.networks.parameters import params_for
from btcnode.primitives.header import HEADER_SIZE
from tests.lib.peer import ChainServer

PARAMS = params_for("regtest")


def test_a_closed_server_takes_no_connection() -> None:
    """Its thread waits for one when it is closed, and would take it."""
    server = ChainServer(PARAMS, [PARAMS.genesis_block[:HEADER_SIZE]])
    time.sleep(0.05)  # the thread is in accept()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), 5).close()
