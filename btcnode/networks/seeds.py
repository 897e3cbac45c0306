"""Data that comes with the package: addresses to begin with, and the map of autonomous systems if it was given one."""

from __future__ import annotations

from pathlib import Path

from btcnode.tuples import NamedTuple

_DATA = Path(__file__).parent / "data"


class SeedAddress(NamedTuple):
    """A node's address: BIP155 ``network_id``, the address in that network's own bytes, TCP port."""

    network_id: int
    address: bytes
    port: int


def fixed_seeds(network: str) -> list[SeedAddress]:
    """Nodes that were there when this version was made (those of Bitcoin Core 31); none for some networks.

    The file has a record for each: BIP155 network id, length, address, port (big-endian).
    """
    path = _DATA / f"seeds_{network}.dat"
    if not path.is_file():
        return []
    data = path.read_bytes()
    seeds: list[SeedAddress] = []
    pos = 0
    while pos < len(data):
        end = pos + 2 + data[pos + 1]
        seeds.append(SeedAddress(data[pos], data[pos + 2 : end], int.from_bytes(data[end : end + 2], "big")))
        pos = end + 2
    return seeds


def embedded_asmap() -> bytes | None:
    """The map of autonomous systems, if whoever packaged this version put one at ``networks/data/ip_asn.dat``."""
    path = _DATA / "ip_asn.dat"
    return path.read_bytes() if path.is_file() else None
