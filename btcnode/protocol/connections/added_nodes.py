"""Targets that the user named (``--connect``, ``--addnode``), and where addresses come from at the start.

Named targets are connected to again and again, with a delay that doubles with each failure.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

from btcnode.protocol.commands import AddNode
from btcnode.protocol.context import Context
from btcnode.protocol.limits import (
    ADDED_NODE_RETRY_MAX,
    ADDED_NODE_RETRY_MIN,
    ADDED_NODE_STABLE,
    MAX_ADDED_NODES,
    MAX_ADDNODE_CONNECTIONS,
)
from btcnode.protocol.peer import Peer
from btcnode.record import struct
from btcnode.settings.addresses import numeric
from btcnode.wire.netaddr import NetAddress


class OpenManual(Protocol):
    """Opens a manual connection; returns the attempt's number, None when too many are under way."""

    def __call__(self, target: str, *, v2: bool | None) -> int | None:
        """``target`` as typed; ``v2``: whether to begin with version 2 of the transport, None for what we offer."""


@struct
class Target:
    """One named target; ``attempt`` and ``peer_id`` are None while there is none; ``v2`` as in ``AddNode``."""

    text: str
    fixed: bool  # of --connect: not limited in number
    next_try: float = 0.0
    delay: float = ADDED_NODE_RETRY_MIN
    attempt: int | None = None
    peer_id: int | None = None
    v2: bool | None = None

    @property
    def is_served(self) -> bool:
        """Whether a connection to it stands or is being opened."""
        return self.attempt is not None or self.peer_id is not None


@lru_cache(maxsize=2 * MAX_ADDED_NODES)
def _address_of(text: str, default_port: int) -> NetAddress | None:
    return numeric(text, default_port)


class AddedNodes:
    """Keeps connections to the named targets."""

    def __init__(self, ctx: Context, open_manual: OpenManual) -> None:
        self._ctx = ctx
        self._open = open_manual
        self.targets: dict[str, Target] = {}
        for text in ctx.config.connect:
            self.targets[text] = Target(text, True)
        for text in ctx.config.add_nodes:
            self.targets.setdefault(text, Target(text, False))

    def on_command(self, command: AddNode) -> None:
        """The user's addnode; adding twice and removing the unknown change nothing."""
        if command.command == "onetry":
            if self.peer_of(command.target) is None:  # else a number would be spent on what is refused
                self._open(command.target, v2=command.v2)
        elif command.command == "add":
            if len(self.targets) < MAX_ADDED_NODES:
                self.targets.setdefault(command.target, Target(command.target, False, v2=command.v2))
        elif command.command == "remove":
            self.targets.pop(command.target, None)

    def names(self) -> list[str]:
        """The texts of ``addnode`` targets, in the order of adding."""
        return [target.text for target in self.targets.values() if not target.fixed]

    def peer_of(self, text: str) -> Peer | None:
        """The connection to a target: the one made for it, or any other to the address that it names."""
        target = self.targets.get(text)
        if target is not None and target.peer_id is not None:
            return self._ctx.peers.get(target.peer_id)
        for peer in self._ctx.peers.values():
            if peer.role.holds_slot and self._names(text, peer.address):
                return peer
        return None

    def _names(self, text: str, address: NetAddress) -> bool:
        """Whether a target is an address, however it is written (``[::ffff:1.2.3.4]`` is one of IPv4)."""
        return _address_of(text, self._ctx.params.p2p_port) == address

    def contains(self, address: NetAddress) -> bool:
        """Whether the user named this address: automatic connections leave it alone."""
        return any(self._names(text, address) for text in self.targets)

    def on_connected(self, peer: Peer) -> None:
        """A connection stands; is it one of these?"""
        for target in self.targets.values():
            if target.attempt is not None and target.attempt == peer.attempt:
                target.attempt, target.peer_id = None, peer.id

    def on_failed(self, attempt: int) -> bool:
        """An attempt failed: wait longer before the next. True for the first failure, which is worth a line."""
        for target in self.targets.values():
            if target.attempt == attempt:
                target.attempt = None
                first = target.delay == ADDED_NODE_RETRY_MIN
                self._back_off(target)
                return first
        return True

    def on_disconnected(self, peer: Peer, attempt: int | None) -> None:
        """A connection ended: try again, soon if it had lasted; ``attempt`` (if not None) does so already."""
        for target in self.targets.values():
            if target.peer_id == peer.id:
                target.peer_id = None
                if attempt is not None:
                    target.attempt = attempt
                    continue
                if self._ctx.mockable - peer.connected_mockable >= ADDED_NODE_STABLE:
                    target.delay = ADDED_NODE_RETRY_MIN
                self._back_off(target)

    def _back_off(self, target: Target) -> None:
        target.next_try = self._ctx.steady + target.delay * self._ctx.rng.uniform(0.75, 1.25)
        target.delay = min(2 * target.delay, ADDED_NODE_RETRY_MAX)

    def tick(self) -> None:
        """Connect to targets that are due."""
        ctx = self._ctx
        used = sum(1 for t in self.targets.values() if not t.fixed and t.is_served)
        for target in self.targets.values():
            if target.is_served or ctx.steady < target.next_try:
                continue
            if not target.fixed:
                if used >= MAX_ADDNODE_CONNECTIONS:
                    continue
                if self.peer_of(target.text) is not None:  # an automatic or inbound connection serves
                    target.next_try = ctx.steady + ADDED_NODE_RETRY_MAX
                    continue
            target.attempt = self._open(target.text, v2=target.v2)
            if target.attempt is not None and not target.fixed:
                used += 1
