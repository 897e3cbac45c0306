"""What a connection is for: a term that events, commands and effects share."""

from __future__ import annotations

from enum import Enum


class ConnectionKind(Enum):
    """Why a connection exists; the values are what getpeerinfo calls ``connection_type``."""

    INBOUND = "inbound"
    OUTBOUND_FULL = "outbound-full-relay"
    BLOCK_RELAY = "block-relay-only"
    MANUAL = "manual"
    FEELER = "feeler"
    ADDR_FETCH = "addr-fetch"
    PRIVATE_BROADCAST = "private-broadcast"

    __hash__ = object.__hash__  # counted by; that of enumerations takes a call
