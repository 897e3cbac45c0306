"""What Tor says at its control port (control-spec): replies from bytes, their words, and what SAFECOOKIE computes.

Everything is bounded, although the speaker is a program of the user's own: a wrong port may lead anywhere.
"""

from __future__ import annotations

import hmac
from dataclasses import field

from btcnode.errors import BtcnodeError
from btcnode.record import struct
from btcnode.settings.addresses import SOCKS_PORT, UNIX_PREFIX, ProxyAddress, split_port

MAX_LINE_LENGTH = 100_000  # bytes, the carriage return included
MAX_LINES = 1000  # of one reply
MAX_REPLY_LENGTH = 200_000  # characters of all its lines
NONCE_SIZE = COOKIE_SIZE = 32
OK, SYNTAX_ERROR = 250, 512
_ASYNCHRONOUS = 600  # codes from here on answer no command
_SERVER_KEY = b"Tor safe cookie authentication server-to-controller hash"
_CLIENT_KEY = b"Tor safe cookie authentication controller-to-server hash"
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class TorControlError(BtcnodeError):
    """Tor's control port does not say what it should; the text is one line for the log."""


@struct
class Reply:
    """A whole reply: its code, and the text of each of its lines."""

    code: int = 0
    lines: list[str] = field(default_factory=list)


class ReplyReader:
    """Makes replies of bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._reply = Reply()
        self._length = 0  # characters of the reply so far

    def feed(self, data: bytes) -> list[Reply]:
        """The replies to commands that are complete now; raises TorControlError when a limit is exceeded."""
        self._buffer += data
        found: list[Reply] = []
        while True:
            end = self._buffer.find(b"\n")
            if (len(self._buffer) if end < 0 else end) > MAX_LINE_LENGTH:
                raise TorControlError(f"line of more than {MAX_LINE_LENGTH} bytes")
            if end < 0:
                return found
            line = self._buffer[:end].decode("utf-8", "replace").removesuffix("\r")
            del self._buffer[: end + 1]
            reply = self._take(line)
            if reply is not None:
                found.append(reply)

    def _take(self, line: str) -> Reply | None:
        if len(self._reply.lines) == MAX_LINES:
            raise TorControlError(f"Control port reply exceeded {MAX_LINES} lines, disconnecting")
        self._length += len(line)
        if self._length > MAX_REPLY_LENGTH:
            raise TorControlError(f"Control port reply exceeded {MAX_REPLY_LENGTH} characters, disconnecting")
        if len(line) < 4:
            return None
        code = line[:3]
        self._reply.code = int(code) if code.isascii() and code.isdigit() else 0
        self._reply.lines.append(line[4:])
        if line[3] != " ":
            return None
        done, self._reply, self._length = self._reply, Reply(), 0
        return done if done.code < _ASYNCHRONOUS else None


def split_line(text: str) -> tuple[str, str]:
    """The first word of a line, and the rest."""
    word, _, rest = text.partition(" ")
    return word, rest


def parse_mapping(text: str) -> dict[str, str]:
    """``KEY=value KEY="quoted value"`` up to the first word without ``=``; empty when it is malformed."""
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        start = place
        while place < len(text) and text[place] not in "= ":
            place += 1
        if place == len(text):
            return {}
        if text[place] == " ":
            break  # optional arguments follow, which are no pairs
        key = text[start:place]
        place += 1
        if text[place : place + 1] == '"':
            quoted = _quoted(text, place + 1)
            if quoted is None:
                return {}
            found[key], place = quoted
        else:
            end = text.find(" ", place)
            end = len(text) if end < 0 else end
            found[key], place = text[place:end], end
        if text[place : place + 1] == " ":
            place += 1
    return found


def _quoted(text: str, place: int) -> tuple[str, int] | None:
    """A quoted string from behind its first quote: its value and the place behind the last one; None without that."""
    value = ""
    while place < len(text):
        char = text[place]
        if char == '"':
            return value, place + 1
        if char == "\\":
            place += 1
            if place == len(text):
                return None
            char, size = _escaped(text, place)
            place += size
        else:
            place += 1
        value += char
    return None


def _escaped(text: str, place: int) -> tuple[str, int]:
    r"""What a backslash makes of the text behind it (C's \n, \t, \r and octal), and how long that is."""
    digits = ""
    for char in text[place : place + 3]:
        if not "0" <= char <= "7":
            break
        digits += char
    if len(digits) == 3 and digits[0] > "3":
        digits = digits[:2]
    if digits:
        return chr(int(digits, 8)), len(digits)
    return _ESCAPES.get(text[place], text[place]), 1


def quote(text: str) -> str:
    """A quoted string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def server_hash(cookie: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """What the server shows to prove that it knows the cookie (SAFECOOKIE)."""
    return hmac.digest(_SERVER_KEY, cookie + client_nonce + server_nonce, "sha256")


def client_hash(cookie: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """What we show for the same."""
    return hmac.digest(_CLIENT_KEY, cookie + client_nonce + server_nonce, "sha256")


def socks_listener(reply: Reply) -> ProxyAddress | None:
    """Where Tor's SOCKS5 proxy listens, by the answer to ``GETINFO net/listeners/socks``; loopback preferred."""
    found: ProxyAddress | None = None
    for line in reply.lines:
        key, equals, places = line.partition("=")
        if key != "net/listeners/socks" or not equals:
            continue
        for text in places.split(" "):
            address = _listener(text.strip('"'))
            if address is not None:
                found = address
                if address.host == "127.0.0.1":
                    return address
    return found


def _listener(text: str) -> ProxyAddress | None:
    if text.startswith(UNIX_PREFIX):
        return ProxyAddress("", 0, text.removeprefix(UNIX_PREFIX).strip('"'), True)
    parts = split_port(text)
    if parts is None or not parts[0]:
        return None
    return ProxyAddress(parts[0], parts[1] or SOCKS_PORT, "", True)
