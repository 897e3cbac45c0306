"""Groups of addresses that one party is likely to control, as Bitcoin Core groups them without an AS map."""

from __future__ import annotations

from btcnode.wire.netaddr import NetAddress, Network

_HURRICANE_ELECTRIC = bytes.fromhex("20010470")
_V4_IN_V6 = {  # prefixes whose addresses carry an IPv4 address: where that begins
    bytes.fromhex("2002"): 2,  # 6to4
    bytes.fromhex("0064ff9b0000000000000000"): 12,  # NAT64
    bytes.fromhex("0000000000000000ffff0000"): 12,  # SIIT
}
_TEREDO = bytes.fromhex("20010000")


def host_key(address: NetAddress) -> bytes:
    """Network id and raw bytes: the host without its port."""
    return bytes((address.network,)) + address.raw


def address_key(address: NetAddress) -> bytes:
    """Network id, raw bytes and port (big-endian): one service on one host."""
    return bytes((address.network,)) + address.raw + address.port.to_bytes(2, "big")


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


def netgroup(address: NetAddress) -> bytes:
    """The group: /16 of IPv4, /32 of IPv6 (/36 within Hurricane Electric), 4 bits of Tor and I2P, 12 of CJDNS.

    Hosts that the whole network cannot reach are one group each kind, as all of this host's own are.
    """
    network, raw = address.network, address.raw
    if address.is_local:
        return b"\xff"
    if not address.is_routable:
        return b"\xfe" + bytes((network,))
    v4 = linked_ipv4(address)
    if v4 is not None:
        return bytes((Network.IPV4,)) + v4[:2]
    if network is Network.IPV6:
        if raw.startswith(_HURRICANE_ELECTRIC):
            return bytes((network,)) + raw[:4] + bytes((raw[4] & 0xF0,))
        return bytes((network,)) + raw[:4]
    if network is Network.CJDNS:
        return bytes((network,)) + raw[:1] + bytes((raw[1] & 0xF0,))
    return bytes((network,)) + bytes((raw[0] & 0xF0,))
