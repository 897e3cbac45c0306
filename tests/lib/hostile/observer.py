"""What honest users see of a node: RPC over a lasting and over new connections, health, a ping, a block."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.wire.messages import GetData, GetHeaders, Headers, Ping, Pong
from tests.lib.hostile.world import PARAMS
from tests.lib.peer import MSG_BLOCK, TYPE_MASK, ScriptedPeer

PATIENCE = 30.0  # seconds for any answer
CALL_PAUSE = 0.02
NEW_CALL_PAUSE = 0.1
PING_PAUSE = 0.05
FIRST_BLOCK = 0.3  # seconds after the attack began
BLOCK_PAUSE = 0.5
MSG_CMPCT_BLOCK = 4


@dataclass(slots=True)
class Delays:
    """Seconds that answers took, and what failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    @property
    def worst(self) -> float:
        """The longest."""
        return max(self.seconds, default=float("nan"))

    @property
    def p99(self) -> float:
        """99 of a hundred were not slower."""
        return sorted(self.seconds)[len(self.seconds) * 99 // 100] if self.seconds else float("nan")


@dataclass(slots=True)
class Seen:
    """Everything that was measured during one attack."""

    call: Delays = field(default_factory=Delays)
    new_call: Delays = field(default_factory=Delays)
    health: Delays = field(default_factory=Delays)
    ping: Delays = field(default_factory=Delays)
    block: Delays = field(default_factory=Delays)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a node can be reached; ``login`` is ``user:password``."""

    port: int
    rpc_port: int
    login: str
    has_health: bool


class Observer:
    """Measures until it is told to stop; the honest blocks ``blocks`` extend the node's chain one by one."""

    def __init__(self, site: Site, blocks: list[bytes], height: int) -> None:
        self.site = site
        self.blocks = blocks
        self.height = height
        self.used = 0
        self.seen = Seen()
        self._end = float("inf")  # of the attack: what is asked later does not count
        self._stop = threading.Event()
        self._go = threading.Event()
        self._tips: list[tuple[float, int]] = []
        self._threads: list[threading.Thread] = []
        self._headers: dict[bytes, bytes] = {header_hash(raw[:HEADER_SIZE]): raw for raw in blocks}

    def start(self) -> None:
        """Connect, and begin to ask; what is measured before ``go`` does not count."""
        self._pinger = self._peer()
        self._giver = self._peer()
        work: list[Callable[[], None]] = [self._give, self._call, self._call_anew, self._ping]
        if self.site.has_health:
            work.append(self._health)
        self._threads = [threading.Thread(target=task, daemon=True) for task in work]
        for thread in self._threads:
            thread.start()

    def go(self) -> None:
        """The attack begins."""
        self._go.set()

    def stop(self) -> Seen:
        """The attack is over: wait for the answers that are still due."""
        self._end = time.monotonic()
        self._threads[0].join()  # it has to be heard when the last block is there
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for peer in (self._pinger, self._giver):
            peer.close()
        return self.seen

    def _peer(self) -> ScriptedPeer:
        peer = ScriptedPeer.connect("127.0.0.1", self.site.port, PARAMS, PATIENCE)
        peer.handshake(self.height)
        return peer

    def _note(self, delays: Delays, begun: float) -> None:
        if self._go.is_set() and begun < self._end:
            delays.seconds.append(time.monotonic() - begun)

    # -- HTTP ------------------------------------------------------------------------------------------------------

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.site.rpc_port, timeout=PATIENCE)

    def _ask_height(self, connection: http.client.HTTPConnection) -> int:
        login = base64.b64encode(self.site.login.encode()).decode()
        body = json.dumps({"id": 1, "method": "getblockcount", "params": []})
        connection.request("POST", "/", body, {"Authorization": f"Basic {login}"})
        response = connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise ConnectionError(f"status {response.status}")
        return int(json.loads(data)["result"])

    def _call(self) -> None:
        connection = self._connection()
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                height = self._ask_height(connection)
            except (OSError, http.client.HTTPException):
                self.seen.call.failed += self._go.is_set()
                connection.close()
                connection = self._connection()
            else:
                self._tips.append((time.monotonic(), height))
            self._note(self.seen.call, begun)
            time.sleep(CALL_PAUSE)
        connection.close()

    def _call_anew(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            with contextlib.closing(self._connection()) as connection:
                try:
                    self._ask_height(connection)
                except (OSError, http.client.HTTPException):
                    self.seen.new_call.failed += self._go.is_set()
            self._note(self.seen.new_call, begun)
            time.sleep(NEW_CALL_PAUSE)

    def _health(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            with contextlib.closing(self._connection()) as connection:
                try:
                    connection.request("GET", "/health")
                    if connection.getresponse().status != http.client.OK:
                        raise ConnectionError("not healthy")
                except (OSError, http.client.HTTPException):
                    self.seen.health.failed += self._go.is_set()
            self._note(self.seen.health, begun)
            time.sleep(NEW_CALL_PAUSE)

    # -- peers -----------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        peer, nonce = self._pinger, 0
        try:
            while not self._stop.is_set():
                nonce += 1
                begun = time.monotonic()
                peer.send(Ping(nonce))
                while peer.expect(Pong).nonce != nonce:
                    pass
                peer.received.clear()
                self._note(self.seen.ping, begun)
                time.sleep(PING_PAUSE)
        except OSError:
            self.seen.ping.failed += 1

    def _give(self) -> None:
        self._go.wait()
        time.sleep(FIRST_BLOCK)
        try:
            while time.monotonic() < self._end and self.used < len(self.blocks):
                begun = time.monotonic()
                self.used += 1
                self._giver.send(Headers((self.blocks[self.used - 1][:HEADER_SIZE],)))
                self._serve_until(self.height + self.used, begun)
                time.sleep(BLOCK_PAUSE)
        except OSError:
            self.seen.block.failed += 1

    def _serve_until(self, height: int, begun: float) -> None:
        """Answer what the node asks until it tells that it is at this height."""
        peer = self._giver
        peer.sock.settimeout(CALL_PAUSE)
        while time.monotonic() < begun + PATIENCE:
            arrived = next((at for at, tip in self._tips if tip >= height), None)
            if arrived is not None:
                self.seen.block.seconds.append(max(arrived - begun, 0.0))  # or attackers have brought that height
                return
            try:
                message = peer.receive()
            except TimeoutError:
                continue
            peer.received.clear()
            if isinstance(message, Ping):
                self._send(Pong(message.nonce))
            elif isinstance(message, GetHeaders):
                self._send(Headers(tuple([raw[:HEADER_SIZE] for raw in self.blocks[: self.used]])))
            elif isinstance(message, GetData):
                for item in message.items:
                    if item.kind & TYPE_MASK in (MSG_BLOCK, MSG_CMPCT_BLOCK) and item.hash in self._headers:
                        peer.sock.settimeout(PATIENCE)
                        peer.send_raw("block", self._headers[item.hash])
                        peer.sock.settimeout(CALL_PAUSE)
        self.seen.block.seconds.append(PATIENCE)
        self.seen.block.failed += 1

    def _send(self, message: Pong | Headers) -> None:
        self._giver.sock.settimeout(PATIENCE)
        self._giver.send(message)
        self._giver.sock.settimeout(CALL_PAUSE)
