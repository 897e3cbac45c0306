"""Whole protocols on a virtual clock and network.

Nodes run the shipped ``Protocol`` unmodified over chains in memory; adversaries are scripts that speak messages.
Time passes only between events. Latency, jitter and bandwidth come from one seed, so that a run can be repeated
exactly; ``digest`` sums up everything that happened.
"""

from __future__ import annotations

import heapq
import typing
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from btcnode.errors import DecodeError
from btcnode.mempool.rejection import TxResult
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import parse_block
from btcnode.primitives.steps import at_once
from btcnode.protocol import effects as fx
from btcnode.protocol import events as ev
from btcnode.protocol.addresses.addrman import AddressBook
from btcnode.protocol.chain_view import TxSource
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.peer_info import PeerInfo
from btcnode.protocol.inputs import Input
from btcnode.protocol.protocol import Protocol
from btcnode.protocol.serving.thin_answers import answer_steps
from btcnode.settings.permissions import Permission
from btcnode.testing.memory_chain import MemoryChain
from btcnode.wire.codec import LimitExceeded, Message
from btcnode.wire.messages import Ping, Pong, Verack, Version
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.registry import decode_message, read_message

TICK = 0.1
SEND_BUFFER = 1_000_000  # bytes on their way in one direction above which the sender's buffer counts as full
UNIX_START = 1_700_000_000
FRAME_HEADER = 24


@dataclass(slots=True)
class Conditions:
    """The network: seconds of latency (uniform between two), share of delayed packets, bytes per second."""

    latency_min: float = 0.01
    latency_max: float = 0.1
    loss: float = 0.0  # share of messages that need a retransmission
    retransmission: float = 0.5  # seconds that a lost packet costs
    bandwidth: float = 5_000_000.0


class TxProcessor(TxSource, typing.Protocol):
    """A mempool that a simulated node can have."""

    def judge(self, effect: fx.ProcessTransactions) -> ev.TransactionsProcessed:
        """Judge the transactions and take in those that are accepted."""


class Endpoint:
    """Somebody at an address: a node or an adversary."""

    def __init__(self, sim: Simulator, address: NetAddress) -> None:
        self.sim = sim
        self.address = address
        sim.endpoints[address] = self

    def accepts(self) -> bool:
        """Whether connections to the address succeed."""
        return True

    def opened(self, end: End, attempt: int, kind: ConnectionKind) -> None:
        """A connection stands; ``attempt`` is 0 if the other side opened it."""

    def received(self, end: End, command: str, payload: bytes) -> None:
        """A message has arrived."""

    def closed(self, end: End) -> None:
        """The connection is gone."""

    def buffer_changed(self, end: End, full: bool) -> None:
        """The send buffer of this end became full, or is no longer."""


@dataclass(slots=True)
class End:
    """One end of a connection. ``inbox`` holds what arrived while the owner does not read."""

    id: int
    owner: Endpoint
    remote: NetAddress
    other: End | None = None
    open: bool = True
    receiving: bool = True
    inbox: deque[tuple[str, bytes]] = field(default_factory=deque)
    pending: int = 0  # bytes that this end sent and the other has not taken
    full: bool = False
    wire_free: float = 0.0  # when the last byte sent has left
    last_arrival: float = 0.0


