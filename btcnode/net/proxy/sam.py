"""The bridge to an I2P router, SAM 3.1: sessions with an address of our own, connections to and from others.

A line of the bridge ends with a newline; what follows it on a stream's socket belongs to the peer, so what has come is
looked at first, and taken up to the newline. Behaviour as in Bitcoin Core 31, the file of the private key included.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha256
from pathlib import Path

from btcnode.files import read_limited
from btcnode.net.proxy.errors import DialError
from btcnode.net.proxy.reach import reach
from btcnode.settings.addresses import ProxyAddress
from btcnode.wire.netaddr import NetAddress, Network

KEY_FILE = "i2p_private_key"
MAX_KEY_FILE_BYTES = 65536
PORT = 0  # SAM 3.1 knows no ports
MAX_LINE = 65536  # bytes
GLANCE = 4096  # bytes looked at at a time
REPLY_TIMEOUT = 180.0  # seconds: the router may ask its whole network
REACH_TIMEOUT = 5.0
_ID_SIZE = 5  # bytes: ten hexadecimal digits
_DESTINATION_SIZE = 387  # bytes before the certificate, whose length stands in the last two of them
_CERTIFICATE_LENGTH_AT = 385
_SIGNATURE = "SIGNATURE_TYPE=7"  # Ed25519
_LEASES = "i2cp.leaseSetEncType=4,0"
_SWAP = str.maketrans("-~+/", "+/-~")

log = logging.getLogger("btcnode.i2p")


class SamError(DialError):
    """The bridge does not do what it was asked to."""


def decode_base64(text: str) -> bytes:
    """I2P's base64, which has ``-~`` where others have ``+/``; raises SamError."""
    try:
        return b64decode(text.translate(_SWAP).encode(), validate=True)
    except (Base64Error, ValueError):
        raise SamError(f"Cannot decode Base64: {text[:40]!r}", proxy_failed=True) from None


def encode_base64(data: bytes) -> str:
    """The same, backwards."""
    return b64encode(data).decode().translate(_SWAP)


def address_of(destination: bytes) -> NetAddress:
    """The ``.b32.i2p`` address of a destination."""
    return NetAddress(Network.I2P, sha256(destination).digest(), PORT)


def destination_of(private_key: bytes) -> bytes:
    """The public part of a private key as the bridge writes it; raises SamError."""
    if len(private_key) < _DESTINATION_SIZE:
        raise SamError(f"the private key is too short ({len(private_key)} bytes)", proxy_failed=True)
    size = _DESTINATION_SIZE + int.from_bytes(private_key[_CERTIFICATE_LENGTH_AT:_DESTINATION_SIZE], "big")
    if size > len(private_key):
        raise SamError(f"the private key has {len(private_key)} bytes, its certificate wants {size}", proxy_failed=True)
    return private_key[:size]


def parse_reply(line: str) -> dict[str, str]:
    """``KEY=value`` pairs of a reply; words without ``=`` have no value and are left out."""
    pairs = (word.partition("=") for word in line.split(" "))
    return {key: value for key, equals, value in pairs if equals}


async def read_line(sock: socket.socket) -> str:
    """One line, without its end; raises SamError when it is too long or the bridge hangs up."""
    line = bytearray()
    while not line.endswith(b"\n"):
        seen = await _peek(sock)
        if not seen:
            raise SamError("the bridge closed the connection", proxy_failed=True)
        end = seen.find(b"\n")
        line += sock.recv(len(seen) if end < 0 else end + 1)
        if len(line) > MAX_LINE + 1:
            raise SamError("endless line of the bridge", proxy_failed=True)
        await asyncio.sleep(0)
    return line[:-1].decode("utf-8", "replace")


