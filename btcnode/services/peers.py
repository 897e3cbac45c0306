"""Peers and sockets of a running node as the user asks for them and orders them about: over protocol and reactor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from btcnode.net.reactor import Reactor
from btcnode.primitives.tx import Tx
from btcnode.protocol.commands import (
    AbortPrivateBroadcast,
    AddConnection,
    AddNode,
    DisconnectNode,
    FetchBlock,
    ForwardTimers,
    LiftBan,
    PingPeers,
    SetBan,
    SetNetworkActive,
)
from btcnode.protocol.config import ProtocolConfig
from btcnode.protocol.connections.bans import Ban
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.peer_info import PeerInfo
from btcnode.protocol.connections.peer_score import PeerScore
from btcnode.protocol.protocol import Protocol
from btcnode.protocol.serving.upload_budget import UploadBudget
from btcnode.protocol.transactions.orphanage import OrphanInfo
from btcnode.protocol.transactions.private_broadcast import PrivateInfo
from btcnode.record import record
from btcnode.services.ban_file import BanFile
from btcnode.services.clock import Clock
from btcnode.settings.addresses import numeric
from btcnode.settings.settings import Settings
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress
from btcnode.wire.subnet import SubNet

LAST_TIME = 2**63 - 1  # that a ban can end at


@record
class LocalAddress:
    """An address at which this node believes it can be reached."""

    address: str
    port: int
    score: int


@record
class NetworkState:
    """The node's side of the network, for ``getnetworkinfo``."""

    protocol_version: int
    user_agent: str
    services: int
    relays_transactions: bool
    time_offset: int
    active: bool
    connections_in: int
    connections_out: int
    reachable: Mapping[str, bool]  # "ipv4" -> True ...
    local_addresses: Sequence[LocalAddress]
    proxies: Mapping[str, tuple[str, bool]]  # network -> address, credentials vary


@record
class AddedNode:
    """A node that the user asked for; ``address`` (with port) and ``inbound`` are set while it is connected."""

    name: str
    address: str | None = None
    inbound: bool = False

    @property
    def connected(self) -> bool:
        """Whether a connection to it stands."""
        return self.address is not None


