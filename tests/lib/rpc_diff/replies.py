"""``btcnode-cli`` and ``bitcoin-cli`` at a server that answers as it is told: replies of every form, right and wrong.

No node gives most of them: peers of every network, wallets of every name, errors without a code, what is no JSON, HTTP
that breaks off.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from signal import SIGSEGV
from typing import Any

from btcnode.cli import client
from tests.lib.process import environment

from .asking import Example, Plan, Report
from .command_line import MEANT, OWN_NAME
from .nodes import Node
from .text import Raw, write

TIMEOUT_S = 60.0
SOME = 12  # random dashboards of each kind for each round
AMOUNTS = tuple(map(Raw, ("0.00000000", "1.50000000", "-0.00000001", "20999999.97690000", "1e-8", "0")))
NAMES = ("", "w", "a b", "é", "a/b", "x" * 40, '"', "\n", "%", "..")
WORDS = ("x", "", "a\nb", "é", "\t", "\0", "\x7f", "\\", '"', "\u2028", "\U0001f600", " ")
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, Raw("1.50000000"), Raw("1e-8"), Raw("1E+5"), Raw("-0"), Raw("1" * 40), *WORDS, [], {},
    [[]], [{}], {"": []}, {"a": {"b": [1, 2, {"c": None}]}, "d": []}, ["a", 1, None, True], {"é": "é"}, {"a\nb": 1},
    Raw('{"a":1,"a":2}'), Raw('{"b":1,"a":[ 1 , 2 ]}'), Raw('"\\u00e9\\/\\ud83d\\ude00"'), Raw("[" * 30 + "]" * 30),
)  # fmt: skip
ERRORS: tuple[Any, ...] = (
    {"code": -1, "message": "no"}, {"code": -8, "message": "two\nlines"}, {"code": -28, "message": "Loading"},
    {"code": -19, "message": "which"}, {"code": -18, "message": ""}, {"code": -32601, "message": "Method not found"},
    {"code": -300, "message": "é"}, {"code": -256, "message": "x"}, {"code": 0, "message": "none"},
    {"code": 5, "message": "above"}, {"code": 2147483647, "message": "far"}, {"code": -2147483648, "message": "far"},
    {"code": 2147483648, "message": "too far"}, {"code": Raw("-1.0"), "message": "x"}, {"code": Raw("1e1")},
    {"code": "-1", "message": "x"}, {"code": None, "message": "x"}, {"message": "x"}, {"code": -1},
    {"code": -1, "message": None}, {"code": -1, "message": 5}, {"code": -1, "message": ["x"]}, {}, [], "text", "", 1,
    True, False, {"code": -1, "message": "x", "data": {}}, {"code": -1, "message": "a\0b"},
    {"code": [], "message": "x"},
)  # fmt: skip
WHOLE: tuple[bytes, ...] = (  # bodies of what is no reply, or hardly one
    b"", b" ", b"null", b"1", b'"x"', b"[]", b"{}", b"[{}]", b"[1]", b"[null]", b"{", b"x", b"\xff", b'"\xff"',
    b'{"result":1}', b'{"error":null}', b'{"id":1}', b'{"result":null,"error":null}', b' {"result" : "x"}\n\n',
    b'{"result":"x"}y', b'{"result":"a","result":"b"}', b'{"error":null,"error":{"code":-1,"message":"x"}}',
    b'{"Result":1}', b'\xef\xbb\xbf{"result":1}', b'{"result":"\xc3\xa9","id":[]}', b'{"result":01}', b'{"result":NaN}',
    b'[{"result":1,"error":null,"id":1}]', b'{"result":' + b"[" * 600 + b"]" * 600 + b"}", b"<html>no</html>",
)  # fmt: skip
STATUSES = (200, 201, 202, 204, 299, 300, 301, 302, 304, 400, 401, 402, 403, 404, 405, 408, 413, 418, 429, 500,
            501, 502, 503, 504, 599, 600, 999)  # fmt: skip
RESULT = b'{"result":"fine","error":null,"id":1}'
RAW: tuple[bytes, ...] = (  # what is no HTTP, or hardly any; the connection is closed after it
    b"", b"\r\n", b"x", b"HTTP", b"HTTP/1.1", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n" + RESULT,
    b"HTTP/1.0 200 OK\r\n\r\n" + RESULT,
    b"HTTP/1.1 200\r\n\r\n" + RESULT,
    b"HTTP/1.1 200 OK\n\n" + RESULT,
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + RESULT,
    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + RESULT,
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n" + RESULT,
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + RESULT,
    b"HTTP/1.1 200 OK\r\ncontent-length:%d\r\n\r\n" % len(RESULT) + RESULT,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(RESULT) + RESULT + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(RESULT) + RESULT + b"\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/2 200 OK\r\n\r\n" + RESULT,
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x00\x00",
)  # fmt: skip


@dataclass
class Server:
    """Answers each connection with what ``reply`` makes of the request's body; keeps the requests."""

    reply: Callable[[bytes], bytes] = lambda body: b""
    asked: list[bytes] = field(default_factory=list)
    sock: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.sock.getsockname()[1])

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                connection, _ = self.sock.accept()
                with closing(connection), suppress(OSError):
                    connection.settimeout(TIMEOUT_S)
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += (piece := connection.recv(65536))
            if not piece:
                return
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: *(\d+)", head, re.M)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        self.asked.append(head.split(b" ")[1] + b" " + _asked(body))
        connection.sendall(self.reply(body))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    def close(self) -> None:
        """Listen no more."""
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def _asked(body: bytes) -> bytes:
    """The methods, parameters and ids of a request, without what no server looks at."""
    request = json.loads(body, parse_float=str, parse_int=str)
    many = request if isinstance(request, list) else [request]
    return json.dumps([[one["method"], one["params"] or [], one["id"]] for one in many]).encode()


