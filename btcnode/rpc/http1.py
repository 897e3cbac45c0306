"""HTTP/1.x for a server: bytes to requests, responses to bytes, byte for byte as Bitcoin Core's (libevent's evhttp).

What a request may look like, and which status tells that it may not, is the HTTP server's in Core, not the RFC's: any
bytes go for a header's name, the first of several headers of a name counts, lines may end in LF alone.
"""

from __future__ import annotations

import re
import time
from ipaddress import IPv6Address

CHUNK_LINES_AT_ONCE = 2000  # two to a chunk of a body, until others have had their turn: a millisecond or two
MAX_HEADERS_BYTES = 8192  # request line and header lines, without their ends
MAX_BODY_BYTES = 0x02000000
USUAL_HEAD_BYTES = 1024  # of a head that is kept as long as its connection lasts

OK, NO_CONTENT, BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, METHOD_NOT_ALLOWED = 200, 204, 400, 401, 403, 404, 405
TOO_LARGE, EXPECTATION_FAILED, SERVER_ERROR, NOT_IMPLEMENTED, UNAVAILABLE = 413, 417, 500, 501, 503
_REASONS = {
    OK: b"OK",
    NO_CONTENT: b"No Content",
    BAD_REQUEST: b"Bad Request",
    UNAUTHORIZED: b"Unauthorized",
    FORBIDDEN: b"Forbidden",
    NOT_FOUND: b"Not Found",
    METHOD_NOT_ALLOWED: b"Method Not Allowed",
    TOO_LARGE: b"Request Entity Too Large",
    EXPECTATION_FAILED: b"Expectation Failed",
    SERVER_ERROR: b"Internal Server Error",
    NOT_IMPLEMENTED: b"Not Implemented",
    UNAVAILABLE: b"Service Unavailable",
}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON_TYPE = b"Content-Type: application/json\r\n"
_HTML_TYPE = b"Content-Type: text/html; charset=ISO-8859-1\r\n"  # of bodies that nobody gave a type
CLOSE = b"Connection: close\r\n"

