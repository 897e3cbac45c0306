"""Ranges of network addresses, as Bitcoin Core reads and writes them in bans and permissions."""

from __future__ import annotations

from dataclasses import dataclass

from btcnode.errors import DecodeError
from btcnode.wire.netaddr import ADDRESS_SIZES, NetAddress, Network

_MASKED = (Network.IPV4, Network.IPV6)


@dataclass(frozen=True, slots=True)
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
        address = NetAddress.from_host(host, 0)
        if not slash:
            return cls.of(address)
        if mask.isascii() and mask.isdigit() and len(mask) <= 3:
            return cls.of(address, int(mask))
        other = NetAddress.from_host(mask, 0)
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


def masked(raw: bytes, bits: int) -> bytes:
    """The address bytes with everything behind the first ``bits`` bits zero."""
    behind = len(raw) * 8 - bits
    return (int.from_bytes(raw, "big") >> behind << behind).to_bytes(len(raw), "big")
