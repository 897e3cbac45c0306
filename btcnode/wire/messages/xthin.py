"""BUIP010 (XTHIN) messages as btcnode speaks them: docs/relay.md. Transactions are their bytes, witness included."""

from __future__ import annotations

from struct import Struct
from typing import ClassVar

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.steps import Steps
from btcnode.record import record
from btcnode.wire.codec import Message, Reader, StepwiseMessage, encode_var_bytes
from btcnode.wire.constants import (
    MAX_BLOCK_TXS,
    MAX_BLOOM_FILTER_SIZE,
    MAX_BLOOM_HASH_FUNCS,
    MAX_PROTOCOL_MESSAGE_LENGTH,
    MSG_XTHINBLOCK,
)
from btcnode.wire.messages.compact import read_transactions

CHEAP_HASH_SIZE = 8  # the first bytes of a wtxid

_KIND = Struct("<I")
_TAIL = Struct("<IIB")


def _read_cheap_hashes(r: Reader) -> tuple[bytes, ...]:
    count = r.count(CHEAP_HASH_SIZE, MAX_PROTOCOL_MESSAGE_LENGTH, "cheap hashes")
    if count > MAX_BLOCK_TXS:
        raise DecodeError(f"thin block of {count} transactions")
    raw = r.take(count * CHEAP_HASH_SIZE)
    return tuple([raw[p : p + CHEAP_HASH_SIZE] for p in range(0, len(raw), CHEAP_HASH_SIZE)])


@record
class GetXThin(Message):
    """Request for a block in thin form: with a bloom filter of the wtxids that the sender has.

    The filter has BIP37's form and hash functions; an empty one means that the sender has nothing.
    """

    command: ClassVar[str] = "get_xthin"
    max_size: ClassVar[int] = 4 + 32 + 5 + MAX_BLOOM_FILTER_SIZE + 9

    block_hash: bytes
    data: bytes
    hash_funcs: int
    tweak: int
    flags: int = 0

    @classmethod
    def decode(cls, payload: bytes) -> GetXThin:
        """Read the payload."""
        r = Reader(payload)
        (kind,) = _KIND.unpack(r.take(4))
        if kind != MSG_XTHINBLOCK:
            raise DecodeError(f"get_xthin for inventory of type {kind}")
        block_hash = r.take(32)
        data = r.var_bytes()
        hash_funcs, tweak, flags = _TAIL.unpack(r.take(9))
        if len(data) > MAX_BLOOM_FILTER_SIZE or hash_funcs > MAX_BLOOM_HASH_FUNCS:
            raise DecodeError(f"bloom filter of {len(data)} bytes and {hash_funcs} hash functions")
        return cls(block_hash, data, hash_funcs, tweak, flags)

    def encode(self) -> bytes:
        """The payload."""
        tail = _TAIL.pack(self.hash_funcs, self.tweak, self.flags)
        return b"".join((_KIND.pack(MSG_XTHINBLOCK), self.block_hash, encode_var_bytes(self.data), tail))


@record
class XThinBlock(StepwiseMessage):
    """A header, the cheap hashes of all transactions in block order, and the transactions that the filter lacks."""

    command: ClassVar[str] = "xthinblock"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH
    head_size: ClassVar[int] = HEADER_SIZE

    header: bytes
    cheap_hashes: tuple[bytes, ...]
    transactions: tuple[bytes, ...]

    @classmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[XThinBlock]:
        """Read the payload; more than 65,535 cheap hashes are malformed."""
        r = Reader(payload)
        header = r.take(HEADER_SIZE)
        cheap_hashes = _read_cheap_hashes(r)
        yield
        return cls(header, cheap_hashes, (yield from read_transactions(r)))

    def encode(self) -> bytes:
        """The payload."""
        hashes, txs = self.cheap_hashes, self.transactions
        return b"".join((self.header, compact_size(len(hashes)), *hashes, compact_size(len(txs)), *txs))

    @property
    def hash(self) -> BlockHash:
        """The block hash (computed at each call)."""
        return header_hash(self.header)


@record
class GetXBlockTx(Message):
    """Request for transactions of a block by their cheap hashes."""

    command: ClassVar[str] = "get_xblocktx"
    max_size: ClassVar[int] = 32 + 9 + MAX_BLOCK_TXS * CHEAP_HASH_SIZE

    block_hash: bytes
    cheap_hashes: tuple[bytes, ...]

    @classmethod
    def decode(cls, payload: bytes) -> GetXBlockTx:
        """Read the payload."""
        r = Reader(payload)
        return cls(r.take(32), _read_cheap_hashes(r))

    def encode(self) -> bytes:
        """The payload."""
        return b"".join((self.block_hash, compact_size(len(self.cheap_hashes)), *self.cheap_hashes))


@record
class XBlockTx(StepwiseMessage):
    """The transactions that a get_xblocktx has asked for."""

    command: ClassVar[str] = "xblocktx"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH
    head_size: ClassVar[int] = 32

    block_hash: bytes
    transactions: tuple[bytes, ...]

    @classmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[XBlockTx]:
        """Read the payload."""
        r = Reader(payload)
        block_hash = r.take(32)
        return cls(block_hash, (yield from read_transactions(r)))

    def encode(self) -> bytes:
        """The payload."""
        return b"".join((self.block_hash, compact_size(len(self.transactions)), *self.transactions))
