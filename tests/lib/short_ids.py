"""A single short id of BIP152, for tests; the node makes and compares them by the thousand."""

from __future__ import annotations

from siphashc import siphash

from btcnode.wire.short_ids import SHORT_ID_MASK


def short_id(key: bytes, wtxid: bytes) -> int:
    """The short id of a wtxid as an integer of 48 bits, by ``short_id_key`` of the block."""
    value: int = siphash(key, wtxid)
    return value & SHORT_ID_MASK
