"""Who attacks: one process with all hostile connections, so that a node's answers alone decide how fast they go."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from btcnode.wire.framing import FRAME_HEADER_SIZE, FrameError
from btcnode.wire.messages import Feature, Verack, Version, WtxidRelay
from btcnode.wire.registry import encode_message
from btcnode.wire.v2_transport import V2Transport
from tests.lib.hostile.kinds import LOGIN, Door, Kind, Reading, Source
from tests.lib.hostile.world import PARAMS
from tests.lib.peer import decoy

RETURN = 1.0  # seconds until one that was thrown out comes back
POLL = 0.02
RECEIVE = 1 << 18
SLOW_BYTES = 200  # read at a time by who reads slowly, ...
SLOW_PAUSE = 0.05  # ... in so many seconds
DECOYS = 500
OPENING = 10.0  # seconds for all to be connected


@dataclass(slots=True)
class Tally:
    """What the attackers saw: ``gone`` are connections that the node closed, ``refused`` those it did not take."""

    connected: int = 0
    gone: int = 0
    refused: int = 0
    frames: int = 0
    sent: int = 0
    received: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def greeting(features: Sequence[bytes] = ()) -> bytes:
    """version, wtxidrelay, features, verack: nodes take the others without having answered the first."""
    nonce = int.from_bytes(os.urandom(8), "little")
    version = Version(services=9, time=int(time.time()), nonce=nonce, user_agent=b"/hostile/")
    messages = (version, WtxidRelay(), *map(Feature, features), Verack())
    return b"".join(encode_message(PARAMS.magic, message) for message in messages)


def split_frames(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Commands and payloads of version 1 frames."""
    pos = 0
    while pos < len(data):
        (size,) = struct.unpack_from("<I", data, pos + 16)
        start = pos + FRAME_HEADER_SIZE
        yield data[pos + 4 : pos + 16].rstrip(b"\0").decode(), data[start : start + size]
        pos = start + size


