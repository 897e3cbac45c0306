"""HTTP as JSON-RPC needs it on the client's side: POST over one keep-alive connection, and what comes back.

``http.client`` would do; it loads the mail parser and TLS, which takes longer than a call of ``btcnode-cli``.
"""

from __future__ import annotations

import socket

from btcnode.errors import BtcnodeError

MAX_LINE = 65536
MAX_HEADERS = 100
MAX_BODY_PIECE = 1 << 20  # read in one go, so that a false length costs no memory


class HttpError(BtcnodeError):
    """What came is no HTTP."""


class RemoteClosed(HttpError):
    """The connection ended before a word of the answer came."""


class HttpConnection:
    """One connection, opened when it is needed. Raises OSError, HttpError, ValueError (no host, no port)."""

    def __init__(self, host: str, port: int, timeout: float | None) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._socket: socket.socket | None = None
        self._buffer = bytearray()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as we know."""
        return self._socket is not None

    def close(self) -> None:
        """Close it; the next request opens another one."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer.clear()

    def _connect(self) -> socket.socket:
        if not 0 < self._port < 1 << 16:  # the system would take it modulo 65,536
            raise ValueError(f"{self._port} is no port")
        host: str | bytes = self._host
        if self._host.isascii():
            host = self._host.encode()  # text would load the tables of international names
        connection = socket.create_connection((host, self._port), self._timeout)  # type: ignore[arg-type]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        return connection

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send a body; returns the status and the body of the answer."""
        connection = self._socket if self._socket is not None else self._connect()
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}:{self._port}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode("latin-1")
        connection.sendall(head + b"\r\n\r\n" + body)
        return self._read_answer()

    # -- the answer ----------------------------------------------------------------------------------------------

    def _read_answer(self) -> tuple[int, bytes]:
        status = 100
        while status == 100:
            version, status = self._read_status()
            headers = self._read_headers()
        if status in (204, 304):
            body = b""
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._read_chunks()
        elif (length := headers.get("content-length")) is not None:
            body = self._read_exactly(_whole_number(length, 10))
        else:
            headers["connection"] = "close"
            body = self._read_all()
        asked = headers.get("connection", "").lower()
        if asked == "close" or (version == "HTTP/1.0" and asked != "keep-alive"):
            self.close()
        return status, body

    def _read_status(self) -> tuple[str, int]:
        line = self._read_line(first=True)
        version, _, rest = line.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise HttpError(f"not an HTTP answer: {line[:40]!r}")
        return version, int(code)

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(MAX_HEADERS):
            line = self._read_line()
            if not line:
                return headers
            name, colon, value = line.partition(":")
            if not colon:
                raise HttpError(f"not an HTTP header: {line[:40]!r}")
            headers[name.strip().lower()] = value.strip()
        raise HttpError(f"more than {MAX_HEADERS} headers")

    def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := _whole_number(self._read_line().partition(";")[0].strip(), 16):
            body += self._read_exactly(size)
            self._read_line()
        self._read_headers()  # trailers, mostly none
        return bytes(body)

    def _receive(self) -> bytes:
        assert self._socket is not None
        return self._socket.recv(MAX_BODY_PIECE)

    def _read_line(self, *, first: bool = False) -> str:
        """A line without its end; ``first``: nothing of the answer was read before."""
        buffer = self._buffer
        while (end := buffer.find(b"\n")) < 0:
            if len(buffer) > MAX_LINE:
                raise HttpError("a line without an end")
            piece = self._receive()
            if not piece:
                if first and not buffer:
                    raise RemoteClosed("Remote end closed connection without response")
                raise HttpError("the connection ended inside an answer")
            buffer += piece
        line = bytes(buffer[:end]).rstrip(b"\r")
        del buffer[: end + 1]
        return line.decode("latin-1")

    def _read_exactly(self, size: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < size:
            piece = self._receive()
            if not piece:
                raise HttpError("the connection ended inside an answer")
            buffer += piece
        found = bytes(memoryview(buffer)[:size])
        del buffer[:size]
        return found

    def _read_all(self) -> bytes:
        while piece := self._receive():
            self._buffer += piece
        found = bytes(self._buffer)
        self._buffer.clear()
        return found


def _whole_number(text: str, base: int) -> int:
    digits = "0123456789abcdef"[:base]
    if not text or any(char not in digits for char in text.lower()) or len(text) > 18:
        raise HttpError(f"not a length: {text[:40]!r}")
    return int(text, base)
