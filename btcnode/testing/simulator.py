"""Whole protocols on a virtual clock and network.

Nodes run the shipped ``Protocol`` unmodified over chains in memory; adversaries are scripts that speak messages.
Time passes only between events. Latency, jitter and bandwidth come from one seed, so that a run can be repeated
exactly; ``digest`` sums up everything that happened. Messages go from node to node as
objects; their sizes are those of their bytes.
"""

from __future__ import annotations

import heapq
import math
import typing
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import field
from functools import cache
from hashlib import sha256
from random import Random
from zlib import crc32

from btcnode.errors import DecodeError
from btcnode.mempool.rejection import TxResult
from btcnode.networks.parameters import NetworkParams
from btcnode.primitives.block import ParsedBlock
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
from btcnode.protocol.serving.tx_filter import filter_steps
from btcnode.record import struct
from btcnode.settings.permissions import Permission
from btcnode.testing.memory_chain import MemoryChain
from btcnode.wire.codec import LimitExceeded, Message, StepwiseMessage
from btcnode.wire.messages import Ping, Pong, Verack, Version
from btcnode.wire.netaddr import NetAddress
from btcnode.wire.registry import decode_message, read_message

TICK = 0.1
SEND_BUFFER = 1_000_000  # bytes on their way in one direction above which the sender's buffer counts as full
UNIX_START = 1_700_000_000
FRAME_HEADER = 24
RECORDS_AT_ONCE = 1000
NO_ANSWER = 5.0  # seconds after which the reactor gives up connecting

Content = bytes | Message
"""What a message brings: its payload, or the message as an object, which nobody changes."""


@struct
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

    def connected(self, block: ParsedBlock) -> None:
        """A block was connected: let go of what it confirms and contradicts."""

    def disconnected(self, block: ParsedBlock) -> None:
        """A block was disconnected: what it confirmed comes back."""


class Endpoint:
    """Somebody at an address: a node or an adversary."""

    def __init__(self, sim: Simulator, address: NetAddress) -> None:
        self.sim = sim
        self.address = address
        sim.endpoints[address] = self

    def accepts(self) -> bool:
        """Whether connections to the address succeed."""
        return True

    def is_gone(self) -> bool:
        """Whether what it asked for is of no interest any more."""
        return False

    def opened(self, end: End, attempt: int, kind: ConnectionKind) -> None:
        """A connection stands; ``attempt`` is 0 if the other side opened it."""

    def received(self, end: End, command: str, content: Content, size: int) -> None:
        """A message has arrived, whose payload has ``size`` bytes."""

    def closed(self, end: End) -> None:
        """The connection is gone."""

    def buffer_changed(self, end: End, full: bool) -> None:
        """The send buffer of this end became full, or is no longer."""


