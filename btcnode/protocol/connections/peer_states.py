"""The life of a connection: one table says which event leads from which state to which, and each state what follows.

Nothing else remembers how far a connection is. Whoever wants to know whether a peer may be asked, served, told of news,
counted or evicted asks the ``Role`` of its state; whoever has something to do when that changes registers a handler. An
event that is not in the table is refused and logged, and the state stays.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol, TypeVar

from btcnode.protocol.limits import PROBE_AFTER
from btcnode.record import record
from btcnode.tuples import NamedTuple

NEVER, IN_TURN, FIRST = 0, 1, 2  # values of Role.eviction


@record(kw_only=True)
class Role:
    """What a connection is good for while it is in one state; what is not said is not so."""

    is_kept: bool = False  # it stands in the table of peers, or of attempts
    holds_slot: bool = False  # it counts against the limits of connections
    is_heard: bool = False  # what it sends is looked at
    is_spoken_to: bool = False  # messages go out to it
    negotiates: bool = False  # features are still open, and a verack completes the handshake
    is_complete: bool = False  # the handshake is behind it
    gives_headers: bool = False  # it may be asked for headers, ...
    gives_blocks: bool = False  # ... for blocks, ...
    gives_transactions: bool = False  # ... for transactions
    is_served: bool = False  # what it asks for is answered
    is_told: bool = False  # news goes to it: blocks, transactions, addresses, fee filters; else it waits
    eviction: int = NEVER  # when slots are short: not at all, in its turn, before those who are in turn
    probe_after: float | None = None  # seconds of silence after which a peer that owes us something is pinged


class PeerState(Enum):
    """Where a connection is in its life. The value is its name, ``role`` what follows."""

    role: Role

    CLOSED = "closed", Role()  # before the first and after the last event
    OPENING = "opening", Role(is_kept=True, holds_slot=True)  # we asked for a connection
    HANDSHAKE = (
        "handshake",  # the socket stands
        Role(is_kept=True, holds_slot=True, is_heard=True, is_spoken_to=True, negotiates=True, eviction=IN_TURN),
    )
    ACTIVE = (
        "active",
        Role(
            is_kept=True,
            holds_slot=True,
            is_heard=True,
            is_spoken_to=True,
            is_complete=True,
            gives_headers=True,
            gives_blocks=True,
            gives_transactions=True,
            is_served=True,
            is_told=True,
            eviction=IN_TURN,
            probe_after=PROBE_AFTER,
        ),
    )
    DEGRADED = (
        "degraded",  # silent although we asked: nothing but pings goes out until it says something
        Role(is_kept=True, holds_slot=True, is_heard=True, is_spoken_to=True, is_complete=True, eviction=FIRST),
    )
    DRAINING = "draining", Role(is_kept=True)  # what was sent is flushed, then the socket is closed

    def __new__(cls, name: str, role: Role) -> PeerState:
        """A state of this name."""
        state = object.__new__(cls)
        state._value_ = name
        state.role = role
        return state

    __hash__ = object.__hash__  # looked up with every message; that of enumerations takes a call


class PeerEvent(Enum):
    """What happens to a connection."""

    ASKED = "asked for"
    FAILED = "failed"  # the attempt came to nothing
    CONNECTED = "connected"  # the socket stands
    COMPLETED = "handshake complete"
    SILENT = "silent"  # nothing came for three minutes, nor did an answer to a ping
    HEARD = "heard of again"
    CLOSE = "close"  # we give it up
    LOST = "lost"  # the socket is closed, whoever did it

    __hash__ = object.__hash__  # as above


_S, _E = PeerState, PeerEvent

TRANSITIONS: dict[tuple[PeerState, PeerEvent], PeerState] = {
    (_S.CLOSED, _E.ASKED): _S.OPENING,
    (_S.CLOSED, _E.CONNECTED): _S.HANDSHAKE,  # by the other side
    (_S.OPENING, _E.CONNECTED): _S.HANDSHAKE,
    (_S.OPENING, _E.FAILED): _S.CLOSED,
    (_S.HANDSHAKE, _E.COMPLETED): _S.ACTIVE,
    (_S.HANDSHAKE, _E.CLOSE): _S.DRAINING,
    (_S.HANDSHAKE, _E.LOST): _S.CLOSED,
    (_S.ACTIVE, _E.SILENT): _S.DEGRADED,
    (_S.ACTIVE, _E.CLOSE): _S.DRAINING,
    (_S.ACTIVE, _E.LOST): _S.CLOSED,
    (_S.DEGRADED, _E.HEARD): _S.ACTIVE,
    (_S.DEGRADED, _E.CLOSE): _S.DRAINING,
    (_S.DEGRADED, _E.LOST): _S.CLOSED,
    (_S.DRAINING, _E.LOST): _S.CLOSED,
}


class Connection(Protocol):
    """A peer, or an attempt to connect to one; ``state`` and its ``role`` are written by ``PeerStates`` only."""

    state: PeerState
    role: Role

    @property
    def name(self) -> str:
        """What the log calls it."""


C = TypeVar("C", bound=Connection)


def keep_by_state(table: dict[int, C], number: int, connection: C) -> None:
    """Have the connection stand in ``table`` under its number if its state keeps it, else not."""
    if not connection.state.role.is_kept:
        table.pop(number, None)
    elif number not in table:
        table[number] = connection


class Change(NamedTuple):
    """A transition that was made."""

    connection: Connection
    before: PeerState
    event: PeerEvent
    after: PeerState


Handler = Callable[[Change], None]


class PeerStates:
    """Makes transitions and tells of them; ``log`` takes one line for each event that is refused."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._handlers: list[Handler] = []
        self.refused = 0

    def on_change(self, handler: Handler) -> None:
        """Call ``handler`` after every transition, in the order of registration."""
        self._handlers.append(handler)

    @staticmethod
    def fits(connection: Connection, event: PeerEvent) -> bool:
        """Whether the table has the event for the connection's state."""
        return (connection.state, event) in TRANSITIONS

    def apply(self, connection: Connection, event: PeerEvent) -> bool:
        """Make the transition that the table has for the event; False (and a line in the log) when it has none."""
        before = connection.state
        after = TRANSITIONS.get((before, event))
        if after is None:
            self.refused += 1
            self._log(f"{connection.name}: {event.value!r} does not fit the state {before.value!r}")
            return False
        connection.state, connection.role = after, after.role
        change = Change(connection, before, event, after)
        for handler in self._handlers:
            handler(change)
        return True