def http(body: bytes, status: int = 200) -> bytes:
    """An answer with this body."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def by_method(
    answers: dict[str, Any], change: Callable[[list[Any]], Any] = lambda replies: replies
) -> Callable[[bytes], bytes]:
    """A server's part: a result (or an error) for each method; ``change`` makes something else of a batch."""

    def one(request: Any) -> dict[str, Any]:
        found = answers.get(request["method"], Failed({"code": -32601, "message": "Method not found"}))
        failed = isinstance(found, Failed)
        parts = {"result": None if failed else found, "error": found.error if failed else None}
        return parts | {"id": request["id"]}

    def reply(body: bytes) -> bytes:
        request = json.loads(body)
        if isinstance(request, list):
            return http(write(change([one(part) for part in request])).encode())
        return http(write(one(request)).encode())

    return reply


@dataclass(frozen=True)
class Failed:
    error: Any


# -- what nodes tell -------------------------------------------------------------------------------------------------


def _peer(rng: Random, number: int, now: int) -> dict[str, Any]:
    def then() -> int:
        return rng.choice((0, now, now - 1, now - 59, now - 61, now - 3600, now + 5, now + 100, now - 10**6))

    def seconds() -> Raw:
        return Raw(rng.choice(("0.0005", "0.00049", "0.0015", "0.0025", "1", "999.9994", "999.9995", "1000", "12.3456",
                               "0", "1e-9", "9223372036854.775")))  # fmt: skip

    network = rng.choice(("not_publicly_routable", "ipv4", "ipv6", "onion", "i2p", "cjdns", "internal", "unroutable"))
    peer = {
        "id": number * rng.choice((1, 1, 1000)), "addr": rng.choice(("1.2.3.4:8333", "[::1]:8333", "x" * 62, "")),
        "network": network, "mapped_as": rng.choice((0, 0, 64512)), "services": "0000000000000000",
        "servicesnames": rng.sample(["NETWORK", "BLOOM", "WITNESS", "COMPACT_FILTERS", "NETWORK_LIMITED", "P2P_V2",
                                     "UNKNOWN[2^5]", "x"], rng.randrange(8)),
        "relaytxes": rng.random() < 0.5, "lastsend": then(), "lastrecv": then(), "last_transaction": then(),
        "last_block": then(), "conntime": then(), "timeoffset": 0, "pingtime": seconds(), "minping": seconds(),
        "version": rng.choice((0, 70016)), "subver": rng.choice(("", "/x:1/", "é")), "inbound": rng.random() < 0.5,
        "bip152_hb_to": rng.random() < 0.5, "bip152_hb_from": rng.random() < 0.5,
        "addr_relay_enabled": rng.random() < 0.5, "addr_processed": rng.choice((0, 5, 1234567)),
        "addr_rate_limited": rng.choice((0, 7, 12345678)),
        "connection_type": rng.choice(("outbound-full-relay", "block-relay-only", "inbound", "manual", "addr-fetch",
                                       "feeler", "private-broadcast", "other", "")),
        "transport_protocol_type": rng.choice(("v1", "v2", "detecting", "", "x1")),
    }  # fmt: skip
    for key in ("mapped_as", "relaytxes", "pingtime", "minping", "addr_relay_enabled", "addr_processed",
                "addr_rate_limited", "transport_protocol_type"):  # fmt: skip
        if rng.random() < 0.2:
            del peer[key]
    return peer


