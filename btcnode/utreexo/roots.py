"""What a compact state node keeps of the set of coins: the roots after a block, and of which block they are."""

from __future__ import annotations

from struct import Struct

from btcnode.errors import DecodeError
from btcnode.primitives.hashes import BlockHash
from btcnode.record import record
from btcnode.utreexo.stump import Stump

_HEAD = Struct("<I32s32s")


@record
class RootsAt:
    """The roots after the block ``block_hash`` at ``height``, whose parent is ``parent``."""

    height: int
    block_hash: BlockHash
    parent: BlockHash
    stump: Stump

    def pack(self) -> bytes:
        """``height[u32 LE] + block hash[32] + parent[32] + roots`` as ``Stump.pack`` has them: at most 2 kB."""
        return _HEAD.pack(self.height, self.block_hash, self.parent) + self.stump.pack()

    @classmethod
    def unpack(cls, data: bytes) -> RootsAt:
        """Decode :meth:`pack`; raises DecodeError."""
        if len(data) < _HEAD.size:
            raise DecodeError(f"a record of roots has {len(data)} bytes")
        height, block_hash, parent = _HEAD.unpack_from(data)
        return cls(height, BlockHash(block_hash), BlockHash(parent), Stump.unpack(data[_HEAD.size :]))
