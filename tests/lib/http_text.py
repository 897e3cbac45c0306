"""Raw HTTP requests and JSON bodies, well formed and not, and what a server sends back, to the byte."""

from __future__ import annotations

import base64
import random
import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

ADDRESS = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
QUIET_S = 0.6  # after which nothing more is expected
PAUSE_S = 0.15  # between the pieces of a request
LOGIN = b"Authorization: Basic " + base64.b64encode(b"u:p") + b"\r\n"
COUNT = b'{"id":1,"method":"getblockcount"}'


class Answer(NamedTuple):
    """The bytes that came, the date taken out, and whether the server closed the connection."""

    data: bytes
    closed: bool


def exchange(port: int, pieces: list[bytes], timeout: float = QUIET_S) -> Answer:
    """Send bytes, piece by piece, and gather what comes until nothing has come for ``timeout`` seconds."""
    received, closed = b"", False
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(timeout)
        try:
            for n, piece in enumerate(pieces):
                sock.sendall(piece)
                if n < len(pieces) - 1:
                    received += _wait(sock)
            while True:
                part = sock.recv(1 << 16)
                if not part:
                    closed = True
                    break
                received += part
        except TimeoutError:
            pass
        except OSError:
            closed = True
    return Answer(re.sub(rb"Date: [^\r]*", b"Date: x", received), closed)


def _wait(sock: socket.socket) -> bytes:
    sock.settimeout(PAUSE_S)
    try:
        return sock.recv(1 << 16)
    except TimeoutError:
        return b""
    finally:
        sock.settimeout(QUIET_S)


def post(*lines: bytes, body: bytes = COUNT, first: bytes = b"POST / HTTP/1.1", length: bool = True) -> bytes:
    """A request with a login (unless there is one among ``lines``) and a length."""
    head = [first, b"Host: x", *lines]
    if not any(b"uthorization" in line for line in lines):
        head.append(LOGIN[:-2])
    if length:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*head, b"", body])


_HELP = re.compile(rb'"message":"([a-z]+) ?[^"\\]*(?:\\.[^"\\]*)*\\n\\nResult(?:[^"\\]|\\.)*"\}')


class BodyClient:
    """Posts bodies over one connection; of a help text in an answer only the method is left."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: socket.socket | None = None

    def post(self, body: bytes) -> tuple[bytes, bytes]:
        """Status line with content type, and the body of the answer."""
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        self._sock.sendall(post(body=body))
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, answer = data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        while length and len(answer) < int(length[1]):
            answer += self._read()
        if b"Connection: close" in head:
            self.close()
        answer, changed = _HELP.subn(rb'"message":"\1 ..."}', answer)
        gone = rb"\r\nDate: [^\r]*|\r\nContent-Length: \d+" if changed else rb"\r\nDate: [^\r]*"
        return re.sub(gone, b"", head), answer

    def _read(self) -> bytes:
        assert self._sock is not None
        part = self._sock.recv(1 << 20)
        if not part:
            raise ConnectionError("the server has closed the connection")
        return part

    def close(self) -> None:
        """End the connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None


# ---- requests


