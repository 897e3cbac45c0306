"""Network addresses: BIP155 networks, their text and their 16-byte form of before BIP155."""

from __future__ import annotations

from base64 import b32decode, b32encode
from binascii import Error as Base32Error
from enum import IntEnum
from functools import lru_cache
from hashlib import sha3_256
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

from btcnode.errors import DecodeError
from btcnode.record import record


class Network(IntEnum):
    """BIP155 network ids that are in use."""

    IPV4 = 1
    IPV6 = 2
    TORV3 = 4
    I2P = 5
    CJDNS = 6


ADDRESS_SIZES = {Network.IPV4: 4, Network.IPV6: 16, Network.TORV3: 32, Network.I2P: 32, Network.CJDNS: 16}
NETWORK_NAMES = {
    Network.IPV4: "ipv4",
    Network.IPV6: "ipv6",
    Network.TORV3: "onion",
    Network.I2P: "i2p",
    Network.CJDNS: "cjdns",
}

_IPV4_PREFIX = bytes(10) + b"\xff\xff"
_TORV2_PREFIX = bytes.fromhex("fd87d87eeb43")
MAX_HOST = 255  # characters of a host's name, and more than any address has
_INTERNAL_PREFIX = bytes.fromhex("fd6b88c08724")
_UNSPECIFIED = bytes(16)
_LOOPBACK6 = bytes(15) + b"\x01"
_TOR_VERSION = b"\x03"

_DOCUMENTATION6 = bytes.fromhex("20010db8")
_UNROUTABLE4 = tuple(
    (int(net.network_address), int(net.netmask))
    for net in map(
        IPv4Network,
        (
            "0.0.0.0/8", "127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "198.18.0.0/15",
            "169.254.0.0/16", "100.64.0.0/10", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24",
        ),
    )
)  # fmt: skip
_UNROUTABLE6 = tuple(
    (int(net.network_address), int(net.netmask))
    for net in map(IPv6Network, ("::1/128", "fe80::/64", "fc00::/7", "2001:10::/28", "2001:20::/28"))
)


