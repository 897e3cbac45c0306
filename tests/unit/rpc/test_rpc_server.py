"""The HTTP server: authorisation, limits, keep-alive, overload, shutdown."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated, Any

import pytest

from btcnode.errors import BtcnodeError, ConfigError
from btcnode.node.resources import http_limits
from btcnode.rpc import connection as connection_module
from btcnode.rpc import http1
from btcnode.rpc.auth import Authenticator, hashed
from btcnode.rpc.cookie import MAX_COOKIE_BYTES, read_cookie
from btcnode.rpc.declare import rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.method import Method
from btcnode.rpc.places import Place, Places
from btcnode.rpc.server import RpcServer
from btcnode.services.parts import NodeParts
from btcnode.settings.addresses import parse_allowed
from btcnode.settings.groups.rpc import Account, Refused
from tests.lib.settings import settings_of

Running = Any
COUNT = json.dumps({"id": 1, "method": "getblockcount"}).encode()


def request(running: Running, body: bytes = COUNT, *, head: bytes = b"", authorization: str | None = None) -> bytes:
    auth = authorization or running.authorization
    return b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%sContent-Length: %d\r\n\r\n%s" % (
        auth.encode(), head, len(body), body,
    )  # fmt: skip


def exchange(running: Running, data: bytes, *, until: bytes | None = None) -> bytes:
    """Send bytes and read until ``until`` has come or the server closes."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as sock:
        sock.sendall(data)
        received = b""
        while until is None or until not in received:
            part = sock.recv(1 << 16)
            if not part:
                break
            received += part
        return received


def test_cookie_is_private_and_goes_with_the_server(running: Running) -> None:
    path = running.cookie_path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    user, password = read_cookie(path) or ("", "")
    assert user == "__cookie__"
    assert len(bytes.fromhex(password)) == 32
    running.do(running.server.stop())
    assert not path.exists()


def test_a_foreign_cookie_is_left_alone(running: Running) -> None:
    path = running.cookie_path
    path.write_text("__cookie__:other")
    running.do(running.server.stop())
    assert path.read_text() == "__cookie__:other"


@pytest.mark.parametrize(
    "header", [None, "", "Basic AAAA", "Bearer x", "Basic " + base64.b64encode(b"a:b").decode(), "Basic !"]
)
def test_unauthorised(running: Running, header: str | None) -> None:
    begun = time.monotonic()
    status, body, response = running.post(COUNT, {} if header is None else {"Authorization": header})
    assert (status, body) == (401, b"")
    assert response.headers["WWW-Authenticate"] == 'Basic realm="jsonrpc"'
    if header is not None:
        assert time.monotonic() - begun >= 0.24  # deters guessing


def test_user_and_password(run_server: Any) -> None:
    running = run_server(rpcuser="alice", rpcpassword="pa:ss", rpcauth=("bob:salt$" + hashed("salt", b"secret"),))
    assert not running.cookie_path.exists()
    for user in ("alice:pa:ss", "bob:secret"):
        header = "Basic " + base64.b64encode(user.encode()).decode()
        assert running.post(COUNT, {"Authorization": header})[0] == 200
    for user in ("alice:pa", "bob:pa:ss", ":pa:ss", "alice"):
        header = "Basic " + base64.b64encode(user.encode()).decode()
        assert running.post(COUNT, {"Authorization": header})[0] == 401


def test_authenticator_knows_cores_rpcauth_form() -> None:
    # made with Core's share/rpcauth.py: user "u", password "p"
    digest = "5d18a2f5ab5d5e0ba5d3f5a9a0c2a3f4"
    assert Authenticator([Account("u", digest, hashed(digest, b"p"))]).user(b"Basic dTpw") == "u"
    assert Authenticator([Account("u", digest, hashed(digest, b"q"))]).user(b"Basic dTpw") is None