def requests() -> dict[str, list[bytes]]:
    """Requests by what is odd about them, in the pieces in which they are sent."""
    found: dict[str, list[bytes]] = {}
    for method in (b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"TRACE", b"PATCH", b"FOO", b"get", b"G"):
        for target in _TARGETS:
            found[f"{method!r} {target!r}"] = [b"%s %s HTTP/1.1\r\n\r\n" % (method, target)]
        for lines in (b"Connection: close", b"Content-Length: 3", b"Content-Length: x", b"Transfer-Encoding: chunked"):
            found[f"{method!r} {lines!r}"] = [
                b"%s /x HTTP/1.1\r\n%s\r\n\r\nabcGET /x HTTP/1.1\r\n\r\n" % (method, lines)
            ]
    for protocol in _PROTOCOLS:
        found[f"protocol {protocol!r}"] = [post(first=b"POST / " + protocol)]
        found[f"protocol {protocol!r}, keep-alive"] = [post(b"Connection: Keep-Alive", first=b"POST / " + protocol)]
    for lines in _HEADERS:
        found[f"header {lines!r}"] = [post(lines)]
        found[f"header {lines!r} twice"] = [post(lines) + post()]
    for lines in _LENGTHS:
        found[f"length {lines!r}"] = [post(lines, length=False)]
    for login in _LOGINS:
        found[f"login {login!r}"] = [post(b"Authorization: " + login)]
    for encoding in _ENCODINGS:
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(COUNT), COUNT)
        found[f"encoding {encoding!r}"] = [post(b"Transfer-Encoding: " + encoding, body=chunks, length=False)]
        found[f"encoding {encoding!r} with length"] = [post(b"Transfer-Encoding: " + encoding, body=chunks)]
    for chunks in _CHUNKS:
        data = post(b"Transfer-Encoding: chunked", body=chunks, length=False)
        found[f"chunks {chunks!r}"] = [data + post()]
    for expect in (b"100-continue", b"100-Continue", b"x", b""):
        data = post(b"Expect: " + expect)
        found[f"expect {expect!r}"] = [data]
        found[f"expect {expect!r} and wait"] = [data[: -len(COUNT)], COUNT]
        found[f"expect {expect!r}, 1.0"] = [data.replace(b"HTTP/1.1", b"HTTP/1.0")]
    for size in (8170, 8180, 8185, 8190, 8195, 9000):
        found[f"header of {size}"] = [b"GET /x HTTP/1.1\r\nX: %s\r\n\r\n" % (b"a" * size)]
        found[f"unfinished header of {size}"] = [b"GET /x HTTP/1.1\r\nX: " + b"a" * size]
        found[f"target of {size}"] = [b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * size)]
    found["LF"] = [post().replace(b"\r\n", b"\n")]
    found["no length"] = [post(length=False)]
    found["nothing"] = [b"\r\n\r\n"]
    found["garbage behind"] = [post() + b"garbage\r\n\r\n"]
    found["pipeline"] = [
        post() + post(body=b'{"id":2,"method":"x"}') + b"GET /rest/blockhashbyheight/0.hex HTTP/1.1\r\n\r\n"
    ]
    found["no method"] = [post(body=b"")]
    found["notification"] = [post(body=b'{"jsonrpc":"2.0","method":"getblockcount"}')]
    return found


