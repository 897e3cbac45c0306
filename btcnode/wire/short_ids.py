"""BIP152 short ids: the lower 48 bits of the SipHash-2-4 of a wtxid, keyed by header and nonce of the message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from siphashc import siphash

from btcnode.compiled import current

HASHES_FOR_KERNEL = 100  # fewer are hashed in less time than it takes to call one
SHORT_ID_SIZE = 6
SHORT_ID_MASK = (1 << 48) - 1


def short_id_key(header: bytes, nonce: int) -> bytes:
    """The 16 bytes of the SipHash key: the first half of the SHA-256 of the header (80 bytes) and the nonce."""
    return sha256(header + nonce.to_bytes(8, "little")).digest()[:16]


def matching(key: bytes, wtxids: Sequence[bytes], places: Mapping[int, int]) -> list[tuple[int, bytes]]:
    """Those of ``wtxids`` whose short id is in ``places``, in order, each behind its place.

    Takes about 0.13 us for each, 0.08 with kernels.
    """
    kernels = current()
    if kernels is not None and len(wtxids) >= HASHES_FOR_KERNEL:
        found = kernels.match_short_ids(key, b"".join(wtxids), list(places))
        if found is not None:
            where = list(places.values())
            return [(where[place], wtxids[k]) for k, place in found]
    sip, mask, find = siphash, SHORT_ID_MASK, places.get
    return [(place, wtxid) for wtxid in wtxids if (place := find(sip(key, wtxid) & mask)) is not None]


def packed_short_ids(key: bytes, wtxids: Sequence[bytes]) -> bytes:
    """The short ids of ``wtxids`` as they stand in the message, six bytes each."""
    kernels = current()
    if kernels is not None and len(wtxids) >= HASHES_FOR_KERNEL:
        return kernels.short_ids(key, b"".join(wtxids))
    sip = siphash
    return b"".join([sip(key, wtxid).to_bytes(8, "little")[:SHORT_ID_SIZE] for wtxid in wtxids])
