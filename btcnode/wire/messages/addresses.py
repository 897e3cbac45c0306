"""Messages that carry addresses of nodes."""

from __future__ import annotations

from struct import Struct
from typing import ClassVar

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size
from btcnode.record import record
from btcnode.tuples import NamedTuple
from btcnode.wire.codec import Message, Reader, encode_var_bytes
from btcnode.wire.constants import MAX_ADDR_TO_SEND, MAX_ADDRV2_SIZE
from btcnode.wire.netaddr import NetAddress

_V1_ENTRY = Struct("<IQ16s")
_V1_ENTRY_SIZE = 30
_V2_ENTRY_MIN_SIZE = 9  # time, services, network, size of address, port


class AddrEntry(NamedTuple):
    """A node: when it was last seen (Unix seconds), the services it offers, where it is."""

    time: int
    services: int
    address: NetAddress


@record
class Addr(Message):
    """Addresses of IPv4 and IPv6 nodes; at most 1000.

    Tor v2 and other addresses that were wrapped in IPv6 are decoded as the unspecified address ``::``.
    """

    command: ClassVar[str] = "addr"

    entries: tuple[AddrEntry, ...]

    @classmethod
    def decode(cls, payload: bytes) -> Addr:
        """Read the payload; more than 1000 entries raise LimitExceeded."""
        r = Reader(payload)
        entries = []
        for _ in range(r.count(_V1_ENTRY_SIZE, MAX_ADDR_TO_SEND, "addresses")):
            time, services, raw = _V1_ENTRY.unpack(r.take(28))
            entries.append(AddrEntry(time, services, NetAddress.from_v1(raw, r.u16_be())))
        return cls(tuple(entries))

    def encode(self) -> bytes:
        """The payload; addresses of networks that this message cannot carry become ``::``."""
        parts = [compact_size(len(self.entries))]
        for time, services, address in self.entries:
            parts += (_V1_ENTRY.pack(time, services, address.to_v1()), address.port.to_bytes(2, "big"))
        return b"".join(parts)


@record
class AddrV2(Message):
    """BIP155: addresses of nodes in any network; at most 1000.

    Entries of unknown networks, and IPv6 ones in which another network is wrapped, are left out when decoding.
    """

    command: ClassVar[str] = "addrv2"
    max_size: ClassVar[int] = 9 + MAX_ADDR_TO_SEND * (4 + 9 + 1 + 9 + MAX_ADDRV2_SIZE + 2)

    entries: tuple[AddrEntry, ...]

    @classmethod
    def decode(cls, payload: bytes) -> AddrV2:
        """Read the payload; more than 1000 entries raise LimitExceeded, more than 512 bytes of one DecodeError."""
        r = Reader(payload)
        entries = []
        for _ in range(r.count(_V2_ENTRY_MIN_SIZE, MAX_ADDR_TO_SEND, "addresses")):
            time, services, network = r.u32(), r.compact(2**64 - 1), r.u8()
            size = r.compact()
            if size > MAX_ADDRV2_SIZE:
                raise DecodeError(f"Address too long: {size} > {MAX_ADDRV2_SIZE}")
            raw = r.take(size)
            address = NetAddress.from_bip155(network, raw, r.u16_be())
            if address is not None:
                entries.append(AddrEntry(time, services, address))
        return cls(tuple(entries))

    def encode(self) -> bytes:
        """The payload."""
        parts = [compact_size(len(self.entries))]
        for time, services, address in self.entries:
            parts += (
                time.to_bytes(4, "little"),
                compact_size(services),
                bytes([address.network]),
                encode_var_bytes(address.raw),
                address.port.to_bytes(2, "big"),
            )
        return b"".join(parts)