async def _peek(sock: socket.socket) -> bytes:
    """What has come, which stays in the socket; waits for it. Empty when the other end is closed. Raises OSError."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            return sock.recv(GLANCE, socket.MSG_PEEK)
        except BlockingIOError:
            come: asyncio.Future[None] = loop.create_future()
            loop.add_reader(sock.fileno(), _mark, come)
            try:
                await come
            finally:
                loop.remove_reader(sock.fileno())


def _mark(come: asyncio.Future[None]) -> None:
    if not come.done():
        come.set_result(None)


async def ask(sock: socket.socket, request: str, *, check: bool = True) -> dict[str, str]:
    """Send a request and read its reply; raises SamError, with ``check`` also unless the result is OK."""
    shown = "SESSION CREATE ..." if request.startswith("SESSION CREATE") else request  # no key in the log
    try:
        await asyncio.get_running_loop().sock_sendall(sock, f"{request}\n".encode())
        async with asyncio.timeout(REPLY_TIMEOUT):
            line = await read_line(sock)
    except TimeoutError:
        raise SamError(f'no reply to "{shown}"', proxy_failed=True) from None
    except OSError as error:
        raise SamError(f'"{shown}": {error.strerror or error}', proxy_failed=True) from None
    reply = parse_reply(line)
    if check and reply.get("RESULT") != "OK":
        raise SamError(f'Unexpected reply to "{shown}": "{line}"', proxy_failed=True)
    return reply


class SamSession:
    """An address in I2P for as long as a control connection stands; it is made when it is first needed.

    With ``key_file`` the address is the same in every run, without one it is another for each session.
    """

    def __init__(self, bridge: ProxyAddress, key_file: Path | None = None) -> None:
        self._bridge = bridge
        self._key_file = key_file
        self._lock = asyncio.Lock()
        self._control: socket.socket | None = None
        self._id = ""
        self.address: NetAddress | None = None

    async def connect(self, to: NetAddress) -> socket.socket:
        """A socket that leads to ``to``; raises SamError."""
        async with self._lock:
            session_id = await self._ensure()
        sock = await self._hello()
        try:
            found = await ask(sock, f"NAMING LOOKUP NAME={to.host}")
            destination = _value(found, "VALUE", "NAMING LOOKUP")
            reply = await ask(
                sock, f"STREAM CONNECT ID={session_id} DESTINATION={destination} SILENT=false", check=False
            )
            result = _value(reply, "RESULT", "STREAM CONNECT")
            if result != "OK":
                if result == "INVALID_ID":
                    self.close()
                raise SamError(f'"{result}"', proxy_failed=result not in ("CANT_REACH_PEER", "TIMEOUT"))
        except BaseException:
            sock.close()
            self._check_control()
            raise
        return sock

    async def listen(self) -> socket.socket:
        """A socket on which the next peer will appear; raises SamError."""
        async with self._lock:
            session_id = await self._ensure()
            sock = await self._hello()
            try:
                reply = await ask(sock, f"STREAM ACCEPT ID={session_id} SILENT=false", check=False)
                result = _value(reply, "RESULT", "STREAM ACCEPT")
                if result != "OK":
                    if result == "INVALID_ID":
                        self.close()
                    raise SamError(f'"{result}"', proxy_failed=True)
            except BaseException:
                sock.close()
                self._check_control()
                raise
        return sock

    async def accept(self, sock: socket.socket) -> NetAddress:
        """Wait until a peer appears on a socket of ``listen``; its address. Raises SamError."""
        try:
            line = await read_line(sock)
            if "RESULT=I2P_ERROR" in line:
                self.close()
                raise SamError(f"unexpected reply that hints the session is unusable: {line}", proxy_failed=True)
            return address_of(decode_base64(line.split(" ")[0]))
        except OSError as error:
            raise SamError(error.strerror or str(error), proxy_failed=True) from None
        finally:
            self._check_control()

    def close(self) -> None:
        """End the session and all that goes through it."""
        if self._control is not None:
            log.info("Destroying I2P SAM session %s", self._id)
            self._control.close()
            self._control, self._id = None, ""

    def _check_control(self) -> None:
        """Forget a session whose control connection is gone."""
        if self._control is None:
            return
        try:
            gone = self._control.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            gone = False
        except OSError:
            gone = True
        if gone:
            self.close()

    async def _hello(self) -> socket.socket:
        sock = await reach(self._bridge, REACH_TIMEOUT)
        try:
            await ask(sock, "HELLO VERSION MIN=3.1 MAX=3.1")
        except BaseException:
            sock.close()
            raise
        return sock

    async def _ensure(self) -> str:
        """The id of the session, made if there is none; raises SamError."""
        self._check_control()
        if self._control is not None:
            return self._id
        kind = "persistent" if self._key_file is not None else "transient"
        session_id = os.urandom(_ID_SIZE).hex()
        log.debug("Creating %s I2P SAM session %s with %s", kind, session_id, self._bridge)
        sock = await self._hello()
        try:
            if self._key_file is None:
                key = await self._create_transient(sock, session_id)
            else:
                key = await self._create_persistent(sock, session_id, self._key_file)
            self.address = address_of(destination_of(key))
        except BaseException:
            sock.close()
            raise
        self._control, self._id = sock, session_id
        log.info("%s I2P SAM session %s created, my address=%s", kind.capitalize(), session_id, self.address)
        return session_id

    @staticmethod
    async def _create_transient(sock: socket.socket, session_id: str) -> bytes:
        """The new session's private key."""
        reply = await ask(
            sock,
            f"SESSION CREATE STYLE=STREAM ID={session_id} DESTINATION=TRANSIENT {_SIGNATURE} {_LEASES}"
            " inbound.quantity=1 outbound.quantity=1",
        )
        return decode_base64(_value(reply, "DESTINATION", "SESSION CREATE"))

    @staticmethod
    async def _create_persistent(sock: socket.socket, session_id: str, key_file: Path) -> bytes:
        key = await asyncio.to_thread(_read_key, key_file)
        if not key:
            reply = await ask(sock, f"DEST GENERATE {_SIGNATURE}", check=False)
            key = decode_base64(_value(reply, "PRIV", "DEST GENERATE"))
            await asyncio.to_thread(_write_key, key_file, key)
        await ask(
            sock,
            f"SESSION CREATE STYLE=STREAM ID={session_id} DESTINATION={encode_base64(key)} {_LEASES}"
            " inbound.quantity=3 outbound.quantity=3",
        )
        return key


def _value(reply: dict[str, str], name: str, request: str) -> str:
    value = reply.get(name)
    if value is None:
        raise SamError(f'Missing {name}= in the reply to "{request}"', proxy_failed=True)
    return value


def _read_key(path: Path) -> bytes:
    try:
        return read_limited(path, MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SamError(f"Cannot read I2P private key {path}: {error.strerror}", proxy_failed=True) from None


def _write_key(path: Path, key: bytes) -> None:
    try:
        with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(key)
    except OSError as error:
        raise SamError(f"Cannot save I2P private key to {path}: {error.strerror}", proxy_failed=True) from None