def _network(rng: Random) -> dict[str, Any]:
    names = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
    proxies = ("", "", "127.0.0.1:9050", "[::1]:9", "unix:/x")
    return {
        "version": rng.choice((319900, 310000, 209900, 209800)), "subversion": "/x:1/", "protocolversion": 70016,
        "localservicesnames": rng.sample(["NETWORK", "WITNESS", "NETWORK_LIMITED", "P2P_V2"], rng.randrange(5)),
        "timeoffset": rng.choice((0, -5)), "connections": 3, "connections_in": 1, "connections_out": 2,
        "networks": [{"name": name, "reachable": rng.random() < 0.6, "proxy": rng.choice(proxies)}
                     for name in (*names, *rng.sample(["other", "internal", ""], rng.randrange(2)))],
        "relayfee": rng.choice(AMOUNTS),
        "localaddresses": [{"address": rng.choice(("1.2.3.4", "x" * 62)), "port": rng.choice((0, 8333, 12345678)),
                            "score": rng.choice((1, 12345678))} for _ in range(rng.randrange(3))],
        "warnings": rng.choice((["a"], [], "", "text")),
    }  # fmt: skip


def _blockchain(rng: Random) -> dict[str, Any]:
    progress = ("0", "1", "0.5", "0.05", "0.95", "0.9899999", "0.99", "0.7777777777", "1e-9", "3.8e-06", "1.2", "-0.5",
                "0.00005", "0.123455", "0.15", "0.35", "0.30000000000000004")  # fmt: skip
    return {
        "chain": rng.choice(("main", "regtest", "x")), "blocks": rng.choice((0, 900000)), "headers": 5,
        "verificationprogress": Raw(rng.choice(progress)),
        "difficulty": Raw(rng.choice(("4.656542373906925e-10", "1", "126411437451912.2", "1e20"))),
    }  # fmt: skip


def _getinfo(rng: Random) -> dict[str, Any]:
    names = rng.sample(NAMES, rng.randrange(5))
    absent = Failed({"code": rng.choice((-18, -19, -32601)), "message": "no wallet"})
    wallet: dict[str, Any] = {"walletname": rng.choice(NAMES), "keypoolsize": rng.choice((0, 4000))}
    if rng.random() < 0.4:
        wallet["unlocked_until"] = rng.choice((0, 1700000000))
    balances = {"mine": {"trusted": rng.choice(AMOUNTS), "untrusted_pending": 0}}
    return {
        "getnetworkinfo": _network(rng),
        "getblockchaininfo": _blockchain(rng),
        "getwalletinfo": rng.choice((wallet, absent)),
        "getbalances": rng.choice((balances, absent)),
        "listwallets": rng.choice((names, names, absent)),
    }


# -- cases -----------------------------------------------------------------------------------------------------------

Said = tuple[str, tuple[str, ...], Callable[[bytes], bytes]]  # for people; words; the server's part


