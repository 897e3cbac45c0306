"""The dashboard over HTTP: four fixed files, and one feed of what the node does, as server-sent events.

The feed is made once a second for all viewers, and not at all without any. A viewer is given what has changed since he
last took something: who reads slowly misses what lies between, and nothing is kept for him. No request changes
anything.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from btcnode.rpc.auth import Authenticator
from btcnode.rpc.http1 import FORBIDDEN, METHOD_NOT_ALLOWED, NOT_FOUND, OK, UNAUTHORIZED, UNAVAILABLE, Head
from btcnode.rpc.reply import RETRY_LATER, Reply

log = logging.getLogger("btcnode.http")

PATH = b"/dashboard"
FEED = PATH + b"/feed"
VIEWER = "dashboard"  # the user whose password is the token
INTERVAL = 1.0  # seconds between two looks at the node
MOST_VIEWERS = 64
RETRY_MS = 3000  # until a browser that was cut off asks again

_PAGES = Path(__file__).with_name("pages")
_FILES = {
    PATH: ("dashboard.html", b"text/html; charset=utf-8"),
    PATH + b"/": ("dashboard.html", b"text/html; charset=utf-8"),
    PATH + b"/page.css": ("dashboard.css", b"text/css; charset=utf-8"),
    PATH + b"/page.js": ("dashboard.js", b"text/javascript; charset=utf-8"),
    PATH + b"/icon.svg": ("icon.svg", b"image/svg+xml"),
}
GUARD = (
    b"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    b" connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"X-Frame-Options: DENY\r\n"
    b"Referrer-Policy: no-referrer\r\n"
    b"Cross-Origin-Resource-Policy: same-origin\r\n"
    b"Cross-Origin-Opener-Policy: same-origin\r\n"
    b"Cache-Control: no-store\r\n"
)
_TEXT = b"Content-Type: text/plain; charset=utf-8\r\n" + GUARD
_EVENTS = b"Content-Type: text/event-stream\r\n" + GUARD
_SAFE_ENDS = (".localhost", ".onion", ".b32.i2p")  # no name server answers for these


def is_dashboard(target: bytes) -> bool:
    """Whether a request is for it."""
    path = target.partition(b"?")[0]
    return path == PATH or path.startswith(PATH + b"/")


def names_this_host(host: bytes | None) -> bool:
    """Whether a ``Host`` header is what a browser says that meant this machine: an address, or a name not of the DNS.

    A page of somebody else's name that leads here (DNS rebinding) says that name. No header at all is no browser.
    """
    if host is None:
        return True
    name = host.decode("latin-1").strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    if name == "localhost" or name.endswith(_SAFE_ENDS):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class Token:
    """The password that opens the dashboard only."""

    def __init__(self, token: str) -> None:
        """Empty: nothing is accepted."""
        self._bearer = b"Bearer " + token.encode("utf-8", "surrogateescape") if token else b""
        self._basic = Authenticator()
        if token:
            self._basic.add(VIEWER, token)

    def opens(self, authorization: bytes) -> bool:
        """Whether an ``Authorization`` header carries it, as a bearer token or as the password of ``VIEWER``."""
        if self._bearer and hmac.compare_digest(authorization, self._bearer):
            return True
        return self._basic.user(authorization) is not None


class Feed:
    """One picture of the node a second, for all viewers."""

    def __init__(self, most: int) -> None:
        """``most`` viewers at a time."""
        self.most = most
        self.viewers = 0
        self.made = 0  # pictures so far
        self._stopped = False
        self._sections: dict[str, tuple[int, bytes]] = {}  # by name: the picture in which it changed, the event
        self._changed = asyncio.Event()
        self._maker: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """The node stops: viewers are let go at once."""
        self._stopped = True
        self._changed.set()
        if self._maker is not None:
            self._maker.cancel()

    async def events(self, make: Callable[[], Awaitable[dict[str, Any]]]) -> AsyncGenerator[bytes, None]:
        """What one viewer is sent; the first piece comes at once. ``make`` gives the sections of a new picture."""
        self.viewers += 1
        try:
            if self._maker is None:
                self._sections = {}
                self._maker = asyncio.get_running_loop().create_task(self._make_on(make))
            seen = 0
            yield b"retry: %d\n\n" % RETRY_MS
            while not self._stopped:
                news = b"".join(event for made, event in self._sections.values() if made > seen)
                if news:
                    seen = self.made
                    yield news
                else:
                    await self._changed.wait()
        finally:
            self.viewers -= 1
            if not self.viewers and self._maker is not None:
                self._maker.cancel()
                self._maker = None

    async def _make_on(self, make: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """Make pictures while there are viewers; one that fails is logged and left out."""
        while True:
            try:
                sections = await make()
            except Exception:
                log.exception("the dashboard could not be made")
                sections = {}
            events = {}
            for name, content in sections.items():
                data = json.dumps(content, separators=(",", ":"))
                events[name] = f"event: {name}\ndata: {data}\n\n".encode()
                await asyncio.sleep(0)
            self.made += 1
            for name, event in events.items():
                if name not in self._sections or self._sections[name][1] != event:
                    self._sections[name] = self.made, event
            self._changed.set()
            self._changed = asyncio.Event()
            await asyncio.sleep(INTERVAL)


class Dashboard:
    """Answers everything below ``PATH``. Before ``open`` the feed tells what the node is busy with."""

    def __init__(self, status: Callable[[], str | None], most_viewers: int) -> None:
        """``status`` is what the node is busy with before it is ready."""
        self.feed = Feed(most_viewers)
        self._status = status
        self._make: Callable[[], Awaitable[dict[str, Any]]] | None = None
        self._files = {path: ((_PAGES / name).read_bytes(), kind) for path, (name, kind) in _FILES.items()}

    def open(self, make: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        """The node is ready: ``make`` gives the sections of a picture."""
        self._make = make

    def file(self, head: Head) -> Reply | None:
        """What is answered without asking the node; None for the feed. Whoever asks has shown that he may."""
        if head.method not in (b"GET", b"HEAD"):
            return Reply(METHOD_NOT_ALLOWED, b"The dashboard is for reading only.\n", b"Allow: GET, HEAD\r\n" + _TEXT)
        path = head.target.partition(b"?")[0]
        if path == FEED:
            return None if head.method == b"GET" else self._no_place() or Reply(OK, b"", _EVENTS)
        found = self._files.get(path)
        if found is None:
            return Reply(NOT_FOUND, b"There is no such page.\n", _TEXT)
        return Reply(OK, found[0], b"Content-Type: %s\r\n%s" % (found[1], GUARD))

    def refusal(self, head: Head, *, is_local: bool, for_all: bool) -> Reply | None:
        """Why a request is refused before anybody looks at its password. ``is_local``: it comes from this machine."""
        if not (is_local or for_all):
            text = b"The dashboard is for browsers on the machine of the node, unless it has the option -dashboard.\n"
            return Reply(FORBIDDEN, text, _TEXT)
        if not names_this_host(head.headers.get(b"host")):
            return Reply(FORBIDDEN, b"Ask for the dashboard by the address of the node, not by a name.\n", _TEXT)
        return None

    async def watch(self) -> Reply:
        """The feed, as long as there are not too many viewers."""
        refusal = self._no_place()
        if refusal is not None:
            return refusal
        events = self.feed.events(self._picture)
        return Reply(OK, await anext(events), _EVENTS, events)

    def _no_place(self) -> Reply | None:
        feed = self.feed
        if feed.viewers < feed.most:
            return None
        text = b"%d viewers look at the dashboard, which is as many as may.\n" % feed.viewers
        return Reply(UNAVAILABLE, text, RETRY_LATER + _TEXT)

    async def _picture(self) -> dict[str, Any]:
        if self._make is not None:
            return await self._make()
        return {"starting": self._status() or ""}


def asks_for_password(challenge: bytes) -> Reply:
    """The answer to who has shown no good password: browsers show its text when somebody gives up; ``challenge`` is
    the header that makes them ask."""
    text = (
        b"The dashboard needs a name and a password of JSON-RPC: those in the file .cookie of the node's directory,\n"
        b"of -rpcauth or of -rpcuser; or the name dashboard with the token of -dashboardtoken.\n"
    )
    return Reply(UNAUTHORIZED, text, challenge + _TEXT)


def not_allowed() -> Reply:
    """The answer to a user who may not call the methods that tell the same."""
    return Reply(FORBIDDEN, b"This user may not see the dashboard (-rpcwhitelist).\n", _TEXT)
