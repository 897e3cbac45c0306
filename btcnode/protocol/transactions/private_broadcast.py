"""The user's transactions, sent to a few nodes over connections that serve nothing else (``--privatebroadcast``).

For each transaction three connections are opened to addresses of networks that hide us (Tor, I2P). Such a connection
says as little as possible: version with constant fields, verack, one inv, the transaction once it is asked for, a
ping; the pong confirms it and ends the connection. When the transaction comes back from the network it is done; else
it is tried again. Behaviour and messages are those of Bitcoin Core 31.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from btcnode.primitives.hashes import to_display
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.effects import LogLevel, ProcessTransactions
from btcnode.protocol.limits import (
    MAX_PRIVATE_BROADCAST_CONNECTIONS,
    MAX_PRIVATE_SENDINGS,
    MAX_PRIVATE_TRANSACTIONS,
    PRIVATE_BROADCAST_INITIAL_STALE,
    PRIVATE_BROADCAST_LIFETIME,
    PRIVATE_BROADCAST_OPEN_INTERVAL,
    PRIVATE_BROADCAST_RETRY_MIN,
    PRIVATE_BROADCAST_RETRY_SPREAD,
    PRIVATE_BROADCAST_STALE,
    PRIVATE_BROADCASTS_PER_TX,
)
from btcnode.record import struct
from btcnode.tuples import NamedTuple
from btcnode.wire.constants import MIN_PEER_PROTO_VERSION, MSG_TX, MSG_TYPE_MASK, PROTOCOL_VERSION
from btcnode.wire.messages import GetData, Inv, InvItem, Ping, Pong, TxMessage, Verack, Version
from btcnode.wire.messages.handshake import NOWHERE
from btcnode.wire.netaddr import NETWORK_NAMES, Network

if TYPE_CHECKING:
    from btcnode.primitives.tx import Tx
    from btcnode.protocol.commands import AbortPrivateBroadcast, BroadcastPrivately
    from btcnode.protocol.connections.connections import Connections
    from btcnode.protocol.context import Context
    from btcnode.protocol.events import TransactionsProcessed
    from btcnode.protocol.peer import Peer
    from btcnode.wire.codec import Message
    from btcnode.wire.netaddr import NetAddress

USER_AGENT = b"/pynode:0.0.1/"  # what Core says on such connections, the same for everybody


@struct
class Sending:
    """One attempt: whom the transaction was chosen for, when (Unix time), and when the pong came."""

    peer_id: int
    address: NetAddress
    picked: int
    confirmed: int | None = None


@struct
class _Private:
    tx: Tx
    added: int
    sendings: list[Sending] = field(default_factory=list)
    picked: int = 0  # how often, forgotten sendings included

    def priority(self) -> tuple[int, int, int, int]:
        """Smallest first: least often sent and confirmed, longest ago."""
        confirmed = [s.confirmed for s in self.sendings if s.confirmed is not None]
        last = self.sendings[-1].picked if self.sendings else 0
        return self.picked, len(confirmed), last, max(confirmed, default=0)


class PrivateInfo(NamedTuple):
    """A transaction under way, as ``getprivatebroadcastinfo`` tells of it."""

    tx: Tx
    added: int
    sendings: tuple[Sending, ...]


def _shown(tx: Tx, between: str = ", ") -> str:
    return f"txid={to_display(tx.txid)}{between}wtxid={to_display(tx.wtxid)}"


class PrivateBroadcast:
    """Transactions under way and the connections for them."""

    def __init__(self, ctx: Context, connections: Connections) -> None:
        self._ctx = ctx
        self._connections = connections
        self._txs: dict[bytes, _Private] = {}  # by wtxid
        self._sent: dict[int, tuple[bytes, Sending]] = {}  # peer -> wtxid and sending
        self._to_open = 0
        self._tor_works = False  # a node was spoken to through Tor
        self._next_open = ctx.steady
        self._next_retry = ctx.mockable
        self._tests: dict[int, bytes] = {}  # number of the ProcessTransactions -> wtxid
        self._next_test = -1  # counts down: numbers of the others count up
        self._pings: dict[int, int] = {}  # peer -> nonce

    def all(self) -> list[PrivateInfo]:
        """Everything under way."""
        return [PrivateInfo(p.tx, p.added, tuple(p.sendings)) for p in self._txs.values()]

    # -- the user ------------------------------------------------------------------------------------------------

    def on_broadcast(self, event: BroadcastPrivately) -> None:
        """A transaction to be sent; one that is under way already changes nothing."""
        tx = event.tx
        if tx.wtxid in self._txs:
            self._log(f"Ignoring unnecessary request to schedule an already scheduled transaction: {_shown(tx)}")
            return
        if len(self._txs) >= MAX_PRIVATE_TRANSACTIONS:
            self._ctx.log(LogLevel.WARNING, "privatebroadcast", f"too many under way, {to_display(tx.txid)} is dropped")
            return
        self._txs[tx.wtxid] = _Private(tx, int(self._ctx.unix))
        self._to_open += PRIVATE_BROADCASTS_PER_TX
        self._log(f"Requesting {PRIVATE_BROADCASTS_PER_TX} new connections due to {_shown(tx)}")

    def _log(self, text: str) -> None:
        self._ctx.log(LogLevel.DEBUG, "privatebroadcast", text)

    def on_abort(self, event: AbortPrivateBroadcast) -> None:
        """Give one up, by txid or wtxid."""
        for wtxid in [w for w, p in self._txs.items() if event.tx_hash in (w, p.tx.txid)]:
            self._remove(wtxid)

    def seen(self, wtxid: bytes, peer: Peer) -> None:
        """A peer sent us a transaction: if it is one of ours it has reached the network."""
        private = self._txs.get(wtxid)
        if private is not None:
            self._log(
                f"Received our privately broadcast transaction (txid={to_display(private.tx.txid)}) from the network"
                f" from peer={peer.id}; stopping private broadcast attempts"
            )
            self._remove(wtxid)

    def _remove(self, wtxid: bytes) -> None:
        """Forget a transaction and the connections that are not needed any more."""
        private = self._txs.pop(wtxid)
        confirmed = private.priority()[1]
        self._to_open = max(0, self._to_open - max(0, PRIVATE_BROADCASTS_PER_TX - confirmed))

    # -- one connection ------------------------------------------------------------------------------------------

    def start(self, peer: Peer) -> None:
        """The connection stands: say who we are not."""
        self._to_open = max(0, self._to_open - 1)
        peer.nonce = self._ctx.rng.getrandbits(64) or 1
        message = Version(
            version=PROTOCOL_VERSION,
            services=0,
            time=0,
            receiver_services=0,
            receiver=NOWHERE,
            sender_services=0,
            sender=NOWHERE,
            nonce=peer.nonce,
            user_agent=USER_AGENT,
            start_height=0,
            relay=False,
        )
        self._ctx.send(peer, message)

    def on_message(self, peer: Peer, message: Message) -> None:
        """Version, verack, getdata and pong in this order; everything else is ignored."""
        if isinstance(message, Version):
            self._on_version(peer, message)
        elif not peer.version:
            return
        elif isinstance(message, Verack):
            if peer.id not in self._sent:
                self._send_inv(peer)
        elif isinstance(message, GetData):
            self._on_getdata(peer, message)
        elif isinstance(message, Pong):
            self._on_pong(peer, message)

    def _on_version(self, peer: Peer, message: Version) -> None:
        if peer.version:
            return
        if message.version < MIN_PEER_PROTO_VERSION or not message.relay:
            self._ctx.disconnect(peer, "of no use for private broadcast", level=LogLevel.DEBUG)
            return
        peer.version = message.version
        peer.common_version = min(message.version, PROTOCOL_VERSION)
        peer.services = message.services
        peer.relay = True
        self._ctx.send(peer, Verack())

    def _send_inv(self, peer: Peer) -> None:
        """Choose the transaction that is most in need and announce it."""
        if not self._txs:
            self._ctx.disconnect(peer, "nothing left for private broadcast", level=LogLevel.DEBUG)
            return
        wtxid, private = min(self._txs.items(), key=lambda item: item[1].priority())
        sending = Sending(peer.id, peer.address, int(self._ctx.unix))
        private.sendings.append(sending)
        private.picked += 1
        del private.sendings[:-MAX_PRIVATE_SENDINGS]
        self._sent[peer.id] = (wtxid, sending)
        self._ctx.send(peer, Inv((InvItem(MSG_TX, private.tx.txid),)))

    def _on_getdata(self, peer: Peer, message: GetData) -> None:
        """Only what was announced may be asked for, and nothing beside it."""
        wtxid, _ = self._sent.get(peer.id, (b"", None))
        private = self._txs.get(wtxid)
        items = message.items if len(message) == 1 else ()
        if private is None or not items or items[0].kind & MSG_TYPE_MASK != MSG_TX or items[0].hash != private.tx.txid:
            self._ctx.disconnect(peer, "unexpected request during private broadcast", level=LogLevel.DEBUG)
            return
        self._ctx.send(peer, TxMessage(private.tx.raw))
        nonce = self._ctx.rng.getrandbits(64) or 1
        self._pings[peer.id] = nonce
        self._ctx.send(peer, Ping(nonce))

    def _on_pong(self, peer: Peer, message: Pong) -> None:
        if message.nonce and self._pings.get(peer.id) == message.nonce:
            self._sent[peer.id][1].confirmed = int(self._ctx.unix)
            self._ctx.disconnect(peer, "private broadcast done", level=LogLevel.DEBUG)

    def tick_peer(self, peer: Peer) -> None:
        """End connections that take too long."""
        ctx = self._ctx
        age = ctx.mockable - peer.connected_mockable
        if age > PRIVATE_BROADCAST_LIFETIME or (not peer.version and age > ctx.config.peer_timeout):
            ctx.disconnect(peer, "private broadcast took too long", level=LogLevel.DEBUG)

    def forget(self, peer: Peer) -> None:
        """The connection is gone; without confirmation another one is opened while there is anything to send."""
        self._pings.pop(peer.id, None)
        _, sending = self._sent.pop(peer.id, (b"", None))
        if (sending is None or sending.confirmed is None) and self._txs:
            self._to_open += 1

    # -- time ----------------------------------------------------------------------------------------------------

    def forward(self, seconds: int) -> None:
        """Let the timer of trying again run ahead."""
        self._next_retry -= seconds

    def tick(self) -> None:
        """Open connections, and try again what did not come back from the network."""
        ctx = self._ctx
        if not ctx.config.private_broadcast:
            return
        if not self._tor_works:
            tor = (p for p in ctx.peers.values() if p.address.network is Network.TORV3)
            self._tor_works = any(p.version and not p.inbound for p in tor)
        if ctx.mockable >= self._next_retry:
            self._next_retry = (
                ctx.mockable + PRIVATE_BROADCAST_RETRY_MIN + ctx.rng.random() * PRIVATE_BROADCAST_RETRY_SPREAD
            )
            self._test_stale()
        if self._to_open and ctx.steady >= self._next_open:
            self._next_open = ctx.steady + PRIVATE_BROADCAST_OPEN_INTERVAL
            self._open()

    def _test_stale(self) -> None:
        """Ask whether what nobody has told us of is still acceptable; then it is sent again."""
        now = int(self._ctx.unix)
        self._tests.clear()
        for wtxid, private in self._txs.items():
            _, confirmations, _, last = private.priority()
            if confirmations:
                stale = last < now - PRIVATE_BROADCAST_STALE
            else:
                stale = private.added < now - PRIVATE_BROADCAST_INITIAL_STALE
            if stale:
                self._tests[self._next_test] = wtxid
                self._ctx.emit(ProcessTransactions(-1, self._next_test, (private.tx,), test=True))
                self._next_test -= 1

    def on_tested(self, event: TransactionsProcessed) -> None:
        """The mempool would take the transaction: send it again; it would not (or has it): give up."""
        wtxid = self._tests.pop(event.number, b"")
        if wtxid not in self._txs:
            return
        if event.results and event.results[0].result is None:
            self._to_open += 1
            self._log(f"Reattempting broadcast of stale {_shown(self._txs[wtxid].tx, ' ')}")
        else:
            reason = event.results[0].reason if event.results else "not judged"
            self._log(f"Giving up broadcast attempts for {_shown(self._txs[wtxid].tx, ' ')}: {reason}")
            self._remove(wtxid)

    def _open(self) -> None:
        """Open one connection to an address of a network that hides us."""
        ctx, connections = self._ctx, self._connections
        if connections.count(ConnectionKind.PRIVATE_BROADCAST) >= min(
            MAX_PRIVATE_BROADCAST_CONNECTIONS, self._needed()
        ):
            return
        networks = self._networks()
        if networks:
            chosen = (networks[ctx.rng.randrange(len(networks))],)
            connections.open_private(chosen, lambda entry: connections.may_connect_privately(entry.address))

    def _networks(self) -> list[Network]:
        """Where connections may lead: what hides us, and the clear net through Tor once Tor is known to work."""
        names, reachable = self._ctx.config.private_broadcast_networks, self._connections.reachable()
        networks = [network for network in reachable if NETWORK_NAMES[network] in names]
        if Network.TORV3 in networks and self._tor_works:
            networks += [n for n in (Network.IPV4, Network.IPV6) if n in reachable and n not in networks]
        return networks

    def _needed(self) -> int:
        """Connections that may stand at a time: those still to be opened and those that are at work."""
        return self._to_open + sum(
            1 for p in self._ctx.peers.values() if p.kind is ConnectionKind.PRIVATE_BROADCAST and p.role.holds_slot
        )