def _simple() -> Iterator[Said]:
    """One call with every reply."""
    for value in VALUES:
        yield f"result {write(value)}", ("getblockcount",), by_method({"getblockcount": value})
    for error in ERRORS:
        yield f"error {write(error)}", ("getblockcount",), by_method({"getblockcount": Failed(error)})
    words = (("getblockcount",), ("-getinfo",), ("-netinfo",), ("-addrinfo",), ("-generate",))
    for body in WHOLE:
        for called in words:
            yield f"body {body!r}"[:200], called, lambda _, body=body: http(body)  # type: ignore[misc]
    for status in STATUSES:
        for body in (b"", RESULT, b"text", b'{"result":null,"error":{"code":-5,"message":"x"},"id":1}'):
            yield f"status {status} {body!r}", words[0], lambda _, body=body, status=status: http(body, status)  # type: ignore[misc]
    for raw in RAW:
        yield f"raw {raw!r}"[:200], words[0], lambda _, raw=raw: raw  # type: ignore[misc]


def _changed(replies: list[Any], chance: float) -> Any:
    """A batch's replies in another form, which ``chance`` (from 0 up to 1) decides."""
    one = replies[int(chance * 1000) % len(replies)]
    makers: tuple[Callable[[], Any], ...] = (
        lambda: replies[::-1], lambda: replies[:1], lambda: replies[1:], lambda: [], lambda: one,
        lambda: [*replies, one], lambda: [{**reply, "id": str(reply["id"])} for reply in replies],
        lambda: [{**reply, "id": reply["id"] + 1} for reply in replies], lambda: {"result": replies},
        lambda: [{**reply, "id": -1} for reply in replies], lambda: [{**reply, "id": None} for reply in replies],
        lambda: [reply["result"] for reply in replies], lambda: [*replies[:-1], None],
        lambda: [[reply] for reply in replies],
        lambda: [{"result": reply["result"]} for reply in replies],
        lambda: [{**reply, "id": Raw(f"{reply['id']}.0")} for reply in replies],
    )  # fmt: skip
    return makers[int(chance * len(makers))]()


def _summaries(rng: Random, rounds: int) -> Iterator[Said]:
    """-getinfo, -netinfo, -addrinfo and -generate with what a node may tell, and with what none does."""
    now = int(time.time())
    colours = ((), ("-color=always",), ("-rpcwallet=x",))
    for n in range(SOME * rounds):
        info = _getinfo(rng)
        yield f"getinfo {n}", (*rng.choice(colours), "-getinfo"), by_method(info)
        peers = [_peer(rng, k, now) for k in range(rng.randrange(6))]
        told = {"getpeerinfo": peers, "getnetworkinfo": _network(rng)}
        level = rng.choice(((), ("1",), ("2",), ("3",), ("4",), ("4", "o"), ("1", "outonly")))
        yield f"netinfo {level} {write(told)}", ("-netinfo", *level), by_method(told)
        change = partial(_changed, chance=rng.random())
        yield f"getinfo changed {n}", ("-getinfo",), by_method(info, change)
        yield f"netinfo changed {n}", ("-netinfo", *level), by_method(told, change)
        for method in ("getnetworkinfo", "getblockchaininfo", "getpeerinfo", "getwalletinfo", "getbalances"):
            failed = Failed(rng.choice(ERRORS))
            yield f"getinfo {method} {failed}", ("-getinfo",), by_method({**info, method: failed})
            yield f"netinfo {method} {failed}", ("-netinfo",), by_method({**told, method: failed})
    counts = {name: {"new": 1, "tried": 2, "total": n} for n, name in enumerate(("ipv4", "x", "all_networks", "", "é"))}
    results: tuple[Any, ...] = (counts, {}, [], None, {"ipv4": 1}, {"ipv4": {"total": "x"}}, {"ipv4": {}}, "x",
                                {"ipv4": {"total": Raw("1.5")}}, {"all_networks": {"total": 2**31}})  # fmt: skip
    for result in results:
        yield f"addrinfo {write(result)}", ("-addrinfo",), by_method({"getaddrmaninfo": result})
    for error in ERRORS:
        yield f"addrinfo {write(error)}", ("-addrinfo",), by_method({"getaddrmaninfo": Failed(error)})
        yield f"generate {write(error)}", ("-generate",), by_method({"getnewaddress": Failed(error)})
    for address in VALUES:
        for words in ((), ("3", "4")):
            answers = {"getnewaddress": address, "generatetoaddress": ["ab"]}
            yield f"generate {write(address)}", ("-generate", *words), by_method(answers)
    for result in VALUES:
        answers = {"getnewaddress": "a", "generatetoaddress": result}
        yield f"generate to {write(result)}", ("-generate", "1"), by_method(answers)


