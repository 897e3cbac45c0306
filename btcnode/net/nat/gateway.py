"""The default gateways and own public IPv6 addresses, as Linux tells them in ``/proc/net``.

Elsewhere the files do not exist: then there is no gateway to ask, and UPnP and STUN remain.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

from btcnode.files import MIB, read_limited
from btcnode.wire.netaddr import NetAddress, Network

PROC_NET = Path("/proc/net")
MAX_TABLE_BYTES = 4 * MIB
_UP_GATEWAY = 0x3  # RTF_UP | RTF_GATEWAY


def _lines(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in read_limited(path, MAX_TABLE_BYTES).decode("ascii", "replace").splitlines()]
    except OSError:
        return []


def default_gateway4(proc_net: Path = PROC_NET) -> str | None:
    """IPv4 address of the default gateway with the lowest metric."""
    found: list[tuple[int, str]] = []
    for fields in _lines(proc_net / "route")[1:]:
        if (
            len(fields) >= 8
            and fields[1] == fields[7] == "00000000"
            and int(fields[3], 16) & _UP_GATEWAY == _UP_GATEWAY
        ):
            found.append((int(fields[6]), str(IPv4Address(bytes.fromhex(fields[2])[::-1]))))
    return min(found)[1] if found else None


def default_gateway6(proc_net: Path = PROC_NET) -> tuple[Any, ...] | None:
    """Host, flow and scope of the IPv6 default gateway with the lowest metric, as in a socket address."""
    found: list[tuple[int, str, str]] = []
    for fields in _lines(proc_net / "ipv6_route"):
        if len(fields) < 10 or fields[0] != "0" * 32 or fields[1] != "00":
            continue
        if int(fields[8], 16) & _UP_GATEWAY == _UP_GATEWAY:
            found.append((int(fields[5], 16), str(IPv6Address(bytes.fromhex(fields[4]))), fields[9]))
    if not found:
        return None
    _, host, interface = min(found)
    try:
        return host, 0, socket.if_nametoindex(interface)
    except OSError:
        return None


def public_addresses6(proc_net: Path = PROC_NET) -> list[str]:
    """Own IPv6 addresses that the whole network can reach, as far as a firewall lets it."""
    found = []
    for fields in _lines(proc_net / "if_inet6"):
        address = NetAddress.from_v1(bytes.fromhex(fields[0]), 0)
        if address.network is Network.IPV6 and address.is_routable:
            found.append(address.host)
    return found
