"""What every message codec stands on: the base class, a bounded reader, the limit error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from struct import Struct
from typing import ClassVar, Self

from btcnode.errors import DecodeError
from btcnode.primitives.compactsize import MAX_SIZE, compact_size, read_compact_size
from btcnode.primitives.steps import Steps, at_once
from btcnode.wire.constants import MAX_PROTOCOL_MESSAGE_LENGTH

# Most bytes that a command with a small payload may have: far above any extension of it that Core would ignore.
SMALL_PAYLOAD = 65_536

_U16_BE = Struct(">H")
_U32 = Struct("<I")
_I32 = Struct("<i")
_U64 = Struct("<Q")
_I64 = Struct("<q")


class LimitExceeded(DecodeError):
    """A message that can be read, but breaks a limit of its command: Core calls that misbehaviour.

    Any other DecodeError is a malformed message, which Core drops without a consequence.
    """


class Message(ABC):
    """A peer-to-peer message; subclasses are frozen, slotted dataclasses.

    Bytes behind what a command defines are ignored, as Core ignores them, unless the class says otherwise.
    """

    __slots__ = ()

    command: ClassVar[str]
    max_size: ClassVar[int] = SMALL_PAYLOAD  # bytes of payload; checked by the frame decoder

    @classmethod
    @abstractmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; raises DecodeError (LimitExceeded for a broken limit) and nothing else."""

    @abstractmethod
    def encode(self) -> bytes:
        """The payload."""

    def opened(self) -> Steps[Self]:
        """The message with all its contents, in no step: see ``StepwiseMessage``."""
        return self
        yield


class StepwiseMessage(Message):
    """A message that may carry so much that reading it takes long: it can be left sealed, and is read in steps."""

    __slots__ = ()

    head_size: ClassVar[int]  # bytes at the beginning of the payload that tell whether the rest is of use

    @classmethod
    @abstractmethod
    def decode_in_steps(cls, payload: bytes) -> Steps[Self]:
        """Read the payload; raises what ``decode`` raises."""

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload at once."""
        return at_once(cls.decode_in_steps(payload))


class EmptyMessage(Message):
    """A message without fields; whatever its payload has is ignored."""

    __slots__ = ()

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Ignore the payload, as Core does."""
        return cls()

    def encode(self) -> bytes:
        """No bytes."""
        return b""


class Reader:
    """A cursor over a payload; every read past its end raises DecodeError."""

    __slots__ = ("buf", "pos")

    def __init__(self, buf: bytes, pos: int = 0) -> None:
        self.buf = buf
        self.pos = pos

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self.buf) - self.pos

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self.pos
        end = start + size
        if end > len(self.buf):
            raise DecodeError("DataStream::read(): end of data")
        self.pos = end
        return self.buf[start:end]

    def u8(self) -> int:
        """An unsigned byte."""
        return self.take(1)[0]

    def u16_be(self) -> int:
        """An unsigned 16-bit integer, big-endian (ports)."""
        value: int = _U16_BE.unpack(self.take(2))[0]
        return value

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        value: int = _U32.unpack(self.take(4))[0]
        return value

    def i32(self) -> int:
        """A signed 32-bit integer."""
        value: int = _I32.unpack(self.take(4))[0]
        return value

    def u64(self) -> int:
        """An unsigned 64-bit integer."""
        value: int = _U64.unpack(self.take(8))[0]
        return value

    def i64(self) -> int:
        """A signed 64-bit integer."""
        value: int = _I64.unpack(self.take(8))[0]
        return value

    def compact(self, limit: int = MAX_SIZE) -> int:
        """A CompactSize of at most ``limit``."""
        value, self.pos = read_compact_size(self.buf, self.pos, limit)
        return value

    def count(self, item_size: int, limit: int, what: str) -> int:
        """The number of items that follow, each of at least ``item_size`` bytes.

        Raises LimitExceeded above ``limit``, and DecodeError when the payload cannot hold them: before anything
        is allocated for them.
        """
        value = self.compact()
        if value > limit:
            raise LimitExceeded(f"message size = {value}, at most {limit} {what} are allowed")
        if value * item_size > self.remaining:
            raise DecodeError(f"message is too short for {value} {what}")
        return value

    def var_bytes(self, limit: int = MAX_PROTOCOL_MESSAGE_LENGTH) -> bytes:
        """Bytes behind their CompactSize length; a length above ``limit`` is malformed."""
        size = self.compact(limit)
        if size > limit:  # a single byte is not compared before
            raise DecodeError(f"{size} bytes, at most {limit} are allowed")
        return self.take(size)

    def hashes(self, limit: int, what: str) -> tuple[bytes, ...]:
        """A vector of 32-byte hashes."""
        count = self.count(32, limit, what)
        raw = self.take(count * 32)
        return tuple([raw[p : p + 32] for p in range(0, count * 32, 32)])


def encode_var_bytes(data: bytes) -> bytes:
    """Bytes behind their CompactSize length."""
    return compact_size(len(data)) + data


def encode_hashes(hashes: tuple[bytes, ...]) -> bytes:
    """A vector of 32-byte hashes."""
    return compact_size(len(hashes)) + b"".join(hashes)
