"""Version 1 of the transport: messages in frames.

A frame is ``magic[4] command[12] length[u32 LE] checksum[4] payload[length]``, the checksum being the first bytes of
the payload's double SHA-256. As in Core, a wrong magic or length ends the connection; a wrong checksum or a command
with impossible bytes costs only that message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from struct import Struct

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import sha256d
from btcnode.tuples import NamedTuple
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH

FRAME_HEADER_SIZE = 24
COMMAND_SIZE = 12
KEPT = 65_536  # bytes already delivered that a buffer may keep until it is fed again
_HEADER = Struct("<4s12sI4s")
_unpack_header = _HEADER.unpack_from


class FrameError(DecodeError):
    """The byte stream cannot be followed any further: disconnect."""


class WrongMagicError(FrameError):
    """A frame that does not begin with the network's magic."""


class OversizedFrameError(FrameError):
    """A frame that announces more bytes than its command may have."""


class TransportError(FrameError):
    """The encrypted stream of version 2 cannot be continued: disconnect."""


class Dropped(NamedTuple):
    """A message that could not be used: its size on the wire, and what was wrong with it."""

    wrong_checksum: bool  # else its command is none
    size: int
    text: str


def encode_frame(magic: bytes, command: str, payload: bytes) -> bytes:
    """One frame, of any size that fits the header; raises ValueError for an impossible command."""
    name = command.encode("ascii")
    if len(name) > COMMAND_SIZE:
        raise ValueError(f"a command has at most {COMMAND_SIZE} characters: {command!r}")
    return _HEADER.pack(magic, name, len(payload), sha256d(payload)[:4]) + payload


@lru_cache(maxsize=256)  # the same few come all the time
def parse_command(raw: bytes) -> str | None:
    """The text of a command field: printable ASCII up to the first zero, nothing but zeros from there.

    None for any other bytes.
    """
    name = raw.rstrip(b"\0")
    if not name.isascii():
        return None
    text = name.decode("ascii")
    return text if text.isprintable() else None


def _readable(raw_name: bytes) -> str:
    """A command field as it may stand in a log line."""
    return "".join(chr(c) for c in raw_name if 0x20 < c < 0x7F)


class FrameDecoder:
    """Cuts a stream of bytes into messages.

    ``feed`` takes what a socket has given; ``take`` looks at one frame, and iterating yields ``(command, payload)``
    for each complete message, in order. Bytes are kept until their frame is complete: at most one frame beyond what a
    single ``feed`` has brought, that is ``MAX_PROTOCOL_MESSAGE_LENGTH + 24``. ``limits`` lowers the most bytes that a
    payload of a command may have; both limits are checked as soon as the frame's header is there.

    Messages that were dropped are told of in ``dropped``, which the caller empties.
    """

    __slots__ = ("_buf", "_error", "_least", "_limits", "_magic", "_pos", "digest", "dropped", "unfinished")

    def __init__(self, magic: bytes, limits: Mapping[str, int] | None = None) -> None:
        self._magic = magic
        self._limits: Mapping[str, int] = limits or {}
        self._least = min((MAX_PROTOCOL_MESSAGE_LENGTH, *self._limits.values()))  # any command may have as many
        self._buf = bytearray()
        self._pos = 0
        self._error: FrameError | None = None
        self.dropped: list[Dropped] = []
        self.unfinished = False  # the frame that was looked at last was dropped: another one may follow it
        self.digest = b""  # double SHA-256 of the payload that was delivered last

    @property
    def buffered(self) -> int:
        """Bytes that are held and not delivered yet."""
        return len(self._buf) - self._pos

    @property
    def missing(self) -> int:
        """Bytes that the next frame lacks, as far as its header tells."""
        held = len(self._buf) - self._pos
        if held < FRAME_HEADER_SIZE:
            return 0
        size: int = _HEADER.unpack_from(self._buf, self._pos)[2]
        return max(0, FRAME_HEADER_SIZE + min(size, MAX_PROTOCOL_MESSAGE_LENGTH) - held)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes; nothing is decoded before the next iteration."""
        if self._pos:
            del self._buf[: self._pos]  # moves the start of the array, not its bytes
            self._pos = 0
        if self._error is None:
            self._buf += data

    def take(self) -> tuple[str, bytes] | None:
        """The next message; None when none is complete, or (``unfinished``) when a frame had to be dropped.

        Looks at one frame only, so that a flood of bad ones costs no more at a time than one good message. Raises
        FrameError, and again at every later call.
        """
        self.unfinished = False
        if self._error is not None:
            raise self._error
        buf, start = self._buf, self._pos + FRAME_HEADER_SIZE
        if start > len(buf):
            return None
        magic, raw_name, size, checksum = _unpack_header(buf, self._pos)
        if magic != self._magic or size > self._least:
            self._check_header(magic, raw_name, size)
        end = start + size
        if end > len(buf):
            return None
        with memoryview(buf) as view:
            payload = bytes(view[start:end])
        if end > KEPT:  # a large message is not held twice
            del buf[:end]
            end = 0
        self._pos = end
        name = parse_command(raw_name)
        self.digest = sha256d(payload)
        right = self.digest[:4]
        if right == checksum and name is not None:
            return name, payload
        if right != checksum:
            text = f"({_readable(raw_name)}, {size} bytes), expected {right.hex()} was {checksum.hex()}"
            self.dropped.append(Dropped(True, FRAME_HEADER_SIZE + size, f"Header error: Wrong checksum {text}"))
        else:
            text = f"Header error: Invalid message type ({_readable(raw_name)}, {size} bytes)"
            self.dropped.append(Dropped(False, FRAME_HEADER_SIZE + size, text))
        self.unfinished = True
        return None

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Deliver the complete messages; raises FrameError, and again at every later iteration."""
        while True:
            message = self.take()
            if message is not None:
                yield message
            elif not self.unfinished:
                return

    def _check_header(self, magic: bytes, raw_name: bytes, size: int) -> None:
        """Raise FrameError for a header that ends the stream."""
        if magic != self._magic:
            self._fail(WrongMagicError(f"Header error: Wrong MessageStart {magic.hex()} received"))
        name = parse_command(raw_name) or ""
        limit = min(MAX_PROTOCOL_MESSAGE_LENGTH, self._limits.get(name, MAX_PROTOCOL_MESSAGE_LENGTH))
        if size > limit:
            self._fail(OversizedFrameError(f"Header error: Size too large ({_readable(raw_name)}, {size} bytes)"))

    def _fail(self, error: FrameError) -> None:
        """Drop what is held, and raise ``error`` now and at every later iteration."""
        self._error = error
        self._buf.clear()
        self._pos = 0
        raise error
