"""One TCP connection: bytes to messages on the way in, messages to bytes on the way out.

It knows no rules: what a message means and what follows from a malformed one is the protocol's business.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, cast

from btcnode.errors import DecodeError
from btcnode.protocol.inputs import Malformation, MalformedMessage, MessageReceived
from btcnode.wire.codec import LimitExceeded
from btcnode.wire.framing import FRAME_HEADER_SIZE, FrameDecoder, FrameError, OversizedFrameError, encode_frame
from btcnode.wire.registry import PAYLOAD_LIMITS, UnknownMessage, decode_message

if TYPE_CHECKING:
    from btcnode.net.reactor import Reactor
    from btcnode.wire.codec import Message

MAX_SEND_BUFFER = 16_000_000  # a peer that lets this much pile up never reads: it is cut off
CLOSE_GRACE = 1.0  # seconds for what was sent before a disconnect
MESSAGES_PER_TURN = 100  # then other connections get their turn
OTHER_COMMANDS = "*other*"  # unknown commands are counted together, so that no peer can grow the table


class Connection(asyncio.Protocol):
    """A connection of the reactor; ``peer_id`` is its name towards the protocol."""

    def __init__(self, reactor: Reactor, peer_id: int) -> None:
        self.reactor = reactor
        self.peer_id = peer_id
        self.bytes_sent = 0
        self.bytes_received = 0
        self.sent_by_command: defaultdict[str, int] = defaultdict(int)
        self.received_by_command: defaultdict[str, int] = defaultdict(int)
        self.last_send = 0.0
        self.last_receive = 0.0
        self.connected_at = 0.0
        self.opened = False
        self.close_reason = ""
        self._decoder = FrameDecoder(reactor.magic, PAYLOAD_LIMITS)
        self._transport: asyncio.Transport | None = None
        self._receiving = True
        self._turn_scheduled = False
        self._closing = False

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self.reactor.max_send_buffer)
        self.connected_at = self.last_receive = self.last_send = self.reactor.wall_clock()
        self.reactor.connection_opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._closing:
            return
        self.bytes_received += len(data)
        self.reactor.bytes_received += len(data)
        self.last_receive = self.reactor.wall_clock()
        self._decoder.feed(data)
        if not self._turn_scheduled:
            self._take_messages()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._closing = True
        self.reactor.connection_lost(self, str(exc) if exc else self.close_reason or "remote end closed")

    def pause_writing(self) -> None:
        """The send buffer is above its limit."""
        self.reactor.send_buffer_changed(self, full=True)

    def resume_writing(self) -> None:
        """The send buffer is small again."""
        self.reactor.send_buffer_changed(self, full=False)

    # -- in ------------------------------------------------------------------------------------------------------

    def _take_messages(self) -> None:
        """Hand over complete messages, a bounded number at a time."""
        self._turn_scheduled = False
        decoder = self._decoder
        left = MESSAGES_PER_TURN
        checksums, commands = decoder.bad_checksums, decoder.bad_commands
        try:
            for command, payload in decoder:
                self._message(command, payload)
                left -= 1
                if not left or self._closing or not self._receiving:
                    break
        except FrameError as error:
            self._receiving = False  # the framing is lost: nothing behind this can be read
            kind = Malformation.OVERSIZED if isinstance(error, OversizedFrameError) else Malformation.MAGIC
            self._malformed(kind, "", str(error))
            return
        for _ in range(decoder.bad_checksums - checksums):
            self._malformed(Malformation.CHECKSUM, "", "wrong checksum")
        for _ in range(decoder.bad_commands - commands):
            self._malformed(Malformation.COMMAND, "", "impossible command")
        if self._closing or not self._receiving:
            return
        if left:
            self._resume()
        else:
            self._schedule_turn()

    def _schedule_turn(self) -> None:
        """Go on with what is buffered in a later turn of the loop; meanwhile the kernel holds new bytes back."""
        if self._turn_scheduled or self._closing:
            return
        self._turn_scheduled = True
        if self._transport is not None:
            self._transport.pause_reading()
        self.reactor.loop.call_soon(self._take_messages)

    def _resume(self) -> None:
        """Nothing complete is buffered: read on."""
        if self._transport is not None and self._receiving and not self._closing:
            self._transport.resume_reading()

    def _message(self, command: str, payload: bytes) -> None:
        size = FRAME_HEADER_SIZE + len(payload)
        try:
            message = decode_message(command, payload)
        except DecodeError as error:
            self.received_by_command[command] += size
            limit = isinstance(error, LimitExceeded)
            self._malformed(Malformation.LIMIT if limit else Malformation.PAYLOAD, command, str(error))
            return
        self.received_by_command[OTHER_COMMANDS if isinstance(message, UnknownMessage) else command] += size
        self.reactor.feed(MessageReceived(self.peer_id, message, len(payload)))

    def _malformed(self, kind: Malformation, command: str, reason: str) -> None:
        self.reactor.feed(MalformedMessage(self.peer_id, kind, command, reason))

    def set_receiving(self, enabled: bool) -> None:
        """Stop or go on handing messages over; unread bytes wait in the kernel."""
        if enabled == self._receiving or self._transport is None or self._closing:
            return
        self._receiving = enabled
        if enabled:
            self._schedule_turn()
        else:
            self._transport.pause_reading()

    # -- out -----------------------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Encode and send a message."""
        self.send_raw(message.command, message.encode())

    def send_raw(self, command: str, payload: bytes) -> None:
        """Send a message whose payload is ready."""
        transport = self._transport
        if transport is None or self._closing:
            return
        frame = encode_frame(self.reactor.magic, command, payload)
        self.bytes_sent += len(frame)
        self.reactor.bytes_sent += len(frame)
        self.sent_by_command[command] += len(frame)
        self.last_send = self.reactor.wall_clock()
        transport.write(frame)
        if transport.get_write_buffer_size() > MAX_SEND_BUFFER:
            self.close("send buffer overflow: the peer does not read", grace=0.0)

    def close(self, reason: str, grace: float = CLOSE_GRACE) -> None:
        """Close after what was sent is flushed, at the latest after ``grace`` seconds."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self.close_reason = reason
        if grace <= 0:
            self._transport.abort()
            return
        self._transport.close()
        self.reactor.loop.call_later(grace, self._transport.abort)

    def socket_address(self, which: str) -> object:
        """asyncio's ``peername`` or ``sockname``."""
        return self._transport.get_extra_info(which) if self._transport is not None else None
