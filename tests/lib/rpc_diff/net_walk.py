"""A walk through what the user may do to connections: bans of every subnet, nodes added, addresses, messages sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from .walk import Call, Step, Walk

ONION = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"
I2P = "udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p"
ADDRESSES = (
    "127.0.0.1", "1.2.3.4", "1.2.3.5", "1.2.128.1", "10.0.0.1", "255.255.255.255", "0.0.0.0", "::", "::1",
    "2001:db8::1", "2001:db8:0:0::1", "2001:DB8::2", "fc00::1", "fe80::1", "::ffff:1.2.3.4", "2002:102:304::",
    "64:ff9b::1.2.3.4", ONION, ONION.upper(), I2P, "localhost", "nosuch.invalid", "", "1.2.3", "1.2.3.256",
    "01.2.3.4", "1.2.3.4 ", "[::1]", "x", "fd87:d87e:eb43:edb1:8e4:3588:e546:35ca",
)  # fmt: skip
SUFFIXES = (
    "", "", "/0", "/1", "/8", "/16", "/24", "/31", "/32", "/33", "/64", "/127", "/128", "/129", "/-1", "/x", "/", "/08",
    "/+8", "/ 8", "/255.255.0.0", "/255.255.255.255", "/0.0.0.0", "/255.0.255.0", "/ffff::", "/ffff:ffff::", "/1/2",
)  # fmt: skip
PORTS = ("", "", ":8333", ":18444", ":0", ":1", ":65535", ":65536", ":x", ":", ":-1", ":08333")
TIMES: tuple[Any, ...] = (None, 0, 1, 60, 86400, -1, 2**31, 2**62, 2**63 - 1, -(2**63))
OBSERVED: tuple[Call, ...] = (
    ("listbanned", []),
    ("getaddednodeinfo", []),
    ("getconnectioncount", []),
    ("getnetworkinfo", []),
    ("getpeerinfo", []),
    ("getaddrmaninfo", []),
)


class NetWalk(Walk):
    """Steps about connections alone."""

    def next(self) -> Step:
        """The next step."""
        makers: tuple[tuple[int, Callable[[], Step]], ...] = (
            (6, self._ban),
            (4, self._unban),
            (1, lambda: ("clearbanned", [])),
            (4, self._add_node),
            (2, lambda: ("getaddednodeinfo", [self._node()])),
            (3, self._disconnect),
            (3, lambda: ("addpeeraddress", [self._address(), *self._port()])),
            (2, self._send_message),
            (1, lambda: ("setnetworkactive", [self.rng.random() < 0.6])),
            (2, lambda: ("addconnection", [self._node(), self._kind(), self.rng.random() < 0.5])),
            (1, lambda: ("ping", [])),
            (1, self._time),
            (1, lambda: ("getnodeaddresses", [0, self.rng.choice(("x", "cjdns", "i2p", "ipv5", ""))])),
        )
        (maker,) = self.rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        return maker()

    def observed(self) -> Iterator[Call]:
        """What is told of connections."""
        yield from OBSERVED

    def _address(self) -> str:
        return str(self.rng.choice(ADDRESSES))

    def _port(self) -> list[Any]:
        return [self.rng.choice((0, 1, 8333, 65535, 65536, -1)), *([] if self.rng.random() < 0.5 else [False])]

    def _node(self) -> str:
        address = self._address()
        port = self.rng.choice(PORTS)
        return f"[{address}]{port}" if ":" in address and self.rng.random() < 0.7 else address + port

    def _subnet(self) -> str:
        return self._address() + self.rng.choice(SUFFIXES)

    def _kind(self) -> str:
        return str(self.rng.choice(("x", "", "outbound", "OUTBOUND-FULL-RELAY", "manual", "inbound")))

    def _ban(self) -> Step:
        absolute = [] if self.rng.random() < 0.5 else [self.rng.random() < 0.5]
        seconds = self.rng.choice(TIMES)
        if self.rng.random() < 0.2:
            seconds = self.now + self.rng.choice((-1, 0, 1, 100))
            absolute = [True]
        return "setban", [self._subnet(), "add", *([seconds, *absolute] if seconds is not None else [])]

    def _unban(self) -> Step:
        banned = [row["address"] for row in self._ask("listbanned")]
        known = banned and self.rng.random() < 0.7
        return "setban", [self.rng.choice(banned) if known else self._subnet(), "remove"]

    def _add_node(self) -> Step:
        command = self.rng.choice(("add", "add", "remove", "remove", "", "onetry ", "ADD"))
        added = [row["addednode"] for row in self._ask("getaddednodeinfo")]
        node = self.rng.choice(added) if added and self.rng.random() < 0.5 else self._node()
        return "addnode", [node, command, *([] if self.rng.random() < 0.6 else [self.rng.random() < 0.5])]

    def _disconnect(self) -> Step:
        chosen: list[Any] = [
            [self._node()],
            ["", self.rng.choice((0, 1, 2, 99, -1))],
            [None, self.rng.choice((2, 99))],
            [self._node(), 0],
            [self._subnet()],
            ["127.0.0.1/33"],
            [],
        ]
        return "disconnectnode", self.rng.choice(chosen)

    def _send_message(self) -> Step:
        peer = self.rng.choice((0, 1, 2, 99, -1))
        kind = self.rng.choice(("ping", "", "x" * 12, "x" * 13, "verack", "nosuch"))
        return "sendmsgtopeer", [peer, kind, self.rng.choice(("", "00", "0", "zz", "ab" * 8, "ab" * 100))]
