"""Connections of every kind at every stage of the handshake, with peers of every sort: what is told of each."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from random import Random
from typing import Any

from btcnode.networks.parameters import NetworkParams
from btcnode.wire.codec import Message
from btcnode.wire.constants import NODE_NETWORK, NODE_NETWORK_LIMITED, NODE_P2P_V2, NODE_WITNESS
from btcnode.wire.framing import FrameError
from btcnode.wire.messages import (
    Addr,
    FeeFilter,
    GetAddr,
    Mempool,
    Ping,
    Pong,
    SendAddrV2,
    SendCmpct,
    SendHeaders,
    Verack,
    Version,
    WtxidRelay,
)
from btcnode.wire.transport import Transport
from btcnode.wire.v2_transport import V2Transport
from tests.lib.peer import ScriptedPeer

from .asking import Asker, Example, Plan, Report
from .compare import Answer, kinds
from .nodes import Node
from .text import request, write
from .world import World

MINED = 101
TIMEOUT_S = 5.0
SETTLE_S = 3.0
QUIET_S = 0.05
KINDS = ("outbound-full-relay", "block-relay-only", "addr-fetch", "feeler")
USUAL = NODE_NETWORK | NODE_WITNESS
SERVICES = (USUAL, USUAL, USUAL | NODE_P2P_V2, USUAL | NODE_NETWORK_LIMITED, NODE_NETWORK_LIMITED | NODE_WITNESS,
            NODE_NETWORK, 0, 1 << 24 | USUAL, USUAL | 1 << 6 | 1 << 2, 2**64 - 1)  # fmt: skip
VERSIONS = (70016, 70016, 70016, 70015, 70013, 70012, 60002, 60000, 31800, 31799, 209, 0, 70017, 2**31 - 1)
AGENTS = (b"/peer:1/", b"", b"/a/b c(d)/", b"/\xff\x00%s\n/", b"x" * 256, b"x" * 257)
HEIGHTS = (0, 1, MINED, -1, 2**31 - 1, -(2**31))
OFFSETS = (0, 1, -1, 70, -4000, 10**6, -(10**9))
ROUTED = "[::ffff:127.0.0.1]"
OBSERVED: tuple[tuple[str, list[Any]], ...] = (
    ("getpeerinfo", []),
    ("getconnectioncount", []),
    ("getaddednodeinfo", []),
    ("getnetworkinfo", []),
    ("getaddrmaninfo", []),
    ("getblockchaininfo", []),
    ("listbanned", []),
    ("getnodeaddresses", [0]),
)


def _shown(message: Message) -> str:
    if not isinstance(message, Version):
        return repr(message)
    shown = ("version", "services", "time", "user_agent", "start_height", "relay")
    return f"Version({', '.join(f'{name}={getattr(message, name)!r}' for name in shown)})"


class Party:
    """What one node's peers do: the same at each node, since all of it is decided before."""

    def __init__(self, node: Node, listener: socket.socket, params: NetworkParams) -> None:
        self.node = node
        self.listener = listener
        self.params = params
        self.peers: list[ScriptedPeer] = []

    def dial(self, seed: int, *, v2: bool) -> None:
        """Open a connection to the node."""
        wire = _wire(self.params, seed, initiator=True) if v2 else None
        sock = socket.create_connection(("127.0.0.1", self.node.port), TIMEOUT_S)
        self.peers.append(ScriptedPeer(sock, self.params, TIMEOUT_S, wire, lenient=True))

    def welcome(self, seed: int) -> bool:
        """Take the connection that the node opens; whether it did."""
        try:
            sock, _ = self.listener.accept()
        except TimeoutError:
            return False
        self.peers.append(
            ScriptedPeer(sock, self.params, TIMEOUT_S, _wire(self.params, seed, initiator=False), lenient=True)
        )
        return True

    def say(self, which: int, messages: Sequence[Message]) -> None:
        """Send messages; what became of the connection shows in what the node tells."""
        with suppress(OSError):
            for message in messages:
                self.peers[which].send(message)

    def hear(self) -> None:
        """Take what has come, so that handshakes go on, and answer pings."""
        for peer in self.peers:
            with suppress(OSError, FrameError):  # of a node that took what was no version for a key
                peer.sock.settimeout(QUIET_S)
                while True:
                    message = peer.receive()
                    if isinstance(message, Ping):
                        peer.send(Pong(message.nonce))

    def close(self) -> None:
        """All hang up."""
        for peer in self.peers:
            peer.close()


