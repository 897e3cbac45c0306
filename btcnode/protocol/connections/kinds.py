"""What a connection is for and what its peer may: the terms that events, commands and effects share."""

from __future__ import annotations

from enum import Enum, IntFlag


class ConnectionKind(Enum):
    """Why a connection exists; the values are what getpeerinfo calls ``connection_type``."""

    INBOUND = "inbound"
    OUTBOUND_FULL = "outbound-full-relay"
    BLOCK_RELAY = "block-relay-only"
    MANUAL = "manual"
    FEELER = "feeler"
    ADDR_FETCH = "addr-fetch"
    PRIVATE_BROADCAST = "private-broadcast"


class Permission(IntFlag):
    """What the user allows a peer beyond the ordinary (Core's ``-whitelist`` permissions)."""

    NONE = 0
    NOBAN = 1  # never discouraged, never evicted; misbehaviour is logged only
    DOWNLOAD = 2  # served historical blocks beyond the upload target
    ADDR = 4  # address gossip from it is not rate limited, getaddr answers are not cached
    RELAY = 8  # transactions are relayed in blocks-only mode too, without limits on announcements
    MEMPOOL = 16  # the mempool's contents are told on request (BIP35)
    FORCE_RELAY = 32  # what it sends is announced again though it is in the mempool already
    BLOOM_FILTER = 64  # served with bloom filters (BIP37) although these are not offered