def test_only_post_and_only_the_root(running: Running) -> None:
    connection = running.connect()
    auth = {"Authorization": running.authorization}
    connection.request("GET", "/", headers=auth)
    response = connection.getresponse()
    assert (response.status, response.read()) == (405, b"JSONRPC server handles only POST requests")
    connection.request("POST", "/wallets/x", COUNT, auth)
    response = connection.getresponse()
    assert (response.status, response.read()) == (404, b"")
    connection.request("POST", "/wallet/x", COUNT, auth)
    response = connection.getresponse()
    assert (response.status, response.read()[:11]) == (200, b'{"result":0')
    connection.request("POST", "/", COUNT, auth)
    assert connection.getresponse().status == 200
    connection.close()


def test_keep_alive_and_pipelining(running: Running) -> None:
    bodies = [json.dumps({"id": n, "method": "getblockcount"}).encode() for n in range(100)]
    slow = json.dumps({"id": "slow", "method": "gettxout", "params": ["00" * 32, 0]}).encode()
    stream = b"".join(request(running, body) for body in [*bodies[:50], slow, *bodies[50:99]])
    answer = exchange(running, stream + request(running, bodies[99], head=b"Connection: close\r\n"))
    ids = [json.loads(part.split(b"\r\n\r\n")[1])["id"] for part in answer.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert ids == [*range(50), "slow", *range(50, 100)]


def test_request_in_single_bytes(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as sock:
        for byte in request(running, head=b"Connection: close\r\n"):
            sock.sendall(bytes((byte,)))
        received = b""
        while part := sock.recv(4096):
            received += part
    assert received.endswith(b'{"result":0,"error":null,"id":1}\n')


def test_http_1_0_closes(running: Running) -> None:
    data = request(running).replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"result":0,"error":null,"id":1}\n'
    assert exchange(running, data) == answer


def test_http_1_0_stays_open_when_asked_and_says_so(running: Running) -> None:
    data = request(running, head=b"Connection: Keep-Alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = exchange(running, data + request(running).replace(b"HTTP/1.1", b"HTTP/1.0"))
    first, second = answer.split(b"\n", 7)[:6], answer.count(b"HTTP/1.0 200 OK\r\n")
    assert first[2:4] == [b"Connection: keep-alive\r", b"Content-Length: 33\r"]
    assert second == 2


def test_a_client_that_sends_no_more_still_gets_its_answer(running: Running) -> None:
    body = json.dumps({"id": 1, "method": "stop", "params": [200]}).encode()
    for data in (request(running), request(running, body)):
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            received = b""
            while part := sock.recv(4096):
                received += part
        assert received.startswith(b"HTTP/1.1 200 OK")
        assert b'"error":null' in received


def test_expect_continue(running: Running) -> None:
    data = request(running, head=b"Expect: 100-continue\r\nConnection: close\r\n")
    assert exchange(running, data).startswith(b"HTTP/1.1 200 OK\r\n")  # the body is here already
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as sock:
        head, body = data.split(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_chunked_body(running: Running) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (COUNT[:5], COUNT[5:])) + b"0\r\n\r\n"
    assert b'"result":0' in exchange(running, head % running.authorization.encode() + chunks)


@pytest.mark.parametrize(
    "data", [b"\x00\x01\x02\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n", b"HELLO\r\n\r\n", b"\x16\x03\x01\x02\x00"]
)
def test_what_is_no_http_is_refused(running: Running, data: bytes) -> None:
    assert exchange(running, data + b"\r\n" * 5).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert running.call("getblockcount") == 0


def test_large_headers_are_refused(running: Running) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(100))
    assert exchange(running, request(running, head=lines)).startswith(b"HTTP/1.1 400 ")


def test_endless_header_is_refused(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nX: ")
        received = b""
        try:
            for _ in range(200):
                sock.sendall(b"a" * 1000)
                time.sleep(0.001)
            while part := sock.recv(4096):
                received += part
        except (BrokenPipeError, ConnectionResetError):
            return
    assert received.startswith(b"HTTP/1.1 400 ")


def test_a_body_above_the_limit_is_refused_before_it_is_sent(running: Running) -> None:
    head = request(running, b"").replace(b"Content-Length: 0", b"Content-Length: %d" % (0x02000000 + 1))
    assert exchange(running, head).startswith(b"HTTP/1.1 413 ")
    assert running.server.http.room.used == 0


def test_chunks_above_the_limit_are_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_BODY_BYTES", 1000)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"200\r\n%s\r\n" % (b"a" * 0x200) for _ in range(5)) + b"0\r\n\r\n"
    assert exchange(running, head % running.authorization.encode() + chunks).startswith(b"HTTP/1.1 413 ")
    assert running.server.http.room.used == 0


def test_a_body_of_many_chunks_is_answered(running: Running) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
    spaces = b"1\r\n \r\n" * (5 * http1.CHUNK_LINES_AT_ONCE)
    chunks = spaces + b"%x\r\n%s\r\n0\r\n\r\n" % (len(COUNT), COUNT)
    answers = exchange(running, (head % running.authorization.encode() + chunks) * 2, until=b'"id":1}\n')
    assert answers.startswith(b"HTTP/1.1 200 ") and b'"result":0' in answers


def test_large_body_is_taken(running: Running) -> None:
    text = "ab" * 3_000_000
    status, reply, _ = running.post({"id": 1, "method": "echo", "params": [text]})
    assert (status, reply["result"]) == (200, [text])


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def add_hold(running: Running, gate: asyncio.Event, begun: list[int] | None = None) -> None:
    """Add a method ``hold`` that answers when the gate is open."""

    async def hold(node: NodeParts) -> Annotated[str, "A word"]:
        """Wait."""
        if begun is not None:
            begun.append(1)
        await gate.wait()
        return "held"

    running.table.add_source("hold", lambda: [rpc("hidden")(hold)])


def test_places_are_bounded_and_the_answer_says_when_to_come_back(run_server: Any) -> None:
    running = run_server(rpcthreads=1, rpcworkqueue=1)
    waiting = [running.connect() for _ in range(2)]
    body = json.dumps({"id": 1, "method": "waitforblockheight", "params": [1, 20_000]})
    for connection in waiting:
        connection.request("POST", "/", body, {"Authorization": running.authorization})
    wait_for(lambda: len(running.table.active) == 2)
    status, text, response = running.post({"id": 1, "method": "waitfornewblock", "params": [20_000]})
    assert (status, text, response.headers["Retry-After"]) == (503, b"Work queue depth exceeded", "1")
    assert running.call("getblockcount") == 0  # what is answered at once needs no place
    address = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
    assert len(running.call("generatetoaddress", 1, address)) == 1  # who only waits keeps nobody out
    for connection in waiting:
        assert json.loads(connection.getresponse().read())["result"]["height"] == 1
        connection.close()


def test_strangers_for_whom_there_is_no_place_are_told_so_after_a_while(
    run_server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop would have nothing else to do than to refuse them; nor does each refusal make a line in the log."""
    monkeypatch.setattr(connection_module, "REJECTED_DELAY_S", 0.05)
    running = run_server(rpcthreads=1, rpcworkqueue=1, rest=True)
    gate = asyncio.Event()
    add_hold(running, gate)
    held = [running.connect() for _ in range(2)]
    body = json.dumps({"id": 1, "method": "hold"})
    for connection in held:
        connection.request("POST", "/", body, {"Authorization": running.authorization})
        wait_for(lambda: running.table.active)
    get = b"GET /rest/chaininfo.json HTTP/1.1\r\nHost: x\r\n\r\n"
    first, stranger = (socket.create_connection(("127.0.0.1", running.port), 20) for _ in range(2))
    with first, stranger, stranger.makefile("rb") as answers:
        first.sendall(get)
        wait_for(lambda: any(not one.trusted and one.place for one in running.server.http.limits.connections))
        begun = time.monotonic()
        stranger.sendall(get * 4)
        for _ in range(4):
            assert answers.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(len("Work queue depth exceeded")) == b"Work queue depth exceeded"
        assert time.monotonic() - begun >= 4 * 0.05
    assert any("work queue depth exceeded" in line for line in caplog.messages)
    running.thread.loop.call_soon_threadsafe(gate.set)
    for connection in held:
        assert connection.getresponse().status == 200
        connection.close()


def test_the_log_tells_of_rejections_once_in_a_second() -> None:
    places = Places(1, 1)
    assert [places.tells_rejection(now) for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_requests_in_work_wait_for_their_turn(run_server: Any) -> None:
    running = run_server(rpcthreads=1, rpcworkqueue=1)
    stopping = running.connect()
    gate = asyncio.Event()

    add_hold(running, gate)
    held = [running.connect() for _ in range(2)]
    for connection in held:
        body = json.dumps({"id": 1, "method": "hold"})
        connection.request("POST", "/", body, {"Authorization": running.authorization})
        wait_for(lambda: running.table.active)
    wait_for(lambda: sum(one.turn is not None for one in running.server.http.limits.connections) == 2)
    assert len(running.table.active) == 1
    assert running.post({"id": 1, "method": "hold"})[0] == 503
    stopping.request("POST", "/", '{"method":"stop","params":[1]}', {"Authorization": running.authorization})
    assert b"stopping" in stopping.getresponse().read()  # needs no turn
    running.thread.loop.call_soon_threadsafe(gate.set)
    for connection in held:
        assert b'"held"' in connection.getresponse().read()
        connection.close()
    stopping.close()


def test_methods_that_nobody_has_asked_for_are_loaded_beside_the_loop(running: Running) -> None:
    """Some take a tenth of a second, and nobody else has a turn while the loop imports them."""

    def known(node: NodeParts) -> Annotated[int, "A number"]:
        """Answer."""
        return 5

    loaders: list[threading.Thread] = []

    def source() -> list[Method]:
        loaders.append(threading.current_thread())
        return [rpc("hidden")(known)]

    running.table.methods  # noqa: B018 - loads all there are
    running.table.add_source("first", source)
    batch = [{"id": n, "method": "known"} for n in range(2)]
    assert [reply["result"] for reply in running.post(batch)[1]] == [5, 5]
    assert running.call("known") == 5
    running.table.add_source("second", lambda: loaders.append(threading.current_thread()) or [])  # type: ignore[func-returns-value]
    assert running.post({"id": 1, "method": "unknown"})[0] == 404
    assert len(loaders) == 2
    assert running.thread.call(threading.current_thread) not in loaders


def test_who_only_waits_keeps_nobody_out_although_his_method_had_to_be_loaded(run_server: Any) -> None:
    running = run_server(rpcthreads=1, rpcworkqueue=1)
    gate = asyncio.Event()

    async def hold(node: NodeParts) -> Annotated[str, "A word"]:
        """Wait."""
        await gate.wait()
        return "held"

    async def reach(node: NodeParts) -> Annotated[str, "A word"]:
        """Answer."""
        await asyncio.sleep(0)
        return "reached"

    running.table.add_source("hold", lambda: [rpc("hidden", waits=True)(hold)])
    running.table.add_source("reach", lambda: [rpc("hidden")(reach)])
    waiting = running.connect()
    waiting.request("POST", "/", json.dumps({"id": 1, "method": "hold"}), {"Authorization": running.authorization})
    wait_for(lambda: running.table.active)
    assert running.call("reach") == "reached"
    waiting.close()  # and it is given up when its client leaves
    wait_for(lambda: not running.table.active)
    assert not any(place.only_waits or place.running for place in _places_of(running))


def test_prompt_methods_answer_by_their_first_step_or_when_they_can(run_server: Any) -> None:
    running = run_server(rpcthreads=1, rpcworkqueue=1)
    gate = asyncio.Event()

    async def soon(node: NodeParts, how: Annotated[str, "At once, late, or with an error"]) -> Annotated[str, "A word"]:
        """Answer."""
        if "late" in how:
            await gate.wait()
        if "wrong" in how:
            raise RpcError(RpcCode.MISC_ERROR, how)
        return how

    running.table.add_source("soon", lambda: [rpc("hidden", prompt=True)(soon)])
    running.table.methods  # noqa: B018 - loads all there are

    def ask(how: str) -> HTTPConnection:
        asking: HTTPConnection = running.connect()
        body = json.dumps({"id": how, "method": "soon", "params": [how]})
        asking.request("POST", "/", body, {"Authorization": running.authorization})
        return asking

    def told(asking: HTTPConnection) -> tuple[int, Any]:
        response = asking.getresponse()
        return response.status, json.loads(response.read() or b"null")

    late = [ask("late"), ask("late and wrong")]
    wait_for(lambda: len(_places_of(running)) == 2)
    for _ in range(5):  # those need no place
        assert told(ask("now")) == (200, {"result": "now", "error": None, "id": "now"})
        assert told(ask("wrong")) == (500, {"result": None, "error": {"code": -1, "message": "wrong"}, "id": "wrong"})
    gone = ask("late, for whom there is no place")
    assert gone.getresponse().status == 503
    running.thread.loop.call_soon_threadsafe(gate.set)
    assert told(late[0]) == (200, {"result": "late", "error": None, "id": "late"})
    assert told(late[1])[0] == 500
    wait_for(lambda: not running.table.active)
    tally = running.table.tallies["soon"]
    assert (tally.failed, tally.seconds.count) == (7, 13)


def _places_of(running: Running) -> list[Place]:
    return [one.place for one in running.server.http.limits.connections if one.place is not None]


def test_who_leaves_before_his_turn_leaves_nothing_behind(run_server: Any) -> None:
    running = run_server(rpcthreads=1, rpcworkqueue=4)
    gate = asyncio.Event()
    begun: list[int] = []

    add_hold(running, gate, begun)
    first, *others = [running.connect() for _ in range(3)]
    for connection in (first, *others):
        connection.request("POST", "/", '{"method":"hold"}', {"Authorization": running.authorization})
        wait_for(lambda: begun)
    for connection in others:  # with a reset: an end alone may come from who sends no more and still reads
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    wait_for(lambda: len(running.server.http.limits.connections) == 1)
    running.thread.loop.call_soon_threadsafe(gate.set)
    assert b'"held"' in first.getresponse().read()
    first.close()
    wait_for(lambda: not running.server.http.limits.connections)
    assert len(begun) == 1
    assert running.server.http.room.used == 0
    assert len(running.call("generatetoaddress", 1, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080")) == 1


def test_connections_are_bounded_and_the_idle_give_way(running: Running) -> None:
    running.server.http.limits.most_connections = 3
    user = running.connect()
    user.request("POST", "/", COUNT, {"Authorization": running.authorization})
    assert user.getresponse().read()
    strangers = []
    for n in range(300):
        strangers.append(socket.create_connection(("127.0.0.1", running.port)))
        if n % 2:
            strangers[-1].sendall(b"POST / HTTP/1.1\r\nX: ")  # slow in asking is no better than idle
        if n % 7 == 0:
            assert running.call("getblockcount") == 0
            assert exchange(running, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200 OK")
    assert len(running.server.http.limits.connections) <= 3
    user.request("POST", "/", COUNT, {"Authorization": running.authorization})
    assert b'"result":0' in user.getresponse().read()  # a user is kept
    strangers[0].settimeout(20)
    assert strangers[0].recv(100) == b""
    for sock in strangers:
        sock.close()
    user.close()


def test_who_is_at_work_is_kept(running: Running) -> None:
    running.server.http.limits.most_connections = 2
    gate = asyncio.Event()

    add_hold(running, gate)
    held = [running.connect() for _ in range(2)]
    for connection in held:
        connection.request("POST", "/", '{"method":"hold"}', {"Authorization": running.authorization})
    wait_for(lambda: len(running.table.active) == 2)
    refused = [socket.create_connection(("127.0.0.1", running.port), timeout=20) for _ in range(40)]
    assert refused[-1].recv(100).startswith(b"HTTP/1.1 503 Service Unavailable")
    wait_for(lambda: len(running.server.http._connections) <= 2 + 16)
    running.thread.loop.call_soon_threadsafe(gate.set)
    for sock in refused:
        sock.close()
    for connection in held:
        assert b'"held"' in connection.getresponse().read()
        connection.close()


def test_slow_senders_and_idlers_are_dropped(run_server: Any) -> None:
    running = run_server(rpcservertimeout=1)
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\n")
        assert slow.recv(100) == b""
    assert running.call("getblockcount") == 0


def test_a_slow_method_is_not_taken_for_a_slow_client(run_server: Any) -> None:
    running = run_server(rpcservertimeout=1)
    begun = time.monotonic()
    assert running.call("waitforblockheight", 5, 2500)["height"] == 0
    assert time.monotonic() - begun > 2


def test_stop_lets_waiting_clients_go_and_refuses_new_requests(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as sock:
        sock.sendall(request(running, json.dumps({"id": 1, "method": "waitfornewblock"}).encode()))
        deadline = time.monotonic() + 10
        while not running.table.active and time.monotonic() < deadline:
            time.sleep(0.01)
        running.do(running.server.stop())
        assert sock.recv(100) == b""
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", running.port), timeout=2)


def test_port_in_use_is_one_clear_line(running: Running, tmp_path: Path) -> None:
    other = settings_of(network="regtest", datadir=tmp_path / "other", rpcport=running.port)
    with pytest.raises(BtcnodeError, match=f"Cannot listen for RPC at 127.0.0.1:{running.port}: the port is in use"):
        running.do(RpcServer(other, running.table, http_limits(other)).start())
    assert not (other.net_dir / ".cookie").exists()


def test_one_of_the_addresses_that_were_named_will_do(running: Running, tmp_path: Path) -> None:
    """As bitcoind does, so that a host without IPv6 answers at the other one."""
    binds = ("192.0.2.1:1", "127.0.0.1")  # the first is nobody's
    some = settings_of(network="regtest", datadir=tmp_path / "some", rpcport=0, rpcallowip="::1", rpcbind=binds)
    server = RpcServer(some, running.table, http_limits(some))
    running.do(server.start())
    assert [host for host, _ in server.addresses] == ["127.0.0.1"]
    running.do(server.stop())
    none = settings_of(
        network="regtest", datadir=tmp_path / "none", rpcallowip="::1", rpcbind=("192.0.2.1:1", "no.invalid")
    )
    with pytest.raises(BtcnodeError, match=r"Cannot listen for RPC at 192.0.2.1:1: "):
        running.do(RpcServer(none, running.table, http_limits(none)).start())


def test_unwritable_cookie_is_one_clear_line(running: Running, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    other = settings_of(network="regtest", datadir=tmp_path / "file", rpcport=0)
    server = RpcServer(other, running.table, http_limits(other))
    with pytest.raises(BtcnodeError, match="Unable to start HTTP server"):
        running.do(server.start())
    running.do(server.stop())


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_ipv6_loopback(running: Running) -> None:
    hosts = [host for host, _ in running.server.addresses]
    if "::1" not in hosts:
        pytest.skip("no IPv6 loopback here")
    with socket.create_connection(("::1", running.port), timeout=20) as sock:
        sock.sendall(request(running, head=b"Connection: close\r\n"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_uvloop_serves_the_same(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    from btcnode.rpc.methods import make_table

    class Process:
        status = None
        stop_requested = asyncio.Event()

        def uptime(self) -> int:
            return 42

    async def run() -> bytes:
        settings = settings_of(network="regtest", datadir=tmp_path, rpcport=0)
        server = RpcServer(settings, make_table(Process()), http_limits(settings))  # type: ignore[arg-type]
        await server.start()
        auth = base64.b64encode((settings.net_dir / ".cookie").read_bytes())
        reader, writer = await asyncio.open_connection("127.0.0.1", server.addresses[0][1])
        body = b'{"id":1,"method":"uptime"}'
        head = b"POST / HTTP/1.1\r\nConnection: close\r\nAuthorization: Basic %s\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (auth, len(body)) + body)
        answer = await reader.read()
        writer.close()
        await server.stop()
        return answer

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()).endswith(b'{"result":42,"error":null,"id":1}\n')


def test_whitelists_of_methods(run_server: Any) -> None:
    accounts = tuple(f"{name}:s${hashed('s', b'p')}" for name in ("all", "few", "none"))
    lists = ("few:getblockcount, uptime", "few:getblockcount,getbestblockhash", "none:")
    running = run_server(rpcauth=accounts, rpcwhitelist=lists)

    def status(user: str, body: Any) -> int:
        header = "Basic " + base64.b64encode(f"{user}:p".encode()).decode()
        return int(running.post(body, {"Authorization": header})[0])

    batch = [{"method": "getblockcount"}, {"method": "uptime"}]
    for user, expected in (("few", 200), ("none", 403), ("all", 403)):
        assert status(user, {"method": "getblockcount"}) == expected
    assert status("few", {"method": "uptime"}) == 403  # the lists name the user twice: only what both have
    assert status("few", batch[:1]) == 200
    assert status("few", batch) == 403
    assert status("few", [1]) == 400


def test_open_to_users_without_a_whitelist(run_server: Any) -> None:
    running = run_server(rpcwhitelist=("other:uptime",), rpcwhitelistdefault=False)
    assert running.call("getblockcount") == 0


@pytest.mark.parametrize(("who", "mode"), [("owner", 0o600), ("group", 0o640), ("all", 0o644)])
def test_who_may_read_the_cookie(run_server: Any, who: str, mode: int) -> None:
    assert stat.S_IMODE(run_server(rpccookieperms=who).cookie_path.stat().st_mode) == mode


def test_who_may_read_a_cookie_that_is_not_made_is_no_mistake(run_server: Any) -> None:
    assert not run_server(rpccookieperms="nobody", rpcuser="a", rpcpassword="b").cookie_path.exists()


def test_who_may_read_the_cookie_must_be_known(run_server: Any) -> None:
    with pytest.raises(BtcnodeError, match="Unable to start HTTP server"):
        run_server(rpccookieperms="nobody")


def test_no_cookie_on_demand(run_server: Any) -> None:
    running = run_server(rpccookiefile=False, rpcauth=(f"a:s${hashed('s', b'p')}",))
    assert running.settings.cookie_path is None
    assert not (running.settings.net_dir / ".cookie").exists()


@pytest.mark.parametrize("entry", ["", "foo", "foo:bar", "foo:bar:baz", "foo$bar:baz", "foo$bar$baz"])
def test_malformed_accounts(entry: str) -> None:
    (refused,) = settings_of(rpcauth=entry).rpc.rpcauth
    assert refused == Refused("Invalid -rpcauth argument.")


def test_hosts_that_may_connect() -> None:
    assert str(parse_allowed("rpcallowip", "[::1]")) == "::1/128"
    assert str(parse_allowed("rpcallowip", "1.2.3.4/255.255.255.0")) == "1.2.3.0/24"
    assert settings_of(rpcallowip="fc00:db8::/80").rpc.rpcallowip
    assert settings_of(rpcallowip="fd00:db8::/80", cjdnsreachable=True).rpc.rpcallowip
    for text, cjdns in (("fc00:db8::/80", True), ("x", False), ("1.2.3.4/33", False)):
        with pytest.raises(ConfigError, match="Invalid -rpcallowip subnet specification"):
            settings_of(rpcallowip=text, cjdnsreachable=cjdns)


def test_the_answer_to_stop_says_that_the_connection_ends(running: Running) -> None:
    answer = exchange(running, request(running, b'{"id":1,"method":"stop"}') + request(running))
    head, body = answer.split(b"\r\n\r\n", 1)
    assert [line.split(b":")[0] for line in head.split(b"\r\n")[1:]] == [
        b"Content-Type", b"Connection", b"Date", b"Content-Length",
    ]  # fmt: skip
    assert b"\r\nConnection: close\r\n" in head and body.count(b"\n") == 1


def test_cookies_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    for data, expected in (
        (b"a:b:c\nmore", ("a", "b:c")), (b"", ("", "")), (b"no colon", ("no colon", "")), (b"a:\xff", ("a", "\udcff")),
    ):  # fmt: skip
        path.write_bytes(data)
        assert read_cookie(path) == expected
    for name in ("/nonexistent", str(tmp_path)):
        assert read_cookie(Path(name)) is None
    endless, empty = read_cookie(Path("/dev/zero")), read_cookie(Path("/dev/null"))
    assert endless == ("\0" * MAX_COOKIE_BYTES, "") and empty == ("", "")
