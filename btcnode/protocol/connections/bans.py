"""Addresses that the user banned: nobody connects from there, and we connect to nobody there.

A question costs one look-up for each length of prefix in use (at most 33 for IPv4, 129 for IPv6), however many bans
there are (CVE-2020-14198); expired ones are found by a heap. Peers cannot cause bans: what follows from their faults is
discouragement, which is bounded on its own. Bans do not reach anybody with the noban permission at connection time.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from btcnode.tuples import NamedTuple
from btcnode.wire.netaddr import NetAddress, Network
from btcnode.wire.subnet import SubNet, masked

MAX_BANS = 300_000  # x about 450 B: 135 MB, all of it at the operator's own command; as many as the file is read with


class Ban(NamedTuple):
    """When a ban was made and until when it holds, Unix seconds."""

    created: int
    until: int


class BanList:
    """Banned ranges with their times. ``now`` is always the present in Unix seconds."""

    def __init__(self) -> None:
        self._bans: dict[SubNet, Ban] = {}
        self._lengths: dict[Network, dict[int, dict[bytes, int]]] = {}  # network -> bits -> raw -> until
        self._expiry: list[tuple[int, int, bytes, int]] = []  # heap of (until, network, raw, bits)

    def __len__(self) -> int:
        return len(self._bans)

    def covers(self, address: NetAddress, now: int) -> bool:
        """Whether a ban that holds contains the address."""
        for bits, hosts in self._lengths.get(address.network, {}).items():
            if hosts.get(masked(address.raw, bits), now) > now:
                return True
        return False

    def has(self, subnet: SubNet, now: int) -> bool:
        """Whether exactly this range is banned."""
        ban = self._bans.get(subnet)
        return ban is not None and ban.until > now

    def knows(self, subnet: SubNet) -> bool:
        """Whether the list has exactly this range, over or not."""
        return subnet in self._bans

    def add(self, subnet: SubNet, created: int, until: int) -> bool:
        """Ban a range unless it is banned for longer already; False when nothing changed or the list is full."""
        known = self._bans.get(subnet)
        if known is not None and known.until >= until:
            return False
        if known is None and len(self._bans) >= MAX_BANS:
            return False
        self._bans[subnet] = Ban(created, until)
        self._lengths.setdefault(subnet.network, {}).setdefault(subnet.bits, {})[subnet.raw] = until
        heappush(self._expiry, (until, subnet.network, subnet.raw, subnet.bits))
        if len(self._expiry) > 2 * len(self._bans) + 64:  # most entries are of bans that were lifted
            self._expiry = [(ban.until, net.network, net.raw, net.bits) for net, ban in self._bans.items()]
            heapify(self._expiry)
        return True

    def remove(self, subnet: SubNet) -> bool:
        """Lift the ban of exactly this range; False when there is none."""
        if self._bans.pop(subnet, None) is None:
            return False
        lengths = self._lengths[subnet.network]
        del lengths[subnet.bits][subnet.raw]
        if not lengths[subnet.bits]:
            del lengths[subnet.bits]
        return True

    def clear(self) -> None:
        """Lift all bans."""
        self._bans.clear()
        self._lengths.clear()
        self._expiry.clear()

    def sweep(self, now: int) -> int:
        """Forget bans that are over; returns how many."""
        gone = 0
        while self._expiry and self._expiry[0][0] < now:
            until, network, raw, bits = heappop(self._expiry)
            subnet = SubNet(Network(network), raw, bits)
            ban = self._bans.get(subnet)
            if ban is not None and ban.until == until:
                self.remove(subnet)
                gone += 1
        return gone

    def all(self) -> list[tuple[SubNet, Ban]]:
        """Every ban in Core's order: by network, address, and the wider range first."""
        return sorted(self._bans.items(), key=lambda item: (item[0].network, item[0].raw, item[0].bits))
