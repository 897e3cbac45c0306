"""Small messages: keep-alive, fee filter, requests without fields."""

from __future__ import annotations

from typing import ClassVar

from btcnode.record import record
from btcnode.wire.codec import EmptyMessage, Message, Reader


@record
class Ping(Message):
    """BIP31: asks for a pong with the same nonce."""

    command: ClassVar[str] = "ping"

    nonce: int

    @classmethod
    def decode(cls, payload: bytes) -> Ping:
        """Read the payload."""
        return cls(Reader(payload).u64())

    def encode(self) -> bytes:
        """The payload."""
        return self.nonce.to_bytes(8, "little")


class PingWithoutNonce(EmptyMessage):
    """For peers that speak no BIP31, which answer no ping."""

    command: ClassVar[str] = Ping.command


@record
class Pong(Message):
    """Answer to a ping. ``nonce`` is None when the payload is too short for one: Core then ends the wait for it."""

    command: ClassVar[str] = "pong"

    nonce: int | None

    @classmethod
    def decode(cls, payload: bytes) -> Pong:
        """Read the payload; never fails."""
        return cls(Reader(payload).u64() if len(payload) >= 8 else None)

    def encode(self) -> bytes:
        """The payload."""
        return b"" if self.nonce is None else self.nonce.to_bytes(8, "little")


@record
class FeeFilter(Message):
    """BIP133: announce no transaction below this feerate (sat/kvB, signed as on the wire)."""

    command: ClassVar[str] = "feefilter"

    feerate: int

    @classmethod
    def decode(cls, payload: bytes) -> FeeFilter:
        """Read the payload; whether the feerate is an amount of money at all is left to the receiver."""
        return cls(Reader(payload).i64())

    def encode(self) -> bytes:
        """The payload."""
        return self.feerate.to_bytes(8, "little", signed=True)


@record
class SendHeaders(EmptyMessage):
    """BIP130: blocks shall be announced by their headers."""

    command: ClassVar[str] = "sendheaders"


@record
class GetAddr(EmptyMessage):
    """Request for addresses of nodes."""

    command: ClassVar[str] = "getaddr"


@record
class Mempool(EmptyMessage):
    """BIP35: request for an inv of the mempool."""

    command: ClassVar[str] = "mempool"
