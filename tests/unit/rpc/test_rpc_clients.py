"""The clients of the package against a running server: calls, batches, errors, connections that end."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from btcnode.rpc.async_client import AsyncRpcClient
from btcnode.rpc.client import RpcClient, RpcConnectionError, RpcHttpError
from btcnode.rpc.cookie import read_cookie
from btcnode.rpc.errors import RpcError


def test_sync_client(running: Any) -> None:
    user, password = read_cookie(running.cookie_path) or ("", "")
    with RpcClient("127.0.0.1", running.port, user, password) as client:
        assert client.call("getblockcount") == 0
        assert len(client.call("getblockheader", client.call("getblockhash", 0), verbose=False)) == 160
        with pytest.raises(RpcError) as refused:
            client.call("getblockhash", 9)
        assert refused.value.code == -8
        count, failed = client.batch([("getblockcount", []), ("nosuch", [])])
        assert count == 0
        assert isinstance(failed, RpcError)
        assert failed.code == -32601
        assert isinstance(client.call("getdifficulty"), Decimal)
    with RpcClient("127.0.0.1", running.port, user, "wrong") as stranger, pytest.raises(RpcHttpError) as refused_http:
        stranger.call("getblockcount")
    assert refused_http.value.status == 401


def test_sync_client_reconnects_when_the_server_has_closed(run_server: Any) -> None:
    running = run_server(rpcservertimeout=1)
    user, password = read_cookie(running.cookie_path) or ("", "")
    with RpcClient("127.0.0.1", running.port, user, password) as client:
        client.call("getblockcount")
        for connection in list(running.server.http.limits.connections):
            running.call_soon(connection.transport.close)
        assert running.call("uptime") >= 0
        assert client.call("getblockcount") == 0


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1", 1), ("127.0.0.1", 0), ("127.0.0.1", -1), ("127.0.0.1", 65537), ("a" * 70, 1), ("\0", 1),
        ("\ud800", 1), ("", 1), ("x\r\ny", 1),
    ],
)  # fmt: skip
def test_clients_without_a_server(host: str, port: int) -> None:
    with RpcClient(host, port) as client, pytest.raises(RpcConnectionError):
        client.call("getblockcount")

    async def call() -> None:
        await AsyncRpcClient(host, port).call("getblockcount")

    with pytest.raises(RpcConnectionError):
        asyncio.run(call())


def test_async_client_calls_at_the_same_time(running: Any) -> None:
    user, password = read_cookie(running.cookie_path) or ("", "")

    async def calls() -> list[Any]:
        client = AsyncRpcClient("127.0.0.1", running.port, user, password, connections=3)
        waiting = [asyncio.create_task(client.call("waitforblockheight", 9, 300)) for _ in range(2)]
        counts = await asyncio.gather(*(client.call("getblockcount") for _ in range(20)))
        assert not any(task.done() for task in waiting)
        tips = await asyncio.gather(*waiting)
        with pytest.raises(RpcError):
            await client.call("getblockhash", height=4)
        await client.close()
        return [*counts, *(tip["height"] for tip in tips)]

    assert asyncio.run(calls()) == [0] * 22


def test_a_client_without_connections() -> None:
    with pytest.raises(ValueError, match="connections: at least 1, not 0"):
        AsyncRpcClient("127.0.0.1", 1, connections=0)


def test_a_cookie_of_no_possible_name() -> None:
    assert read_cookie(Path("\0")) is None
