"""First addresses: seed nodes, DNS seeds and the addresses that ship with the program, each asked only when the
address book does not lead to peers. Order, times and log lines are Bitcoin Core's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from btcnode.protocol.addresses.addresses import AddressGossip
from btcnode.protocol.addresses.netgroup import INTERNAL_PREFIX
from btcnode.protocol.connections.connections import Connections
from btcnode.protocol.connections.kinds import ConnectionKind
from btcnode.protocol.context import Context
from btcnode.protocol.effects import LogLevel, ResolveSeeds
from btcnode.protocol.events import DnsSeedResult
from btcnode.protocol.limits import (
    DNS_DELAY_FEW,
    DNS_DELAY_MANY,
    DNS_ENOUGH_PEERS,
    DNS_MANY_ADDRESSES,
    DNS_SEEDS_AT_ONCE,
    FIXED_SEEDS_DELAY,
    MAX_DNS_RESULTS,
    SEED_NODE_INTERVAL,
    SEED_NODE_TIMEOUT,
)
from btcnode.wire.constants import NODE_NETWORK, NODE_WITNESS
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NetAddress, Network

WANTED_SERVICES = NODE_NETWORK | NODE_WITNESS
DAY = 24 * 3600
WEEK = 7 * DAY

FixedSeeds = Callable[[], Sequence[NetAddress]]


def named_source(name: str) -> NetAddress:
    """The address that stands for a name as the source of addresses."""
    return NetAddress(Network.IPV6, INTERNAL_PREFIX + sha256(name.encode()).digest()[:10], 0)


class DnsSeeds:
    """Asks DNS seeds in random order: all at once with an empty book, else three at a time after giving it a chance."""

    def __init__(self, ctx: Context, gossip: AddressGossip, connections: Connections) -> None:
        self._ctx = ctx
        self._gossip = gossip
        self._connections = connections
        self._seeds = list(ctx.params.dns_seeds)
        ctx.rng.shuffle(self._seeds)
        self._done = not ctx.config.dns_seed
        self._begun = False
        self._budget = 0  # seeds to be asked before the next look whether there are enough peers
        self._pending = 0  # seeds that have not answered
        self._found = 0
        self._after_seed_nodes: float | None = None  # mockable
        self._wait_until = self._next_check = 0.0
        self._told_inactive = False

    def begin(self) -> None:
        """Networking begins."""
        if self._done:
            self._log("DNS seeding disabled")
        elif self._ctx.config.seed_nodes:
            self._after_seed_nodes = self._ctx.mockable + SEED_NODE_TIMEOUT
            self._log(
                f"-seednode enabled. Trying the provided seeds for {SEED_NODE_TIMEOUT} seconds before defaulting to "
                "the dnsseeds."
            )

    def _log(self, text: str) -> None:
        self._ctx.log(LogLevel.INFO, "net", text)

    def _enough(self) -> bool:
        return full_outbound(self._ctx) >= DNS_ENOUGH_PEERS

    def tick(self) -> None:
        """Ask when it is time."""
        if self._done or self._pending or not self._seed_nodes_done():
            return
        if not self._begun:
            self._begun = True
            if self._ctx.config.force_dns_seed or not len(self._gossip.book):
                self._budget = len(self._seeds)
            elif self._enough():
                self._log("Skipping DNS seeds. Enough peers have been found")
                self._done = True
                return
        if self._wait_until and not self._waited():
            return
        self._ask()

    def _seed_nodes_done(self) -> bool:
        """Whether seed nodes have had their chance."""
        if self._after_seed_nodes is None:
            return True
        if self._ctx.mockable > self._after_seed_nodes:
            self._log("Couldn't connect to enough peers via seed nodes. Handing fetch logic to the DNS seeds.")
        elif self._enough():
            self._log("P2P peers available. Finished fetching data from seed nodes.")
        else:
            return False
        self._after_seed_nodes = None
        return True

    def _waited(self) -> bool:
        """Whether the next seeds may be asked; on the way there enough peers may turn up."""
        steady = self._ctx.steady
        if steady < self._next_check:
            return False
        self._next_check = steady + DNS_DELAY_FEW
        if self._enough():
            if self._found:
                self._log(f"{self._found} addresses found from DNS seeds")
            self._log(f"P2P peers available. {'Finished' if self._found else 'Skipped'} DNS seeding.")
            self._done = True
            return False
        if steady < self._wait_until:
            return False
        self._wait_until = 0.0
        return True

    def _ask(self) -> None:
        ctx, size = self._ctx, len(self._gossip.book)
        if not self._seeds:
            self._log(f"{self._found} addresses found from DNS seeds")
            self._done = True
            return
        if not self._budget:
            self._budget = DNS_SEEDS_AT_ONCE
            if size:
                delay = DNS_DELAY_FEW if size < DNS_MANY_ADDRESSES else DNS_DELAY_MANY
                self._log(f"Waiting {delay:.0f} seconds before querying DNS seeds.")
                self._wait_until, self._next_check = ctx.steady + delay, ctx.steady + DNS_DELAY_FEW
                return
        if not self._connections.active:
            if not self._told_inactive:
                self._log("Waiting for network to be reactivated before querying DNS seeds.")
            self._told_inactive = True
            return
        asked, self._seeds = self._seeds[: self._budget], self._seeds[self._budget :]
        self._budget -= len(asked)
        self._pending = len(asked)
        for name in asked:
            self._log(f"Loading addresses from DNS seed {name}")
        ctx.emit(ResolveSeeds(tuple(f"x{WANTED_SERVICES:x}.{name}" for name in asked)))

    def on_result(self, result: DnsSeedResult) -> None:
        """Take a seed's addresses, 3 to 7 days old; where the look-up failed, ask the seed itself as a node."""
        ctx = self._ctx
        self._pending = max(0, self._pending - 1)
        if not result.addresses:
            if self._connections.active and ctx.config.automatic_outbound:
                self._connections.connect(result.name.partition(".")[2] or result.name, ConnectionKind.ADDR_FETCH)
            return
        now = int(ctx.unix)
        entries = [
            AddrEntry(max(0, now - ctx.rng.randrange(3 * DAY, 7 * DAY)), WANTED_SERVICES, address)
            for address in result.addresses[:MAX_DNS_RESULTS]
            if self._gossip.is_usable(address)
        ]
        self._found += len(entries)
        self._gossip.book.add(entries, named_source(result.name), now)


