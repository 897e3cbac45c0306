"""A SOCKS5 client (RFC 1928, RFC 1929) that asks for connections by name, as Tor wants it.

Every length that the proxy sends is one byte long and bounds what is read; nothing beyond the reply is read, so that
the peer's first bytes stay in the socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from btcnode.net.proxy.errors import DialError
from btcnode.tuples import NamedTuple

_Read = Callable[[int], Awaitable[bytes]]
REPLY_TIMEOUT = 20.0  # seconds for each answer of the proxy: Tor takes long to reach a peer

_VERSION = 5
_NO_AUTH, _USER_PASS = 0, 2
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_SIZES = {_IPV4: 4, _IPV6: 16}
MAX_TEXT = 255
REPLIES = {
    0x01: "general failure",
    0x02: "connection not allowed",
    0x03: "network unreachable",
    0x04: "host unreachable",
    0x05: "connection refused",
    0x06: "TTL expired",
    0x07: "protocol error",
    0x08: "address type not supported",
    0xF0: "onion service descriptor can not be found",
    0xF1: "onion service descriptor is invalid",
    0xF2: "onion service introduction failed",
    0xF3: "onion service rendezvous failed",
    0xF4: "onion service missing client authorization",
    0xF5: "onion service wrong client authorization",
    0xF6: "onion service invalid address",
    0xF7: "onion service introduction timed out",
}
"""What a proxy's refusal means; 0xf0 and above are Tor's."""


class Credentials(NamedTuple):
    """What the proxy is told; Tor gives each pair circuits of its own."""

    username: str
    password: str


class CredentialsGenerator:
    """Credentials that no other connection of this or another run uses: a random prefix (hex) and a counter."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix.hex()
        self._counter = 0

    def next(self) -> Credentials:
        """Another pair."""
        text = f"{self._prefix}-{self._counter}"
        self._counter += 1
        return Credentials(text, text)


def greeting(credentials: Credentials | None) -> bytes:
    """The first message: which ways of authentication we know."""
    return bytes((_VERSION, 2, _NO_AUTH, _USER_PASS)) if credentials else bytes((_VERSION, 1, _NO_AUTH))


def authentication(credentials: Credentials) -> bytes:
    """User name and password; raises DialError when one is too long."""
    user, word = credentials.username.encode(), credentials.password.encode()
    if max(len(user), len(word)) > MAX_TEXT:
        raise DialError("proxy username or password too long", proxy_failed=True)
    return b"\x01" + bytes((len(user),)) + user + bytes((len(word),)) + word


def request(host: str, port: int) -> bytes:
    """Connect to a host, by name even if it is an address; raises DialError when it is too long."""
    name = host.encode()
    if len(name) > MAX_TEXT:
        raise DialError("hostname too long")
    return bytes((_VERSION, _CONNECT, 0, _NAME, len(name))) + name + port.to_bytes(2, "big")


def refusal(code: int) -> str:
    """The meaning of a reply's code."""
    return REPLIES.get(code, f"unknown (0x{code:02x})")


async def negotiate(
    sock: socket.socket, host: str, port: int, credentials: Credentials | None, seconds: float = REPLY_TIMEOUT
) -> None:
    """Have the proxy behind a connected, non-blocking socket connect to ``host``; raises DialError.

    Afterwards the socket is the connection. ``seconds`` are the patience with each answer.
    """
    loop = asyncio.get_running_loop()

    async def read(size: int) -> bytes:
        data = b""
        async with asyncio.timeout(seconds):
            while len(data) < size:
                part = await loop.sock_recv(sock, size - len(data))
                if not part:
                    raise DialError("the proxy closed the connection", proxy_failed=True)
                data += part
        return data

    wanted = request(host, port)
    try:
        await loop.sock_sendall(sock, greeting(credentials))
        await _authenticate(await read(2), credentials, sock, read)
        await loop.sock_sendall(sock, wanted)
        _check_reply(head := await read(4))
        size = _ADDRESS_SIZES.get(head[3])
        if size is None:
            size = (await read(1))[0]
        await read(size + 2)
    except TimeoutError:
        raise DialError("the proxy does not answer in time") from None
    except OSError as error:
        raise DialError(f"the proxy fails: {error.strerror or error}", proxy_failed=True) from None


async def _authenticate(choice: bytes, credentials: Credentials | None, sock: socket.socket, read: _Read) -> None:
    if choice[0] != _VERSION:
        raise DialError("the proxy does not speak SOCKS5", proxy_failed=True)
    if choice[1] == _USER_PASS and credentials is not None:
        await asyncio.get_running_loop().sock_sendall(sock, authentication(credentials))
        if await read(2) != b"\x01\x00":
            raise DialError("the proxy refuses the credentials", proxy_failed=True)
    elif choice[1] != _NO_AUTH:
        raise DialError(f"the proxy wants an unknown authentication 0x{choice[1]:02x}", proxy_failed=True)


def _check_reply(head: bytes) -> None:
    """Version, code, reserved byte and kind of address; raises DialError."""
    if head[0] != _VERSION:
        raise DialError("the proxy does not accept the request", proxy_failed=True)
    if head[1]:
        raise DialError(refusal(head[1]))
    if head[2] or (head[3] != _NAME and head[3] not in _ADDRESS_SIZES):
        raise DialError("malformed answer of the proxy", proxy_failed=True)
