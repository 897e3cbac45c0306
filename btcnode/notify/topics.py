"""What is published: topics, events and the messages that each event makes for a topic. Pure.

A message is ``topic | body | sequence[u32 LE]``, three parts. Hashes stand in display order (reversed). The body of
``sequence`` is ``hash[32] + label``, for transactions followed by the mempool's sequence number (u64 LE).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from struct import Struct

from btcnode.primitives.block import ParsedBlock
from btcnode.record import record

HASHBLOCK, HASHTX, RAWBLOCK, RAWTX, SEQUENCE = "hashblock", "hashtx", "rawblock", "rawtx", "sequence"
TOPICS = (HASHBLOCK, HASHTX, RAWBLOCK, RAWTX, SEQUENCE)
"""In the order in which one event is told to them (Core's: by name)."""

_u64 = Struct("<Q").pack


@record
class Endpoint:
    """A topic to be published at an address; ``hwm``: most messages that wait for one subscriber (0: no limit)."""

    topic: str
    address: str
    hwm: int


def zmq_address(text: str) -> str:
    """An address as libzmq writes it: ``unix:PATH`` is ``ipc://PATH`` there."""
    return f"ipc://{text[5:]}" if text.startswith("unix:") else text


@record
class TxAdded:
    """A transaction came into the mempool as its change number ``sequence``."""

    txid: bytes
    raw: bytes
    sequence: int

    size = property(lambda self: len(self.raw))


@record
class TxRemoved:
    """A transaction left the mempool, and not into a block."""

    txid: bytes
    sequence: int

    size = 0


@record
class BlockIn:
    """A block was connected."""

    block: ParsedBlock

    size = property(lambda self: len(self.block.raw))


@record
class BlockOut:
    """A block was disconnected."""

    block: ParsedBlock

    size = property(lambda self: len(self.block.raw))


@record
class NewTip:
    """The chain has come to a new best block, and the initial download is over."""

    block: ParsedBlock

    size = property(lambda self: len(self.block.raw))


Event = TxAdded | TxRemoved | BlockIn | BlockOut | NewTip


def messages(event: Event, topics: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Topic and body of each message that ``event`` makes for these topics, in the order in which they are sent.

    Of a block each transaction is told to all topics before the next one is, as Core does.
    """
    return ((topic, body) for topic, body in _messages(event, topics) if topic in topics)


def _messages(event: Event, topics: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """The same, perhaps with some for other topics."""
    match event:
        case NewTip(block):
            yield HASHBLOCK, block.hash[::-1]
            yield RAWBLOCK, block.raw
        case TxAdded():
            yield HASHTX, event.txid[::-1]
            yield RAWTX, event.raw
            yield SEQUENCE, event.txid[::-1] + b"A" + _u64(event.sequence)
        case TxRemoved():
            yield SEQUENCE, event.txid[::-1] + b"R" + _u64(event.sequence)
        case BlockIn(block) | BlockOut(block):
            if HASHTX in topics or RAWTX in topics:
                for n, txid in enumerate(block.txids):
                    yield HASHTX, txid[::-1]
                    if RAWTX in topics:
                        yield RAWTX, block.tx_raw(n)
            yield SEQUENCE, block.hash[::-1] + (b"C" if isinstance(event, BlockIn) else b"D")


def count(topic: str, event: Event) -> int:
    """How many messages that is, without making them."""
    match event:
        case NewTip():
            return int(topic in (HASHBLOCK, RAWBLOCK))
        case TxAdded():
            return int(topic in (HASHTX, RAWTX, SEQUENCE))
        case TxRemoved():
            return int(topic == SEQUENCE)
        case BlockIn(block) | BlockOut(block):
            if topic == SEQUENCE:
                return 1
            return block.n_tx if topic in (HASHTX, RAWTX) else 0