class Simulator:
    """The clock, the wires and everybody on them."""

    def __init__(self, seed: int, conditions: Conditions | None = None) -> None:
        self.rng = Random(seed)
        self.conditions = conditions or Conditions()
        self.now = 0.0
        self.endpoints: dict[NetAddress, Endpoint] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = 0
        self._next_end = 1
        self._digest = sha256()
        self.log: list[str] = []

    @property
    def unix(self) -> float:
        """Wall clock."""
        return UNIX_START + self.now

    @property
    def digest(self) -> str:
        """Hash of every effect so far, with its time and place."""
        return self._digest.hexdigest()

    def record(self, text: str) -> None:
        """Add a line to the digest."""
        self._digest.update(f"{self.now:.9f} {text}\n".encode())

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Do something ``delay`` seconds from now; equal times happen in the order of calls."""
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay, self._sequence, action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at most ``seconds``; tells whether ``until`` came true (checked twice a second)."""
        end = self.now + seconds
        check = self.now
        while self._events and self._events[0][0] <= end:
            if until is not None and self._events[0][0] >= check:
                if until():
                    return True
                check += 0.5
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end
        return until is not None and until()

    # -- wires ---------------------------------------------------------------------------------------------------

    def _latency(self) -> float:
        c = self.conditions
        delay = self.rng.uniform(c.latency_min, c.latency_max)
        return delay + (c.retransmission if c.loss and self.rng.random() < c.loss else 0.0)

    def connect(
        self,
        source: Endpoint,
        target: NetAddress,
        attempt: int = 1,
        kind: ConnectionKind = ConnectionKind.MANUAL,
        failed: Callable[[str], None] | None = None,
        source_address: NetAddress | None = None,
    ) -> None:
        """Open a connection; both owners learn of it after a round trip."""

        def establish() -> None:
            endpoint = self.endpoints.get(target)
            if endpoint is None or not endpoint.accepts():
                if failed is not None:
                    failed("connection refused")
                return
            near = End(self._take_id(), source, target)
            far = End(self._take_id(), endpoint, source_address or source.address)
            near.other, far.other = far, near
            near.last_arrival = far.last_arrival = self.now
            endpoint.opened(far, 0, ConnectionKind.INBOUND)
            source.opened(near, attempt, kind)

        self.at(2 * self._latency(), establish)

    def _take_id(self) -> int:
        self._next_end += 1
        return self._next_end - 1

    def send(self, end: End, command: str, payload: bytes) -> None:
        """Put a message on the wire; order is kept."""
        other = end.other
        if not end.open or other is None or not other.open:
            return
        size = len(payload) + FRAME_HEADER
        end.pending += size
        end.wire_free = max(self.now, end.wire_free) + size / self.conditions.bandwidth
        arrival = max(end.last_arrival, end.wire_free + self._latency())
        end.last_arrival = arrival
        if end.pending > SEND_BUFFER and not end.full:
            end.full = True
            self.at(0, lambda: end.owner.buffer_changed(end, True))

        def arrive() -> None:
            other.inbox.append((command, payload))
            self.drain(other)

        self.at(arrival - self.now, arrive)

    def drain(self, end: End) -> None:
        """Hand over what has arrived, as far as the owner reads."""
        other = end.other
        while end.inbox and end.receiving and end.open:
            command, payload = end.inbox.popleft()
            if other is not None:
                other.pending -= len(payload) + FRAME_HEADER
                if other.full and other.pending < SEND_BUFFER // 2:
                    other.full = False
                    self.at(0, lambda: other.owner.buffer_changed(other, False))
            end.owner.received(end, command, payload)

    def close(self, end: End) -> None:
        """Close a connection; what is on the wire still arrives, then the other side learns of it."""
        other = end.other
        if not end.open:
            return
        end.open = False
        end.inbox.clear()

        def tell_other() -> None:
            if other is not None and other.open:
                other.open = False
                other.owner.closed(other)

        self.at(max(end.last_arrival - self.now, 0) + self.conditions.latency_min, tell_other)
        self.at(0, lambda: end.owner.closed(end))


