"""The address book."""

from __future__ import annotations

from base64 import b32encode
from collections.abc import Iterable
from typing import Annotated, NotRequired, TypedDict

from btcnode.errors import DecodeError, StorageError
from btcnode.protocol.addresses.netgroup import class_name
from btcnode.rpc.declare import Bits, Hex, Hint, Named, Time, rpc
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.room import beside
from btcnode.services.addresses import BookEntry
from btcnode.services.parts import NodeParts
from btcnode.wire.messages import AddrEntry
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network
from btcnode.wire.subnet import numeric_address

BUCKET_SIZE = 64
_NETWORKS = "ipv4, ipv6, onion, i2p, cjdns"


def _network(text: str) -> Network:
    for network, name in NETWORK_NAMES.items():
        if text.lower() == name:
            return network
    raise RpcError(RpcCode.INVALID_PARAMETER, f"Network not recognized: {text}")


def internal_name(address: NetAddress) -> str:
    """The text of an address; names that were looked up have one too."""
    if class_name(address) == "internal":
        return b32encode(address.raw[6:]).decode().lower().rstrip("=") + ".internal"
    return address.host


class NodeAddress(TypedDict):
    """An address of the address book."""

    time: Annotated[Time, "When it was seen last"]
    services: Annotated[int, "Services that the node is said to offer"]
    address: Annotated[str, "Address"]
    port: Annotated[int, "Port"]
    network: Annotated[str, f"Network ({_NETWORKS})"]


@rpc("network", examples=((8,), (4, "i2p")), heavy=True)
async def getnodeaddresses(
    node: NodeParts,
    count: Annotated[int, "How many at most, 0 for all"] = 1,
    network: Annotated[str | None, f"Only those of a network: {_NETWORKS}", Hint("all networks")] = None,
) -> list[NodeAddress]:
    """Known addresses of nodes."""
    if count < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Address count out of range")
    sample = node.addresses.sampling(count, None if network is None else _network(network))
    return await beside(lambda: _addresses_json(sample()))


def _addresses_json(entries: Iterable[AddrEntry]) -> list[NodeAddress]:
    return [
        {
            "time": entry.time,
            "services": entry.services,
            "address": entry.address.host,
            "port": entry.address.port,
            "network": class_name(entry.address),
        }
        for entry in entries
    ]


class AddedAddress(TypedDict):
    """Whether an address was added."""

    success: Annotated[bool, "Whether it is where it shall be"]
    error: Annotated[NotRequired[str], "What failed"]


@rpc("hidden", examples=(("1.2.3.4", 8333, True),))
def addpeeraddress(
    node: NodeParts,
    address: Annotated[str, "IP address"],
    port: Annotated[int, "Port", Bits(-16)],
    tried: Annotated[bool, "Whether it shall be in the table of tried addresses"] = False,
) -> AddedAddress:
    """Add an address to the address book (for tests)."""
    try:
        found = numeric_address(address, port)
    except DecodeError:
        raise RpcError(RpcCode.CLIENT_INVALID_IP_OR_SUBNET, "Invalid IP address") from None
    problem = node.addresses.add(found, tried)
    return {"error": problem, "success": False} if problem else {"success": True}


class AddressCounts(TypedDict):
    """Addresses of one network."""

    new: Annotated[int, "Addresses that no connection succeeded to"]
    tried: Annotated[int, "Addresses that a connection succeeded to"]
    total: Annotated[int, "Both together"]


@rpc("network")
def getaddrmaninfo(
    node: NodeParts,
) -> dict[str, Annotated[AddressCounts, Named("network"), f"{_NETWORKS}, all_networks"]]:
    """How many addresses of each network are known."""
    counts = dict(node.addresses.counts())
    counts["all_networks"] = (sum(new for new, _ in counts.values()), sum(tried for _, tried in counts.values()))
    return {name: {"new": new, "tried": tried, "total": new + tried} for name, (new, tried) in counts.items()}


class ExportedMap(TypedDict):
    """A map of autonomous systems in a file."""

    path: Annotated[str, "The file written"]
    bytes_written: Annotated[int, "Its size"]
    file_hash: Annotated[Hex, "SHA-256 of the map"]


@rpc("network", examples=(("asmap.dat",),))
def exportasmap(node: NodeParts, path: Annotated[str, "The file, relative to the network's directory"]) -> ExportedMap:
    """Write the built-in map of autonomous systems to a file, over one that is there."""
    try:
        written, size, digest = node.addresses.export_asmap(path)
    except StorageError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    return {"path": str(written), "bytes_written": size, "file_hash": digest.hex()}


class MappedAddress(TypedDict):
    """The network that an address is in."""

    mapped_as: Annotated[NotRequired[int], "Autonomous system (with -asmap)"]


class MappedSource(TypedDict):
    """The network that a teller of addresses is in."""

    source_mapped_as: Annotated[NotRequired[int], "The teller's autonomous system (with -asmap)"]


class AddressEntry(TypedDict):
    """An entry of the address book."""

    address: Annotated[str, "Address"]
    mapped_as: Annotated[NotRequired[int], "Autonomous system (with -asmap)"]
    port: Annotated[int, "Port"]
    network: Annotated[str, f"Network ({_NETWORKS})"]
    services: Annotated[int, "Services that the node is said to offer"]
    time: Annotated[Time, "When it was seen last"]
    source: Annotated[str, "Who told the address"]
    source_network: Annotated[str, f"The teller's network ({_NETWORKS})"]
    source_mapped_as: Annotated[NotRequired[int], "The teller's autonomous system (with -asmap)"]


def _entry_json(entry: BookEntry) -> AddressEntry:
    mapped: MappedAddress = {"mapped_as": entry.mapped_as} if entry.mapped_as else {}
    teller: MappedSource = {"source_mapped_as": entry.source_mapped_as} if entry.source_mapped_as else {}
    return {
        "address": entry.address.host,
        **mapped,
        "port": entry.address.port,
        "services": entry.services,
        "time": entry.time,
        "network": class_name(entry.address),
        "source": internal_name(entry.source),
        "source_network": class_name(entry.source),
        **teller,
    }


def _table_json(table: Iterable[BookEntry]) -> dict[str, AddressEntry]:
    return {f"{e.slot // BUCKET_SIZE}/{e.slot % BUCKET_SIZE}": _entry_json(e) for e in table}


AddressTable = Annotated[dict[str, Annotated[AddressEntry, Named("bucket/position")]], Named("table"), "new, tried"]


@rpc("hidden", heavy=True)
async def getrawaddrman(
    node: NodeParts,
) -> dict[str, AddressTable]:
    """The address book's tables, place by place."""
    new, tried = (node.addresses.table(tried=tried) for tried in (False, True))
    return await beside(lambda: {"new": _table_json(new), "tried": _table_json(tried)})