class Peers:
    """Peers, added nodes and bans over one reactor."""

    def __init__(
        self,
        reactor: Reactor,
        protocol: Protocol,
        options: ProtocolConfig,
        settings: Settings,
        ban_file: BanFile,
        clock: Clock,
    ) -> None:
        self._reactor = reactor
        self._protocol = protocol
        self._options = options
        self._ban_file = ban_file
        self._clock = clock
        self._ban_time = settings.connections.bantime_s

    def connected(self) -> Sequence[PeerInfo]:
        """Connected peers, oldest first."""
        connections, found = self._reactor.connections, []
        for peer_id in self._protocol.peer_ids():
            connection = connections.get(peer_id)
            info = self._protocol.peer_info(peer_id, connection) if connection is not None else None
            if info is not None:
                found.append(info)
        return found

    def directions(self) -> tuple[int, int]:
        """How many peers are connected: that came in, that we went to."""
        return self._protocol.directions()

    def network_state(self) -> NetworkState:
        """Own side of the network."""
        inbound, outbound = self.directions()
        dialer, networks = self._reactor.dialer, self._protocol.reachable_networks
        return NetworkState(
            protocol_version=self._options.protocol_version,
            user_agent=self._options.user_agent,
            services=self._protocol.services,
            relays_transactions=self._options.tx_relay,
            time_offset=self._protocol.median_time_offset(),
            active=self._protocol.network_active,
            connections_in=inbound,
            connections_out=outbound,
            reachable={name: name in networks for name in NETWORK_NAMES.values()},
            proxies={
                name: (str(proxy), proxy.randomize)
                for network, name in NETWORK_NAMES.items()
                if (proxy := dialer.proxy_of(network)) is not None
            },
            local_addresses=[
                LocalAddress(address.host, address.port, score)
                for address, score in self._protocol.local_addresses.items()
            ],
        )

    def totals(self) -> tuple[int, int]:
        """Bytes received and sent."""
        return self._reactor.traffic.bytes_received, self._reactor.traffic.bytes_sent

    def added_nodes(self) -> Sequence[AddedNode]:
        """Nodes that the user asked for."""
        nodes = []
        for name, peer_id in self._protocol.added_nodes():
            data = self._protocol.peer_info(peer_id) if peer_id is not None else None
            nodes.append(AddedNode(name) if data is None else AddedNode(name, data["addr"], data["inbound"]))
        return nodes

    def _has_added(self, address: str) -> bool:
        names = [name for name, _ in self._protocol.added_nodes()]
        if address in names:
            return True
        port = self._reactor.default_port
        meant = numeric(address, port)
        return meant is not None and any(numeric(name, port) == meant for name in names)

    def add_node(self, address: str, v2: bool | None = None) -> bool:
        """Keep a connection to ``address``; ``v2``: begin with the encrypted transport, None if we offer it."""
        if self._has_added(address):
            return False
        self._reactor.feed(AddNode(address, "add", v2))
        return True

    def remove_node(self, address: str) -> bool:
        """Forget an added node."""
        if all(name != address for name, _ in self._protocol.added_nodes()):
            return False
        self._reactor.feed(AddNode(address, "remove"))
        return True

    async def try_node(self, address: str, v2: bool | None = None) -> None:
        """Try once; returns when the connection stands or has failed."""
        await self._reactor.feed_and_wait(AddNode(address, "onetry", v2))

    def disconnect_address(self, address: str) -> bool:
        """Close the connection to ``host:port``; False when there is none."""
        for info in self.connected():
            if info["addr"] == address:
                return self.disconnect_id(info["id"])
        return False

    def disconnect_id(self, peer_id: int) -> bool:
        """Close a connection by its number; False when there is none."""
        if peer_id not in self._reactor.connections:
            return False
        self._reactor.feed(DisconnectNode(peer_id))
        return True

    def upload_budget(self) -> UploadBudget:
        """The day's upload target."""
        return self._protocol.upload

    def scores(self) -> dict[int, PeerScore]:
        """What each connection is worth, from 0 to 100, and why; by its number."""
        return self._protocol.peer_scores()

    def score_weights(self) -> tuple[float, ...]:
        """The weights in use."""
        return self._protocol.score_weights()

    # -- bans ----------------------------------------------------------------------------------------------------

    def ban(self, subnet: SubNet, seconds: int, absolute: bool) -> None:
        """Ban a range for ``seconds`` (0: the default), or until that Unix time, and disconnect its peers."""
        now = self._clock.now()
        until = seconds if absolute and seconds > 0 else now + (seconds if seconds > 0 else self._ban_time)
        if until > LAST_TIME:  # bitcoind's sum is then negative, and the ban has ended as soon as it begins
            until = now - 1
        self._reactor.feed(SetBan(subnet, now, until))
        self._ban_file.changed()

    def unban(self, subnet: SubNet) -> bool:
        """Lift a ban."""
        if not self._ban_file.bans.knows(subnet):
            return False
        self._reactor.feed(LiftBan(subnet))
        self._ban_file.changed()
        return True

    def clear_bans(self) -> None:
        """Lift all bans."""
        self._reactor.feed(LiftBan(None))
        self._ban_file.changed()

    def is_banned(self, subnet: SubNet, *, exactly: bool) -> bool:
        """Whether this range is banned, or (a single address, not ``exactly``) any that it lies in."""
        bans, now = self._ban_file.bans, self._clock.now()
        if exactly:
            return bans.has(subnet, now)
        return bans.covers(NetAddress(subnet.network, subnet.raw, 0), now)

    def bans(self) -> list[tuple[SubNet, Ban]]:
        """Bans that hold, in Core's order."""
        if self._ban_file.bans.sweep(self._clock.now()):
            self._ban_file.changed()
        return self._ban_file.bans.all()

    # -- for tests -----------------------------------------------------------------------------------------------

    async def open_connection(self, address: str, kind: str, v2: bool) -> bool:
        """Open an automatic connection of a kind (Core's name), or try to; False when there is no slot."""
        if not self._protocol.room_for(ConnectionKind(kind)):
            return False
        await self._reactor.feed_and_wait(AddConnection(address, ConnectionKind(kind), v2))
        return True

    def send_raw(self, peer_id: int, command: str, payload: bytes) -> bool:
        """Send any message to a peer; False when there is no such peer."""
        connection = self._reactor.connections.get(peer_id)
        if connection is None:
            return False
        connection.send_raw(command, payload)
        return True

    def ping(self) -> None:
        """Ping every peer soon."""
        self._reactor.feed(PingPeers())

    def orphans(self) -> Sequence[OrphanInfo]:
        """Transactions whose parents are missing."""
        return self._protocol.orphans()

    def private_broadcasts(self) -> Sequence[PrivateInfo]:
        """Transactions under way by private broadcast."""
        return self._protocol.private_broadcasts()

    def abort_private_broadcast(self, tx_hash: bytes) -> Sequence[Tx]:
        """Give up those with this txid or wtxid; returns them."""
        found = [info.tx for info in self._protocol.private_broadcasts() if tx_hash in (info.tx.txid, info.tx.wtxid)]
        self._reactor.feed(AbortPrivateBroadcast(tx_hash))
        return found

    def fetch_block(self, peer_id: int, index: int) -> str | None:
        """Ask a peer for a block; why that cannot be, or None."""
        why = self._protocol.why_no_fetch(peer_id)
        if why is None:
            self._reactor.feed(FetchBlock(peer_id, index))
        return why

    def forward_timers(self, seconds: int) -> None:
        """Let the slow timers run ahead."""
        self._reactor.feed(ForwardTimers(seconds))

    def set_network_active(self, active: bool) -> None:
        """Switch P2P traffic off or on."""
        self._reactor.feed(SetNetworkActive(active))
