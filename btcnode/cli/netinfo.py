"""``btcnode-cli -netinfo``: peers and their connections as a table, laid out as bitcoin-cli's."""

from __future__ import annotations

import time
from typing import Any

from btcnode import __version__
from btcnode.rpc.jsonvalue import Number

MAX_LEVEL = 4
NETWORKS = ("not_publicly_routable", "ipv4", "ipv6", "onion", "i2p", "cjdns", "internal")
SHORT_NAMES = ("npr", "ipv4", "ipv6", "onion", "i2p", "cjdns", "int")
SELDOM = (0, 6)  # networks with a column only when there are peers
KINDS = {
    "outbound-full-relay": "full", "block-relay-only": "block", "manual": "manual", "feeler": "feeler",
    "addr-fetch": "addr", "private-broadcast": "priv",
}  # fmt: skip

HELP = """-netinfo (level [outonly]) | help

Peers and connections of the node, made of getpeerinfo and getnetworkinfo. For people: the layout may change.

level    0  Counts by network and direction, own services and addresses (default)
         1  Also one line per peer, sorted by direction and least ping
         2  With addresses
         3  With versions
         4  With both (greater numbers up to 255 are taken as 4)
outonly  "outonly" or "o": list outbound peers only (with a level above 0)
"""


def parse_level(words: list[str]) -> tuple[int, bool]:
    """``(level, outbound peers only)``; raises ValueError with the line for the user."""
    more = "For more information, run: btcnode-cli -netinfo help"
    if not words:
        return 0, False
    digits = words[0].lstrip("0") or "0"
    if not (words[0] and digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) < 256):
        raise ValueError(f"invalid -netinfo level argument: {words[0]}\n{more}")
    level = int(digits)
    if len(words) > 1 and not (level and words[1] in ("o", "outonly")):
        only = "" if level else "The outonly argument is only valid for a level greater than 0 (the first argument). "
        raise ValueError(f"invalid -netinfo outonly argument: {words[1]}\n{only}{more}")
    return min(level, MAX_LEVEL), len(words) > 1


def plain(value: Any) -> Any:
    """A reply with its number literals as ``int`` and ``float``."""
    if isinstance(value, Number):
        return int(value.text) if len(value.text) < 20 and value.text.lstrip("-").isdigit() else float(value.text)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _services(names: list[str]) -> str:
    return "".join({"NETWORK_LIMITED": "l", "P2P_V2": "2"}.get(name, name[0].lower()) for name in names)


def _ping(seconds: float) -> str:
    if seconds < 0:
        return ""
    milliseconds = int(1000 * seconds + 0.5)
    return "-" if milliseconds > 999_999 else str(milliseconds)


def _age(now: int, then: int, unit: int, otherwise: str = "") -> str:
    return str(int((now - then) / unit)) if then else otherwise


def _columns(peer: dict[str, Any], now: int) -> dict[str, str]:
    """One peer's cells."""
    transport = peer.get("transport_protocol_type", "v1")
    version = f"{peer['version']}{peer['subver']}"
    return {
        "way": "in" if peer["inbound"] else "out",
        "type": KINDS.get(peer["connection_type"], ""),
        "net": SHORT_NAMES[NETWORKS.index(peer["network"])],
        "serv": _services(peer["servicesnames"]),
        "v": transport[1] if len(transport) == 2 and transport[0] == "v" else " ",
        "mping": _ping(peer.get("minping", -1)),
        "ping": _ping(peer.get("pingtime", -1)),
        "send": _age(now, peer["lastsend"], 1),
        "recv": _age(now, peer["lastrecv"], 1),
        "txn": _age(now, peer["last_transaction"], 60, "" if peer.get("relaytxes", True) else "*"),
        "blk": _age(now, peer["last_block"], 60),
        "hb": ("." if peer["bip152_hb_to"] else " ") + ("*" if peer["bip152_hb_from"] else " "),
        "addrp": str(peer.get("addr_processed", 0) or ("" if peer.get("addr_relay_enabled") else ".")),
        "addrl": str(peer.get("addr_rate_limited", 0) or ""),
        "age": _age(now, peer["conntime"], 60),
        "asmap": str(peer.get("mapped_as", 0) or ""),
        "id": str(peer["id"]),
        "address": peer["addr"],
        "version": "" if version == "0" else version,
    }


