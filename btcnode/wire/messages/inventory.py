"""Messages that are lists of inventory items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import ClassVar, Self

from btcnode.primitives.compactsize import compact_size
from btcnode.primitives.hashes import to_display
from btcnode.tuples import NamedTuple
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


class _InvList(Message):
    """The form that the three messages share: ``packed`` are the items as they are sent, 36 bytes each.

    They become objects when somebody looks at them, as many as are looked at: fifty thousand take 50 ms.
    """

    __slots__ = ("packed",)

    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH  # so that one with too many entries can be told

    def __init__(self, items: Iterable[InvItem]) -> None:
        pack = _ITEM.pack
        self.packed = b"".join([pack(kind, value) for kind, value in items])

    @classmethod
    def of_packed(cls, packed: bytes) -> Self:
        """A message of items that are packed already."""
        message = cls.__new__(cls)
        message.packed = packed
        return message

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; more than 50,000 items raise LimitExceeded."""
        r = Reader(payload)
        count = r.count(_ITEM_SIZE, MAX_INV_SIZE, "inventory items")
        return cls.of_packed(r.take(count * _ITEM_SIZE))

    def encode(self) -> bytes:
        """The payload."""
        return compact_size(len(self)) + self.packed

    def __len__(self) -> int:
        return len(self.packed) // _ITEM_SIZE

    def pairs(self, count: int) -> Iterator[tuple[int, bytes]]:
        """Type and hash of the first ``count`` items."""
        return _ITEM.iter_unpack(self.packed[: count * _ITEM_SIZE])

    @property
    def items(self) -> tuple[InvItem, ...]:
        """All items."""
        return tuple(map(InvItem._make, _ITEM.iter_unpack(self.packed)))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.packed == self.packed

    def __hash__(self) -> int:
        return hash((self.command, self.packed))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.items!r})"


class Inv(_InvList):
    """Announcement of blocks and transactions."""

    __slots__ = ()

    command: ClassVar[str] = "inv"


class GetData(_InvList):
    """Request for blocks and transactions."""

    __slots__ = ()

    command: ClassVar[str] = "getdata"


class NotFound(_InvList):
    """Answer to a request for what the sender does not have."""

    __slots__ = ()

    command: ClassVar[str] = "notfound"
    max_size: ClassVar[int] = MAX_PROTOCOL_MESSAGE_LENGTH

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the payload; of more than 5016 items, which nobody can have asked for, none is taken, as in Core."""
        r = Reader(payload)
        count = r.count(_ITEM_SIZE, MAX_PROTOCOL_MESSAGE_LENGTH, "inventory items")
        return cls.of_packed(r.take(count * _ITEM_SIZE) if count <= MAX_NOTFOUND_SIZE else b"")
