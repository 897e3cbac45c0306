"""Addresses at which we can be reached ourselves, and which of them a peer is told."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from btcnode.protocol.effects import LogLevel
from btcnode.protocol.limits import MAX_LOCAL_ADDRESSES
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

if TYPE_CHECKING:
    from btcnode.protocol.context import Context
    from btcnode.protocol.events import LocalAddress
    from btcnode.protocol.peer import Peer

INTERFACE, BIND, MAPPED, MANUAL = 1, 2, 3, 4
_SCORES = {"interface": INTERFACE, "bind": BIND, "mapped": MAPPED, "user": MANUAL}
_PRIVACY = ("onion", "i2p")

_UNREACHABLE, _DEFAULT, _TUNNEL, _IPV4, _IPV6, _PRIVATE = range(6)
_REACH = {  # by the peer's network: how well it reaches our addresses of a network
    "ipv4": {Network.IPV4: _IPV4},
    "ipv6": {Network.IPV4: _IPV4, Network.IPV6: _IPV6},
    "onion": {Network.IPV4: _IPV4, Network.TORV3: _PRIVATE},
    "i2p": {Network.I2P: _PRIVATE},
    "cjdns": {Network.CJDNS: _PRIVATE},
    "not_publicly_routable": {Network.IPV4: _IPV4, Network.IPV6: _TUNNEL, Network.TORV3: _PRIVATE},
}


class LocalAddresses:
    """At most ``MAX_LOCAL_ADDRESSES`` of our own, with a score each: who told it, and how many peers see us there."""

    def __init__(self, ctx: Context, networks: Collection[str]) -> None:
        """``networks``: those that are reachable, by name."""
        self._ctx = ctx
        self._networks = networks
        self.scores: dict[NetAddress, int] = {}
        self._port = 0  # at which we listen

    def add(self, item: LocalAddress) -> None:
        """Take an address; without discovery only the user's count."""
        score = _SCORES.get(item.source, BIND)
        address = item.address
        if item.source == "bind" and not self._port:
            self._port = address.port
        if not address.is_routable or (not self._ctx.config.discover and score < MANUAL):
            return
        known = self.scores.get(address)
        if known is None and len(self.scores) >= MAX_LOCAL_ADDRESSES:
            return
        self._ctx.log(LogLevel.INFO, "net", f"AddLocal({address},{score})")
        if known is None or score >= known:
            self.scores[address] = score if known is None else score + 1

    def remove(self, address: NetAddress) -> None:
        """We cannot be reached there any more."""
        self.scores.pop(address, None)

    def seen(self, address: NetAddress) -> None:
        """A peer that connected to us used this address: one more point for it."""
        if address in self.scores:
            self.scores[address] += 1

    def _best(self, peer: Peer) -> NetAddress | None:
        """Our address that the peer reaches best; networks that hide us and others do not learn of each other."""
        best, best_key = None, (-1, -1)
        for address, score in self.scores.items():
            name = NETWORK_NAMES[address.network]
            if name != peer.network and (name in _PRIVACY or peer.network in _PRIVACY):
                continue
            key = (_REACH[peer.network].get(address.network, _DEFAULT), score)
            if key > best_key:
                best, best_key = address, key
        return best

    def choose(self, peer: Peer) -> NetAddress | None:
        """What to tell the peer; now and then that which it sees us as, for it may know better than we do."""
        ctx, best, seen = self._ctx, self._best(peer), peer.seen_us_as
        good = (
            seen is not None
            and ctx.config.discover
            and peer.address.is_routable
            and seen.is_routable
            and NETWORK_NAMES[seen.network] in self._networks
        )
        odds = 3 if best is not None and self.scores[best] > MANUAL else 1
        if good and seen is not None and (best is None or not ctx.rng.getrandbits(odds)):
            if peer.inbound:
                best = seen
            else:
                port = best.port if best is not None else self._port or ctx.params.p2p_port
                best = NetAddress(seen.network, seen.raw, port)
        if best is not None:
            ctx.log(LogLevel.DEBUG, "net", f"Advertising address {best} to peer={peer.id}")
        return best
