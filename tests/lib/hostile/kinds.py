"""What attackers do: a table of kinds, each with the frames that one connection sends, for ever or for a while.

A kind is as dear as it can be made for the node and as cheap as it can be made for the attacker: what is sent is made
before, and where each message must be another one, a few bytes of it are changed and the checksum made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import count, repeat

from btcnode.wire.framing import encode_frame
from tests.lib.hostile.world import PARAMS, World

Frames = Iterator[bytes]
Source = Callable[[int], Frames]  # of a connection's number


class Door(Enum):
    """Where an attacker knocks."""

    P2P = "p2p"
    RPC = "rpc"
    METRICS = "metrics"


class Reading(Enum):
    """What an attacker does with answers."""

    ALL = "all"
    NONE = "none"
    SLOW = "slow"  # a few kilobytes a second


@dataclass(frozen=True, slots=True)
class Kind:
    """One attack. ``prepare`` makes, once, what all connections send from; it is given their number.

    ``fixed``: so many connections whatever is asked for. ``pause``: seconds between two frames. ``both``: bitcoind
    knows it too. ``pool``: the mempool is full. ``greet``: shakes hands first. ``v2``: over the encrypted transport.
    ``churn``: closes and comes back after each frame. ``few``: has been seen to do more harm with few connections.
    ``features``: names that it tells in the handshake (BIP434).
    """

    name: str
    prepare: Callable[[World, int], Source]
    door: Door = Door.P2P
    reading: Reading = Reading.ALL
    fixed: int = 0
    pause: float = 0.0
    both: bool = True
    pool: bool = False
    greet: bool = True
    v2: bool = False
    churn: bool = False
    few: bool = False
    features: tuple[bytes, ...] = ()


LOGIN = b"@LOGIN@"  # in frames for the RPC port: the user's, in base64


def frame(command: str, payload: bytes = b"") -> bytes:
    """A frame of version 1."""
    return encode_frame(PARAMS.magic, command, payload)


def for_ever(*frames: bytes) -> Source:
    """Every connection sends these again and again."""
    joined = b"".join(frames)
    return lambda _: repeat(joined)


def in_bulk(data: bytes, size: int = 60_000) -> Source:
    """Small frames, many at a time."""
    return for_ever(data * max(1, size // len(data)))


def once(*frames: bytes) -> Source:
    """Every connection sends these once, and stays."""
    return lambda _: iter(frames)


def varied(command: str, payload: bytes, at: int, before: bytes = b"") -> Source:
    """Again and again, six bytes at ``at`` being others each time; ``before`` is sent first."""

    def frames(number: int) -> Frames:
        if before:
            yield before
        head, tail = payload[:at], payload[at + 6 :]
        for n in count():
            yield frame(command, b"".join((head, number.to_bytes(2, "little"), n.to_bytes(4, "little"), tail)))

    return frames
