"""Which address of the book an automatic connection goes to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from btcnode.protocol.addresses.netgroup import address_key
from btcnode.protocol.limits import MAX_PICKS, PROVIDER_LOOK, RECENT_TRY
from btcnode.wire.constants import NODE_NETWORK, NODE_NETWORK_LIMITED
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

if TYPE_CHECKING:
    from btcnode.protocol.addresses.address_table import Entry
    from btcnode.protocol.addresses.addresses import AddressGossip
    from btcnode.protocol.context import Context

PICKS_AVOIDING_RECENT = 30
PICKS_AVOIDING_PORTS = 50
CLEARNET = (Network.IPV4, Network.IPV6)

_PORTS = """
1 7 9 11 13 15 17 19 20 21 22 23 25 37 42 43 53 69 77 79 87 95 101 102 103 104 109 110 111 113 115 117 119 123 135 137
139 143 161 179 389 427 465 512 513 514 515 526 530 531 532 540 548 554 556 563 587 601 636 989 990 993 995 1719 1720
1723 2049 3306 3389 3659 4045 5060 5061 5432 5900 6000 6566 6665 6666 6667 6668 6669 6697 10080 27017
"""
BAD_PORTS = frozenset(map(int, _PORTS.split()))
"""Ports of other services: nobody shall make the network knock there (Core's IsBadPort)."""


class OutboundChoice:
    """Draws from the book until something suits, at most ``MAX_PICKS`` times."""

    def __init__(self, ctx: Context, gossip: AddressGossip, may_connect: Callable[[NetAddress], bool]) -> None:
        """``may_connect``: whether an address is allowed at all for an automatic connection."""
        self._ctx = ctx
        self._gossip = gossip
        self._may_connect = may_connect
        self._offering: list[Entry] = []  # addresses that are said to offer what is wanted beside blocks, at ...
        self._looked = (-PROVIDER_LOOK, 0)  # ... this time, when these services were wanted

    def reachable(self) -> tuple[Network, ...]:
        """Networks that automatic connections may use."""
        allowed = self._gossip.networks
        return tuple(network for network, name in NETWORK_NAMES.items() if name in allowed)

    def preferred_network(self) -> Network | None:
        """A reachable network of which the book has addresses and no outbound peer is; None when there is none."""
        known = [network for network in self.reachable() if any(self._gossip.book.size(network))]
        left = [network for network in known if not self._is_used(network)]
        return left[self._ctx.rng.randrange(len(left))] if left else None

    def _is_used(self, network: Network) -> bool:
        return any(p.address.network is network and not p.inbound for p in self._ctx.peers.values())

    def choose(self, groups: Collection[bytes], network: Network | None = None) -> Entry | None:
        """For a lasting connection: a group that no other one is in, and all services we want."""
        networks = self.reachable() if network is None else (network,)
        now = int(self._ctx.unix)
        for picks in range(1, MAX_PICKS + 1):
            entry = self._gossip.book.select(now, networks=networks)
            if entry is None:
                return None
            if self._ctx.groups.group(entry.address) in groups or not self._suits(entry, picks, now):
                continue
            if self._ctx.has_desirable_services(entry.services) and self._may_connect(entry.address):
                return entry
        return None

    def choose_provider(self, groups: Collection[bytes]) -> Entry | None:
        """As ``choose``, of those who are said to offer what is wanted beside blocks; none was tried lately.

        So addresses of nobody cost an attempt each, and never the place of others.
        """
        ctx, networks, now = self._ctx, self.reachable(), int(self._ctx.unix)
        looked, wanted = self._looked
        if ctx.steady - looked >= PROVIDER_LOOK or wanted != ctx.providers.wanted:
            self._looked = (ctx.steady, ctx.providers.wanted)
            self._offering = self._gossip.book.offering(ctx.providers.wanted)
        if not self._offering:
            return None
        for picks in range(1, MAX_PICKS + 1):
            entry = self._offering[ctx.rng.randrange(len(self._offering))]
            address = entry.address
            if ctx.rng.random() >= entry.chance(now) * 1.2**picks or address.network not in networks:
                continue
            if not ctx.providers.offers(address, entry.services, ctx.steady) or not self._suits(entry, 0, now):
                continue
            fits = ctx.groups.group(address) not in groups and ctx.has_desirable_services(entry.services)
            if fits and self._may_connect(address):
                return entry
        return None

    def choose_for_feeler(self) -> Entry | None:
        """For a look whether a node is there: one whose place in the tried table is wanted, else a new one."""
        book, now = self._gossip.book, int(self._ctx.unix)
        networks = self.reachable()
        for picks in range(1, MAX_PICKS + 1):
            entry = book.select_collision()
            if entry is not None and self._is_connected(entry.address):
                book.good(entry.address, now)  # nobody in use shall lose its place
                entry = None
            if entry is None:
                entry = book.select(now, new_only=True, networks=networks)
            if entry is None:
                return None
            useful = entry.services & (NODE_NETWORK | NODE_NETWORK_LIMITED)
            if useful and self._suits(entry, picks, now) and self._may_connect(entry.address):
                return entry
        return None

    def choose_for_private(self, networks: Collection[Network], suits: Callable[[Entry], bool]) -> Entry | None:
        """For a connection that takes one transaction away."""
        now = int(self._ctx.unix)
        for _ in range(MAX_PICKS):
            entry = self._gossip.book.select(now, networks=networks)
            if entry is None or suits(entry):
                return entry
        return None

    def _suits(self, entry: Entry, picks: int, now: int) -> bool:
        """What is asked less strictly the more picks were in vain."""
        if now - entry.last_try < RECENT_TRY and picks < PICKS_AVOIDING_RECENT:
            return False
        address = entry.address
        return picks >= PICKS_AVOIDING_PORTS or address.network not in CLEARNET or address.port not in BAD_PORTS

    def _is_connected(self, address: NetAddress) -> bool:
        key = address_key(address)
        return any(address_key(p.address) == key for p in self._ctx.peers.values())