@record
class NetAddress:
    """Where a node can be reached: network, address bytes (big-endian, size given by the network) and port."""

    network: Network
    raw: bytes
    port: int

    def __post_init__(self) -> None:
        if len(self.raw) != ADDRESS_SIZES[self.network]:
            raise DecodeError(f"{self.network.name} address of {len(self.raw)} bytes")
        if not 0 <= self.port <= 0xFFFF:
            raise DecodeError(f"port {self.port} is not within 0 to 65535")

    @classmethod
    def from_v1(cls, raw: bytes, port: int) -> NetAddress:
        """The address behind the 16 bytes of before BIP155.

        IPv4 is unwrapped; embedded Tor v2 and Core's internal addresses become the unspecified one, as nobody can
        be reached there.
        """
        if raw[:12] == _IPV4_PREFIX:
            return cls(Network.IPV4, raw[12:], port)
        if raw[:6] in (_TORV2_PREFIX, _INTERNAL_PREFIX):
            raw = _UNSPECIFIED
        return cls(Network.IPV6, raw, port)

    @classmethod
    def from_bip155(cls, network: int, raw: bytes, port: int) -> NetAddress | None:
        """The address of a BIP155 record; None for what a reader shall skip.

        That is an unknown network id, and IPv6 in which another network is wrapped. Raises DecodeError when the
        size does not fit the network.
        """
        try:
            known = Network(network)
        except ValueError:
            return None
        address = cls(known, raw, port)
        if known is Network.IPV6 and (raw[:12] == _IPV4_PREFIX or raw[:6] in (_TORV2_PREFIX, _INTERNAL_PREFIX)):
            return None
        return address

    @classmethod
    def from_host(cls, host: str, port: int) -> NetAddress:
        """The address of an IPv4, IPv6, ``.onion`` (v3) or ``.b32.i2p`` host text.

        IPv6 may stand in brackets. ``.onion`` is written small, as Core wants it. Raises DecodeError for anything
        else (names are for a resolver).
        """
        if len(host) > MAX_HOST:
            raise DecodeError("not an address: too long")
        lower = host.lower()
        if host.endswith(".onion"):
            return cls(Network.TORV3, _parse_onion(lower[:-6]), port)
        if lower.endswith(".b32.i2p"):
            return cls(Network.I2P, _parse_i2p(lower[:-8]), port)
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        try:
            if ":" not in host:
                return cls(Network.IPV4, IPv4Address(host).packed, port)
            address = IPv6Address(host)
        except AddressValueError as exc:
            raise DecodeError(f"not an address: {exc}") from None
        if address.scope_id:
            raise DecodeError(f"an address with a zone has no meaning to other nodes: {host}")
        return cls.from_v1(address.packed, port)

    def to_v1(self) -> bytes:
        """The 16 bytes of before BIP155; zeros for networks that this form cannot express."""
        if self.network is Network.IPV6:
            return self.raw
        if self.network is Network.IPV4:
            return _IPV4_PREFIX + self.raw
        return _UNSPECIFIED

    def as_cjdns(self) -> NetAddress:
        """The same address within CJDNS when it is IPv6 of fc00::/8, for nodes that reach CJDNS; else itself."""
        if self.network is Network.IPV6 and self.raw[0] == 0xFC:
            return NetAddress(Network.CJDNS, self.raw, self.port)
        return self

    @property
    def host(self) -> str:
        """The address as text, without port and brackets."""
        if self.network is Network.IPV4:
            return str(IPv4Address(self.raw))
        if self.network is Network.TORV3:
            tail = _onion_checksum(self.raw) + _TOR_VERSION
            return b32encode(self.raw + tail).decode().lower() + ".onion"
        if self.network is Network.I2P:
            return b32encode(self.raw).decode().lower().rstrip("=") + ".b32.i2p"
        return str(IPv6Address(self.raw))

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.network in (Network.IPV6, Network.CJDNS) else self.host
        return f"{host}:{self.port}"

    @property
    def is_v1_compatible(self) -> bool:
        """Whether an ``addr`` message can carry it."""
        return self.network in (Network.IPV4, Network.IPV6)

    @property
    def is_valid(self) -> bool:
        """Whether it can be the address of a host at all, as Core's ``IsValid``."""
        raw = self.raw
        if self.network is Network.IPV4:
            return raw not in (b"\0\0\0\0", b"\xff\xff\xff\xff")
        if self.network is Network.IPV6:
            return raw != _UNSPECIFIED and raw[:4] != _DOCUMENTATION6
        return self.network is not Network.CJDNS or raw[0] == 0xFC

    @property
    def is_local(self) -> bool:
        """Whether it is this very host: 127.0.0.0/8, 0.0.0.0/8 or ::1."""
        if self.network is Network.IPV4:
            return self.raw[0] in (0, 127)
        return self.network is Network.IPV6 and self.raw == _LOOPBACK6

    @property
    def is_routable(self) -> bool:
        """Whether the whole network can reach it, as Core's ``IsRoutable``."""
        if not self.is_valid:
            return False
        if self.network is Network.IPV4:
            return _is_routable4(self.raw)
        if self.network is Network.IPV6:
            value = int.from_bytes(self.raw, "big")
            return all(value & mask != net for net, mask in _UNROUTABLE6)
        return True


@lru_cache(maxsize=1 << 14)
def _is_routable4(raw: bytes) -> bool:
    """The same of the four bytes of an IPv4 address: asked again and again about the addresses of a book."""
    value = int.from_bytes(raw, "big")
    return all(value & mask != net for net, mask in _UNROUTABLE4)


def _onion_checksum(key: bytes) -> bytes:
    return sha3_256(b".onion checksum" + key + _TOR_VERSION).digest()[:2]


def _base32(text: str) -> bytes:
    """Decode lower-case base32 with its padding left out; raises DecodeError."""
    try:
        data = b32decode(text.upper() + "=" * (-len(text) % 8))
    except (Base32Error, ValueError):
        raise DecodeError(f"not base32: {text!r}") from None
    if b32encode(data).decode().lower().rstrip("=") != text:  # bits behind the last byte must be zero
        raise DecodeError(f"not base32 in its only form: {text!r}")
    return data


def _parse_onion(text: str) -> bytes:
    """The public key of a v3 onion service's name."""
    data = _base32(text)
    if len(data) != 35 or data[34:] != _TOR_VERSION or data[32:34] != _onion_checksum(data[:32]):
        raise DecodeError(f"not the name of a v3 onion service: {text!r}")
    return data[:32]


def _parse_i2p(text: str) -> bytes:
    """The hash of an I2P destination's name: exactly 52 characters."""
    data = _base32(text)
    if len(text) != 52 or len(data) != 32:
        raise DecodeError(f"not the name of an I2P destination: {text!r}")
    return data
