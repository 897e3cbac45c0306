"""From a command to its class: all that Bitcoin Core 31 speaks, then XTHIN, spent coins, Utreexo proofs, UTXO sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from btcnode.primitives.hashes import BlockHash
from btcnode.primitives.header import HEADER_SIZE, header_hash
from btcnode.primitives.steps import Steps
from btcnode.record import record
from btcnode.wire import messages as m
from btcnode.wire.codec import Message, StepwiseMessage
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH
from btcnode.wire.framing import encode_frame

MESSAGE_CLASSES: tuple[type[Message], ...] = (
    m.Version, m.Verack, m.Addr, m.AddrV2, m.SendAddrV2, m.Inv, m.GetData, m.MerkleBlock, m.GetBlocks, m.GetHeaders,
    m.TxMessage, m.Headers, m.BlockMessage, m.GetAddr, m.Mempool, m.Ping, m.Pong, m.NotFound, m.FilterLoad,
    m.FilterAdd, m.FilterClear, m.SendHeaders, m.FeeFilter, m.SendCmpct, m.CmpctBlock, m.GetBlockTxn, m.BlockTxn,
    m.GetCFilters, m.CFilter, m.GetCFHeaders, m.CFHeaders, m.GetCFCheckpt, m.CFCheckpt, m.WtxidRelay, m.SendTxRcncl,
    m.GetXThin, m.XThinBlock, m.GetXBlockTx, m.XBlockTx, m.GetBlockSpent, m.BlockSpent,
    m.GetUtreexoProof, m.UtreexoProof, m.GetUtreexoRoot, m.UtreexoRoot,
    m.Feature, m.GetUtxoTree, m.UtxoTree, m.GetUtxoSet, m.UtxoSetChunk,
)  # fmt: skip
"""In the order in which Core lists its message types, then those that it does not have."""

BY_COMMAND: Mapping[str, type[Message]] = {cls.command: cls for cls in MESSAGE_CLASSES}

_STEPWISE: Mapping[str, type[StepwiseMessage]] = {
    command: cls for command, cls in BY_COMMAND.items() if issubclass(cls, StepwiseMessage)
}

PAYLOAD_LIMITS: Mapping[str, int] = {cls.command: cls.max_size for cls in MESSAGE_CLASSES}
"""Most bytes of payload by command, for ``FrameDecoder``; commands without an entry have the general limit."""


@record
class UnknownMessage(Message):
    """A message with a command that we do not speak; Core ignores those."""

    command: ClassVar[str] = ""
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    name: str
    payload: bytes

    @classmethod
    def decode(cls, payload: bytes) -> UnknownMessage:
        """Keep the payload; ``decode_message`` sets the name."""
        return cls("", payload)

    def encode(self) -> bytes:
        """The payload."""
        return self.payload


M = TypeVar("M", bound=StepwiseMessage)


@record
class Sealed(Message, Generic[M]):
    """A message of which nothing was decoded yet: its head tells whether the rest is worth it, ``opened`` reads it.

    ``kind`` is its class.
    """

    command: ClassVar[str] = ""
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    kind: type[M]
    payload: bytes

    @classmethod
    def decode(cls, payload: bytes) -> Sealed[M]:
        """Sealed messages are made by ``read_message`` only."""
        raise TypeError("the kind of a sealed message is not in its payload")

    def encode(self) -> bytes:
        """The payload."""
        return self.payload

    def opened(self) -> Steps[M]:  # type: ignore[override]
        """The message, decoded in steps; raises what its ``decode`` raises."""
        return self.kind.decode_in_steps(self.payload)

    @property
    def header(self) -> bytes:
        """The block's 80 bytes, of messages that begin with them."""
        return self.payload[:HEADER_SIZE]

    @property
    def hash(self) -> BlockHash:
        """The hash of ``header``."""
        return header_hash(self.header)

    @property
    def block_hash(self) -> bytes:
        """The block's hash, of messages that begin with it."""
        return self.payload[:32]


def read_message(command: str, payload: bytes) -> Message:
    """As ``decode_message``, but what may take long to decode is left sealed."""
    stepwise = _STEPWISE.get(command)
    if stepwise is not None and len(payload) >= stepwise.head_size:
        return Sealed(stepwise, payload)
    return decode_message(command, payload)


def decode_message(command: str, payload: bytes) -> Message:
    """The message of a frame; ``UnknownMessage`` for a command that is not in the registry.

    Raises DecodeError for a malformed payload (LimitExceeded when a limit is broken), and nothing else.
    """
    cls = BY_COMMAND.get(command)
    return UnknownMessage(command, payload) if cls is None else cls.decode(payload)


def encode_message(magic: bytes, message: Message) -> bytes:
    """A version 1 frame of ``message``."""
    command = message.name if isinstance(message, UnknownMessage) else message.command
    return encode_frame(magic, command, message.encode())
