"""Version 2 of the transport (BIP324): encrypted packets behind a handshake of random-looking bytes, without I/O.

Each side sends ``key[64] garbage[0..4095] terminator[16]`` and then packets: any number of decoys and one version
packet, the first of which authenticates the garbage, and after the version packet messages and decoys. The side that
opened the connection begins. The other one waits for a byte that a version 1 node of the same network would not send;
should all of the first 16 fit, it speaks version 1 from then on.

Behaviour is Bitcoin Core's ``V2Transport``, with one addition: an initiator that is answered with a version 1 message
knows at once what it is talking to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from btcnode.wire import ellswift
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH
from btcnode.wire.framing import KEPT, Dropped, FrameError, OversizedFrameError, TransportError, WrongMagicError
from btcnode.wire.transport import Transport, TransportKind, V1Transport
from btcnode.wire.v2_cipher import (
    EXPANSION,
    HEADER_SIZE,
    LENGTH_SIZE,
    TERMINATOR_SIZE,
    PacketCipher,
    derive_keys,
)
from btcnode.wire.v2_messages import MAX_MESSAGE_CONTENTS, message_prefix, split_contents

MAX_GARBAGE = 4095  # bytes
MAX_PACKET_PAYLOAD = (1 << 24) - 1 - 13  # a length has 3 bytes, a command at most 13
V1_COMMAND = b"version".ljust(12, b"\0")
MAGIC_SIZE = 4
V1_PREFIX_SIZE = MAGIC_SIZE + len(V1_COMMAND)


class _State(Enum):
    """What the next received bytes are."""

    MAYBE_V1 = 0  # responder only: the first 16 bytes
    KEY = 1
    GARBAGE = 2
    VERSION = 3  # packets from here on
    MESSAGES = 4
    V1 = 5


class V2Transport(Transport):
    """One side of a version 2 connection.

    ``random_bytes(n)`` gives n unpredictable bytes (the operating system's, outside of tests): a secret, the choice of
    its encoding, and the garbage. ``limits`` are the most bytes of payload by command, as for ``FrameDecoder``. What is
    held is bounded by one packet of the largest size beyond what a single ``feed`` brought.
    """

    def __init__(
        self,
        magic: bytes,
        *,
        initiator: bool,
        random_bytes: Callable[[int], bytes],
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.session_id = b""
        self._magic = magic
        self._initiator = initiator
        self._random_bytes = random_bytes
        self._limits: Mapping[str, int] = limits or {}
        self._state = _State.KEY if initiator else _State.MAYBE_V1
        self._v1: V1Transport | None = None
        self._cipher: PacketCipher | None = None
        self._seckey = b""
        self._key = b""
        self._garbage = b""
        self._output = b""
        self._buf = bytearray()
        self._pos = 0
        self._searched = 0  # bytes of garbage that hold no terminator
        self._aad = b""  # the other side's garbage, until its first packet
        self._length = -1  # of the packet under way, -1 before its length is known
        self._error: FrameError | None = None
        self._size = 0
        self._passed_over = False
        self._dropped: list[Dropped] = []
        if initiator:
            self._start_handshake()

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def kind(self) -> TransportKind:
        """Version 2 only once the other side has proven, with its version packet, to have the same keys."""
        if self._v1 is not None:
            return TransportKind.V1
        return TransportKind.V2 if self._state is _State.MESSAGES else TransportKind.DETECTING

    @property
    def can_send(self) -> bool:
        """Whether the keys are agreed on, or version 1 is."""
        return self._cipher is not None or self._v1 is not None

    @property
    def buffered(self) -> int:
        """Bytes that are held and not delivered yet."""
        return self._v1.buffered if self._v1 is not None else len(self._buf) - self._pos

    @property
    def missing(self) -> int:
        """Bytes that the packet (or frame) under way lacks."""
        if self._v1 is not None:
            return self._v1.missing
        return max(0, self._length + EXPANSION - self.buffered) if self._length >= 0 else 0

    @property
    def size(self) -> int:
        """Bytes of the packet (or frame) that was delivered last."""
        return self._v1.size if self._v1 is not None else self._size

    @property
    def dropped(self) -> list[Dropped]:
        """Messages with an unknown short id, an impossible command or none at all.

        A packet that is not authentic ends the connection.
        """
        return self._v1.dropped if self._v1 is not None else self._dropped

    @property
    def unfinished(self) -> bool:
        """Whether the last packet was a decoy, or had no readable command."""
        return self._v1.unfinished if self._v1 is not None else self._passed_over

    def agreed(self) -> Transport:
        """Plain frames, where the other side speaks version 1."""
        return self._v1 if self._v1 is not None else self

    @property
    def should_retry_v1(self) -> bool:
        """An initiator that has received nothing, or the beginning of a version 1 message."""
        if not self._initiator or self._state is not _State.KEY:
            return False
        return not self.buffered or self._answered_in_v1()

    def _answered_in_v1(self) -> bool:
        return self._buf.startswith(self._magic + V1_COMMAND)

    # -- out -----------------------------------------------------------------------------------------------------

    def _start_handshake(self) -> None:
        """Choose the key and the garbage; both go out at once."""
        draw = self._random_bytes
        garbage_size = int.from_bytes(draw(2), "little") & MAX_GARBAGE  # uniform: 4096 is a power of two
        self._seckey = draw(ellswift.SECRET_SIZE)
        self._key = ellswift.create(self._seckey, draw(ellswift.SECRET_SIZE))
        self._garbage = draw(garbage_size)
        self._output += self._key + self._garbage

    def take_output(self) -> bytes:
        """What the handshake wants written: key and garbage, later terminator and version packet."""
        output, self._output = self._output, b""
        return output

    def encode(self, command: str, payload: bytes) -> bytes:
        """One packet (or frame); raises ValueError for a message whose length cannot be written down."""
        if self._v1 is not None:
            return self._v1.encode(command, payload)
        if len(payload) > MAX_PACKET_PAYLOAD:
            raise ValueError(f"payload of {len(payload)} bytes is too large for {command}")
        return self._require_cipher().encrypt(message_prefix(command), payload)

    def _require_cipher(self) -> PacketCipher:
        if self._cipher is None:
            raise ValueError("no keys are agreed on yet")
        return self._cipher

    # -- in ------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take more bytes; the key exchange goes on at once, packets are decrypted by the next iteration."""
        if self._v1 is not None:
            self._v1.feed(data)
            return
        if self._error is not None:
            return
        if self._pos:
            del self._buf[: self._pos]  # moves the start of the array, not its bytes
            self._pos = 0
        self._buf += data
        if self._state.value < _State.VERSION.value:
            try:
                self._handshake()
            except FrameError as error:
                self._fail(error)

    def _handshake(self) -> None:
        """Follow the received bytes as far as the garbage terminator; packets are decrypted by iterating."""
        if self._state is _State.MAYBE_V1:
            self._detect()
        if self._state is _State.KEY:
            self._receive_key()
        if self._state is _State.GARBAGE:
            self._receive_garbage()

    def _detect(self) -> None:
        """Tell version 1 from version 2 by the first bytes."""
        buf, expected = self._buf, self._magic + V1_COMMAND
        if not expected.startswith(buf[:V1_PREFIX_SIZE]):
            self._state = _State.KEY
            self._start_handshake()
        elif len(buf) >= V1_PREFIX_SIZE:
            self._state = _State.V1
            self._v1 = V1Transport(self._magic, self._limits)
            self._v1.feed(buf)
            self._buf = bytearray()

    def _receive_key(self) -> None:
        buf = self._buf
        if len(buf) >= V1_PREFIX_SIZE and buf[MAGIC_SIZE:V1_PREFIX_SIZE] == V1_COMMAND:
            if self._initiator and self._answered_in_v1():
                raise TransportError("the peer answers in version 1")
            raise WrongMagicError(f"V2 transport error: V1 peer with wrong MessageStart {buf[:MAGIC_SIZE].hex()}")
        if len(buf) < ellswift.ENCODING_SIZE:
            return
        theirs = bytes(buf[: ellswift.ENCODING_SIZE])
        del buf[: ellswift.ENCODING_SIZE]
        secret = ellswift.shared_secret(self._seckey, self._key, theirs, initiator=self._initiator)
        self._cipher = PacketCipher(derive_keys(secret, self._magic), initiator=self._initiator)
        # the version packet is empty: there is nothing to negotiate
        self._output += self._cipher.send_terminator + self._cipher.encrypt(aad=self._garbage)
        self._seckey = self._garbage = b""
        self._state = _State.GARBAGE

    def _receive_garbage(self) -> None:
        buf = self._buf
        limit = MAX_GARBAGE + TERMINATOR_SIZE
        terminator = self._require_cipher().receive_terminator
        found = buf.find(terminator, self._searched, limit)
        if found >= 0:
            self._aad = bytes(buf[:found])
            self._pos = found + TERMINATOR_SIZE
            self._state = _State.VERSION
        elif len(buf) >= limit:
            raise TransportError("V2 transport error: missing garbage terminator")
        else:
            self._searched = max(0, len(buf) - TERMINATOR_SIZE + 1)

    def _next_packet(self) -> tuple[bytes, bool] | None:
        """Decrypt the next packet: ``(header byte + contents, whether it is a decoy)``; None until it is complete."""
        cipher, buf, pos = self._require_cipher(), self._buf, self._pos
        if self._length < 0:
            if len(buf) - pos < LENGTH_SIZE:
                return None
            length = cipher.decrypt_length(bytes(buf[pos : pos + LENGTH_SIZE]))
            if length > MAX_MESSAGE_CONTENTS:
                raise OversizedFrameError(f"V2 transport error: packet too large ({length} bytes)")
            self._length = length
        end = pos + self._length + EXPANSION
        if len(buf) < end:
            return None
        with memoryview(buf) as view:
            packet = cipher.decrypt(view[pos + LENGTH_SIZE : end], self._aad)
        self._size = end - pos
        self._pos = end
        if end > KEPT:  # a large message is not held twice
            del buf[:end]
            self._pos = 0
        self._length = -1
        self._aad = b""
        return packet

    def take(self) -> tuple[str, bytes] | None:
        """The next message; decoys and unreadable commands are passed over, one in a call (``unfinished``).

        Raises FrameError, and again at every later call.
        """
        if self._v1 is not None:
            return self._v1.take()
        self._passed_over = False
        if self._error is not None:
            raise self._error
        if self._state not in (_State.VERSION, _State.MESSAGES):
            return None
        try:
            packet = self._next_packet()
            if packet is None:
                return None
            message = None if packet[1] else self._contents(packet[0])
        except FrameError as error:
            self._fail(error)
            raise
        self._passed_over = message is None
        return message

    def _contents(self, plain: bytes) -> tuple[str, bytes] | None:
        """The message in a packet that is no decoy; the first such packet is the version packet and has none."""
        if self._state is _State.VERSION:
            self._state = _State.MESSAGES
            self.session_id = self._require_cipher().session_id
            return None
        message = split_contents(plain, HEADER_SIZE)
        if message is None:
            text = f"V2 transport error: invalid message type ({len(plain) - HEADER_SIZE} bytes contents)"
            self._dropped.append(Dropped(False, self._size, text))
            return None
        command, payload = message
        limit = min(MAX_PROTOCOL_MESSAGE_LENGTH, self._limits.get(command, MAX_PROTOCOL_MESSAGE_LENGTH))
        if len(payload) > limit:
            raise OversizedFrameError(f"message of {len(payload)} bytes for {command!r}, at most {limit} are allowed")
        return message

    def _fail(self, error: FrameError) -> None:
        """Remember ``error`` for every later iteration; what is held decides about a retry, so the key's bytes stay."""
        self._error = error
        if self._state is not _State.KEY:
            self._buf = bytearray()
            self._pos = 0
