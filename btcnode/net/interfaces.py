"""Addresses of this host's interfaces, as libc tells them (getifaddrs of Linux, macOS and the BSDs)."""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import socket
import sys
from collections.abc import Iterator

from btcnode.wire.netaddr import NetAddress, Network

_UP, _LOOPBACK = 0x1, 0x8  # flags of an interface
_FAMILY_AT = 0 if sys.platform == "linux" else 1  # elsewhere a byte with the length comes first
_FAMILY_SIZE = 2 if sys.platform == "linux" else 1
_PLACES = {socket.AF_INET: (Network.IPV4, 4, 4), socket.AF_INET6: (Network.IPV6, 8, 16)}  # offset and size

log = logging.getLogger("btcnode.net")


class _Interface(ctypes.Structure):
    """``struct ifaddrs``, as far as it is needed."""


_Pointer = ctypes.POINTER(_Interface)
_Interface._fields_ = [
    ("next", _Pointer),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
]


def interface_addresses(port: int) -> list[NetAddress]:
    """Addresses of the interfaces that are up, but for loopback ones; empty where libc has no getifaddrs."""
    try:
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        first = _Pointer()
        if libc.getifaddrs(ctypes.byref(first)):
            return []
    except (OSError, AttributeError) as error:
        log.debug("the addresses of this host's interfaces are unknown: %s", error)
        return []
    try:
        return [NetAddress(network, raw, port) for network, raw in _walk(first)]
    finally:
        libc.freeifaddrs(first)


def _walk(pointer: ctypes._Pointer[_Interface]) -> Iterator[tuple[Network, bytes]]:
    while pointer:
        item = pointer.contents
        if item.address and item.flags & _UP and not item.flags & _LOOPBACK:
            head = ctypes.string_at(item.address + _FAMILY_AT, _FAMILY_SIZE)
            place = _PLACES.get(int.from_bytes(head, sys.byteorder))  # type: ignore[call-overload]
            if place is not None:
                network, offset, size = place
                yield network, ctypes.string_at(item.address + offset, size)
        pointer = item.next
