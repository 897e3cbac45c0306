"""A client of the JSON-RPC interface (this node's or Bitcoin Core's): one keep-alive connection, no threads."""

from __future__ import annotations

from base64 import b64encode

from btcnode.errors import BtcnodeError
from btcnode.rpc.errors import RpcError
from btcnode.rpc.http_client import HttpConnection, HttpError, RemoteClosed
from btcnode.rpc.jsonvalue import decode_decimal, encode

TYPE_CHECKING = False  # that of typing, which btcnode-cli does without
if TYPE_CHECKING:
    from typing import Any

DEFAULT_TIMEOUT_S = 900.0
RPC_STATUSES = (200, 400, 404, 500)  # those whose body is a JSON-RPC reply


class RpcConnectionError(BtcnodeError):
    """The server could not be reached, or the connection broke."""


class RpcHttpError(BtcnodeError):
    """The server answered with an HTTP status that carries no JSON-RPC reply."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.body = body


def basic_authorization(user: str, password: str) -> str:
    """The value of an ``Authorization`` header."""
    return "Basic " + b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode()


def unpack_reply(reply: Any) -> Any:
    """The result of a reply object; raises RpcError for the error in it, RpcConnectionError when it is no reply."""
    if not isinstance(reply, dict):
        raise RpcConnectionError("the reply is not a JSON-RPC object")
    error = reply.get("error")
    if error is None:
        return reply.get("result")
    if isinstance(error, dict):
        code = error.get("code")
        raise RpcError(code if isinstance(code, int) else -1, str(error.get("message", "")))
    raise RpcError(-1, str(error))


class RpcClient:
    """``RpcClient("127.0.0.1", 18443, "user", "password").call("getblockcount")``."""

    def __init__(
        self, host: str, port: int, user: str = "", password: str = "", *, timeout: float | None = DEFAULT_TIMEOUT_S
    ) -> None:
        self.host, self.port = host, port
        self._headers = {
            "Authorization": basic_authorization(user, password),
            "Content-Type": "application/json",
        }
        self._connection = HttpConnection(host, port, timeout)
        self._id = 0

    def post(self, body: bytes, path: str = "/") -> tuple[int, bytes]:
        """Send a body, once more on a connection that the server has closed; raises RpcConnectionError.

        Returns the status and the body of the answer.
        """
        connection = self._connection
        used = connection.is_open
        while True:
            try:
                return connection.post(path, body, self._headers)
            except (OSError, ValueError, HttpError) as error:  # ValueError: no host name
                connection.close()
                if not used or not isinstance(error, RemoteClosed | BrokenPipeError | ConnectionResetError):
                    raise RpcConnectionError(str(error)) from error
                used = False

    def request(self, body: Any) -> Any:
        """Send a request object or batch and return the parsed reply; raises RpcConnectionError or RpcHttpError."""
        status, answer = self.post(encode(body))
        if status not in RPC_STATUSES or not answer:
            raise RpcHttpError(status, answer)
        try:
            return decode_decimal(answer)
        except ValueError:
            raise RpcConnectionError("the reply is not JSON") from None

    def call(self, method: str, *params: Any, **named: Any) -> Any:
        """Call a method with positional or named parameters; raises RpcError for the server's error."""
        self._id += 1
        if params and named:
            named["args"] = list(params)
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": named or list(params)}
        return unpack_reply(self.request(request))

    def batch(self, calls: list[tuple[str, list[Any]]]) -> list[Any]:
        """Call several methods in one request; each item is a result or an RpcError."""
        requests = [
            {"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, params) in enumerate(calls)
        ]
        results: list[Any] = [None] * len(calls)
        replies = self.request(requests) if requests else []
        if not isinstance(replies, list):
            return [unpack_reply(replies)]
        for reply in replies:
            try:
                results[reply["id"]] = unpack_reply(reply)
            except RpcError as error:
                results[reply["id"]] = error
        return results

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> RpcClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