_TARGETS = [
    b"/",
    b"/x",
    b"*",
    b"x:1",
    b":x",
    b"//",
    b"//a:99999",
    b"//[::1]/",
    b"//[zz]/",
    b"//u@h/",
    b"//%zz/",
    b"http://x/",
    b"http:x",
    b"https://x:8/",
    b"ftp://x/",
    b"/?a=b",
    b"/#a",
    b"/%2f",
    b"/a b",
    b"/\xff",
    b"/rest",
    b"/rest/x",
    b"/rest/tx/zz.json",
    b"/rest/tx/%00.json",
    b"/rest/chaininfo.xml",
    b"/rest/blockhashbyheight/0.hex",
    b"/rest/blockhashbyheight/0.bin",
    b"/rest/blockhashbyheight/1_0.json",
    b"/rest/blockhashbyheight/+1.json",
    b"/rest/blockhashbyheight/%31.json",
    b"/rest/blockhashbyheight/01.json",
    b"/rest/blockhashbyheight/\xd9\xa3.json",
    b"/rest/blockhashbyheight/99999999999.json",
    b"/rest/headers/+5/" + b"0" * 64 + b".json",
    b"/rest/headers/" + b"0" * 64 + b".json?count=1_0",
    b"/rest/headers/" + b"0" * 64 + b".json?count=%2b5",
    b"/rest/headers/" + b"0" * 64 + b".json?count=5&count=x",
    b"/rest/headers/" + b"0" * 64 + b".json?count",
    b"/rest/headers/" + b"0" * 64 + b".json?%63ount=9999",
    b"/rest/headers/" + b"0" * 64 + b".json?count=%",
    b"/rest/headers/" + b"0" * 64 + b".json?x[]=1&count=0",
    b"/rest/headers/" + b"0" * 64 + b".json?count=0&x",
    b"/rest/headers/" + b"0" * 64 + b".json?count=0#x",
    b"/rest/headers/" + b"0" * 64 + b".json?count=+0",
    b"/rest/headers/" + b"0" * 64 + b".json?count=0%00",
    b"/rest/mempool/contents.json?verbose=%74rue",
    b"/rest/mempool/contents.json?verbose=yes",
    b"/rest/getutxos/" + b"0" * 64 + b"-1_0.json",
    b"/rest/getutxos/" + b"0" * 64 + b"-+0.json",
    b"/rest/getutxos.json",
    b"/rest/blockpart/" + b"0" * 64 + b".bin?offset=+0&size=1",
    b"/rest/blockpart/" + b"0" * 64 + b".bin?offset=0",
]
_PROTOCOLS = [
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"HTTP/1",
    b"HTTP/1.",
    b"http/1.1",
    b"HTTX/1.1",
    b"HTTP/1.1x",
    b"HTTP/01.01",
    b"HTTP/+1.1",
    b"HTTP/ 1.1",
    b"HTTP/1.1  ",
    b"",
]
_HEADERS = [
    b"Connection: close",
    b"Connection: Close",
    b"Connection: keep-alive",
    b"Connection: close, keep-alive",
    b"Connection : close",
    b"Connection:close",
    b"Connection: \tclose",
    b"Connection: close\0x",
    b"Connection: x\r\nConnection: close",
    b"Upgrade: h2c",
    b"Connection: Upgrade\r\nUpgrade: websocket",
    b"Proxy-Connection: close",
    b"X",
    b":",
    b": a",
    b" X: a",
    b"\tX: a",
    b"X: a\r\n b",
    b"Connection: close\r\n x",
    b"X: a\0b",
    b"X: a\x01b",
    b"X: a\xffb",
    b"X(: a",
    b"X: a\rb",
    b"X\r: a",
    b"X: a\r b",
    b"\0X: a",
    b"Content-Length: 5",
    b"Content-Type: text/html",
    b"Accept: x",
]
_LENGTHS = [
    b"Content-Length: " + text
    for text in (
        b"+33",
        b" 33",
        b"33 ",
        b"033",
        b"0x21",
        b"-1",
        b"",
        b"abc",
        b"33abc",
        b"3_3",
        b"33,33",
        b"\xd9\xa3",
        b"1e1",
        b"33554433",
        b"9" * 30,
        b"33\r\nContent-Length: 5",
        b"-0",
    )
]
_LOGINS = [
    b"",
    b"Basic eDp5",
    b"Basic !!!",
    b"basic dTpw",
    b"  Basic   dTpw  ",
    b"Basic \tdTpw\t",
    b"Basic dTpwYQ",
    b"Basic dTpw=",
    b"Basic",
    b"Basic dTpx",
    b"Bearer dTpw",
    b"Basic dTpw\r\nAuthorization: Basic eDp5",
    b"Basic eDp5\r\nAuthorization: Basic dTpw",
    b"Basic dXA=",
    b"Basic dTpw\x01",
    b"Basic dT pw",
]
_ENCODINGS = [
    b"chunked",
    b"Chunked",
    b" chunked",
    b"gzip",
    b"gzip, chunked",
    b"gzip,\tCHUNKED",
    b"chunked, gzip",
    b"chunked,",
    b",chunked",
    b"chunked;q=1",
    b"xchunked",
    b"identity",
    b"",
    b"chunked, chunked",
    b"chunked\r\nTransfer-Encoding: gzip",
]
_CHUNKS = [
    b"21\r\n" + COUNT + b"\r\n0\r\n\r\n",
    b"21\n" + COUNT + b"\n0\n\n",
    b"0x21\r\n" + COUNT + b"0\r\n\r\n",
    b"+21 x\r\n" + COUNT + b"\r\n-0\r\nX: y\r\n\r\n",
    b"\r\n\r\n5\r\n" + COUNT[:5] + b"1C\r\n" + COUNT[5:] + b"0\r\n\r\n",
    b"21;a=b\r\n" + COUNT + b"\r\n0\r\n\r\n",
    b"zz\r\n",
    b"-5\r\nabcde\r\n",
    b"ffffffffffff\r\n",
    b"2000001\r\n",
    b"21\r\n" + COUNT + b"\r\n0\r\nbad\r\n\r\n",
    b"21\r\n" + COUNT + b"\r\n0\r\nConnection: close\r\n\r\n",
]


# ---- JSON bodies

