"""First addresses: DNS seeds and seed nodes, asked only when the address book does not lead to peers."""

from __future__ import annotations

from hashlib import sha256

from btcnode.protocol.addresses import AddressGossip
from btcnode.protocol.connections import Connections
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel, ResolveSeeds
from btcnode.protocol.inputs import ConnectionKind, DnsSeedResult
from btcnode.protocol.limits import (
    DNS_DELAY_FEW,
    DNS_DELAY_MANY,
    DNS_ENOUGH_PEERS,
    DNS_MANY_ADDRESSES,
    DNS_SEEDS_AT_ONCE,
    MAX_DNS_RESULTS,
    SEED_NODE_INTERVAL,
)
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network

WANTED_SERVICES = NODE_NETWORK | NODE_WITNESS
DAY = 24 * 3600
_INTERNAL_PREFIX = bytes.fromhex("fd6b88c08724")  # of addresses that stand for names, as Core has it


class Seeding:
    """DNS seeds in random order, three at a time; seed nodes one at a time."""

    def __init__(self, ctx: Context, gossip: AddressGossip, connections: Connections) -> None:
        self._ctx = ctx
        self._gossip = gossip
        self._connections = connections
        enabled = ctx.config.dns_seed and ctx.config.automatic_outbound
        self._seeds = list(ctx.params.dns_seeds) if enabled else []
        ctx.rng.shuffle(self._seeds)
        self._seed_nodes = list(ctx.config.seed_nodes) if ctx.config.automatic_outbound else []
        self._started = False
        self._next_dns = 0.0
        self._next_seed_node = 0.0

    def _start(self) -> None:
        """Give the addresses that are in the book a chance first."""
        mono, size = self._ctx.real, len(self._gossip.book)
        self._started = True
        if size:
            self._next_dns = mono + (DNS_DELAY_FEW if size < DNS_MANY_ADDRESSES else DNS_DELAY_MANY)
            self._next_seed_node = mono + SEED_NODE_INTERVAL

    def tick(self) -> None:
        """Ask when it is time and too few peers are connected."""
        if not self._connections.active or not (self._seeds or self._seed_nodes):
            return
        if not self._started:
            self._start()
        mono = self._ctx.real
        if self._seeds and mono >= self._next_dns:
            self._next_dns = mono + DNS_DELAY_FEW
            if self._peers() < DNS_ENOUGH_PEERS:
                asked, self._seeds = self._seeds[:DNS_SEEDS_AT_ONCE], self._seeds[DNS_SEEDS_AT_ONCE:]
                self._ctx.log(LogLevel.INFO, "net", f"asking DNS seeds {', '.join(asked)}")
                self._ctx.emit(ResolveSeeds(tuple(f"x{WANTED_SERVICES:x}.{name}" for name in asked)))
        if self._seed_nodes and mono >= self._next_seed_node:
            self._next_seed_node = mono + SEED_NODE_INTERVAL
            if self._peers() < DNS_ENOUGH_PEERS:
                self._connections.open(self._seed_nodes.pop(), ConnectionKind.ADDR_FETCH)

    def _peers(self) -> int:
        return sum(1 for p in self._ctx.established() if p.kind is ConnectionKind.OUTBOUND_FULL)

    def on_result(self, result: DnsSeedResult) -> None:
        """Take a seed's addresses, 3 to 7 days old; where the look-up failed, ask the seed itself as a node."""
        ctx = self._ctx
        if not result.addresses:
            ctx.log(LogLevel.INFO, "net", f"DNS seed {result.name} has no answer")
            if self._connections.active and ctx.config.automatic_outbound:
                self._connections.open(result.name.partition(".")[2] or result.name, ConnectionKind.ADDR_FETCH)
            return
        now = int(ctx.unix)
        entries = [
            AddrEntry(max(0, now - ctx.rng.randrange(3 * DAY, 7 * DAY)), WANTED_SERVICES, address)
            for address in result.addresses[:MAX_DNS_RESULTS]
            if self._gossip.is_usable(address)
        ]
        source = NetAddress(Network.IPV6, _INTERNAL_PREFIX + sha256(result.name.encode()).digest()[:10], 0)
        added = self._gossip.book.add(entries, source, now)
        ctx.log(LogLevel.INFO, "net", f"{added} new addresses from DNS seed {result.name}")
