"""The dashboard over HTTP: who may see it, what goes with it, how its feed is bounded."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from btcnode.errors import ConfigError
from btcnode.rpc.auth import hashed
from btcnode.rpc.dashboard import INTERVAL, Feed, names_this_host
from btcnode.rpc.http1 import Head
from tests.lib.node_parts import START
from tests.lib.settings import settings_of

Running = Any
TOKEN = "a-token-of-some-length"
FILES = ("/dashboard", "/dashboard/", "/dashboard/page.js", "/dashboard/page.css", "/dashboard/icon.svg")
GENESIS = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"


def opened(running: Running) -> Running:
    """The node has come up."""
    running.server.dashboard.open(running.assembled.overview.sections)
    return running


@pytest.fixture
def shown(running: Running) -> Running:
    return opened(running)


def get(running: Running, path: str, authorization: str | None = "", method: str = "GET", **headers: str) -> Any:
    """``(status, headers, body)``; ``authorization`` "" is the cookie's, None is none."""
    connection = running.connect()
    if authorization is not None:
        headers["Authorization"] = authorization or running.authorization
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    found = response.status, response.headers, response.read()
    connection.close()
    return found


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Viewer:
    """Reads the feed over a socket of its own."""

    def __init__(self, running: Running, authorization: str = "") -> None:
        self.sock = socket.create_connection(("127.0.0.1", running.port), timeout=20)
        head = f"GET /dashboard/feed HTTP/1.0\r\nAuthorization: {authorization or running.authorization}\r\n\r\n"
        self.sock.sendall(head.encode())
        self.received = b""

    def until(self, word: bytes) -> bytes:
        """Read on until ``word`` has come."""
        while word not in self.received:
            part = self.sock.recv(1 << 16)
            if not part:
                break
            self.received += part
        assert word in self.received, self.received[-200:]
        return self.received

    def sections(self) -> dict[str, Any]:
        """The newest of each, once a whole picture has come."""
        text = self.until(b"event: branches").decode().replace("\r\n", "\n")
        found = {}
        for event in text.split("\n\n"):
            lines = event.split("\n")
            if lines[0].startswith("event: ") and len(lines) == 2:
                found[lines[0][7:]] = json.loads(lines[1][6:])
        return found

    def close(self) -> None:
        self.sock.close()


@contextlib.contextmanager
def viewers(running: Running, count: int) -> Iterator[list[Viewer]]:
    found = [Viewer(running) for _ in range(count)]
    yield found
    for one in found:
        one.close()


def test_files_go_with_headers_that_forbid_everything_else(shown: Running) -> None:
    for path in FILES:
        status, headers, body = get(shown, path)
        assert (status, bool(body)) == (200, True), path
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert get(shown, "/dashboard/other")[0] == 404
    assert get(shown, "/dashboard/../server.py")[0] == 404
    assert get(shown, "/dashboardx")[0] == 404


def test_pages_have_nothing_of_elsewhere_and_no_inline_code() -> None:
    pages = Path(__file__).resolve().parents[3] / "btcnode/rpc/pages"
    page = (pages / "dashboard.html").read_text()
    script = (pages / "dashboard.js").read_text()
    assert "//" not in page.replace("<!doctype html>", "")
    assert " style=" not in page and " onclick=" not in page and page.count("<script") == 1
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "XMLHttpRequest"):
        assert word not in script
    assert script.count("fetch(") == script.count('fetch("/dashboard/feed", { method: "HEAD" })') == 1


def test_without_credentials_nothing_is_shown(shown: Running) -> None:
    for path in (*FILES, "/dashboard/feed"):
        for wrong in (None, basic("__cookie__", "wrong"), "Bearer " + TOKEN, "Bearer ", basic("dashboard", "")):
            status, headers, body = get(shown, path, wrong)
            assert status == 401 and body.startswith(b"The dashboard needs a name and a password")
            assert headers["WWW-Authenticate"] == 'Basic realm="jsonrpc"'


def test_the_token_opens_the_dashboard_and_no_method(run_server: Any) -> None:
    running = opened(run_server(dashboardtoken=TOKEN))
    for right in ("Bearer " + TOKEN, basic("dashboard", TOKEN)):
        assert get(running, "/dashboard", right)[0] == 200
        assert running.post({"id": 1, "method": "getblockcount"}, {"Authorization": right})[0] == 401
    for wrong in ("Bearer " + TOKEN[:-1], basic("__cookie__", TOKEN), basic("dashboard", TOKEN + "x")):
        assert get(running, "/dashboard", wrong)[0] == 401
    assert get(running, "/dashboard?token=" + TOKEN, None)[0] == 401  # passwords do not belong there
    viewer = Viewer(running, "Bearer " + TOKEN)
    assert viewer.sections()["state"]["blocks"] == 0
    viewer.close()


