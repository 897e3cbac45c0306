"""One TCP connection: bytes to messages on the way in, messages to bytes on the way out.

It knows no rules: what a message means and what follows from a malformed one is the protocol's business.

What arrives is only put aside; reading it and writing are work, done one message or one write at a time when it is the
connection's turn (``turns.py``). Meanwhile no more is read from the socket than ``READ_AHEAD``: a flood waits at its
sender.

Messages to be sent wait in two queues, and are encoded (and encrypted) only when they are written: what one turn
produced goes out in one write, and while the socket does not take all that waits, urgent messages overtake it.
Everything else keeps its order: a pong or an inv never passes a block that was asked for before.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections import Counter, defaultdict, deque
from dataclasses import field
from math import inf
from typing import TYPE_CHECKING, cast

from btcnode.errors import DecodeError
from btcnode.net.large_frames import LargeFrames
from btcnode.net.turns import Turn, Turns
from btcnode.primitives.block import MIN_TX_SIZE
from btcnode.protocol.events import (
    Malformation,
    MalformedMessage,
    MessageReceived,
    PeerTurn,
    TransactionsReceived,
    TransportReady,
)
from btcnode.protocol.limits import LARGE_TX
from btcnode.protocol.serving.send_queue import SendQueue
from btcnode.record import record, struct
from btcnode.wire.codec import LimitExceeded
from btcnode.wire.framing import FRAME_HEADER_SIZE, FrameError, OversizedFrameError, TransportError
from btcnode.wire.registry import UnknownMessage, read_message
from btcnode.wire.transport import TransportKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from btcnode.net.capture import MessageCapture
    from btcnode.net.proxy.dialer import Closable
    from btcnode.protocol.inputs import Input
    from btcnode.protocol.serving.send_queue import SharedLimits
    from btcnode.settings.permissions import WhiteBind
    from btcnode.wire.codec import Message
    from btcnode.wire.netaddr import NetAddress
    from btcnode.wire.transport import Transport

CUT_OFF_BUFFER = 16_000_000  # a peer that lets this much pile up never reads: it is cut off
CLOSE_GRACE = 1.0  # seconds for what was sent before a disconnect
READ_AHEAD = 256 * 1024  # bytes held beyond the message under way while those before it wait for their turn
MAX_HELD = 64_000_000  # bytes held of all connections together, if there is memory for them; ``Traffic.max_held``
WRITE_AHEAD = 256 * 1024  # bytes handed to the socket at a time: what an urgent message may have to wait for
UNSENT_LOW_WATER = 128 * 1024  # bytes that the kernel holds unsent before it stops taking more (Linux, macOS)
RELEASE_PAUSE = 0.005  # seconds at least between two looks at the buckets
TXS_TOGETHER = 16  # of one peer, with ``LARGE_TX`` bytes at most, are handed over together: about a millisecond ...
LONG_RUN = 0.005  # ... fewer once a run took so many seconds of processor time, until one takes half of it
OTHER_COMMANDS = "*other*"  # unknown commands are counted together, so that no peer can grow the table

log = logging.getLogger("btcnode.net")


@record
class Door:
    """A place to listen at. ``white``: it gives permissions. ``onion``: Tor hands connections over there."""

    host: str = ""
    port: int = 0
    white: WhiteBind | None = None
    onion: bool = False


NO_DOOR = Door()


@struct
class Traffic:
    """What all connections share: loop, limits and counters in bytes, and whom they tell what happens.

    ``feed`` takes inputs of the protocol. ``opened``, ``lost`` (with the reason) and ``buffer_changed`` (with whether
    the send buffer is full) are told which connection it is. ``wall_clock`` gives Unix seconds.
    """

    loop: asyncio.AbstractEventLoop
    turns: Turns
    shared: SharedLimits  # of what is sent to all peers
    wall_clock: Callable[[], float]
    feed: Callable[[Input], None]
    opened: Callable[[Connection], None]
    lost: Callable[[Connection, str], None]
    buffer_changed: Callable[[Connection, bool], None]
    max_send_buffer: int
    max_receive_buffer: int
    capture: MessageCapture | None = None
    large: LargeFrames = field(default_factory=lambda: LargeFrames(time.monotonic))
    bytes_sent: int = 0
    bytes_received: int = 0
    held: int = 0  # bytes that have arrived and are not handed over, of all connections
    max_held: int = MAX_HELD  # above it none is read beyond the message under way
    cpu: Callable[[], float] = time.thread_time  # seconds
    txs_together: int = TXS_TOGETHER  # transactions handed over in one run
    made: Counter[tuple[str, ...]] = field(default_factory=Counter)  # connections, by direction and network
    messages_sent: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    messages_received: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    ended_sent: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))  # bytes, of those that ended
    ended_received: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def feed_transactions(self, run: TransactionsReceived) -> None:
        """Hand a run over; how long that takes tells how many the next ones have, whoever sends them.

        Those that would replace many others and fail take a hundred times as long as common ones, and everybody's
        first turn may have a run.
        """
        begun = self.cpu()
        self.feed(run)
        took = self.cpu() - begun
        if took > LONG_RUN:
            self.txs_together = max(1, min(self.txs_together, len(run.txs)) // 2)
        elif took < LONG_RUN / 2 and len(run.txs) == self.txs_together < TXS_TOGETHER:
            self.txs_together = min(2 * self.txs_together, TXS_TOGETHER)

    def keep_counts(self, connection: Connection) -> None:
        """A connection has ended: what it counted by command stays."""
        for kept, counts in (
            (self.ended_sent, connection.sent_by_command),
            (self.ended_received, connection.received_by_command),
        ):
            for command, size in counts.items():
                kept[command] += size


class Connection(asyncio.Protocol):
    """A connection of the reactor; ``peer_id`` is its name towards the protocol, ``wire`` what is spoken."""

    def __init__(
        self,
        traffic: Traffic,
        peer_id: int,
        wire: Transport,
        door: Door = NO_DOOR,
        *,
        remote: NetAddress | None = None,
        local: NetAddress | None = None,
    ) -> None:
        """``door``: where the peer came in. ``remote`` and ``local``: the ends, if the socket leads to a proxy."""
        self._traffic = traffic
        self.peer_id = peer_id
        self.wire = wire
        self.door = door
        self.remote = remote
        self.local = local
        self.companion: Closable | None = None  # ends with the connection
        self.bytes_sent = 0
        self.bytes_received = 0
        self.sent_by_command: defaultdict[str, int] = defaultdict(int)
        self.received_by_command: defaultdict[str, int] = defaultdict(int)
        self.last_send = 0.0
        self.last_receive = 0.0
        self.opened = False
        self.close_reason = ""
        self.pressed_at = -inf  # when the protocol was last told that there is more to come than is read
        self.ended_at = inf  # when the other end was seen to be closed, while there was something to read before that
        self.peer_name = ""  # its address and port
        self.group = b""  # of its address
        self._transport: asyncio.Transport | None = None
        self.queue = SendQueue(traffic.shared, traffic.loop.time(), FRAME_HEADER_SIZE)
        self._release: asyncio.TimerHandle | None = None
        self.turn = Turn(peer_id, self._work, self._finish_turn)
        self._to_write = False
        self._paused = False  # the socket does not take more
        self._kept_back = False  # the socket took less than there was, since ``take_voice``
        self._told = 0  # bytes that ``take_voice`` has told of
        self._paused_at = (0.0, 0)  # since when, and the bytes that it had not taken then or got since
        self._full = False  # what was last told of the send buffer
        self._detecting = wire.kind is TransportKind.DETECTING
        self._arrived: list[bytes] = []  # not fed to the transport yet
        self._arrived_size = 0
        self._taken: tuple[str, bytes] | None = None  # the message that ended a run of transactions
        self._receiving = True
        self._reading = True  # from the socket
        self._behind_since = inf
        self._held = 0  # as it is counted in ``Traffic.held``
        self._broken = False  # nothing that comes can be read
        self._awaits_turn = False  # the protocol waits for this connection's turn
        self._before_message = False  # ... before it is given another message
        self._went_on = False  # it had the last one: messages take turns with it
        self._closing = False

    # -- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.Transport, transport)
        limit = self._traffic.max_send_buffer
        self._transport.set_write_buffer_limits(high=min(WRITE_AHEAD, limit // 4))
        self._limit_unsent()
        self._traffic.opened(self)
        self._write_handshake()

    def _limit_unsent(self) -> None:
        """Keep the kernel's queue short: bytes in it cannot be overtaken any more."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if option is not None and sock is not None:
            with contextlib.suppress(OSError):  # a kernel without the option: pings are slower under load, no more
                sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT_LOW_WATER)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._closing:
            return
        self.bytes_received += len(data)
        self._traffic.bytes_received += len(data)
        self.last_receive = self._traffic.wall_clock()
        if self._broken:
            return
        self._arrived.append(data)
        self._arrived_size += len(data)
        self.hold_back()
        if self._receiving:
            self._traffic.turns.add(self.turn)

    @property
    def receiving(self) -> bool:
        """Whether its messages are taken."""
        return self._receiving

    @property
    def reading(self) -> bool:
        """Whether its bytes are taken from the socket."""
        return self._reading and self._receiving

    @property
    def unread_since(self) -> float:
        """Since when there has always been something of it that was not handed over (the loop's time).

        Infinite while its bytes are taken from the socket.
        """
        return inf if self._reading else self._behind_since

    @property
    def fileno(self) -> int:
        """Of its socket; negative when that is closed."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        return sock.fileno() if sock is not None else -1

    @property
    def held(self) -> int:
        """Bytes that have arrived and are not handed over."""
        return self._arrived_size + self.wire.buffered + (len(self._taken[1]) if self._taken is not None else 0)

    def _count(self, held: int) -> None:
        self._traffic.held += held - self._held
        self._held = self.turn.held = held
        if not held:
            self._behind_since = inf
        elif self._behind_since == inf:
            self._behind_since = self._traffic.loop.time()

    def hold_back(self) -> None:
        """Read or not: what is not handed over is held up to a limit, then waits in the kernel.

        While it is not to be handed over the limit is larger: two nodes that both wait for the other to take a large
        message go on that way. It is not while all connections together hold too much.
        """
        if self._transport is None or self._closing:
            return
        held = self.held
        self._count(held)
        full = self._traffic.held > self._traffic.max_held
        if not self._receiving:
            read = held <= (0 if full else self._traffic.max_receive_buffer)
        elif missing := self.wire.missing:
            read = self._arrived_size <= missing + (0 if full else READ_AHEAD) and self._may_read_frame(missing)
        else:
            self._traffic.large.forget(self.peer_id)
            read = held <= (0 if full else READ_AHEAD)
        if read != self._reading:
            self._reading = read
            if read:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _may_read_frame(self, missing: int) -> bool:
        """Whether there is room for the message under way, whose rest is ``missing``: of who connected to us."""
        size = self.wire.buffered + missing
        if self.door is NO_DOOR or size <= READ_AHEAD:
            self._traffic.large.forget(self.peer_id)
            return True
        return self._traffic.large.may_read(self.peer_id, size, self.held)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._closing = True
        self._count(0)
        self._traffic.large.forget(self.peer_id)
        if self._release is not None:
            self._release.cancel()
        self.end_companion()
        self._traffic.lost(self, str(exc) if exc else self.close_reason or "remote end closed")

    def end_companion(self) -> None:
        """End what lives only for this connection."""
        if self.companion is not None:
            self.companion.close()
            self.companion = None

    def pause_writing(self) -> None:
        """The socket does not take more."""
        self._paused = True
        assert self._transport is not None
        self._paused_at = self._traffic.loop.time(), self._transport.get_write_buffer_size()
        self._kept_back = True

    def resume_writing(self) -> None:
        """The socket takes more again."""
        self._paused = False
        assert self._transport is not None
        since, size = self._paused_at
        now = self._traffic.loop.time()
        self.queue.measure(now, size - self._transport.get_write_buffer_size(), now - since)
        if not self._closing:
            self._write()
            self._check_full()

    def take_voice(self) -> tuple[bool, int]:
        """Whether the socket took less than there was, and the bytes sent, since the last call."""
        told = self._kept_back, self.bytes_sent - self._told
        self._kept_back, self._told = self._paused, self.bytes_sent
        return told

    # -- in ------------------------------------------------------------------------------------------------------

    def _work(self) -> bool:
        """Take one message of what has arrived, or one piece of what the protocol has to do; whether there is more."""
        if self._closing:
            return False
        more = True
        try:
            if self._awaits_turn and (self._before_message or not self._went_on):
                self._awaits_turn, self._before_message, self._went_on = False, False, True
                self._traffic.feed(PeerTurn(self.peer_id))
                return True
            self._went_on = False
            if self._receiving and not self._broken:
                more = self._take_message()
        except BaseException:
            self.close("internal error", grace=0.0)
            raise
        return not self._closing and (self._awaits_turn or (more and self._receiving and not self._broken))

    def _take_message(self) -> bool:
        """Hand one message over, or pass over what is none; tells whether there may be others."""
        wire = self.wire
        try:
            for data in self._arrived:
                wire.feed(data)
            self._arrived.clear()
            self._arrived_size = 0
            message, self._taken = self._taken or wire.take(), None
        except FrameError as error:
            self._broken = True  # the framing is lost: nothing behind this can be read
            self._malformed(_kind_of(error), "", str(error))
            return False
        if self._detecting:
            self._detected()
        if wire.dropped:
            self._report_dropped()
        if message is None:
            return wire.unfinished
        if message[0] == "tx" and MIN_TX_SIZE <= len(message[1]) < LARGE_TX:
            return self._transactions(message[1])
        self._message(*message)
        return True

    def _transactions(self, payload: bytes) -> bool:
        """Hand a transaction over, with those that have come right behind it; tells whether there may be others."""
        wire = self.wire
        txs = [(payload, wire.digest)]
        size, left = wire.size, LARGE_TX - len(payload)
        more = True
        while left > 0 and len(txs) < self._traffic.txs_together:
            try:
                message = wire.take()
            except FrameError:
                break  # raised again by the next, when these have had their effect
            if message is None:
                more = wire.unfinished
                break
            command, payload = message
            if command != "tx" or not MIN_TX_SIZE <= len(payload) < left:
                self._taken = message
                break
            txs.append((payload, wire.digest))
            size += wire.size
            left -= len(payload)
        self.received_by_command["tx"] += size
        self._traffic.messages_received["tx"] += len(txs)
        if self._watched:
            for payload, _ in txs:
                self._note_received("tx", payload)
        self._traffic.feed_transactions(TransactionsReceived(self.peer_id, tuple(txs)))
        return more

    def _note_received(self, command: str, payload: bytes) -> None:
        """For who debugs."""
        log.debug("received: %s (%d bytes) peer=%d", command, len(payload), self.peer_id)  # Core's: tools read it
        if self._traffic.capture is not None:
            self._traffic.capture.write(self.peer_name, command, payload, incoming=True)

    @property
    def _watched(self) -> bool:
        return self._traffic.capture is not None or log.isEnabledFor(logging.DEBUG)

    def _report_dropped(self) -> None:
        """Messages that the transport could not use, in order."""
        dropped = self.wire.dropped
        for flaw in dropped:
            self.received_by_command[OTHER_COMMANDS] += flaw.size
            self._traffic.messages_received[OTHER_COMMANDS] += 1
            kind = Malformation.CHECKSUM if flaw.wrong_checksum else Malformation.COMMAND
            self._malformed(kind, "", flaw.text, flaw.size)
        dropped.clear()

    def _detected(self) -> None:
        """Follow the handshake: write what it wants, and tell when it is known what the peer speaks."""
        self._write_handshake()
        if self.wire.kind is not TransportKind.DETECTING:
            self._detecting = False
            self.wire = self.wire.agreed()
            self._traffic.feed(TransportReady(self.peer_id, self.wire.kind.value, self.wire.session_id))

    def _message(self, command: str, payload: bytes) -> None:
        size = self.wire.size
        if self._watched:
            self._note_received(command, payload)
        try:
            message = read_message(command, payload)
        except DecodeError as error:
            self.received_by_command[command] += size
            self._traffic.messages_received[command] += 1
            limit = isinstance(error, LimitExceeded)
            kind = Malformation.LIMIT if limit else Malformation.PAYLOAD
            self._malformed(kind, command, str(error), len(payload))
            return
        counted = OTHER_COMMANDS if isinstance(message, UnknownMessage) else command
        self.received_by_command[counted] += size
        self._traffic.messages_received[counted] += 1
        self._traffic.feed(MessageReceived(self.peer_id, message, len(payload)))

    def _malformed(self, kind: Malformation, command: str, reason: str, size: int = 0) -> None:
        self._traffic.feed(MalformedMessage(self.peer_id, kind, command, reason, size))

    def set_receiving(self, enabled: bool) -> None:
        """Stop or go on handing messages over; meanwhile bytes are buffered, up to the reactor's limit."""
        if enabled == self._receiving or self._transport is None or self._closing:
            return
        self._receiving = enabled
        self.hold_back()
        if enabled:
            self._traffic.turns.add(self.turn)

    def ask_for_turn(self, *, first: bool) -> None:
        """The protocol has more to do for this peer, in its next turn; ``first``: and before its next message."""
        self._awaits_turn = True
        self._before_message = self._before_message or first
        self._traffic.turns.add(self.turn)

    # -- out -----------------------------------------------------------------------------------------------------

    def send(self, message: Message, *, droppable: bool = False) -> None:
        """Encode and send a message."""
        self.send_raw(message.command, message.encode(), droppable=droppable)

    def send_raw(self, command: str, payload: bytes, *, droppable: bool = False) -> None:
        """Send a message whose payload is ready."""
        transport = self._transport
        if transport is None or self._closing:
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("sending %s (%d bytes) peer=%d", command, len(payload), self.peer_id)
        if self._traffic.capture is not None:
            self._traffic.capture.write(self.peer_name, command, payload, incoming=False)
        queue, now = self.queue, self._traffic.loop.time()
        queue.add(now, command, payload, full=self._paused, droppable=droppable)
        if queue.size + transport.get_write_buffer_size() > CUT_OFF_BUFFER:
            self.close("send buffer overflow: the peer does not read", grace=0.0)
            return
        self._check_full()
        if queue:
            self._schedule_write()
        if queue.holds:
            self._schedule_release(now)

    def _schedule_release(self, now: float) -> None:
        """Look again when a bucket has a token for what is held back."""
        wait = self.queue.wait(now) if self._release is None else None
        if wait is not None:
            self._release = self._traffic.loop.call_later(max(wait, RELEASE_PAUSE), self._release_held)

    def _release_held(self) -> None:
        self._release = None
        if self._closing:
            return
        now = self._traffic.loop.time()
        self.queue.release(now)
        if self.queue:
            self._schedule_write()
        self._check_full()
        self._schedule_release(now)

    def _schedule_write(self) -> None:
        self._to_write = True
        self._traffic.turns.add(self.turn)

    def _finish_turn(self) -> None:
        self.hold_back()
        if self._to_write and not self._closing:
            self._to_write = False
            self._write()

    def _write_handshake(self) -> None:
        """Write what the transport's handshake wants, and what waited for it."""
        output = self.wire.take_output()
        if output and self._transport is not None and not self._closing:
            if not self.bytes_sent:
                log.debug("start sending v2 handshake to peer=%d", self.peer_id)
            self._account(len(output))
            self._transport.write(output)
            self._write()

    def _write(self, *, everything: bool = False) -> None:
        """Write what is urgent, and of the rest as much as the socket may take (or ``everything``)."""
        transport, wire = self._transport, self.wire
        queue = self.queue
        if transport is None or not wire.can_send or not (queue or everything):
            return
        parts: list[bytes] = []
        size = 0
        now = self._traffic.loop.time()
        rest = deque(queue.pop_all() if everything else ())
        while message := (rest.popleft() if rest else queue.pop(now, full=self._paused or size >= WRITE_AHEAD)):
            part = wire.encode(message.command, message.payload)
            self.sent_by_command[message.command] += len(part)
            self._traffic.messages_sent[message.command] += 1
            size += len(part)
            parts.append(part)
        if parts:
            if self._paused:
                self._paused_at = self._paused_at[0], self._paused_at[1] + size
            self._account(size)
            transport.writelines(parts)
        if queue and not self._paused:
            self._schedule_write()
        self._check_full()

    def _account(self, size: int) -> None:
        self.bytes_sent += size
        self._traffic.bytes_sent += size
        self.last_send = self._traffic.wall_clock()

    def _check_full(self) -> None:
        """Tell when the send buffer, our queues included, crosses the reactor's limit, or falls to a quarter of it."""
        assert self._transport is not None
        size, limit = self.queue.size + self._transport.get_write_buffer_size(), self._traffic.max_send_buffer
        if size > limit if not self._full else size <= limit // 4:
            self._full = not self._full
            self._traffic.buffer_changed(self, self._full)

    def close(self, reason: str, grace: float = CLOSE_GRACE) -> None:
        """Close after what was sent is flushed, at the latest after ``grace`` seconds."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self.close_reason = reason
        if grace > 0:
            self._write(everything=True)
        if grace <= 0:
            self._transport.abort()
            return
        self._transport.close()
        self._traffic.loop.call_later(grace, self._transport.abort)

    def socket_address(self, which: str) -> object:
        """asyncio's ``peername`` or ``sockname``."""
        return self._transport.get_extra_info(which) if self._transport is not None else None


def _kind_of(error: FrameError) -> Malformation:
    if isinstance(error, OversizedFrameError):
        return Malformation.OVERSIZED
    return Malformation.TRANSPORT if isinstance(error, TransportError) else Malformation.MAGIC
