"""Messages that carry a block, a transaction or a part of a block; the bytes stay as they are."""

from __future__ import annotations

from typing import ClassVar

from btcnode.errors import DecodeError
from btcnode.primitives.block import MIN_TX_SIZE, ParsedBlock, parse_block
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.steps import Steps
from btcnode.primitives.tx import Tx
from btcnode.record import record
from btcnode.wire.codec import Message, Reader, StepwiseMessage, encode_hashes, encode_var_bytes
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH


@record
class BlockMessage(Message):
    """A whole block. Only its header is looked at before somebody asks for more.

    Stricter than Core: bytes behind the last transaction make ``parse`` fail. No node sends such.
    """

    command: ClassVar[str] = "block"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    raw: bytes

    @classmethod
    def decode(cls, payload: bytes) -> BlockMessage:
        """Take the payload; raises DecodeError when it is too short for a block."""
        if len(payload) <= HEADER_SIZE:
            raise DecodeError(f"block of {len(payload)} bytes")
        return cls(payload)

    def encode(self) -> bytes:
        """The payload."""
        return self.raw

    @property
    def header(self) -> bytes:
        """The 80 bytes of the header."""
        return self.raw[:HEADER_SIZE]

    @property
    def hash(self) -> BlockHash:
        """The block hash (computed at each call)."""
        return header_hash(self.raw[:HEADER_SIZE])

    def parse(self) -> ParsedBlock:
        """The block's columns; raises DecodeError."""
        return parse_block(self.raw)


@record
class TxMessage(Message):
    """A transaction, with its witness where the receiver has asked for it."""

    command: ClassVar[str] = "tx"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    raw: bytes

    @classmethod
    def decode(cls, payload: bytes) -> TxMessage:
        """Take the payload; raises DecodeError when it is too short for a transaction."""
        if len(payload) < MIN_TX_SIZE:
            raise DecodeError(f"transaction of {len(payload)} bytes")
        return cls(payload)

    def encode(self) -> bytes:
        """The payload."""
        return self.raw

    def parse(self) -> Tx:
        """The transaction, without bytes behind it; raises DecodeError."""
        return Tx.parse_at(self.raw, 0)[0]


@record
class MerkleBlock(StepwiseMessage):
    """BIP37: a header and the partial merkle tree of the transactions that have matched.

    ``flags`` are the tree's bits, packed with the lowest bit first; what they mean is checked by who uses them.
    """

    command: ClassVar[str] = "merkleblock"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH
    head_size: ClassVar[int] = HEADER_SIZE

    header: bytes
    total_txs: int
    hashes: tuple[bytes, ...]
    flags: bytes

    @classmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[MerkleBlock]:
        """Read the payload."""
        r = Reader(payload)
        header, total = r.take(HEADER_SIZE), r.u32()
        yield
        hashes = r.hashes(MAX_PROTOCOL_MESSAGE_LENGTH // 32, "hashes")
        return cls(header, total, hashes, r.var_bytes())

    def encode(self) -> bytes:
        """The payload."""
        total = self.total_txs.to_bytes(4, "little")
        return self.header + total + encode_hashes(self.hashes) + encode_var_bytes(self.flags)
