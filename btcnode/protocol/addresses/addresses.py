"""Gossip of addresses (addr, addrv2, getaddr): taken at a limited rate, relayed to one or two peers, given away
sparingly. Behaviour as in Bitcoin Core 31.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from btcnode.protocol.addresses.addrman import AddressBook
from btcnode.protocol.addresses.local_addresses import LocalAddresses
from btcnode.protocol.addresses.netgroup import address_key
from btcnode.protocol.agenda import NEVER, NEXT_TICK, Part
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel
from btcnode.protocol.events import NetworkReachable
from btcnode.protocol.limits import (
    ADDR_CACHE_MIN_AGE,
    ADDR_CACHE_SPREAD,
    ADDR_FETCH_TIMEOUT,
    ADDR_KNOWN_PER_GENERATION,
    AVG_ADDRESS_BROADCAST_INTERVAL,
    AVG_LOCAL_ADDRESS_BROADCAST_INTERVAL,
    MAX_ADDR_CACHES,
    MAX_ADDR_PROCESSING_TOKEN_BUCKET,
    MAX_ADDR_RATE_PER_SECOND,
    MAX_PCT_ADDR_TO_SEND,
    MAX_RELAYED_ADDR_MESSAGE,
    ROTATE_ADDR_RELAY_INTERVAL,
)
from btcnode.protocol.misbehaviour import Offence
from btcnode.protocol.peer import Peer
from btcnode.protocol.serving.bloom import RollingBloom
from btcnode.settings.permissions import Permission
from btcnode.wire.constants import MAX_ADDR_TO_SEND, NODE_NETWORK, NODE_NETWORK_LIMITED
from btcnode.wire.messages import Addr, AddrEntry, AddrV2, GetAddr
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

TIME_PENALTY = 2 * 3600  # seconds taken off the time of an address that another node told
OLDEST_TIME = 100_000_000  # earlier times are nonsense
NONSENSE_AGE = 5 * 24 * 3600  # what a nonsense time is replaced by
FUTURE = 600


class AddressGossip:
    """Addresses that peers tell us, and that we tell peers."""

    def __init__(self, ctx: Context, book: AddressBook) -> None:
        self._ctx = ctx
        self.book = book
        self._key = ctx.rng.getrandbits(256).to_bytes(32, "little")
        self._caches: dict[tuple[bytes, str], tuple[float, list[AddrEntry]]] = {}
        self.networks = dict.fromkeys(ctx.config.networks)  # those that automatic connections may use
        self.local = LocalAddresses(ctx, self.networks)

    # -- set-up --------------------------------------------------------------------------------------------------

    def on_version(self, peer: Peer) -> None:
        """Ask peers that we chose for addresses, once."""
        if peer.inbound:
            if peer.seen_us_as is not None:
                self.local.seen(peer.seen_us_as)
        elif self._enable(peer) and peer.kind is not ConnectionKind.FEELER:
            peer.addr.getaddr_sent = True
            peer.addr.tokens += MAX_ADDR_TO_SEND
            self._ctx.send(peer, GetAddr())

    def _enable(self, peer: Peer) -> bool:
        """Take part in gossip with the peer; never over block-relay connections."""
        if peer.kind is ConnectionKind.BLOCK_RELAY:
            return False
        if peer.addr.known is None:
            peer.addr.known = RollingBloom(self._key, ADDR_KNOWN_PER_GENERATION)
            peer.addr.tokens_at = self._ctx.mockable
        return True

    def is_usable(self, address: NetAddress) -> bool:
        """Whether an address can be a node's: valid, routable (or private ones are wanted), with a port."""
        has_port = address.port > 0 or address.network is Network.I2P  # which knows no ports
        return address.is_valid and has_port and (address.is_routable or self._ctx.config.relay_private)

    def is_reachable(self, address: NetAddress) -> bool:
        """Whether automatic connections may use the address's network."""
        return NETWORK_NAMES[address.network] in self.networks

    def on_reachable(self, event: NetworkReachable) -> None:
        """Automatic connections may use one more network."""
        self.networks[event.network] = None

    # -- taking --------------------------------------------------------------------------------------------------

    def on_addresses(self, peer: Peer, entries: Sequence[AddrEntry]) -> None:
        """Take addresses as far as the token bucket allows, relay fresh ones."""
        ctx, state = self._ctx, peer.addr
        if not self._enable(peer):
            return
        if len(entries) > MAX_ADDR_TO_SEND:
            ctx.punish(peer, Offence.ADDR_TOO_LARGE, words=f"addr message size = {len(entries)}")
            return
        self._refill(peer)
        limited = not peer.permissions & Permission.ADDR
        now = int(ctx.unix)
        taken: list[AddrEntry] = []
        shuffled = list(entries)
        ctx.rng.shuffle(shuffled)
        for entry in shuffled:
            if state.tokens < 1.0:
                if limited:
                    state.rate_limited += 1
                    continue
            else:
                state.tokens -= 1.0
            usable = self._judge(peer, entry, now, len(entries))
            if usable is not None:
                taken.append(usable)
        self.book.add(taken, peer.address, now, penalty=TIME_PENALTY)
        if len(entries) < MAX_ADDR_TO_SEND:
            state.getaddr_sent = False
        if peer.kind is ConnectionKind.ADDR_FETCH and len(entries) > 1:
            ctx.disconnect(peer, "address fetch completed", level=LogLevel.DEBUG)

    def _refill(self, peer: Peer) -> None:
        state, mockable = peer.addr, self._ctx.mockable
        if state.tokens < MAX_ADDR_PROCESSING_TOKEN_BUCKET:
            # in whole microseconds, as in Core: a hundred seconds are ten tokens wherever the clock has begun
            earned = max(0.0, round(mockable - state.tokens_at, 6)) * MAX_ADDR_RATE_PER_SECOND
            state.tokens = min(state.tokens + earned, MAX_ADDR_PROCESSING_TOKEN_BUCKET)
        state.tokens_at = mockable

    def _judge(self, peer: Peer, entry: AddrEntry, now: int, message_size: int) -> AddrEntry | None:
        """One address of a message: note it as known to the peer, relay it if fresh; what shall be stored of it."""
        time, services, address = entry
        if not services & (NODE_NETWORK | NODE_NETWORK_LIMITED):
            return None
        if time <= OLDEST_TIME or time > now + FUTURE:
            time = now - NONSENSE_AGE
        if peer.addr.known is not None:
            peer.addr.known.add(address_key(address))
        if self._ctx.is_unwanted(address):
            return None
        peer.addr.processed += 1
        usable = self.is_usable(address)
        reachable = self.is_reachable(address)
        fresh = time > now - FUTURE and not peer.addr.getaddr_sent and message_size <= MAX_RELAYED_ADDR_MESSAGE
        if fresh and usable:
            self._relay(peer, AddrEntry(time, services, address), reachable)
        return AddrEntry(time, services, address) if usable and reachable else None

    def _relay(self, origin: Peer, entry: AddrEntry, reachable: bool) -> None:
        """Pass a fresh address on to one or two peers, the same ones for a day."""
        key = address_key(entry.address)
        address_hash = int.from_bytes(blake2b(key, digest_size=8, key=self._key).digest(), "little")
        day = (int(self._ctx.unix) + address_hash) // ROTATE_ADDR_RELAY_INTERVAL
        seed = key + (day & (1 << 64) - 1).to_bytes(8, "little")
        ranks: list[tuple[bytes, int]] = []
        seeded = blake2b(seed, digest_size=8, key=self._key)
        for peer in self._ctx.peers.values():
            told = peer.role.is_told and peer.addr.known is not None
            if told and peer is not origin and self._can_carry(peer, entry.address):
                rank = seeded.copy()
                rank.update(peer.id.to_bytes(8, "little"))
                ranks.append((rank.digest(), peer.id))
        ranks.sort(reverse=True)
        count = 2 if reachable or blake2b(seed, digest_size=1, key=self._key).digest()[0] & 1 else 1
        for _, peer_id in ranks[:count]:
            self._push(self._ctx.peers[peer_id], entry)

    # -- giving --------------------------------------------------------------------------------------------------

    @staticmethod
    def _can_carry(peer: Peer, address: NetAddress) -> bool:
        return peer.wants_addrv2 or address.is_v1_compatible

    def _push(self, peer: Peer, entry: AddrEntry) -> None:
        """Queue an address for the peer unless it knows it; a full queue loses a random entry."""
        state = peer.addr
        if state.known is None or address_key(entry.address) in state.known or not self._can_carry(peer, entry.address):
            return
        if len(state.to_send) >= MAX_ADDR_TO_SEND:
            state.to_send[self._ctx.rng.randrange(len(state.to_send))] = entry
            return
        state.to_send.append(entry)
        if (
            len(state.to_send) == 1 and state.next_send is not None
        ):  # until now the timer had nothing to do: a Poisson process has no memory
            state.next_send = self._ctx.mockable + self._ctx.rng.expovariate(1 / AVG_ADDRESS_BROADCAST_INTERVAL)
            self._ctx.agenda.set(peer.id, int(Part.ADDRESSES), self._next_moment(peer))

    def on_getaddr(self, peer: Peer) -> None:
        """Answer once, and only who connected to us: others could fingerprint us by what they planted."""
        state = peer.addr
        if not peer.inbound:
            text = f'Ignoring "getaddr" from {peer.kind.value} connection. peer={peer.id}'
            self._ctx.log(LogLevel.DEBUG, "net", text)
            return
        self._enable(peer)
        if state.getaddr_received:
            self._ctx.log(LogLevel.DEBUG, "net", f'Ignoring repeated "getaddr". peer={peer.id}')
            return
        state.getaddr_received = True
        state.to_send.clear()
        if peer.permissions & Permission.ADDR:
            answer = self._sample()
        else:
            answer = self._cached_sample(peer)
        for entry in answer:
            self._push(peer, entry)

    def _sample(self) -> list[AddrEntry]:
        found = self.book.sample(MAX_ADDR_TO_SEND, MAX_PCT_ADDR_TO_SEND, int(self._ctx.unix))
        return [entry for entry in found if not self._ctx.is_unwanted(entry.address)]

    def _cached_sample(self, peer: Peer) -> list[AddrEntry]:
        """The same answer for a day to all who reach us the same way, so that asking often reveals nothing."""
        ctx = self._ctx
        local = address_key(peer.local_address) if peer.local_address is not None else b""
        key = (local, peer.network)
        cached = self._caches.get(key)
        if cached is not None and ctx.mockable < cached[0]:
            return cached[1]
        if cached is None and len(self._caches) >= MAX_ADDR_CACHES:
            del self._caches[next(iter(self._caches))]
        until = ctx.mockable + ADDR_CACHE_MIN_AGE + ctx.rng.uniform(0, ADDR_CACHE_SPREAD)
        answer = self._sample()
        self._caches[key] = until, answer
        return answer

    def tick(self, peer: Peer) -> float:
        """Send queued addresses, on average 30 seconds after the first one; tell our own once a day.

        Returns when the peer is looked at next.
        """
        ctx, state = self._ctx, peer.addr
        if peer.kind is ConnectionKind.ADDR_FETCH and ctx.mockable - peer.connected_mockable > ADDR_FETCH_TIMEOUT:
            ctx.disconnect(peer, "address fetch timeout")
            return NEVER
        if state.known is not None and peer.role.is_told:
            is_due = state.next_send is None or ctx.mockable >= state.next_send
            self._announce_self(peer)  # waits for others that are queued, but not for a timer that has run out before
            if state.to_send and is_due:
                self._send_queued(peer, state.known)
            if state.next_send is None:
                state.next_send = ctx.mockable
        return self._next_moment(peer)

    def _next_moment(self, peer: Peer) -> float:
        """When there is something to do for the peer next."""
        state = peer.addr
        if peer.kind is ConnectionKind.ADDR_FETCH:
            return NEXT_TICK
        if state.known is None or not peer.role.is_told:
            return NEVER
        moment = state.next_send if state.to_send and state.next_send is not None else NEVER
        if state.next_local is None or state.next_local <= self._ctx.mockable:  # not while we do not listen or sync
            return moment
        return min(moment, state.next_local)

    def _send_queued(self, peer: Peer, known: RollingBloom) -> None:
        """Tell what waits and the peer does not know by now."""
        state = peer.addr
        entries: list[AddrEntry] = []
        for entry in state.to_send:
            key = address_key(entry.address)
            if key not in known:
                known.add(key)
                entries.append(entry)
        state.to_send = []
        if entries:
            self._send(peer, entries)

    def _send(self, peer: Peer, entries: list[AddrEntry]) -> None:
        message = AddrV2(tuple(entries)) if peer.wants_addrv2 else Addr(tuple(entries))
        self._ctx.send(peer, message, droppable=len(entries) <= MAX_RELAYED_ADDR_MESSAGE)

    # -- ourselves -----------------------------------------------------------------------------------------------

    def _announce_self(self, peer: Peer) -> None:
        ctx, state = self._ctx, peer.addr
        if state.next_local is not None and ctx.mockable < state.next_local:
            return
        if not ctx.config.listen or ctx.is_initial_block_download():
            return
        first = state.next_local is None
        state.next_local = ctx.mockable + ctx.rng.expovariate(1 / AVG_LOCAL_ADDRESS_BROADCAST_INTERVAL)
        own = self.local.choose(peer)
        if own is None or not self._can_carry(peer, own):
            return
        entry = AddrEntry(int(ctx.unix), ctx.config.services, own)
        if not first and state.known is not None:
            state.known.clear()
        if first:  # in a message of its own, which a rate limit cannot cut
            self._send(peer, [entry])
        else:
            self._push(peer, entry)
