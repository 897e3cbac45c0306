"""Tor's control port: has Tor make an onion service of ours, and learns where its SOCKS5 proxy listens.

The connection stays open, since the service lives as long as it does; when it is lost it is made again, with a delay
that grows with each failure. Behaviour as in Bitcoin Core 31.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from btcnode.errors import DecodeError
from btcnode.files import open_regular, read_limited
from btcnode.net.background import Background
from btcnode.net.proxy import tor_reply
from btcnode.net.proxy.tor_reply import COOKIE_SIZE, NONCE_SIZE, Reply, ReplyReader, TorControlError
from btcnode.record import record
from btcnode.settings.addresses import SOCKS_PORT, ProxyAddress
from btcnode.wire.netaddr import NetAddress

KEY_FILE = "onion_v3_private_key"
NEW_KEY = "NEW:ED25519-V3"
MAX_KEY_SIZE = 1000  # characters
MAX_KEY_FILE_BYTES = 4096
RECONNECT_FIRST = 1.0  # seconds
RECONNECT_GROWTH = 1.5
RECONNECT_LAST = 600.0
READ_SIZE = 4096
READ_PAUSE = 0.005  # seconds from one read to the next: who never stops talking gets no more of the loop than that
REPLY_TIMEOUT = 60.0  # seconds for the answer to a command

log = logging.getLogger("btcnode.tor")


@record(kw_only=True)
class TorPlan:
    """What is wanted of Tor: ``target`` (``host:port``) is where the onion service's port ``virtual_port`` leads.

    ``learn_proxy``: the user has not said where Tor's SOCKS5 proxy is. ``password`` is for HASHEDPASSWORD.
    """

    control: ProxyAddress
    target: str
    virtual_port: int
    key_file: Path
    password: str = ""
    learn_proxy: bool = True


class TorController(Background):
    """Runs beside the reactor. ``found_proxy``, ``service_up`` and ``service_down`` are told what comes of it."""

    def __init__(
        self,
        plan: TorPlan,
        *,
        found_proxy: Callable[[ProxyAddress], None],
        service_up: Callable[[NetAddress], None],
        service_down: Callable[[NetAddress], None],
    ) -> None:
        super().__init__()
        self._plan = plan
        self._found_proxy = found_proxy
        self._service_up = service_up
        self._service_down = service_down
        self._service: NetAddress | None = None
        self._key = ""

    async def _run(self) -> None:
        self._key = await asyncio.to_thread(self._read_key)
        delay, level = RECONNECT_FIRST, logging.INFO
        while True:
            session = _Session()
            try:
                await session.connect(self._plan.control)
                await self._converse(session)
            except (OSError, TorControlError) as error:
                log.log(level, "Tor control port %s: %s", self._plan.control, error)
            finally:
                session.close()
                self._lose_service()
            if session.authenticated:
                delay, level = RECONNECT_FIRST, logging.INFO
            else:
                level = logging.DEBUG  # a line for each of many attempts would tell nothing new
            log.debug("Not connected to Tor control port %s, retrying in %.1f s", self._plan.control, delay)
            await asyncio.sleep(delay)
            delay = min(delay * RECONNECT_GROWTH, RECONNECT_LAST)

    async def _converse(self, session: _Session) -> None:
        """The whole conversation; returns when Tor ends it. Raises TorControlError, OSError."""
        try:
            await self._authenticate(session)
        except _RefusedError as error:
            log.warning("tor: %s", error)
        else:
            session.authenticated = True
            log.debug("Authentication successful")
            if self._plan.learn_proxy:
                self._take_proxy(await session.command("GETINFO net/listeners/socks"))
            await self._add_service(session)
        await session.wait_for_end()

    # -- authentication ------------------------------------------------------------------------------------------

    async def _authenticate(self, session: _Session) -> None:
        reply = await session.command("PROTOCOLINFO 1")
        if reply.code != tor_reply.OK:
            raise _RefusedError("Requesting protocol info failed")
        methods: list[str] = []
        cookie_file = ""
        for line in reply.lines:
            word, rest = tor_reply.split_line(line)
            values = tor_reply.parse_mapping(rest)
            if word == "AUTH":
                methods = values.get("METHODS", "").split(",")
                cookie_file = values.get("COOKIEFILE", "")
            elif word == "VERSION" and "Tor" in values:
                log.debug("Connected to Tor version %s", values["Tor"])
        reply = await session.command(f"AUTHENTICATE{await self._proof(session, methods, cookie_file)}")
        if reply.code != tor_reply.OK:
            raise _RefusedError("Authentication failed")

    async def _proof(self, session: _Session, methods: list[str], cookie_file: str) -> str:
        """What follows AUTHENTICATE."""
        if self._plan.password:
            if "HASHEDPASSWORD" not in methods:
                raise _RefusedError(
                    "Password provided with -torpassword, but HASHEDPASSWORD authentication is not available"
                )
            return " " + tor_reply.quote(self._plan.password)
        if "NULL" in methods:
            return ""
        if "SAFECOOKIE" in methods or "COOKIE" in methods:
            log.debug("Reading the authentication cookie from %s", cookie_file)
            cookie = await asyncio.to_thread(_read_cookie, Path(cookie_file))
            if "SAFECOOKIE" not in methods:
                return " " + cookie.hex()
            return " " + (await self._challenge(session, cookie)).hex()
        if "HASHEDPASSWORD" in methods:
            raise _RefusedError(
                "The only supported authentication mechanism left is password, but no password provided with"
                " -torpassword"
            )
        raise _RefusedError("No supported authentication method")

    async def _challenge(self, session: _Session, cookie: bytes) -> bytes:
        """SAFECOOKIE: the server shows first that it knows the cookie, which thus is never sent to a stranger."""
        nonce = os.urandom(NONCE_SIZE)
        reply = await session.command(f"AUTHCHALLENGE SAFECOOKIE {nonce.hex()}")
        if reply.code != tor_reply.OK:
            raise _RefusedError("SAFECOOKIE authentication challenge failed")
        word, rest = tor_reply.split_line(reply.lines[0])
        values = tor_reply.parse_mapping(rest) if word == "AUTHCHALLENGE" else {}
        try:
            shown, server_nonce = (bytes.fromhex(values.get(name, "")) for name in ("SERVERHASH", "SERVERNONCE"))
        except ValueError:
            shown = server_nonce = b""
        if len(server_nonce) != NONCE_SIZE:
            raise _RefusedError("ServerNonce is not 32 bytes, as required by spec")
        if shown != tor_reply.server_hash(cookie, nonce, server_nonce):
            raise _RefusedError("ServerHash does not match expected ServerHash")
        return tor_reply.client_hash(cookie, nonce, server_nonce)

    # -- proxy and service ---------------------------------------------------------------------------------------

    def _take_proxy(self, reply: Reply) -> None:
        proxy = tor_reply.socks_listener(reply) if reply.code == tor_reply.OK else None
        if proxy is None:
            log.warning("tor: Get SOCKS port command returned nothing (code %d)", reply.code)
            proxy = ProxyAddress("127.0.0.1", SOCKS_PORT, "", True)
        log.debug("Configuring onion proxy for %s", proxy)
        self._found_proxy(proxy)

    async def _add_service(self, session: _Session) -> None:
        reply = await session.command(self._add_onion(defended=True))
        if reply.code == tor_reply.SYNTAX_ERROR:
            log.debug("ADD_ONION failed with PoW defenses, retrying without")
            reply = await session.command(self._add_onion(defended=False))
        if reply.code != tor_reply.OK:
            log.warning("tor: Add onion failed; error code %d", reply.code)
            return
        values: dict[str, str] = {}
        for line in reply.lines:
            values |= tor_reply.parse_mapping(line)
        key = values.get("PrivateKey", "")
        if key and len(key) <= MAX_KEY_SIZE and key.isascii() and key.isprintable():
            self._key = key
        try:
            self._service = NetAddress.from_host(f"{values.get('ServiceID', '')}.onion", self._plan.virtual_port)
        except DecodeError as error:
            log.warning("tor: Error parsing ADD_ONION parameters: %s", error)
            return
        log.info("Got tor service ID %s, advertising service %s", values["ServiceID"], self._service)
        await asyncio.to_thread(self._write_key)
        self._service_up(self._service)

    def _add_onion(self, *, defended: bool) -> str:
        # always the network's own port: another one would tell our services from others'
        flags = " PoWDefensesEnabled=1" if defended else ""
        return f"ADD_ONION {self._key or NEW_KEY}{flags} Port={self._plan.virtual_port},{self._plan.target}"

    def _lose_service(self) -> None:
        if self._service is not None:
            self._service_down(self._service)
            self._service = None

    # -- the key -------------------------------------------------------------------------------------------------

    def _read_key(self) -> str:
        """The stored key, "" when there is none or nothing that could be one (it would become part of a command)."""
        try:
            key = read_limited(self._plan.key_file, MAX_KEY_FILE_BYTES).decode("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            log.warning("tor: %s cannot be read: %s", self._plan.key_file, error)
            return ""
        if len(key) > MAX_KEY_SIZE or not key.isprintable() or " " in key:
            log.warning("tor: %s holds no key", self._plan.key_file)
            return ""
        return key

    def _write_key(self) -> None:
        if not self._key:
            return
        try:
            with open(self._plan.key_file, "w", encoding="ascii", opener=_private) as file:
                file.write(self._key)
        except OSError as error:
            log.warning("tor: Error writing service private key to %s: %s", self._plan.key_file, error)


class _RefusedError(TorControlError):
    """Tor does not let us in; the connection stays open, so that nothing is tried again and again."""


class _Session:
    """One connection to the control port."""

    def __init__(self) -> None:
        self.authenticated = False
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None
        self._replies = ReplyReader()
        self._waiting: list[Reply] = []

    async def connect(self, control: ProxyAddress) -> None:
        """Raises OSError."""
        self._reader, self._writer = await asyncio.open_connection(control.host, control.port)
        log.debug("Successfully connected to Tor control port")

    def close(self) -> None:
        """Close it, if it is open."""
        if self._writer is not None:
            with suppress(RuntimeError):  # the loop may be closed already
                self._writer.close()

    async def command(self, text: str) -> Reply:
        """Send a command and wait for its reply; raises TorControlError, OSError."""
        assert self._writer is not None
        self._waiting.clear()  # replies to nothing
        self._writer.write(f"{text}\r\n".encode())
        await self._writer.drain()
        try:
            async with asyncio.timeout(REPLY_TIMEOUT):
                while not self._waiting:
                    await self._read()
        except TimeoutError:
            raise TorControlError(f"no reply within {REPLY_TIMEOUT:.0f} s") from None
        return self._waiting.pop(0)

    async def wait_for_end(self) -> None:
        """Read until Tor ends the connection; raises TorControlError, OSError."""
        while True:
            await self._read()
            self._waiting.clear()

    async def _read(self) -> None:
        data = await self._reader.read(READ_SIZE)
        if not data:
            raise TorControlError("the connection is lost")
        self._waiting += self._replies.feed(data)
        await asyncio.sleep(READ_PAUSE)


def _read_cookie(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            cookie = file.read(COOKIE_SIZE + 1)
    except OSError:
        raise _RefusedError(f"Authentication cookie {path} could not be opened (check permissions)") from None
    if len(cookie) != COOKIE_SIZE:
        raise _RefusedError(
            f"Authentication cookie {path} is not exactly {COOKIE_SIZE} bytes, as is required by the spec"
        )
    return cookie


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
