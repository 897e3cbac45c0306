"""Connections: which to open, which to accept, which to give up.

Automatic outbound connections (8 full, 2 block-relay, now and then a feeler or one more) go to addresses of the book
in different netgroups; ``--connect`` and ``--addnode`` targets are retried with a growing delay; DNS seeds are asked
when the book does not lead to peers. Behaviour as in Bitcoin Core 31.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import field
from hashlib import blake2b

from btcnode.protocol.addresses.address_table import Entry
from btcnode.protocol.addresses.addresses import AddressGossip
from btcnode.protocol.addresses.netgroup import address_key, host_key
from btcnode.protocol.commands import AddConnection
from btcnode.protocol.connections.added_nodes import AddedNodes
from btcnode.protocol.connections.eviction import Candidate, select_for_eviction
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.connections.outbound_choice import CLEARNET, OutboundChoice
from btcnode.protocol.connections.peer_score import THROTTLED_BELOW
from btcnode.protocol.connections.peer_states import FIRST, NEVER, Change, PeerEvent, PeerState, Role, keep_by_state
from btcnode.protocol.context import Context
from btcnode.protocol.effects import Connect, Disconnect, LogLevel
from btcnode.protocol.events import ConnectFailed, PeerConnected, TransportReady
from btcnode.protocol.limits import (
    CONNECT_INTERVAL,
    EXTRA_BLOCK_RELAY_INTERVAL,
    EXTRA_NETWORK_INTERVAL,
    EXTRA_PEER_CHECK_INTERVAL,
    EXTRA_PROVIDER_INTERVAL,
    FEELER_INTERVAL,
    MAX_ANCHORS,
    MAX_CONNECTING,
    MAX_OUTBOUND_FULL_RELAY,
    MINIMUM_CONNECT_TIME,
    PROVIDER_SLOTS,
    PROVIDER_TRIAL,
    STALE_CHECK_INTERVAL,
    STALE_TIP_SPACINGS,
    VAIN_SEARCH_PAUSE_MAX,
)
from btcnode.protocol.peer import Peer
from btcnode.record import struct
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import NODE_P2P_V2
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

_SLOT_KINDS = (ConnectionKind.OUTBOUND_FULL, ConnectionKind.BLOCK_RELAY, ConnectionKind.MANUAL)


@struct
class Attempt:
    """A Connect effect without an answer. ``address`` is None for targets that the reactor resolves."""

    number: int
    kind: ConnectionKind
    address: NetAddress | None
    target: str
    count_failure: bool | None = None  # set for addresses of the book: whether a failure counts against them
    state: PeerState = PeerState.CLOSED  # changed by PeerStates only, with ``role``
    role: Role = field(init=False, default=PeerState.CLOSED.role)

    @property
    def name(self) -> str:
        """What the log calls it."""
        return f"attempt {self.number}"


class Connections:
    """Slots, attempts and the choice of addresses."""

    def __init__(self, ctx: Context, gossip: AddressGossip, anchors: tuple[AddrEntry, ...] = ()) -> None:
        self._ctx = ctx
        self._gossip = gossip
        self.choice = OutboundChoice(ctx, gossip, self._may_connect)
        self.active = True
        self.added = AddedNodes(ctx, self.open_manual)
        self._counts = dict.fromkeys(ConnectionKind, 0)  # what holds a slot
        self.attempts: dict[int, Attempt] = {}  # those that their states keep, until a peer goes on from there
        self._next_attempt = 1
        self._anchors = list(anchors[:MAX_ANCHORS])
        self._next_connect = ctx.steady
        self._vain_searches = 0
        self._next_search = ctx.steady
        self._searched = (0, 0)  # what the last search began with, see _may_search
        self._lost = 0  # outbound connections that are gone
        self._next_feeler = ctx.mockable + ctx.rng.expovariate(1 / FEELER_INTERVAL)
        self._next_extra_block_relay = ctx.mockable + ctx.rng.expovariate(1 / EXTRA_BLOCK_RELAY_INTERVAL)
        self._next_extra_network = ctx.mockable + ctx.rng.expovariate(1 / EXTRA_NETWORK_INTERVAL)
        self._next_extra_check = ctx.mockable + EXTRA_PEER_CHECK_INTERVAL
        self._next_stale_check = ctx.mockable + STALE_CHECK_INTERVAL
        self._try_extra_full = False
        self._provider_next = False  # in turn with others, however many addresses claim to be some
        self._next_extra_provider = ctx.steady
        self._synced_once = False
        self.last_tip_change = ctx.mockable
        self._group_key = ctx.rng.getrandbits(128).to_bytes(16, "little")
        ctx.states.on_change(self._on_change)

    def _on_change(self, change: Change) -> None:
        connection = change.connection
        if isinstance(connection, Attempt):
            keep_by_state(self.attempts, connection.number, connection)
        if isinstance(connection, Attempt | Peer):
            held, holds = change.before.role.holds_slot, change.after.role.holds_slot
            self._counts[connection.kind] += holds - held
            self._lost += held and not holds and connection.kind is not ConnectionKind.INBOUND

    # -- opening -------------------------------------------------------------------------------------------------

    def connect(
        self,
        target: NetAddress | str,
        kind: ConnectionKind,
        *,
        v2: bool | None = None,
        count_failure: bool | None = None,
    ) -> int | None:
        """Ask for a connection; returns the number of the attempt, None when too many are under way.

        ``v2``: whether to begin with version 2 of the transport; None: if we offer it (nothing is known of the peer).
        ``count_failure`` as in ``Attempt``.
        """
        if not self.active or len(self.attempts) >= MAX_CONNECTING:
            return None
        number = self._next_attempt
        if isinstance(target, str):
            attempt = Attempt(number, kind, None, target)
        else:
            attempt = Attempt(number, kind, target, str(target), count_failure)
        if not self._ctx.states.apply(attempt, PeerEvent.ASKED):
            return None
        self._next_attempt += 1
        speaks_v2 = self._ctx.config.offers_v2 if v2 is None else v2
        self._log_attempt(target, kind, speaks_v2)
        self._ctx.emit(Connect(number, target, kind, speaks_v2))
        return number

    def open_manual(self, target: str, *, v2: bool | None) -> int | None:
        """Ask for a connection to a target that the user named; otherwise as ``connect``."""
        return self.connect(target, ConnectionKind.MANUAL, v2=v2)

    def _log_attempt(self, target: NetAddress | str, kind: ConnectionKind, v2: bool) -> None:
        hours = 0.0 if isinstance(target, str) else self._gossip.book.age(target, int(self._ctx.unix)) / 3600
        transport = "v2" if v2 else "v1"
        text = f"trying {transport} connection ({kind.value}) to {target}, lastseen={hours:.1f}hrs"
        self._ctx.log(LogLevel.DEBUG, "net", text)

    def _note_attempt(self, attempt: Attempt) -> None:
        """The node was tried, which the book shall know; not when a proxy failed before it came to that."""
        if attempt.address is not None and attempt.count_failure is not None:
            self._gossip.book.attempt(attempt.address, int(self._ctx.unix), count_failure=attempt.count_failure)

    def on_add(self, event: AddConnection) -> None:
        """A test wants a connection; to whom there is one, none is opened."""
        if self.added.peer_of(event.target) is None:
            self.connect(event.target, event.kind, v2=event.v2)

    def _speaks_v2(self, services: int) -> bool:
        """Whether a node that is said to offer ``services`` is spoken to in version 2."""
        return bool(services & self._ctx.config.services & NODE_P2P_V2)

    def on_transport(self, event: TransportReady) -> None:
        """It is known what a peer speaks."""
        peer = self._ctx.peers.get(event.peer_id)
        if peer is not None:
            peer.transport, peer.session_id = event.transport, event.session_id

    def on_failed(self, failure: ConnectFailed) -> None:
        """An attempt came to nothing."""
        attempt = self.attempts.get(failure.attempt)
        if attempt is None:
            return
        if not failure.proxy_failed:
            self._note_attempt(attempt)
        self._ctx.states.apply(attempt, PeerEvent.FAILED)
        level = LogLevel.INFO if attempt.kind is ConnectionKind.MANUAL else LogLevel.DEBUG
        if self.added.on_failed(failure.attempt) or level is LogLevel.DEBUG:
            self._ctx.log(level, "net", f"connection to {attempt.target} failed: {failure.reason or 'unknown reason'}")

    # -- accepting -----------------------------------------------------------------------------------------------

    def admit(self, new: PeerConnected) -> Peer | None:
        """The state of a new connection, or None after refusing it."""
        ctx = self._ctx
        attempt = self.attempts.get(new.attempt) if new.attempt is not None else None
        if attempt is not None:
            self._note_attempt(attempt)
        reason = self._refusal(new, attempt)
        if reason:
            if new.inbound:
                ctx.log(LogLevel.DEBUG, "net", f"connection from {new.address} dropped ({reason})")
            ctx.emit(Disconnect(new.peer_id, reason))
            if attempt is not None:
                ctx.states.apply(attempt, PeerEvent.FAILED)
                self.added.on_failed(attempt.number)
            return None
        peer = Peer(
            id=new.peer_id,
            address=new.address,
            kind=new.kind,
            permissions=new.permissions,
            connected_mockable=ctx.mockable,
            connected_unix=int(ctx.unix),
            state=attempt.state if attempt is not None else PeerState.CLOSED,
            attempt=new.attempt,
            target=attempt.target if attempt is not None else "",
            local_address=new.local_address,
            transport=new.transport,
            through_tor=new.through_tor,
            prefer_evict=new.inbound and host_key(new.address) in ctx.discouraged,
        )
        peer.addr.tokens_at = ctx.mockable
        peer.ping_tokens_at = ctx.steady
        if attempt is not None:
            del self.attempts[attempt.number]
        if not ctx.states.apply(peer, PeerEvent.CONNECTED):
            ctx.emit(Disconnect(peer.id, "unexpected connection"))
            return None
        ctx.log(LogLevel.DEBUG, "net", f"Added connection peer={peer.id}")
        self.added.on_connected(peer)
        return peer

    def _refusal(self, new: PeerConnected, attempt: Attempt | None) -> str:
        """Why a new connection is not wanted; empty when it is."""
        ctx = self._ctx
        if not self.active:
            return "networking is off"
        if new.peer_id in ctx.peers:
            return "peer number in use"
        if not new.inbound:
            return self._refusal_outbound(new, attempt)
        no_ban = bool(new.permissions & Permission.NOBAN)
        if not no_ban and ctx.is_banned(new.address):
            return "banned"
        inbound = sum(1 for p in ctx.peers.values() if p.inbound and p.role.holds_slot)
        limit = ctx.config.max_inbound
        if not no_ban and inbound + 1 >= limit and host_key(new.address) in ctx.discouraged:
            return "discouraged"
        if inbound >= limit and not self._evict():
            return "no inbound slot left"
        return ""

    def _refusal_outbound(self, new: PeerConnected, attempt: Attempt | None) -> str:
        same = address_key(new.address)
        target = attempt.target if attempt is not None else ""
        for peer in self._ctx.peers.values():
            if peer.inbound or not peer.role.holds_slot:
                continue
            # of hosts whose names a proxy looks up only the names are known
            if address_key(peer.address) == same if new.address.is_valid else peer.target == target:
                return "already connected to this address"
        return ""

    def _evict(self) -> bool:
        """Close the least valuable inbound connection; False when all are protected."""
        ctx = self._ctx
        chosen = select_for_eviction([self._candidate(p) for p in ctx.peers.values() if self._evictable(p)])
        if chosen is None:
            return False
        ctx.disconnect(ctx.peers[chosen], "evicted for a new inbound connection")
        return True

    @staticmethod
    def _evictable(peer: Peer) -> bool:
        return peer.inbound and not peer.no_ban and peer.role.eviction > NEVER

    def _candidate(self, peer: Peer) -> Candidate:
        return Candidate(
            peer_id=peer.id,
            connected=peer.connected_mockable,
            ping=peer.ping.minimum if peer.ping.minimum is not None else float("inf"),
            last_block=peer.last_block_unix,
            last_tx=peer.last_tx_unix,
            relevant_services=peer.has_desired_services,
            relays_txs=peer.relay,
            has_bloom_filter=peer.tx is not None and peer.tx.filter is not None,
            group=blake2b(self._ctx.groups.group(peer.address), digest_size=8, key=self._group_key).digest(),
            network=Network.TORV3 if peer.through_tor else peer.address.network,
            is_local=peer.address.is_local,
            last_given=peer.last_given,
            prefer_evict=peer.prefer_evict or peer.conduct.score < THROTTLED_BELOW or peer.role.eviction >= FIRST,
        )

    # -- learning from peers -------------------------------------------------------------------------------------

    def on_version(self, peer: Peer) -> None:
        """A connection that we opened leads to a node: note it in the book; a feeler has done its work then."""
        if peer.inbound:
            return
        book, now = self._gossip.book, int(self._ctx.unix)
        book.set_services(peer.address, peer.services)
        book.good(peer.address, now)
        if peer.kind is ConnectionKind.FEELER:
            self._ctx.disconnect(peer, "feeler connection completed", level=LogLevel.DEBUG)

    def on_disconnected(self, peer: Peer, retry_v1: bool = False) -> None:
        """A connection is gone; ``retry_v1``: the node may be one that speaks version 1 of the transport only."""
        lasting = peer.kind not in (ConnectionKind.BLOCK_RELAY, ConnectionKind.PRIVATE_BROADCAST)
        if peer.complete_since is not None and not peer.inbound and lasting:
            self._gossip.book.connected(peer.address, int(self._ctx.unix))
        attempt = None
        if retry_v1 and peer.may_fall_back and self.active:
            self._ctx.log(LogLevel.DEBUG, "net", f"retrying with v1 transport protocol for peer={peer.id}")
            attempt = self.connect(peer.address, peer.kind, v2=False)
        self.added.on_disconnected(peer, attempt)

    def anchors(self) -> tuple[AddrEntry, ...]:
        """Addresses of block-relay peers, to be connected to first after a restart."""
        kind = ConnectionKind.BLOCK_RELAY
        peers = [p for p in self._ctx.peers.values() if p.kind is kind and p.role.holds_slot and p.address.is_valid]
        told = self._gossip.book.services  # by others, until the peer itself has told
        entries = [(p.services if p.version else told(p.address), p.address) for p in peers[:MAX_ANCHORS]]
        return tuple(AddrEntry(int(self._ctx.unix), services, address) for services, address in entries)

    def set_active(self, active: bool) -> None:
        """Switch all networking off or on."""
        self._ctx.log(LogLevel.INFO, "net", f"SetNetworkActive: {str(active).lower()}")
        self.active = active
        if not active:
            for peer in self._ctx.peers.values():
                self._ctx.disconnect(peer, "networking is off", level=LogLevel.DEBUG)

    # -- time ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Open what is missing, give up what is too much."""
        if not self.active:
            return
        self.added.tick()
        mockable = self._ctx.mockable
        if mockable >= self._next_extra_check:
            self._next_extra_check = mockable + EXTRA_PEER_CHECK_INTERVAL
            self._drop_extra_block_relay()
            self._drop_extra_full()
            self._check_stale_tip()
        if self._ctx.config.automatic_outbound and self._ctx.steady >= self._next_connect:
            self._next_connect = self._ctx.steady + CONNECT_INTERVAL
            self._open_automatic()

    def count(self, kind: ConnectionKind) -> int:
        """Connections of a kind that stand or are being opened."""
        return self._counts[kind]

    def _open_automatic(self) -> None:
        """Open at most one connection of the kind that is needed most."""
        ctx, config, mockable = self._ctx, self._ctx.config, self._ctx.mockable
        full = self.count(ConnectionKind.OUTBOUND_FULL)
        block_relay = self.count(ConnectionKind.BLOCK_RELAY)
        if self._anchors and block_relay < config.max_block_relay:
            self._open_anchor()
        elif full < config.max_outbound_full:
            self._provider_next = not self._provider_next and self._lacks_providers()
            if not self._provider_next or not self._open_to_provider():
                self._open_from_book(ConnectionKind.OUTBOUND_FULL)
        elif block_relay < config.max_block_relay:
            self._open_from_book(ConnectionKind.BLOCK_RELAY)
        elif self._try_extra_full and full == config.max_outbound_full:
            self._open_from_book(ConnectionKind.OUTBOUND_FULL)
        elif full == config.max_outbound_full and self._lacks_all_providers():
            self._next_extra_provider = ctx.steady + EXTRA_PROVIDER_INTERVAL
            self._open_to_provider()
        elif self._synced_once and mockable > self._next_extra_block_relay:
            self._next_extra_block_relay = mockable + ctx.rng.expovariate(1 / EXTRA_BLOCK_RELAY_INTERVAL)
            self._open_from_book(ConnectionKind.BLOCK_RELAY)
        elif mockable > self._next_feeler and not self.count(ConnectionKind.FEELER):
            self._next_feeler = mockable + ctx.rng.expovariate(1 / FEELER_INTERVAL)
            self._open_from_book(ConnectionKind.FEELER)
        elif full == config.max_outbound_full == MAX_OUTBOUND_FULL_RELAY and mockable > self._next_extra_network:
            network = self.choice.preferred_network()
            if network is not None:
                self._next_extra_network = mockable + ctx.rng.expovariate(1 / EXTRA_NETWORK_INTERVAL)
                self._open_from_book(ConnectionKind.OUTBOUND_FULL, network)

    def _providers(self) -> int:
        """Connections that we opened, or are opening, to who offers what is wanted beside blocks."""
        ctx, told = self._ctx, self._gossip.book.services
        count = sum(not p.inbound and p.kind in _SLOT_KINDS and ctx.is_provider(p) for p in ctx.established())
        opening = [a.address for a in self.attempts.values() if a.kind is ConnectionKind.OUTBOUND_FULL and a.address]
        opening += [p.address for p in ctx.peers.values() if not p.inbound and not p.version]
        return count + sum(ctx.providers.offers(address, told(address), ctx.steady) for address in opening)

    def _lacks_providers(self) -> bool:
        """Whether one of the automatic connections should go to such a peer."""
        most = min(PROVIDER_SLOTS, -(-self._ctx.config.max_outbound_full // 2))
        return bool(self._ctx.providers.wanted) and self._providers() < most

    def _lacks_all_providers(self) -> bool:
        """Whether it is time to look for one beyond the usual connections, since nobody gives what is wanted."""
        ctx = self._ctx
        if not ctx.providers.wanted or ctx.steady < self._next_extra_provider or self._providers():
            return False
        return not any(map(ctx.is_provider, ctx.established()))

    def _open_to_provider(self) -> bool:
        """Open a connection to one, if the book has a fitting address."""
        groups, others = self._outbound_groups()
        entry = self.choice.choose_provider(groups)
        if entry is None:
            return False
        online = len(groups) + others >= min(self._ctx.config.max_connections - 1, 2)
        kind, v2 = ConnectionKind.OUTBOUND_FULL, self._speaks_v2(entry.services)
        return self.connect(entry.address, kind, v2=v2, count_failure=online) is not None

    def _open_anchor(self) -> None:
        """Connect to the next block-relay peer of the last run that still suits."""
        groups, _ = self._outbound_groups()
        while self._anchors:
            _, services, address = self._anchors.pop()
            suits = self._ctx.has_desirable_services(services) and self._may_connect(address)
            if suits and self._ctx.groups.group(address) not in groups:
                self._ctx.log(LogLevel.DEBUG, "net", f"Trying to make an anchor connection to {address}")
                self.connect(address, ConnectionKind.BLOCK_RELAY, v2=self._speaks_v2(services), count_failure=False)
                return

    def _outbound_groups(self) -> tuple[dict[bytes, None], int]:
        """Groups of lasting outbound connections over IPv4 and IPv6, standing or being opened, and how many there are
        over networks whose groups mean nothing."""
        addresses = [p.address for p in self._ctx.peers.values() if p.kind in _SLOT_KINDS]
        addresses += [a.address for a in self.attempts.values() if a.kind in _SLOT_KINDS and a.address is not None]
        clear = [address for address in addresses if address.network in CLEARNET]
        return {self._ctx.groups.group(address): None for address in clear}, len(addresses) - len(clear)

    def _may_connect(self, address: NetAddress) -> bool:
        """Whether an automatic connection to the address is allowed at all."""
        ctx, gossip = self._ctx, self._gossip
        if not gossip.is_usable(address) or not gossip.is_reachable(address) or address in gossip.local.scores:
            return False
        if ctx.is_unwanted(address) or self.added.contains(address):
            return False
        key = address_key(address)
        if any(address_key(p.address) == key for p in ctx.peers.values()):
            return False
        return not any(a.address is not None and address_key(a.address) == key for a in self.attempts.values())

    def _may_search(self) -> bool:
        """Whether a search may find somebody: not soon after one was in vain, unless addresses or slots have come."""
        return self._ctx.steady >= self._next_search or self._searched != (len(self._gossip.book), self._lost)

    def _note_search(self, *, found: bool) -> None:
        if self._searched != (state := (len(self._gossip.book), self._lost)) or found:
            self._searched, self._vain_searches = state, 0
        if not found:
            pause = min(VAIN_SEARCH_PAUSE_MAX, CONNECT_INTERVAL * 2**self._vain_searches)
            self._vain_searches += pause < VAIN_SEARCH_PAUSE_MAX
            self._next_search = self._ctx.steady + pause

    def _open_from_book(self, kind: ConnectionKind, network: Network | None = None) -> None:
        """Open a connection to an address of the book that suits the kind, if there is one."""
        if kind is not ConnectionKind.FEELER and not self._may_search():
            return
        ctx, book, now = self._ctx, self._gossip.book, int(self._ctx.unix)
        groups, others = self._outbound_groups()
        book.resolve_collisions(now)
        if kind is ConnectionKind.FEELER:
            entry = self.choice.choose_for_feeler()
        else:
            entry = self.choice.choose(groups, network)
            self._note_search(found=entry is not None)
        if entry is None:
            return
        if network is not None:
            name = NETWORK_NAMES[network]
            ctx.log(LogLevel.DEBUG, "net", f"Making network specific connection to {entry.address} on {name}.")
        online = len(groups) + others >= min(ctx.config.max_connections - 1, 2)
        self.connect(entry.address, kind, v2=self._speaks_v2(entry.services), count_failure=online)

    def room_for(self, kind: ConnectionKind) -> bool:
        """Whether one more automatic connection of a kind fits."""
        config = self._ctx.config
        if kind is ConnectionKind.OUTBOUND_FULL:
            return self.count(kind) < config.max_outbound_full
        return kind is not ConnectionKind.BLOCK_RELAY or self.count(kind) < config.max_block_relay

    def reachable(self) -> tuple[Network, ...]:
        """Networks that automatic connections may use."""
        return self.choice.reachable()

    def may_connect_privately(self, address: NetAddress) -> bool:
        """Whether a short connection for one transaction may go there, whatever networks others may use."""
        ctx, gossip = self._ctx, self._gossip
        if not gossip.is_usable(address) or address in gossip.local.scores or ctx.is_unwanted(address):
            return False
        key = address_key(address)
        if any(address_key(p.address) == key for p in ctx.peers.values()):
            return False
        return not any(a.address is not None and address_key(a.address) == key for a in self.attempts.values())

    def open_private(self, networks: Collection[Network], suits: Callable[[Entry], bool]) -> None:
        """Open a connection for private broadcast to an address of the book, if one suits."""
        entry = self.choice.choose_for_private(networks, suits)
        if entry is not None:
            v2 = self._speaks_v2(entry.services)
            self.connect(entry.address, ConnectionKind.PRIVATE_BROADCAST, v2=v2, count_failure=True)

    # -- giving up -----------------------------------------------------------------------------------------------

    def _drop_extra_block_relay(self) -> None:
        """Of the two youngest block-relay peers beyond the limit, drop who gave us a block less recently."""
        ctx = self._ctx
        peers = [p for p in ctx.established() if p.kind is ConnectionKind.BLOCK_RELAY]
        if len(peers) <= ctx.config.max_block_relay:
            return
        peers.sort(key=lambda p: p.id, reverse=True)
        drop = peers[0]
        if len(peers) > 1 and drop.last_block_unix > peers[1].last_block_unix:
            drop = peers[1]
        if ctx.mockable - drop.connected_mockable >= MINIMUM_CONNECT_TIME and not drop.blocks.in_flight:
            ctx.disconnect(drop, "extra block-relay peer", level=LogLevel.DEBUG)

    def _drop_extra_full(self) -> None:
        """Beyond the limit, drop the full-relay peer that announced a new block least recently."""
        ctx = self._ctx
        peers = [p for p in ctx.established() if p.kind is ConnectionKind.OUTBOUND_FULL]
        if len(peers) <= ctx.config.max_outbound_full:
            return
        networks = [p.address.network for p in ctx.established() if p.kind in _SLOT_KINDS[::2]]
        loose = [p for p in peers if not p.headers.protected and networks.count(p.address.network) > 1]
        if not loose:
            return
        trial = any(ctx.is_provider(p) and not p.last_given and self._is_fresh(p) for p in peers)
        if trial and len(peers) == ctx.config.max_outbound_full + 1:
            return
        gives = {p.id: ctx.is_provider(p) and bool(p.last_given) for p in loose}
        drop = min(loose, key=lambda p: (-p.role.eviction, gives[p.id], p.headers.last_announcement, -p.id))
        if ctx.mockable - drop.connected_mockable > MINIMUM_CONNECT_TIME and not drop.blocks.in_flight:
            ctx.disconnect(drop, "extra outbound peer", level=LogLevel.DEBUG)
            self._try_extra_full = False

    def _is_fresh(self, peer: Peer) -> bool:
        """Whether a provider may still have had no chance to give anything."""
        return self._ctx.mockable - peer.connected_mockable < PROVIDER_TRIAL

    def _check_stale_tip(self) -> None:
        """Every ten minutes: when no block came for three target spacings, look for one more outbound peer."""
        ctx = self._ctx
        if not self._synced_once and ctx.can_direct_fetch():
            self._synced_once = True
        if ctx.mockable < self._next_stale_check:
            return
        self._next_stale_check = ctx.mockable + STALE_CHECK_INTERVAL
        age = ctx.mockable - self.last_tip_change
        busy = any(p.blocks.in_flight for p in ctx.peers.values())
        stale = age > STALE_TIP_SPACINGS * ctx.params.pow_target_spacing and not busy
        if stale and ctx.config.automatic_outbound:
            ctx.log(LogLevel.INFO, "net", f"potential stale tip: no new block for {age:.0f} s, trying one more peer")
        self._try_extra_full = stale
