"""What has happened of late, for people who watch: blocks on their way in, peers that have gone; bounded."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from btcnode.protocol.misbehaviour import is_hostile
from btcnode.record import record, struct

if TYPE_CHECKING:
    from btcnode.protocol.peer import Peer

MOST_ARRIVALS = 512  # in a sync so many may be here before the first of them is connected
MOST_DEPARTURES = 50
FULL, COMPACT, XTHIN = "full", "compact", "xthin"


@struct
class Arrival:
    """How one block came. Times are the protocol's seconds (``steady``), -1 for what has not happened.

    ``announcer`` and ``sender`` are ``(peer number, address)``; ``form`` is empty until the bytes are here. ``asked``:
    transactions that were missing and asked for; ``size``: bytes of the whole block.
    """

    announcer: tuple[int, str]
    first: float
    sender: tuple[int, str] | None = None
    whole: float = -1.0
    form: str = ""
    asked: int = 0
    size: int = 0


@record
class Departure:
    """A connection that has ended: ``unix`` when, ``seconds`` it lasted, ``score`` (0 to 100) of the peer.

    ``broke_rules``: it did what no honest node does.
    """

    peer_id: int
    address: str
    network: str
    user_agent: str
    inbound: bool
    unix: int
    seconds: int
    score: float
    broke_rules: bool
    reason: str


class Chronicle:
    """Rings of the newest events; written where they happen, and read by nobody but people."""

    def __init__(self) -> None:
        self.arrivals: dict[int, Arrival] = {}  # by header index, the oldest first
        self.departures: deque[Departure] = deque(maxlen=MOST_DEPARTURES)

    def announced(self, index: int, peer: Peer, steady: float) -> None:
        """The first news of a block: its header, alone or in a short form of it."""
        if index in self.arrivals:
            return
        while len(self.arrivals) >= MOST_ARRIVALS:
            del self.arrivals[next(iter(self.arrivals))]
        self.arrivals[index] = Arrival((peer.id, str(peer.address)), steady)

    def came(self, index: int, peer: Peer, steady: float, size: int, form: str, asked: int) -> None:
        """A block is whole; who is second changes nothing."""
        self.announced(index, peer, steady)
        arrival = self.arrivals[index]
        if arrival.sender is None:
            arrival.sender, arrival.whole = (peer.id, str(peer.address)), steady
            arrival.form, arrival.asked, arrival.size = form, asked, size

    def left(self, peer: Peer, unix: float, reason: str) -> None:
        """A connection has ended."""
        self.departures.append(
            Departure(
                peer_id=peer.id,
                address=str(peer.address),
                network=peer.network,
                user_agent=peer.user_agent,
                inbound=peer.inbound,
                unix=int(unix),
                seconds=max(0, int(unix) - peer.connected_unix),
                score=peer.conduct.score,
                broke_rules=any(is_hostile(name) for name in peer.conduct.offences),
                reason=reason,
            )
        )