@struct
class End:
    """One end of a connection. ``inbox`` holds what arrived while the owner does not read."""

    id: int
    owner: Endpoint
    remote: NetAddress
    other: End | None = None
    open: bool = True
    receiving: bool = True
    inbox: deque[tuple[str, Content, int]] = field(default_factory=deque)
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
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._sequence = 0
        self._next_end = 1
        self._digest = sha256()
        self._records: list[str] = []  # of the digest, not hashed yet
        self.log: list[str] = []

    @property
    def unix(self) -> float:
        """Wall clock."""
        return UNIX_START + self.now

    @property
    def digest(self) -> str:
        """Hash of everything that nodes sent, opened, closed and validated so far, with its time and place."""
        self._digest.update("".join(self._records).encode())
        self._records.clear()
        return self._digest.hexdigest()

    def record(self, text: str) -> None:
        """Add a line to the digest."""
        self._records.append(f"{self.now!r} {text}\n")
        if len(self._records) > RECORDS_AT_ONCE:
            self._digest.update("".join(self._records).encode())
            self._records.clear()

    def at(self, delay: float, action: Callable[..., None], *arguments: object) -> None:
        """Do something ``delay`` seconds from now; equal times happen in the order of calls."""
        self._sequence += 1
        heapq.heappush(self._events, (self.now + delay, self._sequence, action, arguments))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, at most ``seconds``; tells whether ``until`` came true (checked twice a second)."""
        end = self.now + seconds
        check = self.now
        while self._events and self._events[0][0] <= end:
            if until is not None and self._events[0][0] >= check:
                if until():
                    return True
                check += 0.5
            self.now, _, action, arguments = heapq.heappop(self._events)
            action(*arguments)
        self.now = end
        return until is not None and until()

    # -- wires ---------------------------------------------------------------------------------------------------

    def latency(self, source: Endpoint, target: Endpoint) -> float:
        """Seconds that a packet takes now; infinite: it never arrives."""
        c = self.conditions
        delay = self.rng.uniform(c.latency_min, c.latency_max)
        return delay + (c.retransmission if c.loss and self.rng.random() < c.loss else 0.0)

    def arrival(self, end: End, target: Endpoint, size: int) -> float:
        """When ``size`` bytes that ``end`` sends now have arrived, whatever was sent before."""
        end.wire_free = max(self.now, end.wire_free) + size / self.conditions.bandwidth
        return end.wire_free + self.latency(end.owner, target)

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
            if source.is_gone():
                return
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

        endpoint = self.endpoints.get(target)
        wait = 2 * self.latency(source, endpoint if endpoint is not None else source)
        if wait < math.inf:
            self.at(wait, establish)
        elif failed is not None:
            self.at(NO_ANSWER, failed, "connection timed out")

    def _take_id(self) -> int:
        self._next_end += 1
        return self._next_end - 1

    def send(self, end: End, command: str, content: Content) -> None:
        """Put a message on the wire; order is kept."""
        other = end.other
        if not end.open or other is None or not other.open:
            return
        length = len(content) if isinstance(content, bytes) else len(content.encode())
        self.transmit(end, other, command, content, length)

    def transmit(self, end: End, other: End, command: str, content: Content, length: int) -> None:
        """The same for a payload of ``length`` bytes, from an open end to the ``other``."""
        size = length + FRAME_HEADER
        end.pending += size
        end.last_arrival = arrival = max(end.last_arrival, self.arrival(end, other.owner, size))
        if end.pending > SEND_BUFFER and not end.full:
            end.full = True
            self.at(0, end.owner.buffer_changed, end, True)
        if arrival < math.inf:
            self._sequence += 1
            heapq.heappush(self._events, (arrival, self._sequence, self._arrive, (other, command, content, length)))

    def _arrive(self, end: End, command: str, content: Content, length: int) -> None:
        end.inbox.append((command, content, length))
        self.drain(end)

    def drain(self, end: End) -> None:
        """Hand over what has arrived, as far as the owner reads."""
        other = end.other
        while end.inbox and end.receiving and end.open:
            command, content, length = end.inbox.popleft()
            if other is not None:
                other.pending -= length + FRAME_HEADER
                if other.full and other.pending < SEND_BUFFER // 2:
                    other.full = False
                    self.at(0, other.owner.buffer_changed, other, False)
            end.owner.received(end, command, content, length)

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

        if end.last_arrival < math.inf:
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
        self.sim.send(end, message.command, message)

    def send_all(self, message: Message) -> None:
        """Send a message over every connection."""
        for end in list(self.ends.values()):
            self.send(end, message)

    def close_all(self) -> None:
        """Close every connection."""
        for end in list(self.ends.values()):
            self.sim.close(end)

    def received(self, end: End, command: str, content: Content, size: int) -> None:
        """Do the handshake, hand everything to ``on_message``."""
        message = decode_message(command, content) if isinstance(content, bytes) else content
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
        chain: MemoryChain | None = None,
        book: AddressBook | None = None,
    ) -> None:
        """``chain`` and ``book``: those of its last run, None for new ones."""
        super().__init__(sim, address)
        self.params = params
        self.chain = chain if chain is not None else MemoryChain(params, minimum_chain_work=minimum_chain_work)
        self.config = config or ProtocolConfig(dns_seed=False, relay_private=True)
        rng = Random(sim.rng.getrandbits(64))
        self.protocol = Protocol(
            self.config,
            params,
            self.chain.view,
            rng,
            sim.now,
            sim.unix,
            address_book=book if book is not None else AddressBook(rng),
            transactions=pool,
        )
        self.pool = pool
        self.tx_delay = tx_delay
        self._tx_free = 0.0
        self.permissions: dict[NetAddress, Permission] = {}  # of those who connect from these addresses
        self.stopped = False
        self.ends: dict[int, End] = {}
        self.validation_delay = validation_delay
        self.tick = tick
        self._validation_free = 0.0
        self.processed: list[tuple[int, int]] = []  # (peer, index) of ProcessBlock effects
        self.disconnects: list[tuple[int, str, bool]] = []
        self.lines: list[str] = []
        self._inputs: deque[Input] = deque()
        self._stepping = False
        self._executors = self._effect_executors()
        self.feed(ev.LocalAddress(address, "bind"))
        sim.at(sim.rng.uniform(0, tick), self._tick)

    def _effect_executors(self) -> dict[type, Callable[[typing.Any], None]]:
        """Who executes which effect."""
        return {
            fx.Send: self._send_message,
            fx.SendRaw: lambda effect: self._send(effect.peer_id, effect.command, effect.payload),
            fx.Disconnect: self._disconnect,
            fx.Connect: self._connect,
            fx.SetReceiving: self._set_receiving,
            fx.AskForTurn: lambda effect: self._inputs.append(ev.PeerTurn(effect.peer_id)),
            fx.ProcessBlock: self._process_block,
            fx.ProcessTransactions: self._process_transactions,
            fx.ReadBlock: self._read_block,
            fx.MatchBlock: self._match_block,
            fx.MakeThin: self._make_thin,
            fx.ReadFilters: lambda e: self._answer(ev.FiltersRead(e.peer_id, e.indices, None)),
            fx.ReadSpent: lambda e: self._answer(ev.SpentRead(e.peer_id, e.index, None)),
            fx.ReadUtreexo: lambda e: self._answer(ev.UtreexoRead(e.peer_id, e.index, None)),
            fx.ResolveSeeds: self._resolve_seeds,
            fx.Log: lambda effect: self.lines.append(effect.text),
            fx.WithdrawTransactions: _nothing,  # they are judged all the same, as those that somebody has begun with
            fx.DistrustBlocks: _nothing,  # blocks are judged in the order in which they come
            fx.Excuse: _nothing,  # processor time is not simulated
            fx.ReadUtxoSet: lambda e: self._answer(ev.UtxoSetRead(e.peer_id, e.index, None)),
            fx.TakeUtxoTree: _nothing,  # nobody asks for them
            fx.TakeUtxoChunk: _nothing,
            fx.TakeSpent: _nothing,  # nobody asks for them without SwiftSync
            fx.KeepProof: _nothing,  # as are Utreexo proofs
            fx.AddressBookDirty: _nothing,
            fx.Audit: _nothing,
        }

    # -- the world to the protocol -------------------------------------------------------------------------------

    def feed(self, event: Input) -> None:
        """Hand an input to the protocol and execute what follows, without entering ``step`` twice."""
        if self.stopped:
            return
        self._inputs.append(event)
        if self._stepping:
            return
        self._stepping = True
        inputs, step, executors = self._inputs, self.protocol.step, self._executors
        while inputs:
            for effect in step(self.sim.now, inputs.popleft()):
                executors[type(effect)](effect)
        self._stepping = False

    def _answer(self, event: Input) -> None:
        """What is read from disk is there after a millisecond."""
        self.sim.at(0.001, self.feed, event)

    def _tick(self) -> None:
        if not self.stopped:
            self.feed(ev.Tick(self.sim.unix))
            self.sim.at(self.tick, self._tick)

    def accepts(self) -> bool:
        """As configured, while it runs."""
        return self.config.listen and not self.stopped

    def is_gone(self) -> bool:
        """Whether it was stopped."""
        return self.stopped

    def stop(self) -> None:
        """End: connections close, and what is under way comes to nothing."""
        self.stopped = True
        for end in list(self.ends.values()):
            self.sim.close(end)
        self.ends.clear()

    def opened(self, end: End, attempt: int, kind: ConnectionKind) -> None:
        """Tell the protocol."""
        self.ends[end.id] = end
        permissions = self.permissions.get(end.remote, Permission.NONE)
        self.feed(ev.PeerConnected(end.id, end.remote, kind, attempt, permissions, local_address=self.address))

    def received(self, end: End, command: str, content: Content, size: int) -> None:
        """Decode as the reactor does what comes as bytes."""
        if isinstance(content, bytes):
            try:
                content = read_message(command, content)
            except DecodeError as error:
                kind = ev.Malformation.LIMIT if isinstance(error, LimitExceeded) else ev.Malformation.PAYLOAD
                self.feed(ev.MalformedMessage(end.id, kind, command, str(error), size))
                return
        self.feed(ev.MessageReceived(end.id, content, size))

    def closed(self, end: End) -> None:
        """Tell the protocol."""
        if self.ends.pop(end.id, None) is not None:
            self.feed(ev.PeerDisconnected(end.id, "connection closed"))

    def buffer_changed(self, end: End, full: bool) -> None:
        """Tell the protocol."""
        self.feed(ev.SendBufferState(end.id, full))

    # -- the protocol to the world -------------------------------------------------------------------------------

    def _send_message(self, effect: fx.Send) -> None:
        """As an object, but for those messages that nodes decode step by step."""
        message = effect.message
        stepwise = _is_stepwise(type(message))
        self._send(effect.peer_id, message.command, message.encode() if stepwise else message)

    def _send(self, peer_id: int, command: str, content: Content) -> None:
        end = self.ends.get(peer_id)
        if end is None or not end.open or end.other is None or not end.other.open:
            return
        payload = content if isinstance(content, bytes) else content.encode()
        length = len(payload)
        self.sim.record(f"{end.id} {command} {length} {crc32(payload)}")
        self.sim.transmit(end, end.other, command, content, length)

    def _disconnect(self, effect: fx.Disconnect) -> None:
        self.sim.record(f"{self.address} {effect!r}")
        self.disconnects.append((effect.peer_id, effect.reason, effect.discourage))
        if effect.peer_id in self.ends:
            self.sim.close(self.ends[effect.peer_id])

    def _connect(self, effect: fx.Connect) -> None:
        self.sim.record(f"{self.address} {effect!r}")
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

    def _resolve_seeds(self, effect: fx.ResolveSeeds) -> None:
        for name in effect.names:
            self._answer(ev.DnsSeedResult(name, ()))

    def _read_block(self, effect: fx.ReadBlock) -> None:
        raw = self.chain.blocks.get(effect.index)
        if raw is not None and not effect.witness:
            block = self.chain.parsed(effect.index)
            raw = b"".join([raw[: block.tx_pos[0]], *[block.tx(n).stripped() for n in range(block.n_tx)]])
        self._answer(ev.BlockRead(effect.peer_id, effect.index, raw))

    def _match_block(self, effect: fx.MatchBlock) -> None:
        raw = self.chain.blocks.get(effect.index)
        found = None if raw is None else at_once(filter_steps(raw, effect.filter))
        self._answer(ev.BlockMatched(effect.peer_id, effect.index, found))

    def _make_thin(self, effect: fx.MakeThin) -> None:
        block = effect.block
        if block is None and effect.index in self.chain.blocks:
            block = self.chain.parsed(effect.index)
        made = at_once(answer_steps(effect.request, block)) if block is not None else None
        self._answer(ev.ThinMade(effect.peer_id, effect.index, made))

    def _set_receiving(self, effect: fx.SetReceiving) -> None:
        end = self.ends.get(effect.peer_id)
        if end is not None:
            end.receiving = effect.enabled
            self.sim.at(0, lambda: self.sim.drain(end))

    def validation_time(self, raw: bytes) -> float:
        """Seconds that checking and connecting a block takes."""
        return self.validation_delay

    def _process_block(self, effect: fx.ProcessBlock) -> None:
        self.sim.record(f"{self.address} block {effect.peer_id} {effect.index} {effect.requested}")
        self.processed.append((effect.peer_id, effect.index))
        self._validation_free = max(self._validation_free, self.sim.now) + self.validation_time(effect.raw)
        self.sim.at(self._validation_free - self.sim.now, self._store, effect)

    def _store(self, effect: fx.ProcessBlock) -> None:
        if self.stopped:
            return
        violation, new = self.chain.store(effect.index, effect.raw)
        self.accepted(effect.index, new)
        self.feed(ev.BlockProcessed(effect.peer_id, effect.index, violation, new))
        self.activate()

    def _process_transactions(self, effect: fx.ProcessTransactions) -> None:
        self._tx_free = max(self._tx_free, self.sim.now) + self.tx_delay
        self.sim.at(self._tx_free - self.sim.now, self._judge, effect)

    def _judge(self, effect: fx.ProcessTransactions) -> None:
        if self.stopped:
            return
        if self.pool is not None:
            self.feed(self.pool.judge(effect))
            return
        unknown = tuple(ev.TxOutcome(tx.txid, tx.wtxid, TxResult.UNKNOWN) for tx in effect.txs)
        self.feed(ev.TransactionsProcessed(effect.peer_id, effect.number, unknown))

    # -- the chain -----------------------------------------------------------------------------------------------

    def _is_initial(self) -> bool:
        return self.chain.view.is_initial_block_download(int(self.sim.unix))

    def accepted(self, index: int, new: bool) -> None:
        """Tell the protocol of a block that was stored on top of the tip."""
        if new and self.chain.tree.prev(index) == self.chain.active.tip and not self._is_initial():
            self.feed(ev.BlockAccepted(index, self.chain.parsed(index)))

    def activate(self) -> None:
        """Make the best chain active and tell the pool and the protocol, in the order in which a node does."""
        chain = self.chain
        connected, rejected, left = chain.activate()
        for index in left:
            if self.pool is not None:
                self.pool.disconnected(chain.parsed(index))
            self.feed(ev.TransactionsUnconfirmed(chain.tree.hash(index)))
        initial = self._is_initial()
        for index in connected:
            if self.pool is not None:
                self.pool.connected(chain.parsed(index))
            if not initial:
                self.feed(ev.TransactionsConfirmed(chain.parsed(index)))
        for index, violation in rejected:
            self.feed(ev.BlockRejected(index, violation))
        if connected:
            self.feed(ev.TipChanged(chain.active.tip, tuple(connected)))
        self.feed(ev.ChainSettled())

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


@cache
def _is_stepwise(kind: type[Message]) -> bool:
    return issubclass(kind, StepwiseMessage)


def _nothing(_: fx.Effect) -> None:
    """The effect changes nothing that is simulated."""


def sim_address(number: int, port: int = 18444) -> NetAddress:
    """A routable address of its own /16 for each ``number`` below 60,000."""
    return NetAddress.from_host(f"{20 + number // 250}.{number % 250 + 1}.0.1", port)
