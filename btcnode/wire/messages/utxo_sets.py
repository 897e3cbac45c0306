"""UTXO sets in chunks (BIP 452, draft): the hashes of their chunks and the chunks, asked for and told."""

from __future__ import annotations

from struct import Struct
from typing import ClassVar

from btcnode.errors import DecodeError
from btcnode.primitives.chunk_tree import CHUNK_SIZE, HASH_SIZE, MAX_CHUNKS, chunk_count, chunk_root, split_hashes
from btcnode.record import record
from btcnode.wire.codec import LimitExceeded, Message, Reader

_TREE = Struct("<32sHQ")
_CHUNK = Struct("<32sI")


@record
class GetUtxoTree(Message):
    """Request for the hashes of the chunks of the UTXO set after a block."""

    command: ClassVar[str] = "getutxotree"

    block_hash: bytes

    @classmethod
    def decode(cls, payload: bytes) -> GetUtxoTree:
        """Read the payload."""
        return cls(Reader(payload).take(32))

    def encode(self) -> bytes:
        """The payload."""
        return self.block_hash


@record
class UtxoTree(Message):
    """The hashes of all chunks, 32 bytes each, side by side. ``version`` is that of the file's form.

    How many there are follows from the file's ``length`` in bytes, header included.
    """

    command: ClassVar[str] = "utxotree"
    max_size: ClassVar[int] = _TREE.size + HASH_SIZE * MAX_CHUNKS

    block_hash: bytes
    version: int
    length: int
    hashes: bytes

    @classmethod
    def decode(cls, payload: bytes) -> UtxoTree:
        """Read the payload; a length of no or of too many chunks raises LimitExceeded."""
        r = Reader(payload)
        block_hash, version, length = _TREE.unpack(r.take(_TREE.size))
        count = chunk_count(length)
        if not 0 < count <= MAX_CHUNKS:
            raise LimitExceeded(f"{count} chunks of a UTXO set")
        hashes = r.take(HASH_SIZE * count)
        if r.remaining:
            raise DecodeError("more hashes than chunks")
        return cls(block_hash, version, length, hashes)

    def encode(self) -> bytes:
        """The payload."""
        return _TREE.pack(self.block_hash, self.version, self.length) + self.hashes

    @property
    def root(self) -> bytes:
        """The root of the tree over the hashes; takes about a microsecond for each."""
        return chunk_root(split_hashes(self.hashes))


@record
class GetUtxoSet(Message):
    """Request for one chunk of the UTXO set after a block."""

    command: ClassVar[str] = "getutxoset"

    block_hash: bytes
    chunk: int

    @classmethod
    def decode(cls, payload: bytes) -> GetUtxoSet:
        """Read the payload."""
        return cls(*_CHUNK.unpack(Reader(payload).take(_CHUNK.size)))

    def encode(self) -> bytes:
        """The payload."""
        return _CHUNK.pack(self.block_hash, self.chunk)


@record
class UtxoSetChunk(Message):
    """One chunk: ``CHUNK_SIZE`` bytes of the file, fewer where it ends."""

    command: ClassVar[str] = "utxoset"
    max_size: ClassVar[int] = _CHUNK.size + CHUNK_SIZE

    block_hash: bytes
    chunk: int
    data: bytes

    @classmethod
    def decode(cls, payload: bytes) -> UtxoSetChunk:
        """Read the payload."""
        block_hash, chunk = _CHUNK.unpack(Reader(payload).take(_CHUNK.size))
        return cls(block_hash, chunk, payload[_CHUNK.size :])

    def encode(self) -> bytes:
        """The payload."""
        return _CHUNK.pack(self.block_hash, self.chunk) + self.data
