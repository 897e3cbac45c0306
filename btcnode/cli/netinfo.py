"""``btcnode-cli -netinfo``: peers and their connections as a table, laid out as bitcoin-cli's."""

from __future__ import annotations

import time

from btcnode import __version__
from btcnode.cli.reply import LONG_LIMIT, Reply

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


def _services(names: Reply) -> str:
    return "".join(
        {"NETWORK_LIMITED": "l", "P2P_V2": "2"}.get(name, name[:1].lower()) for name in map(Reply.text, names)
    )


def _ping(seconds: float) -> str:
    if seconds < 0:
        return ""
    milliseconds = int(1000 * seconds + 0.5)
    return "-" if milliseconds > 999_999 else str(milliseconds)


def _age(now: int, moment: Reply, unit: int, otherwise: str = "") -> str:
    then = moment.number(LONG_LIMIT)
    return str(int((now - then) / unit)) if then else otherwise


def _flag(value: Reply, otherwise: bool) -> bool:
    return value.flag() if value else otherwise


def _count(value: Reply, otherwise: str = "") -> str:
    return str((value.number(LONG_LIMIT) if value else 0) or otherwise)


def _seconds(value: Reply) -> float:
    return value.real() if value else -1


def _columns(peer: Reply, now: int) -> dict[str, str]:
    """One peer's cells."""
    transport = peer["transport_protocol_type"].text() if peer["transport_protocol_type"] else "v1"
    version = f"{peer['version'].number()}{peer['subver'].text()}"
    return {
        "way": "in" if peer["inbound"].flag() else "out",
        "type": KINDS.get(peer["connection_type"].text(), ""),
        "net": SHORT_NAMES[NETWORKS.index(peer["network"].text())],
        "serv": _services(peer["servicesnames"]),
        "v": transport[1] if len(transport) == 2 and transport[0] == "v" else " ",
        "mping": _ping(_seconds(peer["minping"])),
        "ping": _ping(_seconds(peer["pingtime"])),
        "send": _age(now, peer["lastsend"], 1),
        "recv": _age(now, peer["lastrecv"], 1),
        "txn": _age(now, peer["last_transaction"], 60, "" if _flag(peer["relaytxes"], True) else "*"),
        "blk": _age(now, peer["last_block"], 60),
        "hb": ("." if peer["bip152_hb_to"].flag() else " ") + ("*" if peer["bip152_hb_from"].flag() else " "),
        "addrp": _count(peer["addr_processed"], "" if _flag(peer["addr_relay_enabled"], False) else "."),
        "addrl": _count(peer["addr_rate_limited"]),
        "age": _age(now, peer["conntime"], 60),
        "asmap": _count(peer["mapped_as"]),
        "id": str(peer["id"].number()),
        "address": peer["addr"].text(),
        "version": "" if version == "0" else version,
    }


def _order(peer: Reply) -> tuple[bool, float]:
    return not peer["inbound"].flag(), _seconds(peer["minping"])


def _peer_table(peers: list[Reply], level: int, now: int) -> str:
    rows = [_columns(peer, now) for peer in sorted(peers, key=_order)]

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


def _count_table(peers: list[Reply], network: Reply) -> str:
    heads = [entry["name"].text() for entry in network["networks"] if entry["reachable"].flag()]
    shown = [NETWORKS.index(head) for head in heads if head in NETWORKS]
    heads = [NETWORKS[n] for n in shown]
    among = [peer["network"].text() for peer in peers]
    for n in SELDOM:
        if NETWORKS[n] in among:
            shown.append(n)
            heads.append(SHORT_NAMES[n])
    kinds = [peer["connection_type"].text() for peer in peers]
    manual, block = kinds.count("manual"), kinds.count("block-relay-only")
    text = "     " + "".join(f"{head:>8}" for head in heads) + "   total   block" + ("  manual" if manual else "")
    for name, wanted in (("in", (True,)), ("out", (False,)), ("total", (True, False))):
        chosen = [peer["network"].text() for peer in peers if peer["inbound"].flag() in wanted]
        text += f"\n{name:<5}" + "".join(f"{chosen.count(NETWORKS[n]):>8}" for n in shown) + f"   {len(chosen):>5}"
        if name == "out":
            text += f"   {block:>5}" + (f"   {manual:>5}" if manual else "")
    return text


def dashboard(peers: Reply, network: Reply, chain: str, level: int, outbound: bool) -> str:
    """The whole text; ``chain`` is Core's name. Raises ReplyError for what no node tells."""
    known = [peer for peer in peers if peer["network"].text() in NETWORKS]
    place = "" if chain == "main" else " testnet" if chain == "test" else f" {chain}"
    names = network["localservicesnames"]
    services = f" - services {_services(names)}" if level else ""
    text = (
        f"btcnode client v{__version__}{place} - server {network['protocolversion'].number()}"
        f"{network['subversion'].text()}{services}\n\n"
    )
    listed = [peer for peer in known if not (outbound and peer["inbound"].flag())]
    if level and listed:
        text += _peer_table(listed, level, int(time.time()))
    text += _count_table(known, network)
    if not level:
        text += f"\n\nLocal services: {', '.join(map(Reply.text, names)).lower().replace('_', ' ')}"
    text += "\n\nLocal addresses"
    addresses = list(network["localaddresses"])
    if not addresses:
        return text + ": n/a\n"
    width = max(len(entry["address"].text()) for entry in addresses) + 1
    for entry in addresses:
        port, score = entry["port"].number(), entry["score"].number()
        text += f"\n{entry['address'].text():<{width}}    port {port:>6}    score {score:>6}"
    return text
