"""The client for asyncio programs: calls run at the same time over a few keep-alive connections."""

from __future__ import annotations

import asyncio
from typing import Any

import httptools

from btcnode.rpc.client import RPC_STATUSES, RpcConnectionError, RpcHttpError, basic_authorization, unpack_reply
from btcnode.rpc.jsonvalue import decode_decimal, encode
from btcnode.rpc.python_values import arguments

DEFAULT_CONNECTIONS = 4
READ_SIZE = 1 << 18


class _Response:
    """Collects one HTTP response."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = False
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self.parts.append(body)

    def on_message_complete(self) -> None:
        """The response is complete."""
        self.complete = True


class AsyncRpcClient:
    """``await AsyncRpcClient("127.0.0.1", 18443, "user", "password").call("getblockcount")``."""

    def __init__(
        self, host: str, port: int, user: str = "", password: str = "", *, connections: int = DEFAULT_CONNECTIONS
    ) -> None:
        """``connections``: calls at a time, the others wait. Raises ValueError when it is below 1."""
        if connections < 1:
            raise ValueError(f"connections: at least 1, not {connections}")
        self._host, self._port = host, port
        authorization = basic_authorization(user, password)
        self._head = (
            f"POST / HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode(errors="replace")
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._slots = asyncio.Semaphore(connections)
        self._id = 0

    async def call(self, method: str, *params: Any, **named: Any) -> Any:
        """Call a method; raises RpcError for the server's error, RpcConnectionError, RpcHttpError.

        What JSON cannot say is an RpcError before anything is sent.
        """
        self._id += 1
        request = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": arguments(params, named)}
        return unpack_reply(await self.request(request))

    async def request(self, body: Any) -> Any:
        """Send a request object or batch; returns the parsed reply. Raises RpcConnectionError, RpcHttpError."""
        data = encode(body)
        message = b"%s%d\r\n\r\n%s" % (self._head, len(data), data)
        async with self._slots:
            status, answer = await self._exchange(message)
        if status not in RPC_STATUSES or not answer:
            raise RpcHttpError(status, answer)
        try:
            return decode_decimal(answer)
        except ValueError:
            raise RpcConnectionError("the reply is not JSON") from None

    async def _exchange(self, message: bytes) -> tuple[int, bytes]:
        """One request and its response, on a new connection where the idle one has gone."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                answer = await self._try(reader, writer, message)
                if answer is not None:
                    return answer
            writer.close()
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, ValueError, OverflowError) as error:  # the latter: no host name, no port
            raise RpcConnectionError(str(error)) from error
        answer = await self._try(reader, writer, message)
        if answer is None:
            writer.close()
            raise RpcConnectionError("the connection was closed")
        return answer

    async def _try(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
    ) -> tuple[int, bytes] | None:
        """Status and body, or None when the connection ended before the response began."""
        response = _Response()
        received = False
        try:
            writer.write(message)
            await writer.drain()
            while not response.complete:
                data = await reader.read(READ_SIZE)
                if not data:
                    if received:
                        raise RpcConnectionError("the connection was closed in the middle of a response")
                    return None
                received = True
                response.parser.feed_data(data)
        except OSError as error:
            if received:
                raise RpcConnectionError(str(error)) from error
            return None
        except httptools.HttpParserError as error:
            writer.close()
            raise RpcConnectionError(f"malformed response: {error}") from error
        if response.parser.should_keep_alive():
            self._idle.append((reader, writer))
        else:
            writer.close()
        return response.parser.get_status_code(), b"".join(response.parts)

    async def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
