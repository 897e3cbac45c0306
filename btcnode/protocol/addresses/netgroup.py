"""Groups of addresses that one party is likely to control, as Bitcoin Core groups them."""

from __future__ import annotations

from btcnode.protocol.addresses.asmap import AsMap
from btcnode.wire.netaddr import NetAddress, Network

CLASS_UNROUTABLE, CLASS_IPV4, CLASS_IPV6, CLASS_ONION, CLASS_I2P, CLASS_CJDNS, CLASS_INTERNAL = range(7)
_CLASSES = {
    Network.IPV4: CLASS_IPV4,
    Network.IPV6: CLASS_IPV6,
    Network.TORV3: CLASS_ONION,
    Network.I2P: CLASS_I2P,
    Network.CJDNS: CLASS_CJDNS,
}
_CLASS_NAMES = ("not_publicly_routable", "ipv4", "ipv6", "onion", "i2p", "cjdns")
INTERNAL_PREFIX = bytes.fromhex("fd6b88c08724")
"""Beginning of IPv6 addresses that stand for names, for instance of DNS seeds."""
_V4_PREFIX = bytes(10) + b"\xff\xff"

_HURRICANE_ELECTRIC = bytes.fromhex("20010470")
_V4_IN_V6 = {  # prefixes whose addresses carry an IPv4 address: where that begins
    bytes.fromhex("2002"): 2,  # 6to4
    bytes.fromhex("0064ff9b0000000000000000"): 12,  # NAT64
    bytes.fromhex("0000000000000000ffff0000"): 12,  # SIIT
}
_TEREDO = bytes.fromhex("20010000")


def host_key(address: NetAddress) -> bytes:
    """BIP155's network id (1 byte) and the raw address: the host without its port."""
    return bytes((address.network,)) + address.raw


def address_key(address: NetAddress) -> bytes:
    """BIP155's network id (1 byte), raw address and port (2 bytes, big-endian): one service on one host."""
    return bytes((address.network,)) + address.raw + address.port.to_bytes(2, "big")


def is_internal(address: NetAddress) -> bool:
    """Whether it is no host's but stands for a name."""
    return address.network is Network.IPV6 and address.raw.startswith(INTERNAL_PREFIX)


def linked_ipv4(address: NetAddress) -> bytes | None:
    """The IPv4 address that an IPv4 address is or an IPv6 address carries (6to4, Teredo, NAT64), else None."""
    raw = address.raw
    if address.network is Network.IPV4:
        return raw
    if address.network is not Network.IPV6:
        return None
    if raw[:4] == _TEREDO:
        return bytes(b ^ 0xFF for b in raw[12:16])
    for prefix, start in _V4_IN_V6.items():
        if raw.startswith(prefix):
            return raw[start : start + 4]
    return None


def net_class(address: NetAddress) -> int:
    """The kind of network as Bitcoin Core numbers it: by what an address carries, 0 for what cannot be routed."""
    if is_internal(address):
        return CLASS_INTERNAL
    if not address.is_routable:
        return CLASS_UNROUTABLE
    return CLASS_IPV4 if linked_ipv4(address) is not None else _CLASSES[address.network]


def class_name(address: NetAddress) -> str:
    """The network's name as RPC tells it; ``internal`` for what stands for a name that was looked up."""
    number = net_class(address)
    if number == CLASS_INTERNAL:
        return "internal"
    return _CLASS_NAMES[number]


def address_bytes(address: NetAddress) -> bytes:
    """Core's bytes of an address: 16 for IPv4 and IPv6, the address's own for other networks."""
    return address.to_v1() if address.is_v1_compatible else address.raw


def netgroup(address: NetAddress) -> bytes:
    """The group, as Core writes it: class, then /16 of IPv4, /32 of IPv6 (/36 within Hurricane Electric), 4 bits of
    Tor and I2P, 12 of CJDNS; the bits behind the last whole byte stand above ones.

    Hosts that the whole network cannot reach are one group.
    """
    kind, raw = net_class(address), address.raw
    prefix = bytes((kind,))
    if kind == CLASS_INTERNAL:
        return prefix + raw[len(INTERNAL_PREFIX) :]
    if kind == CLASS_UNROUTABLE:
        return prefix
    if kind == CLASS_IPV4:
        return prefix + (linked_ipv4(address) or raw)[:2]
    if kind == CLASS_CJDNS:
        return prefix + raw[:1] + bytes((raw[1] | 0x0F,))
    if kind == CLASS_IPV6:
        if raw.startswith(_HURRICANE_ELECTRIC):
            return prefix + raw[:4] + bytes((raw[4] | 0x0F,))
        return prefix + raw[:4]
    return prefix + bytes((raw[0] | 0x0F,))


class NetGroups:
    """Groups of addresses: by autonomous system where a map knows it, else by prefix."""

    def __init__(self, asmap: AsMap | None = None) -> None:
        self.asmap = asmap if asmap is not None else AsMap()

    @property
    def version(self) -> bytes:
        """What identifies the map, 32 bytes (zeros for none)."""
        return self.asmap.version

    def mapped_as(self, address: NetAddress) -> int:
        """The ASN of an IPv4 or IPv6 address, 0 when it has none."""
        if not self.asmap or net_class(address) not in (CLASS_IPV4, CLASS_IPV6):
            return 0
        v4 = linked_ipv4(address)
        return self.asmap.lookup(_V4_PREFIX + v4 if v4 is not None else address.raw)

    def group(self, address: NetAddress) -> bytes:
        """The group of an address; all of an AS are one, IPv4 and IPv6."""
        number = self.mapped_as(address)
        if number:
            return bytes((CLASS_IPV6,)) + number.to_bytes(4, "little")
        return netgroup(address)
