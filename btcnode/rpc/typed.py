"""The methods as coroutines, with the declared types of arguments and results (``typed.pyi``, made by scripts/docs).

async with NodeClient.from_cookie(Path("~/.btcnode/regtest/.cookie").expanduser(), port=18443) as node:
    tip = await node.getblockheader(await node.getbestblockhash())
    print(tip["height"])

Results are what the JSON says: whole numbers are ``int``, amounts and other fractions ``decimal.Decimal``. The server's
errors are ``RpcError`` with Core's codes; RpcConnectionError and RpcHttpError tell of the way there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from btcnode.rpc.async_client import DEFAULT_CONNECTIONS, AsyncRpcClient
from btcnode.rpc.client import RpcConnectionError
from btcnode.rpc.cookie import read_cookie


class NodeRpc:
    """The methods over a function that calls one by name: ``await rpc.getblock(block_hash, verbosity=2)``."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        """``call(name, *params, **named)`` answers with the result or raises RpcError."""
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def call(*params: Any, **named: Any) -> Any:
            return await self._call(name, *params, **named)

        call.__name__ = name
        return call


class SyncNodeRpc:
    """The same methods as plain functions, over a function that waits for the answer."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """``call(name, *params, **named)`` returns the result or raises RpcError."""
        self._call = call

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*params: Any, **named: Any) -> Any:
            return self._call(name, *params, **named)

        call.__name__ = name
        return call


class NodeClient(NodeRpc):
    """A node at the other end of HTTP; ``async with`` closes the connections at its end."""

    def __init__(
        self, host: str, port: int, user: str = "", password: str = "", *, connections: int = DEFAULT_CONNECTIONS
    ) -> None:
        self._client = AsyncRpcClient(host, port, user, password, connections=connections)
        super().__init__(self._client.call)

    @classmethod
    def from_cookie(cls, path: Path, *, port: int, host: str = "127.0.0.1") -> NodeClient:
        """A client with the user and password of a cookie file; raises RpcConnectionError where there is none."""
        found = read_cookie(path)
        if found is None:
            raise RpcConnectionError(f"no cookie at {path}: the node is not running, or has a password")
        return cls(host, port, *found)

    async def close(self) -> None:
        """Close the idle connections."""
        await self._client.close()

    async def __aenter__(self) -> NodeClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