class Adversary(Endpoint):
    """A peer with a script: override ``on_message``; the handshake is done by itself."""

    def __init__(self, sim: Simulator, address: NetAddress, *, services: int = 9, listens: bool = True) -> None:
        super().__init__(sim, address)
        self.services = services
        self.listens = listens
        self.ends: dict[int, End] = {}
        self.messages: list[Message] = []
        self.established = 0
        self._opened_by_us: dict[int, None] = {}

    def accepts(self) -> bool:
        """As told at the start."""
        return self.listens

    def opened(self, end: End, attempt: int, kind: ConnectionKind) -> None:
        """Speak first when it was us who connected."""
        self.ends[end.id] = end
        if attempt:
            self._opened_by_us[end.id] = None
            self._send_version(end)

    def _send_version(self, end: End) -> None:
        nonce = self.sim.rng.getrandbits(64)
        self.send(end, Version(services=self.services, time=int(self.sim.unix), nonce=nonce, start_height=0))

    def send(self, end: End, message: Message) -> None:
        """Send a message."""
        self.sim.send(end, message.command, message.encode())

    def send_all(self, message: Message) -> None:
        """Send a message over every connection."""
        for end in list(self.ends.values()):
            self.send(end, message)

    def close_all(self) -> None:
        """Close every connection."""
        for end in list(self.ends.values()):
            self.sim.close(end)

    def received(self, end: End, command: str, payload: bytes) -> None:
        """Do the handshake, hand everything to ``on_message``."""
        message = decode_message(command, payload)
        self.messages.append(message)
        if isinstance(message, Version):
            if end.id not in self._opened_by_us:
                self._send_version(end)
            self.send(end, Verack())
        elif isinstance(message, Verack):
            self.established += 1
            self.on_established(end)
        elif isinstance(message, Ping):
            self.send(end, Pong(message.nonce))
        self.on_message(end, message)

    def on_established(self, end: End) -> None:
        """The handshake is complete."""

    def on_message(self, end: End, message: Message) -> None:
        """Whatever the script does."""

    def closed(self, end: End) -> None:
        """Forget it."""
        self.ends.pop(end.id, None)


