"""The dashboard in a real browser: chromium, driven by Playwright. Skipped where one of them is not installed."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess, wait_until

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
TOKEN = "a-token-for-somebody-else"
HTML = b"/<img src=x onerror=alert(1)>/"
TEXT = "/img src"  # the node leaves characters out that are none of a user agent's
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
Browser = Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, NodeProcess]]:
    """The node that is looked at, and one that brings it blocks."""
    base = tmp_path_factory.mktemp("dashboard")
    for name in ("shown", "other"):
        (base / name).mkdir()
    with (
        NodeProcess(base / "shown", "regtest", f"-dashboardtoken={TOKEN}", "-debug=http") as shown,
        NodeProcess(base / "other", "regtest", f"--connect={shown.address}") as other,
    ):
        shown.start()
        shown.rpc("generatetoaddress", 110, ADDRESS)
        other.start()
        other.wait_height(110)
        yield shown, other


class Page:
    """One page, and whatever it complained about."""

    def __init__(self, browser: Browser, node: NodeProcess, user: str, password: str, **more: Any) -> None:
        self.complaints: list[str] = []
        self.context = browser.new_context(http_credentials={"username": user, "password": password}, **more)
        self.page = self.context.new_page()
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append("a dialog"))
        self.response = self.page.goto(f"http://127.0.0.1:{node.rpc_port}/dashboard")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def shows(self, place: str, text: str) -> None:
        """Wait until an element has a text somewhere in its own."""
        sync_api.expect(self.page.locator(place)).to_contain_text(text, timeout=8_000)


def as_user(browser: Browser, node: NodeProcess, **more: Any) -> Page:
    user, _, password = (node.net_dir / ".cookie").read_text().partition(":")
    return Page(browser, node, user, password, **more)


def test_content_and_a_new_block(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, other = pair
    with as_user(browser, shown, viewport=DESK) as page:
        page.shows("#height", str(shown.rpc("getblockcount")))
        page.shows("#headline", "In sync")
        for question in (
            "Is it in sync?",
            "Why is it slow?",
            "Who is abusing me?",
            "disk full?",
            "What fee do I need?",
        ):
            page.shows("#answers", question)
        for stage in ("fetch", "decode", "validate", "scripts", "commit"):
            page.shows("#stage-table", stage)
        page.shows("#peer-table", "/btcnode:")
        page.shows("#traffic-table", "version")
        (made,) = other.rpc("generatetoaddress", 1, ADDRESS)
        page.shows("#height", str(other.rpc("getblockcount")))
        page.shows("#block-table tbody tr:first-child", made[-12:])
        page.shows("#block-table tbody tr:first-child", "compact")
        page.shows("#block-table tbody tr:first-child", "127.0.0.1")
        assert page.complaints == []


def test_what_peers_say_is_text(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    with as_user(browser, shown) as page:
        host, port = shown.address.rsplit(":", 1)
        peer = ScriptedPeer(socket.create_connection((host, int(port)), timeout=20), params_for("regtest"), 20)
        peer.handshake(user_agent=HTML)
        page.shows("#peer-table", TEXT)
        peer.close()
        page.shows("#gone-table", TEXT)
        assert page.page.locator("main img").count() == 0
        assert page.complaints == []


def test_a_reorganisation_is_drawn(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    with as_user(browser, shown) as page:
        old = shown.rpc("getbestblockhash")
        shown.rpc("invalidateblock", old)
        new = shown.rpc("generatetoaddress", 2, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")
        page.shows("#branch-trees", f"…{old[-4:]}")
        page.shows("#branch-trees", f"…{new[-1][-4:]}")
        page.shows("#branch-trees figcaption", "1 block left")


def test_keyboard_alone_and_a_telephone(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    with as_user(browser, shown, viewport=PHONE, color_scheme="dark") as page:
        page.shows("#peer-table", "/btcnode:")
        inside = page.page
        inside.keyboard.press("Tab")
        assert inside.evaluate("() => document.activeElement.className") == "skip"
        inside.locator('th[data-key="ping"] button').focus()
        inside.keyboard.press("Enter")
        assert inside.locator('th[data-key="ping"]').get_attribute("aria-sort") == "ascending"
        time.sleep(2)  # two pictures later the focus is where it was
        assert inside.evaluate("() => document.activeElement.textContent") == "Ping"
        assert inside.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
        back = inside.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert back == "rgb(21, 20, 18)"
        unnamed = inside.evaluate(
            "() => [...document.querySelectorAll('svg, progress, section, [tabindex=\"0\"]')].filter((one) =>"
            " !one.getAttribute('aria-label') && !one.getAttribute('aria-labelledby')).length"
        )
        assert unnamed == 0


def test_fifty_viewers_at_once(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, other = pair
    cookie = (shown.net_dir / ".cookie").read_bytes()
    head = f"GET /dashboard/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {authorization(cookie)}\r\n\r\n"
    sockets = []
    for _ in range(49):
        sock = socket.create_connection(("127.0.0.1", shown.rpc_port), timeout=30)
        sock.sendall(head.encode())
        sockets.append(sock)
    with as_user(browser, shown) as page:
        page.shows("#height", str(shown.rpc("getblockcount")))
        other.rpc("generatetoaddress", 1, ADDRESS)
        wait_until(lambda: shown.rpc("getblockcount") == other.rpc("getblockcount"), 30, "the block")
        height = shown.rpc("getblockcount")
        page.shows("#height", str(height))
        word = f'"blocks":{height},'.encode()
        for sock in sockets:
            received = b""
            while word not in received:
                part = sock.recv(1 << 16)
                assert part
                received = received[-100:] + part
            sock.close()
        assert page.complaints == []


def test_a_stop_is_not_delayed_and_the_page_says_so(browser: Browser, tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest") as node:
        node.start()
        with as_user(browser, node) as page:
            page.shows("#height", "0")
            node.stop()
            page.shows("#link", "what is shown is old")


def authorization(cookie: bytes) -> str:
    return "Basic " + base64.b64encode(cookie).decode()


def test_no_get_changes_anything(pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    cookie = authorization((shown.net_dir / ".cookie").read_bytes())
    before = [shown.rpc(name) for name in ("getblockchaininfo", "listbanned", "getaddednodeinfo", "getmempoolinfo")]
    connection = http.client.HTTPConnection("127.0.0.1", shown.rpc_port, timeout=20)
    for path in ("/dashboard", "/dashboard/page.js", "/dashboard/stop", "/dashboard?stop", "/dashboard/feed"):
        for method in ("GET", "HEAD", "POST") if not path.endswith("feed") else ("HEAD", "POST"):
            connection.request(method, path, json.dumps({"method": "stop"}), {"Authorization": cookie})
            connection.getresponse().read()
    connection.close()
    names = ("getblockchaininfo", "listbanned", "getaddednodeinfo", "getmempoolinfo")
    assert [shown.rpc(name) for name in names] == before
