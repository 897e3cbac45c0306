"""Ranges of network addresses, as Bitcoin Core reads and writes them in bans and permissions."""

from __future__ import annotations

import re

from btcnode.errors import DecodeError
from btcnode.record import record
from btcnode.wire.netaddr import ADDRESS_SIZES, NetAddress, Network

_MASKED = (Network.IPV4, Network.IPV6)


@record
class SubNet:
    """All addresses of ``network`` whose first ``bits`` bits are those of ``raw`` (big-endian, the other bits zero).

    Networks other than IPv4 and IPv6 have single hosts only: ``bits`` is the whole length there.
    """

    network: Network
    raw: bytes
    bits: int

    @classmethod
    def of(cls, address: NetAddress, bits: int | None = None) -> SubNet:
        """The range of ``bits`` bits around an address, all of them by default; raises DecodeError."""
        whole = ADDRESS_SIZES[address.network] * 8
        if bits is None:
            return cls(address.network, address.raw, whole)
        if address.network not in _MASKED or not 0 <= bits <= whole:
            raise DecodeError(f"no range of {bits} bits around {address}")
        return cls(address.network, masked(address.raw, bits), bits)

    @classmethod
    def parse(cls, text: str) -> SubNet:
        """``address``, ``address/bits`` or ``address/netmask``; names are not looked up. Raises DecodeError."""
        host, slash, mask = text.rpartition("/") if "/" in text else (text, "", "")
        address = numeric_address(host)
        if not slash:
            return cls.of(address)
        if mask.isascii() and mask.isdigit() and len(mask) <= 3:
            return cls.of(address, int(mask))
        other = numeric_address(mask)
        if other.network is not address.network:
            raise DecodeError(f"no netmask for {host}: {mask}")
        bits = f"{int.from_bytes(other.raw, 'big'):0{len(other.raw) * 8}b}"
        if "01" in bits:
            raise DecodeError(f"no netmask, it has holes: {mask}")
        return cls.of(address, bits.count("1"))

    def __contains__(self, address: NetAddress) -> bool:
        return address.network is self.network and masked(address.raw, self.bits) == self.raw

    def __str__(self) -> str:
        host = NetAddress(self.network, self.raw, 0).host
        return f"{host}/{self.bits}" if self.network in _MASKED else host


def numeric_address(host: str, port: int = 0) -> NetAddress:
    """An address, IPv4 in its short forms too (``10.1``, ``0x7f.1``, ``017.1``). Raises DecodeError."""
    try:
        return NetAddress.from_host(host, port)
    except DecodeError:
        raw = ipv4_short(host)
        if raw is None:
            raise
        return NetAddress(Network.IPV4, raw, port)


_MAX_IPV4_TEXT = 64  # longer ones could only be zeros in front
_IPV4_PART = r"(?a)0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*"


def ipv4_short(text: str) -> bytes | None:
    """The bytes of one to four numbers with dots between, the last of which fills what is left; None for others."""
    if len(text) > _MAX_IPV4_TEXT:
        return None
    parts = text.split(".")
    if len(parts) > 4 or not all(re.fullmatch(_IPV4_PART, part) for part in parts):
        return None
    values = [int(part, 16 if part[:2].lower() == "0x" else 8 if part.startswith("0") else 10) for part in parts]
    left = 5 - len(parts)  # bytes of the last one
    if any(value > 255 for value in values[:-1]) or values[-1] >= 1 << 8 * left:
        return None
    return bytes(values[:-1]) + values[-1].to_bytes(left, "big")


def masked(raw: bytes, bits: int) -> bytes:
    """The address bytes with everything behind the first ``bits`` bits zero."""
    behind = len(raw) * 8 - bits
    return (int.from_bytes(raw, "big") >> behind << behind).to_bytes(len(raw), "big")
