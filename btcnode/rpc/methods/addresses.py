"""The address book."""

from __future__ import annotations

from base64 import b32encode
from typing import Any

from btcnode.errors import DecodeError, StorageError
from btcnode.protocol.addresses.netgroup import class_name
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.spec import Arg, Kind, arr, boolean, dyn, hexed, number, obj, rpc, string
from btcnode.rpc.spec import time as time_
from btcnode.services.addresses import BookEntry
from btcnode.services.parts import NodeParts
from btcnode.wire.netaddr import NETWORK_NAMES, NetAddress, Network

BUCKET_SIZE = 64
_NETWORKS = "ipv4, ipv6, onion, i2p, cjdns"
_ENTRY = obj(
    "",
    "",
    string("address", "Address"),
    number("mapped_as", "Autonomous system (with -asmap)", optional=True),
    number("port", "Port"),
    number("services", "Services that the node is said to offer"),
    time_("time", "When it was seen last"),
    string("network", f"Network ({_NETWORKS})"),
    string("source", "Who told the address"),
    string("source_network", f"The teller's network ({_NETWORKS})"),
    number("source_mapped_as", "The teller's autonomous system (with -asmap)", optional=True),
)


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


@rpc(
    "network",
    "Known addresses of nodes.",
    Arg("count", Kind.INT, "How many at most, 0 for all", 1),
    Arg("network", Kind.STR, f"Only those of a network: {_NETWORKS}", None, hint="all networks"),
    returns=arr(
        "",
        "",
        obj(
            "",
            "",
            time_("time", "When it was seen last"),
            number("services", "Services that the node is said to offer"),
            string("address", "Address"),
            number("port", "Port"),
            string("network", f"Network ({_NETWORKS})"),
        ),
    ),
    examples=((8,), (4, "i2p")),
)
def getnodeaddresses(node: NodeParts, count: int, network: str | None) -> list[dict[str, Any]]:
    """See the declaration."""
    if count < 0:
        raise RpcError(RpcCode.INVALID_PARAMETER, "Address count out of range")
    entries = node.addresses.sample(count, None if network is None else _network(network))
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


@rpc(
    "hidden",
    "Add an address to the address book (for tests).",
    Arg("address", Kind.STR, "IP address"),
    Arg("port", Kind.INT, "Port", bits=-16),
    Arg("tried", Kind.BOOL, "Whether it shall be in the table of tried addresses", False),
    returns=obj(
        "", "", boolean("success", "Whether it is where it shall be"), string("error", "What failed", optional=True)
    ),
    examples=(("1.2.3.4", 8333, True),),
)
def addpeeraddress(node: NodeParts, text: str, port: int, tried: bool) -> dict[str, Any]:
    """See the declaration."""
    try:
        address = NetAddress.from_host(text, port)
    except DecodeError:
        raise RpcError(RpcCode.CLIENT_INVALID_IP_OR_SUBNET, "Invalid IP address") from None
    problem = node.addresses.add(address, tried)
    return {"error": problem, "success": False} if problem else {"success": True}


@rpc(
    "network",
    "How many addresses of each network are known.",
    returns=dyn(
        "",
        "",
        obj(
            "network",
            f"{_NETWORKS}, all_networks",
            number("new", "Addresses that no connection succeeded to"),
            number("tried", "Addresses that a connection succeeded to"),
            number("total", "Both together"),
        ),
    ),
)
def getaddrmaninfo(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    counts = dict(node.addresses.counts())
    counts["all_networks"] = (sum(new for new, _ in counts.values()), sum(tried for _, tried in counts.values()))
    return {name: {"new": new, "tried": tried, "total": new + tried} for name, (new, tried) in counts.items()}


@rpc(
    "network",
    "Write the built-in map of autonomous systems to a file, over one that is there.",
    Arg("path", Kind.STR, "The file, relative to the network's directory"),
    returns=obj(
        "",
        "",
        string("path", "The file written"),
        number("bytes_written", "Its size"),
        hexed("file_hash", "SHA-256 of the map"),
    ),
    examples=(("asmap.dat",),),
)
def exportasmap(node: NodeParts, path: str) -> dict[str, Any]:
    """See the declaration."""
    try:
        written, size, digest = node.addresses.export_asmap(path)
    except StorageError as error:
        raise RpcError(RpcCode.MISC_ERROR, str(error)) from None
    return {"path": str(written), "bytes_written": size, "file_hash": digest.hex()}


def _entry_json(entry: BookEntry) -> dict[str, Any]:
    result: dict[str, Any] = {"address": entry.address.host}
    if entry.mapped_as:
        result["mapped_as"] = entry.mapped_as
    result |= {
        "port": entry.address.port,
        "services": entry.services,
        "time": entry.time,
        "network": class_name(entry.address),
        "source": internal_name(entry.source),
        "source_network": class_name(entry.source),
    }
    if entry.source_mapped_as:
        result["source_mapped_as"] = entry.source_mapped_as
    return result


def _table_json(table: list[BookEntry]) -> dict[str, Any]:
    return {f"{e.slot // BUCKET_SIZE}/{e.slot % BUCKET_SIZE}": _entry_json(e) for e in table}


@rpc(
    "hidden",
    "The address book's tables, place by place.",
    returns=dyn("", "", dyn("table", "new, tried", _ENTRY)),
)
def getrawaddrman(node: NodeParts) -> dict[str, Any]:
    """See the declaration."""
    return {
        "new": _table_json(list(node.addresses.table(tried=False))),
        "tried": _table_json(list(node.addresses.table(tried=True))),
    }
