"""BIP152 compact blocks. Transactions in these messages are their bytes."""

from __future__ import annotations

from typing import ClassVar

from btcnode.errors import DecodeError
from btcnode.primitives.block import MIN_TX_SIZE
from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.scan import scan_tx_in_steps
from btcnode.primitives.steps import STEP, Steps
from btcnode.record import record
from btcnode.tuples import NamedTuple
from btcnode.wire.codec import LimitExceeded, Message, Reader, StepwiseMessage
from btcnode.wire.constants import CMPCTBLOCKS_VERSION, MAX_BLOCK_TXS, MAX_PROTOCOL_MESSAGE_LENGTH

SHORT_ID_SIZE = 6
TXS_IN_STEP = 500


class PrefilledTx(NamedTuple):
    """A transaction that a compact block has in full, and its position in the block."""

    position: int
    raw: bytes


@record
class SendCmpct(Message):
    """How blocks shall be announced: ``high_bandwidth`` asks for cmpctblock without an announcement before it."""

    command: ClassVar[str] = "sendcmpct"

    high_bandwidth: bool
    version: int = CMPCTBLOCKS_VERSION

    @classmethod
    def decode(cls, payload: bytes) -> SendCmpct:
        """Read the payload; any byte but 0 is true."""
        r = Reader(payload)
        return cls(r.u8() != 0, r.u64())

    def encode(self) -> bytes:
        """The payload."""
        return bytes([self.high_bandwidth]) + self.version.to_bytes(8, "little")


@record
class CmpctBlock(StepwiseMessage):
    """A header, short ids (48-bit integers) of most transactions, and the others in full.

    ``prefilled`` has positions in the block (not their differences), rising.
    """

    command: ClassVar[str] = "cmpctblock"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH
    head_size: ClassVar[int] = HEADER_SIZE

    header: bytes
    nonce: int
    short_ids: tuple[int, ...]
    prefilled: tuple[PrefilledTx, ...]

    @classmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[CmpctBlock]:
        """Read the payload.

        More than 65,535 transactions raise DecodeError, as in Core; a prefilled one beyond the end of the block raises
        LimitExceeded.
        """
        r = Reader(payload)
        header, nonce = r.take(HEADER_SIZE), r.u64()
        short_count = r.count(SHORT_ID_SIZE, MAX_PROTOCOL_MESSAGE_LENGTH, "short ids")
        raw = r.take(short_count * SHORT_ID_SIZE)
        prefilled_count = r.count(1 + MIN_TX_SIZE, MAX_PROTOCOL_MESSAGE_LENGTH, "prefilled transactions")
        if short_count + prefilled_count > MAX_BLOCK_TXS:
            raise DecodeError(f"compact block of {short_count + prefilled_count} transactions")
        prefilled = []
        position = -1
        beyond = False
        for done in range(prefilled_count):
            position += r.compact(MAX_BLOCK_TXS) + 1
            beyond = beyond or position > short_count + done
            prefilled.append(PrefilledTx(position, (yield from read_tx(r))))
            if not (done + 1) % TXS_IN_STEP:
                yield
        if beyond:
            raise LimitExceeded("prefilled transaction beyond the end of the compact block")
        yield
        read = int.from_bytes
        ids = tuple([read(raw[p : p + SHORT_ID_SIZE], "little") for p in range(0, len(raw), SHORT_ID_SIZE)])
        return cls(header, nonce, ids, tuple(prefilled))

    def encode(self) -> bytes:
        """The payload."""
        parts = [self.header, self.nonce.to_bytes(8, "little"), compact_size(len(self.short_ids))]
        parts += [value.to_bytes(SHORT_ID_SIZE, "little") for value in self.short_ids]
        parts.append(compact_size(len(self.prefilled)))
        last = -1
        for position, raw in self.prefilled:
            parts += (compact_size(position - last - 1), raw)
            last = position
        return b"".join(parts)

    @property
    def hash(self) -> BlockHash:
        """The block hash (computed at each call)."""
        return header_hash(self.header)


@record
class GetBlockTxn(StepwiseMessage):
    """Request for transactions of a block by their positions, which rise."""

    command: ClassVar[str] = "getblocktxn"
    max_size: ClassVar[int] = 32 + 9 + (MAX_BLOCK_TXS + 1) * 3
    head_size: ClassVar[int] = 32

    block_hash: bytes
    indexes: tuple[int, ...]

    @classmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[GetBlockTxn]:
        """Read the payload; a position above 65,535 raises DecodeError, as in Core."""
        r = Reader(payload)
        block_hash = r.take(32)
        indexes = []
        index = -1
        for done in range(r.count(1, MAX_PROTOCOL_MESSAGE_LENGTH, "positions")):
            if not (done + 1) % STEP:
                yield
            index += r.compact() + 1
            if index > MAX_BLOCK_TXS:
                raise DecodeError(f"position {index} of a transaction has more than 16 bits")
            indexes.append(index)
        return cls(block_hash, tuple(indexes))

    def encode(self) -> bytes:
        """The payload."""
        parts = [self.block_hash, compact_size(len(self.indexes))]
        last = -1
        for index in self.indexes:
            parts.append(compact_size(index - last - 1))
            last = index
        return b"".join(parts)


@record
class BlockTxn(StepwiseMessage):
    """The transactions that a getblocktxn has asked for, in its order."""

    command: ClassVar[str] = "blocktxn"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH
    head_size: ClassVar[int] = 32

    block_hash: bytes
    transactions: tuple[bytes, ...]

    @classmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[BlockTxn]:
        """Read the payload."""
        r = Reader(payload)
        block_hash = r.take(32)
        return cls(block_hash, (yield from read_transactions(r)))

    def encode(self) -> bytes:
        """The payload."""
        return b"".join((self.block_hash, compact_size(len(self.transactions)), *self.transactions))


def read_tx(r: Reader) -> Steps[bytes]:
    """The bytes of the transaction that follows."""
    start = r.pos
    r.pos = yield from scan_tx_in_steps(r.buf, start)
    return r.buf[start : r.pos]


def read_transactions(r: Reader) -> Steps[tuple[bytes, ...]]:
    """A vector of transactions, as bytes."""
    found = []
    for done in range(r.count(MIN_TX_SIZE, MAX_PROTOCOL_MESSAGE_LENGTH, "transactions")):
        found.append((yield from read_tx(r)))
        if not (done + 1) % TXS_IN_STEP:
            yield
    return tuple(found)