def test_a_short_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        settings_of(network="regtest", datadir=tmp_path, dashboardtoken="short")


def test_what_stands_behind_a_question_mark_is_not_logged(run_server: Any, caplog: pytest.LogCaptureFixture) -> None:
    running = opened(run_server(dashboardtoken=TOKEN))
    with caplog.at_level(logging.DEBUG, "btcnode.http"):
        get(running, f"/dashboard?token={TOKEN}", None)
        get(running, f"http://127.0.0.1/dashboard?token={TOKEN}", None)
        get(running, "/rest/chaininfo.json?x=1", None)
    assert "Received a GET request for /dashboard from" in caplog.text
    assert TOKEN not in caplog.text
    assert "chaininfo.json?x=1" in caplog.text


def test_users_with_few_methods_do_not_see_more_here(run_server: Any) -> None:
    users = tuple(f"{name}:salt${hashed('salt', b'pw')}" for name in ("few", "enough", "none"))
    enough = "enough:getblockchaininfo,getmempoolinfo,getnetworkinfo,getpeerinfo,getsyncstate"
    running = opened(run_server(rpcauth=users, rpcwhitelist=("few:getblockcount", enough)))
    assert [get(running, "/dashboard", basic(name, "pw"))[0] for name in ("few", "none", "enough")] == [403, 403, 200]
    assert get(running, "/dashboard/feed", basic("few", "pw"))[0] == 403


def test_it_can_be_switched_off(run_server: Any) -> None:
    running = run_server(dashboard=False)
    assert [get(running, path)[0] for path in FILES] == [404] * len(FILES)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        (None, True), (b"127.0.0.1:8332", True), (b"[::1]:8332", True), (b"[::1]", True), (b"localhost:8332", True),
        (b"192.168.1.7:8332", True), (b"node.localhost", True), (b"abc.onion", True),
        (b"evil.example", False), (b"evil.example:8332", False), (b"127.0.0.1.evil.example:8332", False),
        (b"localhost.evil.example", False), (b"", False), (b"[evil.example]:1", False), (b"xonion", False),
    ],
)  # fmt: skip
def test_names_of_others_are_refused(host: bytes | None, good: bool) -> None:
    assert names_this_host(host) is good


def test_a_page_of_another_name_gets_nothing_even_with_the_password(shown: Running) -> None:
    status, headers, _ = get(shown, "/dashboard", Host="evil.example:8332")
    assert status == 403 and "Content-Security-Policy" in headers
    assert get(shown, "/dashboard/feed", Host="evil.example:8332")[0] == 403


def test_by_default_only_this_machine_sees_it(shown: Running) -> None:
    dashboard = shown.server.dashboard
    head = Head(b"GET", b"/dashboard", 1, 1)
    assert dashboard.refusal(head, is_local=True, for_all=False) is None
    assert dashboard.refusal(head, is_local=False, for_all=True) is None
    refused = dashboard.refusal(head, is_local=False, for_all=False)
    assert refused is not None and refused.status == 403


def test_nothing_but_reading(shown: Running) -> None:
    before = shown.call("getblockchaininfo"), shown.call("getpeerinfo"), shown.call("getmempoolinfo")
    for path in (*FILES, "/dashboard/feed"):
        for method in ("POST", "PUT", "DELETE"):
            assert get(shown, path, method=method)[0] == 405
        status, headers, body = get(shown, path, method="HEAD")
        assert (status, body) == (200, b"") and "Content-Security-Policy" in headers
    with viewers(shown, 1) as (viewer,):
        viewer.sections()
    for path in FILES:
        get(shown, path)
    assert before == (shown.call("getblockchaininfo"), shown.call("getpeerinfo"), shown.call("getmempoolinfo"))
    assert shown.server.dashboard.feed.viewers == 0


