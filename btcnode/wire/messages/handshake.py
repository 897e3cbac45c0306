"""Messages of the handshake: version, verack and what is negotiated between them."""

from __future__ import annotations

from struct import Struct
from typing import ClassVar

from btcnode.errors import DecodeError
from btcnode.record import record
from btcnode.wire.codec import EmptyMessage, Message, Reader, encode_var_bytes
from btcnode.wire.constants import (
    MAX_FEATURE_DATA,
    MAX_FEATURE_NAME,
    MAX_SUBVERSION_LENGTH,
    MIN_FEATURE_NAME,
    PROTOCOL_VERSION,
)
from btcnode.wire.netaddr import NetAddress, Network

_VERSION_HEAD = Struct("<iQq")
_RECONCILIATION = Struct("<IQ")
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,;-_/:?@()")

_FINAL_ALERT = bytes.fromhex(  # signed by the key of all alerts, which this one ended in 2016
    "60010000000000000000000000ffffff7f00000000ffffff7ffeffff7f01ffffff7f00000000ffffff7f00ffffff7f002f555247"
    "454e543a20416c657274206b657920636f6d70726f6d697365642c2075706772616465207265717569726564004630440220653f"
    "ebd6410f470f6bae11cad19c48413becb1ac2c17f908fd0fd53bdc3abd5202206d0e9c96fe88d4a0f01ed9dedae2b6f9e00da94c"
    "ad0fecaae66ecf689bf71b50"
)
NOWHERE = NetAddress(Network.IPV6, bytes(16), 0)
"""The address that stands where a node does not tell or know one."""


@record
class Version(Message):
    """The first message of either side.

    ``services`` are the sender's; ``receiver`` is how the sender sees us. ``sender`` and its services are unused
    by everybody. ``user_agent`` is raw (BIP14), see ``clean_user_agent``. Times are Unix seconds.
    """

    command: ClassVar[str] = "version"

    version: int = PROTOCOL_VERSION
    services: int = 0
    time: int = 0
    receiver_services: int = 0
    receiver: NetAddress = NOWHERE
    sender_services: int = 0
    sender: NetAddress = NOWHERE
    nonce: int = 1
    user_agent: bytes = b""
    start_height: int = -1
    relay: bool = True

    @classmethod
    def decode(cls, payload: bytes) -> Version:
        """Read the payload; fields from ``sender`` on may be missing at the end, as old nodes leave them out.

        A negative time is taken as 0 and any byte but 0 as true, as Core does.
        """
        r = Reader(payload)
        version, services, time = r.i32(), r.u64(), r.i64()
        receiver_services, receiver = r.u64(), NetAddress.from_v1(r.take(16), r.u16_be())
        sender_services, sender, nonce, user_agent, start_height, relay = 0, NOWHERE, 1, b"", -1, True
        if r.remaining:
            sender_services, sender = r.u64(), NetAddress.from_v1(r.take(16), r.u16_be())
            nonce = r.u64()
        if r.remaining:
            user_agent = r.var_bytes(MAX_SUBVERSION_LENGTH)
        if r.remaining:
            start_height = r.i32()
        if r.remaining:
            relay = r.u8() != 0
        return cls(
            version, services, max(time, 0), receiver_services, receiver, sender_services, sender, nonce, user_agent,
            start_height, relay,
        )  # fmt: skip

    def encode(self) -> bytes:
        """The payload with all fields."""
        return b"".join(
            (
                _VERSION_HEAD.pack(self.version, self.services, self.time),
                self.receiver_services.to_bytes(8, "little"),
                self.receiver.to_v1(),
                self.receiver.port.to_bytes(2, "big"),
                self.sender_services.to_bytes(8, "little"),
                self.sender.to_v1(),
                self.sender.port.to_bytes(2, "big"),
                self.nonce.to_bytes(8, "little"),
                encode_var_bytes(self.user_agent),
                self.start_height.to_bytes(4, "little", signed=True),
                b"\x01" if self.relay else b"\x00",
            )
        )

    @property
    def clean_user_agent(self) -> str:
        """The user agent without characters that do not belong on a terminal or in a log."""
        return "".join(c for c in self.user_agent.decode("latin-1") if c in _SAFE)


@record
class Verack(EmptyMessage):
    """The version message is accepted."""

    command: ClassVar[str] = "verack"


@record
class WtxidRelay(EmptyMessage):
    """BIP339: transactions shall be announced by their wtxid."""

    command: ClassVar[str] = "wtxidrelay"


@record
class SendAddrV2(EmptyMessage):
    """BIP155: the sender understands addrv2."""

    command: ClassVar[str] = "sendaddrv2"


@record
class SendTxRcncl(Message):
    """BIP330: the sender can reconcile transaction sets, with its half of the salt of short ids."""

    command: ClassVar[str] = "sendtxrcncl"

    version: int
    salt: int

    @classmethod
    def decode(cls, payload: bytes) -> SendTxRcncl:
        """Read the payload."""
        r = Reader(payload)
        return cls(r.u32(), r.u64())

    def encode(self) -> bytes:
        """The payload."""
        return _RECONCILIATION.pack(self.version, self.salt)


@record
class Feature(Message):
    """BIP434: the sender speaks what goes by this name, with ``data`` as that says."""

    command: ClassVar[str] = "feature"
    max_size: ClassVar[int] = 1 + MAX_FEATURE_NAME + 3 + MAX_FEATURE_DATA

    name: bytes
    data: bytes = b""

    @classmethod
    def decode(cls, payload: bytes) -> Feature:
        """Read the payload, which ends with the data."""
        r = Reader(payload)
        name, data = r.var_bytes(MAX_FEATURE_NAME), r.var_bytes(MAX_FEATURE_DATA)
        if len(name) < MIN_FEATURE_NAME or r.remaining:
            raise DecodeError("not as BIP434 has a feature")
        return cls(name, data)

    def encode(self) -> bytes:
        """The payload."""
        return encode_var_bytes(self.name) + encode_var_bytes(self.data)


@record
class FinalAlert(EmptyMessage):
    """What nodes that still know the alerts of old are told: their key is not to be trusted. Nobody reads it here."""

    command: ClassVar[str] = "alert"

    def encode(self) -> bytes:
        """The payload: the last alert as it was signed, 168 bytes."""
        return _FINAL_ALERT