def _wire(params: NetworkParams, seed: int, *, initiator: bool) -> Transport:
    return V2Transport(params.magic, initiator=initiator, random_bytes=Random(seed).randbytes)


class Meeting:
    """Nodes, their parties, and random steps that all of them take."""

    def __init__(self, nodes: list[Node], report: Report, world: World, rng: Random) -> None:
        self.asker = Asker(nodes, report)
        self.nodes = nodes
        self.rng = rng
        self.now = world.now
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT_S)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.parties = [Party(node, self.listener, world.params) for node in nodes]
        self.greeted: dict[int, int] = {}  # how far each connection's handshake is
        self.history: list[str] = []

    def close(self) -> None:
        """All hang up."""
        for party in self.parties:
            party.close()
        self.listener.close()

    def go(self, steps: int, deadline: float) -> None:
        """So many steps, or until the nodes part."""
        for _ in range(steps):
            if time.monotonic() > deadline or not self._step() or not self._agree():
                return

    # -- steps ---------------------------------------------------------------------------------------------------

    def _step(self) -> bool:
        rng = self.rng
        makers: tuple[tuple[int, Callable[[], bool]], ...] = (
            (3, self._dial),
            (4, self._connect),
            (9, self._greet),
            (4, self._chat),
            (2, self._hang_up),
            (2, self._call),
        )
        (maker,) = rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def _note(self, text: str) -> None:
        self.history.append(text)

    def _dial(self) -> bool:
        seed, v2 = self.rng.getrandbits(32), self.rng.random() < 0.4
        self._note(f"inbound {len(self.greeted)} v2={v2}")
        for party in self.parties:
            party.dial(seed, v2=v2)
        self.greeted[len(self.greeted)] = 0
        return True

    def _connect(self) -> bool:
        """Have the nodes open a connection, one after the other."""
        rng = self.rng
        seed, v2 = rng.getrandbits(32), rng.random() < 0.5
        params: list[Any] = [self.address, rng.choice(KINDS), v2]
        method = "addconnection"
        if rng.random() < 0.3:
            method, params = "addnode", [self.address, "onetry", v2]
        self._note(f"outbound {len(self.greeted)} {method} {write(params)}")
        came: list[bool] = []
        answers: list[Answer | str] = []
        for node, party in zip(self.nodes, self.parties, strict=True):
            answers.append(Answer(*node.call(request(method, params))))
            self.listener.settimeout(TIMEOUT_S if b'"error":null' in answers[-1].body else QUIET_S)  # type: ignore[union-attr]
            came.append(party.welcome(seed))
        self.asker.compare(method, self._shown(), answers)
        if len(set(came)) > 1:
            self.asker.report.add(method, "who connects", Example(self._shown(), str(came[0]), str(came[-1])))
            return False
        if came[0]:
            self.greeted[len(self.greeted)] = 0
        return True

    def _greet(self) -> bool:
        """The next part of a handshake: version, what belongs between, verack."""
        waiting = [number for number, stage in self.greeted.items() if stage < 3]
        if not waiting:
            return self._dial()
        number = self.rng.choice(waiting)
        stage = self.greeted[number]
        messages: list[Message] = []
        if stage == 0:
            messages = [self._version(number)]
        elif stage == 1:
            between: list[Message] = [WtxidRelay(), SendAddrV2()]
            messages = self.rng.sample(between, self.rng.randrange(3))
        else:
            messages = [Verack()]
        self.greeted[number] += 1
        return self._say(number, messages)

    def _version(self, number: int) -> Version:
        rng = self.rng
        usual = rng.random() < 0.6
        return Version(
            version=70016 if usual else rng.choice(VERSIONS),
            services=USUAL if usual else rng.choice(SERVICES),
            time=self.now + (0 if usual else rng.choice(OFFSETS)),
            nonce=5000 + number,
            user_agent=b"/peer/" if usual else rng.choice(AGENTS),
            start_height=MINED if usual else rng.choice(HEIGHTS),
            relay=rng.random() < 0.7,
        )

    def _chat(self) -> bool:
        """A message, perhaps one that comes too early."""
        if not self.greeted:
            return self._dial()
        rng = self.rng
        message = rng.choice(
            (
                SendHeaders(),
                SendCmpct(high_bandwidth=rng.random() < 0.5),
                FeeFilter(rng.choice((0, 1000, 10**8))),
                GetAddr(),
                Mempool(),
                Ping(7),
                Verack(),
                WtxidRelay(),
                SendAddrV2(),
                self._version(0),
                Addr(()),
            )
        )
        return self._say(rng.choice(list(self.greeted)), [message])

    def _say(self, number: int, messages: Sequence[Message]) -> bool:
        self._note(f"{number} says " + " ".join(map(_shown, messages)))
        for party in self.parties:
            party.say(number, messages)
        return True

    def _hang_up(self) -> bool:
        if not self.greeted:
            return True
        number = self.rng.choice(list(self.greeted))
        self._note(f"{number} hangs up")
        for party in self.parties:
            party.peers[number].close()
        self.greeted[number] = 3
        return True

    def _call(self) -> bool:
        rng = self.rng
        ids = range(-1, len(self.greeted) + 1)
        method, params = rng.choice(
            (
                ("disconnectnode", ["", rng.choice(ids)]),
                ("disconnectnode", [self.address]),
                ("addnode", [self.address, rng.choice(("add", "remove"))]),
                ("addnode", [ROUTED + self.address.removeprefix("127.0.0.1"), rng.choice(("add", "remove"))]),
                ("getaddednodeinfo", [self.address]),
                ("sendmsgtopeer", [rng.choice(ids), rng.choice(("ping", "addr", "x")), rng.choice(("", "00" * 8))]),
                ("addpeeraddress", [rng.choice(("1.2.3.4", "2001:db8::5", "8.8.8.8")), 8333, rng.random() < 0.5]),
                ("getblockfrompeer", ["00" * 32, rng.choice(ids)]),
            )
        )  # fmt: skip
        self._note(f"{method} {write(params)}")
        return not self.asker.compare(method, self._shown(), self.asker.post(request(method, params)))

    # -- what is told --------------------------------------------------------------------------------------------

    def _shown(self) -> str:
        return " <- ".join(self.history[::-1])

    def _agree(self) -> bool:
        """Whether the nodes tell the same, now or a little later."""
        deadline = time.monotonic() + SETTLE_S
        for method, params in OBSERVED:
            while True:
                for party in self.parties:
                    party.hear()
                answers = self.asker.post(request(method, params))
                same = len(answers) == 1 or not any(
                    isinstance(a, Answer) and isinstance(b, Answer) and kinds(method, a, b)
                    for a, b in [(answers[0], answers[-1])]
                )
                if same or time.monotonic() > deadline:
                    break
            if self.asker.compare(method, self._shown(), answers):
                return False
        return True


