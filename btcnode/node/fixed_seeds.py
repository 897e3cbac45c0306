"""Data that ships with the package: addresses to begin with, and the map of autonomous systems."""

from __future__ import annotations

from importlib.resources import files

from btcnode.wire.netaddr import NetAddress, Network

ASMAP_SHA256 = "478d61986c59365cf86cd244485bbbe76a9ca0c630864717286dd19949879074"


def fixed_seeds(network: str) -> list[NetAddress]:
    """Nodes that were there when this version was made (those of Bitcoin Core 31); none for some networks.

    The file has a record for each: BIP155 network id, length, address, port (big-endian).
    """
    path = files("btcnode") / "data" / f"seeds_{network}.dat"
    if not path.is_file():
        return []
    data = path.read_bytes()
    seeds: list[NetAddress] = []
    pos = 0
    while pos < len(data):
        end = pos + 2 + data[pos + 1]
        seeds.append(NetAddress(Network(data[pos]), data[pos + 2 : end], int.from_bytes(data[end : end + 2], "big")))
        pos = end + 2
    return seeds


def embedded_asmap() -> bytes:
    """The map of autonomous systems that ships with the package, Bitcoin Core 31's."""
    return (files("btcnode") / "data" / "ip_asn.dat").read_bytes()
