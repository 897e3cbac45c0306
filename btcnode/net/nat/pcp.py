"""Messages of NAT-PMP (RFC 6886) and PCP (RFC 6887) for mapping a TCP port; integers are big-endian.

The readers return None for what is no answer to our question (somebody else's, another question's) and is to be
ignored, and raise NatError for an answer that refuses or that breaks its format.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from btcnode.net.nat.errors import Mapping, NatError, UnsupportedVersion
from btcnode.wire.netaddr import NetAddress

PORT = 5351  # the gateway's, both protocols
MAX_SIZE = 1100  # RFC 6887 section 7: bytes of a PCP message
NONCE_SIZE = 12
TCP = 6

_NATPMP_VERSION, _PCP_VERSION = 0, 2
_RESPONSE = 0x80
_NATPMP_EXTERNAL, _NATPMP_MAP_TCP = 0, 2
_PCP_MAP = 1
_PCP_SIZE = 24 + 36  # header and MAP data; options may follow
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"

_NATPMP_RESULTS = {
    1: "unsupported version", 2: "not authorised", 3: "network failure", 4: "out of resources", 5: "unsupported opcode",
}  # fmt: skip
_PCP_RESULTS = {
    1: "unsupported version", 2: "not authorised", 3: "malformed request", 4: "unsupported opcode",
    5: "unsupported option", 6: "malformed option", 7: "network failure", 8: "no resources",
    9: "unsupported protocol", 10: "user over quota", 11: "cannot provide that external port", 12: "address mismatch",
    13: "too many remote peers",
}  # fmt: skip


def natpmp_address_request() -> bytes:
    """Ask for the external IPv4 address."""
    return bytes((_NATPMP_VERSION, _NATPMP_EXTERNAL))


def natpmp_map_request(port: int, lifetime: int) -> bytes:
    """Ask to map TCP ``port`` to the same external one; ``lifetime`` in seconds, 0 removes it."""
    suggested = port if lifetime else 0
    return struct.pack(">BBHHHI", _NATPMP_VERSION, _NATPMP_MAP_TCP, 0, port, suggested, lifetime)


def _natpmp_result(data: bytes, opcode: int, size: int) -> bool:
    """Whether this is the answer to ``opcode``; raises NatError when it refuses or is cut short."""
    if len(data) > MAX_SIZE or len(data) < 4 or data[0] != _NATPMP_VERSION or data[1] != _RESPONSE | opcode:
        return False
    result = int.from_bytes(data[2:4], "big")
    if result:
        raise NatError(f"NAT-PMP refused: {_NATPMP_RESULTS.get(result, f'result {result}')}")
    if len(data) < size:
        raise NatError(f"NAT-PMP answer of {len(data)} bytes")
    return True


def read_natpmp_address(data: bytes) -> bytes | None:
    """The external IPv4 address, 4 bytes (RFC 6886); None for another answer. Raises NatError when it is refused."""
    return data[8:12] if _natpmp_result(data, _NATPMP_EXTERNAL, 12) else None


def read_natpmp_map(data: bytes, port: int) -> tuple[int, int] | None:
    """External port and lifetime in seconds of the mapping of ``port`` (RFC 6886); None for another answer.

    Raises NatError when it is refused.
    """
    if not _natpmp_result(data, _NATPMP_MAP_TCP, 16):
        return None
    internal, external, lifetime = struct.unpack(">HHI", data[8:16])
    return (external, lifetime) if internal == port else None


def to_16_bytes(host: str) -> bytes:
    """An IPv4 (wrapped) or IPv6 address (without zone) as PCP writes it."""
    return IPv6Address(host).packed if ":" in host else _MAPPED_PREFIX + IPv4Address(host).packed


def pcp_map_request(nonce: bytes, client: str, port: int, lifetime: int) -> bytes:
    """Ask to map TCP ``port`` of ``client``, our address towards the gateway; ``lifetime`` 0 removes it.

    ``nonce`` are 12 bytes that nobody else can guess; renewals and removals repeat them.
    """
    any_external = _MAPPED_PREFIX + bytes(4) if ":" not in client else bytes(16)
    return (
        struct.pack(">BBHI", _PCP_VERSION, _PCP_MAP, 0, lifetime)
        + to_16_bytes(client)
        + nonce
        + struct.pack(">B3xHH", TCP, port, port if lifetime else 0)
        + any_external
    )


def read_pcp_map(data: bytes, nonce: bytes, port: int) -> Mapping | None:
    """The mapping of ``port`` (RFC 6887); None when the bytes are no answer to that request.

    Raises NatError when the gateway refuses, UnsupportedVersion when it speaks another version.
    """
    if len(data) > MAX_SIZE or len(data) < 4:
        return None
    if data[0] == _NATPMP_VERSION:
        # a NAT-PMP gateway answers PCP with its own header and result 1
        if data[1] & _RESPONSE and int.from_bytes(data[2:4], "big") == 1:
            raise UnsupportedVersion("the gateway does not speak PCP")
        return None
    if data[1] != _RESPONSE | _PCP_MAP:
        return None
    if data[0] != _PCP_VERSION:
        raise UnsupportedVersion(f"the gateway speaks PCP version {data[0]}")
    if len(data) < _PCP_SIZE or len(data) % 4:
        return None
    if data[24:36] != nonce or data[36] != TCP or int.from_bytes(data[40:42], "big") != port:
        return None
    if data[3] == 1:
        raise UnsupportedVersion("the gateway does not speak this version of PCP")
    if data[3]:
        raise NatError(f"PCP refused: {_PCP_RESULTS.get(data[3], f'result {data[3]}')}")
    external_port, external = int.from_bytes(data[42:44], "big"), data[44:60]
    return Mapping(NetAddress.from_v1(external, external_port), int.from_bytes(data[4:8], "big"))
