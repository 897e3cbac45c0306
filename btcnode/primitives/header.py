"""Block headers: 80 bytes, and a readable view for people."""

from __future__ import annotations

from struct import Struct

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import BlockHash, sha256d
from btcnode.record import record

HEADER_SIZE = 80
HEADER_STRUCT = Struct("<i32s32sIII")  # version, prev, merkle root, time, bits, nonce


@record
class Header:
    """The fields of a block header; hashes in internal order, ``bits`` the compact target."""

    version: int
    prev_hash: BlockHash
    merkle_root: bytes
    time: int
    bits: int
    nonce: int

    @classmethod
    def parse(cls, raw: bytes) -> Header:
        """Decode exactly 80 bytes; raises DecodeError for any other length."""
        if len(raw) != HEADER_SIZE:
            raise DecodeError(f"a header is 80 bytes, not {len(raw)}")
        version, prev, root, time, bits, nonce = HEADER_STRUCT.unpack(raw)
        return cls(version, BlockHash(prev), root, time, bits, nonce)

    def serialize(self) -> bytes:
        """The 80 bytes."""
        return HEADER_STRUCT.pack(self.version, self.prev_hash, self.merkle_root, self.time, self.bits, self.nonce)

    @property
    def hash(self) -> BlockHash:
        """The block hash."""
        return header_hash(self.serialize())


def header_hash(raw: bytes | memoryview) -> BlockHash:
    """The block hash of 80 header bytes."""
    return BlockHash(sha256d(raw))