class Line:
    """One hostile connection, which comes back when it is closed."""

    def __init__(self, army: Army, number: int) -> None:
        self.army = army
        self.number = number
        self.sock: socket.socket | None = None
        self.back_at = 0.0
        self.next_at = 0.0
        self.read_at = 0.0
        self.wire: V2Transport | None = None
        self.waiting = memoryview(b"")
        self.frames: Iterator[bytes] = iter(())
        self.greeted = False
        self.interest = 0

    def open(self) -> None:
        """Begin to connect."""
        kind = self.army.kind
        self.sock = socket.socket()
        self.sock.setblocking(False)
        self.sock.connect_ex(("127.0.0.1", self.army.ports[kind.door]))
        self.frames = self.army.source(self.number)
        self.greeted = False
        self.wire = None
        if kind.v2:
            self.wire = V2Transport(PARAMS.magic, initiator=True, random_bytes=os.urandom)
            self.waiting = memoryview(self.wire.take_output())
        else:
            self.greeted = True
            self.waiting = memoryview(greeting(kind.features) if kind.greet and kind.door is Door.P2P else b"")
        self.army.tally.connected += 1
        self.interest = 0
        self.watch()

    def watch(self) -> None:
        """Tell the selector what this one waits for."""
        if self.sock is None:
            return
        reads = (self.army.kind.reading is not Reading.NONE or not self.greeted) and time.monotonic() >= self.read_at
        wanted = selectors.EVENT_READ if reads else 0
        if self.waiting or (self.army.attacking and time.monotonic() >= self.next_at and self.greeted):
            wanted |= selectors.EVENT_WRITE
        if wanted == self.interest:
            return
        if not self.interest:
            self.army.selector.register(self.sock, wanted, self)
        elif not wanted:
            self.army.selector.unregister(self.sock)
        else:
            self.army.selector.modify(self.sock, wanted, self)
        self.interest = wanted

    def lose(self, *, by_node: bool, why: str = "") -> None:
        """The connection is over."""
        if self.sock is None:
            return
        if self.interest:
            self.army.selector.unregister(self.sock)
            self.interest = 0
        self.sock.close()
        self.sock = None
        self.back_at = time.monotonic() + (RETURN if by_node else 0.0)
        if by_node:
            self.army.tally.gone += 1
            self.army.tally.errors[why] += 1

    def on_readable(self) -> None:
        """Read answers away."""
        assert self.sock is not None
        slow = self.army.kind.reading is Reading.SLOW
        data = self.sock.recv(SLOW_BYTES if slow else RECEIVE)
        if not data:
            self.lose(by_node=True, why="closed")
            return
        if slow:
            self.read_at = time.monotonic() + SLOW_PAUSE
        self.army.tally.received += len(data)
        if self.wire is not None and not self.greeted:
            self._shake_hands(self.wire, data)

    def _shake_hands(self, wire: V2Transport, data: bytes) -> None:
        wire.feed(data)
        out = wire.take_output()
        if wire.can_send:
            frames = split_frames(greeting(self.army.kind.features))
            out += b"".join([wire.encode(command, payload) for command, payload in frames])
            self.greeted = True
        self.waiting = memoryview(bytes(self.waiting) + out)

    def on_writable(self) -> None:
        """Send as much as is taken."""
        assert self.sock is not None
        for _ in range(8):  # then others get their turn
            if not self.waiting and not self._next():
                return
            sent = self.sock.send(self.waiting)
            self.army.tally.sent += sent
            self.waiting = self.waiting[sent:]
            if self.waiting:
                return

    def _next(self) -> bool:
        """Take up the next frame; whether there is one to be sent now."""
        kind = self.army.kind
        if not self.army.attacking or not self.greeted or time.monotonic() < self.next_at:
            return False
        if kind.churn and self.army.tally.frames and self.next_at:
            self.next_at = 0.0
            self.lose(by_node=False)
            return False
        data = next(self.frames, None)
        if data is None:
            self.next_at = float("inf")
            return False
        if kind.door is Door.RPC:
            data = data.replace(LOGIN, self.army.login)
        self.army.tally.frames += 1
        self.waiting = memoryview(self._encrypted(self.wire, data) if self.wire is not None else data)
        if kind.pause or kind.churn:
            self.next_at = time.monotonic() + (kind.pause or POLL)
        return True

    def _encrypted(self, wire: V2Transport, data: bytes) -> bytes:
        if not data:
            return b"".join([decoy(wire) for _ in range(DECOYS)])
        return b"".join([wire.encode(command, payload) for command, payload in split_frames(data)])


class Army:
    """All connections of one kind of attack."""

    def __init__(self, kind: Kind, source: Source, ports: dict[Door, int], count: int, login: bytes) -> None:
        """``login``: the user's, in base64, for what the user does unwisely."""
        self.login = login
        self.kind = kind
        self.source = source
        self.ports = ports
        self.selector = selectors.DefaultSelector()
        self.tally = Tally()
        self.attacking = False
        self.lines = [Line(self, number) for number in range(count)]

    def connect(self) -> None:
        """Open all connections and shake hands."""
        deadline = time.monotonic() + OPENING
        for line in self.lines:
            line.open()
            self.turn(0.0)
        while time.monotonic() < deadline and any(line.waiting or not line.greeted for line in self.lines if line.sock):
            self.turn(POLL)

    def attack(self, seconds: float) -> Tally:
        """Go on for so long, then close everything."""
        self.attacking = True
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = time.monotonic()
            for line in self.lines:
                if line.sock is None and now >= line.back_at:
                    line.open()
                else:
                    line.watch()
            self.turn(POLL)
        for line in self.lines:
            line.lose(by_node=False)
        return self.tally

    def turn(self, wait: float) -> None:
        """One look at all sockets."""
        if not self.selector.get_map():
            time.sleep(wait)
            return
        for key, events in self.selector.select(wait):
            line: Line = key.data
            try:
                if events & selectors.EVENT_READ:
                    line.on_readable()
                if events & selectors.EVENT_WRITE and line.sock is not None:
                    line.on_writable()
            except (OSError, FrameError) as error:
                if isinstance(error, BlockingIOError):
                    continue
                if isinstance(error, ConnectionRefusedError):
                    self.tally.refused += 1
                line.lose(by_node=True, why=type(error).__name__)
            line.watch()