def test_the_feed_tells_the_whole_node(shown: Running) -> None:
    with viewers(shown, 1) as (viewer,):
        found = viewer.sections()
    assert found["state"]["tip"] == GENESIS and found["state"]["network"] == "regtest"
    assert found["state"]["now"] == START
    assert {one["question"] for one in found["answers"]} == {
        "Is it in sync?", "Why is it slow?", "Who is abusing me?", "When is the disk full?", "What fee do I need?",
    }  # fmt: skip
    assert [one["name"] for one in found["stages"]["stages"]] == ["fetch", "decode", "validate", "scripts", "commit"]
    assert found["mempool"]["txs"] == 0 and found["peers"]["listed"] == [] and found["branches"] == []
    assert found["resources"]["memory"]["node"] > 1 << 20 and found["resources"]["free"] > 0


def test_before_the_node_is_ready_its_state_is_told(running: Running) -> None:
    running.launch.control.status = "Loading block index…"
    with viewers(running, 1) as (viewer,):
        assert b'"Loading block index\\u2026"' in viewer.until(b"event: starting\ndata: ") + viewer.until(b"2026")


def test_one_picture_serves_all_and_none_is_made_for_nobody(shown: Running) -> None:
    feed = shown.server.dashboard.feed
    begun = time.monotonic()
    with viewers(shown, 50) as many:
        for viewer in many:
            viewer.until(b"event: branches")
        made = feed.made
        assert feed.viewers == 50
        assert made <= 2 + (time.monotonic() - begun) / INTERVAL
    while feed.viewers:
        time.sleep(0.01)
    assert feed._maker is None


def test_too_many_are_told_so(shown: Running) -> None:
    feed = shown.server.dashboard.feed
    feed.most = 3
    with viewers(shown, 3) as many:
        for viewer in many:
            viewer.until(b"event: state")
        status, headers, body = get(shown, "/dashboard/feed")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert body == b"3 viewers look at the dashboard, which is as many as may.\n"
        assert shown.call("getblockcount") == 0
    while feed.viewers:
        time.sleep(0.01)
    with viewers(shown, 1) as (viewer,):
        viewer.until(b"event: state")


def test_viewers_leave_places_for_who_waits_for_a_block(run_server: Any) -> None:
    running = run_server(rpcthreads=2, rpcworkqueue=2)
    assert running.server.dashboard.feed.most == 3


def test_a_viewer_who_does_not_read_misses_pictures_and_nothing_is_kept_for_him() -> None:
    async def work() -> None:
        feed, number = Feed(2), 0

        async def make() -> dict[str, Any]:
            nonlocal number
            number += 1
            return {"steady": 1, "large": "x" * 100_000 + str(number)}

        stream = feed.events(make)
        assert (await anext(stream)).startswith(b"retry:")
        assert b"steady" in await anext(stream)
        feed._sections["large"] = (feed.made + 1, b"older\n\n")  # pictures that come while he reads the first one
        feed._sections["large"] = (feed.made + 2, b"newer\n\n")
        feed.made += 2
        assert await anext(stream) == b"newer\n\n"
        await stream.aclose()
        assert feed.viewers == 0 and feed._maker is None

    asyncio.run(work())


def test_a_socket_that_is_never_read_ends_and_keeps_little(run_server: Any) -> None:
    running = run_server(rpcservertimeout=1)
    running.server.dashboard.open(lambda: asyncio.sleep(0, {"large": "x" * 4_000_000 + str(time.monotonic())}))
    feed = running.server.dashboard.feed
    viewer = Viewer(running)
    deadline = time.monotonic() + 60
    while feed.made < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running.server.http.room.used < 10_000_000
    while feed.viewers and time.monotonic() < deadline:
        time.sleep(0.05)
    assert feed.viewers == 0
    viewer.close()


def test_a_picture_that_fails_is_logged_and_the_feed_goes_on(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    calls = iter([ValueError("not today"), {"state": {"blocks": 7}}])

    async def make() -> dict[str, Any]:
        found = next(calls, {"state": {"blocks": 8}})
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]

    running.server.dashboard.open(make)
    with viewers(running, 1) as (viewer,):
        viewer.until(b'"blocks":7')
    assert "not today" in caplog.text


def test_a_stop_does_not_wait_for_viewers(shown: Running) -> None:
    with viewers(shown, 5) as many:
        for viewer in many:
            viewer.until(b"event: branches")
        shown.do(shown.server.stop())
        for viewer in many:
            viewer.sock.settimeout(20)
            while viewer.sock.recv(1 << 16):
                pass
        assert shown.server.dashboard.feed.viewers == 0