class SimNode(Endpoint):
    """A node: the real ``Protocol`` over a ``MemoryChain``. Validation takes ``validation_delay`` seconds a block.

    With a ``pool`` (a ``TxSource`` that also executes ``ProcessTransactions``, as ``SmallPool``) transactions are
    judged one after another, each effect after ``tx_delay`` seconds; without one every verdict is UNKNOWN.
    """

    def __init__(
        self,
        sim: Simulator,
        address: NetAddress,
        params: NetworkParams,
        *,
        config: ProtocolConfig | None = None,
        minimum_chain_work: int | None = None,
        validation_delay: float = 0.001,
        tick: float = TICK,
        pool: TxProcessor | None = None,
        tx_delay: float = 0.0005,
    ) -> None:
        super().__init__(sim, address)
        self.params = params
        self.chain = MemoryChain(params, minimum_chain_work=minimum_chain_work)
        self.config = config or ProtocolConfig(dns_seed=False, relay_private=True)
        rng = Random(sim.rng.getrandbits(64))
        self.protocol = Protocol(
            self.config,
            params,
            self.chain.view,
            rng,
            sim.now,
            sim.unix,
            address_book=AddressBook(rng),
            transactions=pool,
        )
        self.pool = pool
        self.tx_delay = tx_delay
        self._tx_free = 0.0
        self.permissions: dict[NetAddress, Permission] = {}  # of those who connect from these addresses
        self.ends: dict[int, End] = {}
        self.validation_delay = validation_delay
        self.tick = tick
        self._validation_free = 0.0
        self.processed: list[tuple[int, int]] = []  # (peer, index) of ProcessBlock effects
        self.disconnects: list[tuple[int, str, bool]] = []
        self.lines: list[str] = []
        self._inputs: deque[Input] = deque()
        self._stepping = False
        sim.at(sim.rng.uniform(0, tick), self._tick)

    # -- the world to the protocol -------------------------------------------------------------------------------

    def feed(self, event: Input) -> None:
        """Hand an input to the protocol and execute what follows, without entering ``step`` twice."""
        self._inputs.append(event)
        if self._stepping:
            return
        self._stepping = True
        while self._inputs:
            for effect in self.protocol.step(self.sim.now, self._inputs.popleft()):
                self._execute(effect)
        self._stepping = False

    def _tick(self) -> None:
        self.feed(ev.Tick(self.sim.unix))
        self.sim.at(self.tick, self._tick)

    def opened(self, end: End, attempt: int, kind: ConnectionKind) -> None:
        """Tell the protocol."""
        self.ends[end.id] = end
        permissions = self.permissions.get(end.remote, Permission.NONE)
        self.feed(ev.PeerConnected(end.id, end.remote, kind, attempt, permissions, local_address=self.address))

    def received(self, end: End, command: str, payload: bytes) -> None:
        """Decode as the reactor does."""
        try:
            message = read_message(command, payload)
        except DecodeError as error:
            kind = ev.Malformation.LIMIT if isinstance(error, LimitExceeded) else ev.Malformation.PAYLOAD
            self.feed(ev.MalformedMessage(end.id, kind, command, str(error)))
            return
        self.feed(ev.MessageReceived(end.id, message, len(payload)))

    def closed(self, end: End) -> None:
        """Tell the protocol."""
        if self.ends.pop(end.id, None) is not None:
            self.feed(ev.PeerDisconnected(end.id, "connection closed"))

    def buffer_changed(self, end: End, full: bool) -> None:
        """Tell the protocol."""
        self.feed(ev.SendBufferState(end.id, full))

    # -- the protocol to the world -------------------------------------------------------------------------------

    def _execute(self, effect: fx.Effect) -> None:
        sim = self.sim
        sim.record(f"{self.address} {summary(effect)}")
        if isinstance(effect, fx.Send):
            self._send(effect.peer_id, effect.message.command, effect.message.encode())
        elif isinstance(effect, fx.SendRaw):
            self._send(effect.peer_id, effect.command, effect.payload)
        elif isinstance(effect, fx.Disconnect):
            self.disconnects.append((effect.peer_id, effect.reason, effect.discourage))
            if effect.peer_id in self.ends:
                sim.close(self.ends[effect.peer_id])
        elif isinstance(effect, fx.Connect):
            self._connect(effect)
        elif isinstance(effect, fx.SetReceiving):
            self._set_receiving(effect)
        elif isinstance(effect, fx.AskForTurn):
            sim.at(0.0, lambda: self.feed(ev.PeerTurn(effect.peer_id)))
        elif isinstance(effect, fx.ProcessBlock):
            self._process_block(effect)
        elif isinstance(effect, fx.ProcessTransactions):
            self._process_transactions(effect)
        elif isinstance(effect, fx.WithdrawTransactions):
            pass  # they are judged all the same, as those that somebody has begun with
        elif isinstance(effect, fx.ReadBlock):
            raw = self.chain.blocks.get(effect.index)
            sim.at(0.001, lambda: self.feed(ev.BlockRead(effect.peer_id, effect.index, raw)))
        elif isinstance(effect, fx.MakeThin):
            self._make_thin(effect)
        elif isinstance(effect, fx.ReadFilters):
            sim.at(0.001, lambda: self.feed(ev.FiltersRead(effect.peer_id, effect.indices, None)))
        elif isinstance(effect, fx.ReadSpent):
            sim.at(0.001, lambda: self.feed(ev.SpentRead(effect.peer_id, effect.index, None)))
        elif isinstance(effect, fx.Log):
            self.lines.append(effect.text)

    def _send(self, peer_id: int, command: str, payload: bytes) -> None:
        end = self.ends.get(peer_id)
        if end is not None:
            self.sim.send(end, command, payload)

    def _connect(self, effect: fx.Connect) -> None:
        target = effect.target
        if isinstance(target, str):
            host, _, port = target.rpartition(":")
            target = NetAddress.from_host(host, int(port))
        self.sim.connect(
            self,
            target,
            effect.attempt,
            effect.kind,
            failed=lambda reason: self.feed(ev.ConnectFailed(effect.attempt, reason)),
        )

    def _make_thin(self, effect: fx.MakeThin) -> None:
        raw = self.chain.blocks.get(effect.index)
        block = effect.block or (parse_block(raw) if raw is not None else None)
        made = at_once(answer_steps(effect.request, block)) if block is not None else None
        self.sim.at(0.001, lambda: self.feed(ev.ThinMade(effect.peer_id, effect.index, made)))

    def _set_receiving(self, effect: fx.SetReceiving) -> None:
        end = self.ends.get(effect.peer_id)
        if end is not None:
            end.receiving = effect.enabled
            self.sim.at(0, lambda: self.sim.drain(end))

    def _process_block(self, effect: fx.ProcessBlock) -> None:
        self.processed.append((effect.peer_id, effect.index))
        self._validation_free = max(self._validation_free, self.sim.now) + self.validation_delay

        def finish() -> None:
            violation, new = self.chain.store(effect.index, effect.raw)
            self.accepted(effect.index, new)
            self.feed(ev.BlockProcessed(effect.peer_id, effect.index, violation, new))
            self.activate()

        self.sim.at(self._validation_free - self.sim.now, finish)

    def _process_transactions(self, effect: fx.ProcessTransactions) -> None:
        self._tx_free = max(self._tx_free, self.sim.now) + self.tx_delay

        def finish() -> None:
            if self.pool is not None:
                answer = self.pool.judge(effect)
            else:
                unknown = tuple(ev.TxOutcome(tx.txid, tx.wtxid, TxResult.UNKNOWN) for tx in effect.txs)
                answer = ev.TransactionsProcessed(effect.peer_id, effect.number, unknown)
            self.feed(answer)

        self.sim.at(self._tx_free - self.sim.now, finish)

    # -- the chain -----------------------------------------------------------------------------------------------

    def accepted(self, index: int, new: bool) -> None:
        """Tell the protocol of a block that was stored on top of the tip."""
        tree = self.chain.tree
        initial = self.chain.view.is_initial_block_download(int(self.sim.unix))
        if new and tree.prev(index) == self.chain.active.tip and not initial:
            self.feed(ev.BlockAccepted(index, parse_block(self.chain.blocks[index])))

    def activate(self) -> None:
        """Make the best chain active and tell the protocol."""
        connected, rejected = self.chain.activate()
        for index, violation in rejected:
            self.feed(ev.BlockRejected(index, violation))
        if connected:
            self.feed(ev.TipChanged(self.chain.active.tip, tuple(connected)))

    def load(self, blocks: Iterable[bytes]) -> None:
        """Take blocks without the network."""
        for raw in blocks:
            self.chain.add_block(raw, int(self.sim.unix))
        self.activate()

    def submit(self, raw: bytes) -> None:
        """A block of one's own."""
        self.accepted(self.chain.add_block(raw, int(self.sim.unix)), True)
        self.activate()

    def mine(self, count: int = 1, *, extra: bytes = b"\x00") -> None:
        """Find blocks now."""
        for _ in range(count):
            last = self.chain.tree.time(self.chain.active.tip)
            self.submit(self.chain.mine(max(int(self.sim.unix), last + 1), extra=extra))

    @property
    def height(self) -> int:
        """Height of the active tip."""
        return self.chain.active.height

    def peers(self) -> list[PeerInfo]:
        """What getpeerinfo tells."""
        return [info for i in self.protocol.peer_ids() if (info := self.protocol.peer_info(i)) is not None]


def summary(effect: fx.Effect) -> str:
    """One line that tells effects apart, without megabytes of payload."""
    if isinstance(effect, fx.Send):
        payload = effect.message.encode()
        return f"send {effect.peer_id} {effect.message.command} {sha256(payload).hexdigest()[:16]}"
    if isinstance(effect, fx.SendRaw):
        return f"raw {effect.peer_id} {effect.command} {sha256(effect.payload).hexdigest()[:16]}"
    if isinstance(effect, fx.ProcessTransactions):
        hashes = " ".join(tx.wtxid.hex()[:16] for tx in effect.txs)
        return f"txs {effect.peer_id} {effect.number} {hashes}"
    if isinstance(effect, fx.ProcessBlock):
        return f"process {effect.peer_id} {effect.index} {effect.requested}"
    return repr(effect)


def sim_address(number: int, port: int = 18444) -> NetAddress:
    """A routable address of its own /16 for each ``number`` below 60,000."""
    return NetAddress.from_host(f"{20 + number // 250}.{number % 250 + 1}.0.1", port)