def run(make: Callable[[], list[Node]], report: Report, plan: Plan, rng: Random) -> None:
    """``make`` gives new nodes. Over a short chain, ``plan.rounds`` meetings of ``plan.steps`` steps."""
    deadline = time.monotonic() + plan.seconds
    world = World(plan.seed)
    for options in _options(rng, plan.rounds):
        if time.monotonic() > deadline:
            return
        nodes = make()
        try:
            for node in nodes:
                node.options = [f"-mocktime={world.now}", *options]
                node.start()
                for raw in world.blocks[:MINED]:
                    node.result(request("submitblock", [raw.hex()]))
            with closing(Meeting(nodes, report, world, rng)) as meeting:
                meeting.go(plan.steps, deadline)
        finally:
            for node in nodes:
                node.stop()


def _options(rng: Random, rounds: int) -> Iterator[list[str]]:
    rows = (("-v2transport=0",), ("-blocksonly",), ("-whitelist=noban,in,out@127.0.0.1",), ("-peerbloomfilters",),
            ("-maxconnections=5",), ("-peerblockfilters", "-blockfilterindex"), ("-prune=1",),
            ("-txreconciliation",), ("-test=addrman",))  # fmt: skip
    for _ in range(rounds):
        yield [word for row in rng.sample(rows, rng.randrange(3)) for word in row]
