"""The dashboard in a real browser: chromium, driven by Playwright. Skipped where one of them is not installed."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.networks.parameters import params_for
from tests.lib.peer import ScriptedPeer
from tests.lib.process import NodeProcess, environment, wait_until

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
TOKEN = "a-token-for-somebody-else"
HOSTILE = (
    b"/<img src=x onerror=alert(1)>/",
    "/\u202eevil\u2067\u200f/".encode(),
    b"/" + 255 * b"M",
    b"\x00\x1b[2J\xff\xfe",
    b"",
)
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

    def shows(self, place: str, text: str, seconds: int = 15) -> None:
        """Wait until an element has a text somewhere in its own."""
        sync_api.expect(self.page.locator(place)).to_contain_text(text, timeout=1000 * seconds)

    def fits(self) -> bool:
        """Whether nothing makes the page wider than the window."""
        return bool(self.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"))


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
        assert page.fits()
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


def test_a_wrong_password_and_a_wrong_token_show_nothing(
    browser: Browser, pair: tuple[NodeProcess, NodeProcess]
) -> None:
    shown, _ = pair
    for user, password in (("__cookie__", "wrong"), ("dashboard", TOKEN[:-1]), ("somebody", TOKEN)):
        with Page(browser, shown, user, password) as page:
            assert page.response.status == 401
            assert "Mempool" not in page.page.content()
            page.shows("body", "The dashboard needs a name and a password")
    with Page(browser, shown, "dashboard", TOKEN) as page:
        page.shows("#height", str(shown.rpc("getblockcount")))
    assert TOKEN not in (shown.net_dir / "debug.log").read_text()


def test_the_browser_is_told_to_run_nothing_else(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    with as_user(browser, shown) as page:
        page.shows("#headline", "In sync")
        page.page.evaluate(
            "() => { const one = document.createElement('script'); one.textContent = 'window.broken = 1';"
            " document.body.append(one); const two = document.createElement('div');"
            " two.setAttribute('onclick', 'window.broken = 2'); document.body.append(two); two.click(); }"
        )
        assert page.page.evaluate("() => window.broken === undefined")
        elsewhere = f"http://127.0.0.1:{shown.port}/"
        asked = "(url) => fetch(url, {mode: 'no-cors'}).then(() => 'sent', (error) => String(error))"
        assert "TypeError" in page.page.evaluate(asked, elsewhere)
        assert len([text for text in page.complaints if "Content Security Policy" in text]) >= 3


def test_three_hundred_who_never_read_cost_nobody_his_place(pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    login = authorization((shown.net_dir / ".cookie").read_bytes())
    head = f"GET /dashboard/feed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {login}\r\n\r\n".encode()
    silent = []
    try:
        for _ in range(300):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.settimeout(20)
            sock.connect(("127.0.0.1", shown.rpc_port))
            sock.sendall(head)
            silent.append(sock)
        assert shown.rpc("getblockcount") > 0
        assert shown.rpc("generatetoaddress", 1, ADDRESS)
    finally:
        for sock in silent:
            sock.close()
    wait_until(lambda: status_of(shown, login) == 200, 20, "places for viewers")


def status_of(node: NodeProcess, login: str) -> int:
    """Of the feed, as a page asks for it."""
    connection = http.client.HTTPConnection("127.0.0.1", node.rpc_port, timeout=20)
    connection.request("HEAD", "/dashboard/feed", headers={"Authorization": login})
    status = connection.getresponse().status
    connection.close()
    return status


def test_what_peers_say_is_text_of_bounded_size(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    peers = []
    with as_user(browser, shown, viewport=PHONE) as page:
        for agent in HOSTILE:
            host, port = shown.address.rsplit(":", 1)
            peer = ScriptedPeer(socket.create_connection((host, int(port)), timeout=20), params_for("regtest"), 20)
            peer.handshake(user_agent=agent)
            peers.append(peer)
        page.shows("#peer-table", TEXT)
        page.shows("#peer-table", "/MMMM")
        table = page.page.locator("#peer-table").inner_text()
        assert not set(table) & {"\u202e", "\u2067", "\u200f", "\0", "\x1b"}
        for peer in peers:
            peer.close()
        page.shows("#gone-table", TEXT)
        page.shows("#gone-table", "/MMMM")
        assert page.page.locator("main img").count() == 0
        assert page.fits()
        assert page.complaints == []


def test_very_long_figures_fit_on_a_telephone(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    """What the feed tells is made huge on its way: nothing overflows, nothing is NaN."""
    shown, _ = pair
    with as_user(browser, shown, viewport=PHONE) as page:
        page.shows("#peer-table", "/btcnode:")
        page.page.evaluate(
            """() => {
              const huge = (value) => typeof value === "number" ? value * 1e15 + 1e15
                : Array.isArray(value) ? value.map(huge)
                : value && typeof value === "object"
                  ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, huge(one)])) : value;
              const parse = JSON.parse;
              JSON.parse = (text) => huge(parse(text));
            }"""
        )
        page.shows("#height", "000,000,000,000,000")
        time.sleep(2)
        assert page.fits()
        text = page.page.locator("body").inner_text()
        assert not any(word in text for word in ("NaN", "undefined", "Infinity", "[object"))
        assert page.complaints == []


def test_fee_rates_over_time_reach_until_now(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    """A history shorter than the picture lies at its right end, which is now."""
    shown, _ = pair
    with as_user(browser, shown, viewport=DESK) as page:
        page.page.add_init_script(
            """
              const parse = JSON.parse;
              JSON.parse = (text) => {
                const one = parse(text);
                if (one.history && one.bounds) {
                  one.now = one.now.map((_, n) => n ? 0 : 500000);
                  one.history = [[Math.floor(Date.now() / 1000) - 10, one.now]];
                }
                return one;
              };
            """
        )
        page.page.reload()
        area = page.page.locator("#fee-history polygon").first
        area.wait_for(timeout=20_000)
        points = [float(one.partition(",")[0]) for one in area.get_attribute("points").split()]
        width = float(page.page.locator("#fee-history svg").get_attribute("width"))
        assert max(points) == pytest.approx(width - 4, abs=1)
        assert min(points) > width / 2


def test_a_reader_who_wants_no_motion_gets_none(browser: Browser, pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    with as_user(browser, shown, reduced_motion="reduce") as page:
        page.shows("#headline", "In sync")
        moving = page.page.evaluate(
            "() => document.getAnimations().length + [...document.querySelectorAll('*')].filter((one) =>"
            " getComputedStyle(one).transitionDuration !== '0s').length"
        )
        assert moving == 0


def test_the_page_goes_on_after_a_restart(browser: Browser, tmp_path: Path) -> None:
    """With a token of its own by itself; with the cookie, which is another then, it says what to do."""
    with NodeProcess(tmp_path, "regtest", f"-dashboardtoken={TOKEN}") as node:
        node.start()
        with Page(browser, node, "dashboard", TOKEN) as page, as_user(browser, node) as cookie:
            page.shows("#height", "0")
            cookie.shows("#height", "0")
            assert node.stop() == 0
            page.shows("#link", "what is shown is old")
            node.start()
            node.rpc("generatetoaddress", 2, ADDRESS)
            page.shows("#height", "2", 20)
            sync_api.expect(page.page.locator("#link")).to_have_text("", timeout=10_000)
            cookie.shows("#link", "Load the page anew", 20)


@pytest.mark.parametrize("network", ["mainnet", "testnet4", "signet", "regtest"])
def test_alone_on_each_network(browser: Browser, tmp_path: Path, network: str) -> None:
    with NodeProcess(tmp_path, network, "--connect=127.0.0.1:1", "--prune=550") as node:
        node.start()
        with as_user(browser, node, viewport=PHONE) as page:
            page.shows("#network", network)
            page.shows("#headline", "No peer is connected")
            page.shows("#answers", "It waits for a peer")
            page.shows("#footer", "pruned")
            page.shows("#warnings", "127.0.0.1:1 of -connect does not answer", 25)
            assert page.fits()
            assert page.complaints == []


def test_before_the_node_is_ready_and_during_an_import(browser: Browser, tmp_path: Path) -> None:
    with NodeProcess(tmp_path, "regtest") as node:
        node.start()
        for _ in range(3):
            node.rpc("generatetoaddress", 100, ADDRESS)
        assert node.stop() == 0
    with NodeProcess(tmp_path, "regtest", "-reindex", f"-dashboardtoken={TOKEN}") as again:
        command = again.command()
        with (tmp_path / "output.log").open("ab") as output:
            again.process = subprocess.Popen(command, stdout=output, stderr=output, env=environment())
        wait_until(lambda: can_connect(again.rpc_port), 60, "the port")
        with Page(browser, again, "dashboard", TOKEN) as page:
            words = "The node is starting|imports blocks from files|No peer is connected"
            sync_api.expect(page.page.locator("#headline")).to_contain_text(re.compile(words), timeout=30_000)
            page.shows("#height", "300", 60)
            assert page.complaints == []


def can_connect(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_no_get_changes_anything(pair: tuple[NodeProcess, NodeProcess]) -> None:
    shown, _ = pair
    login = authorization((shown.net_dir / ".cookie").read_bytes())
    names = ("getblockchaininfo", "listbanned", "getaddednodeinfo", "getmempoolinfo")
    before = [shown.rpc(name) for name in names]
    connection = http.client.HTTPConnection("127.0.0.1", shown.rpc_port, timeout=20)
    body = json.dumps({"method": "stop", "id": 1})
    for path in ("", "/page.js", "/stop", "?method=stop", "/feed?method=stop", "/../", "/%2e%2e/"):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            if path.startswith("/feed") and method == "GET":
                continue  # which does not end
            sent = None if method in ("GET", "HEAD") else body
            connection.request(method, f"/dashboard{path}", sent, {"Authorization": login})
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (405, 501) or method in ("GET", "HEAD"), (method, path, answer.status)
    connection.close()
    assert [shown.rpc(name) for name in names] == before