def _patient() -> Iterator[Said]:
    """-rpcwait at a node that warms up for a while."""
    warming = Failed({"code": -28, "message": "Loading"})
    for words in (("getblockcount",), ("-getinfo",), ("-netinfo",), ("-addrinfo",), ("-generate",)):
        done = {"getblockcount": 5, "getaddrmaninfo": {}, "getnewaddress": "a", "generatetoaddress": [],
                "getpeerinfo": [], **_getinfo(Random(1))}  # fmt: skip
        for limit in ("0", "1"):
            never: dict[str, Any] = dict.fromkeys(done, warming)
            yield f"-rpcwait {limit}", ("-rpcwait", f"-rpcwaittimeout={limit}", *words), After(2, never, done)
        yield "-rpcwait for ever", ("-rpcwait", "-rpcwaittimeout=1", *words), by_method(never)


class After:
    """The first so many requests get one answer, later ones another; begins anew for each program."""

    def __init__(self, count: int, first: dict[str, Any], then: dict[str, Any]) -> None:
        self.count, self.parts, self.seen = count, (by_method(first), by_method(then)), 0

    def again(self) -> None:
        """The next program asks."""
        self.seen = 0

    def __call__(self, body: bytes) -> bytes:
        self.seen += 1
        return self.parts[self.seen > self.count](body)


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes, which are not started: the last one's folder has the other program."""
    deadline = time.monotonic() + plan.seconds
    *_, node = nodes = make()
    programs = [_ours]
    if len(nodes) > 1:
        programs.append(partial(_theirs, str(Path(node.command[0]).with_name("bitcoin-cli"))))
    with closing(Server()) as server:
        for shown, words, reply in (*_simple(), *_summaries(rng, plan.rounds), *_patient()):
            if time.monotonic() > deadline:
                return
            server.reply = reply
            outcomes = [_outcome(server, words, program) for program in programs]
            if outcomes[0] != outcomes[-1]:  # a second may have passed between them
                outcomes = [_outcome(server, words, program) for program in programs]
            report.calls += 1
            if outcomes[-1].startswith(f"-{SIGSEGV}"):
                continue  # a batch with too few members ends a bitcoin-cli
            if "Traceback" in outcomes[0] or outcomes[0] != outcomes[-1]:
                kind = f"{words[0]}: {outcomes[0][:60]} | {outcomes[-1][:60]}"
                report.add("replies", kind, Example(f"{' '.join(words)}: {shown}", outcomes[0], outcomes[-1]))


Program = Callable[[list[str], int, int], int]  # words, and where output and errors go; the exit status


def _outcome(server: Server, words: tuple[str, ...], program: Program) -> str:
    """Status, output and errors; what was asked."""
    server.asked.clear()
    if isinstance(server.reply, After):
        server.reply.again()
    with tempfile.TemporaryDirectory(prefix="cli-") as directory:
        login = (f"-datadir={directory}", f"-rpcport={server.port}", "-rpcuser=u", "-rpcpassword=p")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            status = program(["-regtest", *login, *words], out.fileno(), err.fileno())
            for file in (out, err):
                file.seek(0)
            text = (out.read() + b" / " + err.read()).decode(errors="replace").replace(directory, "DIR")
    told = MEANT.sub("", OWN_NAME.sub("NAME", f"{status} / {text}"))
    return f"{told} / {b', '.join(server.asked).decode(errors='replace')}"


def _theirs(program: str, words: list[str], out: int, err: int) -> int:
    return subprocess.run(
        [program, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=TIMEOUT_S, env=environment(),
        check=False,
    ).returncode  # fmt: skip


def _ours(words: list[str], out: int, err: int) -> int:
    """Our program in a fork of this process, which has imported it: many times as fast as a new one."""
    child = os.fork()
    if not child:
        status = 99
        try:
            os.dup2(out, 1)
            os.dup2(err, 2)
            sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), "utf-8", "surrogateescape", write_through=True)
            sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), "utf-8", "surrogateescape", write_through=True)
            status = client._run_or_tell(words)
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