SERVED = frozenset((b"GET", b"POST", b"HEAD", b"PUT", b"DELETE"))  # other methods are not implemented
_WITH_BODY = frozenset((b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"))
_SHORTEST = len("GET / HTTP/1.0")

_VERSION = rb"HTTP/\s*([+-]?\d{1,9})\.\s*([+-]?\d{1,9})"
_LENGTH = rb"[ \t\v\f\r]*\+?([0-9]+)|[ \t\v\f\r]*-0+"
_CHUNK_LENGTH = rb"(?s)[ \t\v\f\r]*([+-]?)(?:0[xX])?([0-9a-fA-F]+)(?: .*)?"
_SCHEME = rb"([A-Za-z][A-Za-z0-9+.-]*):"
_NAME = rb"[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9a-fA-F]{2}"
_AUTHORITY = (
    rb"//(?:(?:" + _NAME + rb"|:)*@)?"
    rb"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|\[v[0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+\]|(?:" + _NAME + rb")*)"
    rb"(?::(?P<port>[0-9]*))?(?=[/?#]|\Z)"
)


class HttpFault(Exception):
    """A request that is answered with an error page and the end of the connection; ``head`` as far as it was read."""

    def __init__(self, status: int, head: Head | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.head = head or Head(b"", b"", 1, 1)


class Head:
    """Request line and headers; ``headers`` has the first value of each name, names in lower case
    (of Transfer-Encoding all values).
    """

    __slots__ = ("asks_close", "asks_keep_alive", "headers", "major", "method", "minor", "proxied", "target")

    def __init__(self, method: bytes, target: bytes, major: int, minor: int, *, proxied: bool = False) -> None:
        """``proxied``: the target names scheme and host."""
        self.method = method
        self.target = target
        self.major = major
        self.minor = minor
        self.proxied = proxied
        self.headers: dict[bytes, bytes] = {}
        self.asks_keep_alive = False  # as the client says
        self.asks_close = proxied

    def read_persistence(self) -> None:
        """Read what the headers say about the time after the answer."""
        connection = self.headers.get(b"connection")
        if connection is not None:
            self.asks_keep_alive = connection[:10].lower() == b"keep-alive"
        if self.proxied:
            self.asks_close = self.headers.get(b"proxy-connection", b"").lower() != b"keep-alive"
        elif connection is not None:
            self.asks_close = connection.lower() == b"close"

    @property
    def stays_open(self) -> bool:
        """Whether the connection goes on after the answer."""
        return not self.asks_close and (self.asks_keep_alive or (self.minor >= 1 and self.major >= 1))


# ---- requests


def _request_line(line: bytes) -> Head:
    text = line.partition(b"\0")[0]
    if len(text) == len(line):
        text = text.rstrip(b" ")
    if len(text) < _SHORTEST:
        raise HttpFault(BAD_REQUEST)
    method, _, rest = text.partition(b" ")
    target, space, protocol = rest.rpartition(b" ")
    if not space or not target:
        raise HttpFault(BAD_REQUEST)
    match = re.fullmatch(_VERSION, protocol)
    if match is None or int(match[1]) > 1:
        raise HttpFault(BAD_REQUEST, Head(method, target, 1, 1))
    plain = target[0] == 0x2F and target[:2] != b"//" and method != b"CONNECT"
    return Head(method, target, int(match[1]), int(match[2]), proxied=not plain and _is_proxied(target, method))


def _is_proxied(target: bytes, method: bytes) -> bool:
    """Whether a target names scheme and host; raises HttpFault when it is none at all."""
    if method == b"CONNECT":
        target = b"//" + target
    scheme = re.match(_SCHEME, target)
    rest = target[scheme.end() :] if scheme else target
    if not rest.startswith(b"//"):
        if scheme is None and b":" in re.split(rb"[/?#]", rest, maxsplit=1)[0]:
            raise HttpFault(BAD_REQUEST, Head(method, target, 1, 1))
        return False
    authority = re.match(_AUTHORITY, rest)
    if authority is None or not _is_authority(authority["address"], authority["port"] or b"0"):
        raise HttpFault(BAD_REQUEST, Head(method, target, 1, 1))
    return scheme is not None and scheme[1].lower() in (b"http", b"https")


def _is_chunked(encodings: bytes, head: Head) -> bool:
    """Whether the body comes in chunks; raises HttpFault when another coding was put over the chunks."""
    names = [part.partition(b";")[0].strip(b" \t").lower() for part in encodings.split(b",")]
    if b"chunked" in names[:-1]:
        raise HttpFault(BAD_REQUEST, head)
    return names[-1] == b"chunked"


def _is_authority(address: bytes | None, port: bytes) -> bool:
    """Whether an address in brackets is one of IPv6, and a port is none too high."""
    try:
        return (address is None or bool(IPv6Address(address.decode()))) and int(port[:6]) <= 65535
    except ValueError:
        return False


class RequestReader:
    """Requests out of the bytes of one connection: ``feed`` them, then ask for a head, then for its body."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # what lies before has been read
        self._head: Head | None = None
        self._name: bytes | None = None  # of the header that a folded line goes on with
        self._size = 0  # of request line and headers
        self._usual = b""  # the last head, if it was a plain one
        self._usual_head: Head | None = None
        self._usual_left = 0  # bytes of the body that follows it
        self._left = 0  # bytes of the body, or of a chunk, that are missing
        self._body: bytes | bytearray = b""  # as far as it has come
        self._chunked = False
        self._in_trailer = False
        self._body_size = 0
        self.keeps_body = True  # else it is read and thrown away
        self.has_more_body = False  # there is more of the body to be read at once

    @property
    def buffered(self) -> int:
        """Bytes that are kept."""
        return len(self._data) - self._at + len(self._body)

    @property
    def in_request(self) -> bool:
        """Whether a request has begun and is not complete."""
        return self._head is not None or len(self._data) > self._at

    def feed(self, data: bytes) -> None:
        """Take in what the client has sent."""
        self._data = data if self._at == len(self._data) else self._data[self._at :] + data
        self._at = 0

    def _line(self) -> bytes | None:
        """The next line without its end, None while it is not complete."""
        data, start = self._data, self._at
        end = data.find(b"\n", start)
        if end < 0:
            return None
        self._at = end + 1
        return data[start : end - 1] if end > start and data[end - 1] == 0x0D else data[start:end]

    def _take(self) -> bool:
        """Move what has come of the body, or chunk, to its parts; whether it is complete."""
        part = self._data[self._at : self._at + self._left]
        self._at += len(part)
        self._left -= len(part)
        if part and self.keeps_body:
            if not self._body:
                self._body = part
            else:
                if isinstance(self._body, bytes):
                    self._body = bytearray(self._body)
                self._body += part
        return not self._left

    def read_head(self) -> Head | None:
        """The next request's head, None while it is not complete; raises HttpFault."""
        if self._head is None:
            if self._usual and self._data.startswith(self._usual, self._at):
                self._at += len(self._usual)
                self._head, self._left = self._usual_head, self._usual_left
                self._chunked, self.keeps_body = False, True
                return self._head
            start = self._at
            head = self._head = self._read_whole()
            if head is not None:
                head.read_persistence()
                self._frame(head)
                self._remember(head, start)
                return head
            line = self._line()
            if line is None:
                if len(self._data) - self._at > MAX_HEADERS_BYTES:
                    raise HttpFault(BAD_REQUEST)
                return None
            if len(line) > MAX_HEADERS_BYTES:
                raise HttpFault(BAD_REQUEST)
            self._head, self._size, self._name = _request_line(line), len(line), None
        if not self._read_headers(self._head):
            return None
        self._head.read_persistence()
        self._frame(self._head)
        return self._head

    def _remember(self, head: Head, start: int) -> None:
        """Keep the bytes of a plain head: clients begin all their requests alike, and the next one need not be read."""
        if self._at - start <= USUAL_HEAD_BYTES and not self._chunked and b"expect" not in head.headers and head.major:
            self._usual = self._data[start : self._at]
            self._usual_head, self._usual_left = head, self._left

    def _read_whole(self) -> Head | None:
        """A head that has come at once and has nothing uncommon about it, which is quicker; None for another."""
        data, start = self._data, self._at
        end = data.find(b"\r\n\r\n", start, start + MAX_HEADERS_BYTES)
        if end < 0:
            return None
        lines = data[start:end].split(b"\r\n")
        if not data.count(b"\r", start, end) == data.count(b"\n", start, end) == len(lines) - 1:
            return None
        head = _request_line(lines[0])
        headers = head.headers
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            name = name.lower()
            if not colon or name[:1] in b" \t" or name in headers:
                return None
            headers[name] = value.strip(b" ")
        if b"\0" in data[start:end] or b"\t" in data[start:end]:
            return None
        self._at = end + 4
        return head

    def _read_headers(self, head: Head) -> bool:
        """Header lines up to the empty one; False while that has not come."""
        headers = head.headers
        while (line := self._line()) is not None:
            self._size += len(line)
            if self._size > MAX_HEADERS_BYTES:
                raise HttpFault(BAD_REQUEST, head)
            if b"\0" in line:
                line = line.partition(b"\0")[0]
            if not line:
                return True
            if line[0] in b" \t":
                if self._name is None:
                    raise HttpFault(BAD_REQUEST, head)
                continuation = line.strip(b" \t")
                if self._name in headers:
                    headers[self._name] += b" " + continuation
                continue
            name, colon, value = line.partition(b":")
            value = value.lstrip(b" ").rstrip(b" \t")
            if not colon or b"\r" in line:
                raise HttpFault(BAD_REQUEST, head)
            self._name = name = name.lower()
            if name in headers:
                if name == b"transfer-encoding":
                    headers[name] += b"," + value
                self._name = b"\0"  # does not count, and what follows neither
            else:
                headers[name] = value
        if self._size + len(self._data) - self._at > MAX_HEADERS_BYTES:
            raise HttpFault(BAD_REQUEST, head)
        return False

    def _frame(self, head: Head) -> None:
        """Find out where the body ends; raises HttpFault."""
        self._left = self._body_size = 0
        self._chunked, self._in_trailer, self.keeps_body = False, False, True
        if head.method not in _WITH_BODY:
            return
        headers = head.headers
        length = headers.get(b"content-length")
        if b"transfer-encoding" in headers:
            if length is not None:
                raise HttpFault(BAD_REQUEST, head)
            self._chunked = _is_chunked(headers[b"transfer-encoding"], head)
        if length is not None:
            match = re.fullmatch(_LENGTH, length)
            if match is None:
                raise HttpFault(BAD_REQUEST, head)
            digits = (match[1] or b"").lstrip(b"0")
            self._left = int(digits or b"0") if len(digits) < 10 else MAX_BODY_BYTES + 1
        if not self._chunked and not self._left:
            return
        expect = headers.get(b"expect")
        if expect is not None and expect.lower() != b"100-continue" and (head.major, head.minor) >= (1, 1):
            raise HttpFault(EXPECTATION_FAILED, head)
        if self._left > MAX_BODY_BYTES:
            raise HttpFault(TOO_LARGE, head)

    def wants_continue(self) -> bool:
        """Whether the client waits for a word before it sends the body."""
        head = self._head
        if head is None or b"expect" not in head.headers or (head.major, head.minor) < (1, 1):
            return False
        return (self._left > 0 or self._chunked) and len(self._data) == self._at

    def read_body(self) -> bytes | None:
        """The body of the request whose head was read, None while it is not complete; raises HttpFault."""
        assert self._head is not None
        if not (self._read_chunks(self._head) if self._chunked else self._take()):
            return None
        body, self._body = bytes(self._body), b""
        self._head = None
        return body

    def _read_chunks(self, head: Head) -> bool:
        """Gather the chunks of a body; False while the last one has not come, or when there were many for once."""
        self.has_more_body = False
        most = CHUNK_LINES_AT_ONCE
        while not self._in_trailer:
            if not self._take():
                return False
            most -= 1
            if not most:
                self.has_more_body = True
                return False
            line = self._line()
            if line is None:
                if len(self._data) - self._at > MAX_HEADERS_BYTES:
                    raise HttpFault(TOO_LARGE, head)
                return False
            if not line:
                continue
            match = re.fullmatch(_CHUNK_LENGTH, line.partition(b"\0")[0])
            if match is None:
                raise HttpFault(TOO_LARGE, head)
            digits = match[2].lstrip(b"0")
            self._left = int(digits or b"0", 16) if len(digits) < 8 else MAX_BODY_BYTES + 1
            self._body_size += self._left
            if self._body_size > MAX_BODY_BYTES or (match[1] == b"-" and self._left):
                raise HttpFault(TOO_LARGE, head)
            self._in_trailer = not self._left
        try:
            return self._read_headers(Head(b"", b"", 1, 1))  # what stands behind the body counts for nothing
        except HttpFault:
            raise HttpFault(TOO_LARGE, head) from None


# ---- responses

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_date_second = 0
_date_line = b""


def date_line() -> bytes:
    """The ``Date`` header of this second."""
    global _date_second, _date_line  # made once a second, not once an answer
    second = int(time.time())
    if second != _date_second:
        year, month, day, hour, minute, rest, weekday, *_ = time.gmtime(second)
        text = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{rest:02} GMT"
        _date_line = b"Date: %s\r\n" % text.encode()
        _date_second = second
    return _date_line


def response_head(head: Head, status: int, size: int | None, headers: bytes = b"") -> bytes:
    """What comes before the body of a response, which has ``size`` bytes; ``headers`` are finished lines for the start.

    Of unknown size (None) it comes in chunks. Clients of HTTP/1.0 that do not ask for more get a body that ends with
    the connection.
    """
    major, minor = head.major, head.minor
    has_body = status != NO_CONTENT and head.method not in (b"HEAD", b"CONNECT")
    more = b""
    if major == 1:
        if minor >= 1:
            more = date_line()
        elif head.asks_keep_alive:
            more = b"Connection: keep-alive\r\n"
        if size is None:
            more += b"Transfer-Encoding: chunked\r\n" if in_chunks(head) else b""
        elif has_body and more:
            more += b"Content-Length: %d\r\n" % size
    if has_body and b"Content-Type:" not in headers:
        more += _HTML_TYPE
    if head.asks_close and not head.proxied:
        more += CLOSE
    return b"HTTP/%d.%d %d %s\r\n%s%s\r\n" % (major, minor, status, _REASONS[status], headers, more)


def response(head: Head, status: int, body: bytes, headers: bytes = b"") -> bytes:
    """A whole response to a request. One answer to HEAD differs from Core's: the body is left out."""
    return response_head(head, status, len(body), headers) + (b"" if head.method == b"HEAD" else body)


def in_chunks(head: Head) -> bool:
    """Whether the client of a request understands a body in chunks."""
    return (head.major, head.minor) >= (1, 1)


def chunk(data: bytes) -> bytes:
    """A piece of a body in chunks; the empty one is the end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def error_page(head: Head, status: int) -> bytes:
    """The answer to a request that is no good; the connection ends with it."""
    reason = _REASONS[status]
    page = b"<HTML><HEAD>\n<TITLE>%d %s</TITLE>\n</HEAD><BODY>\n<H1>%s</H1>\n</BODY></HTML>\n" % (
        status,
        reason,
        reason,
    )
    if not head.major or not head.minor:
        head.major = head.minor = 1
    closing = b"" if head.asks_close else CLOSE
    return response(head, status, page, b"Content-Type: text/html\r\n" + closing)
