"""What a connection needs of its transport, whatever its version: bytes to messages and back, without I/O.

``Transport`` is the interface; ``V1Transport`` are plain frames (``framing.py``), the encrypted one is in
``v2_transport.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from enum import Enum

from btcnode.wire.framing import FRAME_HEADER_SIZE, Dropped, FrameDecoder, encode_frame


class TransportKind(Enum):
    """Which transport a connection speaks; the values are getpeerinfo's ``transport_protocol_type``."""

    DETECTING = "detecting"  # not known yet, or its handshake is not complete
    V1 = "v1"
    V2 = "v2"


class Transport(ABC):
    """One connection's transport: ``feed`` what the socket gave, ``take`` the messages, write ``take_output``."""

    session_id: bytes = b""  # 32 bytes that both sides of a v2 connection share, once its handshake is complete
    digest: bytes = b""  # double SHA-256 of the payload that was delivered last, where the transport needs it itself

    @property
    @abstractmethod
    def kind(self) -> TransportKind:
        """What is spoken."""

    @property
    @abstractmethod
    def can_send(self) -> bool:
        """Whether ``encode`` works already."""

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Bytes that are held and not delivered yet."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes on the wire of the message that was delivered last."""

    @property
    @abstractmethod
    def dropped(self) -> list[Dropped]:
        """Messages that could not be used, in order; the caller empties it."""

    @property
    @abstractmethod
    def missing(self) -> int:
        """Bytes that the message under way lacks, as far as its size is known."""

    @property
    @abstractmethod
    def unfinished(self) -> bool:
        """Whether the last ``take`` passed over something that is no message: others may be behind it."""

    def agreed(self) -> Transport:
        """The transport that goes on from here: another one where it was found out which version is spoken."""
        return self

    @property
    def should_retry_v1(self) -> bool:
        """Whether the other side, should the connection end now, may be a node that speaks version 1 only."""
        return False

    @abstractmethod
    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes."""

    @abstractmethod
    def take(self) -> tuple[str, bytes] | None:
        """``(command, payload)`` of the next message; None when none is complete, or see ``unfinished``.

        Looks at one frame or packet only. Raises FrameError, and again later.
        """

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Deliver the complete messages; raises FrameError, and again later."""
        while True:
            message = self.take()
            if message is not None:
                yield message
            elif not self.unfinished:
                return

    @abstractmethod
    def encode(self, command: str, payload: bytes) -> bytes:
        """A message as it goes over the wire, exactly once and in this order; raises ValueError for an impossible one.

        Only when ``can_send``.
        """

    def take_output(self) -> bytes:
        """Bytes of the handshake that are to be written before anything else, each delivered once."""
        return b""


class V1Transport(Transport):
    """Version 1: plain frames, from the first byte on."""

    def __init__(self, magic: bytes, limits: Mapping[str, int] | None = None) -> None:
        self._magic = magic
        self._decoder = FrameDecoder(magic, limits)
        self._size = 0

    @property
    def kind(self) -> TransportKind:
        """Always version 1."""
        return TransportKind.V1

    @property
    def can_send(self) -> bool:
        """Always."""
        return True

    @property
    def buffered(self) -> int:
        """Bytes that are held and not delivered yet."""
        return self._decoder.buffered

    @property
    def missing(self) -> int:
        """Bytes that the frame under way lacks."""
        return self._decoder.missing

    @property
    def size(self) -> int:
        """Bytes of the frame that was delivered last."""
        return self._size

    @property
    def unfinished(self) -> bool:
        """Whether the last frame was dropped."""
        return self._decoder.unfinished

    @property
    def dropped(self) -> list[Dropped]:
        """Frames with a wrong checksum or an impossible command."""
        return self._decoder.dropped

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes."""
        self._decoder.feed(data)

    def take(self) -> tuple[str, bytes] | None:
        """The next message."""
        decoder = self._decoder
        message = decoder.take()
        if message is not None:
            self._size = FRAME_HEADER_SIZE + len(message[1])
            self.digest = decoder.digest
        return message

    def encode(self, command: str, payload: bytes) -> bytes:
        """One frame."""
        return encode_frame(self._magic, command, payload)
