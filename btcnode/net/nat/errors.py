"""What a way through a NAT gives, and how it fails."""

from __future__ import annotations

from typing import Protocol as Interface

from btcnode.record import record
from btcnode.wire.netaddr import NetAddress


class NatError(Exception):
    """A way does not work here; one line for the log."""


class UnsupportedVersion(NatError):
    """The gateway speaks the older NAT-PMP only."""


@record
class Mapping:
    """Under ``external`` others reach our port, for ``lifetime`` seconds from now."""

    external: NetAddress
    lifetime: int


class Way(Interface):
    """One way to be reached from outside."""

    name: str

    async def open(self, port: int) -> list[Mapping]:
        """Ask for TCP ``port``, or renew what was given before; at least one mapping. Raises NatError."""

    async def close(self) -> None:
        """Give back what was mapped. Raises NatError."""