def _peer_table(peers: list[dict[str, Any]], level: int, now: int) -> str:
    rows = [_columns(peer, now) for peer in sorted(peers, key=lambda p: (not p["inbound"], p.get("minping", -1)))]

    def width(name: str, least: int) -> int:
        return max([least, *(len(row[name]) for row in rows)])

    serv, addrp, addrl = width("serv", 6), width("addrp", 5), width("addrl", 6)
    age, number = width("age", 5), width("id", 2)
    address = width("address", 0) + 1 if level in (2, 4) else 0
    asmap = any(row["asmap"] for row in rows)
    lines = [
        f"<->   type   net {'serv':>{serv}}  v  mping   ping send recv  txn  blk  hb {'addrp':>{addrp}}"
        f"{'addrl':>{addrl}}{'age':>{age}} {' asmap ' if asmap else ''}{'id':>{number}}"
        f" {'address' if address else '':<{address}}{'version' if level >= 3 else ''}"
    ]
    for row in rows:
        lines.append(
            f"{row['way']:>3} {row['type']:>6} {row['net']:>5} {row['serv']:>{serv}} {row['v']:>2}{row['mping']:>7}"
            f"{row['ping']:>7}{row['send']:>5}{row['recv']:>5}{row['txn']:>5}{row['blk']:>5}  {row['hb']:>2}"
            f" {row['addrp']:>{addrp}}{row['addrl']:>{addrl}}{row['age']:>{age}}{row['asmap']:>{7 if asmap else 0}}"
            f" {row['id']:>{number}} {row['address'] if address else '':<{address}}"
            f"{row['version'] if level >= 3 else ''}"
        )
    units = f"{'':>16}{'':>{serv}}         ms     ms  sec  sec  min  min                {'min':>{age}}"
    return "\n".join([*lines, units, "", ""])


def _count_table(peers: list[dict[str, Any]], network: dict[str, Any]) -> str:
    shown = [NETWORKS.index(entry["name"]) for entry in network["networks"] if entry["reachable"]]
    heads = [NETWORKS[n] for n in shown]
    for n in SELDOM:
        if any(peer["network"] == NETWORKS[n] for peer in peers):
            shown.append(n)
            heads.append(SHORT_NAMES[n])
    manual = sum(peer["connection_type"] == "manual" for peer in peers)
    block = sum(peer["connection_type"] == "block-relay-only" for peer in peers)
    text = "     " + "".join(f"{head:>8}" for head in heads) + "   total   block" + ("  manual" if manual else "")
    for name, wanted in (("in", (True,)), ("out", (False,)), ("total", (True, False))):
        chosen = [peer["network"] for peer in peers if peer["inbound"] in wanted]
        text += f"\n{name:<5}" + "".join(f"{chosen.count(NETWORKS[n]):>8}" for n in shown) + f"   {len(chosen):>5}"
        if name == "out":
            text += f"   {block:>5}" + (f"   {manual:>5}" if manual else "")
    return text


def dashboard(peers: list[dict[str, Any]], network: dict[str, Any], chain: str, level: int, outbound: bool) -> str:
    """The whole text; ``chain`` is Core's name."""
    peers = [peer for peer in peers if peer["network"] in NETWORKS]
    place = "" if chain == "main" else " testnet" if chain == "test" else f" {chain}"
    names = network["localservicesnames"]
    services = f" - services {_services(names)}" if level else ""
    text = (
        f"btcnode client v{__version__}{place} - server {network['protocolversion']}{network['subversion']}"
        f"{services}\n\n"
    )
    listed = [peer for peer in peers if not (outbound and peer["inbound"])]
    if level and listed:
        text += _peer_table(listed, level, int(time.time()))
    text += _count_table(peers, network)
    if not level:
        text += f"\n\nLocal services: {', '.join(names).lower().replace('_', ' ')}"
    text += "\n\nLocal addresses"
    addresses = network["localaddresses"]
    if not addresses:
        return text + ": n/a\n"
    width = max(len(entry["address"]) for entry in addresses) + 1
    for entry in addresses:
        text += f"\n{entry['address']:<{width}}    port {entry['port']:>6}    score {entry['score']:>6}"
    return text
