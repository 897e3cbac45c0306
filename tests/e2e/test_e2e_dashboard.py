"""The dashboard in a real browser: chromium, driven by Playwright. Skipped where one of them is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lib.process import NodeProcess

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

ADDRESS = "bcrt1qs758ursh4q9z627kt3pp5yysm78ddny6txaqgw"
TOKEN = "a-token-for-somebody-else"
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
        sync_api.expect(self.page.locator(place)).to_contain_text(text, timeout=15_000)


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