TOKENS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"null",
    b"true",
    b"false",
    b"-",
    b"-0",
    b"0",
    b"00",
    b"1",
    b"1.",
    b".5",
    b"1e5",
    b"1E+5",
    b"1e",
    b"1e400",
    b"1e-400",
    b"9" * 25,
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"+1",
    b"0x1",
    b"1_0",
    b" ",
    b"\t",
    b"\n",
    b"\r",
    b"\x0b",
    b"\x0c",
    b"\0",
    b"\x1f",
    b"\x7f",
    b"\xa0",
    b"\xc2\xa0",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x82\xac",
    b"\xf0\x9f\x98\x80",
    b"\\u0000",
    b"\\u007f",
    b"\\u00e9",
    b"\\ud83d\\ude00",
    b"\\u12",
    b"\\x41",
    b"\\/",
    b"\\b",
    b"\\n",
    b'\\"',
    b'"a"',
    b'"id"',
    b'"method"',
    b'"params"',
    b'"jsonrpc"',
    b'"2.0"',
    b'"1.0"',
    b"/**/",
    b"'",
    b"{}",
    b"[]",
    b"[[[[]]]]",
    b'{"a":1,"a":2}',
    b"18446744073709551616",
    b"2147483648",
    b"0.00000001",
    b"0.000000001",
    b"21000000.00000001",
    b'"0.1"',
    b'" 1"',
    b'"1_0"',
    b'"\xef\xbc\x91"',
    b'"args"',
    b"undefined",
    b"\xe2\x80\xa8",
]

BODIES = [
    COUNT,
    b'{"jsonrpc":"2.0","id":"a","method":"getblockhash","params":[0]}',
    b'{"jsonrpc":"1.0","id":null,"method":"getblockhash","params":{"height":0}}',
    b'{"jsonrpc":"2.0","method":"getblockcount","params":[]}',
    b'{"id":1.50,"method":"echo","params":[1,"a",{"b":[null,true,-1.5e3]},"\\u00e9\\n"]}',
    b'{"id":{"x":[1]},"method":"echojson","params":{"arg1":"\xc3\xa9","args":[[]],"arg3":{"k":0}}}',
    b'[{"id":1,"method":"getblockcount"},{"jsonrpc":"2.0","id":2,"method":"nosuch"},{"jsonrpc":"2.0","method":"stopx"},7]',
    b'[{"id":1,"method":"echo","params":["x"]},{"id":2,"method":"getblockhash","params":[-1]}]',
    b'{"id":1,"method":"createrawtransaction","params":[[],{"%s":0.10000000}]}' % ADDRESS.encode(),
    b'{"id":1,"method":"createrawtransaction","params":[[],[{"%s":"1"},{"data":"00ff"}],0,true]}' % ADDRESS.encode(),
    b'{"id":1,"method":"validateaddress","params":["%s"]}' % ADDRESS.encode(),
    b'{"id":1,"method":"getblockheader","params":["00",false]}',
    b'{"id":1,"method":"decodescript","params":["51"]}',
]


def mutated(body: bytes, rng: random.Random) -> bytes:
    """A body with one to four changes."""
    data = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(8):
            case 0:
                del data[at : at + rng.randint(1, 6)]
            case 1 | 2 | 3:
                data[at:at] = rng.choice(TOKENS)
            case 4 if data:
                at %= len(data)
                data[at : at + 1] = rng.choice(TOKENS)
            case 5:
                values = list(re.finditer(rb'-?[0-9.]+|"[^"]*"|true|false|null|\[\]|\{\}', bytes(data)))
                if values:
                    found = rng.choice(values)
                    data[found.start() : found.end()] = rng.choice(TOKENS)
            case 6 if data:
                data[at % len(data)] = rng.randrange(256)
            case _:
                part = bytes(data[at : at + rng.randint(1, 30)])
                place = rng.randrange(len(data) + 1)
                data[place:place] = part
    return bytes(data)


def bodies(seed: int, count: int) -> Iterator[bytes]:
    """``count`` bodies: each good one, then random changes of them."""
    rng = random.Random(seed)
    yield from BODIES[:count]
    for _ in range(count - len(BODIES)):
        yield mutated(rng.choice(BODIES), rng)


def is_told_apart_on_purpose(body: bytes) -> bool:
    """Whether docs/differences.md says that such a body is read otherwise than by Core.

    Those are bytes that are no UTF-8, and escapes of surrogates: Core takes overlong forms, lets other text stand
    between the halves of a pair, and reads pairs from U+20000 on as other characters.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return re.search(rb"\\u[dD][89a-fA-F]", body.replace(b"\\ud83d\\ude00", b"")) is not None
