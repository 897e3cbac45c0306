"""Messages that are lists of inventory items."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, NamedTuple, Self

from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.wire.codec import Message, Reader
from btcnode.wire.constants import (
    MAX_INV_SIZE,
    MAX_NOTFOUND_SIZE,
    MAX_PROTOCOL_MESSAGE_LENGTH,
    MSG_BLOCK,
    MSG_CMPCT_BLOCK,
    MSG_FILTERED_BLOCK,
    MSG_TX,
    MSG_WITNESS_FLAG,
    MSG_WTX,
)

_NAMES = {
    MSG_TX: "tx",
    MSG_WTX: "wtx",
    MSG_BLOCK: "block",
    MSG_FILTERED_BLOCK: "merkleblock",
    MSG_CMPCT_BLOCK: "cmpctblock",
}

_ITEM = Struct("<I32s")
_ITEM_SIZE = 36


class InvItem(NamedTuple):
    """What is announced or asked for: a type (``MSG_TX`` and so on) and a hash in internal order."""

    kind: int
    hash: bytes

    @property
    def name(self) -> str:
        """As Core's log has it: ``witness-block 00..``."""
        known = _NAMES.get(self.kind & ~MSG_WITNESS_FLAG)
        if known is None:
            return f"0x{self.kind:08x} {to_display(self.hash)}"
        return f"{'witness-' if self.kind & MSG_WITNESS_FLAG else ''}{known} {to_display(self.hash)}"


@dataclass(frozen=True, slots=True)
class _InvList(Message):
    """The form that the three messages share."""

    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH  # so that one with too many entries can be told

    items: tuple[InvItem, ...]

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; more than 50,000 items raise LimitExceeded."""
        r = Reader(payload)
        count = r.count(_ITEM_SIZE, MAX_INV_SIZE, "inventory items")
        return cls(_read_items(r, count))

    def encode(self) -> bytes:
        """The payload."""
        pack = _ITEM.pack
        return compact_size(len(self.items)) + b"".join([pack(kind, value) for kind, value in self.items])


@dataclass(frozen=True, slots=True)
class Inv(_InvList):
    """Announcement of blocks and transactions."""

    command: ClassVar[str] = "inv"


@dataclass(frozen=True, slots=True)
class GetData(_InvList):
    """Request for blocks and transactions."""

    command: ClassVar[str] = "getdata"


@dataclass(frozen=True, slots=True)
class NotFound(_InvList):
    """Answer to a request for what the sender does not have."""

    command: ClassVar[str] = "notfound"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; of more than 5016 items, which nobody can have asked for, none is taken, as in Core."""
        r = Reader(payload)
        count = r.count(_ITEM_SIZE, MAX_PROTOCOL_MESSAGE_LENGTH, "inventory items")
        return cls(_read_items(r, count) if count <= MAX_NOTFOUND_SIZE else ())


def _read_items(r: Reader, count: int) -> tuple[InvItem, ...]:
    return tuple(map(InvItem._make, _ITEM.iter_unpack(r.take(count * _ITEM_SIZE))))