class Seeding:
    """Seed nodes one at a time, DNS seeds, and after a minute the addresses that ship with the program."""

    def __init__(
        self, ctx: Context, gossip: AddressGossip, connections: Connections, fixed: FixedSeeds = tuple
    ) -> None:
        """``fixed``: gives the addresses that ship with the program."""
        self._ctx = ctx
        self._gossip = gossip
        self._connections = connections
        self._fixed = fixed
        self.dns = DnsSeeds(ctx, gossip, connections)
        automatic = ctx.config.automatic_outbound
        self._seed_nodes = list(ctx.config.seed_nodes) if automatic else []
        ctx.rng.shuffle(self._seed_nodes)
        self._add_fixed = ctx.config.fixed_seeds and automatic
        self._started: float | None = None  # mockable
        self._seed_node_timer = 0.0
        self._fetch = False

    def tick(self) -> None:
        """Ask when it is time and too few peers are connected."""
        if self._started is None:
            self._start()
        self.dns.tick()
        if not self._ctx.config.automatic_outbound:
            return
        if self._add_fixed:
            self._consider_fixed_seeds()
        if self._seed_nodes and self._connections.active:
            self._ask_seed_node()

    def _start(self) -> None:
        self._started = self._seed_node_timer = self._ctx.mockable
        self._fetch = bool(self._seed_nodes) and not len(self._gossip.book)
        self.dns.begin()
        if self._ctx.config.automatic_outbound and not self._add_fixed:
            self._ctx.log(LogLevel.INFO, "net", "Fixed seeds are disabled")

    def _ask_seed_node(self) -> None:
        ctx = self._ctx
        if full_outbound(ctx) < DNS_ENOUGH_PEERS and ctx.mockable > self._seed_node_timer + SEED_NODE_INTERVAL:
            self._seed_node_timer = ctx.mockable
            self._fetch = True
        if not self._fetch:
            return
        self._fetch = False
        seed = self._seed_nodes.pop()
        if len(self._gossip.book):
            why = f"Couldn't connect to peers from addrman after {SEED_NODE_INTERVAL:.0f} seconds. Adding"
        else:
            why = "Empty addrman, adding"
        ctx.log(LogLevel.INFO, "net", f"{why} seednode ({seed}) to addrfetch")
        self._connections.connect(seed, ConnectionKind.ADDR_FETCH)

    def _consider_fixed_seeds(self) -> None:
        """Add the fixed seeds of networks of which the book has no address, if nothing else leads to any."""
        ctx, config = self._ctx, self._ctx.config
        book = self._gossip.book
        empty = [network for network in self._connections.choice.reachable() if not any(book.size(network))]
        if not empty:
            return
        assert self._started is not None
        if ctx.mockable > self._started + FIXED_SEEDS_DELAY:
            why = "60 seconds have passed and addrman is empty for at least one reachable network"
        elif not config.dns_seed and not config.seed_nodes and not self._connections.added.names():
            why = (
                "-dnsseed=0 (or IPv4/IPv6 connections are disabled via -onlynet) and neither -addnode nor -seednode "
                "are provided"
            )
        else:
            return
        ctx.log(LogLevel.INFO, "net", f"Adding fixed seeds as {why}")
        self._add_fixed = False
        now = int(ctx.unix)
        entries = [
            AddrEntry(now - WEEK - ctx.rng.randrange(WEEK), WANTED_SERVICES, address)
            for address in self._fixed()
            if address.network in empty
        ]
        book.add(entries, named_source("fixedseeds"), now)
        ctx.log(LogLevel.INFO, "net", f"Added {len(entries)} fixed seeds from reachable networks.")


def full_outbound(ctx: Context) -> int:
    """Full outbound peers whose handshake is complete."""
    return sum(1 for p in ctx.established() if p.kind is ConnectionKind.OUTBOUND_FULL)
